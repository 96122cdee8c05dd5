"""GLiClass with a tower for texts and one for labels, each with a vocabulary of its own.

bi-encoder: the towers never meet; a scorer compares their vectors. bi-encoder-fused: the labels' vectors take the place
of their markers' embeddings in the row of the text, and what the text tower makes of them is compared.

Rows of one batch come from both vocabularies; their token types say from which (see :class:`BiEncoder` and
:class:`Fused`). The keys of ``state_dict`` are the published ones without their leading ``model.``.

Source: gliclass 0.1.21, ``model.py`` and ``layers.py``.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from headgate.models.gliclass_config import GLiClassConfig
from headgate.models.gliclass_layers import Head, pooled, projector

Floats = NDArray[np.float32]
Compare = Callable[[Floats, Floats], Floats]
"""Vectors of texts (n, D) and labels (m, D) to logits (n, m)."""

PAIRS = 4096
"""How many pairs of text and label are compared at once: of 2 x 768 floats, they are 25 MB."""


class Towers(Head):
    """Both encoders, and the projectors behind them.

    Args:
        encoder: Of texts.
        label_encoder: Of labels.
        config: How their states become vectors.
    """

    encoder_model: nn.Module
    label_encoder: nn.Module

    def __init__(self, encoder: nn.Module, label_encoder: nn.Module, config: GLiClassConfig) -> None:
        self.width, inner = (int(e.config.hidden_size) for e in (encoder, label_encoder))  # type: ignore[union-attr, arg-type]
        super().__init__(self.width, config, {"encoder_model": encoder, "label_encoder": label_encoder})
        self.biencoder_projector = projector(inner, self.width, config, dropout=False)

    def head(self) -> Head:
        """What compares vectors, without the encoders."""
        found = Head(self.width, self.config)
        for name, _ in list(found.named_children()):
            setattr(found, name, getattr(self, name))
        found.logit_scale = self.logit_scale
        return found.eval()

    def read_labels(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(N, D) float32 vectors of labels, one a row (N, S) in the label encoder's vocabulary."""
        fill = int(getattr(self.label_encoder.config, "pad_token_id", None) or 0)
        inputs = {"input_ids": ids.masked_fill(~mask, fill), "attention_mask": mask.long()}
        states = self.label_encoder(**inputs).last_hidden_state
        with torch.autocast(ids.device.type, enabled=False):
            return self.classes(self.biencoder_projector(pooled(states.float(), mask, mask, self.config)))


class BiEncoder(Towers):
    """A row is a text (token types 0) or a label (1); each becomes a vector."""

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """(B, D) float32 vectors of rows (B, S), padded on the right."""
        out = torch.zeros(len(ids), self.width, device=ids.device)
        label = types[:, 0] == 1
        for chosen, read in ((~label, self._read_texts), (label, self.read_labels)):
            if chosen.any():
                end = int(mask[chosen].sum(1).max())  # the other tower's rows may be longer than this one reads
                out[chosen] = read(ids[chosen, :end], mask[chosen, :end])
        return out

    def _read_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        states = self.encoder_model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        with torch.autocast(ids.device.type, enabled=False):
            return self.texts(pooled(states.float(), mask, mask, self.config))


class Fused(Towers):
    """A row is the markers and a text (token types 0), and behind it the k-th label's own tokens (k = 1, 2, …)."""

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> list[Tensor]:
        """B float32 tensors (K_i,): one raw logit a label, of rows (B, S), padded on the right."""
        labels = self._every_label(ids, mask & (types > 0), types)
        mask = mask & (types == 0)
        end = int(mask.sum(1).max())
        ids, mask = ids.masked_fill(~mask, 0)[:, :end], mask[:, :end]  # an id that embeddings have; nobody attends
        marks = mask & (ids == self.config.class_token_index)
        words = self.encoder_model.get_input_embeddings()(ids)  # type: ignore[operator]
        words = words.masked_scatter(marks.unsqueeze(-1), labels.to(words.dtype))
        states = self.encoder_model(inputs_embeds=words, attention_mask=mask.long()).last_hidden_state
        with torch.autocast(ids.device.type, enabled=False):
            states = states.float()
            t = self.texts(pooled(states, mask, mask, self.config))
            return self.judge(t, states[marks], marks.sum(1), mask)

    def _every_label(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """(N, D) vectors of the batch's labels, row after row; equal ones are read once."""
        row = torch.arange(len(ids), device=ids.device).unsqueeze(1)
        _, lengths = (types + row * (types.max() + 1))[mask].unique_consecutive(return_counts=True)
        told = pad_sequence(ids[mask].split(lengths.tolist()), batch_first=True, padding_value=-1)
        once, place = told.unique(dim=0, return_inverse=True)
        return self.read_labels(once, once >= 0)[place]


def comparison(head: Head, device: torch.device) -> Compare:
    """The comparison of a bi-encoder, in float32; all labels of a call stand beside each text."""

    def compare(texts: Floats, labels: Floats) -> Floats:
        c = torch.from_numpy(labels).to(device)
        found = []
        with torch.inference_mode():
            for t in torch.from_numpy(texts).to(device).split(max(1, PAIRS // len(c))):
                counts = torch.full((len(t),), len(c), device=device)
                every = torch.ones(len(t), 1, dtype=torch.bool, device=device)
                found += head.judge(t, c.repeat(len(t), 1), counts, every)
            return torch.stack(found).cpu().numpy()

    return compare
