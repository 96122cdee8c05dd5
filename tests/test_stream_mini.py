"""mini's guard on a stream, with a splitter of sentences as it is shipped."""

import random

import numpy as np
import pytest

from headgate import Guard, StreamGuard, load
from tests.core.streaming import chunked, periods

pytest.importorskip("sentencex")
CALM = "The greenhouse is at twenty degrees today, says Dr. Ash. "
WET = "She paid $1,000.50 for the pump on Jan. 3 and it works. "
RUDE = "You are a stupid, worthless idiot and everyone hates you. "
LAST = "The tomatoes were watered in the morning."


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(load("mini/guard"), ["toxic"])


@pytest.fixture(scope="module")
def guarded(guard: Guard) -> StreamGuard:
    from headgate.sentences import sentences

    return StreamGuard(guard, sentences("en"), on_broken={"toxic": "redact"})


def test_what_is_let_go_does_not_depend_on_the_chunks(guarded: StreamGuard) -> None:
    text, rng = CALM + WET + RUDE + CALM + LAST, random.Random(7)
    whole = list(guarded.run([text]))
    assert "".join(e.text for e in whole) == CALM + WET + "[removed] " + CALM + LAST
    for _ in range(3):
        found = list(guarded.run(chunked(text, rng)))
        assert [(e.action, e.text, e.span, e.context) for e in found] == [
            (e.action, e.text, e.span, e.context) for e in whole
        ]
        # The batch is another one, which may move a probability by what float32 rounds.
        p, q = ([e.verdict.probabilities["toxic"] for e in events] for events in (found, whole))
        assert np.allclose(p, q, rtol=0, atol=1e-4)


def test_each_sentence_is_scored_once_with_the_one_before_it(guard: Guard) -> None:
    rows = guard.scorer.work.rows
    text = CALM + RUDE + LAST
    settings = StreamGuard(guard, periods, on_broken="annotate")
    assert len(list(settings.run(text[i : i + 4] for i in range(0, len(text), 4)))) == 3
    assert guard.scorer.work.rows - rows == 3


def test_an_insult_in_two_sentences_is_seen_by_the_second(guard: Guard) -> None:
    first, second = "You are an absolute.\n", "Worthless idiot of a man, that is what you are to everyone here. "
    assert guard(first).allowed
    found = list(StreamGuard(guard, periods).run([first + second + CALM]))
    assert [e.action for e in found] == ["release", "halt"]
    assert found[1].context == ((0, len(first)),)
