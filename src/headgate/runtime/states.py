"""Several readers of one encoder's states: within a call, a row goes through the encoder once.

Heads, embeddings and late interaction on one encoder differ in what they read off its states. Who asks first has the
encoder run; the others read what it said. A :class:`headgate.StateCache` does the same from call to call.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from headgate.runtime.batching import Array, Row

if TYPE_CHECKING:
    import torch

    from headgate.runtime.torch_forward import Batch, Module

KEPT_BYTES = 512 << 20
"""States that a call holds for its other readers: rows behind them go through the encoder once for each reader."""

Memo = MutableMapping[Hashable, object]
"""What the scorers of one call share; empty at its beginning."""

Key = tuple[bytes, bytes, int]
"""Of a row."""


@dataclass(frozen=True, eq=False)
class FromStates:
    """A module that reads the states of an encoder, which others may read too.

    Attributes:
        alone: What runs where nobody else reads them.
        states: For each row (tokens + 1, hidden): its token states, and behind them the pooled one.
        pooled: (rows, hidden).
        encoder: What gives the states; the same object, the same states.
        pooling: How they are pooled.
        read: (n, hidden) pooled states to what ``alone`` gives; None takes ``states`` as they are.
    """

    alone: Module
    states: Module
    pooled: Module
    encoder: object
    pooling: Hashable
    read: Callable[[Array], Array] | None

    def __call__(self, batch: Batch) -> torch.Tensor | Sequence[torch.Tensor]:
        """One tensor a row."""
        return self.alone(batch)

    def of(self, states: Sequence[Array]) -> list[Array]:
        """What ``alone`` gives, of the states of at least one row: its token states or, where they do, the pooled."""
        if self.read is None:
            return list(states)
        return list(self.read(np.stack([s[-1] if s.ndim > 1 else s for s in states])))


@dataclass(eq=False)
class Seen:
    """What an encoder said of the rows of a call.

    Attributes:
        readers: How many will ask.
        whole: One of them reads token states.
        kept: By the key of the row: (tokens + 1, hidden), or (hidden,) where all read the pooled state.
        size: Of those, in bytes.
    """

    readers: int = 0
    whole: bool = False
    kept: dict[Key, Array] = field(default_factory=dict)
    size: int = 0

    def keep(self, key: Key, array: Array) -> None:
        """Hold it while there is room: those that came first stay, since everybody asks in the same order."""
        if key not in self.kept and self.size + array.nbytes <= KEPT_BYTES:
            self.kept[key] = np.array(array)  # a row of a batch would keep the whole batch in memory
            self.size += array.nbytes


class Through(Protocol):
    """Rows through a module, in batches."""

    def __call__(self, rows: Sequence[Row], module: Module | None = None) -> list[Array]:
        """One array a row, in order; None is the module that it was made with."""


class Readable(Protocol):
    """A Forward whose encoder others may read too."""

    @property
    def reads(self) -> FromStates | None:
        """What it reads off which states; None where it shares none, or was closed."""
        ...

    @property
    def through(self) -> Through:
        """Its rows, through any module of its model."""
        ...

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One float32 array a row, in order."""
        ...


class Remembering:
    """A Forward for one call, which runs no row that another reader of the same states has run.

    Args:
        through: What runs the rest.
        module: What it reads off the states.
        memo: Of the call; its readers must all be made before the first one is asked.
    """

    def __init__(self, through: Through, module: FromStates, memo: Memo) -> None:
        found = memo.setdefault(("states", module.encoder, module.pooling), Seen())
        assert isinstance(found, Seen)
        self._through, self._module, self._seen = through, module, found
        found.readers += 1
        found.whole |= module.read is None

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One float32 array a row, in order."""
        if self._seen.readers == 1 or not rows:
            return self._through(rows)
        keys = [row.key for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._seen.kept}
        whole = self._seen.whole
        # Also where nothing is new: a scorer that was closed must say so.
        answers = self._through(list(new.values()), self._module.states if whole else self._module.pooled)
        found = dict(zip(new, answers, strict=True))
        states = [found[key] if key in found else self._seen.kept[key] for key in keys]
        for key, array in found.items():
            self._seen.keep(key, array)
        return self._module.of(states)
