"""Classifiers with heads: which labels there are, and what long texts do to single and multi heads."""

import json
from pathlib import Path

import numpy as np
import pytest

from headgate import CheckpointError, LabelError, ScorerError, UnknownLabelError, load
from headgate.families.multi_head import Head, MultiHeadClassifier
from headgate.scores import Ask, Label, class_log_odds, judge
from headgate.testing import check_scorer
from tests import tiny

WORDS = tiny.words(*(f"w{i}" for i in range(10)), "good", "bad", "rude", "odd")
HEADS = {
    "mood": Head(("positive", "negative", "other")),
    "safety": Head(("toxic", "spam"), "multi"),
    "size": Head(("length",), "regression"),
    "intent": Head(("question", "other")),
}
# positive negative other | toxic spam | length | question other
WORTH = {
    "good": [3, 0, 0, 0, 0, 0, 0, 0],
    "bad": [0, 2, 0, 0, 0, 0, 1, 0],
    "rude": [0, 0, 0, 4, -1, 0, 0, 0],
    "odd": [0, 0, 1, 0, 5, 9, 0, 2],
}


def classifier(**more: dict[str, float]) -> tuple[MultiHeadClassifier, tiny.Reacts]:
    forward = tiny.Reacts(WORDS, WORTH, 8)
    return MultiHeadClassifier(tiny.core(forward, WORDS, max_length=18), HEADS, **more), forward


def one(label: str, text: str) -> float:
    return float(classifier()[0].score([text], [label]).log_odds[0, 0])


def test_one_pass_answers_all_heads() -> None:
    scorer, forward = classifier()
    texts = ["good", "bad odd", "rude"]
    scores = scorer.score(texts, scorer.labels)
    assert len(forward.rows) == 3
    assert scorer.labels == (
        *("mood:positive", "mood:negative", "mood:other", "safety:toxic", "safety:spam"),
        *("size:length", "intent:question", "intent:other"),
    )
    for i, text in enumerate(texts):
        z = np.sum([WORTH[w] for w in text.split()], axis=0)
        mood, intent = [class_log_odds(z[:3], k) for k in range(3)], [class_log_odds(z[6:], k) for k in range(2)]
        np.testing.assert_allclose(scores.log_odds[i], [*mood, *z[3:6], *intent], atol=1e-6)


def test_the_labels_of_a_single_head_sum_to_one() -> None:
    scores = classifier()[0].score(["good bad"], ["positive", "negative", "mood:other"])
    assert scores.exclusive
    assert scores.probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("labels", "exclusive", "meaning"),
    [
        (["positive", "negative"], True, "probability"),
        (["positive", "question"], False, "probability"),
        (["toxic", "spam"], False, "probability"),
        (["toxic", "positive"], False, "probability"),
        (["length"], False, "order"),
        (["length", "toxic"], False, "order"),
    ],
)
def test_what_the_numbers_mean(labels: list[str], exclusive: bool, meaning: str) -> None:
    scores = classifier()[0].score(["good"], labels)
    assert (scores.exclusive, scores.meaning) == (exclusive, meaning)


LONG = " ".join(["good", *["w1"] * 20, "rude", *["w2"] * 20, "bad"])


def test_a_single_head_averages_the_logits_of_windows() -> None:
    scorer, forward = classifier()
    scores = scorer.score([LONG], ["positive"])
    assert scores.windows[0, 0] == len(forward.rows) == 4
    assert scores.log_odds[0, 0] == pytest.approx(float(class_log_odds([3 / 4, 2 / 4, 0], 0)))
    assert scores.spans[0, 0].tolist() == [0, len(LONG)]


def test_a_multi_head_takes_the_strongest_window() -> None:
    scores = classifier()[0].score([LONG, "rude"], ["toxic", "spam"])
    assert scores.log_odds.tolist() == [[4, 0], [4, -1]]  # most of the long text is no spam, not -1 of it
    start, end = scores.spans[0, 0]
    assert "rude" in LONG[start:end]
    assert end - start < len(LONG) / 2


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("mood:postive", "mood:positive"),
        ("mood:pos", "mood:positive"),
        ("toxik", "toxic"),
        ("safety:span", "safety:spam"),
    ],
)
def test_an_unknown_label_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownLabelError, match=rf"'{name}'.*nearest is '{near}"):
        classifier()[0].score(["good"], ["positive", name])


def test_short_names() -> None:
    assert one("toxic", "rude") == one("safety:toxic", "rude") == 4
    with pytest.raises(LabelError, match=r"several heads.*'mood:other', 'intent:other'"):
        one("other", "odd")
    assert one("intent:other", "odd") == 2


def test_no_contradiction() -> None:
    with pytest.raises(LabelError, match="contradiction"):
        classifier()[0].score(["good"], [Label("toxic", relation="contradiction")])


def test_thresholds() -> None:
    """By the full name and, where only one head has it, the short one."""
    scorer, _ = classifier(thresholds={"safety:toxic": 0.7, "spam": 0.6, "intent:other": 0.5})
    full = {"safety:toxic": 0.7, "safety:spam": 0.6, "intent:other": 0.5}
    assert scorer.thresholds == {**full, "toxic": 0.7, "spam": 0.6}
    scorer.thresholds.clear()
    assert scorer.thresholds
    with pytest.raises(UnknownLabelError, match="'safety:toxik'"):
        classifier(thresholds={"safety:toxik": 0.7})


@pytest.mark.parametrize(
    ("labels", "kind", "said"),
    [
        ((), "single", "at least one"),
        (("a", "a"), "multi", "each once"),
        (("a",), "single", "type multi"),
        (("a", "b"), "softmax", "'softmax'"),
    ],
)
def test_impossible_heads(labels: tuple[str, ...], kind: str, said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        Head(labels, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", ["positive", "toxic"])
@pytest.mark.parametrize("at", [0, 20, 44])
def test_nan_in_any_window_is_refused(label: str, at: int) -> None:
    words = ["w1"] * 45
    words[at] = "w9"
    scorer, forward = classifier()
    forward._worth[WORDS.token_to_id("w9")] = np.full(8, np.nan, np.float32)
    with pytest.raises(ScorerError, match="nan"):
        judge(scorer, [Ask([" ".join(words)], [label])])


def test_contract_and_nothing_to_do() -> None:
    scorer, forward = classifier()
    check_scorer(scorer)
    check_scorer(scorer, labels=["toxic", "question", "positive"])
    forward.rows.clear()
    assert scorer.score([], ["toxic", "spam"]).log_odds.shape == (0, 2)
    assert forward.rows == []


def saved(folder: Path, **config: object) -> Path:
    tiny.cross_encoder(folder, "bert", {0: "anger", 1: "joy", 2: "fear"})
    old = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**old, **config}))
    return folder


def test_any_sequence_classifier_is_one_head(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    with pytest.raises(CheckpointError, match='family="multi_head"'):
        load(folder)
    scorer = load(folder, family="multi_head", device="cpu")
    assert scorer.labels == ("label:anger", "label:joy", "label:fear")
    scores = scorer.score(tiny.TEXTS, ["anger", "joy", "fear"])
    np.testing.assert_allclose(scores.probabilities.sum(1), 1, atol=1e-6)
    renamed = load(folder, family="multi_head", classes=["a", "b", "c"], device="cpu")
    np.testing.assert_allclose(renamed.score(tiny.TEXTS, ["a", "b", "c"]).log_odds, scores.log_odds, atol=1e-6)


@pytest.mark.parametrize(
    ("problem", "meaning", "exclusive"),
    [
        ("single_label_classification", "probability", True),
        ("multi_label_classification", "probability", False),
        ("regression", "order", False),
    ],
)
def test_the_problem_type_is_the_heads(tmp_path: Path, problem: str, meaning: str, exclusive: bool) -> None:
    scorer = load(saved(tmp_path, problem_type=problem), family="multi_head", device="cpu")
    scores = scorer.score(["the hub"], ["anger", "joy"])
    assert (scores.meaning, scores.exclusive) == (meaning, exclusive)


def test_a_classifier_without_names_asks(tmp_path: Path) -> None:
    folder = saved(tmp_path, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, label2id=None)
    with pytest.raises(CheckpointError, match="classes="):
        load(folder, family="multi_head")
