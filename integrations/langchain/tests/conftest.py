import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.tracers.base import BaseTracer
from langchain_core.tracers.schemas import Run

import headgate
from headgate import Label, Scores
from headgate.testing import ToyScorer


@dataclass(frozen=True)
class CountingScorer(ToyScorer):
    """A toy that notes the size of every call, and may be slow or broken."""

    calls: list[int] = field(default_factory=list, compare=False)
    seconds: float = 0.0
    gate: threading.Event | None = field(default=None, compare=False)
    error: Exception | None = None

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        self.calls.append(len(texts))
        time.sleep(self.seconds)
        assert self.gate is None or self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return super().score(texts, labels)


class Recorder(BaseTracer):
    """Keeps finished root runs."""

    def __init__(self) -> None:
        super().__init__()
        self.roots: list[Run] = []

    def _persist_run(self, run: Run) -> None:
        self.roots.append(run)


@pytest.fixture
def counting() -> type[CountingScorer]:
    return CountingScorer


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What headgate.load was called with; it gives toys that bring a threshold."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def load(where: str, **arguments: Any) -> ToyScorer:
        seen.append((where, arguments))
        time.sleep(0.02)  # long enough for threads to meet here
        return CountingScorer(thresholds={"spam": 0.5})

    monkeypatch.setitem(vars(headgate), "load", load)  # without importing torch
    return seen


@pytest.fixture
def ticks() -> Callable[[Awaitable[Any]], Awaitable[tuple[Any, int]]]:
    """Awaits something and counts how often the event loop turned meanwhile, every 10 ms."""

    async def run(work: Awaitable[Any]) -> tuple[Any, int]:
        count = 0

        async def clock() -> None:
            nonlocal count
            while True:
                await asyncio.sleep(0.01)
                count += 1

        task = asyncio.create_task(clock())
        result = await work
        task.cancel()
        return result, count

    return run
