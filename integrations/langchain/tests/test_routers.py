import asyncio
import operator
import pickle
import sys
import threading
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.router import RouterRunnable
from typing_extensions import TypedDict

import headgate
from headgate import Guard, Log, Logged, Router, RouteTree
from headgate.testing import ToyScorer
from langchain_headgate import HeadgateRouter, NoRouteError

ROUTES = {"billing": "invoice", "tech": "broken screen"}
TEXTS = ["my invoice", "the screen is broken", "hello", "an invoice please"]
KEYS = ["billing", "tech", "human", "billing"]


def toy(scorer=None, fallback="human", input_key=None, **arguments) -> HeadgateRouter:
    router = Router(scorer or ToyScorer(), ROUTES, **arguments)
    return HeadgateRouter(router=router, fallback=fallback, input_key=input_key)


def test_routes_with_the_decision() -> None:
    out = toy().invoke(TEXTS[0])
    assert (out["key"], out["input"]) == ("billing", TEXTS[0])
    decision = Router(ToyScorer(), ROUTES)(TEXTS[0])
    assert out["decision"]["probabilities"] == decision.probabilities
    assert out["decision"]["none"] == decision.none


def test_no_route_goes_to_the_fallback_or_raises(loads) -> None:
    assert toy().invoke("hello")["key"] == "human"
    assert toy().invoke(" ")["key"] == "human"
    with pytest.raises(NoRouteError, match=r"\['billing', 'tech'\] fits .* fallback=") as caught:
        toy(fallback=None).invoke("hello")
    assert caught.value.decision.choice is None
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.decision) == (str(caught.value), caught.value.decision)


def test_scalars_reach_the_core(loads) -> None:
    assert HeadgateRouter(routes=ROUTES, fallback="human").invoke("my invoice")["key"] == "billing"
    strict = HeadgateRouter(routes=ROUTES, threshold=0.999, fallback="human")
    assert strict.invoke("my invoice")["key"] == "human"
    both = HeadgateRouter(routes=ROUTES, multi=True).invoke("invoice of a broken screen")
    assert set(both["decision"]["choices"]) == {"billing", "tech"}
    assert both["key"] == both["decision"]["choices"][0]
    talk = [HumanMessage("invoice"), AIMessage("ok"), HumanMessage("hello")]
    assert HeadgateRouter(routes=ROUTES, turns=3).invoke(talk)["key"] == "billing"
    assert HeadgateRouter(routes=ROUTES, turns=1, fallback="human").invoke(talk)["key"] == "human"


def chain(router: HeadgateRouter):
    ends = {k: RunnableLambda(lambda x, k=k: f"{k}:{x}") for k in ("billing", "tech", "human")}
    return router | RouterRunnable(ends)


async def test_composes_with_router_runnable(counting) -> None:
    scorer = counting()
    app = chain(toy(scorer))
    expected = [f"{k}:{t}" for k, t in zip(KEYS, TEXTS, strict=True)]
    assert [app.invoke(t) for t in TEXTS] == expected
    assert [await app.ainvoke(t) for t in TEXTS] == expected
    assert list(app.stream(TEXTS[0])) == expected[:1]
    assert [chunk async for chunk in app.astream(TEXTS[0])] == expected[:1]
    scorer.calls.clear()
    assert app.batch(TEXTS) == expected
    assert await app.abatch(TEXTS) == expected
    assert scorer.calls == [4, 4]


def test_batch_is_one_call_and_a_run_each(counting, recorder) -> None:
    scorer = counting()
    out = toy(scorer).batch(TEXTS, {"callbacks": [recorder], "max_concurrency": 1})
    assert [o["key"] for o in out] == KEYS
    assert scorer.calls == [4]
    assert [r.name for r in recorder.roots] == ["HeadgateRouter"] * 4
    assert [r.outputs["key"] for r in recorder.roots] == KEYS
    assert toy(scorer).batch([]) == []
    assert scorer.calls == [4]


async def test_abatch_is_one_call_and_a_run_each(counting, recorder) -> None:
    scorer = counting()
    out = await toy(scorer).abatch(TEXTS, {"callbacks": [recorder]})
    assert [o["key"] for o in out] == KEYS
    assert scorer.calls == [4]
    assert sorted(r.outputs["key"] for r in recorder.roots) == sorted(KEYS)


async def test_one_bad_input_spoils_no_other(counting, recorder) -> None:
    scorer = counting()
    router = toy(scorer, fallback=None)
    inputs = ["my invoice", 7, "hello", {"text": "x"}, "screen is broken"]
    for out in (
        router.batch(inputs, {"callbacks": [recorder]}, return_exceptions=True),
        await router.abatch(inputs, return_exceptions=True),
    ):
        assert [o["key"] for o in (out[0], out[4])] == ["billing", "tech"]
        assert [type(o) for o in out[1:4]] == [TypeError, NoRouteError, TypeError]
    assert scorer.calls == [3, 3]
    assert [bool(r.error) for r in recorder.roots] == [False, True, True, True, False]
    with pytest.raises(TypeError, match="input is int"):
        router.batch(inputs)


def test_a_broken_model_breaks_the_whole_batch(counting) -> None:
    router = toy(counting(error=RuntimeError("out of memory")))
    assert [str(e) for e in router.batch(["a", "b"], return_exceptions=True)] == ["out of memory"] * 2
    with pytest.raises(RuntimeError, match="out of memory"):
        router.batch(["a", "b"])


@pytest.mark.parametrize(
    "value",
    [
        "my invoice",
        HumanMessage("my invoice"),
        [HumanMessage("my invoice")],
        [("human", "my invoice")],
        [{"role": "user", "content": [{"type": "text", "text": "my invoice"}]}],
        ["my invoice"],
        ChatPromptTemplate.from_messages([("human", "my {x}")]).invoke({"x": "invoice"}),
    ],
)
def test_texts_messages_and_prompts(value) -> None:
    out = toy().invoke(value)
    assert out["key"] == "billing"
    assert out["input"] is value


def test_input_key_names_the_entry_of_a_mapping() -> None:
    state = {"messages": [HumanMessage("my invoice")], "user": 7}
    assert toy(input_key="messages").invoke(state)["input"] is state
    with pytest.raises(TypeError, match="input_key="):
        toy().invoke(state)
    with pytest.raises(ValueError, match=r"no 'query'.*\['messages', 'user'\]"):
        toy(input_key="query").invoke(state)
    with pytest.raises(TypeError, match="expected a mapping"):
        toy(input_key="query").invoke("my invoice")


def test_unreadable_inputs_raise() -> None:
    for wrong, said in ((None, "NoneType"), (7, "int"), (b"text", "bytes")):
        with pytest.raises(TypeError, match=f"input is {said}; expected a text, a message, or a list of messages"):
            toy().invoke(wrong)
    for wrong, said in (([7], "int"), ([None], "NoneType"), (["a text", 7], "int, str")):
        with pytest.raises(ValueError, match=f"input is a list of {said}; expected messages, or one text"):
            toy().invoke(wrong)


def test_arguments_of_invoke_are_not_swallowed() -> None:
    with pytest.raises(TypeError, match="threshold"):
        toy().bind(threshold=0.5).invoke("my invoice")


async def test_the_event_loop_goes_on(ticks, counting) -> None:
    for work in (toy(counting(seconds=0.3)).ainvoke("x"), toy(counting(seconds=0.3)).abatch(["x", "y"])):
        _, count = await ticks(work)
        assert count > 5


async def test_traced_when_async(recorder) -> None:
    await RunnableLambda(chain(toy()).ainvoke, name="outer").ainvoke("hello", {"callbacks": [recorder]})
    (root,) = recorder.roots
    (sequence,) = root.child_runs
    assert [r.name for r in sequence.child_runs] == ["HeadgateRouter", "RunnableLambda"]


def test_many_threads_get_what_one_gets(loads) -> None:
    from concurrent.futures import ThreadPoolExecutor

    router = HeadgateRouter(routes=ROUTES, fallback="human")
    with ThreadPoolExecutor(8) as pool:
        assert [o["key"] for o in pool.map(router.invoke, TEXTS * 50)] == KEYS * 50
    assert len(loads) == 1


def test_works_in_a_new_loop_each_time() -> None:
    router = toy()
    assert [asyncio.run(router.ainvoke(t))["key"] for t in TEXTS] == KEYS


def test_a_shadow_sends_all_to_its_default_or_the_fallback(tmp_path) -> None:
    log = Log(tmp_path / "log.jsonl")
    routed = Router(ToyScorer(), {"billing": "invoice"})
    shadow = Logged(routed, log, "shadow", enforce=False, default="old way")
    assert HeadgateRouter(router=shadow, fallback="human").invoke("my invoice")["key"] == "old way"
    plain = Logged(routed, log, "shadow", enforce=False)
    assert HeadgateRouter(router=plain, fallback="human").invoke("my invoice")["key"] == "human"
    live = Logged(routed, log, "live")
    assert HeadgateRouter(router=live, fallback="human").invoke("my invoice")["key"] == "billing"
    assert [r.result.choice for r in log] == ["billing"] * 3


# ----------------------------------------------------------------------------------------- settings


def test_every_setting_reaches_the_core(loads) -> None:
    given = {"gap": 0.5, "nulls": ["small talk"], "on_overflow": "error", "threshold": {"billing": 0.4, "tech": 0.6}}
    made = HeadgateRouter(routes=ROUTES, **given)._noun()
    assert {name: getattr(made, name) for name in given} == {**given, "nulls": ("small talk",)}
    assert HeadgateRouter(routes=ROUTES, multi=True, top_k=1)._noun().top_k == 1
    for wrong, said in (({"gap": -1}, "gap"), ({"top_k": 2}, "top_k"), ({"threshold": {"billing": 1}}, "tech")):
        with pytest.raises(ValueError, match=said):
            HeadgateRouter(routes=ROUTES, **wrong)


def test_a_tree_gives_the_way_down() -> None:
    scorer = ToyScorer()
    tree = RouteTree(Router(scorer, ROUTES), {"billing": Router(scorer, {"refund": "refund", "copy": "copy"})})
    router = HeadgateRouter(router=tree, fallback="human")
    out = router.batch(["a refund of my invoice", "an invoice", "hello"])
    assert [o["key"] for o in out] == ["billing/refund", "billing", "human"]
    assert out[0]["decision"]["path"] == ("billing", "refund")
    with pytest.raises(NoRouteError, match="fallback="):
        HeadgateRouter(router=tree).invoke("hello")
    ends = router.as_path().func.__annotations__["return"]
    assert set(get_args(ends)) == {"billing", "billing/refund", "billing/copy", "tech", "human"}


@pytest.fixture
def fitted(tmp_path, monkeypatch) -> str:
    """A file of a router with thresholds of its own; it is restored with toys."""
    path = str(tmp_path / "router.yaml")
    headgate.save(Router(ToyScorer(), ROUTES, {"billing": 0.9, "tech": 0.999}), path)
    restore, asked = headgate.restore, []
    monkeypatch.setitem(
        vars(headgate), "restore", lambda p, device: asked.append(device) or restore(p, scorer=ToyScorer())
    )
    monkeypatch.setitem(globals(), "ASKED", asked)
    return path


ASKED: list[str] = []


def test_a_saved_router_is_restored_at_first_use(fitted) -> None:
    router = HeadgateRouter(config=fitted, fallback="human", device="cpu")
    assert ASKED == []
    assert [o["key"] for o in router.batch(["my invoice", "the screen is broken"])] == ["billing", "human"]
    assert router.invoke("my invoice")["decision"]["threshold"] == 0.9
    assert router.model_copy().invoke("hello")["key"] == "human"
    assert ASKED == ["cpu"]
    again = HeadgateRouter.model_validate(router.model_dump())
    assert (again, again.invoke("my invoice")["key"]) == (router, "billing")
    assert set(get_args(router.as_path().func.__annotations__["return"])) == {"billing", "tech", "human"}


def test_a_file_is_checked_before_a_model_is_read(fitted, tmp_path, loads) -> None:
    with pytest.raises(ValueError, match=r"config came together with model, routes; .* change them in .*router\.yaml"):
        HeadgateRouter(config=fitted, routes=["a"], model="mini/nli")
    with pytest.raises(ValueError, match="router came together with config"):
        HeadgateRouter(config=fitted, router=Router(ToyScorer(), ROUTES))
    with pytest.raises(ValueError, match="can't be read"):
        HeadgateRouter(config=tmp_path / "none.yaml")
    guard = tmp_path / "guard.json"
    headgate.save(Guard(ToyScorer(), ["spam"], 0.5), guard)
    with pytest.raises(ValueError, match="file of a Guard; expected one of a Router"):
        HeadgateRouter(config=guard)
    assert ASKED == []


# ----------------------------------------------------------------------------------------- branches


async def test_branches_ask_the_model_once(counting) -> None:
    scorer = counting()
    chain = toy(scorer, fallback=None).branches({"billing": lambda x: f"B {x}", "tech": RunnableLambda(len)}, str.upper)
    expected = ["B my invoice", len(TEXTS[1]), "HELLO", "B an invoice please"]
    assert chain.batch(TEXTS) == expected
    assert await chain.abatch(TEXTS) == expected
    assert scorer.calls == [4, 4]
    assert [chain.invoke(t) for t in TEXTS] == expected
    assert [await chain.ainvoke(t) for t in TEXTS] == expected
    assert scorer.calls == [4, 4] + [1] * 8
    assert list(chain.stream("hello")) == ["HELLO"]


def test_branches_take_the_fallback_and_what_is_left() -> None:
    chain = toy(fallback="human").branches({"human": lambda _: "a person"}, lambda _: "a machine")
    assert chain.batch(["hello", "my invoice"]) == ["a person", "a machine"]
    with pytest.raises(
        ValueError, match=r"chains are for \['sales'\]; expected some of the routes \['billing', 'tech'\]"
    ):
        toy().branches({"sales": str}, str)


async def test_branches_stream_what_their_chain_streams() -> None:
    chain = toy().branches({"billing": FakeListChatModel(responses=["an invoice"])}, str)
    assert [c.content for c in chain.stream("my invoice") if c.content] == list("an invoice")
    assert [c.content async for c in chain.astream("my invoice") if c.content] == list("an invoice")


# ----------------------------------------------------------------------------------------- graphs


class State(TypedDict, total=False):
    query: str
    went: Annotated[list[str], operator.add]
    decision: dict[str, Any]


def graph(nodes=("billing", "tech", "human"), state=State):
    pytest.importorskip("langgraph")
    from langgraph.graph import END, StateGraph

    built = StateGraph(state)
    for node in nodes:
        built.add_node(node, lambda _, node=node: {"went": [node]})
        built.add_edge(node, END)
    return built


async def ways(built, texts) -> list[list[str]]:
    app = built.compile()
    went = [app.invoke({"query": t, "went": []})["went"] for t in texts]
    assert [(await app.ainvoke({"query": t, "went": []}))["went"] for t in texts] == went
    return went


async def test_a_graph_goes_the_routers_way() -> None:
    built = graph()
    built.add_conditional_edges("__start__", toy(input_key="query").as_path())
    assert await ways(built, TEXTS) == [[key] for key in KEYS]
    edges = {(e.source, e.target) for e in built.compile().get_graph().edges}
    assert {("__start__", node) for node in ("billing", "tech", "human")} < edges
    named = graph(["b", "t", "h"])
    to = {"billing": "b", "tech": "t", "human": "h"}
    named.add_conditional_edges("__start__", toy(input_key="query").as_path(), to)
    assert await ways(named, TEXTS) == [[to[key]] for key in KEYS]


async def test_a_graph_goes_several_ways_at_once() -> None:
    texts = ["the invoice of a broken screen", "hello", "my invoice"]
    expected = [["billing", "tech"], ["human"], ["billing"]]
    router = toy(input_key="query", multi=True)
    built = graph()
    built.add_conditional_edges("__start__", router.as_path())
    assert await ways(built, texts) == expected
    built = graph()
    built.add_node("route", router.as_command(None))
    built.add_edge("__start__", "route")
    assert await ways(built, texts) == expected


async def test_a_command_carries_the_decision() -> None:
    built = graph()
    built.add_node("route", toy(input_key="query").as_command(), destinations=("billing", "tech", "human"))
    built.add_edge("__start__", "route")
    assert await ways(built, TEXTS) == [[key] for key in KEYS]
    decision = built.compile().invoke({"query": "my invoice"})["decision"]
    assert decision == toy(input_key="query").invoke({"query": "my invoice"})["decision"]
    named = graph(["refunds", "tech", "human"])
    named.add_node("route", toy(input_key="query").as_command(None, {"billing": "refunds"}))
    named.add_edge("__start__", "route")
    assert await ways(named, TEXTS[:2]) == [["refunds"], ["tech"]]
    assert "decision" not in named.compile().invoke({"query": "hello"})


async def test_a_state_may_be_an_object() -> None:
    @dataclass
    class Held:
        query: str
        went: Annotated[list[str], operator.add]

    built = graph(state=Held)
    built.add_conditional_edges("__start__", toy(input_key="query").as_path())
    assert await ways(built, TEXTS) == [[key] for key in KEYS]


async def test_a_graph_is_not_blocked(counting) -> None:
    for form in ("as_path", "as_command"):
        gate = threading.Event()
        router = toy(counting(gate=gate), input_key="query")
        built = graph()
        if form == "as_path":
            built.add_conditional_edges("__start__", router.as_path())
        else:
            built.add_node("route", router.as_command())
            built.add_edge("__start__", "route")
        task = asyncio.ensure_future(built.compile().ainvoke({"query": "my invoice", "went": []}))
        while not router.router.scorer.calls:
            await asyncio.sleep(0)
        assert not task.done()
        gate.set()  # which a call on the loop would wait for, and nobody could do
        assert (await task)["went"] == ["billing"]


def test_a_missing_langgraph_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "langgraph.types", None)
    with pytest.raises(ImportError, match="pip install langgraph"):
        toy().as_command()


async def test_a_shadow_goes_its_default_way(tmp_path) -> None:
    log = Log(tmp_path / "log.jsonl")
    shadow = Logged(Router(ToyScorer(), ROUTES, multi=True), log, "shadow", enforce=False, default="human")
    built = graph()
    built.add_conditional_edges("__start__", HeadgateRouter(router=shadow, input_key="query").as_path())
    assert await ways(built, TEXTS[:1]) == [["human"]]
