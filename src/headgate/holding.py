"""Hold each sentence of a stream back until its verdict is in.

The machine does no input or output and calls no model: a host feeds it, judges what it asks for, in this thread,
another or on a server, and shows what it lets go. What was shown can't be recalled, so nothing is shown unjudged.
Its reference is the same machine fed in one piece: chunks change nothing.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from headgate.arguments import one_of, whole
from headgate.cutting import Cutter
from headgate.sentences import Splitter
from headgate.verdict import Verdict

Action = Literal["release", "annotate", "redact", "halt"]
"""What is done with a sentence, the mildest first."""
OnTimeout = Literal["hold", "release", "redact", "halt"]


@dataclass(frozen=True)
class Held:
    """A sentence that is held back, and what must be judged before it may go.

    Attributes:
        number: Which sentence of the stream, from 0.
        text: What to judge: the words of the context and the sentence.
        span: The characters [start, end) of the stream that are the sentence.
        context: The same of the sentences before it that are judged with it.
    """

    number: int
    text: str
    span: tuple[int, int]
    context: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class StreamEvent:
    """What became of a sentence; its events come in the order of the stream, one a sentence until it halts.

    Attributes:
        action: "release": it passed, or its rule says so; "annotate": it broke a rule, show it as such; "redact": it
            was replaced; "halt": nothing follows, stop the model.
        text: What may be shown, white space behind it included; empty when halted.
        span: The characters [start, end) of the stream that are the sentence.
        context: The same of the sentences that were judged with it. ``verdict.spans`` count in the
            joined text of context and sentence.
        verdict: Why; None if none came in time.
    """

    action: Action
    text: str
    span: tuple[int, int]
    context: tuple[tuple[int, int], ...]
    verdict: Verdict | None


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How sentences are held back: the arguments of ``StreamGuard`` that name no rule, as it describes them."""

    replacement: str = "[removed]"
    context: int = 1
    lookahead: int = 32
    max_held: int = 1000
    budget: float | None = None
    on_timeout: OnTimeout | None = None
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        whole("context", self.context, least=1)
        whole("lookahead", self.lookahead, least=1)
        whole("max_held", self.max_held, least=2 * self.lookahead + 1)
        if (self.budget is None) != (self.on_timeout is None):
            raise ValueError(
                f"budget is {self.budget!r} and on_timeout {self.on_timeout!r}; expected both or neither: "
                "what becomes of a sentence whose verdict is late is yours to choose."
            )
        if self.budget is not None:
            one_of("on_timeout", self.on_timeout, get_args(OnTimeout))
            if not self.budget > 0:
                raise ValueError(f"budget is {self.budget!r}; expected seconds above 0.")


@dataclass
class _Sentence:
    number: int
    text: str
    span: tuple[int, int]
    held: Held | None = None  # as it was handed out
    deadline: float | None = None
    verdict: Verdict | None = None
    action: Action | None = None  # None until its verdict is in, or its time is over

    @property
    def expired(self) -> bool:
        return self.action is not None and self.verdict is None

    @property
    def passes(self) -> bool:
        return self.action in (None, "release", "annotate")


class GuardedStream:
    """One text on its way to a reader; for one thread at a time.

    A host repeats: ``feed`` a chunk, judge what ``take`` gives, ``resolve`` it, show the events. At the end it calls
    ``close`` and goes on until ``done``. Verdicts may come in any order; sentences are let go in the stream's.
    ``take`` gives a sentence again where one before it was withheld: the reader sees it in another context.

        stream.feed(chunk)
        while held := stream.take():
            verdicts = await asyncio.to_thread(guard.many, [h.text for h in held])
            for event in stream.resolve(held, verdicts):
                await show(event.text)

    If judging fails, nothing is let go: call :meth:`halt`, or leave the stream alone.

    Args:
        splitter: Gives the spans of the sentences of a text.
        decide: What becomes of a sentence with that verdict.
        terms: How sentences are held back.

    Attributes:
        halted: Nothing is let go any more; the host should stop the model. What is fed is dropped.
    """

    def __init__(self, splitter: Splitter, decide: Callable[[Verdict], Action], terms: Terms) -> None:
        self._decide, self._terms = decide, terms
        self._cutter = Cutter(splitter, lookahead=terms.lookahead, max_held=terms.max_held)
        self._queue: deque[_Sentence] = deque()
        self._passed: deque[_Sentence] = deque(maxlen=terms.context)  # the last that the reader has
        self._count = self._end = 0
        self._unused: list[tuple[Held, Verdict]] = []
        self.halted = False

    @property
    def closed(self) -> bool:
        """No more text is to come."""
        return self._cutter.closed

    @property
    def done(self) -> bool:
        """No more events are to come."""
        return self.halted or (self.closed and not self._queue)

    @property
    def held(self) -> int:
        """Characters that were fed and not let go; a host whose verdicts are slow should stop reading the model."""
        return 0 if self.halted else len(self._cutter) + sum(len(s.text) for s in self._queue)

    @property
    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do, by the clock ``now``; None if nothing is late some day."""
        return min((s.deadline for s in self._queue if s.deadline is not None and s.action is None), default=None)

    @property
    def unused(self) -> tuple[tuple[Held, Verdict], ...]:
        """Verdicts that decided nothing: too late, or on a context that the reader doesn't have."""
        return tuple(self._unused)

    def feed(self, text: str) -> None:
        """Add a chunk, which may be any part of the stream; after a halt it is dropped.

        Raises:
            ClosedError: After :meth:`close`.
            TypeError, ValueError: The splitter's spans make no sense; the stream halts.
        """
        if not isinstance(text, str):
            raise TypeError(f"a chunk is {type(text).__name__}; expected str.")
        if not self.halted:
            self._add(lambda: self._cutter.feed(text))

    def close(self) -> None:
        """No more text is to come: what is left is a sentence too."""
        if self.halted:
            self._cutter.closed = True
        elif not self.closed:
            self._add(self._cutter.close)

    def take(self) -> list[Held]:
        """The sentences to judge now, in order; each once for each context it stands in."""
        given: list[Held] = []
        before = list(self._passed)
        for sentence in self._queue:
            context = before[-self._terms.context :]
            if not sentence.expired and not _stands(sentence, context):
                if sentence.held is not None and sentence.verdict is not None:
                    self._unused.append((sentence.held, sentence.verdict))
                sentence.held = _held(sentence, context)
                sentence.verdict = sentence.action = None
                sentence.deadline = self._deadline()
                given.append(sentence.held)
            if sentence.passes:  # until its verdict says otherwise
                before.append(sentence)
        return given

    def resolve(self, held: Sequence[Held], verdicts: Sequence[Verdict]) -> list[StreamEvent]:
        """What may be shown once these verdicts are in.

        Args:
            held: Some of what :meth:`take` gave.
            verdicts: One for each, in the same order.

        Raises:
            ValueError: Another number of verdicts, or a sentence that this stream never gave.
            TypeError: Something that is not a verdict.
        """
        if len(held) != len(verdicts):
            raise ValueError(f"{len(verdicts)} verdicts came for {len(held)} sentences; expected one for each.")
        for one, verdict in zip(held, verdicts, strict=True):
            if not isinstance(verdict, Verdict):
                raise TypeError(f"the verdict on sentence {one.number} is {type(verdict).__name__}; expected Verdict.")
            if not 0 <= one.number < self._count:
                raise ValueError(f"sentence {one.number} is not of this stream, which had {self._count} so far.")
        for one, verdict in zip(held, verdicts, strict=True):
            sentence = self._waiting(one)
            if sentence is None:
                self._unused.append((one, verdict))
            else:
                sentence.verdict, sentence.action = verdict, self._decide(verdict)
        return self._let_go()

    def expire(self) -> list[StreamEvent]:
        """What may be shown because verdicts did not come in time; see ``on_timeout``."""
        at, choice = self._terms.now(), self._terms.on_timeout
        for sentence in self._queue:
            late = sentence.deadline is not None and sentence.deadline <= at and sentence.action is None
            if late and choice is not None and choice != "hold":
                sentence.action = choice
        return self._let_go()

    def halt(self) -> None:
        """Drop what is held and let nothing go any more."""
        self.halted = True
        self._queue.clear()

    def _add(self, cut: Callable[[], list[str]]) -> None:
        try:
            done = cut()
        except BaseException:
            self.halt()  # what the splitter failed on can't be judged
            raise
        for text in done:
            span = (self._end, self._end + len(text))
            self._queue.append(_Sentence(self._count, text, span))
            self._count, self._end = self._count + 1, span[1]

    def _waiting(self, held: Held) -> _Sentence | None:
        """The sentence whose verdict this is, if it still waits for that one."""
        at = held.number - self._queue[0].number if self._queue else -1
        sentence = self._queue[at] if 0 <= at < len(self._queue) else None
        return sentence if sentence and sentence.held == held and sentence.action is None else None

    def _let_go(self) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        while self._queue and self._queue[0].action is not None:
            sentence = self._queue[0]
            if not sentence.expired and not _stands(sentence, self._passed):
                break  # judged beside a sentence that was withheld since: take() gives it again
            self._queue.popleft()
            if sentence.passes:
                self._passed.append(sentence)
            events.append(_event(sentence, self._terms.replacement))
            if sentence.action == "halt":
                self.halt()
        return events

    def _deadline(self) -> float | None:
        budget = self._terms.budget
        return None if budget is None or self._terms.on_timeout == "hold" else self._terms.now() + budget


def _held(sentence: _Sentence, context: Sequence[_Sentence]) -> Held:
    words = "".join([*(s.text for s in context), sentence.text])
    return Held(sentence.number, words, sentence.span, tuple(s.span for s in context))


def _stands(sentence: _Sentence, context: Iterable[_Sentence]) -> bool:
    """Whether it was handed out in this context."""
    return sentence.held is not None and sentence.held.context == tuple(s.span for s in context)


def _event(sentence: _Sentence, replacement: str) -> StreamEvent:
    action = sentence.action or "halt"
    context = sentence.held.context if sentence.held and sentence.verdict else ()
    return StreamEvent(action, _shown(sentence.text, action, replacement), sentence.span, context, sentence.verdict)


def _shown(text: str, action: Action, replacement: str) -> str:
    if action == "halt":
        return ""
    if action != "redact" or not text.strip():
        return text
    return text[: len(text) - len(text.lstrip())] + replacement + text[len(text.rstrip()) :]
