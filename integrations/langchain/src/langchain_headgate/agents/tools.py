"""Guard the tools of an agent: what they are called with, and what they return."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from langchain.agents.middleware.types import ToolCallRequest
from langchain_core.messages import BaseMessage, RemoveMessage, ToolMessage
from langchain_core.tools import BaseTool
from pydantic import BeforeValidator, Field

from headgate import Verdict
from langchain_headgate.agents._calls import call_words
from langchain_headgate.agents._middleware import Guarding, noted, withheld
from langchain_headgate.agents._results import messages_of, with_messages
from langchain_headgate.guards import GuardBlockedError

Result = Any
"""What a tool's call comes to: a ToolMessage, a Command, or a list of them."""
Handler = Callable[[ToolCallRequest], Result]
AsyncHandler = Callable[[ToolCallRequest], Awaitable[Result]]


def _names(value: Any) -> Any:
    return [one.name if isinstance(one, BaseTool) else one for one in value] if isinstance(value, list) else value


class ToolWatch(Guarding):
    """Which tools are watched, and what becomes of what breaks a rule."""

    _beside: ClassVar[frozenset[str]] = frozenset({"watched", "on_block", "refusal", "key"})

    # Not ``tools``: that is where the host looks for tools that a middleware brings.
    watched: Annotated[list[str], BeforeValidator(_names), Field(min_length=1)] | None = Field(None, alias="tools")
    on_block: Literal["raise", "refuse"] = "refuse"

    def _watches(self, request: ToolCallRequest) -> bool:
        return self.watched is None or request.tool_call["name"] in self.watched


class HeadgateToolGuardMiddleware(ToolWatch):
    """Judge a tool call before it is executed.

    ```python
    from langchain.agents import create_agent
    from langchain_headgate.agents import HeadgateToolGuardMiddleware

    guard = HeadgateToolGuardMiddleware(
        model="mini/gliclass", forbid=["deleting data"], threshold=0.5, tools=["run_sql"]
    )
    agent = create_agent(model, [run_sql, search], middleware=[guard])
    ```

    What is judged is a text of the tool's name, its description and the arguments as the model gave them, a line
    each. A call that is refused is answered by a ToolMessage with ``status="error"``, which the model reads. The
    verdict, passes too, is in the ToolMessage's ``response_metadata["guard_verdicts"][name]``.

    Args:
        model, family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid, threshold, unreadable, on_overflow, config, guard: As in :class:`langchain_headgate.HeadgateGuard`.
        tools: Names of the tools to watch, or the tools; None, all of them.
        on_block: "refuse" answers in the tool's place. "raise" raises GuardBlockedError.
        refusal: What the model is told.
        key: What stands in the brackets of ``name``; the rules, where it is left out.

    Raises:
        ValueError: ``guard`` and scalars together, or neither ``guard`` nor ``forbid``.
    """

    refusal: str = "This call was refused: it breaks a rule. It was not executed."

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Result:
        """Execute an allowed call, or refuse it."""
        if not self._watches(request):
            return handler(request)
        (verdict,) = self._verdicts([_call(request)])
        return self._refused(request, verdict) or self._executed(request, verdict, handler(request))

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncHandler) -> Result:
        """As :meth:`wrap_tool_call`, off the event loop."""
        if not self._watches(request):
            return await handler(request)
        (verdict,) = await self._averdicts([_call(request)])
        return self._refused(request, verdict) or self._executed(request, verdict, await handler(request))

    def _refused(self, request: ToolCallRequest, verdict: Verdict) -> BaseMessage | None:
        if not verdict.blocks:
            return None
        if self.on_block == "raise":
            raise GuardBlockedError(verdict)
        call = request.tool_call
        answer = ToolMessage(self.refusal, tool_call_id=call["id"], name=call["name"], status="error")
        return noted(answer, self.name, verdict)

    def _executed(self, request: ToolCallRequest, verdict: Verdict, result: Result) -> Result:
        own = request.tool_call["id"]
        mine = [(m, isinstance(m, ToolMessage) and m.tool_call_id == own) for m in messages_of(result)]
        return with_messages(result, [noted(m, self.name, verdict) if its else m for m, its in mine])


class HeadgateToolResultGuardMiddleware(ToolWatch):
    """Judge what a tool returned before the model reads it: retrieved text may carry instructions.

    ```python
    from langchain.agents import create_agent
    from langchain_headgate.agents import HeadgateToolResultGuardMiddleware

    agent = create_agent(model, [search], middleware=[HeadgateToolResultGuardMiddleware(forbid=["injection"])])
    ```

    A message that breaks a rule is replaced by a notice, with the same id and ``status="error"``; the verdict, passes
    too, is in its ``response_metadata["guard_verdicts"][name]``. Of a Command every message is judged that isn't in
    the conversation already. Not judged: images, a message's ``artifact``, which models don't read and which stays as
    it is, and other entries of a Command. Put it last in the list: then it stands next to the tool, and what other
    middlewares do with the result, they do with what was judged.

    Args:
        model, family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid, threshold, unreadable, on_overflow, config, guard: As in :class:`langchain_headgate.HeadgateGuard`.
        tools: Names of the tools to watch, or the tools; None, all of them.
        on_block: "refuse" puts ``refusal`` in the result's place. "raise" raises GuardBlockedError.
        refusal: What the model is told.
        key: What stands in the brackets of ``name``; the rules, where it is left out.

    Raises:
        ValueError: ``guard`` and scalars together, or neither ``guard`` nor ``forbid``.
    """

    refusal: str = "The result of this call was withheld: it breaks a rule."

    def wrap_tool_call(self, request: ToolCallRequest, handler: Handler) -> Result:
        """Execute the call, and judge its result."""
        result = handler(request)
        new = self._new(request, result)
        return self._judged(result, new, self._verdicts([[m] for m in new])) if new else result

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncHandler) -> Result:
        """As :meth:`wrap_tool_call`, off the event loop."""
        result = await handler(request)
        new = self._new(request, result)
        return self._judged(result, new, await self._averdicts([[m] for m in new])) if new else result

    def _new(self, request: ToolCallRequest, result: Result) -> list[BaseMessage]:
        """What to judge: a Command that hands the conversation over holds old messages too."""
        if not self._watches(request):
            return []
        known = _conversation(request.state)
        return [m for m in messages_of(result) if not isinstance(m, RemoveMessage) and m not in known]

    def _judged(self, result: Result, new: list[BaseMessage], verdicts: list[Verdict]) -> Result:
        for verdict in verdicts:
            if verdict.blocks and self.on_block == "raise":
                raise GuardBlockedError(verdict)
        judged = list(zip(new, verdicts, strict=True))
        return with_messages(result, [self._after(m, judged) for m in messages_of(result)])

    def _after(self, message: BaseMessage, judged: list[tuple[BaseMessage, Verdict]]) -> BaseMessage:
        verdict = next((v for m, v in judged if m == message), None)
        if verdict is None:
            return message
        if verdict.blocks:
            return withheld(message, self.refusal, self.name, verdict)
        return noted(message, self.name, verdict)


def _call(request: ToolCallRequest) -> str:
    call, tool = request.tool_call, request.tool
    return call_words(call["name"], call["args"], tool.description if tool is not None else None)


def _conversation(state: Any) -> list[BaseMessage]:
    if isinstance(state, list):
        return state
    return list(state.get("messages", []) if isinstance(state, Mapping) else getattr(state, "messages", []))
