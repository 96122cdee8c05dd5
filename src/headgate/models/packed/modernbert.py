"""ModernBERT over packed rows: rotary positions, gated feed-forward, local attention in most layers.

Source: Warner et al. 2024 (arXiv:2412.13663); the reference is transformers' ``modeling_modernbert.py``.
"""

from functools import partial

import torch
from torch import Tensor, nn

from headgate.models.packed.attention import attend
from headgate.models.packed.bert import ACTIVATIONS
from headgate.models.packed.linear import Linear
from headgate.models.packed.rows import Rows


class ModernBertLayer:
    """One layer: ``x = x + attention(norm(x)); x = x + feed_forward(norm(x))``.

    Args:
        layer: Of transformers.
        rotary: The model's, which gives (1, tokens, d) cosines and sines for positions.
        dtype: Of the products; sums and norms keep that of the states.
    """

    def __init__(self, layer: nn.Module, rotary: nn.Module, dtype: torch.dtype) -> None:
        config, kind = layer.config, layer.attention_type
        self._heads = int(config.num_attention_heads)  # type: ignore[union-attr, arg-type]
        self._window = int(config.sliding_window) if kind == "sliding_attention" else None  # type: ignore[union-attr, arg-type]
        self._turns = partial(rotary, layer_type=kind)
        get = layer.get_submodule
        self._norm, self._mlp_norm = get("attn_norm"), get("mlp_norm")
        self._qkv, self._out = (Linear([get(f"attn.{name}")], dtype) for name in ("Wqkv", "Wo"))  # type: ignore[list-item]
        self._act = ACTIVATIONS[config.hidden_activation]  # type: ignore[union-attr, index]
        self._up, self._gate = (Linear([half], dtype) for half in _halves(get("mlp.Wi")))
        self._down = Linear([get("mlp.Wo")], dtype)  # type: ignore[list-item]

    def __call__(self, x: Tensor, rows: Rows, *, first: bool) -> Tensor:
        """(tokens, D) states to the next layer's, or to the (rows, D) states of first tokens alone."""
        qkv = self._qkv(self._norm(x)).unflatten(-1, (3, self._heads, -1))
        cosines, sines = self._turns(x[None], rows.positions[None])  # each (1, tokens, d)
        _turn(qkv[:, :2], cosines[0, :, None, None], sines[0, :, None, None])
        found = attend(qkv, rows, first=first, window=self._window)
        x = (x[rows.starts] if first else x) + self._out(found)
        y = self._mlp_norm(x)
        return x + self._down(self._up(y, self._act).mul_(self._gate(y)))


def _turn(x: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Rotate queries and keys (tokens, 2, heads, d) in place, in float32."""
    left, right = x.float().chunk(2, -1)
    half = cosines.shape[-1] // 2
    cosines, sines = cosines[..., :half].float(), sines[..., :half].float()
    x.copy_(torch.cat([left * cosines - right * sines, right * cosines + left * sines], -1))


def _halves(both: nn.Module) -> list[nn.Linear]:
    """The two linear layers that lie above one another in one."""
    assert isinstance(both, nn.Linear)
    found = []
    for weight, bias in zip(both.weight.chunk(2), [None] * 2 if both.bias is None else both.bias.chunk(2), strict=True):
        half = nn.Linear(both.in_features, len(weight), bias=bias is not None, device="meta")
        half.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            half.bias = nn.Parameter(bias, requires_grad=False)
        found.append(half)
    return found
