"""A reranker gives a stable descending order of everything it was handed; test_cutoffs.py says what is cut."""

import json
from copy import deepcopy
from dataclasses import FrozenInstanceError, asdict, dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Ask, Hit, Label, Reranker, ScorerError, judge
from headgate.scores import EMPTY_LOG_ODDS, logistic
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed, scores

# Multiples of 1/8, so that ties are common and sums are exact.
log_odds = st.integers(-80, 80).map(lambda k: k / 8)
DOCS = ["the red hat", "a blue hat", "", "red red wine", "green tea"]


@dataclass
class Page:
    words: str


def indices(hits):
    return [hit.index for hit in hits]


def decide(z, *, prior=None, texts=None, parts=None, **settings):
    found = scores(np.reshape(z, (len(z), -1 if len(z) else 1)), texts, **(parts or {}))
    return Reranker(Fixed(z), **settings).decide([found], prior=prior)


# ---------------------------------------------------------------------------------------- order


@given(st.lists(log_odds, max_size=20))
def test_hits_are_a_stable_descending_permutation(z):
    hits = decide(z)
    assert indices(hits) == sorted(range(len(z)), key=lambda i: (-z[i], i))
    assert [h.log_odds for h in hits] == [z[i] for i in indices(hits)]
    np.testing.assert_allclose([h.probability for h in hits], logistic([h.log_odds for h in hits]), rtol=1e-12)


def test_ranks_on_log_odds_which_do_not_saturate():
    assert indices(decide([800.0, 900.0, -800.0, -900.0])) == [1, 0, 2, 3]


@given(st.lists(st.tuples(log_odds, st.booleans()), min_size=1, max_size=12), st.booleans())
def test_empty_documents_come_last_whatever_the_prior_and_are_flagged(rows, with_prior):
    texts = [" " if empty else "words" for _, empty in rows]
    prior = [float(i) for i in range(len(rows))] if with_prior else None
    hits = Reranker(Fixed([[z] for z, _ in rows]))("query", texts, prior=prior)
    empties = [i for i, (_, empty) in enumerate(rows) if empty]
    last = indices(hits)[len(rows) - len(empties) :]
    assert (sorted(last) if with_prior else last) == empties
    assert [h.index for h in hits if h.empty] == last
    assert all(h.log_odds == EMPTY_LOG_ODDS for h in hits if h.empty)


def test_empty_documents_come_last_even_below_one_that_scores_less():
    hits = Reranker(Fixed([[0.0], [-2e4]]))("query", ["", "words"])
    assert indices(hits) == [1, 0]


def test_an_order_ranks_without_probabilities():
    hits = Reranker(ToyScorer("order"))("red", DOCS)
    assert indices(hits) == [0, 3, 1, 4, 2]
    assert {h.probability for h in hits} == {None}


def test_no_documents_give_no_hits():
    assert Reranker(ToyScorer(), min_probability=0.5, top_p=0.5, max_gap=1, top_k=1)("query", []) == []
    assert Reranker(ToyScorer())("query", [], prior=[]) == []


def test_a_fixed_label_ranks_in_place_of_the_query():
    for label in ("red", Label("red", verbatim=True)):
        scorer = Fixed([[0.0]])
        Reranker(scorer, label=label)("anything", ["a document"])
        assert scorer.asked == [Ask(["a document"], [label])]


def test_hits_say_which_characters_counted():
    (hit,) = Reranker(Fixed([[1.0]], parts={"spans": np.array([[[2, 5]]])}))("query", ["a document"])
    assert hit.span == (2, 5)


# ---------------------------------------------------------------------------------------- prior


def z_score(x):
    return (np.array(x) - np.mean(x)) / np.std(x)


@given(st.lists(st.tuples(log_odds, log_odds), min_size=2, max_size=12), st.floats(0, 5))
def test_prior_adds_weighted_z_scores(rows, weight):
    z, prior = [r[0] for r in rows], [r[1] for r in rows]
    hits = decide(z, prior=prior, prior_weight=weight)
    sides = [z_score(x) if np.std(x) else np.zeros(len(x)) for x in (z, prior)]
    fused = sides[0] + weight * sides[1]
    assert sorted(indices(hits)) == list(range(len(z)))
    assert (np.diff(fused[indices(hits)]) <= 1e-9).all()
    assert [h.prior for h in hits] == [prior[h.index] for h in hits]
    assert [h.log_odds for h in hits] == [z[h.index] for h in hits]


@given(st.lists(log_odds, max_size=12), st.floats(-1e6, 1e6))
def test_a_constant_prior_changes_nothing(z, value):
    assert indices(decide(z, prior=[value] * len(z))) == indices(decide(z))


@given(st.lists(st.tuples(log_odds, log_odds), max_size=12))
def test_a_prior_of_no_weight_changes_nothing(rows):
    z, prior = [r[0] for r in rows], [r[1] for r in rows]
    assert indices(decide(z, prior=prior, prior_weight=0)) == indices(decide(z))


@given(st.lists(log_odds, min_size=2, max_size=12))
def test_equal_log_odds_leave_the_order_to_the_prior(prior):
    assert indices(decide([1.0] * len(prior), prior=prior)) == sorted(range(len(prior)), key=lambda i: (-prior[i], i))


def test_by_default_one_deviation_of_the_prior_is_worth_one_of_the_model():
    z, prior = [0.0, 1.0, 3.0], [4.0, 2.0, 0.0]
    assert indices(decide(z, prior=prior)) == indices(decide(z, prior=prior, prior_weight=1)) == [0, 2, 1]
    assert indices(decide(z, prior=prior, prior_weight=0.9)) == [2, 0, 1]


def test_the_scale_of_the_prior_does_not_matter():
    z, prior = [0.0, 1.0, 2.0], [0.9, 0.2, 0.1]
    assert indices(decide(z, prior=prior)) == indices(decide(z, prior=[1000 * p - 7 for p in prior]))


def test_an_empty_document_has_no_part_in_the_fusion():
    z, prior = [0.0, 1.0, 3.0], [3.0, 2.5, 1.0]
    alone = indices(decide(z, prior=prior, prior_weight=0.9))
    with_empty = decide([*z, EMPTY_LOG_ODDS], prior=[*prior, 1e6], texts=["a", "b", "c", ""], prior_weight=0.9)
    assert indices(with_empty) == [*alone, 3]


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ([1.0], r"prior has shape \(1,\); expected 2"),
        ([1.0, 2.0, 3.0], r"prior has shape \(3,\); expected 2"),
        ([[1.0], [2.0]], r"prior has shape \(2, 1\); expected 2"),
        ([1.0, np.nan], "prior 1 is nan; expected finite"),
        ([1.0, np.inf], "prior 1 is inf; expected finite"),
        ([None, 1.0], "prior 0 is nan; expected finite"),
    ],
)
def test_a_prior_must_be_one_finite_number_for_each_document(prior, message):
    with pytest.raises(ValueError, match=message):
        decide([0.0, 1.0], prior=prior)


@pytest.mark.parametrize("prior", [1.0, {0: 1.0, 1: 2.0}, {1.0, 2.0}])
def test_a_prior_is_a_list_in_the_order_of_the_documents(prior):
    with pytest.raises(TypeError, match=r"prior is .*; expected a list"):
        decide([0.0, 1.0], prior=prior)


# ------------------------------------------------------------------------------------ long query


def test_a_long_query_is_judged_by_its_parts_and_ranked_by_their_mean():
    scorer = ToyScorer()
    hits = Reranker(scorer, long_query="windows")("Red. Hat. Red.", DOCS)
    assert indices(hits) == [0, 1, 3, 4, 2]
    assert [h.log_odds for h in hits] == [4, 0, 0, -4, EMPTY_LOG_ODDS]
    assert hits[1].probability == 0.5


def test_each_part_of_a_long_query_is_asked_once():
    (ask,) = Reranker(ToyScorer(), long_query="windows").ask("Red. Hat. Red.", DOCS)
    assert ask.labels == ["Red", "Hat"]


def test_a_long_query_shows_the_characters_of_its_best_part():
    parts = {"spans": np.array([[[0, 1], [2, 3]], [[4, 5], [6, 7]]])}
    hits = decide([[0.0, 1.0], [5.0, 1.0]], texts=["a document"] * 2, parts=parts)
    assert [h.span for h in hits] == [(4, 5), (2, 3)]


def test_by_default_the_query_is_asked_whole():
    (ask,) = Reranker(ToyScorer()).ask("Red. Hat.", DOCS)
    assert ask.labels == ["Red. Hat."]


def test_windows_need_a_scorer_that_splits():
    with pytest.raises(TypeError, match="Fixed has no split_label"):
        Reranker(Fixed([[0.0]]), long_query="windows")("query", ["document"])


# ---------------------------------------------------------------------------------- calls, input


def test_text_says_where_the_words_of_an_object_are():
    pages = [Page(words) for words in DOCS]
    hits = Reranker(ToyScorer(), text=lambda page: page.words)("red hat", pages)
    assert hits == Reranker(ToyScorer())("red hat", DOCS)


def test_objects_without_text_are_refused():
    with pytest.raises(TypeError, match=r"text 0 is Page; expected str\. Pass text="):
        Reranker(ToyScorer())("red", [Page("red")])


def test_many_equals_one_by_one():
    rerank = Reranker(ToyScorer(), top_k=3)
    queries, lists = ["red", ["a", "blue", "hat"], "tea"], [DOCS, DOCS[:2], []]
    assert rerank.many(queries, lists) == [rerank(q, d) for q, d in zip(queries, lists, strict=True)]
    assert rerank.many([], []) == []


def test_many_is_one_plan():
    class Many(ToyScorer):
        def score_many(self, asks):
            calls.append(len(asks))
            return [self.score(a.texts, a.labels) for a in asks]

    calls = []
    Reranker(Many()).many(["red", "tea"], [DOCS, DOCS])
    assert calls == [2]


def test_many_wants_as_many_queries_as_lists():
    with pytest.raises(ValueError, match="2 queries and 1 lists"):
        Reranker(ToyScorer()).many(["a", "b"], [DOCS])


@pytest.mark.parametrize(
    "call",
    [
        lambda rerank: rerank("query", "a document"),
        lambda rerank: rerank("query", None),
        lambda rerank: rerank("query", {"a", "b"}),
        lambda rerank: rerank("query", {"a": 1}),
        lambda rerank: rerank(None, DOCS),
        lambda rerank: rerank("query", ["a", None]),
        lambda rerank: rerank.many("ab", [DOCS, DOCS]),
        lambda rerank: rerank.many(["query"], "d"),
        lambda rerank: rerank.many(["query"], None),
    ],
)
def test_what_is_no_list_of_documents_is_refused(call):
    with pytest.raises(TypeError, match="expected"):
        call(Reranker(ToyScorer()))


@pytest.mark.parametrize("query", ["", " ", [], [{"role": "assistant", "content": None}]])
@pytest.mark.parametrize("long_query", ["error", "windows"])
def test_a_blank_query_is_refused(query, long_query):
    with pytest.raises(ValueError, match="query is blank"):
        Reranker(ToyScorer(), long_query=long_query)(query, DOCS)


def test_nan_never_ranks():
    with pytest.raises(ScorerError, match="nan"):
        Reranker(Fixed([[1.0], [np.nan]]))("query", ["a", "b"])


def test_nothing_that_comes_in_is_changed():
    pages, prior = [Page(words) for words in DOCS], [1.0, 5.0, 2.0, 2.0, 3.0]
    before = deepcopy((pages, prior))
    same = list(pages)
    Reranker(ToyScorer(), text=lambda page: page.words, top_k=2)("red hat", pages, prior=prior)
    assert (pages, prior) == before
    assert all(a is b for a, b in zip(pages, same, strict=True))


def test_decide_can_be_replayed_and_asks_nobody():
    scorer = Fixed([[1.0], [3.0], [2.0]])
    rerank = Reranker(scorer)
    stored = judge(scorer, rerank.ask("query", ["a", "b", "c"]))
    assert rerank.decide(stored) == rerank.decide(stored) == rerank("query", ["a", "b", "c"])
    assert Reranker(scorer, top_k=1).decide(stored) == rerank.decide(stored)[:1]
    assert len(scorer.asked) == 2


def test_a_hit_is_frozen_and_json():
    (hit,) = Reranker(ToyScorer())("red", ["red"], prior=np.array([2], np.float32))
    assert json.loads(json.dumps(asdict(hit))) == {**asdict(hit), "span": [0, 3]}
    assert hit == Hit(0, hit.probability, 4.0, (0, 3), prior=2.0)
    with pytest.raises(FrozenInstanceError):
        hit.index = 1
