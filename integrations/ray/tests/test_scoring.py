"""Scorers at a distance: what callers share, and what stays theirs; no Ray."""

import pickle
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from headgate import Ask, Guard, LabelError, OverloadedError, Reranker, Router, Scorer
from headgate.testing import ToyScorer, check_scorer
from headgate_ray import _scoring
from headgate_ray._scoring import Asked, Scoring, pages, standing_in


@dataclass(frozen=True)
class Counting(ToyScorer):
    plans: list = field(default_factory=list, compare=False)

    def score_many(self, asks):
        self.plans.append(len(asks))
        return [self.score(ask.texts, ask.labels) for ask in asks]


class Handle:
    """A deployment's, with everything pickled on the way, and one call a batch."""

    def __init__(self, scoring):
        self._scoring = scoring

    def __getattr__(self, name):
        def call(*given):
            given = pickle.loads(pickle.dumps(given))
            found = self._scoring.answers([given[0]])[0] if name == "score" else getattr(self._scoring, name)(*given)
            return SimpleNamespace(result=lambda: pickle.loads(pickle.dumps(found)))

        return SimpleNamespace(remote=call)


@pytest.fixture
def toys(monkeypatch):
    """The scorer of each origin."""
    made = {}
    toy = lambda origin, device: made.setdefault(origin, Counting(thresholds={"spam": 0.5}))  # noqa: E731
    monkeypatch.setattr(_scoring, "_loaded", toy)
    return made


def test_a_stand_in_is_a_scorer_and_gives_the_same(toys):
    remote = standing_in(Handle(Scoring()), "toy", device="cpu")
    assert isinstance(remote, Scorer)
    check_scorer(remote)
    there = Counting(thresholds={"spam": 0.5})
    assert (remote.joint, remote.labels, remote.fingerprint) == (there.joint, there.labels, there.fingerprint)
    texts = ["spam and eggs", "", "eggs"]
    for task in (Router, lambda s, r: Guard(s, r[:1])):
        assert task(remote, ["spam", "eggs"]).many(texts) == task(there, ["spam", "eggs"]).many(texts)
    assert Reranker(remote, long_query="windows")("spam. eggs", texts) == Reranker(there, long_query="windows")(
        "spam. eggs", texts
    )


def test_a_stand_in_has_the_methods_of_its_scorer_and_no_others(toys):
    remote = standing_in(Handle(Scoring()), "toy", device="cpu")
    assert hasattr(remote, "split_label")
    assert not hasattr(remote, "embed")
    assert not hasattr(remote, "shared")
    with pytest.raises(ValueError, match="'close' was called at a distance"):
        Scoring().call("toy", "cpu", "close", {})


def test_callers_of_one_model_share_a_plan(toys):
    scoring = Scoring()
    asked = [Asked(origin, "cpu", (Ask([f"spam {i}"], ["spam"]),)) for i in range(3) for origin in ("a", "b")]
    found = scoring.answers(asked)
    assert {name: toy.plans for name, toy in toys.items()} == {"a": [3], "b": [3]}
    for one, answer in zip(asked, found, strict=True):
        alone = Counting().score(one.asks[0].texts, ["spam"])
        assert (answer[0].log_odds == alone.log_odds).all()


def test_an_error_is_the_callers_alone(toys):
    from headgate import Label

    bad = Asked("a", "cpu", (Ask(["x"], [Label("spam", relation="contradiction")]),))
    good = Asked("a", "cpu", (Ask(["spam"], ["spam"]),))
    first, second, third = Scoring().answers([good, bad, good])
    assert isinstance(second, LabelError)
    assert first[0].log_odds == third[0].log_odds == 4
    remote = standing_in(Handle(Scoring()), "a", device="cpu")
    with pytest.raises(LabelError, match="knows entailment only"):
        remote.score(["x"], bad.asks[0].labels)


def test_a_model_that_can_t_be_loaded_is_an_answer(monkeypatch):
    def broken(origin, device):
        raise OSError("no such folder")

    monkeypatch.setattr(_scoring, "_loaded", broken)
    (answer,) = Scoring().answers([Asked("a", "cpu", (Ask(["x"], ["y"]),))])
    assert isinstance(answer, OSError)


def test_too_much_waiting_is_overload():
    class BackPressureError(Exception):
        pass

    def full():
        raise BackPressureError("max_queued_requests")

    with pytest.raises(OverloadedError, match="take no more"):
        _scoring.waited(SimpleNamespace(result=full))


def test_pages_count_what_is_read():
    assert pages(Asked("a", "cpu", ())) == 1
    assert pages(Asked("a", "cpu", (Ask(["x" * 1999, "y" * 2], ["z"]),))) == 2
