"""A chat model that shows nothing a guard hasn't judged."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Self

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableParallel,
    RunnableSequence,
    RunnableWithFallbacks,
)
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, InstanceOf, model_validator

from headgate import StreamGuard
from headgate.hosting import away, ending
from langchain_headgate._chunks import aguarded, guarded, judged, words
from langchain_headgate._quiet import QUIET, aeach, aquiet, each, quiet, unheard
from langchain_headgate._stream_rules import StreamRules
from langchain_headgate.agents._shown import Shown

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool


class GuardedChatModel(BaseChatModel):
    """A chat model and a stream guard: what comes out was judged, sentence by sentence, on every surface.

    ```python
    from langchain_headgate.agents import GuardedChatModel

    model = GuardedChatModel(inner=ChatOpenAI(model="…"), guard=HeadgateStreamGuard(forbid=["toxicity:toxic"]))
    model.bind_tools(tools).stream("…")
    ```

    A sentence is held back until its verdict is in; one that breaks a rule stops the inner model. Callbacks, traces,
    ``astream_events`` and graphs see the guarded model alone, under the inner one's name and parameters; callbacks
    that the inner model had are the guarded one's now. A halted message has no tool calls.

    Judged are the text, the reasoning, and in the end the tool calls: each with its name and arguments as one text.
    Tool calls wait for the end of the message; one that breaks a rule whose policy is "redact" or "halt" halts. Not
    judged are images, metadata, and tools that the provider runs itself. "logprobs" are left out where words were
    withheld. The verdict is in the message's ``response_metadata["guard_verdicts"][key]``: the strictest action, and
    what was not simply released.

    Args:
        inner: The model. It is called without handlers. A runnable of another kind may stand for it, which gives a
            model's messages; handlers inside such a one are its own. Its configurable fields follow the chain or the
            graph around this model, and not the config of a call of this model itself.
        guard: How sentences are judged and held back, and what is said in a halted message's end.
        key: The name of the verdict.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    inner: InstanceOf[Runnable[Any, Any]]
    guard: InstanceOf[StreamRules]
    key: str = "GuardedChatModel"

    @model_validator(mode="after")
    def _take_over(self) -> Self:
        """What hosts ask of a model, as the inner one says it; its handlers would hear what is held back."""
        inner = self.inner
        if isinstance(inner, RunnableBinding):
            raise ValueError(
                "inner is a bound model, which may bring handlers; expected the model itself: bind the guarded one, "
                "GuardedChatModel(inner=model, …).bind(…)."
            )
        if not isinstance(inner, BaseChatModel):
            return self
        if inner.callbacks:
            self.callbacks = [*_handlers(self.callbacks), *_handlers(inner.callbacks)]
            self.inner = inner.model_copy(update={"callbacks": None})
        self.tags = [*(self.tags or []), *(inner.tags or [])] or None
        self.metadata = {**(inner.metadata or {}), **(self.metadata or {})} or None
        self.profile = self.profile or inner.profile
        self.disable_streaming = self.disable_streaming or inner.disable_streaming
        # The inner model has what these do: a cache of guarded answers would outlive the guard.
        self.cache, self.rate_limiter, self.output_version = False, None, None
        return self

    def _guard(self) -> StreamGuard:
        guard: StreamGuard = self.guard._noun()
        return guard

    # ---------------------------------------------------------------------------------------- calls

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with unheard():
            message = self.inner.invoke(messages, QUIET, **_stopped(stop), **kwargs)
        return _result(judged_message(message, self.guard, self.key))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with unheard():
            message = await self.inner.ainvoke(messages, QUIET, **_stopped(stop), **kwargs)
        return _result(await away(judged_message, message, self.guard, self.key))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        guard = self._guard()
        shown = Shown(self.key, guard)
        written = each(shown.before, quiet(self.inner.stream(messages, QUIET, **_stopped(stop), **kwargs)))
        with closing(guarded(guard, written, self.guard._manner)) as released:
            for chunk in released:
                yield from map(_generation, shown.after(chunk))
        yield from map(_generation, shown.close(guard.guard.many(shown.calls), self.guard.refusal))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        guard = await away(self._guard)
        shown = Shown(self.key, guard)
        written = aeach(shown.before, aquiet(self.inner.astream(messages, QUIET, **_stopped(stop), **kwargs)))
        async with ending(aguarded(guard, written, self.guard._manner)) as released:
            async for chunk in released:
                for one in shown.after(chunk):
                    yield _generation(one)
        verdicts = await away(guard.guard.many, shown.calls)
        for one in shown.close(verdicts, self.guard.refusal):
            yield _generation(one)

    # ---------------------------------------------------------------------------------------- bound models

    def bind_tools(
        self, tools: Sequence[Tool], *, tool_choice: str | None = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """As the inner model binds them, with this guard."""
        choice = {} if tool_choice is None else {"tool_choice": tool_choice}
        return self._around(self.inner.bind_tools(tools, **choice, **kwargs))  # type: ignore[attr-defined]

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """As the inner model does it, with this guard before the parser; a halted message doesn't parse."""
        made = self.inner.with_structured_output(schema, include_raw=include_raw, **kwargs)  # type: ignore[attr-defined]
        return self._around(made)

    def _around(self, made: Runnable[Any, Any]) -> Runnable[Any, Any]:
        """What the inner model made of itself, with this guard around the model in it."""
        match made:
            case RunnableBinding():
                return made.model_copy(update={"bound": self._around(made.bound)})
            case RunnableSequence():
                return made.model_copy(update={"first": self._around(made.first)})
            case RunnableParallel():
                return made.model_copy(update={"steps__": {k: self._around(v) for k, v in made.steps__.items()}})
            case RunnableWithFallbacks():
                others = [self._around(one) for one in made.fallbacks]
                return made.model_copy(update={"runnable": self._around(made.runnable), "fallbacks": others})
            case _:
                return type(self)(inner=made, guard=self.guard, key=self.key)

    # ---------------------------------------------------------------------------------------- what hosts ask

    @property
    def model_name(self) -> str | None:
        """The inner model's, wherever it keeps it; hosts tell by it what the model can do."""
        found = (getattr(self.inner, name, None) for name in ("model_name", "model", "model_id"))
        return next((name for name in found if isinstance(name, str) and name), None)

    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        """The inner model's, in traces too."""
        return self.inner.get_name(suffix, name=name or self.name)

    @property
    def _llm_type(self) -> str:
        return f"guarded-{getattr(self.inner, '_llm_type', 'model')}"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return dict(getattr(self.inner, "_identifying_params", {}))

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        if isinstance(self.inner, BaseChatModel):
            return self.inner._get_ls_params(stop=stop, **kwargs)
        return super()._get_ls_params(stop=stop, **kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """As the inner model counts them."""
        if isinstance(self.inner, BaseChatModel):
            return self.inner.get_token_ids(text)
        return super().get_token_ids(text)


def judged_message(message: AIMessage, rules: StreamRules, key: str) -> AIMessage:
    """A copy of a whole message as it may be shown, with the verdict."""
    guard: StreamGuard = rules._noun()
    shown = Shown(key, guard)
    chunk = shown.before(message)
    events = list(guard.run([words(chunk, rules._manner)]))
    chunks = shown.after(judged(chunk, events, rules._manner))
    chunks += shown.close(guard.guard.many(shown.calls), rules.refusal)
    whole = sum(chunks[1:], chunks[0])
    said = {k: v for k, v in message.response_metadata.items() if k != "logprobs"}
    metadata = {**said, **whole.response_metadata}
    if shown.action in ("release", "annotate"):
        same: dict[str, Any] = {"response_metadata": metadata, "id": whole.id}
        if rules._manner.reasoning == "drop":
            same |= {"content": whole.content, "additional_kwargs": whole.additional_kwargs}
        return message.model_copy(update=same)
    update = {"response_metadata": metadata, "usage_metadata": message.usage_metadata, "name": message.name}
    made = message_chunk_to_message(whole).model_copy(update=update)
    assert isinstance(made, AIMessage)
    return made


def _handlers(callbacks: Callbacks) -> list[BaseCallbackHandler]:
    if isinstance(callbacks, BaseCallbackManager):
        return list(callbacks.handlers)
    return list(callbacks or [])


def _stopped(words: list[str] | None) -> dict[str, list[str]]:
    return {} if words is None else {"stop": words}  # not every runnable knows of them


def _generation(chunk: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=chunk)


def _result(message: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])
