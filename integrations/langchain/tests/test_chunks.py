"""What a message holds besides text, on its way through a guarded stream."""

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from tests.writers import BAD, FINE, REST, SECRET, guard, said, total

from langchain_headgate._chunks import Manner, aguarded, guarded, judged, words

POLICIES = ["halt", "redact", "annotate", "release"]
USAGE = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
CALL = {"name": "t", "args": '{"x": 1}', "id": "c", "index": 0, "type": "tool_call_chunk"}
THOUGHT = "I should be kind here and say nothing bad. "


def chunk(content: Any = "", **more: Any) -> AIMessageChunk:
    return AIMessageChunk(content, id="1", **more)


def text(words: str, index: int = 0) -> AIMessageChunk:
    return chunk([{"type": "text", "text": words, "index": index}])


def thought(words: str) -> AIMessageChunk:
    return chunk([{"type": "thinking", "thinking": words, "index": 0}])


def through(
    chunks: list[Any], policy: str = "halt", refusal: str | None = "No.", reasoning: Any = "judge"
) -> list[Any]:
    """What comes out, the same both ways."""
    manner = Manner(refusal, reasoning)
    out = list(guarded(guard(on_broken=policy), iter(chunks), manner))

    async def arriving() -> AsyncIterator[Any]:
        for one in chunks:
            yield one

    async def all_of() -> list[Any]:
        return [one async for one in aguarded(guard(on_broken=policy), arriving(), manner)]

    assert asyncio.run(all_of()) == out
    return out


def whole(message: Any, policy: str = "halt", reasoning: Any = "judge") -> Any:
    manner = Manner("No.", reasoning)
    (events,) = guard(on_broken=policy).many([words(message, manner)])
    return judged(message, events, manner)


def cut(string: str, rng: random.Random) -> list[str]:
    at = sorted({0, len(string), *(rng.randrange(len(string)) for _ in range(rng.choice([1, 5, 60])))})
    return [string[a:b] for a, b in pairwise(at)]


@pytest.mark.parametrize("policy", POLICIES)
def test_chunks_of_any_size_and_shape_say_the_same(policy) -> None:
    rng = random.Random(0)
    said_once = "".join(map(said, through([FINE + BAD + REST], policy)))
    for _ in range(20):
        pieces = cut(FINE + BAD + REST, rng)
        for shape in (str, chunk, text, lambda t: chunk([t])):
            out = through([shape(piece) for piece in pieces], policy)
            assert "".join(map(said, out)) == said_once
            assert (SECRET in "".join(map(said, out))) == (policy in ("annotate", "release"))
        assert said(total(through([text(piece) for piece in pieces], policy))) == said_once
    for value in (
        FINE + BAD + REST,
        AIMessage(FINE + BAD + REST),
        AIMessage([{"type": "text", "text": FINE + BAD + REST}]),
    ):
        assert said(whole(value, policy)) == said_once
        assert type(whole(value, policy)) is type(value)


def test_what_passes_adds_up_to_what_came() -> None:
    chunks = [
        chunk(response_metadata={"model_name": "m"}),
        *map(chunk, cut(FINE * 3, random.Random(1))),
        chunk(tool_call_chunks=[CALL]),
        chunk(usage_metadata=USAGE, response_metadata={"finish_reason": "stop"}, chunk_position="last"),
    ]
    assert through(chunks)[0] == chunks[0]
    assert total(through(chunks)) == total(chunks)
    blocks = [thought(THOUGHT), text(FINE, 1), chunk([{"type": "image", "url": "u", "index": 2}]), text(FINE, 3)]
    assert total(through(blocks)) == total(blocks)
    assert total(through([chunk(FINE + FINE), chunk(FINE, usage_metadata=USAGE)])).usage_metadata == USAGE


def test_a_divided_block_adds_up_to_itself() -> None:
    """Hosts join the lists of blocks of one index: what comes twice would be there twice."""
    block = {"type": "text", "text": FINE * 3, "index": 0, "annotations": [{"type": "citation", "url": "u"}], "id": "b"}
    out = through([chunk([block], usage_metadata=USAGE, additional_kwargs={"k": ["v"]})])
    assert len(out) > 1
    assert total(out) == chunk([block], usage_metadata=USAGE, additional_kwargs={"k": ["v"]})


def test_what_is_no_text_waits_in_its_order() -> None:
    image = chunk([{"type": "image", "url": "u", "index": 1}])
    out = through([text(FINE), image, text(FINE, 2), text(BAD, 2)])
    assert out[:2] == [text(FINE), image]
    assert out[2].text == FINE
    assert image not in through([text(BAD), image, text(FINE, 2)])


@pytest.mark.parametrize("policy", POLICIES)
def test_tool_calls_wait_for_the_end_and_are_dropped_at_a_halt(policy) -> None:
    calls = [
        chunk(tool_call_chunks=[CALL]),
        chunk([{"type": "tool_use", "id": "c", "name": "t", "input": {}, "index": 1}]),
        chunk(additional_kwargs={"function_call": {"name": "t"}}),
    ]
    for call in calls:
        out = through([chunk(FINE), call, chunk(FINE + BAD + REST)], policy)
        mine = [o for o in out if o == call]
        assert len(mine) == (policy != "halt")
        assert said(total(out)).startswith(FINE)
        if policy == "halt":
            sum_ = total(out)
            assert (sum_.tool_calls, sum_.tool_call_chunks, sum_.additional_kwargs) == ([], [], {})
            assert not any(o.tool_calls or o.tool_call_chunks for o in out)
            assert "tool_use" not in str(sum_.content)
            assert said(sum_) == FINE * 2 + "No."


def test_no_tool_is_called_before_the_text_behind_it_was_judged() -> None:
    seen = []

    def model() -> Any:
        for one in [chunk(FINE), chunk(tool_call_chunks=[CALL]), *[chunk(FINE)] * 4, chunk(BAD), chunk(REST)]:
            seen.append(one)
            yield one

    shown = []
    for one in guarded(guard(), model(), Manner(None)):
        shown.append(one)
        assert not one.tool_call_chunks
    assert said(total(shown)) == FINE * 5


@pytest.mark.parametrize(
    "reason",
    [
        thought,
        lambda t: chunk([{"type": "reasoning", "reasoning": t, "index": 0}]),
        lambda t: chunk([{"type": "reasoning", "summary": [{"type": "summary_text", "text": t}], "index": 0}]),
        lambda t: chunk(additional_kwargs={"reasoning_content": t}),
    ],
)
def test_reasoning_is_judged_in_its_place(reason) -> None:
    good = [reason(THOUGHT), chunk(FINE)]
    assert total(through(good)) == total(good)
    bad = [reason(THOUGHT), reason(BAD), chunk(FINE)]
    out = total(through(bad))
    assert SECRET not in repr(out.model_dump(exclude={"response_metadata"}))
    assert said(out) == "No."
    out = total(through(bad, "redact"))
    assert SECRET not in repr(out.model_dump(exclude={"response_metadata"}))
    assert said(out) == FINE  # a replacement is said in a text's place only
    dropped = total(through(bad, reasoning="drop"))
    assert said(dropped) == FINE
    assert "kind" not in repr(dropped)
    for message in (total(bad), AIMessage(total(bad).content, additional_kwargs=total(bad).additional_kwargs)):
        for policy, rest in (("halt", "No."), ("redact", FINE)):
            out = whole(message, policy)
            assert SECRET not in repr(out.model_dump(exclude={"response_metadata"}))
            assert said(out) == rest
        assert said(whole(message, reasoning="drop")) == FINE


def test_a_word_does_not_begin_in_reasoning_and_end_in_text() -> None:
    assert said(total(through([thought("zeb"), chunk("ra is fine")]))) == "ra is fine"
    assert said(total(through([thought("a quiet"), chunk(SECRET)]))) == "No."


def test_unknown_blocks_with_words_are_judged_and_media_are_not() -> None:
    for block in (
        {"type": "refusal", "refusal": BAD},
        {"type": "new", "text": BAD},
        {"type": "x", "content": [{"text": BAD}]},
    ):
        assert SECRET not in repr([o.content for o in through([chunk([{**block, "index": 0}]), text(FINE, 1)])])
    image = chunk([{"type": "image", "image": SECRET, "index": 0}])
    assert total(through([image, text(FINE, 1)])) == total([image, text(FINE, 1)])


def test_what_was_not_simply_released_is_noted() -> None:
    many = FINE + BAD + REST * 2 + BAD
    out = through([chunk(w) for w in cut(many, random.Random(2))], "redact")
    notes = total(out).response_metadata["guard_events"]
    assert [(n["action"], many[slice(*n["span"])].strip()) for n in notes] == [("redact", BAD.strip())] * 2
    assert notes[0]["verdict"]["broken"] == ("beast",)
    assert SECRET not in repr(out)
    assert whole(AIMessage(many), "redact").response_metadata["guard_events"] == notes
    lone = through([chunk([{"type": "refusal", "refusal": BAD, "index": 0}])], "redact")
    assert [n["action"] for n in total(lone).response_metadata["guard_events"]] == ["redact"]


def test_nothing_is_said_where_nobody_asked_for_a_refusal() -> None:
    assert through([FINE, BAD], refusal=None) == [FINE]
    out = total(through([text(FINE), text(BAD)], refusal=None))
    assert (said(out), out.chunk_position) == (FINE, "last")
    assert through([BAD]) == ["No."]
    assert through([]) == []
    assert total(through([text(FINE), text(BAD)])).content[-1] == {"type": "text", "text": "No."}


def test_messages_that_came_are_not_changed() -> None:
    message = AIMessage(
        [{"type": "text", "text": FINE + BAD + REST}], tool_calls=[{"name": "t", "args": {}, "id": "c"}]
    )
    before = message.model_copy(deep=True)
    for policy in POLICIES:
        whole(message, policy)
        list(guarded(guard(on_broken=policy), [message], Manner()))
    assert message == before


@pytest.mark.parametrize(
    "beside",
    [
        {"reasoning": {"id": "r", "summary": [{"type": "summary_text", "text": BAD}]}},
        {"reasoning_content": {"text": BAD, "signature": "s"}},
        {"reasoning_details": [{"type": "reasoning.text", "text": BAD}]},
        {"thinking": BAD},
        {"audio": {"id": "a", "data": "AAAA", "transcript": BAD}},
        {"parsed": {"answer": [BAD]}},
        {"refusal": BAD},
    ],
    ids=lambda beside: next(iter(beside)),
)
def test_words_beside_the_content_are_judged_in_any_shape(beside) -> None:
    came = chunk(FINE, additional_kwargs=beside)
    for out in (through([came]), [whole(came)], through([came], "redact"), [whole(came, "redact")]):
        assert SECRET not in repr([o.additional_kwargs for o in out])
    assert total(through([came], "release")) == came  # it is kept where nothing is withheld


def test_reasoning_of_any_shape_is_dropped() -> None:
    for thoughts in ({"reasoning": {"summary": [{"text": THOUGHT}]}}, {"reasoning_details": [{"text": THOUGHT}]}):
        came = chunk(FINE, additional_kwargs={**thoughts, "refusal": "kept"})
        for out in (total(through([came], reasoning="drop")), whole(came, reasoning="drop")):
            assert out.additional_kwargs == {"refusal": "kept"}
            assert said(out) == FINE


def test_blocks_are_read_at_any_depth() -> None:
    for block in (
        {"type": "non_standard", "value": {"text": BAD}},
        {"type": "x", "content": [{"type": "y", "content": [{"type": "text", "text": BAD}]}]},
        {"type": "executable_code", "executable_code": {"code": BAD}},
        {"type": "json", "json": {"a": [BAD]}},
        {"type": "audio", "base64": "AAAA", "transcript": BAD},
    ):
        assert SECRET not in repr([o.content for o in through([chunk([{**block, "index": 0}]), text(FINE, 1)])])


def test_what_a_block_says_of_its_words_comes_with_the_last_of_them() -> None:
    more = {"logprobs": [{"token": SECRET}], "annotations": [{"quote": SECRET}]}
    came = chunk([{"type": "text", "text": FINE + BAD + FINE, "index": 0, "id": "b", **more}])
    for policy in ("halt", "redact"):
        for out in (*through([came], policy), whole(came, policy)):
            assert SECRET not in repr(out.content)
    assert total(through([came], "release")) == came


def test_logprobs_of_words_that_were_withheld_are_left_out() -> None:
    came = chunk(FINE + BAD, response_metadata={"logprobs": {"content": [{"token": SECRET}]}, "model": "m"})
    for policy in ("halt", "redact"):
        for out in (total(through([came], policy)), whole(came, policy)):
            assert "logprobs" not in out.response_metadata
            assert out.response_metadata["model"] == "m"
    assert whole(came, "release") is came


def test_a_parsed_copy_goes_with_the_words_it_repeats() -> None:
    """Its own strings may say less than the sentence they come from."""
    came = [chunk(f'{{"a": "{BAD}"}}'), chunk(additional_kwargs={"parsed": {"a": "fine"}})]
    for policy in ("halt", "redact"):
        assert "parsed" not in total(through(came, policy)).additional_kwargs
        assert "parsed" not in whole(total(came), policy).additional_kwargs
    assert total(through(came, "release")) == total(came)
