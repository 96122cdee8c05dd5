"""What one caller asks of a worker: rows, those that wait for their turn, and what was found."""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar

from headgate.runtime.batching import Array, Forward, Row

Answer = Future[list[Array]]


class Request:
    """Rows of one caller.

    Attributes:
        waiting: Indices of rows that have not begun, shortest first.
        tokens: Of those rows.
    """

    def __init__(self, forward: Forward, rows: list[Row], max_tokens: int) -> None:
        self.forward, self.rows, self.max_tokens = forward, rows, max(1, max_tokens)
        self.answer: Answer = Future()
        self.arrived = time.monotonic()
        self.waiting = sorted(range(len(rows)), key=self.length)
        self.tokens = sum(map(self.length, self.waiting))
        self._found: dict[int, Array] = {}

    def length(self, index: int) -> int:
        """Tokens of a row."""
        return len(self.rows[index].ids)

    def eligible(self, longest: int, most: int) -> range:
        """Places in ``waiting`` of the longest rows that have at most ``longest`` tokens, ``most`` of them."""
        end = bisect_right(self.waiting, longest, key=self.length)
        return range(max(0, end - most), end)

    def take(self, places: Sequence[int]) -> list[int]:
        """Let the rows at neighbouring places begin; their indices."""
        span = slice(min(places), max(places) + 1)
        taken = self.waiting[span]
        del self.waiting[span]
        self.tokens -= sum(map(self.length, taken))
        return taken

    def fill(self, indices: Sequence[int], arrays: Sequence[Array]) -> None:
        """Keep what was found; the last rows complete the answer."""
        self._found.update(zip(indices, arrays, strict=True))
        if len(self._found) == len(self.rows):
            self._settle(lambda: self.answer.set_result([self._found[i] for i in range(len(self.rows))]))

    def fail(self, error: BaseException) -> None:
        """Answer with an error."""
        self._settle(lambda: self.answer.set_exception(error))

    def _settle(self, answer: Callable[[], None]) -> None:
        with suppress(InvalidStateError):  # it was cancelled, or failed before
            answer()


Batch = list[tuple[Request, list[int]]]
"""Rows of several callers, by index, that run together."""

PATIENCE = 0.5
"""Seconds that a caller with its answer waits for a slot: who has one may wait for a lock that this caller holds."""


class Call:
    """What a caller waits for and may give up, while a thread of its still waits; see :func:`headgate.hosting.away`.

    As a context it takes one of ``slots``, which it leaves to others while it waits. None is for a call within
    another, whose slot it has.
    """

    def __init__(self, slots: threading.Semaphore | None) -> None:
        self._slots, self._lock = slots, threading.Lock()
        self._waiting: set[Answer] = set()
        self._given_up = self._held = False
        self._thread: int | None = None

    @property
    def goes_on(self) -> bool:
        """It began, and has not ended."""
        return self._thread is not None

    def __enter__(self) -> None:
        self._acquire()
        self._thread = threading.get_ident()

    def __exit__(self, *error: object) -> None:
        self._thread = None
        self._release()

    @property
    def wanted(self) -> bool:
        """It was not given up."""
        return not self._given_up

    def wait(self, answer: Answer) -> list[Array]:
        """What it gives; it is cancelled if the call is given up, or was."""
        with self._lock:
            self._waiting.add(answer)
            given_up = self._given_up
        if given_up:
            answer.cancel()
        own = self._thread == threading.get_ident()  # a thread that it started has no slot to leave
        if own:
            self._release()
        try:
            return answer.result()
        finally:
            if own:
                self._acquire(PATIENCE)
            with self._lock:
                self._waiting.discard(answer)

    def give_up(self) -> None:
        """Cancel what is waited for, and all that will be: rows that have not begun never do."""
        with self._lock:
            self._given_up = True
            waiting = list(self._waiting)
        for answer in waiting:
            answer.cancel()

    def _acquire(self, timeout: float | None = None) -> None:
        self._held = self._slots is not None and self._slots.acquire(timeout=timeout)

    def _release(self) -> None:
        if self._held and self._slots is not None:
            self._held = False
            self._slots.release()


CALL: ContextVar[Call | None] = ContextVar("headgate_call", default=None)
"""The call that this thread or task works for; None where nobody can give it up."""


def wait(answer: Answer) -> list[Array]:
    """What it gives; the call that this is part of may give it up."""
    call = CALL.get()
    return answer.result() if call is None else call.wait(answer)
