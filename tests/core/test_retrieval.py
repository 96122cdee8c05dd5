"""Offenders are dropped or flagged, each for itself, and the rest is ranked as if they had never been there."""

import json
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import (
    Ask,
    Guard,
    GuardedReranker,
    Label,
    LabelError,
    NotCalibratedError,
    Reranker,
    Rule,
    ScorerError,
    Scores,
)
from headgate.retrieval import QUERY, RANKING
from headgate.scores import as_label
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed

GUARD = Guard(ToyScorer(), {"attack": Rule("attack", 0.5), "spam": Rule("spam", 0.5)})
DOCUMENTS = [
    "the invoice is wrong",
    "invoice attack",
    "the wrong password",
    "wrong invoice spam attack",
    "",
    "soil",
    "the invoice is wrong",
]
CLEAN = [0, 2, 4, 5, 6]
QUESTION = "wrong invoice"


def guarded(**settings):
    return GuardedReranker(Reranker(ToyScorer()), GUARD, **settings)


def places(passages):
    return [p.hit.index for p in passages]


# ------------------------------------------------------------------------------- who is dropped


def test_offenders_are_dropped_and_told_and_the_others_stay():
    found = guarded()(QUESTION, DOCUMENTS)
    assert places(found.kept) == [0, 6, 2, 5, 4]  # ties as they came in, the empty one last
    assert places(found.dropped) == [3, 1]  # best first
    assert [p.broken for p in found.dropped] == [("attack", "spam"), ("attack",)]
    assert all(p.allowed and p.broken == () for p in found.kept)
    assert not any(p.allowed for p in found.dropped)
    assert found.unjudged == ()
    for p in (*found.kept, *found.dropped):
        assert p.verdicts == {"guard": GUARD(DOCUMENTS[p.hit.index])}


def test_flagged_offenders_keep_their_place():
    found = guarded(on_broken="flag")(QUESTION, DOCUMENTS)
    assert tuple(p.hit for p in found.kept) == tuple(Reranker(ToyScorer())(QUESTION, DOCUMENTS))
    assert {p.hit.index: p.broken for p in found.kept if not p.allowed} == {1: ("attack",), 3: ("attack", "spam")}
    assert found.dropped == ()


def test_none_offends():
    found = guarded()(QUESTION, DOCUMENTS[:1])
    assert places(found.kept) == [0]
    assert found.dropped == ()


@pytest.mark.parametrize("prior", [None, [1.0, 2.0]])
def test_all_offend(prior):
    found = guarded()(QUESTION, ["invoice attack", "wrong attack invoice"], prior=prior)
    assert found.kept == ()
    assert sorted(places(found.dropped)) == [0, 1]


@pytest.mark.parametrize("prior", [None, []])
def test_no_documents(prior):
    found = guarded()(QUESTION, [], prior=prior)
    assert (found.kept, found.dropped, found.unjudged) == ((), (), ())


# ----------------------------------------------------------------- as the reranker alone on the rest

words = st.lists(st.sampled_from(["wrong", "invoice", "attack", "spam", "soil", " "]), max_size=4).map(" ".join)


@given(
    st.lists(words, max_size=8),
    st.booleans(),
    st.fixed_dictionaries(
        {},
        optional={
            "top_k": st.integers(1, 9),
            "min_probability": st.floats(0, 1),
            "top_p": st.floats(0.1, 1),
            "max_gap": st.floats(0, 9),
            "prior_weight": st.floats(0, 3),
        },
    ),
    st.data(),
)
def test_what_is_kept_is_ranked_as_if_the_dropped_had_never_been_there(documents, with_prior, settings, data):
    reranker = Reranker(ToyScorer(), **settings)
    prior = data.draw(st.lists(st.floats(-5, 5), min_size=len(documents), max_size=len(documents)))
    prior = prior if with_prior else None
    found = GuardedReranker(reranker, GUARD)(QUESTION, documents, prior=prior)
    clean = [i for i, d in enumerate(documents) if GUARD(d).allowed]
    own = None if prior is None else [prior[i] for i in clean]
    alone = reranker(QUESTION, [documents[i] for i in clean], prior=own)
    assert [p.hit for p in found.kept] == [replace(hit, index=clean[hit.index]) for hit in alone]
    assert sorted(places(found.dropped)) == [i for i in range(len(documents)) if i not in clean]


def test_a_dropped_one_moves_no_cut_off():
    texts = ["wrong invoice attack", "the invoice", "soil"]
    reranker = Reranker(ToyScorer(), max_gap=5.0, top_k=1)
    assert [h.index for h in reranker(QUESTION, texts)] == [0]
    found = GuardedReranker(reranker, GUARD)(QUESTION, texts)
    assert places(found.kept) == [1]  # though it stands 4 below the offender, and there is one place
    assert places(found.dropped) == [0]


def test_top_k_of_the_call_and_the_dropped_are_never_cut():
    found = guarded()(QUESTION, DOCUMENTS, top_k=1)
    assert places(found.kept) == [0]
    assert places(found.dropped) == [3, 1]
    with pytest.raises(ValueError, match="top_k is 0"):
        guarded()(QUESTION, DOCUMENTS, top_k=0)


def test_a_fixed_label_and_documents_that_are_no_strings():
    reranker = Reranker(ToyScorer(), label="soil", text=lambda d: d["text"])
    documents = [{"text": "attack soil"}, {"text": "soil"}, {"text": "x"}]
    found = GuardedReranker(reranker, GUARD)("whatever", documents)
    assert (places(found.kept), places(found.dropped)) == ([1, 2], [0])


def test_long_queries_in_windows():
    reranker = Reranker(ToyScorer(), long_query="windows")
    found = GuardedReranker(reranker, GUARD)("wrong. invoice.", DOCUMENTS)
    assert places(found.kept) == [0, 6, 2, 5, 4]


def test_a_mismatched_prior_is_refused():
    for prior in ([1.0], [1.0] * 8):
        with pytest.raises(ValueError, match=r"prior has .* expected 7 first-stage scores"):
            guarded()(QUESTION, DOCUMENTS, prior=prior)
    with pytest.raises(ValueError, match="prior 1 is nan"):  # of a document that is dropped
        guarded()(QUESTION, DOCUMENTS, prior=[0, np.nan, 0, 0, 0, 0, 0])
    with pytest.raises(TypeError, match="prior is a str"):
        guarded()(QUESTION, DOCUMENTS, prior="1234567")


# -------------------------------------------------------------------------------- one plan, more rules


@dataclass(frozen=True, eq=False)
class Counts(ToyScorer):
    """Counts its calls."""

    calls: list = field(default_factory=list)

    def score_many(self, asks):
        self.calls.append(asks)
        return [self.score(a.texts, a.labels) for a in asks]


def test_one_scorer_is_called_once():
    scorer = Counts()
    rules = {name: Rule(name, 0.5) for name in ("attack", "spam")}
    found = GuardedReranker(Reranker(scorer), Guard(scorer, rules))(QUESTION, DOCUMENTS)
    assert [len(asks) for asks in scorer.calls] == [2]
    assert found == guarded()(QUESTION, DOCUMENTS)


def test_several_guards_each_with_a_verdict():
    guards = {"safety": Guard(ToyScorer(), {"attack": Rule("attack", 0.5)}), "tidy": GUARD}
    documents = [*DOCUMENTS, "spam"]  # which one of them allows
    found = GuardedReranker(Reranker(ToyScorer()), guards)(QUESTION, documents)
    assert places(found.dropped) == [3, 1, 7]
    assert [v.allowed for v in found.dropped[2].verdicts.values()] == [True, False]
    assert found.dropped[0].broken == ("attack", "spam")  # each rule once
    assert list(found.kept[0].verdicts) == ["safety", "tidy"]
    assert found.kept[0].verdicts["tidy"] == GUARD(DOCUMENTS[0])


class Inference(ToyScorer):
    """Says a text contradicts a label where it holds its words and "not"."""

    def score(self, texts, labels):
        plain = super().score(texts, [as_label(x).text for x in labels])
        wanted = np.array([as_label(x).relation == "contradiction" for x in labels])
        denied = np.array([" not " in f" {t} " for t in texts])
        z = np.where(wanted[None, :] == denied[:, None], plain.log_odds, -4)
        return Scores.of(z, texts)


CONTRADICTS = {"contradicts": Rule(Label(QUERY, verbatim=True, relation="contradiction"), 0.5)}


def test_a_passage_that_contradicts_the_query_or_a_claim():
    nli = Inference()
    claim = {"denies": Rule(Label("soil", relation="contradiction"), 0.5)}
    reranker = GuardedReranker(Reranker(nli), Guard(nli, CONTRADICTS | claim))
    texts = ["the invoice is wrong", "the invoice is not wrong", "not soil", "soil"]
    found = reranker(QUESTION, texts)
    assert {p.hit.index: p.broken for p in found.dropped} == {1: ("contradicts",), 2: ("denies",)}
    assert sorted(places(found.kept)) == [0, 3]
    assert places(reranker("password", texts).dropped) == [2]  # another call, another query
    talk = ["hello", "wrong invoice"]
    assert places(GuardedReranker(Reranker(nli, turns=1), Guard(nli, CONTRADICTS))(talk, texts).dropped) == [1]


def test_a_query_that_says_what_another_rule_says_is_no_riddle():
    nli = Inference()
    twin = {"denies": Rule(Label("wrong invoice", verbatim=True, relation="contradiction"), 0.99)}
    found = GuardedReranker(Reranker(nli), Guard(nli, CONTRADICTS | twin))(QUESTION, ["the invoice is not wrong"])
    assert found.dropped[0].broken == ("contradicts",)


def test_the_query_may_stand_in_a_list_of_rules():
    found = GuardedReranker(Reranker(ToyScorer()), Guard(ToyScorer(), [QUERY, "spam"], threshold=0.9))(
        "wrong invoice", ["wrong invoice", "soil", "spam"]
    )
    assert {p.hit.index: p.broken for p in found.dropped} == {0: (QUERY,), 2: ("spam",)}


def test_the_query_is_put_in_as_it_is():
    scorer = Counts()
    query = "{} {query} {0}"
    GuardedReranker(Reranker(scorer), Guard(scorer, {"same": Rule(QUERY, 0.5)}))(query, ["a"])
    assert [as_label(a.labels[0]).text for a in scorer.calls[0]] == [query, query]


# ------------------------------------------------------------------------------- it fails closed


class Breaks(ToyScorer):
    """Gives NaN for a text that holds its word."""

    def score(self, texts, labels):
        found = super().score(texts, labels)
        bad = np.array(["broken" in t for t in texts])
        return replace(found, log_odds=np.where(bad[:, None], np.nan, found.log_odds))


@pytest.mark.parametrize("on_broken", ["drop", "flag"])
def test_a_document_without_a_verdict_is_not_kept_and_the_others_are(on_broken):
    guard = Guard(Breaks(), {"attack": Rule("attack", 0.5)})
    texts = ["wrong invoice broken", "attack", "wrong invoice", "invoice", "broken attack"]
    found = GuardedReranker(Reranker(ToyScorer()), guard, on_broken=on_broken)(QUESTION, texts, prior=[5, 4, 3, 2, 1])
    assert [u.index for u in found.unjudged] == [0, 4]
    assert all("nan" in u.error for u in found.unjudged)
    assert places(found.kept) == ([2, 3] if on_broken == "drop" else [2, 1, 3])
    assert places(found.dropped) == ([1] if on_broken == "drop" else [])
    assert [p.hit.prior for p in found.kept] == ([3, 2] if on_broken == "drop" else [3, 4, 2])


def test_a_document_that_a_guard_finds_too_long_is_not_kept_and_the_others_are():
    class Windows(ToyScorer):
        def score(self, texts, labels):
            found = super().score(texts, labels)
            return replace(found, windows=found.windows + np.array([[len(t) > 20] for t in texts]))

    guard = Guard(Windows(), {"attack": Rule("attack", 0.5)}, on_overflow="error")
    found = GuardedReranker(Reranker(ToyScorer()), guard)(QUESTION, ["wrong " * 9, "attack", "invoice"])
    assert (places(found.kept), places(found.dropped)) == ([2], [1])
    assert [u.index for u in found.unjudged] == [0]
    assert "2 windows" in found.unjudged[0].error


def test_no_verdict_on_any_keeps_none():
    guard = Guard(Breaks(), {"attack": Rule("attack", 0.5)})
    found = GuardedReranker(Reranker(ToyScorer()), guard)(QUESTION, ["broken", "broken too"])
    assert found.kept == found.dropped == ()
    assert [u.index for u in found.unjudged] == [0, 1]


def test_a_reranker_that_breaks_raises():
    with pytest.raises(ScorerError, match="Breaks gave log-odds nan"):
        GuardedReranker(Reranker(Breaks()), GUARD)(QUESTION, ["broken", "invoice"])


def test_a_guard_that_breaks_on_all_together_alone_raises():
    class Crowd(ToyScorer):
        def score(self, texts, labels):
            return replace(super().score(texts, labels), meaning="both" if len(texts) > 1 else "probability")

    with pytest.raises(ScorerError, match="broke on 2 documents together and on none of them alone"):
        GuardedReranker(Reranker(ToyScorer()), Guard(Crowd(), ["attack"], threshold=0.5))(QUESTION, ["a", "b"])


def test_what_is_wrong_with_the_settings_raises():
    with pytest.raises(NotCalibratedError, match="only an order"):
        GuardedReranker(Reranker(ToyScorer()), Guard(ToyScorer(meaning="order"), ["a"], threshold=0.5))(QUESTION, ["b"])
    with pytest.raises(LabelError, match="knows entailment only"):
        GuardedReranker(Reranker(ToyScorer()), Guard(ToyScorer(), CONTRADICTS))(QUESTION, ["b"])


# ------------------------------------------------------------------------------------- arguments


def test_arguments_are_checked():
    reranker = Reranker(ToyScorer())
    with pytest.raises(TypeError, match="reranker is ToyScorer"):
        GuardedReranker(ToyScorer(), GUARD)
    for wrong in (ToyScorer(), None, {"a": ToyScorer()}, [GUARD]):
        with pytest.raises(TypeError, match=r"expected a headgate.Guard, or names with one each"):
            GuardedReranker(reranker, wrong)
    with pytest.raises(ValueError, match="expected at least one Guard"):
        GuardedReranker(reranker, {})
    with pytest.raises(ValueError, match="is called 'ranking'"):
        GuardedReranker(reranker, {RANKING: GUARD})
    with pytest.raises(ValueError, match="expected a name"):
        GuardedReranker(reranker, {" ": GUARD})
    with pytest.raises(ValueError, match="on_broken is 'hide'"):
        GuardedReranker(reranker, GUARD, on_broken="hide")


@pytest.mark.parametrize("documents", ["a text", None, {"a": 1}])
def test_documents_are_a_list(documents):
    with pytest.raises(TypeError, match="documents is"):
        guarded()(QUESTION, documents)


def test_a_document_that_is_no_text_is_named():
    with pytest.raises(TypeError, match=r"text 1 is int|got int"):
        guarded()(QUESTION, ["a", 3])


def test_a_blank_query_is_refused():
    with pytest.raises(ValueError, match="query is blank"):
        guarded()("  ", DOCUMENTS)


def test_decide_replays_and_refuses_other_scores():
    reranker = guarded()
    asks = reranker.ask(QUESTION, DOCUMENTS)
    assert list(asks) == [RANKING, "guard"]
    assert all(isinstance(a, Ask) for own in asks.values() for a in own)
    held = {n: [ToyScorer().score(a.texts, a.labels) for a in own] for n, own in asks.items()}
    assert reranker.decide(QUESTION, held).dropped == reranker(QUESTION, DOCUMENTS).dropped
    strict = GuardedReranker(
        Reranker(ToyScorer()), replace(GUARD, forbid={"a": Rule("attack", 0), "b": Rule("spam", 1)})
    )
    assert strict.decide(QUESTION, held).kept == ()
    with pytest.raises(ValueError, match=r"scores are of \['guard'\]; expected \['guard', 'ranking'\]"):
        reranker.decide(QUESTION, {"guard": held["guard"]})
    short = {**held, "guard": [ToyScorer().score(["a"], ["attack", "spam"])]}
    with pytest.raises(ValueError, match="1 verdicts on 7 documents"):
        reranker.decide(QUESTION, short)


def test_an_iterator_of_documents_is_read_once_and_nothing_is_changed():
    documents, prior = list(DOCUMENTS), [float(i) for i in range(7)]
    found = guarded()(QUESTION, documents, prior=prior)
    assert guarded()(QUESTION, iter(documents), prior=iter(prior)) == found
    assert (documents, prior) == (DOCUMENTS, [float(i) for i in range(7)])


def test_it_is_frozen_and_its_result_is_json():
    reranker = guarded()
    with pytest.raises(FrozenInstanceError):
        reranker.on_broken = "flag"
    found = reranker(QUESTION, DOCUMENTS, prior=[float(i) for i in range(7)])
    back = json.loads(json.dumps(asdict(found)))
    assert [p["hit"]["index"] for p in back["dropped"]] == places(found.dropped)
    assert back["dropped"][0]["verdicts"]["guard"]["broken"] == ["attack", "spam"]


def test_a_fixed_scorer_that_shares_nothing():
    found = GuardedReranker(Reranker(Fixed([[1.0], [2.0]])), Guard(Fixed([[5.0], [-5.0]]), ["a"], threshold=0.5))
    assert places(found("q", ["x", "y"]).kept) == [1]
