"""Models shared by the adapters, and calls off the event loop that can be given up."""

import asyncio
import os
import pickle
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import aclosing, suppress
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest

import headgate
from headgate import Calibrated, Calibration, CheckpointError, Guard, Reranker, Router, Rule, Worker, hosting
from headgate.hosting import UNREAD, Models, away, ended, ending, released, unread
from headgate.once import One
from headgate.runtime.batching import Row
from headgate.runtime.request import CALL, Call
from headgate.runtime.shared import SharedForward
from headgate.testing import ToyScorer
from tests.core.streaming import AFTER, FINE, RUDE, guarded


def row(number: int) -> Row:
    return Row(np.array([number], dtype=np.int32), np.zeros(1, dtype=np.int32))


class Gate:
    """A Forward that answers once it is opened, and notes the sizes of its batches."""

    max_tokens = 1000

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, rows):
        self.batches.append([int(r.ids[0]) for r in rows])
        self.entered.set()
        assert self.open.wait(10)
        return [r.ids.astype(np.float32) for r in rows]


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.wait, 10)


async def test_it_gives_what_the_function_gives_and_raises_what_it_raises():
    assert await away(lambda a, b: (a, b), 1, b=2) == (1, 2)
    with pytest.raises(ValueError, match="as it is"):
        await away(lambda: (_ for _ in ()).throw(ValueError("as it is")))
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await away(next, iter(()))


async def test_context_variables_go_along_and_do_not_come_back():
    variable = ContextVar("variable", default="none")
    variable.set("mine")

    def work():
        found = variable.get(), threading.current_thread().name
        variable.set("its own")
        return found

    found, thread = await away(work)
    assert (found, variable.get()) == ("mine", "mine")
    assert thread.startswith("headgate-caller")
    assert CALL.get() is None


async def test_64_callers_share_a_batch_while_the_loop_goes_on(gate):
    shared = SharedForward(gate, worker := Worker(wait=0))
    first = asyncio.create_task(away(shared, [row(0)]))
    await entered(gate)  # the device is busy, the event loop is not
    rest = [asyncio.create_task(away(shared, [row(n)])) for n in range(1, 64)]
    while len(worker._queue._requests) < 63:
        await asyncio.sleep(0)
    gate.open.set()
    found = await asyncio.gather(first, *rest)
    assert [int(f[0][0]) for f in found] == list(range(64))
    assert [len(b) for b in gate.batches] == [1, 63]


async def test_a_cancelled_call_takes_its_rows_out(gate):
    shared = SharedForward(gate, worker := Worker(wait=0))
    ended = threading.Event()

    def call():
        try:
            return shared([row(7)])
        finally:
            ended.set()

    first = asyncio.create_task(away(shared, [row(0)]))
    await entered(gate)
    second = asyncio.create_task(away(call))
    while not worker._queue._requests:
        await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await asyncio.to_thread(ended.wait, 10)  # its thread is free, though the device is still busy
    gate.open.set()
    await first
    assert gate.batches == [[0]]


async def test_few_callers_work_at_once_and_none_waits_for_those_that_wait(gate):
    """Else sixty threads that wake up together keep the event loop from the interpreter."""
    at_work = most = 0
    lock = threading.Lock()
    shared = SharedForward(gate, worker := Worker(wait=0))

    def call(number):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.001)
        with lock:
            at_work -= 1
        return shared([row(number)])

    tasks = [asyncio.create_task(away(call, 0))]
    await entered(gate)
    tasks += [asyncio.create_task(away(call, n)) for n in range(1, 2 * hosting.AT_WORK)]
    while len(worker._queue._requests) < len(tasks) - 1:  # all but the one that runs
        await asyncio.sleep(0.001)
    gate.open.set()
    assert [int(f[0][0]) for f in await asyncio.gather(*tasks)] == list(range(len(tasks)))
    assert 1 <= most <= hosting.AT_WORK


def test_what_a_call_asks_after_it_was_given_up_is_cancelled_too(gate):
    call = Call(threading.Semaphore())
    call.give_up()
    token = CALL.set(call)
    try:
        with pytest.raises(CancelledError), call:
            SharedForward(Gate(), Worker(wait=10))([row(1)])
    finally:
        CALL.reset(token)


def test_a_call_forgets_what_was_answered(gate):
    gate.open.set()
    call = Call(threading.Semaphore())
    token = CALL.set(call)
    try:
        with call:
            SharedForward(gate, Worker(wait=0))([row(1)])
    finally:
        CALL.reset(token)
    assert call._waiting == set()


async def test_a_lock_around_a_call_that_waits_stops_nobody(gate):
    """The slots may all be with callers that wait for the lock."""
    gate.open.set()
    shared, lock = SharedForward(gate, Worker(wait=0)), threading.Lock()
    inside = threading.Semaphore(0)

    def call(number):
        inside.release()
        with lock:
            return int(shared([row(number)])[0][0])

    tasks = [asyncio.create_task(away(call, n)) for n in range(2 * hosting.AT_WORK)]
    assert await asyncio.wait_for(asyncio.gather(*tasks), 60) == list(range(len(tasks)))


async def test_calls_within_calls_wait_for_nobody():
    def outer(number):
        return asyncio.run(away(lambda: number))

    many = hosting.THREADS + 1
    calls = asyncio.gather(*[away(outer, n) for n in range(many)])
    assert await asyncio.wait_for(calls, 60) == list(range(many))


async def test_a_call_that_was_given_up_before_it_began_never_does():
    free, began = threading.Event(), []
    busy = [asyncio.create_task(away(free.wait, 60)) for _ in range(hosting.AT_WORK)]
    late = asyncio.create_task(away(began.append, 1))
    await asyncio.sleep(0)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    free.set()
    await asyncio.gather(*busy)
    await asyncio.gather(*[away(lambda: None) for _ in range(hosting.THREADS)])
    assert began == []


async def test_a_thread_that_cannot_start_is_an_error_and_no_wait(monkeypatch):
    def refuse(run):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(hosting._pool().threads, "submit", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await asyncio.wait_for(away(lambda: 1), 60)


async def test_a_thread_of_a_call_leaves_no_slot_that_it_does_not_have(gate):
    shared = SharedForward(gate, Worker(wait=0))
    slots = threading.Semaphore(1)
    call = Call(slots)

    def other():
        CALL.set(call)
        shared([row(1)])

    with call:
        thread = threading.Thread(target=other)
        thread.start()
        await entered(gate)
        assert not slots.acquire(blocking=False)
        gate.open.set()
        thread.join(60)
    assert slots.acquire(blocking=False)


def test_threads_that_ask_first_at_the_same_time_share_what_is_made():
    together, made = threading.Barrier(2), []

    def make():
        with suppress(threading.BrokenBarrierError):
            together.wait(0.2)  # where two make, they meet here
        made.append(object())
        return made[-1]

    one = One(make)
    with ThreadPoolExecutor(8) as pool:
        assert {id(found) for found in pool.map(lambda _: one(), range(8))} == {id(made[0])}
    assert len(made) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_child_of_a_fork_loads_while_its_parent_was_loading(monkeypatch):
    loading, go = threading.Event(), threading.Event()

    def load(where, **arguments):
        if os.getpid() == parent:
            loading.set()
            go.wait(60)
        return ToyScorer()

    parent = os.getpid()

    monkeypatch.setitem(vars(headgate), "load", load)
    models = Models()
    thread = threading.Thread(target=models.get, args=("toy", {}))
    thread.start()
    assert loading.wait(60)
    pid = os.fork()
    if not pid:
        found = threading.Thread(target=models.get, args=("toy", {}), daemon=True)
        found.start()
        found.join(10)
        os._exit(int(found.is_alive()))
    try:
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        go.set()
        thread.join()


class Sharing(ToyScorer):
    def shared(self, worker):
        workers.append(worker)
        return self


workers: list[Worker] = []


class Arriving:
    """A text that arrives asynchronously, and whether it was stopped."""

    def __init__(self, text: str) -> None:
        self.chunks = iter(text[i : i + 7] for i in range(0, len(text), 7))
        self.sent, self.stopped = "", 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        for chunk in self.chunks:
            self.sent += chunk
            return chunk
        raise StopAsyncIteration

    async def aclose(self):
        self.stopped += 1


@pytest.mark.parametrize("text", [FINE * 9, RUDE + FINE * 9, FINE + RUDE + AFTER * 9, ""])
@pytest.mark.parametrize("policy", ["halt", "redact", "annotate"])
async def test_an_arriving_text_is_let_go_as_one_that_is_there(text, policy):
    guard = guarded(on_broken=policy)
    arriving = Arriving(text)
    found = [event async for event in released(guard, arriving)]
    assert found == list(guard.run([text]))
    halted = any(event.action == "halt" for event in found)
    assert arriving.stopped == halted
    assert (arriving.sent != text) == halted


async def test_the_model_stops_when_its_reader_goes_or_the_guard_raises():
    arriving = Arriving(FINE * 9)
    async with aclosing(released(guarded(), arriving)) as events:
        await anext(events)
    assert arriving.stopped == 1

    class Broken(ToyScorer):
        def score(self, texts, labels):
            raise OSError("no device")

    arriving = Arriving(FINE * 9)
    with pytest.raises(OSError, match="no device"):
        [event async for event in released(replace(guarded(), guard=Guard(Broken(), ["rude"], 0.5)), arriving)]
    assert arriving.stopped == 1


class Slow(ToyScorer):
    """Answers about a text that holds "slow" once it is let."""

    def score(self, texts, labels):
        if any("slow" in text for text in texts):
            assert GO.wait(10)
        return super().score(texts, labels)


GO = threading.Event()


@pytest.mark.parametrize(
    ("on_timeout", "expected"),
    [("release", ["release"] * 3), ("redact", ["release", "redact", "release"]), ("halt", ["release", "halt"])],
)
async def test_a_late_verdict_is_not_waited_for(on_timeout, expected):
    GO.clear()
    guard = replace(
        guarded(), guard=Guard(Slow(), ["rude"], 0.5), context=1, budget=0.05, on_timeout=on_timeout, lookahead=1
    )
    try:
        text = ["The first sentence. ", "A slow one. ", "The third sentence, and the end"]
        if on_timeout == "release":  # else it is context to the next one
            text[2] = "A slow one that never ends"
        found = [event async for event in released(guard, Arriving("".join(text)))]
    finally:
        GO.set()
    assert [event.action for event in found] == expected
    assert [event.verdict is None for event in found][:2] == [False, True]


async def test_who_holds_waits_for_the_verdict():
    GO.clear()
    guard = replace(guarded(), guard=Guard(Slow(), ["rude"], 0.5), budget=0.001, on_timeout="hold")
    task = asyncio.ensure_future(anext(released(guard, Arriving("A slow one."))))
    done, _ = await asyncio.wait({task}, timeout=0.05)
    assert not done
    GO.set()
    assert (await task).action == "release"


def test_models_are_loaded_once_and_share_one_worker(monkeypatch):
    seen = []
    monkeypatch.setitem(vars(headgate), "load", lambda where, **given: seen.append((where, given)) or Sharing())
    workers.clear()
    models = Models()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: models.get("a", {"device": "cpu"}), range(32)))
    assert seen == [("a", {"device": "cpu"})]
    assert all(f is found[0] for f in found)
    other = Models()
    other.get("b", {})
    assert len(workers) == 2
    assert workers[0] is workers[1]
    assert deepcopy(models) is models
    assert pickle.loads(pickle.dumps(models)) == models == other
    assert hash(models) == hash(other)
    assert pickle.loads(pickle.dumps(models))._scorers == {}
    assert models != "models"


def test_the_stand_in_lets_settings_be_checked_and_judges_nothing():
    assert Guard(UNREAD, ["anything"]).rules["anything"].threshold == 0.5
    with pytest.raises(headgate.ScorerError, match="1 texts came to the stand-in"):
        Guard(UNREAD, ["anything"])("text")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
async def test_a_forked_child_gets_threads_of_its_own():
    await away(int)
    before = hosting._pool()
    pid = os.fork()
    if pid == 0:
        fresh = hosting._pool() is not before
        os._exit(0 if fresh else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# ----------------------------------------------------------------------------------------- files of tasks


def saved(tmp_path, task):
    path = str(tmp_path / f"{type(task).__name__}.json")
    headgate.save(task, path)
    return path


def test_a_task_of_a_file_is_restored_once_and_shares_the_worker(tmp_path, monkeypatch):
    path = saved(tmp_path, Guard(ToyScorer(), {"spam": Rule("spam", 0.9)}))
    restore, seen = headgate.restore, []
    monkeypatch.setitem(
        vars(headgate), "restore", lambda p, device: seen.append((p, device)) or restore(p, scorer=Sharing())
    )
    workers.clear()
    models = Models()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: models.task(path), range(32)))
    assert all(f is found[0] for f in found)
    assert found[0].rules["spam"].threshold == 0.9
    assert models.task(path, "cpu") is not found[0]
    assert seen == [(path, "auto"), (path, "cpu")]
    assert len(workers) == 2


def test_a_calibrated_scorer_is_shared_beneath_its_calibration(tmp_path, monkeypatch):
    calibration = Calibration(scale=2.0, shift=0.5)
    path = saved(tmp_path, Router(ToyScorer(), ["a", "b"]))
    monkeypatch.setitem(vars(headgate), "restore", lambda p, device: Router(calibration.on(Sharing()), ["a", "b"]))
    workers.clear()
    task = Models().task(path)
    assert isinstance(task.scorer, Calibrated)
    assert task.scorer.calibration == calibration
    assert len(workers) == 1


def test_a_file_is_read_without_its_model(tmp_path):
    made = Router(ToyScorer(), {"a": "one", "b": "two"}, {"a": 0.5, "b": 0.9}, nulls=["none"])
    found = unread(saved(tmp_path, made), Router)
    assert found.scorer is UNREAD
    assert replace(found, scorer=made.scorer) == made
    with pytest.raises(CheckpointError, match="file of a Router; expected one of a Reranker"):
        unread(saved(tmp_path, made), Reranker)
    with pytest.raises(CheckpointError, match="can't be read"):
        unread(str(tmp_path / "none.json"), Router)
    (tmp_path / "Router.json").write_text('{"headgate": 1, "task": "router", "routes": ["a"], "turns": 0}')
    with pytest.raises(CheckpointError, match=r"Router.json: turns is 0"):
        unread(str(tmp_path / "Router.json"), Router)


# ----------------------------------------------------------------------------------------- generators


async def test_what_arrives_is_closed_where_it_can_be():
    arriving = Arriving(FINE)
    async with ending(arriving) as chunks:
        assert chunks is arriving
    assert arriving.stopped == 1
    await ended(Endless())  # has no aclose
    closed = []

    async def generator():
        try:
            yield 1
        finally:
            closed.append(True)

    made = generator()
    await anext(made)
    await ended(made)
    assert closed == [True]


async def test_a_generator_that_runs_is_left_alone():
    go = asyncio.Event()

    async def generator():
        await go.wait()
        yield 1

    made = generator()
    task = asyncio.ensure_future(anext(made))
    await asyncio.sleep(0)
    await ended(made)
    go.set()
    assert await task == 1


def test_a_loop_that_shuts_down_finds_no_generator_being_closed():
    told = []

    async def inner():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)

    async def outer(chunks):
        async with ending(chunks):
            async for chunk in chunks:
                yield chunk

    async def leave():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        kept.append(outer(outer(inner())))
        await anext(kept[-1])

    kept = []
    for _ in range(20):  # it closes them all at once, in any order
        asyncio.run(leave())
    assert told == []


class Endless:
    def __aiter__(self):
        return self

    async def __anext__(self):
        return 1
