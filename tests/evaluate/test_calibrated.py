"""Calibration and selective risk of every task's report, beside the metrics of what the model was sure of."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from headgate import Guard, Reranker, Router
from headgate.evaluate import classify, guard, pairs, rerank, route
from headgate.evaluate.metrics import calibration_error, risk_coverage
from headgate.scores import logistic
from tests.evaluate.fixed import ROWS, Says

NAMES = ("blue", "green", "red")


def drawn():
    rng = np.random.default_rng(0)
    z = {r["text"]: {n: float(rng.normal() * 2 + 2 * (n == r["label"]) - 1) for n in NAMES} for r in ROWS}
    return Says(z), np.array([[z[r["text"]][n] for n in NAMES] for r in ROWS])


def best(z):
    """Which label is likeliest, and whether it is the row's."""
    at = z.argmax(axis=1)
    return at, np.array([NAMES[j] == r["label"] for j, r in zip(at, ROWS, strict=True)])


def by_classify():
    scorer, z = drawn()
    at, right = best(z)
    return classify(scorer, ROWS), "", logistic(z[np.arange(len(z)), at]), right, True


def by_route():
    """Of the best route, declined or not, where "none" has odds of 1."""
    scorer, z = drawn()
    at, right = best(z)
    p = np.exp(z) / (1 + np.exp(z).sum(axis=1, keepdims=True))
    return route(Router(scorer, NAMES, threshold=0.9), ROWS), "", p[np.arange(len(z)), at], right, True


def by_guard():
    """Of the rows that break the rule and the safe ones; what breaks another rule is neither."""
    scorer, z = drawn()
    rows = [{**r, "label": None if r["label"] == "blue" else r["label"]} for r in ROWS]
    kept = np.array([r["label"] != "green" for r in rows])
    truth = np.array([r["label"] == "red" for r in rows])
    found = guard(Guard(scorer, ["red", "green"], threshold=0.5), rows)
    return found, "red: ", logistic(z[kept, 2]), truth[kept], False


def by_pairs():
    """Of the likelier of the two classes."""
    rng = np.random.default_rng(1)
    z = rng.normal(size=40) * 2
    entailed = rng.random(40) < logistic(z)
    label = np.where(entailed, "entailment", "not_entailment")
    rows = [{"premise": f"p{i}", "hypothesis": "h", "label": str(label[i])} for i in range(40)]
    found = pairs(Says({f"p{i}": {"h": float(z[i])} for i in range(40)}), rows)
    return found, "", np.maximum(logistic(z), logistic(-z)), (z > 0) == entailed, True


def by_rerank():
    """Of every document that is left, relevant or not."""
    rng = np.random.default_rng(2)
    z, relevance = rng.normal(size=(8, 5)), rng.integers(0, 3, (8, 5))
    rows = [
        {"query": f"q{q}", "documents": [{"text": f"d{q} {d}", "relevance": int(relevance[q, d])} for d in range(5)]}
        for q in range(8)
    ]
    said = {f"d{q} {d}": {f"q{q}": float(z[q, d])} for q in range(8) for d in range(5)}
    return rerank(Reranker(Says(said)), rows), "", logistic(z).ravel(), (relevance > 0).ravel(), False


@pytest.mark.parametrize("task", [by_classify, by_route, by_guard, by_pairs, by_rerank])
def test_ece_brier_and_aurc_are_those_of_the_probabilities(task):
    report, of, p, truth, chosen = task()
    assert 0 < truth.sum() < truth.size
    close = {"abs": 1e-5}  # scores are single precision
    for equal in ("mass", "width"):
        expected = calibration_error(p, truth, equal=equal)
        assert report[f"{of}ECE (15 bins of equal {equal})"] == pytest.approx(expected, **close)
    assert report[f"{of}Brier score"] == pytest.approx(brier_score_loss(truth, p), **close)
    if chosen:
        assert report["AURC"] == pytest.approx(risk_coverage(p, truth).area, **close)
        wrong = ~truth[np.argsort(-p)]
        assert report["AURC"] == pytest.approx(np.mean(np.cumsum(wrong) / np.arange(1, wrong.size + 1)), **close)
