"""A stream's late verdicts, by a clock of the test's, and the arguments that it refuses."""

import pytest

from headgate import Guard, StreamGuard
from headgate.testing import ToyScorer
from tests.core.streaming import periods

GUARD = Guard(ToyScorer(), ["rude", "spam"], 0.5)
FIRST, SECOND = "The hub is on the wall. ", "It is green when it works. "
RUDE = "That is a rude thing to say. "
REST = "x" * 60


class Clock:
    def __init__(self):
        self.time = 100.0

    def __call__(self):
        return self.time


def opened(text, on_timeout, budget=0.5, **settings):
    clock = Clock()
    stream = StreamGuard(GUARD, periods, budget=budget, on_timeout=on_timeout, now=clock, **settings).open()
    stream.feed(text + REST)
    return stream, clock, stream.take()


def verdicts(held):
    return GUARD.many([h.text for h in held])


@pytest.mark.parametrize("on_timeout", ["release", "redact", "halt"])
def test_a_late_sentence_gets_what_was_chosen_for_it_at_the_deadline_and_not_before(on_timeout):
    stream, clock, held = opened(FIRST + SECOND, on_timeout)
    assert stream.deadline == 100.5
    clock.time = 100.49
    assert stream.expire() == []
    clock.time = 100.5
    found = stream.expire()
    texts = {"release": [FIRST, SECOND], "redact": ["[removed] "] * 2, "halt": [""]}[on_timeout]
    assert [(e.action, e.text, e.verdict, e.context) for e in found] == [(on_timeout, t, None, ()) for t in texts]
    assert stream.halted == (on_timeout == "halt")
    assert stream.deadline is None
    assert stream.resolve(held, verdicts(held)) == []
    assert [h for h, _ in stream.unused] == held, "ignored, and recorded"


def test_hold_waits_for_ever():
    stream, clock, held = opened(FIRST + RUDE, "hold")
    clock.time = 1e9
    assert (stream.deadline, stream.expire()) == (None, [])
    assert [e.action for e in stream.resolve(held, verdicts(held))] == ["release", "halt"]


def test_a_verdict_in_time_is_used_and_the_rest_expires_in_order():
    stream, clock, held = opened(FIRST + RUDE + SECOND, "release", on_broken="redact")
    assert stream.resolve(held[1:2], verdicts(held[1:2])) == [], "the first one is still held"
    clock.time = 101
    assert [(e.action, e.text) for e in stream.expire()] == [
        ("release", FIRST),
        ("redact", "[removed] "),
        ("release", SECOND),
    ]


def test_a_verdict_that_no_one_declared_late_still_counts():
    stream, clock, held = opened(RUDE, "release")
    clock.time = 1e9
    assert [e.action for e in stream.resolve(held, verdicts(held))] == ["halt"]


def test_what_went_unjudged_is_judged_with_the_next_sentence():
    stream, clock, _ = opened(RUDE, "release")
    clock.time = 101
    assert stream.expire()[0].text == RUDE
    stream.close()
    (held,) = stream.take()
    assert held.text == RUDE + REST
    assert stream.deadline == 101.5
    assert stream.resolve([held], verdicts([held]))[0].action == "halt"


def test_what_was_redacted_for_being_late_is_no_context():
    stream, clock, _ = opened(RUDE, "redact")
    clock.time = 101
    stream.expire()
    stream.close()
    (held,) = stream.take()
    assert (held.text, held.context) == (REST, ())


def test_a_sentence_that_is_judged_again_gets_its_time_again():
    stream, clock, held = opened(RUDE + SECOND, "halt", on_broken="redact")
    clock.time = 100.4
    assert [e.action for e in stream.resolve(held, verdicts(held))] == ["redact"]
    (again,) = stream.take()
    assert (again.number, again.text, stream.deadline) == (1, SECOND, 100.9)
    clock.time = 100.6
    assert stream.expire() == []
    assert stream.resolve([again], verdicts([again]))[0].text == SECOND


def test_a_late_verdict_is_ignored_even_while_its_sentence_waits_for_others():
    stream, clock, held = opened(RUDE + FIRST + RUDE, "release", on_broken="redact")
    clock.time = 100.4
    stream.resolve(held[:1], verdicts(held[:1]))
    (again,) = stream.take()  # the second sentence, whose neighbour was withheld; its time begins again
    clock.time = 100.6
    assert stream.expire() == []
    assert stream.resolve(held[2:], verdicts(held[2:])) == []
    assert [h for h, _ in stream.unused] == held[2:]
    found = stream.resolve([again], verdicts([again]))
    assert [(e.text, e.verdict is None) for e in found] == [(FIRST, False), (RUDE, True)]


def test_what_is_late_stays_late_whatever_becomes_of_its_context():
    stream, clock, held = opened(RUDE + FIRST + RUDE + SECOND, "release", on_broken="redact")
    clock.time = 100.4
    stream.resolve(held[:1], verdicts(held[:1]))
    (again,) = stream.take()
    stream.resolve(held[2:3], verdicts(held[2:3]))  # withheld, so the last sentence stands in another context now
    clock.time = 100.6
    stream.expire()
    assert stream.take() == []
    found = stream.resolve([again], verdicts([again]))
    assert [(e.action, e.verdict is None) for e in found] == [("release", False), ("redact", False), ("release", True)]


def test_what_was_not_handed_out_is_not_late():
    stream, clock, _ = opened("", "halt")
    stream.feed(" " + FIRST + REST)
    clock.time = 1e9
    assert stream.expire() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_broken": "stop"}, r"on_broken of rule 'rude' is 'stop'; expected one of \['release', 'annotate'"),
        (
            {"on_broken": {"rudeness": "halt"}},
            r"names rule 'rudeness'; expected some of \['rude', 'spam', 'unreadable'\]",
        ),
        ({"on_broken": {"rude": None}}, "on_broken of rule 'rude' is None"),
        ({"context": 0}, "context is 0; expected a whole number, 1 or more"),
        ({"lookahead": 0}, "lookahead is 0; expected a whole number, 1 or more"),
        ({"lookahead": "32"}, "lookahead is '32'; expected a whole number"),
        ({"max_held": 64}, "max_held is 64; expected a whole number, 65 or more"),
        ({"context": True}, "context is True"),
        ({"budget": 1.0}, "budget is 1.0 and on_timeout None; expected both or neither"),
        ({"on_timeout": "hold"}, "budget is None and on_timeout 'hold'; expected both or neither"),
        ({"budget": 1.0, "on_timeout": "drop"}, "on_timeout is 'drop'; expected one of"),
        ({"budget": 0.0, "on_timeout": "halt"}, "budget is 0.0; expected seconds above 0"),
        ({"budget": float("nan"), "on_timeout": "halt"}, "budget is nan; expected seconds above 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StreamGuard(GUARD, periods, **settings)


@pytest.mark.parametrize(("guard", "splitter"), [(ToyScorer(), periods), (GUARD, "en"), (GUARD, None)])
def test_a_guard_and_a_splitter_are_needed(guard, splitter):
    with pytest.raises(TypeError, match="expected a Guard and a function"):
        StreamGuard(guard, splitter)


def test_a_call_that_blocks_keeps_no_budget_and_says_so():
    with pytest.raises(ValueError, match=r"budget is 1.0 s, but run\(\) can't stop waiting"):
        StreamGuard(GUARD, periods, budget=1.0, on_timeout="release").run([FIRST])


def test_policies_are_not_changed_and_later_changes_do_not_matter():
    policies = {"rude": "redact"}
    settings = StreamGuard(GUARD, periods, on_broken=policies)
    policies["rude"] = "release"
    assert settings.action(GUARD("rude")) == "redact"
