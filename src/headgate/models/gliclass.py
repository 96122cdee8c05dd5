"""GLiClass, uni-encoder: every label and the text in one row of tokens, one logit a label.

    <<LABEL>>sports<<LABEL>>politics<<SEP>>the text        (or the text first)

The encoder reads the row once; a label's vector comes from its own tokens, the text's from the
pooled states, and a scorer compares the two. Our own code, which loads published weights: the keys
of ``state_dict`` are the published ones without their leading ``model.``.

Source: Stepanov et al., "GLiClass: Generalist Lightweight Model for Sequence Classification Tasks"
(arXiv 2508.07662); Knowledgator/GLiClass@40baa67, ``model.py``.
"""

import torch
from torch import Tensor, nn

from headgate.errors import CheckpointError
from headgate.models.gliclass_config import ISOLATED, GLiClassConfig
from headgate.models.gliclass_layers import Head, LayerAttention, TextLSTM, behind, filled_up, label_states, pooled
from headgate.models.isolated import can_isolate, isolated_states
from headgate.models.packed.encoder import PackedEncoder
from headgate.models.packed.isolated import isolated_states as packed_isolated_states

__all__ = ["ISOLATED", "GLiClass", "GLiClassConfig"]


class GLiClass(Head):
    """An encoder, two projectors and a scorer.

    For half precision cast the encoder alone (``model.encoder_model.to(torch.bfloat16)``): all that
    follows it runs in float32, also under autocast.

    Args:
        encoder: A transformers encoder; its output has ``last_hidden_state`` (B, S, D), and ``hidden_states`` where
            ``squeeze_layers`` or ``encoder_layer_id`` read them.
        config: How labels and text are read off its states.
        layers: How many of its states ``squeeze_layers`` weighs; None all, the embeddings among them.
    """

    encoder_model: nn.Module

    def __init__(self, encoder: nn.Module, config: GLiClassConfig, layers: int | None = None) -> None:
        if config.isolate_labels:
            can_isolate(encoder, config.crossing_layer)
        width, depth = (int(getattr(encoder.config, name)) for name in ("hidden_size", "num_hidden_layers"))
        super().__init__(width, config, {"encoder_model": encoder})
        if not -depth - 2 < config.encoder_layer_id <= depth:
            raise CheckpointError(f"encoder_layer_id is {config.encoder_layer_id}; expected -1, or 0 to {depth}.")
        if config.squeeze_layers:
            count = depth + 1 if layers is None else layers
            if count not in (depth, depth + 1):
                raise CheckpointError(f"layer_wise_attention weighs {count} states; expected {depth} or {depth + 1}.")
            self.layer_wise_attention = LayerAttention(width, count)
        if config.use_lstm:
            self.lstm = TextLSTM(width)
        if config.use_segment_embeddings:
            self.segment_embeddings = nn.Embedding(3, width)  # labels, text, examples: we send none

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> list[Tensor]:
        """One raw logit a label: its log-odds of being true of the text.

        Args:
            ids: (B, S) int64 rows, padded on the right; each has a text marker behind its labels.
            mask: (B, S) bool, True on tokens.
            types: (B, S) int64 token types, or None.

        Returns:
            B float32 tensors (K_i,); K_i counts the class markers of row i, in their order.
        """
        states = self._encode(ids, mask, types)
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            labels, counts = label_states(states, ids, mask, self.config)
            text = behind(ids, mask, self.config) if self.config.extract_text_features else mask
            if self.config.use_lstm:
                states, text = self.lstm(states, text)
                mask = text
            t = self.texts(pooled(states, mask, text, self.config))
            c, slots = filled_up(labels, counts, self.config.slots)
            return self.judge(t, self.classes(c), counts, text, slots)

    def _encode(self, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        config, text = self.config, behind(ids, mask, self.config)
        if config.isolate_labels:
            owner = (mask & (ids == config.class_token_index)).cumsum(1).masked_fill(text, 0)
            layer, bias = config.crossing_layer, config.crossing_bias
            if isinstance(self.encoder_model, PackedEncoder):
                return packed_isolated_states(self.encoder_model, ids, mask, owner, crossing=layer, bias=bias)
            return isolated_states(self.encoder_model, ids, mask, owner, crossing=layer, bias=bias)
        inputs = {"attention_mask": mask.long()} | ({} if types is None else {"token_type_ids": types})
        if config.use_segment_embeddings:
            words = self.encoder_model.get_input_embeddings()(ids)  # type: ignore[operator]
            inputs["inputs_embeds"] = words + self.segment_embeddings(text.long()).to(words.dtype)
        else:
            inputs["input_ids"] = ids
        if not reads_layers(config):
            states: Tensor = self.encoder_model(**inputs).last_hidden_state
            return states
        every = self.encoder_model(**inputs, output_hidden_states=True).hidden_states
        with torch.autocast(ids.device.type, enabled=False):
            chosen: Tensor = (
                self.layer_wise_attention(every, mask)
                if config.encoder_layer_id == -1
                else every[config.encoder_layer_id]
            )
        return chosen


def reads_layers(config: GLiClassConfig) -> bool:
    """True if more than the encoder's last states are read."""
    return config.squeeze_layers or config.encoder_layer_id != -1
