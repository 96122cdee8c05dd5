"""What a guard of streams is described by, as a Runnable and in an agent."""

from typing import ClassVar, Literal

from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Guard, Label, Rule, Scorer, StreamGuard
from headgate.sentences import sentences
from langchain_headgate._chunks import Manner
from langchain_headgate._lazy import Restorable
from langchain_headgate._parts import Reasoning

Action = Literal["release", "annotate", "redact", "halt"]
"""What is done with a sentence, the mildest first."""


class StreamRules(Restorable):
    """The fields that describe a stream guard, or a ready one."""

    _ready: ClassVar[str] = "guard"
    _beside: ClassVar[frozenset[str]] = frozenset({"refusal", "reasoning"})
    _kind: ClassVar[type] = Guard
    _beside_config: ClassVar[frozenset[str]] = frozenset(
        {"language", "on_broken", "replacement", "context", "lookahead", "max_held"}
    )

    model: str = "mini/heads"
    forbid: list[str] | dict[str, Rule | Label | str] | None = None
    threshold: float | None = None
    unreadable: float = 0.5
    on_overflow: Literal["window", "error"] = "window"
    language: str = "en"
    on_broken: Action | dict[str, Action] = "halt"
    replacement: str = "[removed]"
    context: int = 1
    lookahead: int = 32
    max_held: int = 1000
    refusal: str | None = None
    reasoning: Reasoning = "judge"
    guard: SkipJsonSchema[InstanceOf[StreamGuard] | None] = None

    @property
    def _manner(self) -> Manner:
        return Manner(self.refusal, self.reasoning)

    def _make(self, scorer: Scorer) -> StreamGuard:
        return self._restored(Guard(scorer, self.forbid or [], self.threshold, self.unreadable, None, self.on_overflow))

    def _restored(self, task: Guard) -> StreamGuard:
        return StreamGuard(
            task,
            sentences(self.language),
            on_broken=self.on_broken,
            replacement=self.replacement,
            context=self.context,
            lookahead=self.lookahead,
            max_held=self.max_held,
        )
