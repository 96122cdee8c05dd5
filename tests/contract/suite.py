"""The tests; each gets a :class:`Case`."""

import asyncio
import copy
import pickle
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any

import pytest

import headgate
from tests.contract.cases import Case, Gate, Held, Toy, fails, snapshot

Loads = list[tuple[str, dict[str, Any]]]


class Unpicklable(Toy):
    """Holds what can be neither pickled nor deep-copied, as a model does."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "lock", Lock())


async def reached(gate: Gate) -> None:
    """The model is busy; other tasks have run meanwhile."""
    assert await asyncio.to_thread(gate.entered.wait, 10)


class Contract:
    """Subclasses say how their host saves an object and how its tracing is heard.

    Attributes:
        saved: An adapter, written as the host writes it and read again.
        refusal: What that raises where something alive, a model or an engine, is part of it.
        heard: A context that gives the list of what the host's tracing tells, in order; a failure as "name failed".
    """

    saved: Callable[[Any], Any]
    refusal: type[Exception]
    heard: Callable[[], AbstractContextManager[list[str]]]

    @pytest.fixture(autouse=True)
    def loads(self, monkeypatch: pytest.MonkeyPatch) -> Loads:
        """What headgate.load was asked for; it gives toys."""
        seen: Loads = []

        def load(where: str, **arguments: Any) -> Held:
            seen.append((where, arguments))
            time.sleep(0.02)  # long enough for threads to meet here
            return Held(thresholds={"spam": 0.5, "entailment": 0.5})

        monkeypatch.setitem(vars(headgate), "load", load)
        return seen

    @pytest.fixture
    def gate(self) -> Iterator[Gate]:
        gate = Gate()
        yield gate
        gate.open.set()

    # ------------------------------------------------------------------------------ what comes in and out

    def test_inputs_are_not_changed_and_calls_change_nothing(self, case: Case) -> None:
        adapter, inputs = case.on(Toy()), case.inputs()
        before = snapshot(inputs)
        found = [snapshot(case.plain(case.call(adapter, value))) for value in inputs]
        assert inputs == before
        assert [case.plain(case.call(adapter, value)) for value in inputs] == found

    def test_results_are_the_callers_own(self, case: Case) -> None:
        """What a consumer writes into a result reaches neither the input nor the next result."""
        if case.hands:
            pytest.skip("it hands through what came in")
        adapter, (value, *_) = case.on(Toy()), case.inputs()
        before = snapshot(value)
        expected = snapshot(case.plain(case.call(adapter, value)))
        spoil(case.call(adapter, value))
        assert value == before
        assert case.plain(case.call(adapter, value)) == expected

    def test_nothing_to_judge_asks_no_model(self, case: Case, loads: Loads) -> None:
        if case.nothing is None:
            pytest.skip("every input of it holds something")
        value, expected = case.nothing()
        assert case.plain(case.call(case.lazy(), value)) == expected
        assert loads == []

    def test_ids_and_the_order_of_ties_are_kept(self, case: Case) -> None:
        if case.alike is None or case.ids is None:
            pytest.skip("it gives no list back")
        value, ids = case.alike()
        assert case.ids(case.call(case.on(Toy()), value)) == ids

    # ------------------------------------------------------------------------------ ways to call

    async def test_sync_async_and_batch_give_the_same(self, case: Case) -> None:
        adapter, inputs = case.on(Toy()), list(case.inputs())
        expected = [case.plain(case.call(adapter, value)) for value in inputs]
        assert [case.plain(await case.acall(adapter, value)) for value in inputs] == expected
        if case.batch is not None:
            assert list(map(case.plain, case.batch(adapter, inputs))) == expected
            assert case.batch(adapter, []) == []
        if case.abatch is not None:
            assert list(map(case.plain, await case.abatch(adapter, inputs))) == expected
            assert await case.abatch(adapter, []) == []

    async def test_a_batch_asks_the_model_once(self, case: Case) -> None:
        if case.batch is None or case.abatch is None:
            pytest.skip("the host has no batch of it")
        scorer, inputs = Held(), list(case.inputs())
        adapter = case.on(scorer)
        case.call(adapter, inputs[0])
        once = len(scorer.calls)
        case.batch(adapter, inputs * 8)
        assert len(scorer.calls) == 2 * once
        await case.abatch(adapter, inputs * 8)
        assert len(scorer.calls) == 3 * once

    async def test_sixteen_callers_get_what_each_gets_alone(self, case: Case, loads: Loads) -> None:
        if case.alone:
            pytest.skip("it has one caller at a time")
        adapter, inputs = case.lazy(), list(case.inputs())
        many = [inputs[i % len(inputs)] for i in range(16)]
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda value: case.plain(case.call(adapter, value)), many))
        assert len(loads) == 1  # of sixteen first calls
        expected = [case.plain(case.call(adapter, value)) for value in inputs]
        assert found == [expected[i % len(inputs)] for i in range(16)]
        again = await asyncio.gather(*(case.acall(adapter, value) for value in many))
        assert list(map(case.plain, again)) == found

    async def test_the_event_loop_goes_on_while_the_model_is_busy(self, case: Case, gate: Gate) -> None:
        adapter, (value, *_) = case.on(Held(gate=gate)), case.inputs()
        task = asyncio.ensure_future(case.acall(adapter, value))
        await reached(gate)  # a call on the loop would wait at the gate, which nobody could open
        assert not task.done()
        gate.open.set()
        assert case.plain(await task) == case.plain(case.call(case.on(Toy()), value))

    async def test_a_cancelled_call_ends_at_once_and_spoils_nothing(self, case: Case, gate: Gate) -> None:
        adapter, (value, *_) = case.on(Held(gate=gate)), case.inputs()
        task = asyncio.ensure_future(case.acall(adapter, value))
        await reached(gate)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.open.set()
        assert case.plain(await case.acall(adapter, value)) == case.plain(case.call(adapter, value))

    # ------------------------------------------------------------------------------ tracing and errors

    async def test_the_hosts_tracing_shows_it(self, case: Case) -> None:
        adapter, (value, *_) = case.on(Toy()), case.inputs()
        with self.heard() as names:
            case.call(adapter, value)
        assert tuple(dict.fromkeys(n for n in names if n in case.fired)) == case.fired, names
        with self.heard() as names:
            await case.acall(adapter, value)
        assert tuple(dict.fromkeys(n for n in names if n in case.fired)) == case.fired, names

    async def test_a_broken_model_raises_and_the_tracing_shows_it(self, case: Case) -> None:
        adapter, (value, *_) = case.on(fails()), case.inputs()
        for awaited in (False, True):
            with self.heard() as names, pytest.raises(OSError, match="the device is gone"):
                _ = await case.acall(adapter, value) if awaited else case.call(adapter, value)
            assert any(name.endswith("failed") for name in names) or not case.fired, names

    # ------------------------------------------------------------------------------ settings

    def test_the_ready_noun_and_the_scalars_say_the_same(self, case: Case, loads: Loads) -> None:
        for value in case.inputs():
            toy = case.on(Held(thresholds={"spam": 0.5, "entailment": 0.5}))
            assert case.plain(case.call(toy, value)) == case.plain(case.call(case.lazy(), value))

    def test_the_model_is_loaded_at_first_use_with_what_was_said(self, case: Case, loads: Loads) -> None:
        adapter = case.cls(**{**case.scalars, **case.beside, "model": "some/model"}, device="cpu", revision="abc")
        assert loads == []
        case.call(adapter, case.inputs()[0])
        case.call(adapter, case.inputs()[0])
        assert loads == [("some/model", {"revision": "abc", "device": "cpu"})]

    def test_a_ready_noun_loads_nothing(self, case: Case, loads: Loads) -> None:
        case.call(case.on(Toy()), case.inputs()[0])
        assert loads == []

    def test_noun_and_scalars_at_once_are_refused(self, case: Case) -> None:
        for more in ({"model": "some/model"}, {"device": "cpu"}, case.scalars):
            if not more:
                continue
            with pytest.raises(ValueError, match=f"{case.ready} came together with {next(iter(more))}"):
                case.cls(**{case.ready: case.noun(Toy())}, **case.beside, **more)

    def test_bad_arguments_are_named_before_any_model_is_read(self, case: Case, loads: Loads) -> None:
        for wrong, pattern in (*case.wrong, ({"no_such_argument": 1}, "no_such_argument")):
            with pytest.raises((ValueError, TypeError)) as error:
                case.cls(**{**case.scalars, **case.beside, **wrong})
            assert re.search(pattern, str(error.value)), str(error.value)
        assert case.wrong, "name some arguments that must be refused"
        assert loads == []

    def test_something_else_for_a_noun_is_refused(self, case: Case) -> None:
        with pytest.raises((ValueError, TypeError), match=rf"(?s){case.ready}.*instance of"):
            case.cls(**{case.ready: "mini/rank"}, **case.beside)

    # ------------------------------------------------------------------------------ copies

    def test_it_is_saved_and_read_without_its_model(self, case: Case, loads: Loads) -> None:
        adapter = case.lazy()
        if not case.kept:
            with pytest.raises(self.refusal, match=r"can't be written|doesn't implement serialization"):
                self.saved(adapter)
            return
        again = self.saved(adapter)
        assert type(again) is case.cls
        assert loads == []
        value = case.inputs()[0]
        assert case.plain(case.call(again, value)) == case.plain(case.call(adapter, value))
        after = self.saved(adapter)  # the model that it holds by now is no part of it
        assert len(loads) == 2
        assert case.plain(case.call(after, value)) == case.plain(case.call(adapter, value))

    def test_a_ready_noun_is_not_saved_as_something_else(self, case: Case) -> None:
        with pytest.raises(self.refusal, match=r"can't be written|doesn't implement serialization"):
            self.saved(case.on(Unpicklable()))

    def test_pickles_and_copies(self, case: Case, loads: Loads) -> None:
        adapter, value = case.lazy(), case.inputs()[0]
        expected = case.plain(case.call(adapter, value))
        for twin in (copy.copy(adapter), copy.deepcopy(adapter)):
            assert case.plain(case.call(twin, value)) == expected
        assert len(loads) == 1  # copies share the model
        if not case.kept:
            return
        again = pickle.loads(pickle.dumps(adapter))
        assert case.plain(case.call(again, value)) == expected
        assert len(loads) == 2  # a pickle doesn't carry it

    def test_a_ready_noun_is_shared_by_copies_and_never_lost_in_a_pickle(self, case: Case) -> None:
        adapter, value = case.on(Unpicklable()), case.inputs()[0]
        expected = case.plain(case.call(adapter, value))
        for twin in (copy.copy(adapter), copy.deepcopy(adapter)):
            assert getattr(twin, case.ready) is getattr(adapter, case.ready)
            assert case.plain(case.call(twin, value)) == expected
        with pytest.raises(TypeError, match=r"lock|can't be pickled"):
            pickle.dumps(adapter)


def spoil(value: Any) -> None:
    """Write into every list and mapping inside."""
    for one in list(inside(value)):
        if isinstance(one, dict):
            one["spoiled"] = True
        elif isinstance(one, list):
            one.append("spoiled")


def inside(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """``value``, and what it holds, at any depth."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, str | int | float | None):
        return
    seen.add(id(value))
    yield value
    if isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        parts = list(getattr(value, "__dict__", {}).values())
    for part in parts:
        yield from inside(part, seen)
