"""Many callers, one device: rows that wait at the same time share batches.

Whenever the device is free, a thread makes one batch of what waits for a model, whoever asked, so that sixteen callers
with a query each cost about as much as one call with sixteen. It is continuous batching (Yu et al., "Orca", OSDI 2022)
of rows in place of decoding steps.

Every batch is led by one request, in turn: its longest row says how long the batch is, and rows of like length fill it
up, its own or others'. So nobody waits for ever behind somebody else's million rows, and little is padded.
"""

from __future__ import annotations

import atexit
import heapq
import logging
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import index

from headgate.errors import ClosedError, OverloadedError, ScorerError
from headgate.runtime.batching import Forward, Row, packed, partition
from headgate.runtime.request import Answer, Batch, Request

log = logging.getLogger(__name__)

AHEAD = 2
"""How many batches of rows are looked at to choose one."""


@dataclass(frozen=True)
class Load:
    """What a worker has to do, and has done.

    Attributes:
        waiting: Requests with rows that have not begun.
        tokens: Of these rows.
        batches: Run so far.
        batched: Tokens of them, without padding.
        room: Tokens that they had room for: ``batched / room`` says how full batches are.
    """

    waiting: int
    tokens: int
    batches: int
    batched: int
    room: int


class Worker:
    """A thread that runs the models of those scorers that share it; see :meth:`headgate.families.base.Family.shared`.

    Callers tokenize in their own threads while it runs the rows of others. The thread starts with the first request,
    also in the child of a fork, and ends with :meth:`close`, or, once all is answered, when nobody holds the
    worker. Models that live on one device should share one worker.

    Args:
        wait: Seconds that a request waits for company while the device is idle; less where a batch is full before.
        max_waiting: Tokens that may wait. A request that would exceed them is refused, unless it is the only one.
    """

    def __init__(self, *, wait: float = 0.005, max_waiting: int = 4_000_000) -> None:
        if max_waiting < 1 or not 0 <= wait <= threading.TIMEOUT_MAX:
            raise ValueError(
                f"wait is {wait} and max_waiting {max_waiting}; expected 0 to {threading.TIMEOUT_MAX:.0f} seconds, and "
                "1 token or more."
            )
        self._settings = wait, max_waiting
        self._closed = False
        self._start()

    def submit(self, forward: Forward, rows: Sequence[Row], *, max_tokens: int) -> Answer:
        """Ask for rows, without waiting for them.

        Args:
            forward: What will run them, in the worker's thread; requests for the same one share batches.
            rows: Any number of rows.
            max_tokens: Padded tokens of a batch, a whole number, as :func:`headgate.runtime.batching.plan` counts them.

        Returns:
            A future of one float32 array a row, in order, or of the error of ``forward``. Cancelled, it takes those
            rows out that have not begun. ``asyncio.wrap_future`` makes it awaitable.

        Raises:
            OverloadedError: Too much is waiting.
            ClosedError: After :meth:`close`.
        """
        if os.getpid() != self._process and not self._closed:
            self._start()  # thread and queue stayed with the parent
        if self._closed:
            raise ClosedError("this worker was closed; share another, or load the scorer again.")
        return self._queue.put(Request(forward, list(rows), index(max_tokens)))

    @property
    def load(self) -> Load:
        """What waits now, and what was run so far."""
        return self._queue.load

    @property
    def here(self) -> bool:
        """True in the worker's own thread, which would wait for itself."""
        return self._queue.thread is threading.current_thread()

    def close(self) -> None:
        """Fail what has not begun with ClosedError, and wait for the batch that runs."""
        self._closed = True
        self._queue.close()
        self._queue.join()

    def _start(self) -> None:
        self._process, self._queue = os.getpid(), _Queue(*self._settings)
        weakref.finalize(self, self._queue.end).atexit = False


class _Queue:
    """What waits, and the thread that works it off; it holds no Worker, so that a forgotten one ends its thread."""

    def __init__(self, wait: float, max_waiting: int) -> None:
        self._wait, self._max_waiting = wait, max_waiting
        self._requests: OrderedDict[int, Request] = OrderedDict()  # in the order of their turns
        self._tokens = self._batches = self._batched = self._room = 0
        self._closed = False
        self._changed = threading.Condition()
        self._process = os.getpid()
        self.thread = threading.Thread(target=self._work, name="headgate-worker", daemon=True)

    @property
    def load(self) -> Load:
        with self._changed:
            return Load(len(self._requests), self._tokens, self._batches, self._batched, self._room)

    def put(self, request: Request) -> Answer:
        if not request.rows:
            request.fill([], [])
            return request.answer
        with self._changed:
            if self._closed:
                raise ClosedError("this worker was closed; share another, or load the scorer again.")
            if self._requests and self._tokens + request.tokens > self._max_waiting:
                raise OverloadedError(
                    f"{self._tokens} tokens are waiting for the device, and {request.tokens} more came; expected at "
                    f"most {self._max_waiting} together. Ask again later, or send less at a time."
                )
            self._requests[id(request)] = request
            self._tokens += request.tokens
            if self.thread.ident is None:
                _LIVE.add(self)
                self.thread.start()
            self._changed.notify()
        request.answer.add_done_callback(lambda answer: self._cancelled(request) if answer.cancelled() else None)
        return request.answer

    def end(self) -> None:
        """Take nothing more; what waits is still run."""
        if os.getpid() == self._process:  # else a copy that came through a fork; its lock may be held for ever
            with self._changed:
                self._closed = True
                self._changed.notify()

    def close(self) -> None:
        """Take nothing more, and fail what waits."""
        self.end()
        if os.getpid() != self._process:
            return
        with self._changed:
            left = list(self._requests.values())
            self._requests.clear()
        for request in left:
            request.fail(ClosedError("the worker was closed while this call was waiting."))

    def join(self) -> None:
        if self.thread.ident is not None and self.thread is not threading.current_thread():
            self.thread.join()

    def _cancelled(self, request: Request) -> None:
        self._drop(request)
        request.answer.set_running_or_notify_cancel()  # for those who wait for several futures

    def _drop(self, request: Request) -> None:
        """Take the rows out that have not begun."""
        with self._changed:
            if self._requests.pop(id(request), None) is not None:
                self._tokens -= request.tokens

    def _work(self) -> None:
        try:
            while self._step():
                pass
        except BaseException:
            log.exception("the worker's thread broke down; what waits for it fails")
            self.close()
            raise

    def _step(self) -> bool:
        """One batch; False at the end. A function of its own, so that an idle worker holds no model."""
        batch = self._next()
        if batch is None:
            return False
        try:
            _run(batch, self._drop)
        except BaseException as e:  # of a caller's callback, which says nothing of the others
            log.exception("a worker's answer could not be given")
            for request, _ in batch:
                self._drop(request)
                request.fail(e)
        return True

    def _next(self) -> Batch | None:
        """Wait for requests, and take a batch; None at the end."""
        with self._changed:
            while self._requests or not self._closed:
                rest = self._rest()
                if rest is not None and rest <= 0:
                    return self._take()
                self._changed.wait(rest)
        return None

    def _rest(self) -> float | None:
        """Seconds until a batch is due: none if one is full, None if nothing waits."""
        if not self._requests:
            return None
        leader = next(iter(self._requests.values()))
        if self._closed or self._tokens >= leader.max_tokens:
            return 0.0
        return min(r.arrived for r in self._requests.values()) + self._wait - time.monotonic()

    def _take(self) -> Batch:
        """Rows for the model of the request whose turn it is: as long as its longest one or shorter, longest first."""
        leader = next(iter(self._requests.values()))
        longest = max(1, leader.length(leader.waiting[-1]))
        room = max(1, leader.max_tokens // longest)
        # In the order of turns, so that among rows of one length the leader's come first; a request's own from the end.
        there = [r for r in self._requests.values() if r.forward is leader.forward]
        found = [(-r.length(r.waiting[i]), n, -i) for n, r in enumerate(there) for i in r.eligible(longest, room)]
        chosen: dict[int, list[int]] = {}
        near = heapq.nsmallest(AHEAD * room, found)
        sizes = partition([-length for length, _, _ in near], leader.max_tokens, packed=packed(leader.forward))
        for _, turn, at in near[: sizes[0]]:
            chosen.setdefault(turn, []).append(-at)
        batch: Batch = []
        self._batches, self._room = self._batches + 1, self._room + leader.max_tokens
        for turn, places in chosen.items():
            request = there[turn]
            taken = request.take(places)
            tokens = sum(map(request.length, taken))
            self._tokens, self._batched = self._tokens - tokens, self._batched + tokens
            batch.append((request, taken))
            if not request.waiting:
                del self._requests[id(request)]
        if id(leader) in self._requests:
            self._requests.move_to_end(id(leader))
        return batch


def _run(batch: Batch, drop: Callable[[Request], None]) -> None:
    """Run a batch; if it fails, each request by itself, so that an error reaches only the caller whose it is."""
    rows = [request.rows[i] for request, indices in batch for i in indices]
    try:
        found = list(batch[0][0].forward(rows))
        if len(found) != len(rows):
            raise ScorerError(f"the model gave {len(found)} answers to {len(rows)} rows; expected one a row.")
    except BaseException as e:
        if len(batch) > 1:
            for one in batch:
                _run([one], drop)
            return
        request = batch[0][0]
        drop(request)
        request.fail(e)
        return
    for request, indices in batch:
        request.fill(indices, found[: len(indices)])
        found = found[len(indices) :]


_LIVE: weakref.WeakSet[_Queue] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """Let batches that run come to their end before the interpreter takes torch away under them."""
    for queue in list(_LIVE):
        queue.close()
        if queue._process == os.getpid():
            queue.join()
