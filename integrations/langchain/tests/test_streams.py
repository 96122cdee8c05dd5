"""A guarded stream: what leaves it, what the model wrote, and how it is traced."""

import asyncio
import copy
import pickle
import warnings
from contextlib import aclosing
from inspect import signature
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import StdOutCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.load import dumpd
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from langchain_core.tracers.context import collect_runs
from tests.writers import BAD, FINE, REST, SECRET, Writer, guard, said, total
from typing_extensions import TypedDict

from headgate import Log, Logged
from langchain_headgate import HeadgateStreamGuard

TEXT = FINE + BAD + REST * 5
SHOWN = FINE + "No."


def stream_guard(scorer: Any = None, reasoning: str = "judge", **settings: Any) -> HeadgateStreamGuard:
    return HeadgateStreamGuard(guard=guard(scorer, **settings), refusal="No.", reasoning=reasoning)


def behind(model: Any, cut: HeadgateStreamGuard) -> Any:
    return model | cut


def around(model: Any, cut: HeadgateStreamGuard) -> Any:
    return cut.around(model)


def parsed(model: Any, cut: HeadgateStreamGuard) -> Any:
    return model | cut | StrOutputParser()


arrangements = pytest.mark.parametrize("arranged", [behind, around, parsed])


def read(chain: Any, **config: Any) -> list[Any]:
    return list(chain.stream("hi", config))


async def aread(chain: Any, **config: Any) -> list[Any]:
    return [chunk async for chunk in chain.astream("hi", config)]


# ----------------------------------------------------------------------------------------- the cut


@arrangements
async def test_the_model_writes_nothing_after_the_cut(arranged) -> None:
    for way in ("sync", "async"):
        model = Writer.of(TEXT)
        chain = arranged(model, stream_guard())
        at: list[tuple[str, int]] = []
        if way == "sync":
            for chunk in chain.stream("hi"):
                at.append((said(chunk), model.count))
        else:
            async for chunk in chain.astream("hi"):
                at.append((said(chunk), model.count))
        assert "".join(text for text, _ in at) == SHOWN
        cut = dict(at)["No."]
        # The end of the broken sentence is sure 32 characters behind it, and not a word later.
        least = len((FINE + BAD).split())
        assert least < cut <= least + 8 < len(model.chunks)
        assert model.count == cut


@pytest.mark.parametrize("arranged", [behind, around])
async def test_the_model_writes_nothing_after_the_reader_left(arranged) -> None:
    for left in (1, 3):
        model = Writer.of(FINE * 10)
        chunks = arranged(model, stream_guard()).stream("hi")
        for _ in range(left):
            next(chunks)
        before = model.count
        chunks.close()
        assert model.count == before < len(model.chunks)
        model = Writer.of(FINE * 10)
        async with aclosing(arranged(model, stream_guard()).astream("hi")) as arriving:
            for _ in range(left):
                await anext(arriving)
            before = model.count
        await asyncio.sleep(0.01)  # LangChain leaves the generators within to the loop
        assert model.count == before < len(model.chunks)


async def test_a_cancelled_reader_stops_the_model() -> None:
    model = Writer.of(FINE * 10)
    seen = asyncio.Event()

    async def reader() -> None:
        async for _ in (model | stream_guard()).astream("hi"):
            seen.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(reader())
    await seen.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    before = model.count
    await asyncio.sleep(0.01)
    assert model.count == before < len(model.chunks)


def test_a_loop_that_ends_while_a_reader_is_gone_says_nothing() -> None:
    told = []

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        for arranged in (behind, around):
            chunks = arranged(Writer.of(FINE * 10), stream_guard()).astream("hi")
            async for _ in chunks:
                break
            await chunks.aclose()

    asyncio.run(leave())
    assert told == []


class Source:
    """Chunks, sync and async, and whether they were closed."""

    def __init__(self, text: str, closable: bool = True) -> None:
        self.chunks, self.taken, self.closed = iter(text.split(" ")), 0, 0
        if closable:
            self.close, self.aclose = self._close, self._aclose

    def __iter__(self) -> "Source":
        return self

    def __next__(self) -> str:
        self.taken += 1
        return next(self.chunks) + " "

    def __aiter__(self) -> "Source":
        return self

    async def __anext__(self) -> str:
        await asyncio.sleep(0)
        try:
            return next(self)
        except StopIteration:
            raise StopAsyncIteration from None

    def _close(self) -> None:
        self.closed += 1

    async def _aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("closable", [True, False])
async def test_what_it_reads_from_is_closed_before_it_ends(closable, recorder) -> None:
    config = {"callbacks": [recorder]}
    cut, acut = Source(TEXT, closable), Source(TEXT, closable)
    assert "".join(stream_guard().transform(cut, config)) == SHOWN
    assert "".join([c async for c in stream_guard().atransform(acut, config)]) == SHOWN
    left, aleft = Source(FINE * 9, closable), Source(FINE * 9, closable)
    shown = stream_guard().transform(left, config)
    next(shown)
    shown.close()
    arriving = stream_guard().atransform(aleft, config)
    await anext(arriving)
    await arriving.aclose()
    for source in (cut, acut, left, aleft):
        assert source.closed == closable
        assert source.taken < 30  # of 60 or more
    assert len(recorder.roots) == 4  # runs have ended too


def test_a_step_between_reads_the_model_to_its_end() -> None:
    """Why the docstring asks for the guard directly behind the model."""
    model = Writer.of(TEXT)
    assert "".join(read(model | StrOutputParser() | stream_guard())) == SHOWN
    assert model.count == len(model.chunks)


async def test_a_broken_guard_stops_the_model_and_shows_nothing(counting) -> None:
    for arranged in (behind, around):
        broken = stream_guard(counting(error=OSError("no device")))
        model = Writer.of(TEXT)
        shown: list[Any] = []
        with pytest.raises(OSError, match="no device"):
            shown.extend(arranged(model, broken).stream("hi"))
        with pytest.raises(OSError, match="no device"):
            shown.extend(await aread(arranged(model, broken)))
        assert shown == []
        assert model.count < 2 * len(model.chunks)


async def test_a_broken_model_shows_nothing_that_was_not_judged() -> None:
    def breaks(_: Any) -> Any:
        yield from [FINE, BAD]
        raise OSError("lost")

    async def abreaks(_: Any) -> Any:
        for chunk in breaks(None):
            yield chunk

    chain = RunnableGenerator(breaks, abreaks) | stream_guard()
    shown: list[str] = []
    with pytest.raises(OSError, match="lost"):
        shown.extend(chain.stream("hi"))

    async def all_of() -> None:
        async for chunk in chain.astream("hi"):
            shown.append(chunk)

    with pytest.raises(OSError, match="lost"):
        await all_of()
    assert SECRET not in "".join(shown)


# ----------------------------------------------------------------------------------------- what leaves


@arrangements
@pytest.mark.parametrize("policy", ["halt", "redact", "annotate", "release"])
async def test_every_way_to_call_gives_the_same_text(arranged, policy) -> None:
    chain = arranged(Writer.of(TEXT), stream_guard(on_broken=policy))
    shown = {
        "halt": SHOWN,
        "redact": FINE + "[removed] " + REST * 5,
        "annotate": TEXT,
        "release": TEXT,
    }[policy]
    assert "".join(map(said, read(chain))) == shown
    assert "".join(map(said, await aread(chain))) == shown
    assert said(chain.invoke("hi")) == shown
    assert said(await chain.ainvoke("hi")) == shown
    assert list(map(said, chain.batch(["hi", "ho"]))) == [shown] * 2
    assert list(map(said, await chain.abatch(["hi", "ho"]))) == [shown] * 2


@pytest.mark.parametrize("policy", ["halt", "redact"])
async def test_no_event_of_a_guarded_model_holds_what_was_held_back(policy) -> None:
    chain = RunnableLambda(str, name="prompt") | stream_guard(on_broken=policy).around(Writer.of(TEXT))
    chain = chain | StrOutputParser()
    events = [event async for event in chain.astream_events("hi", version="v2")]
    assert SECRET not in repr(events)
    streamed = [e["data"]["chunk"] for e in events if e["event"] == "on_parser_stream"]
    assert "".join(streamed).startswith(FINE)


async def test_what_comes_out_of_the_guards_own_events_is_judged() -> None:
    """Behind a model with callbacks, that model's events are its own, and a run's input is what it was given."""
    events = [e async for e in (Writer.of(TEXT) | stream_guard()).astream_events("hi", version="v2")]
    own = [e for e in events if e["name"] in ("HeadgateStreamGuard", "RunnableSequence")]
    assert {e["event"] for e in own} >= {"on_chain_start", "on_chain_stream", "on_chain_end"}
    assert SECRET not in repr([{**e, "data": {k: v for k, v in e["data"].items() if k != "input"}} for e in own])


def graph(node: Any) -> Any:
    pytest.importorskip("langgraph")
    from langgraph.graph import START, StateGraph
    from langgraph.graph.message import add_messages

    class State(TypedDict):
        messages: Annotated[list[AnyMessage], add_messages]

    async def aanswer(state: State) -> Any:
        return {"messages": [await node.ainvoke(state["messages"])]}

    def answer(state: State) -> Any:
        return {"messages": [node.invoke(state["messages"])]}

    built = StateGraph(State)
    built.add_node("answer", RunnableLambda(answer, aanswer))
    built.add_edge(START, "answer")
    return built.compile()


async def test_nothing_leaks_from_a_graph() -> None:
    app = graph(stream_guard().around(Writer.of(TEXT)))
    given = {"messages": [HumanMessage("hi")]}
    assert app.invoke(given)["messages"][-1].text == SHOWN
    for mode in ("messages", "values", "updates"):
        assert SECRET not in repr(list(app.stream(given, stream_mode=mode)))
        assert SECRET not in repr([c async for c in app.astream(given, stream_mode=mode)])
    assert SECRET not in repr([e async for e in app.astream_events(given, version="v2")])


def test_nothing_leaks_from_the_third_event_stream() -> None:
    app = graph(stream_guard().around(Writer.of(TEXT)))
    if "transformers" not in signature(app.stream_events).parameters:
        pytest.skip("a langgraph without it")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is in beta
        found = app.stream_events({"messages": [HumanMessage("hi")]}, version="v3")
        events = list(found)
        assert found.output["messages"][-1].text == SHOWN
    assert events
    assert SECRET not in repr(events)


# ----------------------------------------------------------------------------------------- messages


def test_chunks_keep_their_ids_and_add_up() -> None:
    for policy in ("halt", "redact", "release"):
        chunks = read(Writer.of(TEXT) | stream_guard(on_broken=policy))
        assert len({chunk.id for chunk in chunks}) == 1
        assert chunks[0].id
        whole = total(chunks)
        notes = whole.response_metadata.get("guard_events", [])
        assert [n["action"] for n in notes] == ([] if policy == "release" else [policy])
        assert whole.chunk_position == "last"


def test_what_is_let_through_is_not_changed() -> None:
    model = Writer.of(FINE * 3)
    assert total(read(model | stream_guard())).content == FINE * 3
    message = AIMessage(FINE * 3, id="1", tool_calls=[{"name": "t", "args": {}, "id": "c"}])
    assert stream_guard().invoke(message) is message
    assert stream_guard().batch([message, FINE])[0] is message


def test_a_whole_answer_that_is_cut_calls_no_tool() -> None:
    call = {"name": "t", "args": {}, "id": "c", "type": "tool_call"}
    out = stream_guard().invoke(AIMessage(TEXT, id="1", tool_calls=[call]))
    assert (type(out), out.content, out.id, out.tool_calls) == (AIMessage, SHOWN, "1", [])
    out = stream_guard(on_broken="redact").invoke(AIMessage(TEXT, id="1", tool_calls=[call]))
    assert (out.tool_calls, SECRET in out.text) == ([call], False)


def test_a_batch_is_one_call_of_the_model(counting) -> None:
    scorer = counting()
    out = stream_guard(scorer).batch([TEXT, FINE, AIMessage(FINE + BAD), 7], return_exceptions=True)
    assert [said(o) for o in out[:3]] == [SHOWN, FINE, SHOWN]
    assert isinstance(out[3], TypeError)
    assert len(scorer.calls) == 1
    scorer.calls.clear()
    stream_guard(scorer).around(Writer.of(TEXT)).batch(["a", "b", "c"])
    assert len(scorer.calls) == 1


def test_whole_answers_in_a_stream() -> None:
    assert "".join(stream_guard().stream(TEXT)) == SHOWN
    assert total(list(stream_guard().stream(AIMessageChunk(TEXT, id="1")))).content == SHOWN
    assert list(stream_guard().stream("")) == [""]
    assert list(HeadgateStreamGuard(guard=guard()).stream(FINE + BAD)) == [FINE]


def test_what_is_no_answer_is_refused(loads) -> None:
    pytest.importorskip("sentencex")
    with pytest.raises(TypeError, match="a chunk is int"):
        HeadgateStreamGuard(forbid=["spam"]).invoke(7)
    assert loads == []  # for nothing
    for wrong in ([HumanMessage("hi")], HumanMessage("hi"), {"answer": "hi"}, None, 7):
        with pytest.raises(TypeError, match=f"a chunk is {type(wrong).__name__}; expected what a model writes"):
            stream_guard().invoke(wrong)
        with pytest.raises(TypeError, match="expected what a model writes"):
            list(stream_guard().stream(wrong))


def test_arguments_of_a_call_are_not_swallowed() -> None:
    for call in (lambda g: g.invoke("hi"), lambda g: list(g.stream("hi"))):
        with pytest.raises(TypeError, match="threshold"):
            call(stream_guard().bind(threshold=0.5))


# ----------------------------------------------------------------------------------------- traces


def check_trees(recorder, cut: bool) -> None:
    (root,) = recorder.roots
    model, run = root.child_runs
    assert (root.name, model.name, run.name) == ("RunnableSequence", "Writer", "HeadgateStreamGuard")
    assert ("GeneratorExit" in (model.error or "")) == cut
    assert (root.error, run.error) == (None, None)
    assert run.outputs["output"].content == (SHOWN if cut else FINE)


@pytest.mark.parametrize(("text", "cut"), [(TEXT, True), (FINE, False)])
async def test_the_run_is_traced(text, cut, recorder) -> None:
    read(Writer.of(text) | stream_guard(), callbacks=[recorder])
    check_trees(recorder, cut)
    recorder.roots.clear()
    await aread(Writer.of(text) | stream_guard(), callbacks=[recorder])
    check_trees(recorder, cut)


async def test_the_run_of_a_guarded_model_is_traced(recorder) -> None:
    read(stream_guard().around(Writer.of(TEXT)), callbacks=[recorder])
    await aread(stream_guard().around(Writer.of(TEXT)), callbacks=[recorder])
    for root in recorder.roots:
        assert (root.name, root.inputs, root.child_runs) == ("HeadgateGuardedModel", {"input": "hi"}, [])
        assert root.outputs["output"].content == SHOWN


async def test_a_failed_run_is_traced(recorder, counting) -> None:
    broken = stream_guard(counting(error=OSError("no device")))
    with pytest.raises(OSError, match="no device"):
        read(Writer.of(TEXT) | broken, callbacks=[recorder])
    with pytest.raises(OSError, match="no device"):
        await aread(Writer.of(TEXT) | broken, callbacks=[recorder])
    for root in recorder.roots:
        assert all("no device" in r.error for r in (root, root.child_runs[1]))


# ----------------------------------------------------------------------------------------- settings


def test_scalars_reach_the_core(loads) -> None:
    pytest.importorskip("sentencex")
    text = "Spam it is. " + FINE * 3
    assert HeadgateStreamGuard(forbid=["spam"], refusal="No.").invoke(text) == "No."
    changed = HeadgateStreamGuard(forbid=["spam"], on_broken="redact", replacement="–", context=2)
    assert changed.invoke(text) == "– " + FINE * 3
    by_rule = HeadgateStreamGuard(forbid=["spam"], on_broken={"spam": "release"})
    assert by_rule.invoke(text) == text
    assert HeadgateStreamGuard(forbid=["spam"], lookahead=5, max_held=11)._noun().max_held == 11


async def test_a_budget_is_kept_where_it_can_be() -> None:
    timed = stream_guard(budget=60.0, on_timeout="halt")
    assert "".join(map(said, await aread(Writer.of(TEXT) | timed))) == SHOWN
    assert timed.invoke(TEXT) == SHOWN  # nothing of it shows before its end
    with pytest.raises(ValueError, match="budget is 60"):
        read(Writer.of(TEXT) | timed)


def test_a_logged_guard_is_refused(tmp_path) -> None:
    logged = Logged(guard().guard, Log(tmp_path / "log"), "x")
    with pytest.raises(ValueError, match="instance of StreamGuard"):
        HeadgateStreamGuard(guard=logged)


def test_a_guarded_model_is_copied_and_saved(loads) -> None:
    pytest.importorskip("sentencex")
    made = HeadgateStreamGuard(forbid=["spam"], refusal="No.").around(FakeListChatModel(responses=["Spam it is."]))
    for twin in (made, copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert said(twin.invoke("hi")) == "No."
    assert dumpd(made)["kwargs"]["guard"]["id"] == ["langchain_headgate", "streams", "HeadgateStreamGuard"]
    with pytest.raises(ValueError, match="instance of Runnable"):
        HeadgateStreamGuard(forbid=["spam"]).around("gpt")


async def test_a_model_that_fails_spoils_no_other_answer() -> None:
    def write(prompt: str) -> str:
        if prompt == "no":
            raise OSError("lost")
        return TEXT

    made = stream_guard().around(RunnableLambda(write))
    for out in (
        made.batch(["a", "no", "b"], return_exceptions=True),
        await made.abatch(["a", "no", "b"], return_exceptions=True),
    ):
        assert (out[0], out[2], type(out[1])) == (SHOWN, SHOWN, OSError)
    with pytest.raises(OSError, match="lost"):
        made.invoke("no")
    with pytest.raises(OSError, match="lost"):
        await made.ainvoke("no")
    assert "".join(made.stream("a")) == SHOWN


async def test_arguments_of_a_guarded_model_are_the_models(loads) -> None:
    seen = []

    class Told(Writer):
        def _stream(self, messages, stop=None, run_manager=None, **kwargs):
            seen.append((stop, kwargs))
            yield from super()._stream(messages, stop, run_manager, **kwargs)

    list(stream_guard().around(Told.of(FINE)).bind(stop=["x"], temperature=0).stream("hi"))
    assert seen == [(["x"], {"temperature": 0})]


async def test_no_tracer_of_a_context_hears_what_was_held_back() -> None:
    chain = around(Writer.of(TEXT), stream_guard())
    with collect_runs() as heard:
        chain.invoke("hi")
        chain.batch(["hi"])
        read(chain)
        await chain.ainvoke("hi")
        await chain.abatch(["hi"])
        await aread(chain)
    assert {run.name for run in heard.traced_runs} == {"HeadgateGuardedModel"}


def test_a_model_with_handlers_of_its_own_is_refused() -> None:
    heard = [StdOutCallbackHandler()]
    model = FakeListChatModel(responses=["hi"])
    for own in (
        FakeListChatModel(responses=["hi"], callbacks=heard),
        model.with_config(callbacks=heard),
        model.with_listeners(on_end=print),
        RunnableLambda(str) | model.with_config(callbacks=heard),
        model.with_fallbacks([model.with_config(callbacks=heard)]),
    ):
        with pytest.raises(ValueError, match="the model has callbacks of its own"):
            stream_guard().around(own)
    assert stream_guard().around(model.bind(stop=["x"]).with_config(tags=["t"])).invoke("hi").content == "hi"
