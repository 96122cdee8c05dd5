"""Bi-encoders equal a plain torch pooling, and sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headgate import CheckpointError, load
from headgate.families.base import Family
from headgate.families.bi_encoder import BiEncoder
from headgate.testing import check_scorer
from tests import tiny

TEXTS = [t for t in tiny.TEXTS if len(t) < 100 and "[SEP]" not in t]


def read(folder: Path, **arguments: Any) -> BiEncoder:
    scorer: Family = load(folder, device="cpu", **arguments)
    assert isinstance(scorer, BiEncoder)
    return scorer


def reference(encoder: nn.Module, folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    vectors = []
    for text in texts:
        states = tiny.reference_states(encoder, folder, text)
        vectors.append(nn.functional.normalize(states[0] if pooling == "cls" else states.mean(0), dim=0))
    return torch.stack(vectors).numpy()


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("budget", [1, 100_000])
def test_equals_a_plain_forward(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: str, new: bool, budget: int
) -> None:
    encoder = tiny.sentence_encoder(tmp_path, pooling=pooling, new=new)
    monkeypatch.setattr("headgate.runtime.torch_forward.token_budget", lambda _: budget)
    scorer = read(tmp_path)
    expected = reference(encoder, tmp_path, TEXTS, pooling)
    np.testing.assert_allclose(scorer.embed(TEXTS, role="document"), expected, atol=1e-4)
    cosines = scorer.score(TEXTS, tiny.LABELS).log_odds
    labels = reference(encoder, tmp_path, tiny.LABELS, pooling)
    assert np.ptp(expected @ labels.T) > 0.1
    np.testing.assert_allclose(cosines, expected @ labels.T, atol=1e-4)


@pytest.mark.parametrize("body", ["roberta", "xlm-roberta", "deberta-v2", "modernbert", "distilbert"])
def test_bodies(tmp_path: Path, body: str) -> None:
    encoder = tiny.sentence_encoder(tmp_path, body)
    found = read(tmp_path).embed(TEXTS, role="document")
    np.testing.assert_allclose(found, reference(encoder, tmp_path, TEXTS, "mean"), atol=1e-4)


def test_prompts(tmp_path: Path) -> None:
    encoder = tiny.sentence_encoder(tmp_path, prompts={"query": "the hub ", "passage": "soil: "})
    scorer = read(tmp_path)
    for role, prompt in (("query", "the hub "), ("document", "soil: ")):
        expected = reference(encoder, tmp_path, [prompt + t for t in TEXTS], "mean")
        np.testing.assert_allclose(scorer.embed(TEXTS, role=role), expected, atol=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_equals_sentence_transformers(tmp_path: Path, pooling: str) -> None:
    package = pytest.importorskip("sentence_transformers")
    tiny.sentence_encoder(tmp_path, pooling=pooling, new=False, prompts={"query": "the hub ", "document": ""})
    theirs = package.SentenceTransformer(str(tmp_path), device="cpu")
    ours = read(tmp_path)
    for role in ("query", "document"):
        expected = theirs.encode(TEXTS, prompt_name=role, normalize_embeddings=True, show_progress_bar=False)
        np.testing.assert_allclose(ours.embed(TEXTS, role=role), expected, atol=1e-4)  # type: ignore[arg-type]
    theirs.save(str(tmp_path / "again"))  # in the layout of the version that is installed
    again = read(tmp_path / "again").embed(TEXTS, role="query")
    np.testing.assert_allclose(again, ours.embed(TEXTS, role="query"), atol=1e-4)


def test_the_length_is_the_folders(tmp_path: Path) -> None:
    """sentence_bert_config.json says 48, of 64 positions."""
    tiny.sentence_encoder(tmp_path, new=False)
    text = "the hub lost its password " * 20
    scorer = read(tmp_path)
    whole = scorer.score([text], ["soil"])
    assert whole.windows[0, 0] == -(-(whole.tokens[0] - 46 // 4) // (46 - 46 // 4))
    assert read(tmp_path, max_length=64).score([text], ["soil"]).windows[0, 0] < whole.windows[0, 0]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "'max'"),
        ("1_Pooling/config.json", {"pooling_mode": ["cls", "mean"]}, "'cls', 'mean'"),
        ("1_Pooling/config.json", {"pooling_mode": None}, "pools by"),
        ("1_Pooling/config.json", {"include_prompt": False}, "include_prompt"),
        ("modules.json", [{"type": "x.Transformer", "path": ""}, {"type": "x.Dense", "path": "1"}], "Dense"),
        ("modules.json", [], r"modules \[\]"),
        ("modules.json", {"a": 1}, "JSON list"),
    ],
)
def test_what_it_can_not_read(tmp_path: Path, name: str, change: Any, said: str) -> None:
    prompts = {"query": "the hub "}
    tiny.sentence_encoder(tmp_path, prompts=prompts)
    path = tmp_path / name
    old = json.loads(path.read_text())
    path.write_text(json.dumps({**old, **change} if isinstance(old, dict) else change))
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path)


def test_an_old_folder_that_pools_by_maximum(tmp_path: Path) -> None:
    tiny.sentence_encoder(tmp_path, pooling="max", new=False)
    with pytest.raises(CheckpointError, match="max"):
        load(tmp_path)


def test_late_interaction_pools_as_the_folder_says(tmp_path: Path) -> None:
    encoder = tiny.sentence_encoder(tmp_path, pooling="mean")
    late = load(tmp_path, family="late_interaction", device="cpu")

    def states(texts: list[str]) -> list[torch.Tensor]:
        raw = [tiny.reference_states(encoder, tmp_path, t) for t in texts]
        return [nn.functional.normalize(torch.cat([s[1:-1], s.mean(0)[None]]), dim=1) for s in raw]

    expected = [
        [float((label[:-1] @ text[:-1].T).max(1).values.mean() + label[-1] @ text[-1]) for label in states(tiny.LABELS)]
        for text in states(TEXTS)
    ]
    np.testing.assert_allclose(late.score(TEXTS, tiny.LABELS).log_odds, expected, atol=1e-4)


@pytest.mark.parametrize("family", ["bi_encoder", "late_interaction"])
def test_contract(tmp_path: Path, family: Any) -> None:
    tiny.sentence_encoder(tmp_path)
    check_scorer(load(tmp_path, family=family, device="cpu"))
