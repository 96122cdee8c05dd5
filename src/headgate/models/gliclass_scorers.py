"""How GLiClass compares a text with the labels of its row.

A scorer gives the N logits of texts t (B, D), or (B, S, D) for cross-attn, and the labels c (N, D) of all rows one
after another; owner (N,) is the row of each label, text (B, S) tells which states are text.

Source: Knowledgator/GLiClass@40baa67, ``scorers.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from headgate.errors import CheckpointError

if TYPE_CHECKING:
    from headgate.models.gliclass import GLiClassConfig


class _Dot(nn.Module):
    """``t . c``, the scorer "simple"."""

    def __init__(self, width: int, config: GLiClassConfig) -> None:
        super().__init__()

    def forward(self, t: Tensor, c: Tensor, owner: Tensor, text: Tensor) -> Tensor:
        return (t[owner] * c).sum(-1)


class _Weighted(nn.Module):
    """A network of text, label, and the product of two more projections of them."""

    def __init__(self, width: int, config: GLiClassConfig) -> None:
        super().__init__()
        self.proj_text, self.proj_label = (nn.Linear(width, 2 * width) for _ in range(2))
        dropout, last = nn.Dropout(config.dropout), nn.Linear(4 * width, 1)
        self.out_mlp = nn.Sequential(nn.Linear(3 * width, 4 * width), dropout, nn.ReLU(), last)

    def forward(self, t: Tensor, c: Tensor, owner: Tensor, text: Tensor) -> Tensor:
        (t1, t2), (c1, c2) = self.proj_text(t)[owner].chunk(2, -1), self.proj_label(c).chunk(2, -1)
        return _logits(self.out_mlp, t1, c1, t2 * c2)


class _Mlp(nn.Module):
    """A network of text and label side by side."""

    def __init__(self, width: int, config: GLiClassConfig) -> None:
        super().__init__()
        self.mlp = _mlp(2 * width, 256, nn.ReLU)  # scorer_mlp_hidden_size is for cross-attn alone

    def forward(self, t: Tensor, c: Tensor, owner: Tensor, text: Tensor) -> Tensor:
        return _logits(self.mlp, t[owner], c)


class _Hopfield(nn.Module):
    """Labels compete: a softmax over the labels of a row shares its text out among them."""

    def __init__(self, width: int, config: GLiClassConfig) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.mlp = _mlp(width, 256, nn.ReLU)

    def forward(self, t: Tensor, c: Tensor, owner: Tensor, text: Tensor) -> Tensor:
        affinity = 4 * (self.q_proj(c) * self.k_proj(t)[owner]).sum(-1)
        rows = affinity.split(torch.bincount(owner).tolist())
        share = torch.cat([row.softmax(0) for row in rows]).unsqueeze(-1)
        return _logits(self.mlp, c + share * self.v_proj(t)[owner])


class _Cross(nn.Module):
    """Each label attends to the text of its own row; keys are normalised, values are not."""

    def __init__(self, width: int, config: GLiClassConfig) -> None:
        super().__init__()
        self.heads = config.scorer_num_heads
        if width % self.heads:
            raise CheckpointError(f"scorer_num_heads is {self.heads}; expected a divisor of {width}.")
        self.q_norm, self.kv_norm, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.score_mlp = _mlp(2 * width, config.scorer_mlp_hidden_size, nn.GELU)

    def forward(self, t: Tensor, c: Tensor, owner: Tensor, text: Tensor) -> Tensor:
        counts = torch.bincount(owner, minlength=len(t)).tolist()
        # (N, D) -> (B, most labels, D): queries that only fill up a row are thrown away below.
        padded = pad_sequence(self.q(self.q_norm(c)).split(counts), batch_first=True)
        states = (padded, self.k(self.kv_norm(t)), self.v(t))
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in states)  # (B, heads, n, D / heads)
        found = scaled_dot_product_attention(q, k, v, attn_mask=text[:, None, None]).transpose(1, 2).flatten(2)
        context = torch.cat([row[:n] for row, n in zip(found, counts, strict=True)])
        return _logits(self.score_mlp, self.norm(self.out(context)), c)


SCORERS = {"simple": _Dot, "weighted-dot": _Weighted, "mlp": _Mlp, "hopfield": _Hopfield, "cross-attn": _Cross}


def _mlp(width: int, hidden: int, act: type[nn.Module]) -> nn.Sequential:
    last = nn.Linear(hidden // 2, 1)
    return nn.Sequential(nn.Linear(width, hidden), act(), nn.Linear(hidden, hidden // 2), act(), last)


def _logits(mlp: nn.Sequential, *parts: Tensor) -> Tensor:
    logits: Tensor = mlp(torch.cat(parts, dim=-1)).squeeze(-1)
    return logits
