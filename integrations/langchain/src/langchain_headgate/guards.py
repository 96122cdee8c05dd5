"""Keep out what the rules forbid: of retrieved documents, of inputs, of answers."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypedDict

from headgate import Guard, HeadgateError, Label, Logged, Rule, Scorer, Verdict
from langchain_headgate._compressor import TracedCompressor
from langchain_headgate._lazy import STRICT, Restorable
from langchain_headgate._metadata import annotated, guarded, page_content
from langchain_headgate._parts import aside
from langchain_headgate._runnable import Judge, Judged, Read, entry


class GuardBlockedError(HeadgateError):
    """A text broke a guard's rules; the message doesn't repeat the text.

    Attributes:
        verdict: Which rules broke, and all probabilities.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict)
        self.verdict = verdict

    def __str__(self) -> str:
        v = self.verdict
        found = [
            f"{rule} (probability {v.probabilities[rule]:.2f}, forbidden from {v.thresholds[rule]:.2f} up)"
            if rule in v.probabilities
            else f"{rule} ({v.unknown:.0%} of it are unknown tokens)"
            for rule in v.broken
        ]
        return f"blocked by {', '.join(found)}."


class Checked(TypedDict):
    """What ``RouterRunnable`` takes, and why.

    ``key`` is "allowed" or "blocked", ``input`` what came in, ``verdict`` a ``headgate.Verdict`` as a dict.
    """

    key: Literal["allowed", "blocked"]
    input: Any
    verdict: dict[str, Any]


class Rules(Restorable):
    """The fields that describe a guard, a file of one, or a ready one."""

    _ready: ClassVar[str] = "guard"
    _kind: ClassVar[type] = Guard

    model: str = "mini/heads"
    forbid: list[str] | dict[str, Rule | Label | str] | None = None
    threshold: float | None = None
    unreadable: float = 0.5
    on_overflow: Literal["window", "error"] = "window"
    guard: SkipJsonSchema[InstanceOf[Guard] | InstanceOf[Logged[Verdict]] | None] = None

    def _make(self, scorer: Scorer) -> Guard:
        return Guard(scorer, self.forbid or [], self.threshold, self.unreadable, None, self.on_overflow)


class HeadgateDocumentGuard(Rules, TracedCompressor):
    """Drop retrieved documents that break the rules, such as injected instructions.

    ```python
    from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
    from langchain_headgate import HeadgateDocumentGuard, HeadgateReranker

    guard = HeadgateDocumentGuard(forbid=["injection:injection"])
    DocumentCompressorPipeline(transformers=[guard, HeadgateReranker(top_n=5)])
    ```

    The rest keep their order and come back as copies, with ``guard_probabilities`` (rule ->
    probability, 0 to 1) in their metadata; guards in a row add to it. The traced run holds the
    verdict on every document, dropped ones too. Only ``page_content`` is judged.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call. "mini/heads"
            brings thresholds for its own labels; rules in words of your own want "mini/nli".
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid: Labels, or rule name -> label, ``headgate.Label`` or ``headgate.Rule``.
        threshold: Probability from which a rule is broken, for the rules that bring none.
        unreadable: Share of unknown tokens above which a document is dropped.
        on_overflow: "window" reads all of a text that is too long for the model; "error" refuses it.
        config: A file that ``headgate.save`` wrote of a guard, such as ``fit`` gives with its certificate, in place of
            all the above but ``device``.
        guard: A ready ``headgate.Guard``, or one that is ``headgate.Logged``, in place of all the above.

    Raises:
        ValueError: ``guard`` and scalars together, or neither ``guard`` nor ``forbid``.
    """

    model_config = STRICT

    def _compress(self, query: str, documents: list[Document]) -> dict[str, Any]:
        if not documents:
            return {"documents": [], "verdicts": []}
        guard: Guard | Logged[Verdict] = self._noun()
        verdicts = guard.many([page_content(d) for d in documents])
        kept = [annotated(d, guarded(d, v)) for d, v in zip(documents, verdicts, strict=True) if not v.blocks]
        return {"documents": kept, "verdicts": [asdict(v) for v in verdicts]}


class HeadgateGuard(Rules, Judge):
    """Pass an input on unchanged, or block it: raise, say something else, or send it elsewhere.

    ```python
    from langchain_core.runnables.router import RouterRunnable
    from langchain_headgate import GuardBlockedError, HeadgateGuard

    guard = HeadgateGuard(forbid=["injection:injection", "toxicity:toxic"])
    chain = (guard | prompt | model).with_fallbacks([sorry], exceptions_to_handle=(GuardBlockedError,))
    answer = chain | HeadgateGuard(forbid=["toxicity:toxic"], on_block="replace")
    check = HeadgateGuard(forbid=["injection:injection"], on_block="route")
    either = check | RouterRunnable({"allowed": chain, "blocked": sorry})
    ```

    ``batch`` and ``abatch`` judge all inputs in one call. A streamed answer is held back until all of it has been
    judged; :class:`HeadgateStreamGuard` lets it go sentence by sentence. Of a message the reasoning is read too and the
    words of tool calls; images are not.

    Args:
        model, family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid, threshold, unreadable, on_overflow, config: As in :class:`HeadgateDocumentGuard`.
        turns: How many last messages of a conversation are read; None, all of them.
        input_key: The entry of a mapping that is judged; the whole mapping is passed on.
        on_block: "raise" raises GuardBlockedError. "replace", or "refuse", puts ``refusal`` in the place of what was
            judged and is for answers: a step after it would take the refusal for its input. It
            accepts a text or one message (or a mapping that holds one) and nothing else. "route" gives
            :class:`Checked` for every input, which ``RouterRunnable`` sends to "allowed" or "blocked".
        refusal: What is said instead; in the place of a message it becomes an AIMessage.
        guard: A ready ``headgate.Guard``, or one that is ``headgate.Logged``, in place of all but ``input_key``,
            ``on_block`` and ``refusal``.

    Raises:
        ValueError: ``guard`` and scalars together, or neither ``guard`` nor ``forbid``.
    """

    model_config = STRICT
    _beside: ClassVar[frozenset[str]] = frozenset({"input_key", "on_block", "refusal"})

    turns: int | None = None
    on_block: Literal["raise", "replace", "refuse", "route"] = "raise"
    refusal: str = "I can't help with that."

    def _make(self, scorer: Scorer) -> Guard:
        return Guard(scorer, self.forbid or [], self.threshold, self.unreadable, self.turns, self.on_overflow)

    def _read(self, value: Judged) -> Read:
        if self.on_block in ("replace", "refuse"):
            answer = value if self.input_key is None else entry(value, self.input_key)
            if not isinstance(answer, str | BaseMessage):
                raise TypeError(
                    f"input is {type(answer).__name__}; expected an answer, a text or one message, because "
                    f'on_block is "{self.on_block}": use "raise" for inputs.'
                )
        read = super()._read(value)
        return read if isinstance(read, str) else [_told(message) for message in read]

    def _judge(self, conversations: list[Read]) -> list[Verdict]:
        guard: Guard | Logged[Verdict] = self._noun()
        return guard.many(conversations)

    def _answer(self, value: Judged, result: Verdict) -> Any:
        if self.on_block == "route":
            return Checked(key="blocked" if result.blocks else "allowed", input=value, verdict=asdict(result))
        if not result.blocks:
            return value
        if self.on_block == "raise":
            raise GuardBlockedError(result)
        if isinstance(value, Mapping) and self.input_key is not None:
            return {**value, self.input_key: self._refuse(value[self.input_key], result)}
        return self._refuse(value, result)

    def _refuse(self, answer: Any, verdict: Verdict) -> str | AIMessage:
        if not isinstance(answer, BaseMessage):
            return self.refusal
        # The id of the answer, so that LangGraph puts the refusal in its place.
        own = answer.id if isinstance(answer, AIMessage) else None
        return AIMessage(self.refusal, id=own, response_metadata={"guard": asdict(verdict)})


def _told(message: BaseMessage) -> BaseMessage:
    """The message with all it says in its content, where the core reads it."""
    more = aside(message) if isinstance(message, AIMessage) else []
    if not more:
        return message
    before = [message.content] if isinstance(message.content, str) else message.content
    return message.model_copy(update={"content": [*before, *more]})
