"""Guarded chat engines: what is shown, what is remembered, and where a stream ends."""

import copy
import pickle
from contextlib import aclosing
from threading import Event
from typing import Any

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ChatResponseGen, MessageRole
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    CondenseQuestionChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import TextNode
from pydantic import PrivateAttr
from tests.speaking import ANSWER, FIRST, SAFE, FakeLLM, tokens

from headgate import Guard
from headgate.testing import ToyScorer
from llama_index.query_engine.headgate import GuardedChatResponse, HeadgateChatEngine, TextGuardEvent
from llama_index.query_engine.headgate.guards import Turn

pytest.importorskip("sentencex")
REFUSAL = "I can't help with that."
RULES = Guard(ToyScorer(), ["bomb"], 0.5)
UPTO = len(tokens(ANSWER[: ANSWER.index("A third")])) + 1
"""Words until the second sentence is known to have ended."""
KINDS = ["simple", "context", "condense_plus_context", "condense_question"]
every_kind = pytest.mark.parametrize("kind", KINDS)


def engine(kind: str, llm: FakeLLM) -> BaseChatEngine:
    memory = ChatMemoryBuffer.from_defaults(token_limit=10_000, llm=llm, tokenizer_fn=str.split)
    if kind == "simple":
        return SimpleChatEngine.from_defaults(llm=llm, memory=memory)
    index = VectorStoreIndex([TextNode(text="a fish", id_="f")], embed_model=MockEmbedding(embed_dim=4))
    if kind == "context":
        return ContextChatEngine.from_defaults(retriever=index.as_retriever(), llm=llm, memory=memory)
    if kind == "condense_plus_context":
        return CondensePlusContextChatEngine.from_defaults(retriever=index.as_retriever(), llm=llm, memory=memory)
    query = RetrieverQueryEngine.from_args(index.as_retriever(), llm=llm)
    return CondenseQuestionChatEngine.from_defaults(query, llm=llm, memory=memory)


def guarded(inner: BaseChatEngine, **arguments: Any) -> HeadgateChatEngine:
    return HeadgateChatEngine(
        chat_engine=inner, **({"input_guard": RULES, "output_guard": RULES, "lookahead": 1} | arguments)
    )


async def answers(guard: HeadgateChatEngine, question: str = "fish?") -> list[tuple[str, Any]]:
    """Asked in all four ways, each in a conversation of its own; with what was remembered of the answer."""

    def remembered() -> list[str]:
        said = [m.content for m in guard.chat_history]
        guard.reset()
        return said

    plain = guard.chat(question), remembered(), await guard.achat(question), remembered()
    out = [(str(plain[0]), plain[1]), (str(plain[2]), plain[3])]
    response = guard.stream_chat(question)
    out.append(("".join(response.response_gen), remembered()))
    response = await guard.astream_chat(question)
    out.append(("".join([text async for text in response.async_response_gen()]), remembered()))
    return out


@every_kind
@pytest.mark.parametrize("chats", [True, False])
async def test_all_four_ways_show_and_remember_the_same(kind, chats) -> None:
    if kind == "simple" and not chats:
        pytest.skip("this engine only chats")
    shown = FIRST + REFUSAL
    assert await answers(guarded(engine(kind, FakeLLM(chats=chats)))) == [(shown, ["fish?", shown])] * 4
    safe = engine(kind, FakeLLM(says=SAFE, chats=chats))
    assert await answers(guarded(safe)) == [(SAFE, ["fish?", SAFE])] * 4


@every_kind
async def test_a_cut_stops_the_model(kind) -> None:
    sync, later = FakeLLM(), FakeLLM()
    assert "bomb" not in "".join(guarded(engine(kind, sync)).stream_chat("fish?").response_gen)
    response = await guarded(engine(kind, later)).astream_chat("fish?")
    assert "bomb" not in "".join([text async for text in response.async_response_gen()])
    assert (sync.written, later.written) == (UPTO, UPTO)
    assert sync.finished == 1


@every_kind
async def test_a_blocked_message_reaches_nothing_and_is_forgotten(kind) -> None:
    llm = FakeLLM()
    guard = guarded(engine(kind, llm))
    assert await answers(guard, "a bomb") == [(REFUSAL, [])] * 4
    assert llm.prompts == []
    for response in (guard.chat("a bomb"), guard.stream_chat("a bomb"), await guard.astream_chat("a bomb")):
        assert str(response) == REFUSAL
        assert response.metadata["headgate"]["refused"] == "input"
        assert response.metadata["headgate"]["input"]["broken"] == ("bomb",)


@every_kind
async def test_the_response_tells_what_was_found(kind, events) -> None:
    guard = guarded(engine(kind, FakeLLM()))
    response = guard.stream_chat("fish?")
    assert isinstance(response, GuardedChatResponse)
    "".join(response.response_gen)
    for found in (response, guard.chat("fish?", chat_history=[]), await guard.achat("fish?", chat_history=[])):
        report = found.metadata["headgate"]
        actions = [sentence["action"] for sentence in report["output"]]
        assert actions in (["release", "halt"], ["release", "halt"] * 2)  # twice where it condensed the question
        assert report["refused"] == "output"
        nodes = [n.node.node_id for n in found.source_nodes]
        assert nodes == ([] if kind == "simple" else ["f"])
    seen = [e for e in events if isinstance(e, TextGuardEvent)]
    assert [(e.side, e.action) for e in seen][:3] == [("input", "release"), ("output", "release"), ("output", "halt")]


@every_kind
async def test_the_engine_is_not_changed_and_keeps_the_memory(kind) -> None:
    llm = FakeLLM()
    inner = engine(kind, llm)
    before = dict(vars(inner))
    guard = guarded(inner)
    guard.chat("fish?")
    "".join(guard.stream_chat("and?").response_gen)
    assert vars(inner) == before
    if kind == "condense_question":
        assert not inner._query_engine._response_synthesizer._streaming
    assert inner.chat_history == guard.chat_history
    assert len(inner.chat_history) == 4
    assert "bomb" not in str(inner.chat_history)
    assert any("fish?" in p and "and?" in p for p in llm.prompts)  # the conversation so far was read
    guard.reset()
    assert inner.chat_history == []


@every_kind
async def test_a_history_that_comes_along(kind) -> None:
    history = [ChatMessage(role=MessageRole.USER, content="what swims")]
    llm = FakeLLM(says=SAFE)
    given = copy.deepcopy(history)
    guarded(engine(kind, llm)).chat("fish?", chat_history=history)
    assert history == given
    assert any("what swims" in prompt for prompt in llm.prompts)


class Waiting(FakeLLM):
    """Goes on only when told to."""

    _go: Event = PrivateAttr(default_factory=Event)
    _at: int = PrivateAttr(default=0)

    def stream_chat(self, messages: Any, **kwargs: Any) -> ChatResponseGen:
        for number, chunk in enumerate(super().stream_chat(messages)):
            if number == self._at:
                assert self._go.wait(timeout=60)
            yield chunk


async def test_a_reader_who_leaves_stops_the_model() -> None:
    llm = Waiting(says=SAFE)
    llm._at = len(tokens(FIRST)) + 1
    guard = guarded(engine("simple", llm))
    response = guard.stream_chat("fish?")
    stream = response.response_gen
    assert next(stream) == FIRST
    response.turn.stopped = True  # as close() does first; here, so that the model can be let go before it waits
    llm._go.set()
    stream.close()
    assert (llm.written, llm.finished) == (llm._at + 1, 1)  # the word it was at
    assert guard.chat_history[-1].content.startswith(FIRST.strip())
    assert len(guard.chat_history[-1].content) < len(SAFE)


async def test_closing_tells_the_model_first() -> None:
    guard = guarded(engine("simple", FakeLLM(says=SAFE)))
    response = guard.stream_chat("fish?")
    stream = response.response_gen
    next(stream)
    seen = []
    join = response.write_response_to_history_thread.join
    response.write_response_to_history_thread.join = lambda: seen.append(response.turn.stopped) or join()
    stream.close()
    assert seen == [True]


async def test_an_asynchronous_reader_who_leaves_stops_the_model() -> None:
    llm = FakeLLM(says=SAFE * 200)
    guard = guarded(engine("simple", llm))
    response = await guard.astream_chat("fish?")
    async with aclosing(response.async_response_gen()) as stream:
        assert await anext(stream) == FIRST
    written = llm.written
    assert written < len(tokens(llm.says))
    assert response.awrite_response_to_history_task is None  # the host's task is over: nobody asks for more
    assert len(guard.chat_history[-1].content) < len(llm.says)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the host raises it there too
async def test_a_broken_model_shows_and_remembers_nothing(counting) -> None:
    broken = Guard(counting(error=RuntimeError("out of memory")), ["bomb"], 0.5)
    guard = guarded(engine("simple", FakeLLM()), output_guard=broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        guard.chat("fish?")
    with pytest.raises(RuntimeError, match="out of memory"):
        list(guard.stream_chat("fish?").response_gen)
    response = await guard.astream_chat("fish?")
    with pytest.raises(RuntimeError, match="out of memory"):
        [text async for text in response.async_response_gen()]
    assert {m.role for m in guard.chat_history} == {MessageRole.USER}


@pytest.mark.parametrize("side", ["input_guard", "output_guard"])
async def test_the_event_loop_goes_on(side, ticks, counting) -> None:
    slow = Guard(counting(seconds=0.2), ["bomb"], 0.5)
    response, count = await ticks(guarded(engine("simple", FakeLLM()), **{side: slow}).achat("fish?"))
    assert str(response) == FIRST + REFUSAL
    assert count > 5


class Other(BaseChatEngine):
    """An engine of somebody's own."""

    def reset(self) -> None: ...

    def chat(self, message: str, chat_history: Any = None) -> Any: ...

    def stream_chat(self, message: str, chat_history: Any = None) -> Any: ...

    async def achat(self, message: str, chat_history: Any = None) -> Any: ...

    async def astream_chat(self, message: str, chat_history: Any = None) -> Any: ...

    @property
    def chat_history(self) -> list[ChatMessage]:
        return []


def test_an_engine_without_a_model_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Other has neither _query_engine nor _llm; expected .* HeadgateQueryEngine"):
        guarded(Other())
    HeadgateChatEngine(chat_engine=Other(), input_guard=RULES)


async def test_an_engine_that_has_both_speaks_through_neither_unguarded() -> None:
    both = engine("simple", FakeLLM())
    both._query_engine = engine("condense_question", FakeLLM())._query_engine
    assert await answers(guarded(both)) == [(FIRST + REFUSAL, ["fish?", FIRST + REFUSAL])] * 4
    both._query_engine = None
    assert str(guarded(both).chat("fish?")) == FIRST + REFUSAL


class Condensing(FakeLLM):
    """Says what is forbidden where it condenses the question, and then what is not."""

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return super().complete(prompt).model_copy(update={"text": ANSWER})


async def test_a_turn_whose_condensed_question_was_refused_is_refused() -> None:
    history = [ChatMessage(role=MessageRole.USER, content="what swims")]
    guard = guarded(engine("condense_plus_context", Condensing(says=SAFE)))
    found = guard.chat("fish?", history), await guard.achat("fish?", history)
    assert [str(response) for response in found] == [REFUSAL] * 2
    response = guard.stream_chat("fish?", history)
    assert "".join(response.response_gen) == REFUSAL
    response = await guard.astream_chat("fish?", history)
    assert "".join([text async for text in response.async_response_gen()]) == REFUSAL
    assert guard.chat_history[-1].content == REFUSAL


def test_no_rules_are_refused(loads) -> None:
    with pytest.raises(ValueError, match="no rules came"):
        HeadgateChatEngine(chat_engine=Other())
    with pytest.raises(ValueError, match="input_guard came together with forbid_input"):
        HeadgateChatEngine(chat_engine=Other(), input_guard=RULES, forbid_input=["bomb"])
    assert loads == []


async def test_scalars(loads) -> None:
    inner = engine("context", FakeLLM())
    guard = HeadgateChatEngine(
        chat_engine=inner, forbid_input=["bomb"], forbid_output=["bomb"], threshold=0.5, lookahead=1
    )
    assert loads == []
    shown = FIRST + REFUSAL
    assert await answers(guard) == [(shown, ["fish?", shown])] * 4
    assert loads == [("mini/guard", {})]


def test_copies_share_and_nothing_alive_is_written() -> None:
    inner = engine("simple", FakeLLM())
    guard = guarded(inner)
    for twin in (copy.copy(guard), copy.deepcopy(guard)):
        assert twin.chat_engine is inner
    assert str(pickle.loads(pickle.dumps(HeadgateChatEngine(chat_engine=Other(), input_guard=RULES))).chat("bomb"))
    with pytest.raises(ValueError, match="can't be written as data"):
        HeadgateChatEngine(chat_engine=inner, forbid_input=["bomb"], threshold=0.5).to_dict()


def test_only_text_passes() -> None:
    guard = guarded(engine("simple", FakeLLM(says=SAFE)))
    guard.chat("fish?")
    assert guard.chat_history[-1].additional_kwargs == {}
    assert not guard._engine(Turn(), streaming=False)._llm.metadata.is_function_calling_model


def test_a_synthesizer_sets_the_models_callbacks_as_ever() -> None:
    llm = FakeLLM(says=SAFE)
    inner = engine("context", llm)
    guarded(inner).chat("fish?")
    assert llm.callback_manager is inner.callback_manager
