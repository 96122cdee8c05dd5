"""A cache asks once, forgets what was used least recently, and never holds more than it may."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.runtime.batching import Array, Row
from headgate.runtime.cache import CachedForward

BYTES = 40  # of an answer of ten floats


class Counted:
    """A Forward whose answers tell rows apart, and that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.closed = False

    def __call__(self, rows: list[Row]) -> list[Array]:
        if self.closed:
            raise RuntimeError("closed")
        self.asked += [int(r.ids[0]) for r in rows]
        return [np.full(10, r.ids[0], dtype=np.float32) for r in rows]

    def close(self) -> None:
        self.closed = True


def row(i: int) -> Row:
    return Row(np.array([i], dtype=np.int32))


def values(arrays: list[Array]) -> list[float]:
    return [float(a[0]) for a in arrays]


def test_asks_only_for_what_is_new() -> None:
    inner = Counted()
    cache = CachedForward(inner, 100 * BYTES)
    assert values(cache([row(1), row(2), row(1)])) == [1, 2, 1]
    assert values(cache([row(3), row(2), row(1)])) == [3, 2, 1]
    assert values(cache([row(2), row(2)])) == [2, 2]
    assert inner.asked == [1, 2, 3]


def test_types_are_part_of_the_question() -> None:
    inner = Counted()
    cache = CachedForward(inner, 100 * BYTES)
    cache([row(1)])
    cache([Row(np.array([1], np.int32), np.array([1], np.int32))])
    assert inner.asked == [1, 1]


def test_the_least_recently_used_goes_first() -> None:
    inner = Counted()
    cache = CachedForward(inner, 2 * BYTES)
    for i in (1, 2, 1, 3):  # 1 was used after 2, so 2 goes
        cache([row(i)])
    inner.asked.clear()
    assert values(cache([row(1), row(3)])) == [1, 3]
    assert inner.asked == []
    cache([row(2)])
    assert inner.asked == [2]


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(0, 5 * BYTES))
def test_bytes_stay_in_bounds(asked: list[int], most: int) -> None:
    cache = CachedForward(Counted(), most)
    for i in asked:
        assert values(cache([row(i), row(i + 1)])) == [i, i + 1]
        held = sum(a.nbytes for a in cache._kept.values())
        assert held == cache._bytes <= most


def test_a_kept_answer_holds_no_other_rows_memory() -> None:
    """The rows of a batch are views of one array; keeping one must not keep them all."""
    inner = Counted()
    batch = np.zeros((1000, 10), dtype=np.float32)
    cache = CachedForward(lambda rows: list(batch[: len(inner(rows))]), 2 * BYTES)
    cache([row(i) for i in range(1000)])
    assert sum(a.nbytes if a.base is None else a.base.nbytes for a in cache._kept.values()) <= 2 * BYTES


def test_answers_are_read_only() -> None:
    cache = CachedForward(Counted(), 100 * BYTES)
    for _ in range(2):
        (found,) = cache([row(1)])
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 5


def test_too_large_an_answer_is_given_and_drives_nothing_out() -> None:
    inner = Counted()
    cache = CachedForward(lambda rows: [np.resize(a, 10 * int(a[0])) for a in inner(rows)], 2 * BYTES)
    for i in (1, 3, 3, 1):
        assert values(cache([row(i)])) == [i]
    assert inner.asked == [1, 3, 3]


def test_closed_is_closed_even_for_what_was_kept() -> None:
    inner = Counted()
    cache = CachedForward(inner, 100 * BYTES)
    cache([row(1)])
    cache.close()
    assert inner.closed
    assert not cache._kept
    with pytest.raises(RuntimeError, match="closed"):
        cache([row(1)])


def test_many_threads_get_their_own_answers() -> None:
    cache = CachedForward(Counted(), 3 * BYTES)
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(200):
            asked = rng.integers(0, 8, size=4).tolist()
            try:
                found = values(cache([row(i) for i in asked]))
            except Exception as e:
                found = [e]  # type: ignore[list-item]
            if found != asked:
                wrong.append((asked, found))

    threads = [threading.Thread(target=work, args=(s,)) for s in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []
    assert sum(a.nbytes for a in cache._kept.values()) == cache._bytes <= 3 * BYTES
