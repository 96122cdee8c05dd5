"""One model on several devices: rows are dealt out, and every device runs its share at the same time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from headgate.runtime.batching import Array, Forward, Row, Work, budget, packed, work


class SpreadForward:
    """A Forward over copies of one model; what it gives does not depend on how many there are.

    Args:
        forwards: A copy each, on a device of its own.
    """

    def __init__(self, forwards: Sequence[Forward]) -> None:
        self._forwards = list(forwards)

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One float32 array a row, in order; an error of one copy is raised when the others are done."""
        shares = deal([len(row.ids) for row in rows], len(self._forwards))
        busy = [(forward, share) for forward, share in zip(self._forwards, shares, strict=True) if share]
        found: dict[int, Array] = {}
        with ThreadPoolExecutor(max(1, len(busy))) as pool:
            answers = [pool.submit(forward, [rows[i] for i in share]) for forward, share in busy]
        for (_, share), answer in zip(busy, answers, strict=True):
            found.update(zip(share, answer.result(), strict=True))
        return [found[i] for i in range(len(rows))]

    @property
    def max_tokens(self) -> int:
        """Of a batch that keeps every copy busy."""
        return sum(map(budget, self._forwards))

    @property
    def packed(self) -> bool:
        """As the copies are."""
        return all(map(packed, self._forwards))

    @property
    def work(self) -> Work:
        """Of all copies."""
        return sum(map(work, self._forwards), Work())

    def close(self) -> None:
        """Release every copy."""
        for forward in self._forwards:
            getattr(forward, "close", lambda: None)()


def deal(lengths: Sequence[int], hands: int) -> list[list[int]]:
    """Indices of rows for each hand, about as many tokens in each: the longest first, to whom has least.

    Args:
        lengths: Tokens of each row.
        hands: How many, at least 1.
    """
    found: list[list[int]] = [[] for _ in range(hands)]
    held = [0] * hands
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        least = held.index(min(held))
        found[least].append(i)
        held[least] += max(1, lengths[i])
    return found
