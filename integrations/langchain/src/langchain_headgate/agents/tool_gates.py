"""Let tool calls run, block them, or abstain, by a decision model's answer."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ToolCallRequest,
    TracePolicy,
    omit_payload,
)
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import interrupt

from langchain_headgate._state import STOCK
from langchain_headgate.agents._decisions import BaseDecisionModel, Noul, NoulCriteria, one_of, probability

ToolAbstain = Literal["ask", "block", "allow"]
Called = Any
"""What a tool's call comes to: a ToolMessage, a Command, or a list of them."""

RISK = "Would executing `tool_call` be risky or insufficiently authorized, given `messages`?"
CRITERIA = NoulCriteria(**STOCK["is_risky"])
"""Words for what is done: a small model can't tell what "unauthorized" means."""
MESSAGES = 30
"""Last messages that are judged with a tool call, as the stock AutoModeMiddleware has it."""


class HeadgateToolGateMiddleware(AgentMiddleware[AgentState[Any], Any, Any]):
    """Let a tool call run, block it, or abstain between the two, by thresholds of yours.

    A call is judged just before it runs, with its arguments as they are then, the tool's description and the last 30
    messages. From ``threshold`` up it is blocked: the agent gets a ToolMessage that says so. Below ``abstain_from`` it
    runs. Between them nobody is sure, and ``on_abstain`` says what happens. What was decided is in JSON under
    ``response_metadata["headgate_decisions"]`` of the ToolMessage, by the name of the question.

    If the classifier fails the run fails, and the tool is not called.

    ```python
    from langchain_headgate import HeadgateDecisionModel
    from langchain_headgate.agents import HeadgateToolGateMiddleware

    gate = HeadgateToolGateMiddleware(classifier=HeadgateDecisionModel(), threshold=0.8, abstain_from=0.4)
    ```

    Args:
        classifier: Any decision model.
        threshold: Probability of yes from which a call is blocked, 0 to 1.
        abstain_from: Probability from which it doesn't simply run, at most ``threshold``; None, the same.
        on_abstain: "ask" interrupts the run, as HumanInTheLoopMiddleware does for one call: resume it with
            ``{"type": "approve"}`` or ``{"type": "reject", "message": "…"}``; it asks again where something else came.
            "block", "allow".
        tools: Tools, or their names, that are judged; None, all.
        instructions, criteria: What is asked about a call; yes means that it should not run.
        question: Its name: for calibrations and hypotheses of the classifier, and in the name of the middleware.

    Raises:
        ValueError: A threshold outside 0 to 1, ``abstain_from`` above it, an unknown ``on_abstain``, or no tools.
    """

    trace_policy = TracePolicy(process_inputs=omit_payload)

    def __init__(  # noqa: PLR0913  all by name, as the host's own
        self,
        *,
        classifier: BaseDecisionModel,
        threshold: float,
        abstain_from: float | None = None,
        on_abstain: ToolAbstain = "ask",
        tools: Sequence[str | BaseTool] | None = None,
        instructions: str = RISK,
        criteria: NoulCriteria | None = CRITERIA,
        question: str = "is_risky",
    ) -> None:
        super().__init__()
        self.threshold = probability("threshold", threshold)
        self.abstain_from = self.threshold if abstain_from is None else probability("abstain_from", abstain_from)
        if self.abstain_from > self.threshold:
            raise ValueError(
                f"abstain_from is {abstain_from} and threshold {threshold}; expected at most that: calls from "
                "abstain_from up to threshold are the unsure ones."
            )
        self.on_abstain = one_of("on_abstain", on_abstain, get_args(ToolAbstain))
        if isinstance(tools, str) or (tools is not None and not tools):
            raise ValueError(f"tools is {tools!r}; expected a list of tools or names, or None for all of them.")
        self._names = None if tools is None else {t if isinstance(t, str) else t.name for t in tools}
        self.classifier, self.question = classifier, question
        self._asked = Noul(instructions=instructions, criteria=criteria)

    @property
    def name(self) -> str:
        """The class with the question."""
        return f"{type(self).__name__}[{self.question}]"

    def wrap_tool_call(self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Called]) -> Called:
        """Run the call, or answer in its place."""
        if not self._judges(request):
            return handler(request)
        decision, refusal = self._decide(request, self.classifier.invoke(self._request(request)))
        return self._noted(handler(request) if refusal is None else refusal, decision, request)

    async def awrap_tool_call(
        self, request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Called]]
    ) -> Called:
        """As :meth:`wrap_tool_call`."""
        if not self._judges(request):
            return await handler(request)
        decision, refusal = self._decide(request, await self.classifier.ainvoke(self._request(request)))
        return self._noted(await handler(request) if refusal is None else refusal, decision, request)

    def _judges(self, request: ToolCallRequest) -> bool:
        return self._names is None or request.tool_call["name"] in self._names

    def _request(self, request: ToolCallRequest) -> Any:
        call, messages = request.tool_call, request.state.get("messages", [])
        state: dict[str, Any] = {
            "messages": messages[-MESSAGES:],
            "tool_call": {"name": call["name"], "args": call["args"]},
        }
        if request.tool is not None and request.tool.description:
            state["tool_description"] = request.tool.description
        return {"state": state, "questions": {self.question: self._asked}}

    def _decide(self, request: ToolCallRequest, response: Any) -> tuple[dict[str, Any], ToolMessage | None]:
        """What was decided, and the message in place of the call's result if it must not run."""
        p = response.nouls[self.question].noul
        decision = {"probability": p, "threshold": self.threshold, "abstain_from": self.abstain_from}
        if p < self.abstain_from:  # so written, NaN doesn't pass
            return {**decision, "action": "allowed"}, None
        if not p < self.threshold:
            return {**decision, "action": "blocked"}, _refusal(
                request, f"it was judged too risky (probability {p:.2f})"
            )
        if self.on_abstain == "allow":
            return {**decision, "action": "allowed, unsure"}, None
        if self.on_abstain == "block":
            why = f"nobody could be sure that it is safe (probability of risk {p:.2f})"
            return {**decision, "action": "blocked, unsure"}, _refusal(request, why)
        return self._ask(request, decision)

    def _ask(self, request: ToolCallRequest, decision: dict[str, Any]) -> tuple[dict[str, Any], ToolMessage | None]:
        call = request.tool_call
        asked = {
            "type": "tool_approval",
            "tool_call_id": call["id"],
            "name": call["name"],
            "args": call["args"],
            "description": f"{self.question}? probability {decision['probability']:.2f}, too unsure to decide.",
        }
        said = interrupt(asked)
        while _kind(said) is None:  # raising would keep the wrong answer for ever
            wrong = f"{said!r} came; expected {{'type': 'approve'}} or {{'type': 'reject'}}."
            said = interrupt({**asked, "error": wrong})
        if _kind(said) == "approve":
            return {**decision, "action": "approved"}, None
        return {**decision, "action": "rejected"}, _refusal(request, said.get("message") or "a person rejected it")

    def _noted(self, result: Called, decision: dict[str, Any], request: ToolCallRequest) -> Called:
        """The result with the decision in the call's message."""
        if isinstance(result, ToolMessage):
            before = result.response_metadata.get("headgate_decisions", {})
            noted = {**result.response_metadata, "headgate_decisions": {**before, self.question: decision}}
            return result.model_copy(update={"response_metadata": noted})
        if isinstance(result, list):
            return [self._noted(one, decision, request) for one in result]
        update = result.update
        if not isinstance(update, dict) or not isinstance(update.get("messages"), list):
            return result
        messages = [
            self._noted(m, decision, request)
            if isinstance(m, ToolMessage) and m.tool_call_id == request.tool_call["id"]
            else m
            for m in update["messages"]
        ]
        return replace(result, update={**update, "messages": messages})


def _kind(said: object) -> str | None:
    """What a person answered; None where it is no answer."""
    kind = said.get("type") if isinstance(said, Mapping) else None
    return kind if kind in ("approve", "reject") else None


def _refusal(request: ToolCallRequest, why: str) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(
        f"The tool call `{call['name']}` was blocked: {why}. The tool was not executed.",
        tool_call_id=call["id"],
        name=call["name"],
        status="error",
    )
