"""Guard what an agent's model says, while it says it."""

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from langchain.agents.middleware.types import ExtendedModelResponse, ModelRequest, ModelResponse, hook_config
from langchain_core.messages import AIMessage
from langgraph.runtime import Runtime
from langgraph.types import Command

from headgate.hosting import away
from langchain_headgate._stream_rules import StreamRules
from langchain_headgate.agents._middleware import VERDICTS, GuardState, Middleware, rules_of
from langchain_headgate.agents.chat_model import GuardedChatModel, judged_message

Handler = Callable[[ModelRequest[Any]], ModelResponse[Any]]
AsyncHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]


class HeadgateOutputGuardMiddleware(StreamRules, Middleware):
    """Judge what the model says, sentence by sentence, before anybody is shown it; a broken rule stops the model.

    ```python
    from langchain.agents import create_agent
    from langchain_headgate.agents import HeadgateOutputGuardMiddleware

    agent = create_agent(model, tools, middleware=[..., HeadgateOutputGuardMiddleware(forbid=["toxicity:toxic"])])
    for token, metadata in agent.stream({"messages": [...]}, stream_mode="messages"):
        ...
    ```

    It puts a :class:`GuardedChatModel` in the model's place, so that every surface is guarded: all of
    ``stream_mode``, ``astream_events``, callbacks, the final state. A halted message calls no tool, and the agent ends.
    The verdict is in the state under ``guard_verdicts[name]``: the strictest action, and what was not simply
    released. Put it last in the list: a middleware behind it that puts another model in takes the guard away. What
    such a model said is judged afterwards: the state is guarded, and what was streamed is not.

    Args:
        model, family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        forbid, threshold, unreadable, on_overflow, config: As in :class:`langchain_headgate.HeadgateGuard`.
        language, on_broken, replacement, context, lookahead, max_held, reasoning, guard: As in
            :class:`langchain_headgate.HeadgateStreamGuard`.
        refusal: What is said where a message is halted, behind what was shown of it; None says nothing, which some
            providers refuse to read in the next turn.
        key: What stands in the brackets of ``name``; the rules, where it is left out.

    Raises:
        ValueError: ``guard`` and scalars together, or neither ``guard`` nor ``forbid``.
        MissingExtraError: sentencex is not installed.
    """

    _beside: ClassVar[frozenset[str]] = StreamRules._beside | {"key"}

    refusal: str | None = "I can't help with that."

    def wrap_model_call(self, request: ModelRequest[Any], handler: Handler) -> ExtendedModelResponse[Any]:
        """Call the model behind a guard."""
        response = handler(request.override(model=self._guarded(request.model)))
        if self._unjudged(response):
            response = self._judged(response)
        return self._extended(response)

    async def awrap_model_call(self, request: ModelRequest[Any], handler: AsyncHandler) -> ExtendedModelResponse[Any]:
        """As :meth:`wrap_model_call`, off the event loop."""
        response = await handler(request.override(model=self._guarded(request.model)))
        if self._unjudged(response):
            response = await away(self._judged, response)
        return self._extended(response)

    @hook_config(can_jump_to=["end"])
    def after_model(self, state: GuardState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """End where the message was halted: with a ``response_format`` the host would ask the model again for ever."""
        last = next((m for m in reversed(state["messages"]) if isinstance(m, AIMessage)), None)
        verdict = None if last is None else self._verdict(last)
        return {"jump_to": "end"} if verdict is not None and verdict["action"] == "halt" else None

    @hook_config(can_jump_to=["end"])
    async def aafter_model(self, state: GuardState, runtime: Runtime[Any]) -> dict[str, Any] | None:
        """As :meth:`after_model`."""
        return self.after_model(state, runtime)

    def _guarded(self, model: Any) -> GuardedChatModel:
        return GuardedChatModel(inner=model, guard=self, key=self.name)

    def _unjudged(self, response: ModelResponse[Any]) -> bool:
        """Whether another model answered, or a middleware did."""
        return any(isinstance(m, AIMessage) and self._verdict(m) is None for m in response.result)

    def _judged(self, response: ModelResponse[Any]) -> ModelResponse[Any]:
        said = [
            judged_message(m, self, self.name) if isinstance(m, AIMessage) and self._verdict(m) is None else m
            for m in response.result
        ]
        if any(isinstance(m, AIMessage) and (self._verdict(m) or {}).get("action") == "halt" for m in said):
            return ModelResponse([m for m in said if isinstance(m, AIMessage)])
        return ModelResponse(said, response.structured_response)

    def _extended(self, response: ModelResponse[Any]) -> ExtendedModelResponse[Any]:
        found = [v for m in response.result if isinstance(m, AIMessage) and (v := self._verdict(m)) is not None]
        update = {VERDICTS: {self.name: found[-1]}} if found else {}
        return ExtendedModelResponse(response, Command(update=update))

    def _verdict(self, message: AIMessage) -> dict[str, Any] | None:
        found: dict[str, Any] | None = message.response_metadata.get(VERDICTS, {}).get(self.name)
        return found

    def _words(self) -> list[str]:
        return rules_of(self.guard.guard) if self.guard is not None else list(self.forbid or ())
