"""Heads equal a plain torch forward of one text at a time, in every layout and at every budget."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from headgate import CheckpointError, load
from headgate.families.base import Family
from headgate.families.multi_head import MultiHeadClassifier
from headgate.scores import class_log_odds
from headgate.testing import check_scorer
from tests import tiny

SIZES = {"GGU": 3, "sentiment": 2}
CLASSES = {"GGU": ["Greeting", "Gratitude", "Other"], "sentiment": ["Positive", "Negative"]}
TEXTS = [t for t in tiny.TEXTS if len(t) < 100 and "[SEP]" not in t]
LABELS = [f"{head}:{name}" for head, names in CLASSES.items() for name in names]
OWN = {name: {"labels": labels, "type": "single"} for name, labels in CLASSES.items()}


def reference(
    parts: tuple[nn.Module, nn.ModuleDict], folder: Path, pooling: str, normalize: bool = False
) -> np.ndarray:
    """(texts, labels) log-odds with nothing of ours but the softmax."""
    encoder, heads = parts
    out = []
    for text in TEXTS:
        states = tiny.reference_states(encoder, folder, text)
        pooled = states[0] if pooling == "cls" else states.mean(0)
        pooled = nn.functional.normalize(pooled, dim=0) if normalize else pooled
        with torch.inference_mode():
            logits = [heads[name](pooled).numpy() for name in SIZES]
        out.append([float(class_log_odds(z, k)) for z in logits for k in range(len(z))])
    return np.array(out)


def same(scorer: Family, expected: np.ndarray) -> None:
    assert np.ptp(expected, axis=0).min() > 0.1  # the reference must tell the texts apart
    np.testing.assert_allclose(scorer.score(TEXTS, LABELS).log_odds, expected, atol=1e-4)


@pytest.mark.parametrize("budget", [1, 40, 100_000])
@pytest.mark.parametrize("body", ["bert", "xlm-roberta", "distilbert"])
def test_published_weights_and_the_callers_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, budget: int
) -> None:
    parts = tiny.multi_head(tmp_path, SIZES, body=body, layout="published")
    monkeypatch.setattr("headgate.runtime.torch_forward.token_budget", lambda _: budget)
    scorer = load(tmp_path, family="multi_head", classes=CLASSES, device="cpu")
    same(scorer, reference(parts, tmp_path, "cls"))


def test_a_pth_beside_the_backbone(tmp_path: Path) -> None:
    parts = tiny.multi_head(tmp_path, SIZES, body="xlm-roberta", layout="published-pth")
    scorer = load(tmp_path, family="multi_head", classes=CLASSES, device="cpu")
    same(scorer, reference(parts, tmp_path / "pretrained" / "backbone", "cls"))


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("body", ["bert", "modernbert"])
def test_our_own_configuration(tmp_path: Path, body: str, pooling: str, normalize: bool) -> None:
    parts = tiny.multi_head(tmp_path, SIZES, body=body, pooling=pooling, normalize=normalize, heads=OWN)
    scorer = load(tmp_path, device="cpu")  # the files say everything
    assert isinstance(scorer, MultiHeadClassifier)
    assert scorer.labels == tuple(LABELS)
    same(scorer, reference(parts, tmp_path, pooling, normalize))


def test_a_long_text_averages_its_windows(tmp_path: Path) -> None:
    encoder, heads = tiny.multi_head(tmp_path, SIZES, heads=OWN, pooling="mean")
    scorer = load(tmp_path, device="cpu", max_length=16)
    text = " ".join(tiny.CORPUS[:3])
    (encoded,) = scorer._core.tokenizer.encode([text])
    frame = scorer._core.tokenizer.single
    starts = [*range(0, len(encoded.ids) - 14, 14 - 3), len(encoded.ids) - 14]
    rows = [frame.row(encoded.ids[s : s + 14]).ids for s in starts]
    with torch.inference_mode():
        states = encoder(input_ids=torch.from_numpy(np.stack(rows)).long()).last_hidden_state
        logits = heads["GGU"](states.mean(1)).mean(0).numpy()
    scores = scorer.score([text], ["Greeting", "Gratitude", "GGU:Other"])
    assert scores.windows[0, 0] == len(rows) > 2
    np.testing.assert_allclose(scores.log_odds[0], [class_log_odds(logits, k) for k in range(3)], atol=1e-4)


def test_contract(tmp_path: Path) -> None:
    tiny.multi_head(tmp_path, SIZES, heads=OWN)
    check_scorer(load(tmp_path, device="cpu"))


@pytest.mark.parametrize(
    ("own", "arguments", "said"),
    [
        ({}, {}, r"heads \['GGU', 'sentiment'\].*classes=\{"),
        ({}, {"classes": {"GGU": ["a", "b"]}}, r"head 'GGU'.*expected 2 classes"),
        ({}, {"classes": {"intent": ["a", "b"]}}, "head 'intent'.*no weights"),
        ({}, {"classes": {"GGU": ["a", "b", "b"]}}, "each once"),
        ({}, {"classes": ["a", "b", "c"]}, r"classes=\{"),
        ({"heads": OWN}, {"classes": ["a", "b", "c"]}, r"classes=\{"),
        ({"heads": {"GGU": {"labels": ["a", "b", "c"], "type": "softmax"}}}, {}, "'softmax'"),
        ({"heads": {"GGU": {"labels": ["a", "b", "c"]}, "sentiment": {}}}, {}, "sentiment"),
        ({"heads": OWN, "pooling": "max"}, {}, "'max'"),
        ({"heads": OWN, "backbone": "BAAI/bge-m3"}, {}, "BAAI/bge-m3"),
    ],
)
def test_what_the_files_leave_open_or_get_wrong(
    tmp_path: Path, own: dict[str, Any], arguments: dict[str, Any], said: str
) -> None:
    tiny.multi_head(tmp_path, SIZES, **own)
    with pytest.raises(CheckpointError, match=said):
        load(tmp_path, device="cpu", **arguments)
