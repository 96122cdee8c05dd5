"""Wrappers around real models: a joint GLiClass, and the parts of mini."""

import itertools
import warnings
from pathlib import Path

import numpy as np
import pytest

from headgate import Debiased, Permuted, Router, Shortlist, WithExamples, load
from headgate.testing import check_scorer
from tests import tiny
from tests.families.test_gliclass import save

LABELS = ["password reset", "soil", "a refund of the invoice", "the fox"]
TEXTS = ["the hub lost its password", "x", "is the invoice wrong or was the pump paid twice?", "soil"] * 2
ROUTES = [
    f"{verb} the {thing}" for verb in ("pay", "lose", "repair", "paint") for thing in ("bill", "key", "car", "fence")
]


@pytest.fixture
def joint(tmp_path: Path) -> object:
    save(tmp_path, tiny.tokenizer("bert"))
    return load(tmp_path, device="cpu", exact=True)


def test_orders_no_longer_flip_a_joint_model(joint) -> None:
    assert joint.joint

    def choices(scorer) -> set:
        found = set()
        for order in itertools.permutations(LABELS):
            best = scorer.score(TEXTS, list(order)).log_odds.argmax(axis=1)
            found.add(tuple(order[j] for j in best))
        return found

    assert len(choices(joint)) > 1
    assert len(choices(Permuted(joint, orders=2))) == 1


@pytest.mark.parametrize("wrap", [Permuted, Debiased, lambda s: Permuted(Debiased(s))])
def test_a_wrapped_model_keeps_the_contract(joint, wrap) -> None:
    check_scorer(wrap(joint), labels=LABELS)
    assert wrap(joint).run is joint.run


def test_mini_behind_a_shortlist_and_beside_examples() -> None:
    route, embed = load("mini/route"), load("mini/embed")
    shortlist = Shortlist(route, embed, ROUTES, size=4, least=0)
    check_scorer(shortlist, labels=ROUTES[:5])
    assert Router(shortlist, ROUTES, threshold=0.0)("My car is broken, it needs repair").choice == "repair the car"
    said = {r: [f"I want to {r}", f"could you {r} for me"] for r in ROUTES}
    texts, truths = [f"please {r} now" for r in ROUTES] + ["who won the cup?", "hello"] * 4, [*ROUTES, *[None] * 8]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = WithExamples(route, embed, said).fit(texts, truths)
    check_scorer(fitted, labels=ROUTES[:5])
    decisions = Router(fitted, ROUTES).many(["can you paint that fence?", "who is the president?"])
    assert [d.choice for d in decisions] == ["paint the fence", None]
    assert np.isfinite(fitted.weights.examples)
