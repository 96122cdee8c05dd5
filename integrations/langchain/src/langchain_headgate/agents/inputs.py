"""Guard what users say to an agent."""

from typing import Annotated, Any, ClassVar, Literal

from langchain.agents.middleware import hook_config
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ChatMessage, HumanMessage
from langgraph.runtime import Runtime
from pydantic import Field

from headgate import Verdict
from langchain_headgate.agents._middleware import VERDICTS, Guarding, GuardState, noted, withheld, written
from langchain_headgate.guards import GuardBlockedError

Changes = dict[str, Any] | None


class HeadgateInputGuardMiddleware(Guarding):
    """Judge what the user says before the model reads it; end with a refusal, or raise.

    ```python
    from langchain.agents import create_agent
    from langchain_headgate.agents import HeadgateInputGuardMiddleware

    agent = create_agent(model, tools, middleware=[HeadgateInputGuardMiddleware(forbid=["injection"])])
    result = agent.invoke({"messages": [{"role": "user", "content": "…"}]})
    result["guard_verdicts"]
    ```

    The verdict is in the state under ``guard_verdicts[name]``, passes too, and in the refusal's
    ``response_metadata``. Put it first in the list: then nothing runs before it. Images in messages are not read.

    Args:
        model, family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid, threshold, unreadable, on_overflow, config, guard: As in :class:`langchain_headgate.HeadgateGuard`.
        turns: How many of the user's turns are read, as one text; None, all of them. A turn is all they said since
            the last answer, in one message or several.
        each_step: Judge before every call of the model, for agents that users interrupt; else once, at the start.
        on_block: "refuse" answers ``refusal`` and ends. "raise" raises GuardBlockedError; with a checkpointer the
            message stays in the thread, which refuses until it is taken out.
        refusal: The answer.
        replacement: Takes the place of the blocked turn, so that the model doesn't read it in later turns; None
            leaves it.
        key: What stands in the brackets of ``name``; the rules, where it is left out.

    Raises:
        ValueError: ``guard`` and scalars together, or neither ``guard`` nor ``forbid``.
    """

    _beside: ClassVar[frozenset[str]] = frozenset({"turns", "each_step", "on_block", "refusal", "replacement", "key"})

    turns: Annotated[int, Field(ge=1)] | None = 1
    each_step: bool = False
    on_block: Literal["raise", "refuse"] = "refuse"
    refusal: str = "I can't help with that."
    replacement: str | None = "[removed]"

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: GuardState, runtime: Runtime[Any]) -> Changes:
        """Judge once, unless ``each_step``."""
        return None if self.each_step else self._judged(state)

    @hook_config(can_jump_to=["end"])
    async def abefore_agent(self, state: GuardState, runtime: Runtime[Any]) -> Changes:
        """As :meth:`before_agent`, off the event loop."""
        return None if self.each_step else await self._ajudged(state)

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: GuardState, runtime: Runtime[Any]) -> Changes:
        """Judge before every call of the model, if ``each_step``."""
        return self._judged(state) if self.each_step else None

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state: GuardState, runtime: Runtime[Any]) -> Changes:
        """As :meth:`before_model`, off the event loop."""
        return await self._ajudged(state) if self.each_step else None

    def _judged(self, state: GuardState) -> Changes:
        said = _turns(state["messages"], self.turns)
        return self._changes(said, self._verdicts([_flat(said)])[0]) if said else None

    async def _ajudged(self, state: GuardState) -> Changes:
        said = _turns(state["messages"], self.turns)
        return self._changes(said, (await self._averdicts([_flat(said)]))[0]) if said else None

    def _changes(self, said: list[list[BaseMessage]], verdict: Verdict) -> Changes:
        changes: dict[str, Any] = {VERDICTS: {self.name: written(verdict)}}
        if not verdict.blocks:
            return changes
        if self.on_block == "raise":
            raise GuardBlockedError(verdict)
        instead = self.replacement
        gone = [] if instead is None else [withheld(m, instead, self.name, verdict) for m in said[-1]]
        answer = noted(AIMessage(self.refusal), self.name, verdict)
        return {**changes, "messages": [*gone, answer], "jump_to": "end"}


def _turns(messages: list[AnyMessage], count: int | None) -> list[list[BaseMessage]]:
    """The user's messages by turn, the oldest first: an answer ends one, a call of tools doesn't."""
    turns: list[list[BaseMessage]] = []
    answered = True
    for message in messages:
        if _from_user(message):
            if answered:
                turns.append([])
            turns[-1].append(message)
            answered = False
        elif isinstance(message, AIMessage) and not message.tool_calls:
            answered = True
    return turns if count is None else turns[-count:]


def _from_user(message: BaseMessage) -> bool:
    return isinstance(message, HumanMessage) or (
        isinstance(message, ChatMessage) and message.role.lower() in ("user", "human")
    )


def _flat(turns: list[list[BaseMessage]]) -> list[BaseMessage]:
    return [message for turn in turns for message in turn]
