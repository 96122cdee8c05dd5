"""How an adapter is made and used, and the scorers that the suite puts into it."""

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from headgate import Scorer
from headgate.testing import ToyScorer


@dataclass(frozen=True)
class Case:
    """One way to make and use a class.

    Attributes:
        cls: The class.
        scalars: Arguments that describe it; its model is loaded at the first call.
        ready: The argument that takes a ready noun instead.
        noun: The same noun as ``scalars`` describe, on a scorer.
        inputs: What it is given, one a call; made anew for each test.
        call: (adapter, input) -> result.
        acall: The same, awaited.
        batch, abatch: (adapter, inputs) -> results, where the host has such a thing.
        plain: A result as something that compares.
        nothing: An input that holds nothing to judge, and its result: no model is asked.
        alike: Inputs between which the model sees no difference, and their ids; ``ids`` reads those of a result.
        ids: The ids in a result, in order.
        fired: Names that the host's tracing must show, in order.
        wrong: Arguments that must be refused at construction, each with a pattern of the message.
        hands: The input is handed through as it is; else a result shares nothing with it that can change.
        beside: Arguments that go with ``ready`` too.
        name: Of the case, where a class has several.
    """

    cls: type
    scalars: Mapping[str, Any]
    ready: str
    noun: Callable[[Scorer], Any]
    inputs: Callable[[], Sequence[Any]]
    call: Callable[[Any, Any], Any]
    acall: Callable[[Any, Any], Awaitable[Any]]
    batch: Callable[[Any, list[Any]], list[Any]] | None = None
    abatch: Callable[[Any, list[Any]], Awaitable[list[Any]]] | None = None
    plain: Callable[[Any], Any] = lambda result: result
    nothing: Callable[[], tuple[Any, Any]] | None = None
    alike: Callable[[], tuple[Any, list[str]]] | None = None
    ids: Callable[[Any], list[str]] | None = None
    fired: tuple[str, ...] = ()
    wrong: tuple[tuple[Mapping[str, Any], str], ...] = ()
    hands: bool = False
    beside: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    def __str__(self) -> str:
        return self.name or self.cls.__name__

    def lazy(self) -> Any:
        """An adapter whose model is loaded at the first call."""
        return self.cls(**self.scalars, **self.beside)

    def on(self, scorer: Scorer) -> Any:
        """An adapter around a ready noun on ``scorer``."""
        return self.cls(**{self.ready: self.noun(scorer)}, **self.beside)


class Gate:
    """Somewhere a thread waits until it is let through."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def wait(self) -> None:
        """Tell that somebody is here, and wait; ten seconds are a deadlock."""
        self.entered.set()
        assert self.open.wait(10), "held for ten seconds: whoever should open the gate can't run"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Gate":
        return self


@dataclass(frozen=True)
class Held(ToyScorer):
    """A toy that waits at a gate, or fails; it embeds too, and counts its calls."""

    gate: Gate | None = field(default=None, compare=False)
    error: Exception | None = field(default=None, compare=False)
    calls: list[int] = field(default_factory=list, compare=False)

    def score(self, texts: Sequence[str], labels: Sequence[Any]) -> Any:
        """As the toy, once it is let."""
        self._pass(len(texts))
        return super().score(texts, labels)

    def embed(self, texts: Sequence[str], *, role: str) -> Any:
        """Vectors of length 1 that tell texts and roles apart, once it is let."""
        self._pass(len(texts))
        raw = [[1 + len(text), 1 + sum(text.encode()) % 7, 1 + len(role)] for text in texts]
        counts = np.array(raw, dtype=np.float32).reshape(-1, 3)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def _pass(self, size: int) -> None:
        self.calls.append(size)
        if self.gate is not None:
            self.gate.wait()
        if self.error is not None:
            raise self.error


def fails() -> Held:
    """A scorer whose device is gone."""
    return Held(error=OSError("the device is gone"))


def snapshot(value: Any) -> Any:
    """A copy that later changes of ``value`` don't reach."""
    return deepcopy(value)
