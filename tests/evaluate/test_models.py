"""Inference beside transformers, and few-shot classification beside scikit-learn."""

import json

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression
from transformers import AutoTokenizer

from headgate import Calibration, load
from headgate.errors import DataError
from headgate.evaluate import few_shot, pairs
from headgate.evaluate.common import template
from tests import tiny
from tests.evaluate.fixed import ROWS, Embeds, Says


@pytest.mark.parametrize("classes", [("entailment", "neutral", "contradiction"), ("entailment", "not_entailment")])
def test_pairs_choose_what_transformers_does(tmp_path, classes):
    model = tiny.cross_encoder(tmp_path, "bert", dict(enumerate(classes)))
    texts, said, rows = tiny.TEXTS[:3] + tiny.LABELS, [], []
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for premise in texts:
        for hypothesis in texts:
            encoded = tokenizer(premise, hypothesis, return_tensors="pt")
            with torch.no_grad():
                said.append(classes[int(model(**encoded).logits.argmax())])
            rows.append({"premise": premise, "hypothesis": hypothesis, "label": classes[len(rows) % len(classes)]})
    assert len(set(said)) == len(classes)
    report = pairs(load(tmp_path, template="{}", device="cpu"), rows)
    assert [s[0] for s in report.outcomes["said"]] == said
    expected = reference.accuracy_score([r["label"] for r in rows], said)
    assert report["accuracy"] == pytest.approx(expected)


def test_pairs_take_a_calibration_off(tmp_path):
    tiny.cross_encoder(tmp_path, "bert", {0: "entailment", 1: "neutral", 2: "contradiction"})
    rows = [{"premise": a, "hypothesis": b, "label": "neutral"} for a in tiny.LABELS for b in tiny.TEXTS[:3]]
    plain = pairs(load(tmp_path, template="{}", device="cpu"), rows)
    brought = {"scale": 0.5, "shift": -4.0, "length": 0.0}
    (tmp_path / "scorer.json").write_text(json.dumps({"template": "{}", "calibration": brought}))
    calibrated = load(tmp_path, device="cpu")
    assert calibrated._core.calibration is not None
    assert template(calibrated) == "{}"
    assert pairs(calibrated, rows).outcomes["said"] == plain.outcomes["said"]


def test_neutral_rows_ask_for_a_model_that_can_say_neutral(tmp_path):
    tiny.cross_encoder(tmp_path, "bert", {0: "not_entailment", 1: "entailment"})
    two = load(tmp_path, template="{}", device="cpu")
    assert two.classes == ("not_entailment", "entailment")
    rows = [{"premise": a, "hypothesis": "soil", "label": "entailment"} for a in tiny.LABELS]
    rows.append({**rows[0], "label": "contradiction"})  # which a model of two classes can be right about
    assert {"neutral"}.isdisjoint(said for (said,) in pairs(two, rows).outcomes["said"])
    for scorer in (two, Calibration(scale=2.0).on(two)):
        with pytest.raises(DataError, match=r"row 5: the class is 'neutral'.*\['not_entailment', 'entailment'\]"):
            pairs(scorer, [*rows, {**rows[0], "label": "neutral"}])


def test_a_calibration_of_the_callers_own_stays():
    rows = [{"premise": p, "hypothesis": "h", "label": "entailment"} for p in "ab"]
    said = Says({"a": {"h": 1.0}, "b": {"h": -1.0}})
    said.calibration = Calibration(shift=0.5)  # as a folder brings it: the numbers above went through it
    for shift, expected in ((0.0, [1, 0]), (2.0, [1, 1]), (-2.0, [0, 0])):
        report = pairs(Calibration(shift=shift).on(said), [*rows, {**rows[0], "label": "not_entailment"}])
        assert [s == ["entailment"] for s in report.outcomes["said"][:2]] == [bool(e) for e in expected]


def test_few_shot_is_a_logistic_regression_on_the_drawn():
    report = few_shot(Embeds(), ROWS, shots=3, seeds=3)
    vectors = Embeds().embed([r["text"] for r in ROWS], role="query")
    y = np.array([r["label"] for r in ROWS])
    accuracies, scores = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        drawn = np.concatenate([rng.choice(np.flatnonzero(y == k), 3, replace=False) for k in np.unique(y)])
        rest = np.setdiff1d(np.arange(len(y)), drawn)
        model = LogisticRegression(max_iter=1000).fit(vectors[drawn], y[drawn])
        accuracies.append((model.predict(vectors[rest]) == y[rest]).mean())
        scores.append(reference.f1_score(y[rest], model.predict(vectors[rest]), average="macro"))
    assert len(set(accuracies)) > 1
    for figure, name, of in zip(report.figures, ("macro F1", "accuracy"), (scores, accuracies), strict=True):
        assert (figure.name, figure.value) == (name, pytest.approx(np.mean(of)))
        assert figure.high - figure.value == pytest.approx(np.std(of, ddof=1))
    assert report.n == len(ROWS) - 9
    apart = few_shot(Embeds(), ROWS[:18], shots=3, train=ROWS[18:])
    assert apart.n == 18


@pytest.mark.parametrize(
    ("rows", "shots", "says"),
    [
        (ROWS, 12, "'blue' has 12 rows; expected at least 13"),
        ([*ROWS, {"text": "x", "label": None}], 2, "row 37.*one label"),
        (ROWS[::3], 2, "every row's label is 'red'"),
    ],
)
def test_few_shot_refuses_what_it_cannot_learn_from(rows, shots, says):
    with pytest.raises(DataError, match=says):
        few_shot(Embeds(), rows, shots=shots)
