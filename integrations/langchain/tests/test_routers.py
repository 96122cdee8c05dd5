import asyncio
import pickle

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.router import RouterRunnable

from headgate import Log, Logged, Router
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
