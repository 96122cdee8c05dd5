"""Encoder states that outlast a call, so that an embedder, a router and a ranker read a query once between them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from itertools import count
from operator import index
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from headgate.runtime.batching import Around, Array, Forward, Row
from headgate.runtime.states import FromStates, Key, Memo, Readable, Remembering

if TYPE_CHECKING:
    from headgate.runtime.torch_forward import Module

Place = tuple[int, Hashable]
"""An encoder, by number, and how its states are pooled."""


class StateCache:
    """What encoders said of the last few texts, for all that read their states; safe across threads.

        states = StateCache()
        embedder = load("mini/embed").remembering(states)
        heads = load("my/heads").remembering(states)  # on the encoder of mini/embed

    What one has read, a query that was embedded, the other judges without a pass through the encoder; and so does a
    ranker by late interaction. Encoders are the same where their weights are, whatever folder they came from. Only
    small calls are remembered: those of more rows, and documents to be embedded, are neither looked up nor kept, so
    that a corpus pushes nothing out.

    Args:
        megabytes: Of states kept, at least 1, least recently used out first. A query of 20 tokens takes 2 kilobytes of
            an encoder of width 384, and 32 where a ranker reads its tokens.
        rows: The most of a call that is remembered, at least 1: texts, or windows of long ones.
    """

    def __init__(self, megabytes: int = 64, rows: int = 8) -> None:
        if index(megabytes) < 1 or index(rows) < 1:
            raise ValueError(f"megabytes is {megabytes} and rows {rows}; expected whole numbers, 1 or more.")
        self.rows = rows
        self._most = megabytes << 20
        self._kept: OrderedDict[tuple[Place, Key], Array] = OrderedDict()
        self._size = 0
        self._numbers: WeakKeyDictionary[object, int] = WeakKeyDictionary()  # it keeps no model in memory
        self._next = count()
        self._whole: set[Place] = set()
        self._lock, self._process = threading.Lock(), os.getpid()

    def clear(self) -> None:
        """Forget all states."""
        with self._alone():
            self._kept.clear()
            self._size = 0

    def join(self, module: FromStates) -> None:
        """Say who will read: token states are kept once there is a reader of them."""
        with self._alone():
            if module.read is None:
                self._whole.add(self._place(module))

    def find(self, module: FromStates, keys: Sequence[Key], *, whole: bool) -> tuple[dict[Key, Array], bool]:
        """What is kept of these rows, with ``whole`` token states alone; and whether the others need token states."""
        with self._alone():
            place = self._place(module)
            found = {}
            for key in keys:
                states = self._kept.get((place, key))
                if states is not None and (states.ndim > 1 or not whole):
                    self._kept.move_to_end((place, key))
                    found[key] = states
            return found, whole or place in self._whole

    def keep(self, module: FromStates, key: Key, states: Array) -> Array:
        """Keep the states of a row; the same, as a copy of their own that nobody can write to."""
        own = np.array(states)  # a row of a batch would keep the whole batch in memory
        own.flags.writeable = False
        with self._alone():
            at = (self._place(module), key)
            known = self._kept.get(at)
            if own.nbytes <= self._most and (known is None or known.ndim < own.ndim):
                self._size += own.nbytes - (0 if known is None else known.nbytes)
                self._kept[at] = own
                self._kept.move_to_end(at)
                while self._size > self._most:
                    _, old = self._kept.popitem(last=False)
                    self._size -= old.nbytes
        return own

    def _place(self, module: FromStates) -> Place:
        number = self._numbers.get(module.encoder)
        if number is None:
            number = self._numbers[module.encoder] = next(self._next)
        return number, module.pooling

    def _alone(self) -> threading.Lock:
        if os.getpid() != self._process:  # another thread of the parent may have held the lock
            self._lock, self._process = threading.Lock(), os.getpid()
            self._size = sum(states.nbytes for states in self._kept.values())
        return self._lock


class Lasting(Around):
    """A Forward whose small calls leave their states in a cache, and run no row whose states are there.

    Args:
        forward: What runs the others.
        module: What it reads off the states.
        cache: Shared with other readers.
    """

    def __init__(self, forward: Readable, module: FromStates, cache: StateCache) -> None:
        super().__init__(forward)
        self._inside, self._module, self._cache = forward, module, cache
        cache.join(module)

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One float32 array a row, in order."""
        if self._passes(rows):
            return self._inside(rows)
        return self._module.of(self._states(rows, whole=self._module.read is None))

    def through(self, rows: Sequence[Row], module: Module | None = None) -> list[Array]:
        """The same through another module of the model; its states come from the cache too."""
        read = module in (self._module.states, self._module.pooled)
        if self._passes(rows) or not read:
            return self._inside.through(rows, module)
        whole = module == self._module.states
        return [s[-1] if s.ndim > 1 and not whole else s for s in self._states(rows, whole=whole)]

    @property
    def reads(self) -> FromStates | None:
        """As the forward inside."""
        return self._inside.reads

    @property
    def inside(self) -> Readable:
        """What it asks: for calls that leave nothing behind."""
        return self._inside

    def remembering(self, memo: Memo | StateCache) -> Forward:
        """See :func:`remembering`."""
        return self if memo is self._cache else remembering(self, memo)

    def _passes(self, rows: Sequence[Row]) -> bool:
        """Whether the rows go by the cache; of a closed scorer, so that it says so."""
        return not 0 < len(rows) <= self._cache.rows or self._inside.reads is None

    def _states(self, rows: Sequence[Row], *, whole: bool) -> list[Array]:
        keys = [row.key for row in rows]
        found, whole = self._cache.find(self._module, keys, whole=whole)
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
        if new:
            module = self._module.states if whole else self._module.pooled
            answers = self._inside.through(list(new.values()), module)
            for key, states in zip(new, answers, strict=True):
                found[key] = self._cache.keep(self._module, key, states)
        return [found[key] for key in keys]


def remembering(forward: Readable, memo: Memo | StateCache) -> Forward:
    """The same Forward, which runs no row whose states are in the memo; itself where it shares none.

    Args:
        forward: What runs the others.
        memo: Of one call, whose readers are all made before the first is asked; or one that lasts.
    """
    module = forward.reads
    if module is None:
        return forward
    if isinstance(memo, StateCache):
        return Lasting(forward, module, memo)
    return Remembering(forward.through, module, memo)


def unkept(forward: Forward) -> Forward:
    """The same, for rows that nobody will ask for again: they leave nothing in a StateCache."""
    inside: Forward = getattr(forward, "inside", forward)
    return inside
