"""Who is let in, how long it may take, and what becomes of work that nobody waits for."""

import asyncio
import threading
import time

import pytest

pytest.importorskip("fastapi", reason='pip install "headgate[serve]"')

from headgate.serve.desk import Desk
from headgate.serve.faults import Fault
from headgate.serve.meter import Meter
from headgate.serve.settings import Limits


class Client:
    """What a desk sees of a request."""

    def __init__(self, name="one", headers=None, leaves=None):
        self.scope = {"headgate.client": name}
        self.headers = headers or {}
        self._leaves = leaves

    async def receive(self):
        await (asyncio.Event().wait() if self._leaves is None else asyncio.sleep(self._leaves))
        return {"type": "http.disconnect"}


class Slow:
    """Work that lasts until it is let go."""

    def __init__(self):
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self):
        self.begun.set()
        assert self.go.wait(20)
        return "done"


def desk(**limits):
    return Desk(Limits(**limits), Meter())


def refused(desk):
    return {
        sample.labels["why"]: sample.value
        for metric in desk._meter.registry.collect()
        for sample in metric.samples
        if sample.name == "headgate_refused_total"
    }


async def under_way(desk, *clients, size=10):
    """Requests that are being worked on, and what ends them."""
    works = [Slow() for _ in clients]
    tasks = [asyncio.ensure_future(desk.run(c, size, w)) for c, w in zip(clients, works, strict=True)]
    for work in works:
        await asyncio.to_thread(work.begun.wait, 20)

    async def end():
        for work in works:
            work.go.set()
        return await asyncio.gather(*tasks)

    return end


async def test_what_is_over_the_number_is_refused_at_once_and_what_is_within_is_answered():
    at = desk(requests=2, of_one=1.0)
    end = await under_way(at, Client("a"), Client("b"))
    began = time.monotonic()
    with pytest.raises(Fault) as found:
        await at.run(Client("c"), 1, lambda: "never")
    assert found.value.status_code == 429
    assert found.value.retry_after >= 1
    assert time.monotonic() - began < 1
    assert await end() == ["done", "done"]
    assert at.requests == at.characters == 0
    assert await at.run(Client("c"), 1, lambda: "now") == "now"
    assert refused(at) == {"requests": 1.0}


async def test_one_caller_leaves_places_to_the_others():
    at = desk(requests=2, of_one=0.5)
    end = await under_way(at, Client("greedy"))
    with pytest.raises(Fault) as found:
        await at.run(Client("greedy"), 1, lambda: "never")
    assert found.value.kind == "busy"
    assert await at.run(Client("modest"), 1, lambda: "let in") == "let in"
    await end()
    assert at.refusal("greedy") is None


async def test_characters_are_bounded_but_a_lone_request_is_let_in():
    at = desk(backlog=100)
    assert await at.run(Client(), 500, lambda: "alone") == "alone"
    end = await under_way(at, Client("a"), size=90)
    with pytest.raises(Fault) as found:
        await at.run(Client("b"), 20, lambda: "never")
    assert found.value.kind == "busy"
    assert await at.run(Client("b"), 10, lambda: "fits") == "fits"
    await end()


async def test_more_characters_than_a_request_may_have_are_too_large():
    with pytest.raises(Fault) as found:
        await desk(characters=10).run(Client(), 11, lambda: "never")
    assert found.value.status_code == 413


async def test_large_requests_wait_for_each_other_and_take_no_room_from_the_others():
    at = desk(large=100, large_waiting=1, backlog=50)
    first, second = Slow(), Slow()
    one = asyncio.ensure_future(at.run(Client("a"), 1000, first))
    await asyncio.to_thread(first.begun.wait, 20)
    two = asyncio.ensure_future(at.run(Client("b"), 1000, second))
    await asyncio.sleep(0.1)
    assert not second.begun.is_set()
    with pytest.raises(Fault):
        await at.run(Client("c"), 1000, lambda: "a third one")
    assert await at.run(Client("d"), 49, lambda: "small") == "small"
    first.go.set()
    assert await one == "done"
    await asyncio.to_thread(second.begun.wait, 20)
    second.go.set()
    assert await two == "done"


async def test_what_is_late_is_given_up_and_its_place_is_free():
    at = desk(deadline=0.2)
    slow = Slow()
    with pytest.raises(Fault) as found:
        await at.run(Client(), 1, slow)
    slow.go.set()
    assert found.value.status_code == 504
    assert at.requests == 0


async def test_a_caller_may_wait_for_less_but_not_for_more():
    at = desk(deadline=0.5)
    for header, most in (("0.1", 0.4), ("1000", 2.0), ("nan", 2.0), ("-1", 2.0), ("soon", 2.0)):
        slow, began = Slow(), time.monotonic()
        with pytest.raises(Fault):
            await at.run(Client(headers={"x-request-timeout": header}), 1, slow)
        slow.go.set()
        assert time.monotonic() - began < most, header


async def test_a_client_that_leaves_frees_its_place_and_its_rows_never_run():
    at = desk()
    slow = Slow()
    with pytest.raises(Fault) as found:
        await at.run(Client(leaves=0.1), 1, slow)
    slow.go.set()
    assert found.value.status_code == 499
    assert at.requests == 0


async def test_a_large_request_whose_client_left_while_it_waited_never_begins():
    at = desk(large=100)
    first, second = Slow(), Slow()
    one = asyncio.ensure_future(at.run(Client("a"), 1000, first))
    await asyncio.to_thread(first.begun.wait, 20)
    with pytest.raises(Fault):
        await at.run(Client("b", leaves=0.1), 1000, second)
    first.go.set()
    await one
    await asyncio.sleep(0.1)
    assert not second.begun.is_set()


async def test_errors_of_the_work_are_the_callers():
    at = desk()
    with pytest.raises(ZeroDivisionError):
        await at.run(Client(), 1, lambda: 1 // 0)
    assert at.requests == 0


async def test_streams_have_places_of_their_own():
    at = desk(streams=1)
    async with at.stream():
        with pytest.raises(Fault) as found:
            at.check_stream()
        assert found.value.kind == "busy"
    at.check_stream()


def test_limits_mean_something():
    with pytest.raises(ValueError, match="requests is 0; expected more"):
        Limits(requests=0)
    with pytest.raises(ValueError, match="expected a share"):
        Limits(of_one=1.5)
    assert Limits(linger=0).linger == 0


def test_rows_of_a_caller_that_leaves_are_taken_out_of_the_workers_queue():
    """Down to the worker: what waited for the device when its caller left is never run."""
    import numpy as np

    from headgate.runtime.batching import Row
    from headgate.runtime.request import wait
    from headgate.runtime.worker import Worker

    ran, holding = [], threading.Event()

    def forward(rows):
        ran.append(len(rows))
        holding.wait(20)
        return [np.zeros(1, np.float32) for _ in rows]

    worker = Worker(wait=0)
    row = Row(np.zeros(4, np.int32))

    async def run():
        at = desk()
        first = asyncio.ensure_future(at.run(Client("a"), 1, lambda: wait(worker.submit(forward, [row], max_tokens=4))))
        while not ran:
            await asyncio.sleep(0.01)
        rows = [row] * 7
        with pytest.raises(Fault):
            await at.run(Client("b", leaves=0.2), 1, lambda: wait(worker.submit(forward, rows, max_tokens=4)))
        holding.set()
        await first
        load = worker.load
        assert load.waiting == load.tokens == 0
        return load

    load = asyncio.run(run())
    assert ran == [1]
    assert (load.batches, load.batched, load.room) == (1, 4, 4)
    worker.close()
