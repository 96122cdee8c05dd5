"""GLiClass on a whole encoder-decoder, T5 or BART: one of text and labels goes through each half.

encoder-decoder: the text through the encoder; the labels' prompt through the decoder, which reads it in both
directions. encoder-decoder-cls: the prompt through the encoder; the text through the decoder, whose last state stands
for it.

Source: gliclass 0.1.21, ``model.py``.
"""

import torch
from torch import Tensor, nn

from headgate.models.gliclass_config import GLiClassConfig
from headgate.models.gliclass_layers import Head, TextLSTM, filled_up, fronted, label_states, pooled


class EncoderDecoder(Head):
    """A row is a text (token types 0) and behind it the prompt of its labels (1), each with special tokens of its own.

    Args:
        model: Of transformers, an encoder with its decoder, without a language model's head.
        config: How text and labels are read off their states.
    """

    encoder_decoder_model: nn.Module

    def __init__(self, model: nn.Module, config: GLiClassConfig) -> None:
        width = int(model.config.hidden_size)  # type: ignore[union-attr, arg-type]
        super().__init__(width, config, {"encoder_decoder_model": model})
        if config.use_lstm:
            self.lstm = TextLSTM(width)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> list[Tensor]:
        """B float32 tensors (K_i,): one raw logit a label, of rows (B, S), padded on the right."""
        text, prompt = (fronted(mask & (types == kind)) for kind in (0, 1))
        words, labels = (ids.gather(1, places).masked_fill(~there, 0) for places, there in (text, prompt))
        read = self._text_last if self.config.architecture_type == "encoder-decoder-cls" else self._text_first
        with torch.autocast(ids.device.type, enabled=False):
            t, states, seen = read(words, text[1], labels, prompt[1])
            found, counts = label_states(states, labels, prompt[1], self.config)
            c, slots = filled_up(found, counts, self.config.slots)
            return self.judge(self.texts(t), self.classes(c), counts, seen, slots)

    def _text_first(self, ids: Tensor, mask: Tensor, labels: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pooled text, states of the labels, and which states are text."""
        # A mask of four dimensions is taken as it is, in place of one that hides what comes later.
        weights = next(self.encoder_decoder_model.parameters())
        hidden = torch.zeros_like(told, dtype=weights.dtype).masked_fill(~told, torch.finfo(weights.dtype).min)
        sees = hidden[:, None, None].expand(-1, 1, told.shape[1], -1)
        states, found = self._states(ids, mask, labels, sees)
        if self.config.use_lstm:
            states, mask = self.lstm(states, mask)
        return pooled(states, mask, mask, self.config), found, mask

    def _text_last(self, ids: Tensor, mask: Tensor, labels: Tensor, told: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same; the decoder reads the text from left to right."""
        found, states = self._states(labels, told, ids, mask.long())
        return states[torch.arange(len(ids), device=ids.device), mask.sum(1) - 1], found, mask

    def _states(self, first: Tensor, mask: Tensor, second: Tensor, sees: Tensor) -> tuple[Tensor, Tensor]:
        """Float32 states of the encoder and of the decoder."""
        inputs = {"input_ids": first, "attention_mask": mask.long(), "use_cache": False}
        found = self.encoder_decoder_model(**inputs, decoder_input_ids=second, decoder_attention_mask=sees)
        return found.encoder_last_hidden_state.float(), found.last_hidden_state.float()
