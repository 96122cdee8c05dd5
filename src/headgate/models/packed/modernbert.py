"""ModernBERT over packed rows: rotary positions, gated feed-forward, local attention in most layers.

Source: Warner et al. 2024 (arXiv:2412.13663); the reference is transformers' ``modeling_modernbert.py``.
"""

from functools import partial

import torch
from torch import Tensor, nn

from headgate.models.packed.attention import attend
from headgate.models.packed.bert import ACTIVATIONS, QueryKeyValue
from headgate.models.packed.linear import Linear
from headgate.models.packed.rows import Rows


class ModernBertLayer:
    """One layer: ``x = x + attention(norm(x)); x = x + feed_forward(norm(x))``.

    Args:
        layer: Of transformers.
        rotary: The model's, which gives (1, tokens, d) cosines and sines for positions.
        dtype: Of the products; sums and norms keep that of the states.
        last: Of the model.
    """

    def __init__(self, layer: nn.Module, rotary: nn.Module, dtype: torch.dtype, *, last: bool) -> None:
        config, kind = layer.config, layer.attention_type
        self._window = int(config.sliding_window) if kind == "sliding_attention" else None  # type: ignore[union-attr, arg-type]
        self._turns = partial(rotary, layer_type=kind)
        get = layer.get_submodule
        self._norm, self._mlp_norm = get("attn_norm"), get("mlp_norm")
        heads = int(config.num_attention_heads)  # type: ignore[union-attr, arg-type]
        self._qkv = QueryKeyValue(_parts(get("attn.Wqkv"), 3), heads, dtype, last=last)
        self._out = Linear([get("attn.Wo")], dtype)  # type: ignore[list-item]
        self._act = ACTIVATIONS[config.hidden_activation]  # type: ignore[union-attr, index]
        self._up, self._gate = (Linear([half], dtype) for half in _parts(get("mlp.Wi"), 2))
        self._down = Linear([get("mlp.Wo")], dtype)  # type: ignore[list-item]

    def __call__(self, x: Tensor, rows: Rows, *, first: bool) -> Tensor:
        """(tokens, D) states to the next layer's, or to the (rows, D) states of first tokens alone."""
        tokens, queries = self._qkv(self._norm(x), rows, first=first)
        cosines, sines = self._turns(x[None], rows.positions[None])  # each (1, tokens, d)
        # Values are not turned, and neither is a first token: its place is 0.
        _turn(tokens[:, :-1], cosines[0, :, None, None], sines[0, :, None, None])
        x = self._out.plus(attend(tokens, rows, queries, window=self._window), x[rows.starts] if first else x)
        y = self._mlp_norm(x)
        return self._down.plus(self._up(y, self._act).mul_(self._gate(y)), x)


def _turn(x: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotate queries and keys (tokens, 2 or 1, heads, d) in place, in float32."""
    left, right = x.float().chunk(2, -1)
    half = cosines.shape[-1] // 2
    cosines, sines = cosines[..., :half].float(), sines[..., :half].float()
    x.copy_(torch.cat([left * cosines - right * sines, right * cosines + left * sines], -1))


def _parts(whole: nn.Module, count: int) -> list[nn.Linear]:
    """The linear layers of one size that lie above one another in one."""
    assert isinstance(whole, nn.Linear)
    biases = [None] * count if whole.bias is None else whole.bias.chunk(count)
    found = []
    for weight, bias in zip(whole.weight.chunk(count), biases, strict=True):
        part = nn.Linear(whole.in_features, len(weight), bias=bias is not None, device="meta")
        part.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            part.bias = nn.Parameter(bias, requires_grad=False)
        found.append(part)
    return found
