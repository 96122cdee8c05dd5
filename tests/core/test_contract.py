"""check_scorer lets good scorers through, and every one of its checks can fail."""

from dataclasses import FrozenInstanceError, dataclass

import pytest

from headgate import (
    Ask,
    Calibration,
    Guard,
    Label,
    LabelError,
    Reranker,
    Router,
    Rule,
    ScorerError,
    Scores,
    UnknownLabelError,
)
from headgate.testing import TEXTS, ToyScorer, check_scorer
from tests.core.broken import BROKEN, PaddingLeak, Softmax, calls


@dataclass
class Foreign:
    """No base class, no score_many: all that the protocol asks for."""

    joint: bool = False
    labels: tuple | None = None
    fingerprint: str = "foreign"

    def score(self, texts, labels):
        return ToyScorer().score(texts, labels)


class Closed(ToyScorer):
    def score(self, texts, labels):
        if unknown := set(labels) - set(self.labels):
            raise UnknownLabelError(f"{unknown} are unknown")
        return super().score(texts, labels)


@pytest.mark.parametrize(
    "scorer",
    [
        ToyScorer(),
        ToyScorer("order"),
        Foreign(),
        Closed(labels=("wine", "beer")),
        Softmax(joint=True),
    ],
    ids=["toy", "order", "foreign", "closed", "joint"],
)
def test_a_good_scorer_passes(scorer):
    check_scorer(scorer)


@pytest.mark.parametrize(("scorer", "message"), BROKEN, ids=[type(s).__name__ for s, _ in BROKEN])
def test_a_broken_scorer_is_rejected_for_what_is_broken(scorer, message):
    calls.clear()
    with pytest.raises((AssertionError, ScorerError), match=message):
        check_scorer(scorer)


# ------------------------------------------------------------------------- check_scorer, the toy


def test_a_closed_vocabulary_is_checked_with_its_own_labels():
    asked = set()

    class Spy(Closed):
        def score(self, texts, labels):
            asked.update(labels)
            return super().score(texts, labels)

    check_scorer(Spy(labels=("a", "b", "c", "d")))
    assert {"a", "b", "c"} <= asked


def test_texts_labels_and_tolerance_are_yours_to_choose():
    with pytest.raises(AssertionError):
        check_scorer(PaddingLeak())
    check_scorer(PaddingLeak(), texts=["one", "other"])
    check_scorer(PaddingLeak(), atol=0.1)
    check_scorer(ToyScorer(), atol=0)
    check_scorer(Softmax(), labels=["one label"])


def test_the_texts_hold_what_breaks_scorers():
    joined = "".join(TEXTS)
    assert {t.strip() == "" for t in TEXTS} == {True, False}
    assert max(map(len, TEXTS)) > 2000
    for part in ("\x00", "\ud800", "東京", "[SEP]", "</s>", "<<LABEL>>"):
        assert part in joined


def test_the_toy_counts_the_labels_words():
    found = ToyScorer().score(["The red hat", "green"], ["red hat", "red tea", Label("tea")])
    assert found.log_odds.tolist() == [[4, 0, -4], [-4, -4, -4]]
    assert isinstance(found, Scores)


def test_the_toy_splits_at_full_stops():
    assert ToyScorer().split_label("One. Two three.") == ["One", "Two three"]
    assert ToyScorer().split_label(" . ") == [" . "]


def test_the_toy_knows_no_contradiction():
    with pytest.raises(LabelError, match="contradiction"):
        ToyScorer().score(["a"], [Label("a", relation="contradiction")])


@pytest.mark.parametrize(
    "noun",
    [
        Label("a"),
        Ask(["a"], ["b"]),
        Calibration(),
        Calibration().on(ToyScorer()),
        Reranker(ToyScorer()),
        Router(ToyScorer(), ["a"]),
        Rule("a", 0.5),
        Guard(ToyScorer(), ["a"], threshold=0.5),
        ToyScorer(),
    ],
    ids=lambda noun: type(noun).__name__,
)
def test_everything_a_user_holds_is_frozen(noun):
    name = next(iter(vars(noun)))
    with pytest.raises(FrozenInstanceError):
        setattr(noun, name, "another")


def test_an_ask_is_what_it_was_made_of():
    assert Ask(["a"], ["b"]) == Ask(["a"], ["b"]) != Ask(["a"], ["c"])
