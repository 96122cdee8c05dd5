"""Several linear heads on one encoder: one forward pass answers many questions.

The layout of the weights (``backbone.*``, ``heads.<name>.weight``, ``heads.<name>.bias``) is that of
philipp-zettl/multi-head-sequence-classification-model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Literal, Self

import torch
from torch import Tensor, nn

from headgate.models.packed.encoder import PackedEncoder
from headgate.runtime.device import there

Pooling = Literal["cls", "mean"]


class MultiHead(nn.Module):
    """An encoder, a pooled state, and a linear layer for every question asked of it.

    Args:
        backbone: Any encoder whose output has ``last_hidden_state`` (B, S, D).
        heads: How many classes each head has, by the name of the head.
        hidden: The width D of the states.
        pooling: "cls" reads the first state, "mean" averages the states of the real tokens.
        normalize: Scale the pooled state to length 1 before the heads.
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: Mapping[str, int],
        *,
        hidden: int,
        pooling: Pooling = "mean",
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict({name: nn.Linear(hidden, size) for name, size in heads.items()})
        self.pooling: Pooling = pooling
        self.normalize = normalize

    def reading_pooled(self) -> Self:
        """The same model for who reads pooled states alone: an encoder that can leaves the others out."""
        if self.pooling != "cls" or not isinstance(self.backbone, PackedEncoder):
            return self
        twin = copy(self)
        twin._modules = {**self._modules, "backbone": self.backbone.reading_first()}
        return twin

    def encode(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        """Run the encoder.

        Args:
            ids: Token ids (B, S).
            mask: True where a token is real (B, S).
            types: Token types (B, S), for pair rows; None means zeros.

        Returns:
            The states of the last layer (B, S, D), in the encoder's dtype.
        """
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        if types is not None:
            inputs["token_type_ids"] = types
        states: Tensor = self.backbone(**inputs).last_hidden_state
        return states

    def pool(self, states: Tensor, mask: Tensor) -> Tensor:
        """Turn states (B, S, D) into one float32 vector a row (B, D), as the heads read it."""
        return self.scaled(self.pool_raw(states, mask))

    def pool_raw(self, states: Tensor, mask: Tensor) -> Tensor:
        """The same at the length it has: what every model with this encoder and this pooling shares."""
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            if self.pooling == "cls":
                return states[:, 0]
            # Padding is masked out of the sum, so a row does not depend on its batch mates.
            real = there(mask, states.device).to(states.dtype).unsqueeze(-1)
            return (states * real).sum(1) / real.sum(1).clamp(min=1.0)

    def scaled(self, pooled: Tensor) -> Tensor:
        """Pooled states (B, D), brought to length 1 where the heads want that."""
        return nn.functional.normalize(pooled, dim=-1) if self.normalize else pooled

    def forward(
        self, ids: Tensor, mask: Tensor, types: Tensor | None = None, heads: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Class logits of the named heads (all of them when None), each (B, classes) in float32."""
        return self.read(self.pool(self.encode(ids, mask, types), mask), heads)

    def read(self, pooled: Tensor, heads: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Class logits of the named heads (all of them when None), each (B, classes), from pooled states (B, D)."""
        # The last linear layer runs in float32 whatever the body's dtype: bf16 logits tie and flip close decisions.
        with torch.autocast(pooled.device.type, enabled=False):
            return {name: self._head(name, pooled) for name in (self.heads if heads is None else heads)}

    def _head(self, name: str, pooled: Tensor) -> Tensor:
        head = self.heads[name]
        assert isinstance(head, nn.Linear)
        return nn.functional.linear(pooled, head.weight.float(), head.bias.float())
