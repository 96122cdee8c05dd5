"""Chat models that count what they write, and a splitter without an extra."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from headgate import Guard, StreamGuard
from headgate.testing import ToyScorer

FINE = "The lamp is on the wall beside the door. "
BAD = "Here is how to build a zebra at home. "
REST = "Nobody said a word about it for quite some time. "
SECRET = "zebra"
"""The word that may not leave; the rule is called otherwise, since verdicts name their rules."""


def split(text: str) -> list[tuple[int, int]]:
    return [m.span() for m in re.finditer(r"[^.\s][^.]*\.?", text)]


def guard(scorer: Any = None, **settings: Any) -> StreamGuard:
    return StreamGuard(Guard(scorer or ToyScorer(), {"beast": SECRET}, 0.5), split, **settings)


class Writer(BaseChatModel):
    """Writes chunks, and counts them."""

    chunks: list[AIMessageChunk]
    written: list[int]

    @classmethod
    def of(cls, text: str) -> "Writer":
        return cls(chunks=[AIMessageChunk(word) for word in re.findall(r"\S+\s*", text)], written=[])

    @property
    def count(self) -> int:
        return len(self.written)

    @property
    def _llm_type(self) -> str:
        return "writer"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        whole = total(self.chunks)
        message = AIMessage(whole.content, tool_calls=whole.tool_calls, additional_kwargs=whole.additional_kwargs)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for k, message in enumerate(self.chunks):
            self.written.append(k)
            chunk = ChatGenerationChunk(message=message.model_copy())
            if run_manager:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for k, message in enumerate(self.chunks):
            self.written.append(k)
            await asyncio.sleep(0)
            chunk = ChatGenerationChunk(message=message.model_copy())
            if run_manager:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def total(chunks: Sequence[AIMessageChunk]) -> AIMessageChunk:
    """The message that chunks add up to."""
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk  # type: ignore[assignment]
    return whole


def said(chunk: Any) -> str:
    return chunk if isinstance(chunk, str) else str(chunk.text)
