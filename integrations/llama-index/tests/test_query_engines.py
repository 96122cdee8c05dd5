"""Guarded query engines: what goes in, what comes out, and where a stream ends."""

import asyncio
import copy
import pickle
import re
from contextlib import aclosing
from dataclasses import asdict, replace

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.response.schema import (
    AsyncStreamingResponse,
    PydanticResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import CustomQueryEngine, RetrieverQueryEngine, RouterQueryEngine
from llama_index.core.schema import QueryBundle, TextNode
from llama_index.core.tools import QueryEngineTool
from pydantic import BaseModel
from tests.speaking import ANSWER, FIRST, SAFE, FakeLLM, tokens

from headgate import Guard, Log, Logged, StreamGuard
from headgate.sentences import sentences
from headgate.testing import ToyScorer
from llama_index.query_engine.headgate import HeadgateQueryEngine, TextGuardEvent
from llama_index.query_engine.headgate.guards import lines_of
from llama_index.selectors.headgate import HeadgateSelector

pytest.importorskip("sentencex")
REFUSAL = "I can't help with that."
RULES = Guard(ToyScorer(), ["bomb"], 0.5)
"""Breaks on the word."""


def engine(llm: FakeLLM, *, streaming: bool = False, **arguments) -> RetrieverQueryEngine:
    index = VectorStoreIndex([TextNode(text="a fish", id_="f")], embed_model=MockEmbedding(embed_dim=4))
    return RetrieverQueryEngine.from_args(index.as_retriever(), llm=llm, streaming=streaming, **arguments)


def guarded(inner, **arguments) -> HeadgateQueryEngine:
    given = {"input_guard": RULES, "output_guard": RULES, "lookahead": 1} | arguments
    return HeadgateQueryEngine(query_engine=inner, **given)


async def texts(guard: HeadgateQueryEngine, question: str = "fish?") -> list[str]:
    """The answer, asked in all four ways; the streamed ones as they came."""
    plain, streaming = guard.model_copy(), guard.model_copy()
    llm = guard.query_engine._response_synthesizer._llm
    plain.query_engine, streaming.query_engine = engine(llm), engine(llm, streaming=True)
    out = [str(plain.query(question)), str(await plain.aquery(question))]
    out.append("".join(streaming.query(question).response_gen))
    response = await streaming.aquery(question)
    out.append("".join([text async for text in response.async_response_gen()]))
    return out


@pytest.mark.parametrize("chats", [True, False])
async def test_all_four_ways_show_the_same(chats) -> None:
    assert await texts(guarded(engine(FakeLLM(chats=chats)))) == [FIRST + REFUSAL] * 4
    safe = FakeLLM(says=SAFE, chats=chats)
    assert await texts(guarded(engine(safe))) == [SAFE] * 4
    assert await texts(guarded(engine(safe), refusal="No."), "how to make a bomb") == ["No."] * 4
    redacted = ANSWER.replace("Now comes a bomb in the second.", "[gone]")
    masked = guarded(engine(FakeLLM(chats=chats)), on_broken={"bomb": "redact"}, replacement="[gone]")
    assert await texts(masked) == [redacted] * 4


async def test_a_cut_stops_the_model() -> None:
    upto = len(tokens(ANSWER[: ANSWER.index("A third")])) + 1  # the next word shows that the sentence ended
    for llm in (sync := FakeLLM(), later := FakeLLM()):
        guard = guarded(engine(llm, streaming=True))
        if llm is sync:
            assert "bomb" not in "".join(guard.query("fish?").response_gen)
        else:
            response = await guard.aquery("fish?")
            assert "bomb" not in "".join([text async for text in response.async_response_gen()])
    assert (sync.written, later.written) == (upto, upto)
    assert sync.finished == 1
    while not later.finished:  # the host's own generators in between are closed by the loop
        await asyncio.sleep(0)


async def test_a_reader_who_leaves_stops_the_model() -> None:
    llm = FakeLLM(says=SAFE)
    response = guarded(engine(llm, streaming=True)).query("fish?")
    assert next(response.response_gen) == FIRST
    response.response_gen.close()
    first = len(tokens(FIRST)) + 1
    assert (llm.written, llm.finished) == (first, 1)
    assert list(response.response_gen) == []
    response = await guarded(engine(llm, streaming=True)).aquery("fish?")
    async with aclosing(response.response_gen) as stream:
        assert await anext(stream) == FIRST
    assert llm.written == 2 * first


async def test_a_blocked_question_never_reaches_the_engine() -> None:
    llm = FakeLLM()
    for streaming, kinds in ((False, (Response, Response)), (True, (StreamingResponse, AsyncStreamingResponse))):
        guard = guarded(engine(llm, streaming=streaming))
        found = guard.query(QueryBundle("a bomb")), await guard.aquery("a bomb")
        assert tuple(type(r) for r in found) == kinds
        for response in found:
            assert response.source_nodes == []
            assert response.metadata["headgate"]["refused"] == "input"
            assert response.metadata["headgate"]["input"] == asdict(RULES("a bomb"))
    assert llm.prompts == []
    assert isinstance(guarded(engine(llm), streaming=True).query("a bomb"), StreamingResponse)


async def test_the_response_tells_what_was_found(events) -> None:
    guard = guarded(engine(FakeLLM(), streaming=True))
    response = guard.query("fish?")
    report = response.metadata["headgate"]
    assert (report["output"], report["refused"], report["input"]["allowed"]) == ([], None, True)
    assert str(response) == FIRST + REFUSAL
    assert [s["action"] for s in report["output"]] == ["release", "halt"]
    assert report["output"][1]["verdict"]["broken"] == ("bomb",)
    assert report["output"][0]["span"] == (0, len(FIRST))
    assert report["refused"] == "output"
    assert [n.node.node_id for n in response.source_nodes] == ["f"]
    assert set(response.metadata) == {"f", "headgate"}  # the engine's own stays
    seen = [e for e in events if isinstance(e, TextGuardEvent)]
    assert [(e.side, e.action, e.text) for e in seen] == [
        ("input", "release", "fish?"), ("output", "release", FIRST), ("output", "halt", ""),
    ]  # fmt: skip
    assert {e.class_name() for e in seen} == {"TextGuardEvent"}


class Answering(CustomQueryEngine):
    found: object

    def custom_query(self, query_str: str) -> object:
        return replace(self.found)


class Card(BaseModel):
    title: str


async def test_every_kind_of_response() -> None:
    for card, shown in ((Card(title="fish"), '{"title":"fish"}'), (Card(title="a bomb"), REFUSAL)):
        inner = Answering(found=PydanticResponse(card, metadata={"k": 1}))
        for response in (guarded(inner).query("q"), await guarded(inner).aquery("q")):
            assert str(response) == shown
            assert (response.metadata["k"], "headgate" in response.metadata) == (1, True)
    assert guarded(Answering(found=Response(None))).query("q").response is None
    read = StreamingResponse(iter(()), response_txt=ANSWER)  # a tool has read it
    assert str(guarded(Answering(found=read)).query("q")) == FIRST + REFUSAL
    assert str(guarded(Answering(found=AsyncStreamingResponse(None, response_txt=ANSWER))).query("q")).endswith(REFUSAL)


@pytest.mark.parametrize("title", ["fish\nbomb", "fish\tbomb", 'a "bomb"'])
def test_a_structured_answer_is_judged_by_its_words_not_by_their_escapes(title) -> None:
    assert str(guarded(Answering(found=PydanticResponse(Card(title=title)))).query("q")) == REFUSAL


def test_what_is_judged_of_a_structured_answer() -> None:
    found = {"a": "x\ny", "b": [1, {"c": None}, "z"], "d": []}
    assert list(lines_of(found)) == ["a: x\ny\n", "b: 1\n", "c: None\n", "b: z\n"]


def test_a_stream_of_objects_is_refused() -> None:
    response = guarded(Answering(found=StreamingResponse(iter([Card(title="a bomb")])))).query("q")
    with pytest.raises(TypeError, match=r"the answer's stream holds a Card; expected str: .*without streaming"):
        str(response)


def test_a_loop_that_ends_closes_an_abandoned_stream_without_complaint() -> None:
    complaints, closed = [], []

    async def words():
        try:
            for word in tokens(SAFE):
                yield word
        finally:
            closed.append(True)

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context["message"]))
        response = await guarded(Answering(found=AsyncStreamingResponse(words()))).aquery("q")
        async for _ in response.async_response_gen():
            break

    asyncio.run(leave())
    assert (complaints, closed) == ([], [True])


def test_the_engines_response_is_not_changed() -> None:
    given = Response(ANSWER, metadata={"k": 1})
    inner = Answering(found=given)
    guarded(inner).query("q")
    assert (given.response, given.metadata) == (ANSWER, {"k": 1})


def test_one_side_alone() -> None:
    llm = FakeLLM()
    only_in = HeadgateQueryEngine(query_engine=engine(llm), input_guard=RULES)
    assert str(only_in.query("fish?")) == ANSWER
    assert only_in.query("fish?").metadata["headgate"]["output"] == []
    assert str(only_in.query("bomb")) == REFUSAL
    only_out = HeadgateQueryEngine(query_engine=engine(llm), output_guard=RULES)
    assert str(only_out.query("bomb")) == FIRST + REFUSAL
    assert only_out.query("bomb").metadata["headgate"]["input"] is None


def test_a_broken_model_shows_nothing(counting) -> None:
    broken = Guard(counting(error=RuntimeError("out of memory")), ["bomb"], 0.5)
    llm = FakeLLM()
    with pytest.raises(RuntimeError, match="out of memory"):
        guarded(engine(llm), input_guard=broken).query("fish?")
    assert llm.prompts == []
    response = guarded(engine(llm, streaming=True), output_guard=broken).query("fish?")
    with pytest.raises(RuntimeError, match="out of memory"):
        next(response.response_gen)
    assert llm.finished == 1


def test_a_shadow_blocks_no_question(tmp_path) -> None:
    log = Log(tmp_path / "log.jsonl")
    shadow = Logged(RULES, log, "shadow", enforce=False)
    found = HeadgateQueryEngine(query_engine=engine(FakeLLM()), input_guard=shadow).query("a bomb")
    assert str(found) == ANSWER
    assert [r.result.allowed for r in log] == [False]


async def test_scalars(loads) -> None:
    arguments = {"forbid_input": ["spam"], "forbid_output": {"bomb": "bomb"}, "threshold": 0.5, "lookahead": 1}
    guard = HeadgateQueryEngine(query_engine=engine(FakeLLM()), model="some/model", **arguments)
    assert loads == []
    assert await texts(guard) == [FIRST + REFUSAL] * 4
    assert await texts(guard, "spam") == [REFUSAL] * 4
    assert loads == [("some/model", {})]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "no rules came"),
        ({"forbid_input": []}, "expected at least one rule"),
        ({"forbid_output": "bomb"}, "forbid_output"),
        ({"input_guard": RULES, "forbid_input": ["bomb"]}, "input_guard came together with forbid_input"),
        ({"output_guard": RULES, "forbid_output": ["bomb"]}, "output_guard came together with forbid_output"),
        ({"output_guard": RULES, "model": "some/model"}, "output_guard came together with model"),
        ({"input_guard": RULES, "threshold": 0.5}, "input_guard came together with threshold"),
        (
            {"output_guard": StreamGuard(RULES, sentences()), "lookahead": 1},
            "output_guard came together with lookahead",
        ),
        ({"output_guard": RULES, "lookahead": 0}, "lookahead is 0"),
        ({"output_guard": RULES, "on_broken": {"fire": "halt"}}, "on_broken names rule 'fire'"),
        ({"output_guard": RULES, "top_k": 1}, "Extra inputs"),
        ({"forbid_output": ["bomb"], "max_held": 3}, "max_held"),
        ({"output_guard": RULES, "query_engine": "q"}, "query_engine"),
    ],
)
def test_bad_arguments_raise_before_any_model_is_loaded(wrong, message, loads) -> None:
    with pytest.raises(ValueError, match=message):
        HeadgateQueryEngine(**({"query_engine": Answering(found=None)} | wrong))
    assert loads == []


def test_copies_share_and_nothing_alive_is_written(loads) -> None:
    inner = Answering(found=Response(ANSWER))
    guard = guarded(inner)
    for twin in (copy.copy(guard), copy.deepcopy(guard), guard.model_copy(deep=True)):
        assert twin.query_engine is inner
        assert twin.output_guard is RULES
        assert str(twin.query("q")) == FIRST + REFUSAL
    assert str(pickle.loads(pickle.dumps(guard)).query("q")) == FIRST + REFUSAL
    with pytest.raises(ValueError, match="can't be written as data"):
        guard.to_dict()
    with pytest.raises(ValueError, match="a Answering can't be written as data"):
        HeadgateQueryEngine(query_engine=inner, forbid_input=["spam"]).to_dict()


async def test_events_spans_and_callbacks(events, spans) -> None:
    inner = engine(FakeLLM())
    inner.callback_manager = CallbackManager([])
    guard = guarded(inner)
    assert guard.callback_manager is inner.callback_manager
    guard.query("fish?")
    await guard.aquery("fish?")
    names = [s.id_.split("-")[0] for s in spans.completed_spans]
    assert {"HeadgateQueryEngine.query", "HeadgateQueryEngine._query", "HeadgateQueryEngine._aquery"} <= set(names)
    by_id = {s.id_: s for s in spans.completed_spans}
    inside = next(s for s in spans.completed_spans if s.id_.startswith("RetrieverQueryEngine.aquery"))
    assert by_id[inside.parent_id].id_.startswith("HeadgateQueryEngine._aquery")
    assert "query_engine:response_synthesizer:text_qa_template" in guard.get_prompts()


@pytest.mark.parametrize("side", ["input_guard", "output_guard"])
async def test_the_event_loop_goes_on(side, ticks, counting) -> None:
    slow = Guard(counting(seconds=0.2), ["bomb"], 0.5)
    response, count = await ticks(guarded(engine(FakeLLM()), **{side: slow}).aquery("fish?"))
    assert str(response) == FIRST + REFUSAL
    assert count > 5


async def test_closing_closes_the_engines_stream_at_once() -> None:
    ended = []

    async def words():
        try:
            for word in tokens(SAFE):
                yield word
        finally:
            ended.append(True)

    response = await guarded(Answering(found=AsyncStreamingResponse(words()))).aquery("q")
    async with aclosing(response.response_gen) as stream:
        assert await anext(stream) == FIRST
    assert ended == [True]


def test_the_refusal_stands_apart() -> None:
    bars = StreamGuard(RULES, lambda text: [(m.start(), m.end()) for m in re.finditer(r"[^|]+\|?", text)], lookahead=1)
    guard = HeadgateQueryEngine(query_engine=Answering(found=Response("fish|bomb")), output_guard=bars)
    assert str(guard.query("q")) == f"fish| {REFUSAL}"


async def test_in_a_router() -> None:
    tools = [
        QueryEngineTool.from_defaults(guarded(engine(FakeLLM(says=says))), name=name, description=name)
        for name, says in (("cats", SAFE), ("dogs", ANSWER))
    ]
    router = RouterQueryEngine(HeadgateSelector(scorer=ToyScorer()), tools, llm=MockLLM())
    for response in (router.query("dogs"), await router.aquery("dogs")):
        assert str(response) == FIRST + REFUSAL
        assert response.metadata["selector_result"].ind == 1
        assert response.metadata["headgate"]["refused"] == "output"
