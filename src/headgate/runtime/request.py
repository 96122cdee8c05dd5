"""What one caller asks of a worker: rows, those that wait for their turn, and what was found."""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

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


class Call:
    """What a caller waits for and may give up, while a thread of its still waits; see :func:`headgate.hosting.away`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[Future[Any]] = set()
        self._given_up = False

    def add(self, answer: Future[Any]) -> None:
        """Wait for ``answer`` too; it is cancelled at once if the call was given up."""
        with self._lock:
            given_up = self._given_up
            if not given_up:
                self._waiting.add(answer)
        if given_up:
            answer.cancel()
        else:
            answer.add_done_callback(self._done)

    def give_up(self) -> None:
        """Cancel what is waited for, and all that will be: rows that have not begun never do."""
        with self._lock:
            self._given_up = True
            waiting = list(self._waiting)
        for answer in waiting:
            answer.cancel()

    def _done(self, answer: Future[Any]) -> None:
        with self._lock:
            self._waiting.discard(answer)


CALL: ContextVar[Call | None] = ContextVar("headgate_call", default=None)
"""The call that this thread or task works for; None where nobody can give it up."""


def hold(answer: Future[Any]) -> None:
    """Let the call that this is part of, if it is one, cancel ``answer``."""
    call = CALL.get()
    if call is not None:
        call.add(answer)
