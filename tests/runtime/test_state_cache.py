"""States that outlast a call: who asks next runs nothing, gets the same numbers, and a corpus goes by."""

import asyncio
import gc
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import StateCache
from headgate.errors import ClosedError
from headgate.runtime.batching import Row
from headgate.runtime.cache import CachedForward
from headgate.runtime.shared import SharedForward
from headgate.runtime.state_cache import Lasting, unkept
from headgate.runtime.worker import Worker
from tests.runtime.test_states import ROWS, WIDTH, Encoder, kinds, row

MANY = [row(n) for n in range(1, 10)]


def sizes(cache: StateCache) -> list[int]:
    return [states.ndim for states in cache._kept.values()]


@given(
    st.lists(st.tuples(kinds, st.lists(st.sampled_from([*ROWS, *MANY]), max_size=10)), max_size=8),
    st.integers(1, 10),
    st.integers(1, 400),
)
def test_every_reader_gets_what_it_gets_alone(calls: list[tuple[str, list[Row]]], rows: int, room: int) -> None:
    encoder, plain, cache = Encoder(), Encoder(), StateCache(rows=rows)
    cache._most = room
    readers = {kind: encoder.forward(kind).remembering(cache) for kind in ("tokens", "pooled", "double")}
    for kind, asked in calls:
        for found, expected in zip(readers[kind](asked), plain.forward(kind)(asked), strict=True):
            np.testing.assert_array_equal(found, expected)
        assert cache._size == sum(states.nbytes for states in cache._kept.values()) <= room


def test_the_second_reader_runs_no_row() -> None:
    encoder, cache = Encoder(), StateCache()
    heads, tokens = (encoder.forward(kind).remembering(cache) for kind in ("double", "tokens"))
    heads(ROWS)
    assert (heads.work.rows, encoder.rows) == (3, 3)
    for _ in range(2):
        tokens(ROWS)
        heads(ROWS[::-1])
    assert (tokens.work.rows, encoder.rows) == (0, 3)


def test_token_states_are_kept_once_somebody_reads_them() -> None:
    encoder, cache = Encoder(), StateCache()
    heads = encoder.forward("double").remembering(cache)
    heads(ROWS[:1])
    assert sizes(cache) == [1]
    tokens = encoder.forward("tokens").remembering(cache)
    heads(ROWS[:1])  # what is there is enough
    heads(ROWS[1:2])
    assert sizes(cache) == [1, 2]
    tokens(ROWS[:2])
    assert sizes(cache) == [2, 2]
    assert cache._size == sum(states.nbytes for states in cache._kept.values())
    assert encoder.rows == 3
    heads(ROWS[:2])
    assert encoder.rows == 3


def test_other_states_are_other_entries() -> None:
    encoder, twin, cache = Encoder(), Encoder(), StateCache()
    readers = [
        forward.remembering(cache)
        for forward in (encoder.forward("double", "mean"), encoder.forward("double", "cls"), twin.forward("double"))
    ]
    for reader in readers:
        reader(ROWS[:1])
    assert (encoder.rows, twin.rows) == (2, 1)


def test_a_corpus_neither_fills_it_nor_pushes_anything_out() -> None:
    encoder, cache = Encoder(), StateCache(rows=8)
    reader = encoder.forward("double").remembering(cache)
    reader(ROWS[:1])
    reader(MANY)
    assert len(cache._kept) == 1
    reader(MANY[:8])
    assert len(cache._kept) == 8  # the first of them was there
    unkept(reader)([row(99)])
    assert len(cache._kept) == 8
    forward = Encoder().forward("double")
    assert unkept(forward) is forward


def test_the_least_recently_used_goes_first() -> None:
    encoder, cache = Encoder(), StateCache()
    cache._most = 2 * 4 * WIDTH
    reader = encoder.forward("double").remembering(cache)
    for ids in (1, 2, 1, 3):
        reader([row(ids)])
    assert encoder.rows == 3
    reader([row(1)])
    assert encoder.rows == 3
    reader([row(2)])
    assert encoder.rows == 4
    cache.clear()
    assert (cache._size, len(cache._kept)) == (0, 0)
    reader([row(2)])
    assert encoder.rows == 5


def test_what_is_kept_is_a_copy_that_nobody_writes_to() -> None:
    cache = StateCache()
    (found,) = Encoder().forward("tokens").remembering(cache)(ROWS[:1])
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 7
    assert all(states.base is None for states in cache._kept.values())


def test_it_keeps_no_model_in_memory() -> None:
    encoder, cache = Encoder(), StateCache()
    encoder.forward("double").remembering(cache)(ROWS)
    gone = weakref.ref(encoder)
    del encoder
    gc.collect()
    assert gone() is None
    other = Encoder()
    other.forward("double").remembering(cache)(ROWS)
    assert other.rows == 3  # never the states of one that had its place in memory


def test_a_closed_one_says_so_though_all_is_known() -> None:
    encoder, cache = Encoder(), StateCache()
    reader = encoder.forward("double").remembering(cache)
    reader(ROWS[:1])
    reader.close()
    with pytest.raises(ClosedError):
        reader(ROWS[:1])


def test_a_memo_of_one_call_over_one_that_lasts() -> None:
    encoder, cache = Encoder(), StateCache(rows=2)
    lasting = [encoder.forward(kind).remembering(cache) for kind in ("double", "tokens")]
    lasting[0](ROWS[:1])
    memo = {}
    heads, tokens = (forward.remembering(memo) for forward in lasting)
    for reader, kind in ((heads, "double"), (tokens, "tokens"), (heads, "double")):
        for found, expected in zip(reader(ROWS), Encoder().forward(kind)(ROWS), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert encoder.rows == 4  # three rows are too many to be looked up, and are run once for both
    memo = {}
    heads, tokens = (forward.remembering(memo) for forward in lasting)
    heads(ROWS[:1])
    tokens(ROWS[:1])
    assert encoder.rows == 4
    assert lasting[0].remembering(cache) is lasting[0]


def test_behind_a_cache_and_before_a_worker() -> None:
    encoder, cache, worker = Encoder(), StateCache(), Worker(wait=0)
    cached = CachedForward(encoder.forward("double"), 1 << 20).remembering(cache)
    shared = SharedForward(encoder.forward("tokens"), worker).remembering(cache)
    assert isinstance(shared, Lasting)
    cached(ROWS)
    shared(ROWS)
    assert (encoder.rows, cached.work.rows, shared.work.rows) == (3, 3, 0)
    assert cached.max_tokens == shared.max_tokens == encoder.forward("double").max_tokens
    cached.close()
    worker.close()


def test_a_module_gets_the_states_it_asks_for() -> None:
    encoder, cache = Encoder(), StateCache()
    tokens = encoder.forward("tokens").remembering(cache)
    module = tokens.reads
    tokens(ROWS[:1])
    assert [s.ndim for s in tokens.through(ROWS[:1], module.pooled)] == [1]
    assert [s.ndim for s in tokens.through(ROWS[:1], module.states)] == [2]
    assert encoder.rows == 1
    assert [s.ndim for s in tokens.through(ROWS[:1], module.alone)] == [2]
    tokens.through(ROWS[:1], lambda batch: batch.ids.float())  # of no states, so it is run
    assert encoder.rows == 1


async def test_callers_that_read_states_share_batches() -> None:
    batches, entered, go = [], threading.Event(), threading.Event()

    class Slow(Encoder):
        def states(self, batch):
            batches.append(len(batch.lengths))
            entered.set()
            assert go.wait(10)
            return super().states(batch)

    worker = Worker(wait=0)
    reader = SharedForward(Slow().forward("double"), worker).remembering(StateCache())
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(reader, [row(1)])]
        assert entered.wait(10)
        answers += [pool.submit(reader, [row(n)]) for n in (2, 3, 4)]
        while len(worker._queue._requests) < 3:
            await asyncio.sleep(0)
        go.set()
        assert [float(a.result()[0][0]) for a in answers] == [2.0, 4.0, 6.0, 8.0]
    assert batches == [1, 3]
    worker.close()


def test_what_shares_no_states_stays_as_it_is() -> None:
    worker = Worker()
    forward = SharedForward(lambda rows: [row.ids.astype(np.float32) for row in rows], worker)
    assert forward.remembering(StateCache()) is forward
    worker.close()


def test_many_threads() -> None:
    encoder, cache = Encoder(), StateCache(rows=4)
    cache._most = 40 * WIDTH
    readers = [encoder.forward(kind).remembering(cache) for kind in ("tokens", "double", "pooled")]
    expected = {kind: Encoder().forward(kind)(MANY) for kind in ("tokens", "double", "pooled")}
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        start.wait(10)
        draw = np.random.default_rng(seed)
        for _ in range(100):
            k, at = int(draw.integers(3)), draw.integers(len(MANY), size=int(draw.integers(1, 6)))
            kind = ("tokens", "double", "pooled")[k]
            for i, found in zip(at, readers[k]([MANY[i] for i in at]), strict=True):
                np.testing.assert_array_equal(found, expected[kind][i])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert cache._size == sum(states.nbytes for states in cache._kept.values()) <= cache._most


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_gets_a_lock_of_its_own() -> None:
    cache = StateCache()
    module = Encoder().forward("double").reads
    assert module is not None
    cache.keep(module, ROWS[0].key, np.ones(WIDTH, dtype=np.float32))
    with cache._lock:
        pid = os.fork()
        if pid == 0:
            os._exit(0 if len(cache.find(module, [ROWS[0].key], whole=False)[0]) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize("wrong", [{"megabytes": 0}, {"rows": 0}, {"rows": -1}])
def test_bounds_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected whole numbers, 1 or more"):
        StateCache(**wrong)
    with pytest.raises(TypeError):
        StateCache(megabytes=1.5)  # type: ignore[arg-type]
