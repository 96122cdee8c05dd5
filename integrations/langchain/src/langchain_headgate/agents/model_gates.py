"""Choose an agent's model by a decision model's answer where it is sure, and abstain where it isn't."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Literal, NotRequired, get_args

from langchain.agents.middleware.types import (
    AgentMiddleware,
    AgentState,
    ModelRequest,
    ModelResponse,
    TracePolicy,
    omit_payload,
)
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langgraph.types import interrupt

from headgate import HeadgateError
from langchain_headgate.agents._decisions import (
    BaseDecisionModel,
    Choice,
    ChoiceAnswer,
    ModelChoice,
    one_of,
    probability,
)

ModelAbstain = Literal["default", "ask", "raise"]


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
            the name of a choice, and asks again where something else came. "raise" raises AbstainedError.
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
        self.threshold = probability("threshold", threshold)
        self.on_abstain = one_of("on_abstain", on_abstain, get_args(ModelAbstain))
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
        asked = {"type": self.question, "choices": dict(self._asked.criteria), **decision}
        said = interrupt(asked)
        while not isinstance(said, str) or said not in self.models:  # raising would keep the wrong answer for ever
            said = interrupt({**asked, "error": f"{said!r} came; expected one of {list(self.models)}."})
        return said

    def _routed(self, request: ModelRequest[Any]) -> ModelRequest[Any]:
        decisions: Any = request.state.get("headgate_decisions") or {}
        choice = decisions[self.question]["choice"]
        model = self.default if choice is None else self.models[choice]
        return request if model is None else request.override(model=model)


def _model(model: str | BaseChatModel) -> BaseChatModel:
    return init_chat_model(model) if isinstance(model, str) else model
