"""What the highest of many windows is worth, beside scipy and draws of known tails."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from headgate.lengths import chi_squared_low, joined, length_term, reached


@given(st.integers(2, 2000))
def test_the_low_quantile_of_chi_squared_is_scipys(half):
    assert chi_squared_low(2 * half) == pytest.approx(stats.chi2.ppf(0.1, 2 * half), rel=0.01)


def test_joined_texts_have_their_size_of_different_texts():
    texts = [f"text number {i}" for i in range(100)]
    found = joined(texts, [7] * 100, longest=800, seed=0)
    assert sorted(set(found.sizes.tolist())) == [48, 96, 192, 384, 768]
    for text, size in zip(found.texts, found.sizes, strict=True):
        parts = text.split("\n")
        assert size <= 7 * len(parts) < size + 7
        assert set(parts) <= set(texts)
        assert len(set(parts)) == min(len(parts), 100) or size > 700
    assert found.texts == joined(texts, [7] * 100, longest=800, seed=0).texts
    assert found.texts != joined(texts, [7] * 100, longest=800, seed=1).texts


@pytest.mark.parametrize(("texts", "longest"), [([], 2048), (["a"], 0), (["a"], 47)])
def test_nothing_is_joined_of_nothing(texts, longest):
    assert joined(texts, [1] * len(texts), longest=longest, seed=0).texts == []


def test_a_text_is_joined_to_sizes_beyond_its_own():
    found = joined(["short"] * 5 + ["long"], [10] * 5 + [60], longest=96, seed=0)
    assert not any("long" in text for text, size in zip(found.texts, found.sizes, strict=True) if size == 48)
    assert any("long" in text for text, size in zip(found.texts, found.sizes, strict=True) if size == 96)


def test_a_size_counts_that_is_mostly_read_in_one_window():
    z, windows, sizes = np.arange(20.0), np.repeat([1, 1, 2, 2], 5), np.repeat([48, 96, 192, 384], 5)
    term = length_term(z, windows, sizes)
    assert term > 0
    windows[9] = 2  # one of the largest size that fits spills over: it is left out
    assert length_term(np.where(np.arange(20) == 9, 1000, z), windows, sizes) < 10


def test_a_scorer_that_counts_no_tokens_has_its_characters_counted():
    found = joined(["x" * 40] * 10, [0] * 10, longest=48, seed=0)
    assert {t.count("\n") for t in found.texts} == {4}  # five of ten tokens


def world(spread, n, sizes, window, seed=0):
    """Log-odds of joined texts whose windows fall off exponentially; windows; sizes."""
    rng = np.random.default_rng(seed)
    size = np.repeat(sizes, n)
    windows = np.maximum(1, size // window)
    return np.array([rng.exponential(spread, k).max() for k in windows]), windows, size


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_the_term_is_the_mean_excess_and_a_little_more(spread):
    z, windows, size = world(spread, 5000, [48, 96, 192, 384], window=96)
    assert 0.95 * spread <= length_term(z, windows, size) <= 1.2 * spread


def test_with_the_term_long_texts_reach_a_threshold_as_seldom_as_short_ones():
    worst = []
    for seed in range(200):
        z, windows, size = world(1.0, 100, [96, 192, 384], window=96, seed=seed)
        term = length_term(z, windows, size)
        threshold = -np.log(0.01)  # 1% of single windows
        worst.append(max(1 - (1 - np.exp(-(threshold + term * np.log(k)))) ** k for k in (2, 8, 32, 256)))
    assert np.mean(np.array(worst) > 0.02) < 0.15  # in most draws of a hundred texts
    naive = 1 - (1 - 0.01) ** 16
    assert naive == pytest.approx(0.15, abs=0.01)  # and 15% at sixteen windows without


@pytest.mark.parametrize("windows", [[1, 1, 1, 1], [2, 2, 4, 4]], ids=["all in one window", "none in one window"])
def test_without_both_kinds_of_texts_there_is_no_term(windows):
    assert length_term([1.0, 2.0, 3.0, 4.0], windows, [48, 48, 96, 96]) == 0


def test_constant_scores_have_no_term():
    assert length_term([1.0] * 4, [1, 1, 2, 2], [48, 48, 96, 96]) == 0
    assert reached([1.0] * 4, 0.01) == 1


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.05, 0.2])
def test_what_a_share_reaches_follows_an_exponential_tail(rate):
    z = np.random.default_rng(0).exponential(2.0, 100_000)
    assert reached(z, rate) == pytest.approx(-2 * np.log(rate), rel=0.03)
