"""A guard blocks exactly from the threshold up, says which rule broke, and fails closed."""

import json
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Ask, Coverage, Guard, Label, NotCalibratedError, Rule, ScorerError, TextTooLongError, judge
from headgate.scores import sigmoid
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed, logit, scores

row = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=6)
NAMES = [f"rule {k}" for k in range(6)]


def verdict(z, forbid, *, parts=None, **settings):
    return Guard(Fixed([z]), forbid, **settings).decide([scores([z], **(parts or {}))])[0]


# ----------------------------------------------------------------------------------- thresholds


@given(row, st.data())
def test_blocks_exactly_from_the_threshold_up(z, data):
    p = dict(zip(NAMES, sigmoid(z).tolist(), strict=False))
    threshold = data.draw(st.floats(0, 1) | st.sampled_from(list(p.values())))
    found = verdict(z, list(p), threshold=threshold)
    assert found.broken == tuple(name for name in p if p[name] >= threshold)
    assert found.allowed == (not found.broken)
    assert found.probabilities == p
    assert found.thresholds == dict.fromkeys(p, threshold)


@given(st.floats(-10, 10, width=32))
def test_the_next_number_above_its_probability_lets_a_text_pass(z):
    p = sigmoid(z).item()
    assert not verdict([z], ["a"], threshold=p).allowed
    assert verdict([z], ["a"], threshold=np.nextafter(p, 1)).allowed


def test_each_rule_has_its_own_threshold():
    rules = {"a": Rule("x", 0.9), "b": Rule("y", 0.5), "c": "z"}
    found = verdict(logit([0.7, 0.7, 0.7]), rules, threshold=0.6)
    assert found.broken == ("b", "c")
    assert found.thresholds == {"a": 0.9, "b": 0.5, "c": 0.6}


@pytest.mark.parametrize("forbid", [["a"], {"a": "x"}, {"a": Label("x")}, {"a": Rule("x", 0.5), "b": "y"}])
def test_a_rule_of_your_own_needs_a_threshold(forbid):
    with pytest.raises(ValueError, match=r"rule '[ab]' has no threshold; pass Guard\(…, threshold=…\)"):
        Guard(ToyScorer(), forbid)


def test_a_scorer_may_bring_thresholds():
    scorer = ToyScorer(thresholds={"toxic": 0.3, "spam": 0.8})
    guard = Guard(scorer, {"first": "toxic", "spam": Label("spam")})
    assert guard("toxic").thresholds == {"first": 0.3, "spam": 0.8}
    with pytest.raises(ValueError, match=r"'rude' has no threshold.*scorer brings thresholds for \['spam', 'toxic'\]"):
        Guard(scorer, ["toxic", "rude"])


def test_a_rules_own_threshold_goes_before_the_scorers():
    scorer = ToyScorer(thresholds={"toxic": 0.3})
    assert Guard(scorer, {"a": Rule("toxic", 0.9)})("toxic").thresholds == {"a": 0.9}


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, "0.5", True])
def test_a_threshold_is_a_probability_wherever_it_comes_from(threshold):
    for make in (
        lambda: Guard(ToyScorer(), ["a"], threshold=threshold),
        lambda: Guard(ToyScorer(), {"a": Rule("a", threshold)}),
        lambda: Guard(ToyScorer(thresholds={"a": threshold}), ["a"]),
    ):
        with pytest.raises(ValueError, match=r"rule 'a'.* is .*; expected a probability"):
            make()


def test_threshold_0_blocks_everything_and_1_only_certainty():
    assert not verdict([-1e4], ["a"], threshold=0).allowed
    assert verdict([10.0], ["a"], threshold=1).allowed
    assert not verdict([100.0], ["a"], threshold=1).allowed


# ---------------------------------------------------------------------------------- fails closed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_raises_and_never_passes(bad):
    with pytest.raises(ScorerError, match="label 'weapons'"):
        Guard(Fixed([[bad]]), {"w": "weapons"}, threshold=0.5)("text")


def test_nan_in_a_stored_score_breaks_the_rule():
    assert verdict([np.nan], ["a"], threshold=0.5).broken == ("a",)
    assert verdict([-9.0], ["a"], threshold=0.5, parts={"unknown": [np.nan]}).broken == ("unreadable",)


@pytest.mark.parametrize("forbid", [[], {}, (), None, "violence"])
def test_a_guard_without_rules_is_refused(forbid):
    with pytest.raises(ValueError, match="expected at least one rule"):
        Guard(ToyScorer(), forbid, threshold=0.5)


def test_an_order_is_refused_with_the_way_out():
    with pytest.raises(NotCalibratedError, match=r"Calibration\.fit"):
        Guard(ToyScorer("order"), ["a"], threshold=0.5)("text")


@given(st.floats(0, 1, width=32), st.floats(0, 1))
def test_a_text_breaks_unreadable_above_the_share_of_unknown_tokens(unknown, limit):
    found = verdict([-9.0], ["a"], threshold=0.5, unreadable=limit, parts={"unknown": [unknown]})
    assert found.broken == (("unreadable",) if unknown > limit else ())
    assert found.allowed == (unknown <= limit)
    assert found.unknown == unknown


def test_by_default_more_than_half_unknown_is_unreadable():
    shares = [0.5, 0.51, 1.0]
    guard = Guard(Fixed([[-9.0]] * 3, parts={"unknown": shares}), ["a"], threshold=0.5)
    assert [v.allowed for v in guard.many(["text"] * 3)] == [True, False, False]


def test_unreadable_stands_beside_the_rules_that_broke():
    found = verdict([9.0], ["a"], threshold=0.5, parts={"unknown": [0.9]})
    assert found.broken == ("a", "unreadable")


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_unreadable_is_a_share(share):
    with pytest.raises(ValueError, match=r"unreadable is .*; expected"):
        Guard(ToyScorer(), ["a"], threshold=0.5, unreadable=share)


# ------------------------------------------------------------------------------------ the rules


def test_the_scorer_judges_labels_not_names():
    scorer = Fixed([[0.0, 0.0]])
    own = Label("It is rude.", verbatim=True)
    Guard(scorer, {"a": "spam", "b": Rule(own, 0.5)}, threshold=0.5)("text")
    assert scorer.asked == [Ask(["text"], ["spam", own])]


@pytest.mark.parametrize("twin", ["toxic", Label("toxic")])
def test_two_rules_of_one_label_are_scored_once_and_judged_apart(twin):
    scorer = Fixed([logit([0.2, 0.6])])
    rules = {"mild": "spam", "warn": Rule("toxic", 0.5), "stop": Rule(twin, 0.7)}
    found = Guard(scorer, rules, threshold=0.5)("text")
    assert len(scorer.asked[0].labels) == 2
    assert found.broken == ("warn",)
    assert found.probabilities["warn"] == found.probabilities["stop"] == pytest.approx(0.6)
    assert found.probabilities["mild"] == pytest.approx(0.2)


def test_one_label_read_in_two_ways_is_two_labels():
    scorer = Fixed([logit([0.9, 0.1])])
    rules = {"a": "toxic", "b": Label("toxic", relation="contradiction")}
    assert Guard(scorer, rules, threshold=0.5)("text").broken == ("a",)


@pytest.mark.parametrize(
    ("forbid", "message"),
    [
        (["a", "a"], "name one twice"),
        (["unreadable"], "every guard has already"),
        (["a", " "], "a rule is called ' '"),
        ([Label("a")], "a rule is called Label"),
    ],
)
def test_a_rule_needs_a_name_of_its_own(forbid, message):
    with pytest.raises(ValueError, match=message):
        Guard(ToyScorer(), forbid, threshold=0.5)


def test_a_verdict_shows_the_characters_behind_each_rule():
    spans = np.array([[[0, 3], [4, 6]]])
    found = verdict([0.0, 0.0], ["a", "b"], threshold=0.9, parts={"spans": spans})
    assert found.spans == {"a": (0, 3), "b": (4, 6)}


def test_rules_are_not_changed_and_later_changes_do_not_matter():
    rules = {"a": "toxic"}
    guard = Guard(ToyScorer(), rules, threshold=0.5)
    guard("toxic")
    assert rules == {"a": "toxic"}
    rules.clear()
    assert guard("toxic").broken == ("a",)


# ---------------------------------------------------------------------------------------- calls


def test_many_equals_one_by_one():
    guard = Guard(ToyScorer(), {"a": "toxic", "b": "spam"}, threshold=0.5)
    texts = ["toxic", "fine", "", ["spam", "and toxic"], "spam"]
    found = guard.many(texts)
    assert found == [guard(text) for text in texts]
    assert [v.broken for v in found] == [("a",), (), (), ("a", "b"), ("b",)]
    assert guard.many([]) == []


def test_many_texts_are_one_ask():
    scorer = Fixed([[0.0]] * 3)
    Guard(scorer, ["a"], threshold=0.5).many(["x", "y", "z"])
    assert scorer.asked == [Ask(["x", "y", "z"], ["a"])]


def test_an_empty_text_is_flagged():
    found = Guard(ToyScorer(), ["a"], threshold=0.5)(" \n")
    assert (found.empty, found.allowed, found.probabilities) == (True, True, {"a": 0.0})


@pytest.mark.parametrize(("texts", "kind"), [("text", "str"), (None, "NoneType"), (["a", None], "NoneType")])
def test_many_wants_a_list_of_texts(texts, kind):
    with pytest.raises(TypeError, match=kind):
        Guard(ToyScorer(), ["a"], threshold=0.5).many(texts)


def test_decide_can_be_replayed_with_another_threshold_and_asks_nobody():
    scorer = Fixed([logit([0.6])])
    guard = Guard(scorer, ["a"], threshold=0.5)
    stored = judge(scorer, guard.ask(["text"]))
    assert guard.decide(stored) == guard.decide(stored)
    assert not guard.decide(stored)[0].allowed
    assert Guard(scorer, ["a"], threshold=0.7).decide(stored)[0].allowed
    assert len(scorer.asked) == 1


@pytest.mark.parametrize("threshold", [0.5, np.float32(0.5), 1])
def test_a_verdict_is_frozen_and_json(threshold):
    found = Guard(ToyScorer(), {"a": "toxic", "b": Rule("spam", threshold)}, threshold=threshold)("toxic")
    back = json.loads(json.dumps(asdict(found)))
    assert back["broken"] == list(found.broken)
    assert back["spans"] == {name: list(span) for name, span in found.spans.items()}
    with pytest.raises(FrozenInstanceError):
        found.allowed = True


def test_a_verdict_says_what_was_read_and_a_strict_guard_refuses_long_texts():
    guard = Guard(Fixed([[1.0]]), ["bad"], threshold=0.5)
    long = scores([[1.0]], windows=[[4]], tokens=[900])
    assert guard.decide([long])[0].coverage == Coverage(windows=4, read=900, total=900)
    strict = replace(guard, on_overflow="error")
    assert strict.decide([scores([[1.0]])])[0].coverage.windows == 1
    with pytest.raises(TextTooLongError, match="text 0 has 900 tokens and took 4 windows"):
        strict.decide([long])
    with pytest.raises(ValueError, match="on_overflow is 'cut'"):
        replace(guard, on_overflow="cut")
