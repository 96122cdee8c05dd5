"""A language model of which only what a guard releases is seen."""

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Sequence
from contextlib import closing
from typing import Any, Self

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.llm import LLM
from pydantic import InstanceOf

from headgate import StreamGuard
from headgate.hosting import away, ending
from llama_index.query_engine.headgate.guards import Chunk, Guards, Turn

_OF_PROMPTS = (
    "system_prompt",
    "messages_to_prompt",
    "completion_to_prompt",
    "output_parser",
    "pydantic_program_mode",
    "query_wrapper_prompt",
    "callback_manager",
)


class GuardedLLM(LLM):
    """The model of one turn of a chat engine.

    Only text passes: what else a message may hold (thoughts, tool calls, the provider's own answer) was judged by
    nobody. So it says of itself that it calls no functions.
    """

    inner: InstanceOf[LLM]
    _guards: Guards = PrivateAttr()
    _guard: StreamGuard = PrivateAttr()
    _turn: Turn = PrivateAttr()

    @classmethod
    def of(cls, inner: LLM, guards: Guards, guard: StreamGuard, turn: Turn) -> Self:
        """``inner``, guarded, for one turn."""
        made = cls(inner=inner, **{name: getattr(inner, name) for name in _OF_PROMPTS})
        made._guards, made._guard, made._turn = guards, guard, turn
        return made

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class."""
        return "GuardedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """The inner model's, but for functions."""
        return self.inner.metadata.model_copy(update={"is_function_calling_model": False})

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "callback_manager":
            self.inner.callback_manager = value  # synthesizers set it, and the events are the inner model's

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """What may be shown of the inner model's message."""
        found = self.inner.chat(messages, **kwargs).message
        return _said(self._text(found.content), found.role)

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As :meth:`chat`."""
        found = (await self.inner.achat(messages, **kwargs)).message
        return _said(await away(self._text, found.content), found.role)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """What may be shown of the inner model's completion."""
        return CompletionResponse(text=self._text(self.inner.complete(prompt, formatted=formatted, **kwargs).text))

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As :meth:`complete`."""
        found = await self.inner.acomplete(prompt, formatted=formatted, **kwargs)
        return CompletionResponse(text=await away(self._text, found.text))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As :meth:`chat`, as it comes."""
        stream = self._stream(self.inner.stream_chat(messages, **kwargs))
        return (_said(so_far, MessageRole.ASSISTANT, delta) for so_far, delta in stream)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As :meth:`complete`, as it comes."""
        stream = self._stream(self.inner.stream_complete(prompt, formatted=formatted, **kwargs))
        return (CompletionResponse(text=so_far, delta=delta) for so_far, delta in stream)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As :meth:`chat`, as it comes."""
        stream = self._astream(await self.inner.astream_chat(messages, **kwargs))
        return (_said(so_far, MessageRole.ASSISTANT, delta) async for so_far, delta in stream)

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As :meth:`complete`, as it comes."""
        stream = self._astream(await self.inner.astream_complete(prompt, formatted=formatted, **kwargs))
        return (CompletionResponse(text=so_far, delta=delta) async for so_far, delta in stream)

    def _text(self, text: str | None) -> str:
        return self._guards.text(self._guard, text or "", self._turn)

    def _stream(self, found: Iterable[Chunk]) -> Generator[tuple[str, str], None, None]:
        so_far = ""
        with closing(self._guards.texts(self._guard, found, self._turn)) as texts:
            for text in texts:
                so_far += text
                yield so_far, text

    async def _astream(self, found: AsyncIterable[Chunk]) -> AsyncGenerator[tuple[str, str], None]:
        so_far = ""
        async with ending(self._guards.atexts(self._guard, found, self._turn)) as texts:
            async for text in texts:
                so_far += text
                yield so_far, text


def _said(text: str, role: MessageRole, delta: str | None = None) -> ChatResponse:
    return ChatResponse(message=ChatMessage(role=role, content=text), delta=delta)
