"""Several readers of one encoder's states: within a call, a row goes through the encoder once.

Heads, embeddings and late interaction on one encoder differ in what they read off its states. Who asks first has the
encoder run; the others read what it said.
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


@dataclass(frozen=True, eq=False)
class FromStates:
    """A module that reads the states of an encoder, which others may read too.

    Attributes:
        alone: What runs where nobody else reads them.
        states: For each row (tokens + 1, hidden): its token states, and behind them the pooled one.
        pooled: (rows, hidden).
        key: Equal for modules whose states are the same.
        read: (n, hidden) pooled states to what ``alone`` gives; None takes ``states`` as they are.
    """

    alone: Module
    states: Module
    pooled: Module
    key: Hashable
    read: Callable[[Array], Array] | None

    def __call__(self, batch: Batch) -> torch.Tensor | Sequence[torch.Tensor]:
        """One tensor a row."""
        return self.alone(batch)


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
    kept: dict[tuple[bytes, bytes, int], Array] = field(default_factory=dict)
    size: int = 0

    def keep(self, key: tuple[bytes, bytes, int], array: Array) -> None:
        """Hold it while there is room: those that came first stay, since everybody asks in the same order."""
        if key not in self.kept and self.size + array.nbytes <= KEPT_BYTES:
            self.kept[key] = np.array(array)  # a row of a batch would keep the whole batch in memory
            self.size += array.nbytes


class Through(Protocol):
    """Rows through a module, in batches."""

    def __call__(self, rows: Sequence[Row], module: Module | None = None) -> list[Array]:
        """One array a row, in order; None is the module that it was made with."""


class Remembering:
    """A Forward for one call, which runs no row that another reader of the same states has run.

    Args:
        through: What runs the rest.
        module: What it reads off the states.
        memo: Of the call; its readers must all be made before the first one is asked.
    """

    def __init__(self, through: Through, module: FromStates, memo: Memo) -> None:
        found = memo.setdefault(("states", module.key), Seen())
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
        if self._module.read is None:
            return states
        return list(self._module.read(np.stack([s[-1] if whole else s for s in states])))
