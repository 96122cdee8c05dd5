"""Where a ranking is cut: top_k, min_probability, top_p and max_gap, alone and together."""

from math import fsum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import NotCalibratedError, Reranker
from headgate.scores import logistic
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed, logit, scores

log_odds = st.integers(-80, 80).map(lambda k: k / 8)
lists = st.lists(st.tuples(log_odds, log_odds), max_size=12)
gap = st.integers(0, 80).map(lambda k: k / 8)
share = st.floats(0.01, 1)


def rank(rows, *, with_prior=False, **cuts):
    """Hits for rows of (log-odds, prior)."""
    found = scores(np.reshape([z for z, _ in rows], (-1, 1)), ["a text"] * len(rows))
    return Reranker(Fixed(None), **cuts).decide([found], prior=[p for _, p in rows] if with_prior else None)


@given(lists, st.booleans(), st.integers(1, 15))
def test_top_k_keeps_the_first(rows, with_prior, k):
    full = rank(rows, with_prior=with_prior)
    assert rank(rows, with_prior=with_prior, top_k=k) == full[:k]


def test_top_k_of_the_call_stands_in_for_the_rerankers_own():
    rerank = Reranker(ToyScorer(), top_k=1)
    docs = ["a", "b", "c"]
    assert len(rerank("a", docs)) == 1
    assert len(rerank("a", docs, top_k=2)) == 2
    assert len(rerank.decide([ToyScorer().score(docs, ["a"])], top_k=np.int64(3))) == 3


@given(lists, st.booleans(), st.floats(0, 1) | log_odds.map(lambda z: float(logistic(z))))
def test_min_probability_keeps_from_there_up(rows, with_prior, least):
    full = rank(rows, with_prior=with_prior)
    assert rank(rows, with_prior=with_prior, min_probability=least) == [h for h in full if h.probability >= least]


def test_min_probability_keeps_what_is_exactly_there_and_drops_empty_documents():
    docs = ["red", "", "red wine"]
    assert [h.index for h in Reranker(ToyScorer(), min_probability=0.5)("red tea", docs)] == [0, 2]
    assert [h.index for h in Reranker(ToyScorer(), min_probability=0.501)("red tea", docs)] == []
    assert [h.index for h in Reranker(ToyScorer(), min_probability=1e-9)("green", docs)] == [0, 2]


@given(lists, st.booleans(), gap)
def test_max_gap_drops_what_is_that_far_below_the_best(rows, with_prior, gap):
    full = rank(rows, with_prior=with_prior)
    best = max((z for z, _ in rows), default=0)
    kept = [h for h in full if best - h.log_odds < gap or h.log_odds == best]
    assert rank(rows, with_prior=with_prior, max_gap=gap) == kept


def test_max_gap_is_measured_from_the_models_best_even_where_the_prior_puts_another_first():
    rows = [(0.0, 9.0), (1.0, 0.0), (3.0, 0.0), (2.0, 1.0)]
    ranked = [[h.index for h in rank(rows, with_prior=True, prior_weight=3, max_gap=gap)] for gap in (2, 4)]
    assert ranked == [[2, 3], [0, 2, 3, 1]]


@given(lists.filter(len), st.booleans(), share)
def test_top_p_keeps_the_fewest_from_the_top_that_hold_the_share(rows, with_prior, top_p):
    full = rank(rows, with_prior=with_prior)
    kept = rank(rows, with_prior=with_prior, top_p=top_p)
    wanted = top_p * fsum(h.probability for h in full)
    assert kept == full[: len(kept)]
    assert len(kept) >= 1
    assert fsum(h.probability for h in kept) >= wanted * (1 - 1e-12)
    assert fsum(h.probability for h in kept[:-1]) < wanted * (1 + 1e-12)


@pytest.mark.parametrize(("top_p", "kept"), [(0.4, 1), (0.6, 2), (0.7, 2), (0.9, 3), (1.0, 4)])
def test_top_p_by_hand(top_p, kept):
    rows = [(z, 0.0) for z in logit([0.5, 0.25, 0.15, 0.1])]
    assert len(rank(rows, top_p=top_p)) == kept


def test_top_p_of_improbable_documents_keeps_the_best():
    assert [h.index for h in rank([(-1e4, 0.0), (-9e3, 0.0)], top_p=0.9)] == [1]


@given(lists, st.booleans(), st.integers(1, 6), st.floats(0, 1), share, gap)
def test_cut_offs_together_keep_what_passes_each(rows, with_prior, k, least, top_p, gap):
    cuts = {"min_probability": least, "top_p": top_p, "max_gap": gap}
    each = [rank(rows, with_prior=with_prior, **{name: value}) for name, value in cuts.items()]
    kept = [h for h in rank(rows, with_prior=with_prior) if all(h in hits for hits in each)]
    assert rank(rows, with_prior=with_prior, top_k=k, **cuts) == kept[:k]


@pytest.mark.parametrize("cut", [{"min_probability": 0.5}, {"top_p": 0.9}, {"max_gap": 1.0}])
def test_an_order_can_not_be_cut_by_what_it_does_not_know(cut):
    with pytest.raises(NotCalibratedError, match=r"top_k, or fit one: Calibration\.fit"):
        Reranker(ToyScorer("order"), **cut)("red", ["red", "blue"])


def test_an_order_can_be_cut_by_rank():
    assert len(Reranker(ToyScorer("order"), top_k=1)("red", ["red", "blue"])) == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("top_k", [0, -1, 1.5, 2.0, np.nan, True, "3"]),
        ("min_probability", [-0.1, 1.1, np.nan]),
        ("top_p", [0, -0.1, 1.1, np.nan]),
        ("max_gap", [-0.1, np.nan]),
        ("prior_weight", [-0.1, np.nan, np.inf]),
        ("long_query", ["window", None]),
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"{name} is .*; expected"):
            Reranker(ToyScorer(), **{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.5])
def test_the_top_k_of_a_call_has_the_same_range(value):
    with pytest.raises(ValueError, match=r"top_k is .*; expected a whole number"):
        Reranker(ToyScorer())("red", ["red"], top_k=value)
