"""A chat engine whose questions and answers a guard reads."""

import copy
from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from dataclasses import replace
from typing import Any, ClassVar, Self

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole
from llama_index.core.bridge.pydantic import PrivateAttr, model_validator
from llama_index.core.chat_engine import CondenseQuestionChatEngine
from llama_index.core.chat_engine.types import (
    AGENT_CHAT_RESPONSE_TYPE,
    AgentChatResponse,
    BaseChatEngine,
    StreamingAgentChatResponse,
)
from llama_index.core.query_engine import RetrieverQueryEngine
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import StreamGuard
from headgate.hosting import away, ending
from llama_index.postprocessor.headgate._shared import STRICT
from llama_index.query_engine.headgate.base import HeadgateQueryEngine
from llama_index.query_engine.headgate.guards import Guards, Turn
from llama_index.query_engine.headgate.llm import GuardedLLM

_MODELS = ("_llm", "_multi_modal_llm")


class GuardedChatResponse(StreamingAgentChatResponse):
    """A streaming chat response with the guards' report; closing its generator stops the model.

    Attributes:
        turn: The question and its answer.
    """

    turn: Turn

    @classmethod
    def of(cls, found: StreamingAgentChatResponse, turn: Turn) -> Self:
        """``found``, with the report of ``turn``."""
        made = cls.__new__(cls)
        made.__dict__ = found.__dict__  # one state: the engine's thread writes into ``found``
        made.turn = turn
        return made

    @classmethod
    def saying(cls, text: str, turn: Turn) -> Self:
        """A stream of this text alone, in nobody's memory."""
        said = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=text), delta=text)

        async def later() -> AsyncGenerator[ChatResponse, None]:
            yield said

        made = cls(chat_stream=(one for one in [said]), achat_stream=later())
        made.is_writing_to_memory, made.is_done, made.turn = False, True, turn
        made.response = text
        return made

    @property
    def metadata(self) -> dict[str, Any]:
        """The guards' report, under "headgate"."""
        return self.turn.metadata(None)

    @property
    def response_gen(self) -> Generator[str, None, None]:
        """What was released, as it comes."""
        with closing(super().response_gen) as texts:
            try:
                for text in texts:  # noqa: UP028  "yield from" would close them first
                    yield text
            finally:
                self.turn.stopped = True  # before the host waits for the model

    async def async_response_gen(self) -> AsyncGenerator[str, None]:
        """As ``response_gen``."""
        async with ending(super().async_response_gen()) as texts:
            try:
                async for text in texts:
                    yield text
            finally:
                self.turn.stopped = True


class HeadgateChatEngine(Guards, BaseChatEngine):
    """Guard what goes into a chat engine and what comes out, streams too.

    ```python
    from llama_index.query_engine.headgate import HeadgateChatEngine

    guarded = HeadgateChatEngine(chat_engine=chat, forbid_input=["injection"], forbid_output=["toxic"])
    ```

    A message that breaks a rule never reaches the engine: neither it nor the refusal is in its memory. The answer is
    judged between the engine and its language model, so that the memory keeps what was shown and nothing else: the
    sentences let through, and the refusal. A broken sentence stops the model, and so does closing the response's
    generator, at the model's next token. The engine that came in is not changed; both have one memory.

    An engine that answers by itself has what its model says to condense a question judged too; where that is refused,
    the turn is. Only text passes: no thoughts, no tool calls.
    ``metadata["headgate"]`` has the verdicts, and TextGuardEvent tells them as they come.

    Args:
        chat_engine: A chat engine of the host, or one that keeps its model in ``_llm`` as these do.
        model, forbid_input, forbid_output, threshold, refusal, input_guard, output_guard: As these and the others
            of ``HeadgateQueryEngine``.

    Raises:
        TypeError: The engine has no model to stand before.
        ValueError: No rules; a ready guard and its scalars together.
    """

    model_config = STRICT
    _held: ClassVar[tuple[str, ...]] = ("input_guard", "chat_engine")

    chat_engine: SkipJsonSchema[InstanceOf[BaseChatEngine]]

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class."""
        return "HeadgateChatEngine"

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        engine = self.chat_engine
        if self._guards_output and all(getattr(engine, name, None) is None for name in ("_query_engine", *_MODELS)):
            raise TypeError(
                f"{type(engine).__name__} has neither _query_engine nor _llm; expected a chat engine of LlamaIndex: "
                "what it would write into its memory can't be guarded otherwise. Guard its query engine with "
                "HeadgateQueryEngine, and its questions here with forbid_input alone."
            )
        return self

    def chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AGENT_CHAT_RESPONSE_TYPE:
        """Answer in one piece."""
        turn = self.asked(message)
        if turn.refused:
            return AgentChatResponse(self.refusal, metadata=turn.metadata(None))
        return _reported(self._engine(turn, streaming=False).chat(message, _own(chat_history)), turn)

    async def achat(self, message: str, chat_history: list[ChatMessage] | None = None) -> AGENT_CHAT_RESPONSE_TYPE:
        """As :meth:`chat`."""
        turn = await away(self.asked, message)
        if turn.refused:
            return AgentChatResponse(self.refusal, metadata=turn.metadata(None))
        engine = await away(self._engine, turn, streaming=False)
        return _reported(await engine.achat(message, _own(chat_history)), turn)

    def stream_chat(self, message: str, chat_history: list[ChatMessage] | None = None) -> StreamingAgentChatResponse:
        """Answer as the model writes; held back until judged."""
        turn = self.asked(message)
        if turn.refused:
            return GuardedChatResponse.saying(self.refusal, turn)
        return GuardedChatResponse.of(self._engine(turn, streaming=True).stream_chat(message, _own(chat_history)), turn)

    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> StreamingAgentChatResponse:
        """As :meth:`stream_chat`."""
        turn = await away(self.asked, message)
        if turn.refused:
            return GuardedChatResponse.saying(self.refusal, turn)
        engine = await away(self._engine, turn, streaming=True)
        return GuardedChatResponse.of(await engine.astream_chat(message, _own(chat_history)), turn)

    def reset(self) -> None:
        """Forget the conversation."""
        self.chat_engine.reset()

    @property
    def chat_history(self) -> list[ChatMessage]:
        """The engine's memory."""
        return self.chat_engine.chat_history

    def _engine(self, turn: Turn, *, streaming: bool) -> Any:
        """The engine with a guard before its model, for one turn."""
        guard = self.output()
        if guard is None:
            return self.chat_engine
        engine: Any = copy.copy(self.chat_engine)  # it shares the memory
        if getattr(engine, "_query_engine", None) is not None:
            inner = _streaming(engine._query_engine, streaming)
            engine._query_engine = _Answers.of(inner, guard, self.refusal, turn)
            if isinstance(self.chat_engine, CondenseQuestionChatEngine):
                return engine  # its model only puts the question, which the answer's guard need not see
        for name in _MODELS:
            if getattr(engine, name, None) is not None:
                setattr(engine, name, GuardedLLM.of(getattr(engine, name), self, guard, turn))
        return engine


class _Answers(HeadgateQueryEngine):
    """Guards the answers of one turn of a chat engine that asks a query engine."""

    _turn: Turn = PrivateAttr()

    @classmethod
    def of(cls, inner: Any, guard: StreamGuard, refusal: str, turn: Turn) -> Self:
        made = cls(query_engine=inner, output_guard=guard, refusal=refusal)
        made._turn = turn
        return made

    def asked(self, question: str) -> Turn:
        return self._turn


def _streaming(engine: Any, streaming: bool) -> Any:
    """What CondenseQuestionChatEngine does to the engine it was given, on a copy; it knows only its own class."""
    if not isinstance(engine, RetrieverQueryEngine):
        return engine
    twin = copy.copy(engine)
    twin._response_synthesizer = copy.copy(engine._response_synthesizer)
    twin._response_synthesizer._streaming = streaming
    return twin


def _own(history: list[ChatMessage] | None) -> list[ChatMessage] | None:
    """A list for the memory, which appends to the one it gets."""
    return None if history is None else list(history)


def _reported(found: Any, turn: Turn) -> AGENT_CHAT_RESPONSE_TYPE:
    if isinstance(found, AgentChatResponse):
        return replace(found, metadata=turn.metadata(found.metadata))
    return GuardedChatResponse.of(found, turn)
