"""One call a scorer, whoever asks; and what is shared changes nothing."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Ask, Calibration, Label, ScorerError, judge
from headgate.passes import judge_all, rows_of
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed, scores

TEXTS = ["reset my password", "", "the invoice is wrong, the invoice"]
LABELS = ["password reset", "wrong invoice", "refund", "soil"]
PARTS = ("log_odds", "windows", "spans", "tokens", "unknown", "empty")


def same(found, alone):
    for part in PARTS:
        np.testing.assert_array_equal(getattr(found, part), getattr(alone, part))
    assert (found.meaning, found.exclusive) == (alone.meaning, alone.exclusive)


@dataclass(eq=False)
class Heads:
    """A scorer that reads each text of a call once; one head of it is a softmax."""

    fingerprint: str = "heads"
    run: Any = None
    joint: bool = False
    labels: tuple | None = None
    calls: list = field(default_factory=list)
    read: list = field(default_factory=list)
    memo: Any = None

    def score(self, texts, labels):
        return self.score_many([Ask(texts, labels)])[0]

    def score_many(self, asks):
        self.calls.append(len(asks))
        seen = {} if self.memo is None else self.memo.setdefault("heads", {})
        for text in [t for ask in asks for t in ask.texts]:
            if text not in seen:
                self.read.append(text)
                seen[text] = len(text)
        out = []
        for ask in asks:
            z = [[seen[t] % 7 - len(str(label)) % 5 for label in ask.labels] for t in ask.texts]
            found = scores(np.array(z, dtype=np.float32).reshape(len(ask.texts), -1), ask.texts)
            out.append(replace(found, exclusive=all(str(x).startswith("mood") for x in ask.labels)))
        return out

    def remembering(self, memo):
        return replace(self, memo=memo)  # the lists are the same: what a twin reads counts


def test_the_same_scorer_is_called_once_and_every_ask_gets_what_it_would_get_alone():
    scorer = Heads()
    asked = [
        (scorer, [Ask(TEXTS, ["mood good", "mood bad"])]),
        (scorer, [Ask(TEXTS, LABELS), Ask(TEXTS[:1], ["mood good", "soil"])]),
        (scorer, []),
        (scorer, [Ask([], ["soil"])]),
    ]
    found = judge_all(asked)
    assert scorer.calls == [3]  # of the ask without texts nothing is to be found
    assert scorer.read == TEXTS
    assert [len(own) for own in found] == [1, 2, 0, 1]
    assert [s.exclusive for own in found for s in own] == [True, False, False, False]
    for (_, asks), own in zip(asked, found, strict=True):
        for ask, one in zip(asks, own, strict=True):
            same(one, judge(Heads(), [ask])[0])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2]), st.lists(st.sampled_from(TEXTS)), st.sets(st.sampled_from(LABELS), min_size=1)
        )
    )
)
def test_as_each_alone_whoever_asks_what_in_which_order(drawn):
    scorers = [ToyScorer(), Heads(), Calibration(scale=2.0, shift=1.0).on(ToyScorer())]
    asked = [(scorers[k], [Ask(texts, sorted(labels))]) for k, texts, labels in drawn]
    for (scorer, asks), (found,) in zip(asked, judge_all(asked), strict=True):
        same(found, judge(scorer, asks)[0])


def test_one_model_loaded_twice_is_one_where_it_runs_alike():
    one, two, other = Heads(run="cpu"), Heads(run="cpu"), Heads(run="cuda")
    judge_all([(s, [Ask(TEXTS, LABELS)]) for s in (one, two, other)])
    assert (one.calls, two.calls, other.calls) == ([2], [], [1])


@pytest.mark.parametrize(
    "other", [Heads(run="cpu", fingerprint="another"), Heads(), ToyScorer(fingerprint="heads")], ids=repr
)
def test_what_may_give_other_numbers_is_asked_itself(other):
    one = Heads(run="cpu")
    found = judge_all([(one, [Ask(TEXTS, LABELS)]), (other, [Ask(TEXTS, LABELS)])])
    assert one.calls == [1]
    same(found[1][0], judge(other, [Ask(TEXTS, LABELS)])[0])


def test_scorers_that_say_no_more_than_a_fingerprint_are_told_apart():
    order, probability = ToyScorer(meaning="order"), ToyScorer()  # both are "toy"
    found = judge_all([(order, [Ask(TEXTS, LABELS)]), (probability, [Ask(TEXTS, LABELS)])])
    assert [own[0].meaning for own in found] == ["order", "probability"]


def test_different_scorers_share_a_memo_for_the_length_of_a_call():
    one, two = Heads(), Heads(fingerprint="two")
    calibrated = Calibration(shift=1.0).on(two)
    for times in (1, 2):
        found = judge_all([(one, [Ask(TEXTS, LABELS)]), (calibrated, [Ask(TEXTS, LABELS)])])
        assert len(one.read) == times * len(TEXTS)  # and it is empty at the beginning of the next
        assert two.read == []
    live = [0, 2]
    np.testing.assert_allclose(found[1][0].log_odds[live], found[0][0].log_odds[live] + 1)


def test_one_scorer_alone_gets_no_memo():
    seen = []

    class Offers(ToyScorer):
        def remembering(self, memo):
            seen.append(memo)
            return self

    scorer = Offers()
    judge_all([(scorer, [Ask(TEXTS, LABELS)]), (scorer, [Ask(TEXTS, LABELS[:1])])])
    assert seen == []
    judge_all([(scorer, [Ask(TEXTS, LABELS)]), (ToyScorer(), [Ask(TEXTS, LABELS)])])
    assert seen == [{}]


def test_nothing_asked_is_nothing_found():
    assert judge_all([]) == []


def test_nothing_broken_gets_through():
    with pytest.raises(ScorerError, match="nan"):
        judge_all([(ToyScorer(), [Ask(["a"], ["b"])]), (Fixed([[np.nan]]), [Ask(["a"], ["b"])])])
    with pytest.raises(TypeError, match="texts is a str"):
        judge_all([(ToyScorer(), [Ask("a text", ["b"])])])
    with pytest.raises(ValueError, match="came twice"):
        judge_all([(ToyScorer(), [Ask(["a"], ["b", Label("b")])])])


@given(st.lists(st.integers(0, 2)))
def test_rows_of_keeps_every_part_in_order(texts):
    found = scores(
        [[1, 2], [3, 4], [5, 6]],
        ["a", " ", "ccc"],
        windows=np.array([[1, 2], [3, 4], [5, 6]]),
        tokens=np.array([7, 8, 9]),
        unknown=np.array([0.1, 0.2, 0.3], dtype=np.float32),
        exclusive=True,
    )
    some = rows_of(found, texts)
    assert some.exclusive
    assert some.meaning == "probability"
    for part in PARTS:
        np.testing.assert_array_equal(getattr(some, part), getattr(found, part)[texts])
