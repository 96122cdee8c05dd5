"""BERT, RoBERTa and XLM-R over packed rows."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from headgate.models.packed.attention import attend
from headgate.models.packed.linear import Activation, Linear
from headgate.models.packed.rows import Attend, Rows

ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "tanh",
    "gelu_pytorch_tanh": "tanh",
    "relu": "relu",
}
"""What transformers calls them."""


class BertLayer:
    """One layer: ``x = norm(x + attention(x)); x = norm(x + feed_forward(x))``.

    Args:
        layer: Of transformers.
        config: Its configuration.
        dtype: Of the products; sums and norms keep that of the states.
    """

    def __init__(self, layer: nn.Module, config: object, dtype: torch.dtype) -> None:
        get = layer.get_submodule
        of = get("attention.self")
        self._heads = int(config.num_attention_heads)  # type: ignore[attr-defined]
        self._qkv = Linear([of.query, of.key, of.value], dtype)  # type: ignore[list-item]
        self._feed = PostNorm(layer, config, dtype)

    def __call__(self, x: Tensor, rows: Rows, *, first: bool, how: Attend | None = None) -> Tensor:
        """(tokens, D) states to the next layer's, or to the (rows, D) states of first tokens alone.

        Args:
            x: States.
            rows: Where they lie.
            first: See above.
            how: Attention of another kind than of all tokens of a row to all.
        """
        qkv = self._qkv(x).unflatten(-1, (3, self._heads, -1))
        found = attend(qkv, rows, first=first) if how is None else rows.attend(qkv, how, first=first)
        return self._feed(x[rows.starts] if first else x, found)


class PostNorm:
    """What follows attention in BERT and DeBERTa: output, feed-forward, each added and normalised.

    Args:
        layer: As of :class:`BertLayer`.
        config: As there.
        dtype: As there.
    """

    def __init__(self, layer: nn.Module, config: object, dtype: torch.dtype) -> None:
        get = layer.get_submodule
        self._out, self._out_norm = Linear([get("attention.output.dense")], dtype), get("attention.output.LayerNorm")  # type: ignore[list-item]
        self._up = Linear([get("intermediate.dense")], dtype)  # type: ignore[list-item]
        self._act = ACTIVATIONS[config.hidden_act]  # type: ignore[attr-defined]
        self._down, self._norm = Linear([get("output.dense")], dtype), get("output.LayerNorm")  # type: ignore[list-item]

    def __call__(self, x: Tensor, attended: Tensor) -> Tensor:
        """States (n, D) and what attention gave (n, D) to the states behind the layer."""
        x = self._out_norm(x + self._out(attended))
        found: Tensor = self._norm(x + self._down(self._up(x, self._act)))
        return found
