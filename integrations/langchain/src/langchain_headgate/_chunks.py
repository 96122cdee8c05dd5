"""Between the chunks of a chat model and a guard that reads text: what was fed, and what of it may be shown.

Text goes to the guard and comes back in its own chunks, which keep their ids and so add up to one message. What isn't
text waits in its order until all before it was let through. Reasoning is judged in its place and shown whole or not
at all. From the first tool call on everything waits for the end: a text that is halted calls no tool.
"""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.utils import message_chunk_to_message

from headgate import StreamEvent, StreamGuard
from headgate.hosting import ended, ending, released
from langchain_headgate._parts import (
    Block,
    Chunk,
    Part,
    Reasoning,
    as_chunk,
    bare,
    calls,
    divided,
    parts_of,
    says_nothing,
    with_content,
    without_calls,
    without_copies,
    without_thoughts,
)

BETWEEN = "\n\n"  # ends a sentence where text follows reasoning


@dataclass(frozen=True)
class Manner:
    """How a guarded text is shown.

    Args:
        refusal: What is said where a text is halted; None says nothing.
        reasoning: "judge" reads a model's reasoning as it does its text, "drop" leaves it out.
    """

    refusal: str | None = None
    reasoning: Reasoning = "judge"


def guarded(guard: StreamGuard, chunks: Iterable[Chunk], manner: Manner) -> Generator[Chunk, None, None]:
    """The chunks that may be shown; halted, closed or failed, it calls ``chunks.close()``, so that the model stops.

    Args:
        guard: Judges the sentences.
        chunks: Of one text.
        manner: How it is shown.
    """
    held = Chunks(manner)

    def texts() -> Generator[str, None, None]:
        try:
            for chunk in chunks:
                yield held.feed(chunk)
        finally:
            stop = getattr(chunks, "close", None)
            if stop is not None:
                stop()

    with closing(texts()) as said:
        for event in guard.run(said):
            yield from held.show(event)
    yield from held.close()


async def aguarded(guard: StreamGuard, chunks: AsyncIterable[Chunk], manner: Manner) -> AsyncGenerator[Chunk, None]:
    """As :func:`guarded`; judges off the event loop, and awaits ``chunks.aclose()``."""
    held = Chunks(manner)

    async def texts() -> AsyncIterator[str]:
        try:
            async for chunk in chunks:
                yield held.feed(chunk)
        finally:
            await ended(chunks)

    async with ending(released(guard, texts())) as events:
        async for event in events:
            for shown in held.show(event):
                yield shown
    for shown in held.close():
        yield shown


def words(value: Chunk, manner: Manner) -> str:
    """What a guard reads of a whole answer.

    Raises:
        TypeError: Neither text nor a message of a model.
    """
    return Chunks(manner).feed(value)


def judged(value: Chunk, events: Sequence[StreamEvent], manner: Manner) -> Chunk:
    """The whole answer as these events of its :func:`words` let it be shown: the value itself, or a copy."""
    held = Chunks(manner)
    held.feed(value)
    for event in events:
        held.note(event)
    shown = held.close()
    if isinstance(value, str):
        return "".join(map(str, shown))
    if len(shown) == 1 and type(shown[0]) is type(value):
        return shown[0]
    whole = AIMessageChunk(content="" if isinstance(value.content, str) else [], id=value.id)
    for one in shown:
        whole = whole + as_chunk(one) if isinstance(one, AIMessage) else whole
    made = whole if isinstance(value, AIMessageChunk) else message_chunk_to_message(whole)
    assert isinstance(made, AIMessage)  # a chunk is a message too
    return made


@dataclass
class _Entry:
    """A chunk, and those of its parts that wait."""

    chunk: Chunk
    parts: deque[Part]
    start: int
    end: int
    fresh: bool = True  # nothing of it was shown or withheld

    def give(self, to: int) -> Chunk | None:
        """What may be shown of it, now that all before ``to`` was judged."""
        same = self.fresh and self.end <= to and not any(part.changed for part in self.parts)
        self.fresh = False
        head, blocks = self._take(to)
        if same:
            return self.chunk
        if isinstance(self.chunk, str):
            return "".join(map(str, blocks)) or None
        if head is None:
            made: AIMessage = bare(self.chunk, blocks)
        else:
            made = with_content(as_chunk(self.chunk), blocks, beside=not head.changed)
        return None if says_nothing(made) else made

    def _take(self, to: int) -> tuple[Part | None, list[Block]]:
        head: Part | None = None
        blocks: list[Block] = []
        while self.parts:
            part = self.parts[0]
            done = part.end <= to
            if part.block is None:
                head = part if done else None
            elif part.whole:
                blocks += [part.block] if done and not part.changed else []
            elif part.shown:
                blocks.append(divided(part, last=done))
                part.begun, part.shown = True, ""
            if not done:
                break
            self.parts.popleft()
        return head, blocks


class Chunks:
    """The chunks of one text that wait for what a guard says of their words; for one thread at a time.

    A host repeats: ``feed`` a chunk and give its words to the guard, then ``show`` every event. At the end it calls
    ``close``.

    Args:
        manner: How the text is shown.
    """

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._queue: deque[_Entry] = deque()
        self._late: list[Chunk] = []  # wait for the end, from the first tool call on
        self._calls = False
        self._read = self._to = 0  # characters that were fed, and that were judged
        self._whole: bool | None = None  # the last words were of such a part
        self._last: Chunk = ""
        self._marks: list[dict[str, Any]] = []
        self._halt: StreamEvent | None = None
        self._withheld = False

    def feed(self, chunk: Chunk) -> str:
        """The words of a chunk, which is kept until they were judged.

        Raises:
            TypeError: Neither text nor a message of a model.
        """
        start, said, came = self._read, [], chunk
        if self._manner.reasoning == "drop":
            chunk = without_thoughts(chunk)
        parts = parts_of(chunk, self._manner.reasoning)
        for part in parts:
            if part.words:
                if self._whole not in (None, part.whole):
                    said.append(BETWEEN)
                    self._read += len(BETWEEN)
                self._whole = part.whole
            said.append(part.words)
            part.start = self._read
            self._read += len(part.words)
        self._queue.append(_Entry(chunk, deque(parts), start, self._read, fresh=chunk is came))
        self._last = chunk
        return "".join(said)

    def show(self, event: StreamEvent) -> list[Chunk]:
        """What may be shown after this event."""
        self.note(event)
        return [] if self._halt is not None else self._flush()

    def close(self) -> list[Chunk]:
        """The end: what waited for it, or what is said where the text was halted."""
        out = self._flush() + self._late
        if self._halt is None:
            return out + self._tail("")
        self._marks.append(_mark(self._halt))
        return [without_calls(one) for one in out] + self._tail(self._manner.refusal or "")

    def note(self, event: StreamEvent) -> None:
        """Take an event in; for those who show nothing before the end."""
        self._withheld = self._withheld or event.action in ("redact", "halt")
        if event.action == "halt":
            self._halt = event
            return
        if event.action != "release":
            self._marks.append(_mark(event))
        start, end = event.span
        words: str | None = None if event.action == "redact" else event.text
        instead = event.text if event.action == "redact" else ""
        for part in self._between(start, end):
            low, high = max(part.start, start), min(part.end, end)
            if words is not None:
                part.shown += words[low - start : high - start]
                continue
            part.changed = True
            if not part.whole:
                part.shown += instead
                instead = ""
        self._to = end

    def _between(self, start: int, end: int) -> Iterator[Part]:
        for entry in self._queue:
            if entry.start >= end:
                return
            yield from (part for part in entry.parts if part.words and part.start < end and part.end > start)

    def _flush(self) -> list[Chunk]:
        out: list[Chunk] = []
        while self._queue and (self._queue[0].end <= self._to or self._queue[0].start < self._to):
            entry = self._queue[0]
            self._calls = self._calls or calls(entry.chunk)
            made = entry.give(self._to)
            if made is not None:
                (self._late if self._calls else out).append(self._marked(made))
            if entry.end > self._to:
                break
            self._queue.popleft()
        return out

    def _marked(self, chunk: Chunk) -> Chunk:
        """With the events that are not plain releases, in a list, which hosts can join."""
        if self._withheld:
            chunk = without_copies(chunk)
        if isinstance(chunk, str) or not self._marks:
            return chunk
        before = chunk.response_metadata.get("guard_events", [])
        marks, self._marks = self._marks, []
        return chunk.model_copy(
            update={"response_metadata": {**chunk.response_metadata, "guard_events": [*before, *marks]}}
        )

    def _tail(self, text: str) -> list[Chunk]:
        """The last chunk: a refusal, and what no other chunk could carry."""
        if isinstance(self._last, str):
            return [text] if text else []
        if not self._marks:
            return []
        content: Any = text
        if not isinstance(self._last.content, str):
            content = [{"type": "text", "text": text}] if text else []
        position: Literal["last"] | None = "last" if self._halt is not None else None
        return [self._marked(AIMessageChunk(content=content, id=self._last.id, chunk_position=position))]


def _mark(event: StreamEvent) -> dict[str, Any]:
    verdict = None if event.verdict is None else asdict(event.verdict)
    return {"action": event.action, "span": list(event.span), "verdict": verdict}
