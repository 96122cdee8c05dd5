"""Where the rows of a packed batch lie, and how attention goes through them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from headgate.runtime.device import there

SHORT = 128
"""Rows up to so many tokens share one attention call on a CPU, filled up to the longest of them,"""
NEAR = 16
"""if they differ by fewer tokens than this: what is filled up is cheaper than one more call."""


@dataclass(frozen=True, eq=False)
class Group:
    """Neighbouring rows that attention takes at once.

    Attributes:
        start: First token of the first row.
        stop: Behind the last token of the last row.
        count: Rows.
        length: Tokens of the longest.
        mask: (count, 1, 1, length) bool, True on tokens that others attend to; None for all.
        places: (tokens,) int64: where tokens lie among count x length; None where all rows are of that length.
        kept: What attention needs in every layer and computes once.
    """

    start: int
    stop: int
    count: int
    length: int
    mask: Tensor | None
    places: Tensor | None
    kept: dict[object, Any] = field(default_factory=dict)


Attend = Callable[[Tensor, Tensor, Tensor, Group], Tensor]
"""q (rows, heads, queries, d), k and v (rows, heads, tokens, d) to (rows, heads, queries, d)."""


class Rows:
    """The rows of a packed batch, one after another. Nothing waits for the device: all is counted on the CPU.

    Args:
        lengths: Tokens of each row, at least 1.
        device: Where the batch is.
        attended: How many tokens of each row, the first ones, others attend to; None for all.
        fill: Rows of near lengths may share a call. In few digits kernels round by the length filled up to, and a
            row's states would depend on its mates.

    Attributes:
        kept: What attention to all rows at once needs in every layer and computes once.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        device: torch.device,
        attended: Sequence[int] | None = None,
        *,
        fill: bool = True,
    ) -> None:
        self.lengths = list(lengths)
        self.device = device
        self.fill = fill
        self.kept: dict[object, Any] = {}
        self.attended = None if attended is None or list(attended) == self.lengths else list(attended)

    @cached_property
    def starts(self) -> Tensor:
        """(rows,) int64: the first token of each row."""
        return there(torch.tensor([0, *self.lengths[:-1]]).cumsum(0), self.device)

    @cached_property
    def positions(self) -> Tensor:
        """(tokens,) int64: places within the row, from 0 on."""
        return there(torch.cat([torch.arange(n) for n in self.lengths]), self.device)

    @cached_property
    def bounds(self) -> Tensor:
        """(rows + 1,) int32: where rows begin and the last one ends, as variable-length kernels want it."""
        return there(torch.tensor([0, *self.lengths]).cumsum(0).int(), self.device)

    @cached_property
    def groups(self) -> list[Group]:
        """All rows, in order."""
        found, first, start = [], 0, 0
        for i in range(1, len(self.lengths) + 1):
            if i < len(self.lengths) and self._near(self.lengths[first : i + 1]):
                continue
            stop = start + sum(self.lengths[first:i])
            found.append(self._group(start, stop, slice(first, i)))
            first, start = i, stop
        return found

    def _near(self, lengths: list[int]) -> bool:
        """True if rows may share a call."""
        low, high = min(lengths), max(lengths)
        if self.device.type != "cpu":  # where a call costs more than what is filled up
            return high - low <= max(NEAR, high // 4)
        return low == high or (self.fill and high <= SHORT and high - low < NEAR)

    def _group(self, start: int, stop: int, rows: slice) -> Group:
        lengths = self.lengths[rows]
        longest = max(lengths)
        full = None if min(lengths) == longest else _first(lengths, longest)
        keys = full if self.attended is None else _first(self.attended[rows], longest)
        mask = None if keys is None else there(keys[:, None, None], self.device)
        places = None if full is None else there(full.flatten().nonzero()[:, 0], self.device)
        return Group(start, stop, len(lengths), longest, mask, places)

    def attend(self, tokens: Tensor, attend: Attend, queries: Tensor | None = None) -> Tensor:
        """Attention of every row to itself.

        Args:
            tokens: (tokens, 3, heads, d) queries, keys, values; or (tokens, 2, heads, d) where ``queries`` are given.
            attend: What a group goes through.
            queries: (rows, heads, d): of each row the first token alone asks.

        Returns:
            (tokens, heads x d), or one line a row where ``queries`` are given.
        """
        found = tokens.new_empty(len(tokens) if queries is None else len(self.lengths), tokens[0, 0].numel())
        row = 0
        for group in self.groups:
            part = filled(tokens[group.start : group.stop], group)  # (rows, length, 3 or 2, heads, d)
            *q, k, v = part.permute(2, 0, 3, 1, 4)
            asked = q[0] if queries is None else queries[row : row + group.count].unsqueeze(2)
            out = attend(asked, k, v, group).transpose(1, 2)  # (rows, queries, heads, d)
            if queries is not None:
                found[row : row + group.count] = out.reshape(group.count, -1)
            else:
                out = out.reshape(group.count * group.length, -1)
                found[group.start : group.stop] = out if group.places is None else out[group.places]
            row += group.count
        return found


def _first(sizes: list[int], longest: int) -> Tensor:
    """(rows, longest) bool on the CPU, True on the first tokens of each."""
    return torch.arange(longest) < torch.tensor(sizes)[:, None]


def filled(tokens: Tensor, group: Group, fill: float = 0) -> Tensor:
    """(rows, length, …) from (tokens, …), ``fill`` behind the last token of a row."""
    if group.places is None:
        return tokens.view(group.count, group.length, *tokens.shape[1:])
    out = tokens.new_full((group.count * group.length, *tokens.shape[1:]), fill)
    out[group.places] = tokens
    return out.view(group.count, group.length, *tokens.shape[1:])
