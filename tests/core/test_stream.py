"""A stream lets no character go unjudged, and gives the same for any chunks and any order of verdicts."""

import json
import random
from collections import Counter
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Guard, StreamGuard
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed
from tests.core.streaming import (
    AFTER,
    FINE,
    RUDE,
    RULES,
    SPLITTERS,
    chunked,
    expected,
    guarded,
    judge,
    never,
    periods,
    show,
)

SAID = [
    "It is fine. ",
    "Dr. Ash left!\n",
    "so rude. ",
    "I attack. ",
    "But now? ",
    "spam rude ",
    '"',
    "\n\n- ",
    "é 好。 ",
    "Well, yes. ",
]
POLICIES = ["halt", "redact", "annotate", "release", {"rude": "redact", "spam": "annotate"}, {"attack": "release"}]


def drive(settings, chunks, rng):
    """Events of a host that judges sentences one by one, late and in any order; nothing may go before its verdict."""
    stream, found, waiting, known = settings.open(), [], [], set()

    def answer(least):
        while len(waiting) > least:
            held = waiting.pop(rng.randrange(len(waiting)))
            known.add(held.span)
            for event in stream.resolve([held], [judge(held.text)]):
                assert event.span in known, "let go before its verdict"
                found.append(event)
            waiting.extend(stream.take())

    for chunk in chunks:
        stream.feed(chunk)
        waiting.extend(stream.take())
        answer(rng.choice([0, 0, 1, 3]))
    stream.close()
    waiting.extend(stream.take())
    answer(0)
    assert stream.done
    assert stream.held == 0
    return found


# -------------------------------------------------------------------------------------- chunks


@given(st.lists(st.sampled_from(SAID), max_size=20).map("".join), st.randoms(use_true_random=False), st.data())
def test_chunks_and_the_order_of_verdicts_change_nothing(text, rng, data):
    settings = guarded(
        data.draw(st.sampled_from(SPLITTERS)),
        on_broken=data.draw(st.sampled_from(POLICIES)),
        context=data.draw(st.integers(1, 3)),
        lookahead=(lookahead := data.draw(st.integers(1, 32))),
        max_held=2 * lookahead + data.draw(st.integers(1, 50)),
    )
    reference = expected(settings, text)
    assert list(settings.run([text])) == reference
    assert drive(settings, chunked(text, rng), rng) == reference


def test_ten_thousand_chunkings_leak_nothing_and_agree_with_one_piece():
    rng, kinds = random.Random(20261122), Counter()
    for k in range(100):
        text = "".join(rng.choices(SAID, k=rng.randint(6, 18)))
        settings = guarded(
            SPLITTERS[k % len(SPLITTERS)],
            on_broken=POLICIES[k % len(POLICIES)],
            lookahead=rng.choice([4, 16, 32]),
            max_held=rng.choice([65, 120, 1000]),
        )
        one_piece = list(settings.run([text]))
        assert one_piece == expected(settings, text)
        kinds.update(e.action for e in one_piece)
        for _ in range(100):
            assert drive(settings, chunked(text, rng), rng) == one_piece
    assert min(kinds[a] for a in ("release", "annotate", "redact", "halt")) > 10


def test_a_halted_stream_shows_what_came_before_and_nothing_else():
    text = FINE + RUDE + AFTER * 4
    for k in range(1, 60):
        chunks = [text[i : i + k] for i in range(0, len(text), k)]
        found = list(guarded().run(chunks))
        assert show(found) == FINE
        assert [(e.action, e.verdict.broken) for e in found] == [("release", ()), ("halt", ("rude",))]


# ------------------------------------------------------------------------- what is judged, how often


def test_each_sentence_is_judged_once_with_the_one_before_it():
    scorer = Fixed([[-9.0]])
    text = FINE + AFTER + "Dr. Ash wrote. " + FINE
    found = list(StreamGuard(Guard(scorer, ["a"], 0.5), periods).run(text[i : i + 3] for i in range(0, len(text), 3)))
    asked = [t for ask in scorer.asked for t in ask.texts]
    assert asked == [FINE, FINE + AFTER, AFTER + "Dr. Ash wrote. ", "Dr. Ash wrote. " + FINE]
    assert show(found) == text


@pytest.mark.parametrize("policy", ["annotate", "release"])
def test_sentences_that_end_in_one_chunk_are_one_plan(policy):
    asked = []

    class Counts(ToyScorer):
        def score(self, texts, labels):
            asked.append(len(texts))
            return super().score(texts, labels)

    assert len(list(StreamGuard(Guard(Counts(), RULES), periods, on_broken=policy).run([RUDE * 6]))) == 6
    assert asked == [5, 1]


def test_an_attack_in_two_sentences_is_seen_by_the_second():
    text = "We will attack. It is to be done right now, they said. " + AFTER
    assert [e.action for e in guarded().run([text])] == ["release", "halt"]
    parts = "We will attack. Tea is at noon in the hall. It is to be done right now, they said. " + AFTER
    assert {e.action for e in guarded().run([parts])} == {"release"}
    assert [e.action for e in guarded(context=2).run([parts])] == ["release", "release", "halt"]


def test_a_phrase_over_a_forced_cut_is_seen():
    text = "and so " * 20 + "attack now " + "and so " * 20
    for shift in range(40):
        found = list(guarded(never, max_held=100).run(["so " * shift + text]))
        assert found[-1].action == "halt"
        assert "now" not in show(found)


def test_context_is_what_the_reader_has():
    # The next sentence isn't blamed for redacted words, and is judged with the one before them.
    text = "They attack. " + RUDE + "That is all for now, he said. " + FINE + FINE
    found = list(guarded(on_broken="redact").run([text]))
    assert [e.action for e in found] == ["release", "redact", "redact", "release", "release"]
    assert found[2].context == (found[0].span,)
    assert found[3].context == (found[0].span,)
    assert [e.action for e in guarded(on_broken="annotate").run([RUDE + FINE + FINE])] == [
        "annotate",
        "annotate",
        "release",
    ]


def test_only_the_neighbour_of_a_withheld_sentence_is_judged_again():
    stream = guarded(on_broken="redact").open()
    stream.feed(FINE + RUDE + FINE * 4)
    first = stream.take()
    shown = stream.resolve(first, [judge(h.text) for h in first])
    assert [e.action for e in shown] == ["release", "redact"]
    (again,) = stream.take()
    assert (again.number, again.context) == (2, (first[0].span,))
    assert [h.number for h, _ in stream.unused] == [2]
    assert stream.take() == []
    assert len(stream.resolve([again], [judge(again.text)])) == 3


# ------------------------------------------------------------------------------------ policies


def test_the_strictest_policy_of_the_broken_rules_counts():
    policies = {"rude": "annotate", "spam": "redact", "attack": "release"}
    settings = guarded(on_broken=policies)
    for words, action in [("rude", "annotate"), ("rude spam", "redact"), ("attack now", "release"), ("ok", "release")]:
        assert settings.action(judge(words)) == action
    verdict = replace(judge("rude spam"), broken=("rude", "unreadable"))
    assert settings.action(verdict) == "halt", "a rule without a policy halts"
    assert guarded(on_broken={"unreadable": "annotate", **policies}).action(verdict) == "annotate"


def test_a_verdict_at_odds_with_itself_does_not_pass():
    assert guarded(on_broken={"rude": "redact"}).action(replace(judge("ok"), allowed=False)) == "halt"
    assert guarded().action(replace(judge("ok"), broken=("rude",))) == "halt"


def test_a_redacted_sentence_keeps_the_white_space_around_it():
    text = f"\n  {RUDE.strip()}\n\n{FINE}"
    assert show(guarded(on_broken="redact", replacement="…").run([text])) == f"\n  …\n\n{FINE}"


def test_events_are_json_and_point_into_the_stream():
    text = FINE + RUDE + AFTER
    found = list(guarded(on_broken="annotate").run([text]))
    assert [text[slice(*e.span)] for e in found] == [FINE, RUDE, AFTER]
    back = json.loads(json.dumps([asdict(e) for e in found]))
    assert back[1]["action"] == "annotate"
    assert back[1]["verdict"]["broken"] == ["rude"]
    held = (*found[1].context, found[1].span)
    assert judge("".join(text[a:b] for a, b in held)) == found[1].verdict
