"""Attention of packed rows to themselves, by the kernel that suits device and dtype."""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from headgate.models.packed.rows import Group, Rows


def attend(tokens: Tensor, rows: Rows, queries: Tensor | None = None, *, window: int | None = None) -> Tensor:
    """Every token attends to its row.

    Args:
        tokens: As :meth:`Rows.attend` takes them.
        rows: Where they lie.
        queries: As there.
        window: Only to tokens at most so far away; None for all.
    """
    if tokens.is_cuda and tokens.dtype != torch.float32 and queries is None and rows.attended is None:
        return _variable(tokens, rows, window)

    def one(q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
        near = None if window is None or group.length <= window + 1 else _near(q.shape[2], group, window, q.device)
        mask = group.mask if near is None else near if group.mask is None else near & group.mask
        return attention(q, k, v, mask, q.shape[-1] ** -0.5)

    return rows.attend(tokens, one, queries)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """``softmax(scale q k') v``.

    Args:
        q: (rows, heads, queries, d).
        k: (rows, heads, tokens, d).
        v: As ``k``.
        mask: Bool, True where a query may look, broadcast to (rows, heads, queries, tokens); None for everywhere.
        scale: Of the products.
    """
    if q.device.type != "cpu" or q.dtype == torch.float32:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    # On a CPU torch's fused kernel takes twice as long in bfloat16 as the three steps that it fuses.
    return weighted(torch.matmul(q * scale, k.transpose(-1, -2)), v, mask)


def weighted(scores: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """``softmax(scores) v`` where ``mask`` allows; ``scores`` is used up."""
    if mask is not None:
        scores = scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    return torch.matmul(scores.softmax(-1), v)


def _near(queries: int, group: Group, window: int, device: torch.device) -> Tensor:
    places = torch.arange(group.length, device=device)
    return (places[:queries, None] - places).abs() <= window


def _variable(qkv: Tensor, rows: Rows, window: int | None) -> Tensor:
    """One kernel for rows of any lengths."""
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = qkv.unbind(1)  # (tokens, heads, d)
    size = (-1, -1) if window is None else (window, window)
    longest = max(rows.lengths)
    found = varlen_attn(q, k, v, rows.bounds, rows.bounds, longest, longest, window_size=size)
    assert isinstance(found, Tensor)
    return found.flatten(1)
