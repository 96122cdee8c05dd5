"""Heads on frozen states: the minimum is scikit-learn's, and what is scored is what was fitted."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from torch import nn

from headgate import DataError, load
from headgate.families.multi_head import Head
from headgate.scores import class_log_odds
from headgate.train import heads as subject
from headgate.train.heads import GRID, USUAL, fit, fit_heads, regression, states
from tests import tiny

WORDS = [
    *("pump", "hub", "refunds", "invoice", "customer", "password", "sensor", "valve"),
    *("fox", "dog", "leaking", "broken", "paid", "lost", "days", "text"),
]
MOODS = ["bad", "good", "so-so"]


def rows(seed: int = 0, count: int = 45) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    texts = [" ".join(rng.choice(WORDS, 6)) for _ in range(count)]
    topics = [[w for w in ("pump", "refunds") if w in t.split()] for t in texts]
    return [
        {"text": t, "heads": {"mood": MOODS[i % 3], "topic": None if i % 5 == 4 else topic}}
        for i, (t, topic) in enumerate(zip(texts, topics, strict=True))
    ]


ROWS = rows()
TEXTS = [r["text"] for r in ROWS]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tiny.sentence_encoder(folder)
    return folder


@pytest.fixture(scope="module")
def pooled(base: Path) -> np.ndarray:
    """(texts, hidden) length-1 mean states, with nothing of ours."""
    encoder = tiny.AutoModel.from_pretrained(base).eval()
    found = [tiny.reference_states(encoder, base, text).mean(0) for text in TEXTS]
    return nn.functional.normalize(torch.stack(found), dim=-1).double().numpy()


def sklearn(x: np.ndarray, y: object, c: float, weight: Any = None) -> LogisticRegression:
    return LogisticRegression(C=c, max_iter=5000, tol=1e-10, class_weight=weight).fit(x, y)


@pytest.mark.parametrize("weights", [None, "balanced"])
def test_what_is_scored_is_the_regression_of_scikit_learn(
    base: Path, tmp_path: Path, pooled: np.ndarray, weights: Any
) -> None:
    scorer = fit_heads(base, ROWS, tmp_path / "out", l2=0.1, names=False, class_weights=weights, device="cpu")
    found = scorer.score(TEXTS, scorer.labels).log_odds
    mood = sklearn(pooled, [r["heads"]["mood"] for r in ROWS], 10, weights).decision_function(pooled)
    assert scorer.labels == ("mood:bad", "mood:good", "mood:so-so", "topic:pump", "topic:refunds")
    for k in range(3):
        np.testing.assert_allclose(found[:, k], class_log_odds(mood, k), atol=1e-4)
    said = [i for i, r in enumerate(ROWS) if r["heads"]["topic"] is not None]
    for k, topic in enumerate(["pump", "refunds"], start=3):
        truth = np.array([topic in ROWS[i]["heads"]["topic"] for i in said])
        own = None if weights is None else {True: (~truth).sum() / truth.sum(), False: 1.0}
        expected = sklearn(pooled[said], truth, 10, own).decision_function(pooled)
        np.testing.assert_allclose(found[:, k], expected, atol=1e-4)
    assert np.ptp(found, axis=0).min() > 0.5


def test_a_softmax_of_two_classes() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)), rng.integers(0, 2, 40)
    found = regression(torch.from_numpy(x), torch.from_numpy(np.eye(2)[y]), "single", 0.5).numpy()
    logits = x @ found[:, :-1].T + found[:, -1]
    expected = sklearn(x, y, 2 / 0.5).decision_function(x)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], expected, atol=1e-4)


def test_large_problems_in_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 200)
    x = torch.from_numpy(rng.normal(size=(200, 8)) + np.eye(8)[y])
    target = torch.from_numpy(np.eye(3)[y])
    exact, _ = fit(x, target, "single", 0.05)
    monkeypatch.setattr(subject, "LARGE", 0)
    found, _ = fit(x, target, "single", 0.05)
    assert not torch.equal(found, exact)
    torch.testing.assert_close(found, exact, atol=2e-3, rtol=0)


def test_states_of_any_scale_and_place() -> None:
    """The strength counts from where the states are; a shift of all of them changes nothing that is said."""
    rng = np.random.default_rng(2)
    x, target = torch.from_numpy(rng.normal(size=(60, 5))), torch.from_numpy(np.eye(3)[rng.integers(0, 3, 60)])
    weight, bias = fit(x, target, "single", 0.1)
    large, offset = fit(1000 * x, target, "single", 0.1)
    torch.testing.assert_close(1000 * x @ large.T + offset, x @ weight.T + bias, atol=1e-5, rtol=0)


def test_cross_validation_takes_the_strength_that_generalises(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 120)
    target = torch.from_numpy(np.eye(3)[y])
    noise = torch.from_numpy(rng.normal(size=(120, 40)))
    signal = noise + torch.from_numpy(40 * np.eye(40)[y])
    for x, expected in ((noise, GRID[0]), (signal, GRID[-1])):
        weight, _ = fit(x, target, "single")
        want, _ = fit(x, target, "single", expected)
        torch.testing.assert_close(weight, want)
    monkeypatch.setattr(subject, "MOST", 10)
    torch.testing.assert_close(fit(noise, target, "single")[0], fit(noise, target, "single", USUAL)[0])


def test_a_long_text_is_the_mean_of_its_windows(base: Path) -> None:
    """So a softmax head scores just what was fitted: its logits, averaged over windows."""
    long = [" ".join([r["text"]] * 12) for r in ROWS]
    data = [{"text": t, "label": r["heads"]["mood"]} for t, r in zip(long, ROWS, strict=True)]
    scorer = fit_heads(base, data, l2=0.1, names=False, device="cpu")
    scores = scorer.score(long, ["bad", "good", "so-so"])
    assert scores.windows.min() > 1
    checkpoint = subject.open_checkpoint(base, device="cpu", dtype="float32", backend="transformers")
    model = subject.grown(checkpoint, {}, {}, None)
    model.normalize = True
    read = states(checkpoint, model, long).numpy()
    expected = sklearn(read * (scale := (read**2).sum(1).mean() ** -0.5), [d["label"] for d in data], 10)
    mood = expected.decision_function(read * scale)
    np.testing.assert_allclose(scores.log_odds[:, 0], class_log_odds(mood, 0), atol=1e-4)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_names_are_one_more_text_of_their_label(base: Path, kind: Any) -> None:
    heads = {"label": Head(("lost_password", "leaking pump"), kind)}
    data = [{"text": t, "label": heads["label"].labels[i % 2]} for i, t in enumerate(TEXTS)]
    named = [{"text": label.replace("_", " "), "label": label} for label in heads["label"].labels]
    found = fit_heads(base, data, heads=heads, l2=0.1, device="cpu")
    by_hand = fit_heads(base, data + named, heads=heads, l2=0.1, names=False, device="cpu")
    without = fit_heads(base, data, heads=heads, l2=0.1, names=False, device="cpu")
    z, same, other = (s.score(TEXTS, s.labels).log_odds for s in (found, by_hand, without))
    np.testing.assert_allclose(z, same, atol=1e-5)
    assert np.abs(z - other).max() > 1e-3


def test_in_memory_and_saved_say_the_same(base: Path, tmp_path: Path) -> None:
    saved, kept = (fit_heads(base, ROWS, out, l2=0.1, device="cpu") for out in (tmp_path / "out", None))
    other = fit_heads(base, rows(1), l2=0.1, device="cpu")
    for scorer in (saved, load(tmp_path / "out", device="cpu")):
        np.testing.assert_allclose(
            scorer.score(TEXTS, scorer.labels).log_odds, kept.score(TEXTS, kept.labels).log_odds, atol=1e-5
        )
    assert kept.fingerprint != other.fingerprint
    assert json.loads((tmp_path / "out" / "config.json").read_text())["normalize"] is True


def test_one_more_head_leaves_the_others_alone(tmp_path: Path) -> None:
    own = {"mood": {"labels": MOODS, "type": "single"}}
    tiny.multi_head(tmp_path / "base", {"mood": 3}, heads=own, pooling="mean")
    old = load(tmp_path / "base", device="cpu")
    data = [{"text": t, "label": [w for w in ("pump", "refunds") if w in t.split()]} for t in TEXTS]
    new = fit_heads(
        tmp_path / "base",
        data,
        tmp_path / "out",
        heads={"topic": ["pump", "refunds"]},
        only=["topic"],
        l2=1e-4,
        device="cpu",
    )
    before, after = (load_file(tmp_path / f / "model.safetensors") for f in ("base", "out"))
    assert all(torch.equal(after[k], v) for k, v in before.items())
    assert set(after) - set(before) == {"heads.topic.weight", "heads.topic.bias"}
    np.testing.assert_array_equal(new.score(TEXTS, old.labels).log_odds, old.score(TEXTS, old.labels).log_odds)
    z = new.score(TEXTS, ["pump", "refunds"]).log_odds
    truth = np.array([[w in t.split() for w in ("pump", "refunds")] for t in TEXTS])
    assert ((z > 0) == truth).mean() > 0.9


def test_none_of_them_is_learned(base: Path) -> None:
    """Rows with label null: a multi head gives all its labels low odds, which a router reads as "none"."""
    data = [{"text": f"{w} {w} {t}".strip(), "label": w or None} for t in TEXTS[:15] for w in ("valve", "days", "")]
    scorer = fit_heads(base, data, l2=1e-4, device="cpu")
    assert scorer.labels == ("label:days", "label:valve")
    odds = np.exp(scorer.score([r["text"] for r in data], ["valve", "days"]).log_odds).sum(1)
    none = np.array([r["label"] is None for r in data])
    assert np.median(odds[none]) < 0.5 < 2 < np.median(odds[~none])


def test_wrong_rows_and_arguments(base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^row 46: head 'mood' has no label 'mud'"):
        fit_heads(base, [*ROWS, {"text": "a", "heads": {"mood": "mud"}}], heads={"mood": MOODS, "topic": WORDS})
    with pytest.raises(DataError, match=r"^head 'label': all 2 rows are 'x'|expected at least two classes"):
        fit_heads(base, [{"text": "a", "label": "x"}, {"text": "b", "label": "x"}])
    for l2 in (0, -1, "auto", float("nan")):
        with pytest.raises(ValueError, match=f"l2 is {l2!r}; expected"):
            fit_heads(base, ROWS, l2=l2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the folder of the base"):
        fit_heads(base, ROWS, base)
