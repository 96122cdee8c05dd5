"""Who may come in, how long it may take, and who has left: the way of every request to the models.

Work waits in three bounded places: requests (each holds a thread that waits for the worker), characters, and large
requests, of which one at a time is tokenized. What exceeds them is refused at once with 429, before it costs anything,
so what was let in keeps the latency it has at saturation.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request

from headgate.hosting import away
from headgate.serve.faults import Fault
from headgate.serve.meter import Meter
from headgate.serve.settings import Limits

T = TypeVar("T")

_MEMORY = 30.0  # seconds over which the rate of work is remembered


class Desk:
    """Lets requests in, or not, and gives them up when they are late or nobody waits for them.

    Args:
        limits: How much may be under way.
        meter: Counts what is refused.
    """

    def __init__(self, limits: Limits, meter: Meter) -> None:
        self.limits, self._meter = limits, meter
        self._requests = self._characters = self._large = self._streams = 0
        self._held: Counter[str] = Counter()
        self._one_large = asyncio.Semaphore(1)
        self._rate, self._since = 0.0, time.monotonic()

    @property
    def requests(self) -> int:
        """Under way."""
        return self._requests

    @property
    def characters(self) -> int:
        """Of the requests under way, large ones left out."""
        return self._characters

    def refusal(self, client: str) -> Fault | None:
        """Why a request of this client would not be let in now, whatever it asks; costs nothing to ask."""
        if self._requests >= self.limits.requests:
            return self.busy("requests", f"{self._requests} requests are under way; expected fewer.")
        most = max(1, int(self.limits.requests * self.limits.of_one))
        if self._held[client] >= most:
            return self.busy("of_one", f"{most} requests of yours are under way, the most that one caller may have.")
        return None

    async def run(self, request: Request, size: int, work: Callable[[], T]) -> T:
        """What ``work`` gives, called in a thread that may wait for the worker.

        Args:
            request: Whose body was read; when its client leaves, rows that have not begun never do.
            size: Characters that it asks to read.
            work: Calls the models.

        Raises:
            Fault: It was not let in (429), came late (504), or its client left (499).
        """
        client: str = request.scope.get("headgate.client", "")
        async with self._place(client, size):
            began = time.monotonic()
            found = await self._watched(request, self._in_turn(size, work))
            self._learn(size, time.monotonic() - began)
            return found

    def check_stream(self) -> None:
        """Raise a Fault where no stream more may be opened."""
        if self._streams >= self.limits.streams:
            raise self.busy("streams", f"{self._streams} streams are open; expected fewer.")

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[None]:
        """A place for a guarded stream, which lasts as long as its text takes to be written."""
        self.check_stream()
        self._streams += 1
        try:
            with self._meter.streams.track_inprogress():
                yield
        finally:
            self._streams -= 1

    @asynccontextmanager
    async def _place(self, client: str, size: int) -> AsyncIterator[None]:
        refusal = self.refusal(client) or self._full(size)
        if refusal is not None:
            raise refusal
        counted = size if size < self.limits.large else 0  # the others' room stays theirs
        self._requests += 1
        self._characters += counted
        self._held[client] += 1
        try:
            yield
        finally:
            self._requests -= 1
            self._characters -= counted
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]

    def _full(self, size: int) -> Fault | None:
        if size > self.limits.characters:
            return Fault(
                "large",
                f"{size} characters came; expected at most {self.limits.characters}: send fewer at a time.",
            )
        if size >= self.limits.large:  # they have a queue of their own, and fill nobody else's
            waiting = self._large > self.limits.large_waiting
            return self.busy("large", f"{self._large} large requests are under way.") if waiting else None
        small = self._characters + size > self.limits.backlog and self._requests
        return self.busy("backlog", f"{self._characters} characters are under way.") if small else None

    async def _in_turn(self, size: int, work: Callable[[], T]) -> T:
        """Large requests one by one: tokenizing one takes seconds, and must leave a thread to the others."""
        if size < self.limits.large:
            return await away(work)
        self._large += 1
        try:
            async with self._one_large:
                return await away(work)
        finally:
            self._large -= 1

    async def _watched(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        task, watch = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({task, watch}, timeout=_patience(request, self.limits), return_when="FIRST_COMPLETED")
            if task.done():
                return task.result()
            if watch.done():
                raise Fault("gone", "the client left before its answer was there.")
            raise Fault("late", "there was no answer in time; ask for less at a time, or again when less is asked.")
        finally:
            watch.cancel()
            task.cancel()  # rows that have not begun never do

    def busy(self, why: str, message: str) -> Fault:
        """A refusal that says when to ask again."""
        self._meter.refused(why)
        waiting = min(self._characters, self.limits.backlog)
        seconds = waiting / self._rate if self._rate else 1.0
        return Fault("busy", f"{message} Ask again later.", retry_after=max(1, min(60, math.ceil(seconds))))

    def _learn(self, size: int, seconds: float) -> None:
        """Characters a second, over the last half minute: what Retry-After is told by."""
        at = time.monotonic()
        weight = math.exp(-(at - self._since) / _MEMORY)
        self._since = at
        self._rate = weight * self._rate + (1 - weight) * (size * max(1, self._requests) / max(seconds, 1e-3))


async def _left(request: Request) -> None:
    """Until the client has left; its body was read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _patience(request: Request, limits: Limits) -> float:
    """Seconds that the caller wants to wait, at most those of the server."""
    try:
        wanted = float(request.headers.get("x-request-timeout", ""))
    except ValueError:
        return limits.deadline
    return wanted if 0 < wanted < limits.deadline else limits.deadline
