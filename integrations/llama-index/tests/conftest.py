import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import llama_index.core.instrumentation as instrument
import pytest
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler

import headgate
from headgate import Label, Scores
from headgate.testing import ToyScorer


@dataclass(frozen=True)
class CountingScorer(ToyScorer):
    """A toy that notes the size of every call, and may be slow or broken."""

    calls: list[int] = field(default_factory=list, compare=False)
    seconds: float = 0.0
    error: Exception | None = None

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        self.calls.append(len(texts))
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return super().score(texts, labels)


class Events(BaseEventHandler):
    """Keeps the events of the host's instrumentation."""

    seen: list[Any]

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.seen.append(event)


@pytest.fixture
def counting() -> type[CountingScorer]:
    return CountingScorer


@pytest.fixture
def events() -> Iterator[list[Any]]:
    root, handler = instrument.get_dispatcher(), Events(seen=[])
    root.add_event_handler(handler)
    yield handler.seen
    root.event_handlers.remove(handler)


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    root, handler = instrument.get_dispatcher(), SimpleSpanHandler()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


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
