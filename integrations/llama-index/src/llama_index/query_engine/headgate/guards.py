"""What a guarded engine has: a guard of the question, a guard of the answer, and a record of what they said."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Self

from llama_index.core.base.llms.types import ChatResponse, CompletionResponse
from llama_index.core.bridge.pydantic import Field, field_serializer, model_validator
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation.events import BaseEvent
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Guard, Label, Logged, Rule, Scorer, StreamEvent, StreamGuard, Verdict
from headgate.hosting import UNREAD, ended, ending, released
from headgate.sentences import sentences
from llama_index.postprocessor.headgate._shared import LOAD, STRICT, Lazy, dispatcher

REPORT = "headgate"
"""The key of a response's metadata under which the verdicts are."""
REFUSAL = "I can't help with that."
Rules = list[str] | dict[str, Rule | Label | str]
Chunk = str | ChatResponse | CompletionResponse
Action = Literal["release", "annotate", "redact", "halt"]
_TERMS = ("on_broken", "replacement", "context", "lookahead", "max_held", "language")


class TextGuardEvent(BaseEvent):
    """What a guard found in a question, or in a sentence of an answer.

    Args:
        side: "input" or "output".
        text: The question, or what was shown of the sentence.
        action: "release", "annotate", "redact" or "halt".
        verdict: A ``headgate.Verdict`` as a dict; None where none came in time.
    """

    side: Literal["input", "output"]
    text: str
    action: Action
    verdict: dict[str, Any] | None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this event."""
        return "TextGuardEvent"


@dataclass
class Turn:
    """One question and its answer.

    Attributes:
        report: What becomes ``metadata["headgate"]`` of the response: ``input``, the verdict on the question;
            ``output``, what became of each sentence; ``refused``, which of the two was, or None. A stream fills it in.
        stopped: Nobody reads the answer any more.
    """

    report: dict[str, Any] = field(default_factory=lambda: {"input": None, "output": [], "refused": None})
    stopped: bool = False

    @property
    def refused(self) -> bool:
        """Whether the question was refused."""
        return bool(self.report["refused"] == "input")

    def found(self, event: StreamEvent) -> None:
        """Write down what became of a sentence."""
        verdict = None if event.verdict is None else asdict(event.verdict)
        self.report["output"].append({"action": event.action, "span": event.span, "verdict": verdict})
        if event.action == "halt":
            self.report["refused"] = "output"
        dispatcher.event(TextGuardEvent(side="output", text=event.text, action=event.action, verdict=verdict))

    def metadata(self, before: dict[str, Any] | None) -> dict[str, Any]:
        """A response's metadata with the report in it."""
        return {**(before or {}), REPORT: self.report}

    def until(self, chunks: Iterable[Chunk]) -> Generator[str, None, None]:
        """The words of the chunks, until nobody reads them; then their source is closed. None once it was refused."""
        try:
            for chunk in () if self.report["refused"] else chunks:
                yield _words(chunk)
                if self.stopped:
                    return
        finally:
            stop = getattr(chunks, "close", None)
            if stop is not None:
                stop()

    async def auntil(self, chunks: AsyncIterable[Chunk]) -> AsyncGenerator[str, None]:
        """As :meth:`until`."""
        try:
            if self.report["refused"]:
                return
            async for chunk in chunks:
                yield _words(chunk)
                if self.stopped:
                    return
        finally:
            await ended(chunks)


class Guards(Lazy):
    """Fields for two guards of one model, or two ready ones."""

    model_config = STRICT
    _ready: ClassVar[str] = "output_guard"

    model: str = "mini/guard"
    forbid_input: Rules | None = None
    forbid_output: Rules | None = None
    threshold: float | None = None
    unreadable: float = 0.5
    on_broken: Action | dict[str, Action] = "halt"
    replacement: str = "[removed]"
    context: int = 1
    lookahead: int = 32
    max_held: int = 1000
    language: str = "en"
    refusal: str = REFUSAL
    input_guard: SkipJsonSchema[InstanceOf[Guard] | InstanceOf[Logged[Verdict]] | None] = None
    output_guard: SkipJsonSchema[InstanceOf[StreamGuard] | InstanceOf[Guard] | None] = None
    callback_manager: CallbackManager = Field(default_factory=lambda: CallbackManager([]), exclude=True)

    def asked(self, question: str) -> Turn:
        """The turn that a question opens, with the verdict on it."""
        turn = Turn()
        guard = self._input(self._scorer) if self._guards_input else None
        if guard is not None:
            verdict = guard(question)
            turn.report["input"] = asdict(verdict)
            turn.report["refused"] = "input" if verdict.blocks else None
            action: Action = "halt" if verdict.blocks else "release"
            event = TextGuardEvent(side="input", text=question, action=action, verdict=turn.report["input"])
            dispatcher.event(event)
        return turn

    def output(self) -> StreamGuard | None:
        """The guard of answers, if there is one; loads the model on first use."""
        return self._output(self._scorer) if self._guards_output else None

    def texts(self, guard: StreamGuard, chunks: Iterable[Chunk], turn: Turn) -> Generator[str, None, None]:
        """What may be shown of an answer; closing it closes ``chunks``. Of a refused turn that is the refusal alone."""
        last = ""
        with closing(turn.until(chunks)) as source, closing(_generator(guard.run(source))) as events:
            for event in events:
                turn.found(event)
                last = event.text or last
                if event.text:
                    yield event.text
        if turn.report["refused"]:
            yield _apart(last, self.refusal)

    async def atexts(self, guard: StreamGuard, chunks: AsyncIterable[Chunk], turn: Turn) -> AsyncGenerator[str, None]:
        """As :meth:`texts`, judged off the event loop."""
        last = ""
        async with ending(turn.auntil(chunks)) as source, ending(released(guard, source)) as events:
            async for event in events:
                turn.found(event)
                last = event.text or last
                if event.text:
                    yield event.text
        if turn.report["refused"]:
            yield _apart(last, self.refusal)

    def text(self, guard: StreamGuard, answer: str, turn: Turn) -> str:
        """What may be shown of an answer that is all there."""
        return "".join(self.texts(guard, [answer], turn))

    def _make(self, scorer: Scorer) -> None:
        self._input(lambda: scorer)
        self._output(lambda: scorer)

    @property
    def _guards_input(self) -> bool:
        return self.input_guard is not None or self.forbid_input is not None

    @property
    def _guards_output(self) -> bool:
        return self.output_guard is not None or self.forbid_output is not None

    def _input(self, scorer: Callable[[], Scorer]) -> Guard | Logged[Verdict] | None:
        if self.input_guard is not None or self.forbid_input is None:
            return self.input_guard
        return Guard(scorer(), self.forbid_input, self.threshold, self.unreadable)

    def _output(self, scorer: Callable[[], Scorer]) -> StreamGuard | None:
        guard = self.output_guard
        if isinstance(guard, StreamGuard) or (guard is None and self.forbid_output is None):
            return guard
        return StreamGuard(
            guard or Guard(scorer(), self.forbid_output or [], self.threshold, self.unreadable),
            sentences(self.language),
            on_broken=self.on_broken,
            replacement=self.replacement,
            context=self.context,
            lookahead=self.lookahead,
            max_held=self.max_held,
        )

    @model_validator(mode="after")
    def _either(self) -> Self:
        if not (self._guards_input or self._guards_output):
            raise ValueError(
                "no rules came; expected some for the question or the answer: pass forbid_input=…, forbid_output=…, "
                "or a ready input_guard or output_guard."
            )
        alone = self.forbid_input is None and self.forbid_output is None  # no guard is made of the scalars
        self._excluded("input_guard", ["forbid_input"])
        self._excluded("output_guard", ["forbid_output"])
        if isinstance(self.output_guard, StreamGuard):
            self._excluded("output_guard", _TERMS)
        if alone:
            ready = "input_guard" if self.output_guard is None else "output_guard"
            self._excluded(ready, ["model", *LOAD, "threshold", "unreadable"])
        self._make(UNREAD)
        return self

    def _excluded(self, ready: str, scalars: Iterable[str]) -> None:
        both = self._set(scalars) if getattr(self, ready) is not None else []
        if both:
            raise ValueError(
                f"{ready} came together with {', '.join(both)}; expected one or the other: give these "
                f"to the {ready} itself."
            )

    @field_serializer("query_engine", "chat_engine", when_used="unless-none", check_fields=False)
    def _refuse_to_dump_engine(self, engine: object) -> None:
        raise ValueError(
            f"a {type(engine).__name__} can't be written as data; expected no engine in it: "
            "write down the arguments, and build the engine anew."
        )


def _words(chunk: Chunk) -> str:
    if isinstance(chunk, ChatResponse | CompletionResponse):
        return chunk.delta or ""
    if not isinstance(chunk, str):
        raise TypeError(
            f"the answer's stream holds a {type(chunk).__name__}; expected str: a stream of objects can't be guarded, "
            "ask without streaming."
        )
    return chunk


def _generator(events: Iterable[StreamEvent]) -> Generator[StreamEvent, None, None]:
    yield from events


def lines_of(found: Any, name: str = "") -> Iterator[str]:
    """What data say, a line for each value, its name in front: words that JSON escapes would be read as others."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from lines_of(value, str(key))
    elif isinstance(found, list):
        for value in found:
            yield from lines_of(value, name)
    else:
        yield f"{name}: {found}\n" if name else f"{found}\n"


def _apart(before: str, refusal: str) -> str:
    return refusal if not before or before[-1].isspace() else f" {refusal}"
