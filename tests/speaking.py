"""A language model of LlamaIndex that says what it is told to, and that tests can count."""

import re
from collections.abc import Sequence
from typing import Any

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
from llama_index.core.bridge.pydantic import Field
from llama_index.core.llms.llm import LLM

FIRST, BAD = "All is well with the fish here. ", "Now comes a bomb in the second. "
ANSWER = FIRST + BAD + "A third sentence follows after it. And a fourth one ends the whole answer."
SAFE = FIRST + "A third sentence follows after it. And a fourth one ends the whole answer."


def tokens(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)


class FakeLLM(LLM):
    """Says a text, a word at a time, and counts the words it wrote."""

    says: str = ANSWER
    chats: bool = True
    written: int = 0
    finished: int = 0
    prompts: list[str] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(is_chat_model=self.chats, is_function_calling_model=True)

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        self.prompts.append("\n".join(str(m) for m in messages))
        message = ChatMessage(role=MessageRole.ASSISTANT, content=self.says, additional_kwargs={"tool_calls": [1]})
        return ChatResponse(message=message, raw={"text": self.says})

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return self.chat(messages)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self.prompts.append(prompt)
        return CompletionResponse(text=self.says, raw={"text": self.says})

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return self.complete(prompt)

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        self.prompts.append("\n".join(str(m) for m in messages))
        return (
            ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=t), delta=d) for t, d in self._words()
        )

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        found = self.stream_chat(messages)

        async def gen() -> ChatResponseAsyncGen:
            for one in found:
                yield one

        return gen()

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        self.prompts.append(prompt)
        return (CompletionResponse(text=t, delta=d) for t, d in self._words())

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        found = self.stream_complete(prompt)

        async def gen() -> CompletionResponseAsyncGen:
            for one in found:
                yield one

        return gen()

    def _words(self) -> Any:
        text = ""
        try:
            for word in tokens(self.says):
                self.written += 1
                text += word
                yield text, word
        finally:
            self.finished += 1
