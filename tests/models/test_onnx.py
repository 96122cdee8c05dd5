"""An encoder in ONNX Runtime stands in for torch's, whatever family it serves."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from headgate import load
from headgate.loading import open_checkpoint
from headgate.models.onnx_encoder import OnnxEncoder
from tests import tiny
from tests.families import test_gliclass
from tests.families.test_colbert import pylate
from tests.models.conftest import LABELS, NLI, TEXTS, agree, scores

# --- it stands in for torch


@pytest.mark.parametrize("body", ["bert", "distilbert", "roberta", "xlm-roberta", "deberta-v2", "modernbert"])
def test_every_body_equals_torch(tmp_path: Path, body: str) -> None:
    tiny.cross_encoder(tmp_path, body, NLI)
    agree(tmp_path, template="{}")


def gliclass(folder: Path) -> None:
    test_gliclass.save(
        folder, tiny.tokenizer("bert"), prompt_first=True, scorer_type="simple", use_segment_embeddings=True
    )


FAMILIES: dict[str, Callable[[Path], object]] = {
    "gliclass": gliclass,
    "bi_encoder": lambda folder: tiny.sentence_encoder(folder, "xlm-roberta"),
    "colbert": pylate,
}


@pytest.mark.parametrize("save", FAMILIES.values(), ids=FAMILIES)
def test_every_family_equals_torch(tmp_path: Path, save: Callable[[Path], object]) -> None:
    save(tmp_path)
    agree(tmp_path)


def test_heads_equal_torch(tmp_path: Path) -> None:
    heads = {"topic": {"labels": ["billing", "soil", "other"]}}
    tiny.multi_head(tmp_path, {"topic": 3}, heads=heads, pooling="cls")
    plain, runs = load(tmp_path, device="cpu"), load(tmp_path, backend="onnx")
    expected = plain.score(TEXTS, plain.labels).log_odds
    np.testing.assert_allclose(runs.score(TEXTS, plain.labels).log_odds, expected, atol=1e-4)


def test_layers_run_in_onnx_and_are_let_go_by_torch(folder: Path) -> None:
    model = open_checkpoint(folder, backend="onnx").classifier(3)
    assert isinstance(model.bert, OnnxEncoder)
    assert {name.split(".")[1] for name, _ in model.bert.named_parameters(prefix="bert")} == {"words", "pooler"}


def test_both_backends_side_by_side(tmp_path: Path) -> None:
    tiny.sentence_encoder(tmp_path)
    plain, runs = load(tmp_path, device="cpu"), load(tmp_path, backend="onnx")
    found = [type(s._core.forward._module.encoder) for s in (plain, runs)]
    assert found[0] is not OnnxEncoder
    assert found[1] is OnnxEncoder


def test_threads_share_it(folder: Path) -> None:
    scorer = load(folder, template="{}", backend="onnx")
    expected = scorer.score(TEXTS, LABELS).log_odds
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: scorer.score(TEXTS, LABELS).log_odds, range(12)):
            np.testing.assert_array_equal(found, expected)


FORK = """
import os, signal, sys, numpy as np, torch
from headgate import load
torch.set_num_threads(2)
scorer = load(sys.argv[1], template="{}", backend="onnx")
expected = scorer.score(["the hub"] * 50, ["soil"]).log_odds
if os.fork() == 0:
    signal.alarm(50)  # nothing may outlive the test
    found = scorer.score(["the hub"] * 50, ["soil"]).log_odds
    sys.exit(0 if np.allclose(found, expected, atol=1e-4) else 3)  # through all of Python's own clean-up
if os.fork() == 0:
    signal.alarm(50)
    sys.exit(0)
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(2)]
sys.exit(max(codes))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_scores_the_same_and_ends(folder: Path) -> None:
    scores(folder, backend="onnx")  # so that the graph is there
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(folder)]
    assert subprocess.run(command, timeout=100, check=False).returncode == 0


# --- int8


def test_int8_ranks_alike_and_depends_on_batch_mates(folder: Path) -> None:
    plain = scores(folder, device="cpu")
    scorer = load(folder, template="{}", backend="onnx", dtype="int8")
    rounded = scorer.score(TEXTS, LABELS).log_odds
    off = np.abs(rounded - plain)
    assert 1e-3 < off.max() < np.ptp(plain) / 4
    assert np.corrcoef(rounded.ravel(), plain.ravel())[0, 1] > 0.97
    alone = np.concatenate([scorer.score([text], [label]).log_odds for text in TEXTS for label in LABELS])
    assert np.abs(alone.ravel() - rounded.ravel()).max() > 1e-3  # as it says of itself
