"""What the adapters of every host need: models loaded at first use, and calls that keep off the event loop.

For those who write adapters; an application loads its scorers itself and calls them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import partial
from threading import Lock, Semaphore, Thread
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import headgate
from headgate.errors import CheckpointError, ScorerError
from headgate.once import Common, One
from headgate.once import Kept as Kept  # for adapters

if TYPE_CHECKING:
    from headgate.config import Task
    from headgate.holding import GuardedStream, StreamEvent
    from headgate.runtime.state_cache import StateCache
    from headgate.runtime.worker import Worker
    from headgate.scores import Label, Scorer, Scores
    from headgate.stream import StreamGuard

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound="AsyncIterable[Any]")

THREADS = 64
"""Calls that :func:`away` lets wait for the device at the same time; more of them queue up."""

AT_WORK = 2
"""Of these, how many may do more than wait for a worker: each competes with the event loop for the interpreter."""


async def away(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``function`` in a thread, and await what it returns.

    asyncio's own executor has few threads, which everything else shares. These mostly wait: the rows of as many callers
    as there are threads share batches, where the scorer is shared (as :class:`Models` gives it); others run a few at a
    time. Context variables go along. Cancelled, it takes those rows out that have not begun, and returns at once; a
    call that has not begun never does. Within another, in a loop that its thread runs, it gets a thread of its own.
    """
    from headgate.runtime.request import CALL, Call

    pool, answer = _pool(), Future[T]()
    outer = CALL.get()
    nested = outer is not None and outer.goes_on
    call = Call(None if nested else pool.slots)

    def work() -> None:
        CALL.set(call)
        try:
            with call:
                if call.wanted:
                    answer.set_result(function(*args, **kwargs))
        except StopIteration as error:  # which a future can't hold
            answer.set_exception(RuntimeError(f"{function!r} raised StopIteration: {error}"))
        except BaseException as error:
            answer.set_exception(error)

    # Starting a thread waits for it, on a busy machine for long: one thread starts all others.
    run = partial(copy_context().run, work)
    # All threads of the pool may wait for calls within theirs.
    start = _alone if nested else pool.threads.submit
    pool.door.submit(_begin, start, run, answer)
    try:
        return await asyncio.wrap_future(answer)
    except asyncio.CancelledError:
        call.give_up()
        raise


def _begin(start: Callable[[Callable[[], None]], object], run: Callable[[], None], answer: Future[Any]) -> None:
    try:
        start(run)
    except BaseException as error:  # there are no more threads, or the interpreter ends
        if not answer.done():
            answer.set_exception(error)


def _alone(run: Callable[[], None]) -> None:
    Thread(target=run, name="headgate-nested").start()


async def released(guard: StreamGuard, chunks: AsyncIterable[str]) -> AsyncGenerator[StreamEvent, None]:
    """As ``guard.run``, for a text that arrives asynchronously; it judges in a thread, and keeps the guard's budget.

    If it ends before ``chunks`` does - halted, closed by its consumer, the guard raised - it awaits ``chunks.aclose()``
    where there is one, so that the model stops too. Close it yourself where you stop reading it
    (``contextlib.aclosing``): the interpreter does it later.

    Args:
        guard: How sentences are judged and held back.
        chunks: The pieces of the text.
    """
    stream = guard.open()
    try:
        async for chunk in chunks:
            stream.feed(chunk)
            async for event in _judged(guard, stream):
                yield event
            if stream.halted:
                return
        stream.close()
        async for event in _judged(guard, stream):
            yield event
    finally:
        if not stream.closed:
            await ended(chunks)


async def ended(chunks: AsyncIterable[Any]) -> None:
    """Close what arrives asynchronously, where it can be; a generator that is running is left alone.

    A loop that shuts down closes all its generators at once: whoever closes another finds it running.
    """
    stop = getattr(chunks, "aclose", None)
    if stop is None:
        return
    try:
        await asyncio.sleep(0)  # the loop's turn: it complains of generators that it meets being closed
    finally:
        if not getattr(chunks, "ag_running", False):
            await stop()


class ending(Generic[A]):
    """As ``contextlib.aclosing``, with :func:`ended`."""

    def __init__(self, chunks: A) -> None:
        self._chunks = chunks

    async def __aenter__(self) -> A:
        return self._chunks

    async def __aexit__(self, *error: object) -> None:
        await ended(self._chunks)


async def _judged(guard: StreamGuard, stream: GuardedStream) -> AsyncGenerator[StreamEvent, None]:
    while held := stream.take():
        task = asyncio.ensure_future(away(guard.guard.many, [h.text for h in held]))
        timed = stream.deadline is not None
        try:
            while not task.done() and (deadline := stream.deadline) is not None:
                await asyncio.wait({task}, timeout=max(0.0, deadline - guard.now()))
                if not task.done():
                    for event in stream.expire():
                        yield event
            if task.done() or not timed:
                for event in stream.resolve(held, await task):
                    yield event
        finally:
            task.cancel()  # late, or nobody waits any more


class Models(Common):
    """Scorers by what they were loaded with, each loaded once and shared by its callers.

    Tasks of files are kept the same way. Copies of their owner share them, a pickle starts without any.
    """

    def __init__(self) -> None:
        self._lock, self._process = Lock(), os.getpid()
        self._scorers: dict[str, Scorer] = {}
        self._tasks: dict[str, Task] = {}

    def get(self, model: str, arguments: Mapping[str, Any]) -> Scorer:
        """The scorer that ``headgate.load(model, **arguments)`` gives, from the second call on at once.

        All of them have one worker: callers that wait at the same time share batches, and a lone one waits for nobody.
        And one :class:`headgate.StateCache`: what one has read of a query, others on its encoder don't read again.
        """
        key = repr((model, sorted(arguments.items())))
        with self._alone():  # two first calls load one model
            if key not in self._scorers:
                self._scorers[key] = shared(headgate.load(model, **arguments), _worker(), _states())
            return self._scorers[key]

    def task(self, path: str, device: str | None = None) -> Task:
        """The router, guard or reranker that ``headgate.restore(path)`` gives, from the second call on at once."""
        key = repr((path, device))
        with self._alone():
            if key not in self._tasks:
                task = headgate.restore(path, device=device or "auto")
                self._tasks[key] = replace(task, scorer=shared(task.scorer, _worker(), _states()))
            return self._tasks[key]

    def _alone(self) -> Lock:
        if os.getpid() != self._process:  # another thread of the parent may have been loading
            self._lock, self._process = Lock(), os.getpid()
        return self._lock


def unread(path: str, kind: type[Task]) -> Task:
    """The task of a file on :data:`UNREAD`, to check what it is and its settings before a model is read.

    Args:
        path: As ``headgate.save`` wrote it.
        kind: ``Router``, ``Guard`` or ``Reranker``.

    Raises:
        CheckpointError: There is no such file, it is damaged, or it is of something else.
    """
    from headgate.config import read

    saved = read(path)
    if saved.kind is not kind:
        raise CheckpointError(
            f"{path} is a file of a {saved.kind.__name__}; expected one of a {kind.__name__}, as "
            f"headgate.save writes it."
        )
    try:
        return saved.kind(UNREAD, **{**saved.settings, "certificate": None} if saved.certificate else saved.settings)
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"{path}: {e}") from e


def shared(scorer: Any, worker: Worker, states: StateCache) -> Any:  # noqa: ANN401  scorers of others have other types
    """The scorer with this worker and cache of states, beneath its calibration if it has one.

    Args:
        scorer: Any; one that offers neither ``shared`` nor ``remembering`` comes back as it is.
        worker: The same for all scorers of a device.
        states: The same for all that may read the same texts.
    """
    calibration = getattr(scorer, "calibration", None)
    if calibration is not None and hasattr(scorer, "scorer"):
        return calibration.on(shared(scorer.scorer, worker, states))
    if hasattr(scorer, "shared"):
        scorer = scorer.shared(worker)
    return scorer.remembering(states) if hasattr(scorer, "remembering") else scorer


class _EveryThreshold(dict[str, float]):
    def get(self, key: str, default: Any = None) -> float:  # noqa: ANN401
        return 0.5


class Unread:
    """Stands in for a scorer that is not loaded yet, so that a noun's own checks run before the model is read."""

    joint = False
    labels = None
    fingerprint = "unread"
    thresholds = _EveryThreshold()

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        """Raises: it knows nothing."""
        raise ScorerError(
            f"{len(texts)} texts came to the stand-in of a model that is not loaded; expected none: "
            "ask the adapter, which loads its model on first use."
        )


UNREAD = Unread()


class _Pool:
    """Threads for calls, and what keeps them from crowding out the event loop."""

    def __init__(self) -> None:
        self.door = ThreadPoolExecutor(1, thread_name_prefix="headgate-door")
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="headgate-caller")
        self.slots = Semaphore(AT_WORK)


def _make_states() -> StateCache:
    from headgate.runtime.state_cache import StateCache

    return StateCache()


def _make_worker() -> Worker:
    from headgate.runtime.worker import Worker

    return Worker(wait=0)


_pool = One(_Pool, forks=False)  # its threads stay with the parent
_states = One(_make_states)
_worker = One(_make_worker)
if hasattr(os, "register_at_fork"):
    for _one in (_pool, _states, _worker):
        os.register_at_fork(after_in_child=_one.forked)
