"""Gaps, nulls, thresholds of their own, coverage: what a router declines, and why."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Coverage, Label, Router, Scores, TextTooLongError
from headgate.decision import Cut
from tests.core.fixed import Fixed

LOGITS = st.lists(st.floats(-20, 20), min_size=2, max_size=6)


def routed(z, **how):
    """The decision of a router whose scorer gives these log-odds, routes first, nulls behind."""
    nulls = how.get("nulls", ())
    routes = [f"route {k}" for k in range(len(z) - len(nulls))]
    return Router(Fixed([z]), routes, **how)("a text")


def test_a_route_that_leads_by_less_than_the_gap_is_ambiguous():
    assert routed([3.0, 2.5], gap=0.4).choice == "route 0"
    found = routed([3.0, 2.5], gap=0.6)
    assert (found.choice, found.reason, found.runner_up) == (None, "ambiguous", "route 1")


@given(LOGITS, st.floats(0.01, 10))
def test_the_gap_is_the_lead_in_log_odds(z, gap):
    first, second = sorted(z)[::-1][:2]
    found = routed(z, gap=gap, threshold=0.0)
    if abs(first - second - gap) > 1e-4:
        assert found.reason == ("chosen" if first - second > gap else "ambiguous")


def test_a_null_that_is_likelier_means_none_and_takes_its_share():
    plain, found = routed([1.0, -3.0]), routed([1.0, -3.0, 2.0], nulls=["small talk"])
    assert plain.choice == "route 0"
    assert (found.choice, found.reason) == (None, "none")
    o = np.exp([1.0, -3.0, 2.0])
    assert found.none == pytest.approx((1 + o[2]) / (1 + o.sum()))
    assert found.null == pytest.approx(o[2] / (1 + o.sum()))
    assert set(found.probabilities) == {"route 0", "route 1"}
    assert sum(found.probabilities.values()) + found.none == pytest.approx(1)
    assert routed([1.0, -3.0, 2.0], nulls=["small talk"], threshold=0.1).choice is None
    assert routed([1.0, -3.0, 0.5], nulls=["small talk"], threshold=0.1, gap=0.6).reason == "ambiguous"
    assert routed([1.0, -3.0, 0.5], nulls=["small talk"], threshold=0.1, gap=0.4).choice == "route 0"


def test_with_multi_no_route_is_chosen_that_a_null_beats():
    found = routed([2.0, 1.0, 1.5], nulls=["small talk"], multi=True)
    assert found.choices == ("route 0",)
    assert found.none == pytest.approx((1 - found.probabilities["route 0"]) * (1 - found.probabilities["route 1"]))


def test_the_nulls_of_one_softmax_are_in_none():
    z = np.log([[0.6, 0.1, 0.3]]) - np.log(1 - np.array([[0.6, 0.1, 0.3]]))
    scorer = Fixed(z)
    scores = replace(scorer.score(["a text"], ["a", "b", "c"]), exclusive=True)
    (found,) = Router(scorer, ["a", "b"], nulls=["c"]).decide([scores])
    assert found.none == pytest.approx(0.3, abs=1e-6)
    assert found.null == pytest.approx(0.3, abs=1e-6)


def test_each_route_may_have_a_threshold_of_its_own():
    thresholds = {"route 0": 0.9, "route 1": 0.2}
    assert routed([1.0, 0.0], threshold=thresholds).reason == "none"
    found = routed([0.0, 1.0], threshold=thresholds)
    assert (found.choice, found.threshold) == ("route 1", 0.2)
    several = routed([1.0, 0.0, 3.0], threshold={**thresholds, "route 2": 0.5}, multi=True)
    assert several.choices == ("route 2", "route 1")


def test_at_most_so_many_of_several():
    assert routed([1.0, 3.0, 2.0], multi=True, top_k=2).choices == ("route 1", "route 2")
    assert routed([1.0, 3.0, 2.0], multi=True).choices == ("route 1", "route 2", "route 0")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"gap": -1.0}, "gap is -1.0"),
        ({"gap": float("nan")}, "gap is nan"),
        ({"gap": 1.0, "multi": True}, "gap is 1.0 and multi is set"),
        ({"top_k": 2}, "top_k is 2; expected a whole number, 1 or more, with multi=True"),
        ({"top_k": 0, "multi": True}, "top_k is 0"),
        ({"top_k": True, "multi": True}, "top_k is True"),
        ({"threshold": {"route 0": 0.5}}, r"odd is \['route 1'\]"),
        ({"threshold": {"route 0": 0.5, "route 1": 1.5}}, "the threshold of route 'route 1' is 1.5"),
        ({"threshold": {"route 0": 0.5, "route 1": 0.5, "x": 0.1}}, r"odd is \['x'\]"),
        ({"on_overflow": "cut"}, "on_overflow is 'cut'"),
        ({"nulls": ["route 1"]}, "the same description"),
    ],
)
def test_bad_settings_are_named(how, message):
    with pytest.raises(ValueError, match=message):
        Router(Fixed([[1.0, 2.0]]), ["route 0", "route 1"], **how)


def test_nulls_are_a_list():
    with pytest.raises(TypeError, match="nulls is a str"):
        Router(Fixed([[1.0, 2.0]]), ["a", "b"], nulls="small talk")


def test_a_null_may_be_a_label_of_its_own():
    router = Router(Fixed([[1.0, 2.0]]), ["a"], nulls=[Label("Nothing is asked.", verbatim=True)])
    (ask,) = router.ask(["a text"])
    assert list(ask.labels) == ["a", Label("Nothing is asked.", verbatim=True)]


def test_a_decision_says_what_was_read():
    plain = Scores.of([[1.0, 2.0]], ["a text"])
    long = replace(plain, windows=np.array([[3, 3]]), tokens=np.array([700]))
    router = Router(Fixed([[1.0, 2.0]]), ["a", "b"])
    assert router.decide([long])[0].coverage == Coverage(windows=3, read=700, total=700)
    strict = replace(router, on_overflow="error")
    assert strict.decide([plain])[0].choice == "b"
    with pytest.raises(TextTooLongError, match="text 0 has 700 tokens and took 3 windows"):
        strict.decide([long])


def test_routes_that_were_not_scored_are_not_in_the_decision():
    scores = Scores.of([[1.0, 0.0, -1e4]], ["a text"])
    seen = replace(scores, scored=np.array([[True, True, False]]))
    (found,) = Router(Fixed([[0.0] * 3]), ["a", "b", "c"]).decide([seen])
    assert set(found.probabilities) == set(found.log_odds) == {"a", "b"}
    assert found.choice == "a"


def test_a_shortlist_may_let_no_route_through():
    scores = replace(Scores.of([[-1e4, 0.0]], ["a text"]), scored=np.array([[False, True]]))
    (found,) = Router(Fixed([[0.0] * 2]), ["a"], nulls=["n"]).decide([scores])
    assert (found.choice, found.reason, found.probabilities) == (None, "none", {})


@given(LOGITS, st.none() | st.floats(0, 1), st.booleans())
def test_a_decision_can_be_taken_again_from_what_it_holds(z, threshold, multi):
    found = routed(z, threshold=threshold, multi=multi)
    kept = json.loads(json.dumps(asdict(found)))
    p = np.array(list(kept["probabilities"].values()))
    again = Cut(threshold, multi).choose(list(kept["probabilities"]), p, none=kept["none"], null=kept["null"])
    assert (again.choices, again.reason, again.runner_up) == (found.choices, found.reason, found.runner_up)
