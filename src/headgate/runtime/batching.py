"""Rows of token ids, and the plan that runs them: no duplicates, like lengths together, bounded memory.

A padded batch costs rows x longest row, and something beside it, however small it is. So rows are
sorted by length and cut into the batches of least cost that keep within a budget: 1.7 times faster
than sorted batches of 32 on two cores, and 2.8 times faster than unsorted ones
(``benchmarks/batching.py``).
"""

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Row:
    """One input of a model: token ids with their special tokens, unpadded.

    Attributes:
        ids: (length,) int32.
        types: (length,) int32 token types, or None where the model has none.
        attended: How many tokens, the first ones, others attend to; None for all. What is behind them has states of its
            own and changes no other's, as ColBERT's mask tokens.
    """

    ids: Ids
    types: Ids | None = None
    attended: int | None = None

    @property
    def key(self) -> tuple[bytes, bytes, int]:
        """Equal for rows that the model can't tell apart."""
        attended = len(self.ids) if self.attended is None else self.attended
        return self.ids.tobytes(), b"" if self.types is None else self.types.tobytes(), attended


Forward = Callable[[Sequence[Row]], list[Array]]
"""Rows to one float32 array each, in input order; the one seam below the families."""


Answers = Callable[[], Sequence[Array]]
"""Waits for a batch that was launched: one array a row, in order."""


@dataclass(frozen=True)
class Work:
    """What a model has run.

    Attributes:
        rows: How many, equal ones of a call once.
        tokens: Of these rows, unpadded.
        padded: Tokens that went through the model, padding included.
        seconds: Spent in the model, launching batches and waiting for their arrays on the CPU.
    """

    rows: int = 0
    tokens: int = 0
    padded: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Work") -> "Work":
        return Work(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


def work(forward: Forward) -> Work:
    """What a Forward has run so far, its ``work``; nothing where it doesn't say."""
    found: Work = getattr(forward, "work", Work())
    return found


def budget(forward: Forward) -> int:
    """Padded tokens of a batch that a Forward takes, its ``max_tokens``; 4,096 where it doesn't say."""
    return int(getattr(forward, "max_tokens", 4096))


def packed(forward: Forward) -> bool:
    """True if a batch costs a Forward its tokens, and not its padding: its ``packed``."""
    return bool(getattr(forward, "packed", False))


class Around:
    """A Forward around another one: of itself it says what the other one says.

    Args:
        forward: The one inside.
    """

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    @property
    def max_tokens(self) -> int:
        """Of a batch of the forward inside."""
        return budget(self._forward)

    @property
    def packed(self) -> bool:
        """As the forward inside."""
        return packed(self._forward)

    @property
    def work(self) -> Work:
        """Of the forward inside: rows that somebody remembered are none."""
        return work(self._forward)

    def close(self) -> None:
        """Close the forward inside."""
        getattr(self._forward, "close", lambda: None)()


class Via(Around):
    """A Forward that is asked in another way.

    Args:
        forward: Whose model runs the rows.
        ask: Has it run them.
    """

    def __init__(self, forward: Forward, ask: Forward) -> None:
        super().__init__(forward)
        self._ask = ask

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One array a row, in order."""
        return self._ask(rows)


BATCH = 32
"""What a batch costs beside its rows, as one part in so many of the budget: about 6 ms on two cores."""


def plan(lengths: Sequence[int], max_tokens: int, *, packed: bool = False) -> list[list[int]]:
    """Indices of rows, batch by batch: every row once, padded size within the budget, at the least cost.

    Longest first, so that memory peaks at once or never. A row longer than the budget runs alone.

    Args:
        lengths: Tokens of each row.
        max_tokens: Largest rows x longest row of a batch, at least 1.
        packed: A batch costs its tokens, and not its padding.
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; expected at least 1.")
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    sizes = partition([lengths[i] for i in order], max_tokens, packed=packed)
    ends = np.cumsum(sizes).tolist()
    return [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def partition(lengths: Sequence[int], max_tokens: int, *, packed: bool = False) -> list[int]:
    """How many rows each batch takes, of rows sorted from long to short: the cut of least cost, from the end on.

    Args:
        lengths: Tokens of each row, falling.
        max_tokens: As of :func:`plan`.
        packed: As there.
    """
    count = len(lengths)
    cost, take = np.zeros(count + 1), np.ones(count, dtype=np.int64)
    ahead = np.arange(1, count + 1)
    for at in range(count - 1, -1, -1):
        most = min(count - at, max(1, max_tokens // max(1, lengths[at])))
        size = np.cumsum(lengths[at : at + most]) if packed else lengths[at] * ahead[:most]
        costs = size + cost[at + 1 : at + most + 1]
        take[at] = most - costs[::-1].argmin()  # the largest of those that cost the same
        cost[at] = costs.min() + max_tokens / BATCH
    sizes, at = [], 0
    while at < count:
        sizes.append(int(take[at]))
        at += sizes[-1]
    return sizes


def run(
    rows: Sequence[Row], max_tokens: int, launch: Callable[[list[Row]], Answers], *, packed: bool = False
) -> list[Array]:
    """One array a row, in input order, running equal rows once.

    A batch is launched before the answers of the one before it are read: so a device computes while the next batch is
    made, and never more than two of them are under way.

    Args:
        rows: Any number of rows.
        max_tokens: Budget of :func:`plan`.
        launch: Begins to run rows of like length together.
        packed: As of :func:`plan`.
    """
    keys = [row.key for row in rows]
    unique = list(dict(zip(keys, rows, strict=True)).items())
    found: dict[tuple[bytes, bytes, int], Array] = {}
    before: tuple[list[int], Answers] | None = None
    for indices in [*plan([len(row.ids) for _, row in unique], max_tokens, packed=packed), []]:
        launched = (indices, launch([unique[i][1] for i in indices])) if indices else None
        if before is not None:
            found.update(zip([unique[i][0] for i in before[0]], before[1](), strict=True))
        before = launched
    return [found[key] for key in keys]
