"""A chat model that counts what it writes, and agents around it."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool as make_tool
from pydantic import Field

from headgate import Guard, StreamGuard
from headgate.testing import ToyScorer

SECRET = "The bomb is hidden in the cellar."
ANSWER = f"Hello there, my friend. It is a fine day. {SECRET} Nobody must know of it. The end is near now."
"""Sentence three breaks the rule "bomb" of the toy guard."""


class Words(BaseChatModel):
    """Writes its messages a word at a time, and notes what it wrote and how it was called."""

    said: list[AIMessage]
    wrote: list[str] = Field(default_factory=list)
    calls: list[dict[str, Any]] = Field(default_factory=list)
    ended: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "words"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        names = [t["name"] if isinstance(t, dict) and "name" in t else getattr(t, "name", t) for t in tools]
        return self.bind(tools=names, **kwargs)

    def _next(self, messages: Any, stop: Any, kwargs: dict[str, Any]) -> AIMessage:
        self.calls.append({"messages": list(messages), "stop": stop, **kwargs})
        return self.said[min(len(self.calls), len(self.said)) - 1]

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        message = self._next(messages, stop, kwargs)
        return ChatResult(generations=[ChatGeneration(message=message.model_copy())])

    def _chunks(self, message: AIMessage) -> Iterator[ChatGenerationChunk]:
        if isinstance(message.content, str):
            contents: list[Any] = re.findall(r"\S+\s*", message.content)
        else:
            contents = [[block] for block in message.content]
        logprobs = message.response_metadata.get("logprobs")
        for i, content in enumerate(contents):
            self.wrote.append(content if isinstance(content, str) else str(content))
            more = {"logprobs": {"content": [logprobs["content"][i]]}} if logprobs else {}
            yield ChatGenerationChunk(message=AIMessageChunk(content=content, response_metadata=more))
        for i, call in enumerate(message.tool_calls):
            for piece in re.findall(r"(?s).{1,9}", json.dumps(call["args"])):
                chunk = {"name": call["name"], "id": call["id"], "args": piece, "index": i, "type": "tool_call_chunk"}
                self.wrote.append(piece)
                yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[chunk]))
                call = {**call, "name": None, "id": None}
        last = {"finish_reason": "stop", "model_name": "words-1"}
        yield ChatGenerationChunk(
            message=AIMessageChunk(content="", usage_metadata=message.usage_metadata, response_metadata=last)
        )

    def _stream(self, messages, stop=None, run_manager=None, **kwargs) -> Iterator[ChatGenerationChunk]:
        try:
            yield from self._chunks(self._next(messages, stop, kwargs))
        finally:
            self.ended.append("sync")

    async def _astream(self, messages, stop=None, run_manager=None, **kwargs) -> AsyncIterator[ChatGenerationChunk]:
        try:
            for chunk in self._chunks(self._next(messages, stop, kwargs)):
                yield chunk
        finally:
            self.ended.append("async")


def sentences(text: str) -> list[tuple[int, int]]:
    return [m.span() for m in re.finditer(r"[^.\s][^.]*(\.|$)", text)]


def stream_guard(*rules: str, scorer: Any = None, **terms: Any) -> StreamGuard:
    return StreamGuard(Guard(scorer or ToyScorer(), list(rules) or ["bomb"], 0.5), sentences, lookahead=1, **terms)


def call(tool: str, number: str = "1", **args: Any) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": tool, "args": args, "id": number, "type": "tool_call"}])


@make_tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


@make_tool
def delete_data(base: str) -> str:
    """Delete a database."""
    return f"deleted {base}"


@make_tool
def search(query: str) -> str:
    """Search the web."""
    return f"found: {query}"


TOOLS = [weather, delete_data, search]
