"""Metrics against scikit-learn, scipy, and definitions worked out by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from headgate.evaluate.metrics import (
    at_false_positives,
    auroc,
    average_precision,
    bootstrap,
    brier,
    calibration_error,
    declined_at_retention,
    exact,
    f1,
    paired,
    reliability,
    risk_coverage,
    roc,
)


def drawn(n=200, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < 0.4
    return truth, np.round(rng.normal(size=n) + truth, 1)  # rounded, so that scores tie


def test_f1_is_scikit_learns():
    rng = np.random.default_rng(0)
    truth, said = rng.random((60, 5)) < 0.3, rng.random((60, 5)) < 0.3
    truth[:, 4] = said[:, 4] = False  # a label that nobody says is no part of the mean
    for average in ("macro", "micro"):
        live = slice(4) if average == "macro" else slice(None)
        expected = reference.f1_score(truth[:, live], said[:, live], average=average, zero_division=0)
        assert f1(truth, said, average=average) == pytest.approx(expected)
    a, b = rng.integers(0, 4, 60), rng.integers(0, 5, 60)
    assert f1(np.eye(5, dtype=bool)[a], np.eye(5, dtype=bool)[b]) == pytest.approx(
        reference.f1_score(a, b, average="macro", zero_division=0)
    )
    assert f1(np.zeros((2, 3), dtype=bool), np.zeros((2, 3), dtype=bool)) == 0.0


def test_areas_and_brier_are_scikit_learns():
    truth, scores = drawn()
    assert auroc(truth, scores) == pytest.approx(reference.roc_auc_score(truth, scores))
    assert average_precision(truth, scores) == pytest.approx(reference.average_precision_score(truth, scores))
    rates, recalls = roc(truth, scores)
    assert reference.auc(rates, recalls) == pytest.approx(auroc(truth, scores))
    p = 1 / (1 + np.exp(-scores))
    assert brier(p, truth) == pytest.approx(reference.brier_score_loss(truth, p))
    with pytest.raises(ValueError, match="expected both"):
        auroc([True, True], [0.1, 0.2])


def best_by_search(truth, scores, rate):
    """The recall of every observed threshold that keeps the budget, the lowest of them."""
    safe = scores[~truth]
    allowed = int(np.floor(rate * safe.size + 1e-9))
    kept = [t for t in np.unique(scores) if (safe >= t).sum() <= allowed]
    return (np.inf, 0.0) if not kept else (min(kept), float((scores[truth] >= min(kept)).mean()))


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05, 0.29, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_recall_at_false_positives_by_search(rate, seed):
    truth, scores = drawn(seed=seed)
    point = at_false_positives(truth, scores, rate)
    assert (point.threshold, point.recall) == pytest.approx(best_by_search(truth, scores, rate))
    assert point.false_positive_rate <= rate + 1e-12


def test_ties_at_the_threshold_never_help():
    truth = np.array([True, True, False, False])
    # The one safe row allowed at 50 % ties with the other: both fire or neither does.
    assert at_false_positives(truth, [3.0, 1.0, 1.0, 1.0], 0.5).recall == 0.5
    assert at_false_positives(truth, [1.0, 1.0, 1.0, 1.0], 0.5)[:2] == (np.inf, 0)
    assert at_false_positives(truth, [1.0, 1.0, 1.0, 0.0], 0.5).recall == 1.0


def test_the_budget_is_counted_without_rounding_errors():
    truth = np.r_[np.ones(1, bool), np.zeros(100, bool)]
    assert 0.29 * 100 < 29  # in floats, so that rounding down alone would count 28
    assert at_false_positives(truth, np.r_[71.5, np.arange(100)], 0.29).false_positives == 29


def test_retention_by_hand():
    inside, outside = np.arange(20.0), np.array([0.0, 0.5, 1.0, 3.0])
    assert declined_at_retention(inside, outside, 0.95) == 0.5  # 19 of 20 are at 1.0 or above
    assert declined_at_retention(inside, outside, 1.0) == 0.0
    assert declined_at_retention([1.0], outside, 0.95) == 0.5


def test_risk_coverage_without_ties_is_the_mean_of_selective_risks():
    rng = np.random.default_rng(0)
    sure, right = rng.permutation(50) / 50, rng.random(50) < 0.7
    wrong = ~right[np.argsort(-sure)]
    found = risk_coverage(sure, right)
    assert found.area == pytest.approx(np.mean(np.cumsum(wrong) / np.arange(1, 51)))
    assert found.risk[-1] == pytest.approx(wrong.mean())
    assert found.coverage[0] == pytest.approx(1 / 50)


def test_area_with_ties_is_the_mean_over_their_orders():
    sure, right = np.array([0.9, 0.5, 0.5, 0.5, 0.1]), np.array([True, False, True, True, False])
    rng, areas = np.random.default_rng(0), []
    for _ in range(3000):
        jitter = sure + 1e-6 * rng.random(5)
        areas.append(risk_coverage(jitter, right).area)
    assert risk_coverage(sure, right).area == pytest.approx(np.mean(areas), abs=0.005)
    for order in ([4, 3, 2, 1, 0], [2, 0, 1, 4, 3]):
        assert risk_coverage(sure[order], right[order]).area == pytest.approx(risk_coverage(sure, right).area)
    assert risk_coverage(sure, right).coverage.tolist() == pytest.approx([0.2, 0.8, 1.0])


def test_reliability_is_scikit_learns():
    rng = np.random.default_rng(0)
    p = rng.random(300)
    y = rng.random(300) < p**2
    for equal, strategy in (("width", "uniform"), ("mass", "quantile")):
        found = reliability(p, y, equal=equal, bins=10)
        true, predicted = calibration_curve(y, p, n_bins=10, strategy=strategy)
        assert [b.frequency for b in found] == pytest.approx(list(true))
        assert [b.probability for b in found] == pytest.approx(list(predicted))
        sizes = np.array([b.rows for b in found])
        assert sizes.sum() == 300
        expected = float((sizes * np.abs(true - predicted)).sum() / 300)
        assert calibration_error(p, y, equal=equal, bins=10) == pytest.approx(expected)


def test_equal_probabilities_share_a_bin():
    p = np.array([0.2] * 40 + [0.8] * 10)
    y = np.array([True] * 10 + [False] * 30 + [True] * 8 + [False] * 2)
    assert len(reliability(p, y, bins=15)) == 2
    assert calibration_error(p, y) == pytest.approx(40 / 50 * 0.05)
    order = np.random.default_rng(0).permutation(50)
    assert calibration_error(p[order], y[order]) == pytest.approx(calibration_error(p, y))
    assert calibration_error([1.0, 0.0], [True, False], equal="width") == 0.0
    assert calibration_error([0.3], [True]) == pytest.approx(0.7)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (3, 10), (97, 100)])
def test_exact_interval_is_scipys(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="exact")
    assert exact(hits, n) == pytest.approx((expected.low, expected.high))


def test_bootstrap_of_a_mean_has_the_width_that_theory_says():
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(lambda at: float(values[at].mean()), 400, seed=3)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert (low, high) == bootstrap(lambda at: float(values[at].mean()), 400, seed=3)
    assert (low, high) != bootstrap(lambda at: float(values[at].mean()), 400, seed=4)


def test_strata_keep_their_sizes():
    strata = np.array([0] * 3 + [1] * 7)
    assert bootstrap(lambda at: float((strata[at] == 0).sum()), 10, strata=strata) == (3.0, 3.0)
    assert bootstrap(lambda at: float((strata[at] == 0).sum()), 10) != (3.0, 3.0)


def test_paired_p_value_is_uniform_under_the_null_and_small_where_there_is_a_difference():
    rng = np.random.default_rng(0)
    values = []
    for seed in range(60):
        gain = rng.normal(size=80)
        values.append(paired(lambda at, g=gain: float(g[at].mean()), 80, seed=seed, rounds=200).p)
    assert 0.3 < np.mean(values) < 0.7
    gain = rng.normal(size=80) + 1
    found = paired(lambda at: float(gain[at].mean()), 80, rounds=200)
    assert found.p == 1 / 201
    assert found.value == pytest.approx(gain.mean())
    assert found.low < found.value < found.high
    assert paired(lambda at: 0.0, 5, rounds=50) == (0.0, 0.0, 0.0, 1.0)
