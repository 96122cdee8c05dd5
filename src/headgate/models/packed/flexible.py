"""Attention to content and to relative position, of all rows of a batch by one kernel: DeBERTa on a GPU.

    score(i, j) = q_i k_j  +  asking[i, b(i - j)]  +  asked[j, b(i - j)]        where i and j are of one row

``asking`` and ``asked`` are queries and keys times the positions of every bucket b. torch's FlexAttention looks them up
while it computes, skips blocks of tokens that share no row, and keeps no array of queries x keys. Compiling takes
seconds, once a process, so small batches go without. In few digits the kernel rounds by where a row begins within its
blocks: there a score depends a little on what lies before it in the batch.

Source: Dong et al. 2024, "Flex Attention" (arXiv:2412.05496).
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from headgate.models.packed.rows import Rows
from headgate.runtime.device import there

log = logging.getLogger(__name__)

BLOCK = 128
"""Tokens of a block that the kernel takes or skips."""
LEAST = 4096
"""Tokens of the smallest batch that goes this way: less would not pay for the compiler's seconds."""

Attention = Callable[..., Tensor]


@dataclass(frozen=True, eq=False)
class Layout:
    """What all layers need to know of a batch of T tokens, whose longest row has L; int32 on the device.

    Attributes:
        buckets: (2 L - 1,) the bucket of each distance from 1 - L to L - 1.
        far: (T,) a token's place within its row, plus L - 1, so that ``far[i] - near[j]`` is never below 0.
        near: (T,) a token's place within its row.
        blocks: Which tokens are of one row and attended to, and which blocks of keys hold such for a block of queries.
    """

    buckets: Tensor
    far: Tensor
    near: Tensor
    blocks: BlockMask


def layout(rows: Rows, buckets: Tensor) -> Layout:
    """The layout of a batch.

    Args:
        rows: Where they lie.
        buckets: As in :class:`Layout`, on the CPU.
    """
    lengths = torch.tensor(rows.lengths)
    row = torch.arange(len(lengths)).repeat_interleave(lengths)
    near = torch.arange(len(row)) - (lengths.cumsum(0) - lengths)[row]
    seen = row
    if rows.attended is not None:
        seen = row.masked_fill(near >= torch.tensor(rows.attended)[row], -1)
    far = near + max(rows.lengths) - 1
    on = [there(part.int(), rows.device) for part in (buckets, far, near, row, seen)]
    return Layout(on[0], on[1], on[2], _blocks(lengths, row, on[3], on[4]))


def _blocks(lengths: Tensor, row: Tensor, asking: Tensor, asked: Tensor) -> BlockMask:
    """From the lengths alone: torch's own way goes through an array of queries x keys.

    Args:
        lengths: (rows,) on the CPU.
        row: (T,) of each token, on the CPU.
        asking: The same on the device.
        asked: The same, -1 on tokens that none attends to.
    """
    ends = lengths.cumsum(0)
    first = torch.arange(0, len(row), BLOCK)
    last = (first + BLOCK - 1).clamp(max=len(row) - 1)
    low = (ends - lengths)[row[first]] // BLOCK
    high = (ends[row[last]] - 1) // BLOCK
    keys = (low[:, None] + torch.arange(len(first))).clamp(max=len(first) - 1)  # only the first of them count

    def together(batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return asking[i] == asked[j]

    count, keys = (there(part.int()[None, None], asking.device) for part in (high - low + 1, keys))
    size = (len(row), len(row))
    return BlockMask.from_kv_blocks(
        count, keys, BLOCK_SIZE=BLOCK, mask_mod=together, seq_lengths=size, compute_q_blocks=False
    )


def relative(qkv: Tensor, asking: Tensor | None, asked: Tensor | None, at: Layout) -> Tensor:
    """Attention of every row to itself.

    Args:
        qkv: (3, heads, T, d) queries, scaled, keys and values.
        asking: (heads, T, buckets), or None.
        asked: As ``asking``.
        at: Of the batch.

    Returns:
        (heads, T, d).
    """
    buckets, far, near = at.buckets, at.far, at.near

    def biased(score: Tensor, batch: Tensor, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        bucket = buckets[far[i] - near[j]]
        if asking is not None:
            score = score + asking[head, i, bucket]
        return score if asked is None else score + asked[head, j, bucket]

    q, k, v = qkv[:, None]
    found = flex_attention(q, k, v, score_mod=biased, block_mask=at.blocks, scale=1.0)
    assert isinstance(found, Tensor)
    return found[0]


def _whole(function: Attention) -> Attention:
    return torch.compile(function, dynamic=True, fullgraph=True)


class Compiled:
    """:func:`relative`, compiled at its first call for batches of any size; gives up for good where that fails.

    Args:
        compiler: Makes a faster function of one.
    """

    def __init__(self, compiler: Callable[[Attention], Attention] = _whole) -> None:
        self._compiler = compiler
        self._call: Attention | None = None
        self._failed = False

    def worth(self, tokens: Tensor) -> bool:
        """True for large batches on a GPU, unless compiling has failed before.

        Args:
            tokens: (T, …).
        """
        return tokens.is_cuda and len(tokens) >= LEAST and not self._failed

    def __call__(self, qkv: Tensor, asking: Tensor | None, asked: Tensor | None, at: Layout) -> Tensor | None:
        """What :func:`relative` gives, or None where it can't be compiled."""
        try:
            self._call = self._call or self._compiler(relative)
            return self._call(qkv, asking, asked, at)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ImportError) as e:  # no compiler, no Triton, or no kernel for this model
            self._failed = True
            log.warning("FlexAttention can't be compiled here; DeBERTa's rows attend group by group: %s", e)
            return None


compiled = Compiled()
"""The process's own."""
