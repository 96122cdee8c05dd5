"""Exact binomial bounds beside scipy's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headgate.bounds import binomial_cdf, fewest, last_proven, most_errors, upper_bound, wilson

COUNTS = st.integers(0, 3000).flatmap(lambda n: st.tuples(st.integers(-1, n), st.just(n)))
RATES = st.floats(1e-6, 1 - 1e-6)


@given(COUNTS, RATES)
def test_the_cdf_is_scipys(counts, p):
    k, n = counts
    assert binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-8, abs=1e-250)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_cdf_at_the_ends(p, expected):
    assert binomial_cdf(3, 10, p) == expected


@given(COUNTS, st.floats(0.5, 0.999))
def test_the_upper_bound_is_clopper_and_pearsons(counts, confidence):
    k, n = max(counts[0], 0), counts[1]
    expected = 1.0 if k >= n else stats.beta.ppf(confidence, k + 1, n - k)
    assert upper_bound(k, n, confidence) == pytest.approx(expected, abs=1e-9)


@given(st.integers(0, 5000), st.floats(0.001, 0.5), st.floats(0.5, 0.99))
def test_the_most_errors_are_the_last_that_prove_the_rate(n, rate, confidence):
    most = most_errors(n, rate, confidence)
    assert most == -1 or stats.binom.cdf(most, n, rate) <= 1 - confidence + 1e-12
    assert most == n or stats.binom.cdf(most + 1, n, rate) > 1 - confidence - 1e-12


@pytest.mark.parametrize(("rate", "n"), [(0.10, 22), (0.05, 45), (0.02, 114), (0.01, 230)])
def test_the_fewest_examples_without_an_error(rate, n):
    assert fewest(rate, 0.9) == n
    assert most_errors(n, rate, 0.9) == 0
    assert most_errors(n - 1, rate, 0.9) == -1


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_cautious_guess_is_wilsons_upper_end(counts):
    k, n = counts
    centre, half = (k + 0.5) / (n + 1), math.sqrt(k * (n - k) / n + 0.25) / (n + 1)
    assert wilson(k, n) == pytest.approx(centre + half)
    assert wilson(0, 0) == 1


def test_the_walk_ends_at_the_first_step_that_proves_nothing():
    assert last_proven([0, 0, 9, 0], [50, 60, 70, 80], rate=0.05, confidence=0.9) == 1
    assert last_proven([9, 0], [50, 60], rate=0.05, confidence=0.9) == -1
    assert last_proven([0], [0], rate=0.05, confidence=0.9) == -1
    assert last_proven([], [], rate=0.05, confidence=0.9) == -1
    assert last_proven([0, 0], [50, 60], rate=0.05, confidence=0.9) == 1


def test_an_order_statistic_lets_no_more_through_than_it_says():
    # 4,000 draws of 300 scores: the share of all later scores above the one that is let through last.
    rng, n, rate = np.random.default_rng(0), 300, 0.05
    k = most_errors(n, rate, 0.9)
    above = 1 - np.sort(rng.random((4000, n)), axis=1)[:, n - 1 - k]
    broken = int((above > rate).sum())
    assert stats.binomtest(broken, 4000, 0.1, alternative="greater").pvalue > 0.01
    assert broken > 200  # and it is no stricter than it must be: the next order statistic breaks more often
    looser = 1 - np.sort(rng.random((4000, n)), axis=1)[:, n - 2 - k]
    assert stats.binomtest(int((looser > rate).sum()), 4000, 0.1, alternative="greater").pvalue < 0.01
