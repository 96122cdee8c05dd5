"""A router chooses one route, several, or none, and says how sure it is."""

import json
from dataclasses import FrozenInstanceError, asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Ask, Label, NotCalibratedError, Router, ScorerError, judge
from headgate.scores import sigmoid
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed, logit, scores

row = st.lists(st.floats(-300, 300, width=32), min_size=1, max_size=6)
NAMES = [f"route {k}" for k in range(6)]


def decide(z, names=None, *, parts=None, **settings):
    """The decision on one text with these log-odds."""
    router = Router(Fixed([z]), NAMES[: len(z)] if names is None else names, **settings)
    return router.decide([scores([z], **(parts or {}))])[0]


# ------------------------------------------------------------------------------ probabilities


@given(row)
def test_probabilities_are_the_odds_beside_those_of_none(z):
    found = decide(z)
    odds = np.exp(np.array(z, dtype=np.float64))
    np.testing.assert_allclose(list(found.probabilities.values()), odds / (1 + odds.sum()), rtol=1e-12)
    np.testing.assert_allclose(found.none, 1 / (1 + odds.sum()), rtol=1e-12)
    assert list(found.log_odds.values()) == z


def test_log_odds_beyond_the_range_of_exp_are_routed():
    found = decide([1e4, 1e4 - 1, -1e4])
    np.testing.assert_allclose(list(found.probabilities.values()), [0.7310586, 0.2689414, 0], rtol=1e-6)
    assert (found.none, found.choice) == (0, "route 0")


def test_an_exclusive_head_shows_its_own_softmax():
    z = logit([0.5, 0.2, 0.1])
    found = decide(z, parts={"exclusive": True})
    np.testing.assert_allclose(list(found.probabilities.values()), [0.5, 0.2, 0.1], atol=1e-6)
    assert found.none == pytest.approx(0.2, abs=1e-6)
    whole = decide(logit([0.75, 0.25]), parts={"exclusive": True})
    assert whole.none == pytest.approx(0, abs=1e-6)
    assert whole.none >= 0


@given(row)
def test_multi_gives_every_route_its_own_probability(z):
    found = decide(z, multi=True)
    np.testing.assert_allclose(list(found.probabilities.values()), sigmoid(z), rtol=1e-6)
    assert found.none == pytest.approx(np.prod(1 - sigmoid(z).astype(np.float64)))


# ----------------------------------------------------------------------------------- the choice


@given(row)
def test_without_a_threshold_the_best_must_beat_none(z):
    found = decide(z)
    best = max(found.probabilities.values())
    assert (found.choice is not None) == (best > found.none)
    if found.choice is not None:
        assert found.probabilities[found.choice] == best
    assert found.choices == (() if found.choice is None else (found.choice,))
    assert found.threshold is None


def test_a_draw_with_none_is_none():
    assert decide([0.0]).choice is None
    assert decide([0.0, 0.0]).choice is None
    assert decide([1e-6]).choice == "route 0"


@given(row, st.floats(0, 1))
def test_a_route_is_chosen_from_the_threshold_up(z, threshold):
    found = decide(z, threshold=threshold)
    best = max(found.probabilities.values())
    assert (found.choice is not None) == (best >= threshold)
    assert found.threshold == threshold
    assert decide(z, threshold=best).choice is not None
    if best < 1:
        assert decide(z, threshold=np.nextafter(best, 1)).choice is None


@given(row, st.none() | st.floats(0, 1))
def test_multi_chooses_all_from_the_threshold_up_best_first(z, threshold):
    found = decide(z, multi=True, threshold=threshold)
    least = 0.5 if threshold is None else threshold
    p = found.probabilities
    assert set(found.choices) == {name for name in p if p[name] >= least}
    assert [p[name] for name in found.choices] == sorted((p[name] for name in found.choices), reverse=True)
    assert found.choice == (found.choices[0] if found.choices else None)
    assert found.threshold == least


def test_threshold_0_always_takes_the_best():
    assert decide([-300.0, -200.0], threshold=0).choice == "route 1"


def test_of_equal_routes_the_first_wins():
    assert decide([2.0, 2.0]).choice == "route 0"
    assert decide([1.0, 2.0, 2.0], multi=True).choices == ("route 1", "route 2", "route 0")


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("threshold", [None, 0, 0.5])
def test_an_empty_text_goes_nowhere_and_is_flagged(multi, threshold):
    found = Router(ToyScorer(), ["a", "b"], threshold=threshold, multi=multi)(" \n")
    assert (found.choice, found.choices, found.empty) == (None, (), True)
    assert found.none == 1
    assert set(found.probabilities.values()) == {0}


def test_what_the_tokenizer_could_not_read_is_reported():
    assert decide([1.0], parts={"unknown": [0.25]}).unknown == 0.25
    assert not decide([1.0]).empty


# ------------------------------------------------------------------------------- names, labels


@pytest.mark.parametrize(
    ("routes", "labels"),
    [
        (["refunds", "login"], ["refunds", "login"]),
        (("refunds", "login"), ["refunds", "login"]),
        ({"refunds": "money back", "login": "passwords"}, ["money back", "passwords"]),
        (
            {"refunds": Label("They want money back.", verbatim=True), "login": "passwords"},
            [Label("They want money back.", verbatim=True), "passwords"],
        ),
    ],
    ids=["list", "tuple", "descriptions", "hypotheses"],
)
def test_the_scorer_judges_names_descriptions_or_hypotheses(routes, labels):
    scorer = Fixed([[-1.0, 1.0]])
    found = Router(scorer, routes)("text")
    assert scorer.asked == [Ask(["text"], labels)]
    assert found.choice == "login"
    assert list(found.probabilities) == ["refunds", "login"]


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([], "expected names"),
        ({}, "expected names"),
        (None, "expected names"),
        ("refunds", "expected names"),
        (["a", "b", "a"], "name one twice"),
        (["a", " "], "a route is called ' '"),
        ([7], "a route is called 7"),
    ],
)
def test_routes_must_be_names_each_once(routes, message):
    with pytest.raises(ValueError, match=message):
        Router(ToyScorer(), routes)


def test_two_routes_of_one_description_are_refused():
    for twin in ("the same", Label("the same")):
        with pytest.raises(ValueError, match="'a' and 'b' have the same description"):
            Router(ToyScorer(), {"a": "the same", "b": twin})


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan])
def test_a_threshold_is_a_probability(threshold):
    with pytest.raises(ValueError, match=r"threshold is .*; expected a probability"):
        Router(ToyScorer(), ["a"], threshold=threshold)


# ------------------------------------------------------------------------------- calls, results


def test_an_order_is_refused_with_the_way_out():
    with pytest.raises(NotCalibratedError, match=r"Calibration\.fit"):
        Router(ToyScorer("order"), ["a"])("text")


def test_nan_never_routes():
    with pytest.raises(ScorerError, match="nan"):
        Router(Fixed([[np.nan, 1.0]]), ["a", "b"], threshold=0)("text")


@pytest.mark.parametrize(("texts", "kind"), [("text", "str"), (None, "NoneType"), (["a", None], "NoneType")])
def test_many_wants_a_list_of_texts(texts, kind):
    with pytest.raises(TypeError, match=kind):
        Router(ToyScorer(), ["a"]).many(texts)


def test_many_equals_one_by_one():
    router = Router(ToyScorer(), {"refunds": "money back", "login": "password"}, multi=True)
    texts = ["my password", "", "money back, and the password", "hello", ["one", "money", "back"]]
    found = router.many(texts)
    assert found == [router(text) for text in texts]
    assert [d.choices for d in found] == [("login",), (), ("refunds", "login"), (), ("refunds",)]
    assert router.many([]) == []


def test_decide_can_be_replayed_with_another_threshold_and_asks_nobody():
    scorer = Fixed([logit([0.6, 0.1])])
    router = Router(scorer, ["a", "b"])
    stored = judge(scorer, router.ask(["text"]))
    first = router.decide(stored)
    assert router.decide(stored) == first
    strict = Router(scorer, ["a", "b"], threshold=0.99)
    assert strict.decide(stored)[0].choice is None
    assert first[0].choice == "a"
    assert len(scorer.asked) == 1


@pytest.mark.parametrize("threshold", [None, 0.5, np.float32(0.5)])
@pytest.mark.parametrize("multi", [False, True])
def test_a_decision_is_frozen_and_json(threshold, multi):
    found = decide([1.0, 2.0], threshold=threshold, multi=multi)
    back = json.loads(json.dumps(asdict(found)))
    assert back["probabilities"] == found.probabilities
    assert back["choices"] == list(found.choices)
    with pytest.raises(FrozenInstanceError):
        found.choice = "a"


def test_routes_are_not_changed_and_later_changes_do_not_matter():
    routes = {"a": "apple"}
    router = Router(ToyScorer(), routes)
    router("apple")
    assert routes == {"a": "apple"}
    routes["b"] = "bread"
    assert list(router("bread").probabilities) == ["a"]
