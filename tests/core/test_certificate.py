"""Certificates: what they pin, when they are stale, which texts they have seen."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.certificate import Certificate, Goal, digest, made, pins
from headgate.errors import DataError, StaleError
from headgate.labelled import Halves, truth_matrix
from headgate.scores import Label
from headgate.testing import ToyScorer
from headgate.thresholds import Proof

PROVEN = Proof(0.7, guaranteed=True, n=100, errors=1, bound=0.04, needed=0)
GUESS = Proof(0.95, guaranteed=False, n=3, errors=0, bound=0.5, needed=120)
GOAL = Goal("max_error", 0.05, 0.9, 0)
TEXTS = [f"text {i}" for i in range(40)]


def halves(texts=TEXTS, seed=0):
    return Halves.of(texts, [None] * len(texts), seed=seed)


def certificate(proofs=None, now=None):
    return made(halves(), GOAL, proofs or {"all": PROVEN}, top=np.arange(40), pins=now or {"scorer": "a"})


def test_it_says_what_it_was_made_of():
    c = certificate()
    assert (c.promise, c.target, c.confidence, c.guaranteed, c.needed) == ("max_error", 0.05, 0.9, True, 0)
    assert (c.fitted, c.certified, len(c.deciles)) == (20, 20, 9)
    assert list(c.deciles) == sorted(c.deciles)
    held = np.arange(40)[~halves().fit]
    assert c.deciles[4] == pytest.approx(np.median(held))


def test_its_id_changes_with_anything_in_it_and_only_then():
    c = certificate()
    assert c.id == replace(c).id
    others = [
        replace(c, target=0.06),
        replace(c, proofs={"all": replace(PROVEN, threshold=0.71)}),
        replace(c, made="x"),
    ]
    assert len({c.id, *(o.id for o in others)}) == 4


def test_it_survives_json():
    c = certificate()
    raw = json.loads(json.dumps(asdict(c)))
    raw["proofs"] = {name: Proof(**proof) for name, proof in raw["proofs"].items()}
    again = Certificate(**{**raw, "deciles": tuple(raw["deciles"])})
    assert again == c
    assert again.id == c.id


def test_other_pins_are_stale_and_named():
    c = certificate(now={"scorer": "a", "dtype": "float32", "routes": "b"})
    c.check({"scorer": "a", "dtype": "float32", "routes": "b"})
    with pytest.raises(StaleError, match="dtype, scorer changed"):
        c.check({"scorer": "x", "dtype": "bfloat16", "routes": "b"})
    with pytest.raises(StaleError, match="dtype changed"):  # a scorer that no longer says
        c.check({"scorer": "a", "routes": "b"})


def test_what_is_not_proven_warns_with_the_labels_it_lacks():
    with pytest.warns(
        UserWarning, match=r"not guaranteed for refund: 20 texts don't prove it \(about 120 more would\)"
    ):
        c = certificate({"refund": GUESS, "billing": PROVEN})
    assert (c.guaranteed, c.needed) == (False, 120)
    with pytest.warns(UserWarning, match="too often for any number"):
        assert certificate({"all": replace(GUESS, needed=None)}).needed is None


def test_a_certificate_can_not_claim_more_than_its_proofs():
    with pytest.warns(UserWarning, match="not guaranteed"):
        c = certificate({"all": GUESS})
    with pytest.raises(ValueError, match="guaranteed is True, and its proofs say False"):
        replace(c, guaranteed=True)
    with pytest.raises(ValueError, match="promise is 'max_fun'"):
        replace(certificate(), promise="max_fun")


def test_it_knows_the_texts_it_was_made_on():
    c = certificate()
    assert c.seen(["new", " text 3\n", "text 39", "text 40"]) == [1, 2]
    assert c.seen([]) == []
    with pytest.warns(UserWarning, match="2 of 4 texts, the first at 1, are among those"):
        c.warn(["new", "text 3", "text 39", "other"])
    c.warn(["new"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"target": 0}, "max_error is 0; expected above 0"),
        ({"target": 1.0}, "max_error is 1.0"),
        ({"target": float("nan")}, "max_error is nan"),
        ({"target": True}, "max_error is True"),
        ({"confidence": 1}, "confidence is 1"),
        ({"confidence": "0.9"}, "confidence is '0.9'"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 0.5}, "seed is 0.5"),
    ],
)
def test_goals_that_no_data_can_prove_are_named(changed, message):
    with pytest.raises(ValueError, match=message):
        Goal(**{**asdict(GOAL), **changed})


def test_the_halves_are_of_one_size_and_hold_every_text_once():
    found = halves([*TEXTS, "odd"], seed=3)
    assert found.texts == [*TEXTS, "odd"]
    assert found.fit.sum() == 20
    assert (found.fit == halves([*TEXTS, "odd"], seed=3).fit).all()
    assert (found.fit != halves([*TEXTS, "odd"], seed=4).fit).any()


def test_a_text_that_came_twice_counts_twice_as_it_will_in_use():
    found = halves([*TEXTS, "text 0", "text 5"])
    assert found.texts == [*TEXTS, "text 0", "text 5"]
    assert len(found.fit) == 42


def test_texts_that_the_scorer_holds_certify_nothing():
    with pytest.warns(UserWarning, match="3 of 40 texts, the first at 7, are examples"):
        found = Halves.of(TEXTS, [None] * 40, seed=0, known=lambda texts: [7, 8, 39])
    assert found.fit[[7, 8, 39]].all()
    assert (found.fit | True).all()
    assert (halves().fit <= found.fit).all()


@pytest.mark.parametrize(
    "changed",
    [
        {"target": 0.001},
        {"confidence": 0.9999},
        {"proofs": {}},
        {"proofs": {"all": replace(PROVEN, errors=50)}},
        {"proofs": {"all": replace(PROVEN, n=0, errors=0)}},
        {"proofs": {name: PROVEN for name in "abcdef"}},
    ],
)
def test_a_promise_that_its_counts_do_not_show_is_refused(changed):
    with pytest.raises(ValueError, match="guaranteed is True, and its proofs say False"):
        replace(certificate(), **changed)


def test_texts_to_look_for_are_a_list():
    with pytest.raises(TypeError, match="texts is a str"):
        certificate().seen("text 3")


@pytest.mark.parametrize(
    ("texts", "truths", "error", "message"),
    [
        (TEXTS, [None] * 39, DataError, "40 texts and 39 truths"),
        (TEXTS[:19], [None] * 19, DataError, "19 texts; expected 20 or more"),
        ([*TEXTS, None], [None] * 41, DataError, "row 40: the text is NoneType"),
        ("text", ["t"], TypeError, "texts is a str"),
        (TEXTS, "truths", TypeError, "truths is a str"),
    ],
)
def test_texts_that_can_not_be_dealt_are_named(texts, truths, error, message):
    with pytest.raises(error, match=message):
        Halves.of(texts, truths, seed=0)


def test_truths_are_names_or_several_or_none():
    found = truth_matrix(["a", ["a", "b"], None, [], ("b",)], ["a", "b"], "route")
    assert found.tolist() == [[True, False], [True, True], [False, False], [False, False], [False, True]]


@pytest.mark.parametrize("truth", ["c", ["a", "c"], 1, float("nan"), {"a": 1}, b"a", [1]])
def test_a_truth_that_is_no_name_is_named_with_its_row(truth):
    with pytest.raises(DataError, match="row 1: the truth"):
        truth_matrix(["a", truth], ["a", "b"], "route")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_digests_are_of_the_value_and_survive_json(a, b):
    assert digest(a) == digest(json.loads(json.dumps(a)))
    same = json.dumps(a) == json.dumps(b)
    assert (digest(a) == digest(b)) == same


def test_labels_and_their_readings_differ_in_their_digests():
    labels = ["a", Label("a", verbatim=True), Label("a", relation="contradiction")]
    assert len({digest(label) for label in labels}) == 3
    assert digest({"r": Label("a")}) == digest({"r": "a"})
    assert digest(("a", "b")) == digest(["a", "b"])
    assert digest(np.float64(0.25)) == digest(0.25)


def test_pins_name_the_scorer_and_how_it_runs():
    assert pins(ToyScorer(), routes=["a"]) == {"scorer": "toy", "routes": digest(["a"])}

    class Run:
        backend, dtype = "torch", "bfloat16"

    class Loaded(ToyScorer):
        run = Run()

    assert pins(Loaded()) == {"scorer": "toy", "backend": "torch", "dtype": "bfloat16"}
