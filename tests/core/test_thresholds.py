"""Thresholds that keep their promise over many draws of the data, and say when they can't."""

import numpy as np
import pytest
from scipy import stats

from headgate.bounds import most_errors
from headgate.thresholds import MARGIN, Outcomes, false_alarms, misses, moved, selective

CONFIDENCE = 0.9


def drawn(rng, n, slope=12.0):
    """Texts whose best route is right with a probability that grows with its own: P(right | p) known."""
    p = rng.random(n)
    right = rng.random(n) < 1 / (1 + np.exp(-slope * (p - 0.35)))
    return Outcomes(p, np.where(right, -1.0, p))


def risk(threshold, slope=12.0):
    """P(wrong | routed) of ``drawn`` at a threshold, by integration."""
    p = np.linspace(threshold, 1, 2001)
    return float((1 / (1 + np.exp(slope * (p - 0.35)))).mean())


def naive(outcomes, rate):
    """The lowest threshold that keeps the rate on the very data it is chosen on."""
    for t in np.sort(outcomes.best):
        n, wrong = outcomes.at(t)
        if wrong <= rate * n:
            return t
    return 1.0


@pytest.mark.parametrize("n", [100, 400])
def test_the_error_stays_below_the_target_in_as_many_draws_as_promised(n):
    broken, proven, guessed = 0, 0, 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        fit, held = drawn(rng, n // 2), drawn(rng, n - n // 2)
        proof = selective(fit, held, rate=0.1, confidence=CONFIDENCE)
        proven += proof.guaranteed
        broken += proof.guaranteed and risk(proof.threshold) > 0.1
        both = Outcomes(*(np.concatenate(pair) for pair in zip(fit, held, strict=True)))
        guessed += risk(naive(both, 0.1)) > 0.1
    assert stats.binomtest(broken, 300, 1 - CONFIDENCE, alternative="greater").pvalue > 0.01
    assert proven >= 290 or n < 400
    assert guessed > 0.2 * 300  # a threshold that is fitted and not proven breaks it far more often


def test_the_proof_counts_the_held_half_alone():
    rng = np.random.default_rng(0)
    fit, held = drawn(rng, 400), drawn(rng, 600)
    proof = selective(fit, held, rate=0.1, confidence=CONFIDENCE)
    n, errors = held.at(proof.threshold)
    assert (proof.n, proof.errors, proof.needed, proof.guaranteed) == (n, errors, 0, True)
    assert proof.bound == pytest.approx(stats.beta.ppf(CONFIDENCE, errors + 1, n - errors))
    assert proof.bound <= 0.1


def test_more_texts_are_routed_where_more_errors_are_allowed():
    rng = np.random.default_rng(3)
    fit, held = drawn(rng, 1000), drawn(rng, 1000)
    thresholds = [selective(fit, held, rate=rate, confidence=0.9).threshold for rate in (0.05, 0.1, 0.2)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == 3


def test_texts_that_can_not_be_routed_prove_nothing():
    rng = np.random.default_rng(1)
    fit, held = drawn(rng, 500), drawn(rng, 500)
    barred = Outcomes(np.full(500, -1.0), np.full(500, -1.0))
    proof = selective(barred, barred, rate=0.1, confidence=0.9)
    assert (proof.guaranteed, proof.n, proof.bound, proof.needed) == (False, 0, None, None)
    more = Outcomes(*(np.concatenate([a, b]) for a, b in zip(held, barred, strict=True)))
    alone = selective(fit, held, rate=0.1, confidence=0.9)
    assert selective(fit, more, rate=0.1, confidence=0.9).errors <= alone.errors + 20


def test_too_few_texts_say_how_many_more_would_do():
    rng = np.random.default_rng(0)
    fit, held = drawn(rng, 30, slope=30), drawn(rng, 30, slope=30)
    proof = selective(fit, held, rate=0.02, confidence=0.9)
    assert not proof.guaranteed
    assert proof.threshold == 0.98  # what calibrated probabilities say by themselves
    assert proof.needed is not None
    half = (60 + proof.needed) // 2
    more = selective(drawn(rng, half, slope=30), drawn(rng, half, slope=30), rate=0.02, confidence=0.9)
    assert more.guaranteed


def test_a_model_that_is_no_good_is_told_that_no_number_would_do():
    rng = np.random.default_rng(0)
    p = rng.random(400)
    coin = Outcomes(p, np.where(rng.random(400) < 0.5, p, -1.0))
    assert selective(coin, coin, rate=0.05, confidence=0.9).needed is None


@pytest.mark.parametrize("n", [230, 1000])
def test_false_alarms_stay_in_the_budget_in_as_many_draws_as_promised(n):
    broken, guessed, mean = 0, 0, []
    for seed in range(600):
        safe = np.random.default_rng(seed).random(n)
        proof = false_alarms(safe, safe, rate=0.01, confidence=CONFIDENCE)
        assert proof.guaranteed
        assert proof.errors == int((safe >= proof.threshold).sum())
        broken += 1 - proof.threshold > 0.01
        guessed += 1 - np.quantile(safe, 0.99) > 0.01
        mean.append(1 - proof.threshold)
    assert stats.binomtest(broken, 600, 1 - CONFIDENCE, alternative="greater").pvalue > 0.01
    assert guessed > 0.3 * 600
    assert np.mean(mean) > 0.2 * 0.01  # and it does not buy this with a threshold that nothing reaches


def test_misses_stay_in_the_budget_in_as_many_draws_as_promised():
    broken = 0
    for seed in range(600):
        unsafe = np.random.default_rng(seed).random(300)
        proof = misses(unsafe, unsafe, rate=0.1, confidence=CONFIDENCE)
        assert proof.guaranteed
        broken += proof.threshold > 0.1
    assert stats.binomtest(broken, 600, 1 - CONFIDENCE, alternative="greater").pvalue > 0.01
    assert broken > 20


def test_ties_are_let_through_or_stopped_together():
    safe = np.array([0.5] * 400 + [0.9] * 20)
    proof = false_alarms(safe, safe, rate=0.01, confidence=0.9)
    assert proof.threshold > 0.9  # twenty texts at 0.9 are more than the budget: all pass
    assert proof.errors == 0
    unsafe = np.array([0.1] * 60 + [0.9] * 400)
    assert misses(unsafe, unsafe, rate=0.1, confidence=0.9).threshold == pytest.approx(0.1, rel=2e-3)


def test_too_few_texts_for_a_budget_say_how_many_more():
    safe = np.linspace(0, 0.5, 100)
    proof = false_alarms(safe[:50], safe, rate=0.01, confidence=0.9)
    assert (proof.guaranteed, proof.needed) == (False, 2 * (230 - 50))
    assert proof.threshold == pytest.approx(0.495, abs=0.01)  # the quantile of all safe texts
    none = false_alarms(safe[:0], safe[:0], rate=0.01, confidence=0.9)
    assert (none.threshold, none.bound, none.n) == (1.0, None, 0)


def test_texts_that_are_blocked_whatever_the_threshold_count_as_alarms():
    safe = np.concatenate([np.linspace(0, 0.5, 480), np.full(20, 2.0)])
    proof = false_alarms(safe, safe, rate=0.01, confidence=0.9)
    assert (proof.guaranteed, proof.needed, proof.errors) == (False, None, 20)


@pytest.mark.parametrize("seed", range(5))
def test_a_score_that_moves_with_its_batch_does_not_cross_the_threshold_it_set(seed):
    p = np.random.default_rng(seed).random(400)
    moves = 0.9 * MARGIN * p * (1 - p)
    alarms, missed = (which(p, p, rate=0.05, confidence=0.9) for which in (false_alarms, misses))
    assert int((p + moves >= alarms.threshold).sum()) <= most_errors(400, 0.05, 0.9)
    assert int((p - moves < missed.threshold).sum()) <= most_errors(400, 0.05, 0.9)


@pytest.mark.parametrize("p", [0.0, 1e-300, 0.3, 1 - 1e-12, 1.0])
def test_moving_a_probability_up_ends_above_it_and_down_not(p):
    assert moved(p, MARGIN) > p
    assert moved(p, -MARGIN) <= p
