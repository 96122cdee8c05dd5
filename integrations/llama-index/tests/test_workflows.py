import asyncio
from dataclasses import asdict

import pytest
from llama_index.core.workflow import Event, StartEvent, StopEvent, Workflow, step

from headgate import Guard, Log, Logged, Router
from headgate.testing import ToyScorer
from llama_index.postprocessor.headgate.workflows import guard_step, route_step

GUARD = Guard(ToyScorer(), ["bomb"], 0.5)
ROUTER = Router(ToyScorer(), {"cats": "about cats", "dogs": "about dogs"}, 0.5)


class Safe(Event):
    query: str


class Blocked(Event):
    query: str


class Cats(Event):
    query: str


class Dogs(Event):
    query: str


class Other(Event):
    query: str


class Guarded(Workflow):
    check = guard_step(GUARD, StartEvent, Safe)

    @step
    async def answer(self, ev: Safe) -> StopEvent:
        return StopEvent(result={"answer": ev.query.upper(), "user": ev.get("user"), "verdict": ev.verdict})


class Routed(Workflow):
    check = guard_step(lambda: GUARD, StartEvent, Safe, blocked=Blocked, text=lambda ev: ev.query)
    route = route_step(ROUTER, Safe, {"cats": Cats, "dogs": Dogs}, otherwise=Other)

    @step
    async def answer(self, ev: Cats | Dogs | Other | Blocked) -> StopEvent:
        return StopEvent(result=(type(ev), ev))


async def test_a_guard_step() -> None:
    found = await Guarded(timeout=10).run(query="a fish", user="ada")
    assert found == {"answer": "A FISH", "user": "ada", "verdict": asdict(GUARD("a fish"))}
    assert await Guarded(timeout=10).run(query="a bomb") == {"blocked": True, "verdict": asdict(GUARD("a bomb"))}


async def test_a_route_step() -> None:
    for query, kind in (("about cats", Cats), ("about dogs", Dogs), ("hello", Other), ("a bomb", Blocked)):
        got, event = await Routed(timeout=10).run(query=query)
        assert (got, event.query) == (kind, query)
        if kind is Blocked:
            assert event.verdict == asdict(GUARD(query))
        else:
            assert event.decision == asdict(ROUTER(query))
            assert event.verdict["allowed"]


async def test_a_route_may_end_it() -> None:
    class Flow(Workflow):
        route = route_step(ROUTER, StartEvent, {"cats": StopEvent, "dogs": StopEvent}, otherwise=StopEvent, text="q")

    found = await Flow(timeout=10).run(q="about dogs")
    assert (found["q"], found["decision"]["choice"]) == ("about dogs", "dogs")


async def test_shadows_block_nothing_and_go_to_the_default(tmp_path) -> None:
    log = Log(tmp_path / "log.jsonl")

    class Flow(Workflow):
        check = guard_step(Logged(GUARD, log, "guard", enforce=False), StartEvent, Safe)
        route = route_step(
            Logged(ROUTER, log, "router", enforce=False, default="cats"),
            Safe,
            {"cats": Cats, "dogs": Dogs},
            otherwise=Other,
        )

        @step
        async def answer(self, ev: Cats | Dogs | Other) -> StopEvent:
            return StopEvent(result=type(ev))

    assert await Flow(timeout=10).run(query="about dogs and a bomb") is Cats
    assert [r.task for r in log] == ["guard", "router"]


async def test_a_noun_is_made_once_and_late() -> None:
    made = []

    class Flow(Workflow):
        check = guard_step(lambda: made.append(1) or GUARD, StartEvent, StopEvent)

    assert made == []
    found = await asyncio.gather(*(Flow(timeout=10).run(query="a fish") for _ in range(8)))
    assert made == [1]
    assert all(one["query"] == "a fish" for one in found)


async def test_the_event_loop_goes_on(ticks, counting) -> None:
    class Flow(Workflow):
        check = guard_step(Guard(counting(seconds=0.3), ["bomb"], 0.5), StartEvent, StopEvent)

    async def run() -> object:
        return await Flow(timeout=10).run(query="a bomb")

    found, count = await ticks(run())
    assert found["blocked"]
    assert count > 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: guard_step("guard", StartEvent, Safe), TypeError, "guard is str; expected a headgate.Guard"),
        (lambda: guard_step(ROUTER, StartEvent, Safe), TypeError, "guard is Router"),
        (lambda: guard_step(GUARD, StartEvent, Safe(query="a")), TypeError, "expected a subclass of Event"),
        (lambda: guard_step(GUARD, str, Safe), TypeError, "expected a subclass of Event"),
        (lambda: route_step(GUARD, StartEvent, {}, otherwise=Other), TypeError, "router is Guard"),
        (lambda: route_step(ROUTER, StartEvent, {"cats": Cats}, otherwise=Other), ValueError, "expected an event for"),
        (
            lambda: route_step(Router(ToyScorer(), ["a"], multi=True), StartEvent, {"a": Cats}, otherwise=Other),
            ValueError,
            "multi=True; expected one",
        ),
    ],
)
def test_bad_arguments_raise_when_the_class_is_made(make, error, message) -> None:
    with pytest.raises(error, match=message):
        make()


async def test_a_broken_model_or_text_lets_nothing_through(counting) -> None:
    class Flow(Workflow):
        check = guard_step(Guard(counting(error=RuntimeError("out of memory")), ["bomb"], 0.5), StartEvent, StopEvent)

    with pytest.raises(RuntimeError, match="out of memory"):
        await Flow(timeout=10).run(query="a fish")
    with pytest.raises(TypeError, match=r"the text of StartEvent is NoneType; expected str: say with text="):
        await Flow(timeout=10).run(q="a fish")
