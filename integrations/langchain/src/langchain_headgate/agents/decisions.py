"""Agents that act on a decision model's answer where it is sure, and abstain where it isn't."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, get_args

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ModelRequest,
    ModelResponse,
    ToolCallRequest,
    TracePolicy,
    omit_payload,
)
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.version import VERSION
from langgraph.types import Command, interrupt

from headgate import HeadgateError

try:
    from langchain.agents.middleware.model_router import ModelChoice
    from langchain_core.decisions import BaseDecisionModel, Choice, ChoiceAnswer, Noul, NoulCriteria
except ImportError as error:
    raise ImportError(
        f"langchain-core {VERSION} is installed; gates on decision models expect langchain-core 1.8 and langchain 1.5 "
        'or newer: pip install --upgrade "langchain-core>=1.8" "langchain>=1.5"'
    ) from error

ModelAbstain = Literal["default", "ask", "raise"]
ToolAbstain = Literal["ask", "block", "allow"]
Called = ToolMessage | Command[Any]

RISK = "Would executing `tool_call` be risky or insufficiently authorized, given `messages`?"
YES = NoulCriteria(true="deleting, sharing, paying or changing access", false="looking up or reading something")
MESSAGES = 30
"""Last messages that are judged with a tool call, as the stock AutoModeMiddleware has it."""


class AbstainedError(HeadgateError):
    """A decision was not sure enough to act on, and ``on_abstain`` is "raise".

    Attributes:
        decision: What was found, as in the agent's state.
    """

    def __init__(self, decision: dict[str, Any]) -> None:
        super().__init__(decision)
        self.decision = decision

    def __str__(self) -> str:
        d = self.decision
        return (
            f"the likeliest model is {d['likeliest']!r} with confidence {d['confidence']:.2f}; expected at least "
            f'{d["threshold"]:.2f} to act on it: on_abstain="default" or "ask" says what happens instead.'
        )


def _merged(old: dict[str, Any] | None, new: dict[str, Any] | None) -> dict[str, Any]:
    return {**(old or {}), **(new or {})}


class DecisionState(AgentState[Any]):
    """Agent state with what gates decided, by the name of their question."""

    headgate_decisions: NotRequired[Annotated[dict[str, Any], _merged]]


class HeadgateModelGateMiddleware(AgentMiddleware[DecisionState, Any, Any]):
    """Choose an agent's model by its task, if the choice is sure enough.

    The latest human message is judged once a run. From ``threshold`` up the chosen model answers; below, the gate
    abstains. ``state["headgate_decisions"]`` holds the choice, whether it abstained, the confidence and all
    probabilities, in JSON, under the name of the question.

    ```python
    from langchain.agents.middleware import ModelChoice
    from langchain_headgate import HeadgateDecisionModel
    from langchain_headgate.agents import HeadgateModelGateMiddleware

    gate = HeadgateModelGateMiddleware(
        choices={"small": ModelChoice(small, "small talk"), "large": ModelChoice(large, "mathematics and proofs")},
        classifier=HeadgateDecisionModel(),
        threshold=0.6,
    )
    ```

    Args:
        choices: Names with a model and what it is for.
        classifier: Any decision model.
        threshold: Confidence from which its choice is followed, 0 to 1.
        on_abstain: "default" leaves the call to ``default``, "ask" interrupts the run until somebody resumes it with
            the name of a choice, "raise" raises AbstainedError.
        default: The model where the gate abstains; None, the agent's own.
        instructions: The question, for classifiers that read it.
        question: Its name: for calibrations and hypotheses of the classifier, in the state, and in the name of the
            middleware, so that an agent may have several.

    Raises:
        ValueError: No choices, a threshold outside 0 to 1, an unknown ``on_abstain``.
    """

    state_schema = DecisionState
    trace_policy = TracePolicy(process_inputs=omit_payload)

    def __init__(  # noqa: PLR0913  all by name, as the host's own
        self,
        *,
        choices: Mapping[str, ModelChoice],
        classifier: BaseDecisionModel,
        threshold: float,
        on_abstain: ModelAbstain = "default",
        default: str | BaseChatModel | None = None,
        instructions: str = "Which of these is the task?",
        question: str = "model_route",
    ) -> None:
        super().__init__()
        if not choices:
            raise ValueError("choices is empty; expected names with a ModelChoice each.")
        self.threshold = _probability("threshold", threshold)
        self.on_abstain = _one_of("on_abstain", on_abstain, get_args(ModelAbstain))
        self.models = {name: _model(choice.model) for name, choice in choices.items()}
        self.default = None if default is None else _model(default)
        self.classifier, self.question = classifier, question
        self._asked = Choice(instructions=instructions, criteria={n: c.criteria for n, c in choices.items()})

    @property
    def name(self) -> str:
        """The class with the question."""
        return f"{type(self).__name__}[{self.question}]"

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
        """Choose, once a run."""
        return self._decide(self.classifier.invoke(self._request(state)))

    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
        """As :meth:`before_agent`."""
        return self._decide(await self.classifier.ainvoke(self._request(state)))

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Call the chosen model."""
        return handler(self._routed(request))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """As :meth:`wrap_model_call`."""
        return await handler(self._routed(request))

    def _request(self, state: Any) -> Any:
        for message in reversed(state["messages"]):
            if isinstance(message, HumanMessage):
                return {"state": message, "questions": {self.question: self._asked}}
        raise ValueError(f"{self.name} found no human message in the agent's state; expected one to route on.")

    def _decide(self, response: Any) -> dict[str, Any]:
        answer: ChoiceAnswer = response.choices[self.question]
        sure = answer.confidence >= self.threshold
        decision = {
            "choice": answer.choice if sure else None,
            "likeliest": answer.choice,
            "abstained": not sure,
            "confidence": answer.confidence,
            "probabilities": dict(answer.probabilities),
            "threshold": self.threshold,
        }
        if not sure and self.on_abstain == "raise":
            raise AbstainedError(decision)
        if not sure and self.on_abstain == "ask":
            decision["choice"] = self._ask(decision)
        return {"headgate_decisions": {self.question: decision}}

    def _ask(self, decision: dict[str, Any]) -> str:
        said = interrupt({"type": self.question, "choices": dict(self._asked.criteria), **decision})
        if said not in self.models:
            raise ValueError(f"the run was resumed with {said!r}; expected one of {list(self.models)}.")
        return str(said)

    def _routed(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        decisions: Any = request.state.get("headgate_decisions") or {}
        choice = decisions[self.question]["choice"]
        model = self.default if choice is None else self.models[choice]
        return request if model is None else request.override(model=model)


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
            ``{"type": "approve"}`` or ``{"type": "reject", "message": "…"}``. "block", "allow".
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
        criteria: NoulCriteria | None = YES,
        question: str = "is_risky",
    ) -> None:
        super().__init__()
        self.threshold = _probability("threshold", threshold)
        self.abstain_from = self.threshold if abstain_from is None else _probability("abstain_from", abstain_from)
        if self.abstain_from > self.threshold:
            raise ValueError(
                f"abstain_from is {abstain_from} and threshold {threshold}; expected at most that: calls from "
                "abstain_from up to threshold are the unsure ones."
            )
        self.on_abstain = _one_of("on_abstain", on_abstain, get_args(ToolAbstain))
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
        said = interrupt(
            {
                "type": "tool_approval",
                "tool_call_id": call["id"],
                "name": call["name"],
                "args": call["args"],
                "description": f"{self.question}: probability {decision['probability']:.2f}, not sure enough to decide.",
            }
        )
        kind = said.get("type") if isinstance(said, Mapping) else None
        if kind == "approve":
            return {**decision, "action": "approved"}, None
        if kind == "reject":
            return {**decision, "action": "rejected"}, _refusal(request, said.get("message") or "a person rejected it")
        raise ValueError(
            f"the run was resumed with {said!r}; expected {{'type': 'approve'}} or {{'type': 'reject'}}. "
            "The tool was not called."
        )

    def _noted(self, result: Called, decision: dict[str, Any], request: ToolCallRequest) -> Called:
        """The result with the decision in its message; what is no message of this call stays as it is."""
        if not isinstance(result, ToolMessage):
            return result
        before = result.response_metadata.get("headgate_decisions", {})
        noted = {**result.response_metadata, "headgate_decisions": {**before, self.question: decision}}
        return result.model_copy(update={"response_metadata": noted})


def _refusal(request: ToolCallRequest, why: str) -> ToolMessage:
    call = request.tool_call
    return ToolMessage(
        f"The tool call `{call['name']}` was blocked: {why}. The tool was not executed.",
        tool_call_id=call["id"],
        name=call["name"],
        status="error",
    )


def _model(model: str | BaseChatModel) -> BaseChatModel:
    return init_chat_model(model) if isinstance(model, str) else model


def _probability(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; expected a probability, 0 to 1.")
    return float(value)


def _one_of(name: str, value: Any, choices: Sequence[str]) -> Any:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {list(choices)}.")
    return value
