"""A tree of routes is walked down while each level is sure."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Panel, Router, RouteTree, judge
from headgate.testing import ToyScorer

SCORER = ToyScorer()
WORDS = ["money", "refund", "invoice", "gift card", "device", "screen", "battery"]


def tree(**how):
    money = RouteTree(
        Router(SCORER, ["refund", "invoice"], **how), {"refund": Router(SCORER, ["gift card", "cash"], **how)}
    )
    top = {"money": "money", "device": "device"}
    return RouteTree(
        Router(SCORER, top, **how), {"money": money, "device": Router(SCORER, ["screen", "battery"], **how)}
    )


@pytest.mark.parametrize(
    ("text", "choice", "levels"),
    [
        ("money refund gift card", "money/refund/gift card", 3),
        ("money refund", "money/refund", 3),
        ("money invoice", "money/invoice", 2),
        ("money", "money", 2),
        ("device battery", "device/battery", 2),
        ("battery", None, 1),
        ("", None, 1),
    ],
)
def test_it_descends_while_sure(text, choice, levels):
    found = tree()(text)
    assert found.choice == choice
    assert "/".join(found.path) == (choice or "")
    assert len(found.decisions) == levels
    json.dumps(asdict(found))


@given(st.lists(st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join), max_size=5))
def test_level_by_level_finds_what_the_whole_tree_at_once_does(texts):
    walked = tree()
    assert walked.decide(judge(SCORER, walked.ask(texts))) == walked.many(texts)
    assert walked.many(texts) == [walked(text) for text in texts]


def test_each_level_has_its_own_threshold():
    strict = RouteTree(
        Router(SCORER, ["money", "device"]), {"money": Router(SCORER, ["refund", "invoice"], threshold=0.999)}
    )
    assert strict("money refund").choice == "money"
    assert strict("money refund").decisions[1].reason == "none"


def test_only_branches_that_are_taken_are_scored():
    asked = []

    class Counting(ToyScorer):
        def score_many(self, asks):
            asked.append([(list(ask.texts), list(ask.labels)) for ask in asks])
            return [self.score(ask.texts, ask.labels) for ask in asks]

    scorer = Counting()
    top = Router(scorer, ["money", "device"])
    below = {"money": Router(scorer, ["refund", "invoice"]), "device": Router(scorer, ["screen", "battery"])}
    found = RouteTree(top, below).many(["money refund", "nothing", "money invoice"])
    assert [d.choice for d in found] == ["money/refund", None, "money/invoice"]
    assert asked == [
        [(["money refund", "nothing", "money invoice"], ["money", "device"])],
        [(["money refund", "money invoice"], ["refund", "invoice"])],
    ]


@pytest.mark.parametrize(
    ("below", "error", "message"),
    [
        ({"x": Router(SCORER, ["a"])}, ValueError, "a branch hangs below 'x'"),
        ({"money": ["a"]}, TypeError, "below 'money' is list"),
        ({"money": Router(SCORER, ["a"], multi=True)}, ValueError, "has multi set"),
        ({"money": Router(ToyScorer(fingerprint="b"), ["a"])}, ValueError, "a scorer of its own"),
    ],
)
def test_trees_that_can_not_be_walked_are_refused(below, error, message):
    with pytest.raises(error, match=message):
        RouteTree(Router(SCORER, ["money", "device"]), below)


def test_a_tree_sits_on_a_panel():
    texts = ["money refund", "battery"]
    found = Panel({"tree": tree(), "flat": Router(SCORER, ["money", "device"])}).many(texts)
    assert [each["tree"] for each in found] == tree().many(texts)


def test_names_that_hold_the_separator_are_refused():
    with pytest.raises(ValueError, match="which joins the levels"):
        RouteTree(Router(SCORER, ["a/b"]))


def test_scores_of_another_tree_are_refused():
    with pytest.raises(ValueError, match="1 scores came for 4 levels"):
        tree().decide(judge(SCORER, Router(SCORER, ["a"]).ask(["x"])))
