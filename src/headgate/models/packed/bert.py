"""BERT, RoBERTa and XLM-R over packed rows."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from headgate.models.packed.attention import attend
from headgate.models.packed.linear import Activation, Linear, attention_dtype
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
        last: Of the model.
    """

    def __init__(self, layer: nn.Module, config: object, dtype: torch.dtype, *, last: bool) -> None:
        get = layer.get_submodule
        of = get("attention.self")
        self._qkv = QueryKeyValue([of.query, of.key, of.value], int(config.num_attention_heads), dtype, last=last)  # type: ignore[attr-defined, list-item]
        self._feed = PostNorm(layer, config, dtype)

    def __call__(self, x: Tensor, rows: Rows, *, first: bool, how: Attend | None = None) -> Tensor:
        """(tokens, D) states to the next layer's, or to the (rows, D) states of first tokens alone.

        Args:
            x: States.
            rows: Where they lie.
            first: See above.
            how: Attention of another kind than of all tokens of a row to all.
        """
        tokens, queries = self._qkv(x, rows, first=first)
        found = attend(tokens, rows, queries) if how is None else rows.attend(tokens, how, queries)
        return self._feed(x[rows.starts] if first else x, found)


class QueryKeyValue:
    """The layers that give queries, keys and values.

    Args:
        layers: The three linear layers.
        heads: Into how many each is cut.
        dtype: As of :class:`BertLayer`.
        last: Of the model; then queries may be wanted of first tokens alone.
    """

    def __init__(self, layers: list[nn.Linear], heads: int, dtype: torch.dtype, *, last: bool) -> None:
        self._heads, self._dtype = heads, attention_dtype(dtype)
        self._all = Linear(layers, dtype)
        self._queries, self._others = (Linear(part, dtype) if last else None for part in (layers[:1], layers[1:]))

    def __call__(self, x: Tensor, rows: Rows, *, first: bool) -> tuple[Tensor, Tensor | None]:
        """What :meth:`Rows.attend` takes: tokens, and queries with ``first``."""
        if not first or self._queries is None or self._others is None:
            return self._all(x).to(self._dtype).unflatten(-1, (3, self._heads, -1)), None
        queries = self._queries(x[rows.starts]).to(self._dtype).unflatten(-1, (self._heads, -1))
        return self._others(x).to(self._dtype).unflatten(-1, (2, self._heads, -1)), queries


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
        x = self._out_norm(self._out.plus(attended, x))
        found: Tensor = self._norm(self._down.plus(self._up(x, self._act), x))
        return found
