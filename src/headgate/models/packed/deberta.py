"""DeBERTa-v2 and v3 over packed rows: attention to content and to relative position, apart.

    score(i, j) = (q_i k_j  +  q_i P_k[b(i - j)]  +  k_j P_q[b(i - j)]) / sqrt(3 d)

b puts a distance into a bucket, one of its own for the near ones. P_k and P_q depend on weights alone: they are
computed once, at loading. A row multiplies with the buckets that its distances fall into, and with no others. Large
batches on a GPU go through one kernel (flexible.py), others through a call for each group of rows.

Source: He et al. 2020 (arXiv:2006.03654), 2021 (arXiv:2111.09543); the reference is ``modeling_deberta_v2.py`` of
transformers.
"""

import torch
from torch import Tensor, nn
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

from headgate.models.packed import flexible
from headgate.models.packed.attention import weighted
from headgate.models.packed.bert import PostNorm, QueryKeyValue
from headgate.models.packed.linear import attention_dtype
from headgate.models.packed.rows import Group, Rows
from headgate.runtime.device import there


class Positions:
    """Buckets of relative positions, shared by all layers.

    Args:
        encoder: The ``encoder`` of a transformers model.
    """

    def __init__(self, encoder: nn.Module) -> None:
        self._buckets = int(encoder.position_buckets)  # type: ignore[arg-type]
        self._farthest = int(encoder.max_relative_positions)  # type: ignore[arg-type]
        self.span = self._buckets if self._buckets > 0 else self._farthest
        self.embeddings: Tensor = encoder.get_rel_embedding().detach()[: 2 * self.span]  # type: ignore[operator]

    def of(self, group: Group, device: torch.device) -> tuple[slice, Tensor]:
        """The run of buckets that a row's distances fall into, and which of these each pair (i, j) has."""
        if self not in group.kept:
            group.kept[self] = self._table(group.length, device)
        found: tuple[slice, Tensor] = group.kept[self]
        return found

    def layout(self, rows: Rows) -> tuple[slice, flexible.Layout]:
        """The run of buckets that the distances of the longest row fall into, and the layout of all rows."""
        if self not in rows.kept:
            run, buckets = self._run(max(rows.lengths))
            rows.kept[self] = run, flexible.layout(rows, buckets)
        found: tuple[slice, flexible.Layout] = rows.kept[self]
        return found

    def _table(self, length: int, device: torch.device) -> tuple[slice, Tensor]:
        run, buckets = self._run(length)
        places = torch.arange(length)
        return run, there(buckets[places[:, None] - places + length - 1], device)

    def _run(self, length: int) -> tuple[slice, Tensor]:
        """The run of buckets, and which of these each distance from 1 - length to length - 1 has."""
        distances = torch.arange(1 - length, length)
        if self._buckets > 0 and self._farthest > 0:
            distances = make_log_bucket_position(distances, self._buckets, self._farthest).long()
        of = (distances + self.span).clamp_(0, 2 * self.span - 1)
        low = int(of.min())
        return slice(low, int(of.max()) + 1), of - low


class DebertaLayer:
    """One layer; see the module.

    Args:
        layer: Of transformers.
        config: Its configuration.
        positions: Of the model.
        dtype: Of the products; sums and norms keep that of the states.
        last: Of the model.
    """

    def __init__(
        self, layer: nn.Module, config: object, positions: Positions, dtype: torch.dtype, *, last: bool
    ) -> None:
        of = layer.get_submodule("attention.self")
        self._heads, self._positions = int(of.num_attention_heads), positions  # type: ignore[arg-type]
        self._qkv = QueryKeyValue([of.query_proj, of.key_proj, of.value_proj], self._heads, dtype, last=last)  # type: ignore[list-item]
        kinds = of.pos_att_type
        self._scale = (of.attention_head_size * (1 + ("c2p" in kinds) + ("p2c" in kinds))) ** -0.5  # type: ignore[operator]
        shared = of.share_att_key
        keys = of.key_proj if shared else getattr(of, "pos_key_proj", None)
        queries = of.query_proj if shared else getattr(of, "pos_query_proj", None)
        body = attention_dtype(dtype)
        self._keys = self._projected(keys, body) if "c2p" in kinds else None  # type: ignore[arg-type, operator]
        self._queries = self._projected(queries, body) if "p2c" in kinds else None  # type: ignore[arg-type, operator]
        self._feed = PostNorm(layer, config, dtype)

    def __call__(self, x: Tensor, rows: Rows, *, first: bool) -> Tensor:
        """(tokens, D) states to the next layer's, or to the (rows, D) states of first tokens alone."""
        tokens, queries = self._qkv(x, rows, first=first)
        found = self._at_once(tokens, rows) if queries is None and flexible.compiled.worth(tokens) else None
        if found is None:
            found = rows.attend(tokens, self._attend, queries)
        return self._feed(x[rows.starts] if first else x, found)

    def _projected(self, by: nn.Linear, dtype: torch.dtype) -> Tensor:
        """(heads, buckets, d) positions as keys or queries, scaled."""
        found: Tensor = by(self._positions.embeddings.to(by.weight.dtype)).detach().float() * self._scale
        return found.view(len(found), self._heads, -1).transpose(0, 1).to(dtype).contiguous()

    def _at_once(self, tokens: Tensor, rows: Rows) -> Tensor | None:
        """Of all rows, (tokens, heads x d); None where the kernel can't be had."""
        run, layout = self._positions.layout(rows)
        q, k, v = tokens.permute(1, 2, 0, 3)  # each (heads, tokens, d)
        # (heads, tokens, buckets)
        asking = None if self._keys is None else torch.matmul(q, self._keys[:, run].transpose(-1, -2))
        asked = None if self._queries is None else torch.matmul(k, self._queries[:, run].transpose(-1, -2))
        found = flexible.compiled(torch.stack([q * self._scale, k, v]), asking, asked, layout)
        return None if found is None else found.transpose(0, 1).flatten(1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
        buckets, pairs = self._positions.of(group, q.device)
        asked = q.shape[2]
        scores = torch.matmul(q * self._scale, k.transpose(-1, -2))  # (rows, heads, queries, tokens)
        if self._keys is not None:
            near = torch.matmul(q, self._keys[:, buckets].transpose(-1, -2))  # (rows, heads, queries, buckets)
            scores += near.gather(-1, pairs[:asked].expand(*near.shape[:2], -1, -1))
        if self._queries is not None:
            near = torch.matmul(k, self._queries[:, buckets].transpose(-1, -2))  # (rows, heads, tokens, buckets)
            # Of key j towards query i: the bucket of i - j, which stands in column i of pairs' transpose.
            found = near.gather(-1, pairs[:asked].T.expand(*near.shape[:2], -1, -1))
            scores += found.transpose(-1, -2)
        return weighted(scores, v, group.mask)
