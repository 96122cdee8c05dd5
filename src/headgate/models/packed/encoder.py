"""A drop-in for a transformers encoder that runs packed rows.

    (B, S) ids, mask -> (T,) tokens -> embeddings -> layers -> (B, S, D) states

Products run in the dtype asked for; on a CPU the states between them stay in float32, which costs nothing there.
"""

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from headgate.models.packed.bert import ACTIVATIONS, BertLayer
from headgate.models.packed.deberta import DebertaLayer, Positions
from headgate.models.packed.modernbert import ModernBertLayer
from headgate.models.packed.rows import Rows
from headgate.runtime.device import there
from headgate.runtime.torch_forward import Batch

Layer = Callable[..., Tensor]
_BERTS = ("bert", "roberta", "xlm-roberta", "camembert")


class PackedEncoder(nn.Module):
    """Same call and numbers as the transformers encoder it is made of, whose layers it takes over.

    Args:
        inner: See :func:`can_pack`; in float32 on a CPU, else in the dtype it runs in.
        dtype: Of the products.
    """

    def __init__(self, inner: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.config = inner.config
        self.embeddings = inner.get_submodule("embeddings")
        self.pooler = getattr(inner, "pooler", None)
        self.fill = dtype == torch.float32
        self.first = False
        self.whole: tuple[PackedEncoder, ...] = ()
        config: Any = inner.config
        kind = str(config.model_type)
        self._offset = int(config.pad_token_id) + 1 if kind != "bert" and kind in _BERTS else 0
        self._norm, self._rotary = getattr(inner, "final_norm", None), kind == "modernbert"
        with torch.no_grad():
            self.layers = _layers(inner, dtype)

    def reading_first(self) -> Self:
        """The same encoder, whose last layer gives first tokens alone, (B, 1, D), and spares itself the rest."""
        twin = copy(self)
        twin.first = True
        twin.whole = (self,)  # which others share as long as it lives; in a tuple, for it is no part of the twin
        return twin

    def get_input_embeddings(self) -> nn.Module:
        """Of the words."""
        name = "tok_embeddings" if hasattr(self.embeddings, "tok_embeddings") else "word_embeddings"
        return self.embeddings.get_submodule(name)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        lengths: Sequence[int] | None = None,
        **_: object,
    ) -> BaseModelOutputWithPooling:
        """The states of the last layer (B, S, D), zeros on padding.

        Args:
            input_ids: (B, S) int64; or ``inputs_embeds``.
            attention_mask: (B, S), not 0 on tokens; every row begins with one. On the CPU it need not be waited for.
            token_type_ids: (B, S) int64, or None for zeros.
            inputs_embeds: (B, S, D) in place of ids.
            lengths: Tokens of each row, where some have states and are attended to by none: the mask is then 0 on them.
        """
        given = input_ids if inputs_embeds is None else inputs_embeds
        assert given is not None
        mask = given.new_ones(given.shape[:2], dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        rows = Rows(mask.sum(1).tolist(), given.device, fill=self.fill)
        if lengths is not None:
            rows = Rows(lengths, given.device, rows.lengths, fill=self.fill)
            mask = torch.arange(mask.shape[1]) < torch.tensor(lengths)[:, None]
        places = there(mask.flatten().nonzero()[:, 0], given.device)
        types = None if token_type_ids is None else token_type_ids.flatten()[places]
        x = self.embedded(given.flatten(0, 1)[places], types, rows)
        last = len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            x = layer(x, rows, first=self.first and number == last)
        x = x if self._norm is None else self._norm(x)
        states = x[:, None] if self.first else self._padded(x, places, mask.shape)
        pooled = None if self.pooler is None else self.pooler(states)
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=pooled)

    @staticmethod
    def _padded(x: Tensor, places: Tensor, shape: torch.Size) -> Tensor:
        out = x.new_zeros(shape.numel(), x.shape[-1])
        out[places] = x
        return out.view(*shape, -1)

    def embedded(self, given: Tensor, types: Tensor | None, rows: Rows) -> Tensor:
        """What the first layer reads, (T, D).

        Args:
            given: Ids (T,) or embeddings of words (T, D).
            types: (T,) token types, or None for zeros.
            rows: Where the rows lie.
        """
        name = "inputs_embeds" if given.is_floating_point() else "input_ids"
        inputs = {name: given[None]}
        if not self._rotary:
            inputs["position_ids"] = (rows.positions + self._offset)[None]
            inputs["token_type_ids"] = (torch.zeros_like(rows.positions) if types is None else types)[None]
        found: Tensor = self.embeddings(**inputs)[0]
        return found.float() if found.device.type == "cpu" else found


def mask_for(encoder: nn.Module, batch: Batch) -> Tensor:
    """The mask of a batch where the encoder reads it: a packed one on the CPU."""
    here = isinstance(encoder, PackedEncoder) and batch.here is not None
    return batch.here if here and batch.here is not None else batch.mask


def can_pack(inner: nn.Module) -> bool:
    """True for the encoders of transformers that :class:`PackedEncoder` runs."""
    config: Any = inner.config
    kind = config.model_type
    if kind in _BERTS:
        plain = not config.is_decoder and getattr(config, "position_embedding_type", None) in (None, "absolute")
        return bool(plain and config.hidden_act in ACTIVATIONS)
    if kind == "deberta-v2":
        conv = getattr(inner.get_submodule("encoder"), "conv", None)
        return bool(config.relative_attention and conv is None and config.hidden_act in ACTIVATIONS)
    return kind == "modernbert" and config.hidden_activation in ACTIVATIONS


def _layers(inner: nn.Module, dtype: torch.dtype) -> list[Layer]:
    config: Any = inner.config
    modern = config.model_type == "modernbert"
    encoder = inner if modern else inner.get_submodule("encoder")
    theirs = list(encoder.get_submodule("layers" if modern else "layer").children())
    last = [layer is theirs[-1] for layer in theirs]
    if modern:
        rotary = inner.get_submodule("rotary_emb")
        return [ModernBertLayer(x, rotary, dtype, last=end) for x, end in zip(theirs, last, strict=True)]
    if config.model_type == "deberta-v2":
        positions = Positions(encoder)
        return [DebertaLayer(x, config, positions, dtype, last=end) for x, end in zip(theirs, last, strict=True)]
    return [BertLayer(x, config, dtype, last=end) for x, end in zip(theirs, last, strict=True)]
