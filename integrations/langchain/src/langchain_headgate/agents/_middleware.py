"""What the middlewares share: a name of their own, a place in the state, and verdicts written down."""

import hashlib
import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from typing import Annotated, Any, ClassVar, NotRequired

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import OmitFromSchema
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import TracePolicy, omit_payload
from pydantic import ConfigDict

from headgate import Verdict
from headgate.hosting import away
from langchain_headgate._lazy import STRICT, Lazy
from langchain_headgate._runnable import Read
from langchain_headgate.guards import Rules

VERDICTS = "guard_verdicts"
"""Where verdicts are found, by the middleware's name: in the state, and in a message's ``response_metadata``."""


def rules_of(guard: Any) -> list[str]:
    """The names of the rules of a guard, or of one that is logged."""
    return list(guard.forbid if hasattr(guard, "forbid") else guard.task.forbid)


def merged(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    """Both, so that middlewares side by side keep their entries."""
    return {**(old or {}), **(new or {})}


class GuardState(AgentState[Any]):
    """The state of an agent with guards: what each found last, as JSON can hold it."""

    guard_verdicts: NotRequired[Annotated[dict[str, Any], OmitFromSchema(input=True, output=False), merged]]


class Middleware(Lazy, AgentMiddleware[GuardState, Any, Any]):
    """A middleware whose settings are fields, checked when it is made."""

    model_config = ConfigDict(**STRICT, populate_by_name=True)

    # The host's slots, which pydantic would take for fields.
    state_schema: ClassVar[Any] = GuardState  # type: ignore[misc]
    tools: ClassVar[Sequence[BaseTool]] = ()  # type: ignore[misc]
    transformers: ClassVar[Sequence[Any]] = ()  # type: ignore[misc]
    # The spans of its hooks would hold the conversation once more, which the model's span has anyway.
    trace_policy: ClassVar[TracePolicy | None] = TracePolicy(process_inputs=omit_payload)  # type: ignore[misc]

    key: str | None = None

    @property
    def name(self) -> str:
        """Of the node and of its entry in the state: the same in every process, another for other settings."""
        # Names of nodes may hold neither ":" nor "|", and labels of heads do.
        return f"{type(self).__name__}[{self.key or self._own_key()}]".replace(":", ".").replace("|", ".")

    def _own_key(self) -> str:
        words = ", ".join(self._words()) or "headgate"
        rest = self.model_dump(exclude_defaults=True, exclude={self._ready, "key"})
        if rest.get("forbid") == self._words():
            del rest["forbid"]
        if not rest:
            return words
        told = json.dumps(rest, sort_keys=True, default=str)
        return f"{words}-{hashlib.sha256(told.encode()).hexdigest()[:6]}"

    @abstractmethod
    def _words(self) -> list[str]:
        """What a reader tells this one by from others of its class."""


class Guarding(Rules, Middleware):
    """A middleware with a guard."""

    def _words(self) -> list[str]:
        return list(rules_of(self.guard) if self.guard is not None else self.forbid or ())

    def _verdicts(self, texts: list[Read]) -> list[Verdict]:
        """In one call of the core."""
        guard = self._noun()
        found: list[Verdict] = guard.many(texts)
        return found

    async def _averdicts(self, texts: list[Read]) -> list[Verdict]:
        return await away(self._verdicts, texts)


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """The same before and after a checkpoint: lists for tuples."""
    data: dict[str, Any] = json.loads(json.dumps(found))
    return data


def written(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain data."""
    return plain(asdict(verdict))


def noted(message: BaseMessage, name: str, verdict: Verdict, **update: Any) -> BaseMessage:
    """A copy that holds the verdict in its ``response_metadata``, beside those of others."""
    metadata = deepcopy(message.response_metadata)
    before = metadata.get(VERDICTS)
    metadata[VERDICTS] = {**(before if isinstance(before, Mapping) else {}), name: written(verdict)}
    own = {"response_metadata": metadata, "additional_kwargs": deepcopy(message.additional_kwargs)}
    return message.model_copy(update={**own, **update})


def withheld(message: BaseMessage, notice: str, name: str, verdict: Verdict) -> BaseMessage:
    """A copy with the notice in the place of its words, and no calls of tools; ids stay, so that it takes its place."""
    update: dict[str, Any] = {"content": notice}
    if isinstance(message, AIMessage):
        update |= {"tool_calls": [], "invalid_tool_calls": [], "additional_kwargs": {}}
    if isinstance(message, ToolMessage):
        update["status"] = "error"
    return noted(message, name, verdict, **update)
