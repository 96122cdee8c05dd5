"""Calibration: fitted as scikit-learn does, with a price on length, for one scorer, and never a new order."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Ask, Calibrated, Calibration, Guard, Label, Reranker, Router, judge
from headgate.scores import EMPTY_LOG_ODDS, logistic
from headgate.testing import ToyScorer, check_scorer
from tests.core.fixed import Fixed, scores


def sample(n, *, scale=0.7, shift=-1.0, length=0.0, windows=(1,), seed=0):
    """Log-odds, truths and windows of which this calibration is the true one."""
    rng = np.random.default_rng(seed)
    z, w = rng.normal(scale=3, size=n), rng.choice(windows, n)
    return z, rng.random(n) < logistic(scale * z + shift - length * np.log(w)), w


# ---------------------------------------------------------------------------------------- fit


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("scale", "shift"), [(0.4, -1.0), (3.0, 2.0)])
def test_fit_equals_scikit_learn(seed, scale, shift):
    from sklearn.calibration import _SigmoidCalibration

    z, y, _ = sample(400, scale=scale, shift=shift, seed=seed)
    ours, theirs = Calibration.fit(z, y), _SigmoidCalibration().fit(z, y)
    np.testing.assert_allclose(ours(scores(z[:, None])).probabilities[:, 0], theirs.predict(z), atol=1e-4)


@given(st.lists(st.tuples(st.floats(-20, 20), st.booleans()), min_size=4, max_size=40))
def test_fit_never_reorders(pairs):
    z, y = np.array([p[0] for p in pairs], np.float32), np.array([p[1] for p in pairs])
    try:
        calibrated = Calibration.fit(z, y)(scores(z[:, None])).log_odds[:, 0]
    except ValueError:  # one kind of truth, or false ranked above true
        return
    assert (np.diff(calibrated[np.argsort(z, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_separable_data_gives_finite_numbers(size):
    z = np.repeat([-2.0, -1.0, 1.0, 2.0], size)
    fitted = Calibration.fit(z, z > 0)
    assert np.isfinite([fitted.scale, fitted.shift]).all()
    assert 0 < fitted.scale < 50


def test_fit_recovers_a_planted_cost_of_length():
    z, y, windows = sample(20_000, scale=0.8, shift=-0.3, length=0.7, windows=(1, 2, 4, 8, 16))
    fitted = Calibration.fit(z, y, windows=windows)
    np.testing.assert_allclose([fitted.scale, fitted.shift, fitted.length], [0.8, -0.3, 0.7], atol=0.06)


def test_length_never_earns_a_bonus():
    z, y, windows = sample(5_000, length=-0.7, windows=(1, 2, 4, 8))
    fitted = Calibration.fit(z, y, windows=windows)
    assert fitted == Calibration.fit(z, y)
    assert fitted.length == 0


def test_texts_of_one_window_fit_no_length():
    z, y, windows = sample(300)
    assert Calibration.fit(z, y, windows=windows) == Calibration.fit(z, y)


def test_fit_takes_the_windows_of_scores():
    z, y, windows = sample(2_000, length=0.7, windows=(1, 4))
    z = z.astype(np.float32)
    found = scores(z.reshape(500, 4), windows=windows.reshape(500, 4))
    assert Calibration.fit(found, y.reshape(500, 4)) == Calibration.fit(z, y, windows=windows)


def test_fit_leaves_empty_texts_out():
    # Their -10,000 is no model's number; one of them would halve the scale.
    z, y, _ = sample(300)
    z = z.astype(np.float32)
    texts = ["a text"] * 300 + [" "]
    found = scores([*z[:, None], [EMPTY_LOG_ODDS]], texts)
    assert Calibration.fit(found, [*y[:, None], [False]]) == Calibration.fit(z, y)


def test_truths_may_be_0_and_1():
    z, y, _ = sample(100)
    assert Calibration.fit(z, y.astype(int)) == Calibration.fit(z.tolist(), y.tolist())


def test_fit_keeps_what_it_was_fitted_on():
    fitted = Calibration.fit([-1, 1, 0], [False, True, True], scorer="toy", labels=["a", "b"])
    assert (fitted.scorer, fitted.labels) == ("toy", ("a", "b"))


@pytest.mark.parametrize(
    ("z", "y", "windows", "message"),
    [
        ([0, 1], [True], None, r"shape \(2,\), truths \(1,\)"),
        ([0, 1], [True, False], [1], r"windows \(1,\)"),
        ([0, 1], [True, True], None, "both true and false"),
        ([0, 1], [False, False], None, "both true and false"),
        ([], [], None, "both true and false"),
        ([0, np.nan], [True, False], None, "NaN or infinity"),
        ([0, np.inf], [True, False], None, "NaN or infinity"),
        ([0, 1], [True, False], [1, 0], "no window"),
        ([0, 1, 2, 3], [True, True, False, False], None, "rank false above true"),
        ([0, 0, 0, 0], [True, True, False, False], None, "rank false above true"),
    ],
)
def test_fit_refuses(z, y, windows, message):
    with pytest.raises(ValueError, match=message):
        Calibration.fit(z, y, windows=windows)


# -------------------------------------------------------------------------------------- apply


@pytest.mark.parametrize(
    "numbers",
    [
        {"scale": 0},
        {"scale": -1},
        {"scale": np.nan},
        {"scale": np.inf},
        {"shift": np.nan},
        {"shift": np.inf},
        {"length": -0.1},
        {"length": np.nan},
        {"length": np.inf},
    ],
)
def test_a_calibration_that_could_reorder_is_refused(numbers):
    with pytest.raises(ValueError, match="expected"):
        Calibration(**numbers)


def test_calibration_is_scale_shift_and_length():
    found = scores([[1.0, -2.0]], meaning="order", windows=np.array([[1, 5]]), exclusive=True)
    calibrated = Calibration(2, 0.5, 0.25)(found)
    np.testing.assert_allclose(calibrated.log_odds, [[2.5, -3.5 - 0.25 * np.log(5)]], rtol=1e-6)
    assert calibrated.log_odds.dtype == np.float32
    assert calibrated.meaning == "probability"
    assert not calibrated.exclusive  # they no longer sum to 1
    assert found.log_odds.tolist() == [[1, -2]]


@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=30), st.floats(0.01, 10), st.floats(-5, 5))
def test_calibration_keeps_the_order_of_texts_of_one_length(z, scale, shift):
    calibrated = Calibration(scale, shift, 0.5)(scores([z], windows=np.full((1, len(z)), 3)))
    assert (np.diff(calibrated.log_odds[0][np.argsort(z)]) >= 0).all()


# ----------------------------------------------------------------------------------------- on


def test_a_calibration_refuses_a_scorer_it_was_not_fitted_on():
    with pytest.raises(ValueError, match=r"fitted on scorer other, and this one is toy"):
        Calibration(scorer="other").on(ToyScorer())
    assert Calibration(scorer="toy").on(ToyScorer()).scorer == ToyScorer()
    assert Calibration().on(ToyScorer()).scorer == ToyScorer()


def test_a_calibration_of_one_label_set_refuses_another():
    scorer = Calibration(labels=("a", "b")).on(ToyScorer(joint=True))
    assert scorer.score(["a"], ["b", Label("a")]).log_odds.tolist() == [[-4, 4]]
    for labels in (["a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match=r"labels .* are not those"):
            scorer.score(["a"], labels)


@pytest.mark.parametrize("inner", [ToyScorer(), ToyScorer("order"), ToyScorer(joint=True)])
def test_a_calibrated_scorer_is_a_scorer(inner):
    check_scorer(Calibration(0.5, 1.0, 0.2).on(inner))


def test_a_calibrated_scorer_says_what_the_inner_one_says():
    inner = ToyScorer(joint=True, labels=("a", "b"), thresholds={"a": 0.7})
    outer = Calibration(0.5).on(inner)
    assert (outer.joint, outer.labels, outer.thresholds) == (True, ("a", "b"), {"a": 0.7})
    assert outer.split_label("One. Two.") == ["One", "Two"]
    assert Calibration().on(object()).thresholds == {}


def test_the_fingerprint_changes_with_each_number():
    every = [Calibration(), Calibration(scale=2), Calibration(shift=1), Calibration(length=1)]
    assert len({c.on(ToyScorer()).fingerprint for c in every} | {"toy"}) == 5
    assert Calibration().on(ToyScorer(fingerprint="x")).fingerprint != Calibration().on(ToyScorer()).fingerprint


def test_an_order_may_rank_guard_and_route_once_calibrated():
    scorer = Calibration(2, 0.5).on(ToyScorer("order"))
    assert Router(scorer, ["wine", "beer"])("a beer please").choice == "beer"
    assert Guard(scorer, ["beer"], threshold=0.9)("a beer please").broken == ("beer",)
    (hit,) = Reranker(scorer, min_probability=0.5)("beer", ["water", "beer"])
    assert hit.probability == pytest.approx(logistic(2 * 4 + 0.5))


def test_empty_texts_stay_lowest_under_any_calibration():
    (found,) = judge(Calibration(1e-6, 5).on(ToyScorer()), [Ask(["", "b"], ["a"])])
    assert found.log_odds[0, 0] == EMPTY_LOG_ODDS < found.log_odds[1, 0]


def test_a_calibrated_scorer_makes_one_plan_of_many_asks():
    class Many(ToyScorer):
        def score_many(self, asks):
            calls.append(len(asks))
            return [self.score(a.texts, a.labels) for a in asks]

    calls = []
    found = Calibration(2).on(Many()).score_many([Ask(["a"], ["a"]), Ask(["b"], ["a"])])
    assert [f.log_odds.item() for f in found] == [8, -8]
    assert calls == [2]


def test_closing_a_calibrated_scorer_closes_the_inner_one():
    class Closing(ToyScorer):
        def close(self):
            closed.append(self)

    closed = []
    Calibration().on(Closing()).close()
    assert closed == [Closing()]
    Calibration().on(ToyScorer()).close()  # nothing to close is no error


def test_long_queries_need_an_inner_scorer_that_splits_them():
    with pytest.raises(TypeError, match="Fixed has no split_label"):
        Reranker(Calibration().on(Fixed([[0.0]])), long_query="windows")("q", ["d"])


def test_a_calibration_of_a_calibration_applies_both():
    twice = Calibrated(Calibrated(ToyScorer(), Calibration(2)), Calibration(1, 1))
    assert twice.score(["a"], ["a"]).log_odds.item() == 9
    assert replace(twice, calibration=Calibration()).score(["a"], ["a"]).log_odds.item() == 8
