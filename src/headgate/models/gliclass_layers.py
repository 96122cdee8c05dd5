"""What stands behind the encoders of every GLiClass architecture, in float32: pooling, projectors, scorer, calibrator.

The keys of ``state_dict`` are the published ones. On purpose, pooling and the weights of layers leave padding out, so a
row's logits don't depend on its batch mates (the published code's do; for a batch of one both agree), and labels are
gathered, not multiplied with a one-hot array that spreads NaNs.

Source: Knowledgator/GLiClass@40baa67 and gliclass 0.1.21, ``model.py``, ``layers.py``, ``poolings.py`` and
``calibration.py``.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize, pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from headgate.models.gliclass_config import ACTIVATIONS, TOWERS, GLiClassConfig
from headgate.models.gliclass_scorers import SCORERS


class Head(nn.Module):
    """Projectors and a scorer, and what follows it.

    Args:
        width: Of the text encoder.
        config: What they are.
        encoders: What stands in front of them, by name.
    """

    def __init__(self, width: int, config: GLiClassConfig, encoders: Mapping[str, nn.Module] | None = None) -> None:
        super().__init__()
        self.config = config
        for name, encoder in (encoders or {}).items():
            self.add_module(name, encoder)
        self.text_projector = projector(width, width, config, dropout=True)
        self.classes_projector = projector(width, width, config, dropout=True)
        self.scorer = SCORERS[config.scorer_type](width, config)
        self.dropout = nn.Dropout(config.dropout)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))
        if config.use_calibrator:
            self.calibrator = Calibrator(width, config)

    def texts(self, pooled: Tensor) -> Tensor:
        """Vectors of texts, as the scorer takes them."""
        return self._scaled(self.dropout(self.text_projector(pooled)))

    def classes(self, states: Tensor) -> Tensor:
        """Vectors of labels, as the scorer takes them."""
        return self._scaled(self.classes_projector(states))

    def _scaled(self, x: Tensor) -> Tensor:
        return normalize(x, dim=-1) if self.config.normalize_features else x

    def judge(self, t: Tensor, c: Tensor, counts: Tensor, text: Tensor, slots: Tensor | None = None) -> list[Tensor]:
        """One raw logit a label: its log-odds of being true of the text.

        Args:
            t: (B, D) texts, or (B, S, D) states for cross-attn.
            c: (N, D) labels of all rows, one row after another.
            counts: (B,) int64, labels of each row.
            text: (B, S) bool, which states are text.
            slots: (B,) int64, vectors in `c` of each row, of which the first are labels; None: all are.

        Returns:
            B tensors (K_i,).
        """
        sizes = (counts if slots is None else slots).tolist()
        logits: Tensor = self.scorer(t, c, torch.repeat_interleave(counts if slots is None else slots), text)
        if self.config.normalize_features or self.config.architecture_type in TOWERS:
            logits = logits * self.logit_scale
        labels, rows = ([x[:n] for x, n in zip(y.split(sizes), counts.tolist(), strict=True)] for y in (c, logits))
        if not self.config.use_calibrator:
            return rows
        return [self.calibrator(*row) for row in zip(t, labels, rows, strict=True)]


class LayerAttention(nn.Module):
    """A weighted sum of an encoder's states, layer by layer ("layer-wise"); the weights depend on the row.

    Args:
        width: Of the encoder.
        layers: How many of its states it takes, from the last one back. Published code, 0.1.3 to 0.1.21, stacks all of
            them, the embeddings first, and makes weights for one less, so that it fails. Weights of that number are
            read here as those of the layers without the embeddings, which is likely and not proven;
            ``tests/parity/test_golden.py`` compares with logits of a published model.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.squeeze = nn.Linear(width, 1)
        self.W1, self.W2 = nn.Linear(layers, layers // 2), nn.Linear(layers // 2, layers)
        self.output_projection = nn.Linear(width, width)

    def forward(self, states: Sequence[Tensor], mask: Tensor) -> Tensor:
        """(B, S, D) from those of every layer, of the same shape."""
        stacked = torch.stack([x.float() for x in states[-self.layers :]], dim=1)  # (B, layers, S, D)
        seen = mask.unsqueeze(1)
        mean = (self.squeeze(stacked).squeeze(-1) * seen).sum(-1) / seen.sum(-1)
        weights = self.W2(self.W1(mean).relu()).sigmoid()
        found: Tensor = self.output_projection((stacked * weights[..., None, None]).sum(1))
        return found


class TextLSTM(nn.Module):
    """Reads the states of a text in both directions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, width // 2, bidirectional=True, batch_first=True)

    def forward(self, states: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """New states (B, T, D) of the tokens in ``text`` (B, S) alone, moved to the front, and which are no padding."""
        places, there = fronted(text)
        front = states.gather(1, places.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
        packed = pack_padded_sequence(front, there.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.lstm(packed)[0], batch_first=True)[0], there


class Calibrator(nn.Module):
    """``scale * logit + shift``, both from what text, label and the logits of the whole row look like."""

    def __init__(self, width: int, config: GLiClassConfig) -> None:
        super().__init__()
        self.largest, self.shifts = config.calibrator_beta_max, config.calibrator_use_bias
        hidden, out = config.calibrator_hidden_size, 2 if self.shifts else 1
        self.text_norm, self.label_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        first, middle, last = nn.Linear(4 * width + 6, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, out)
        self.mlp = nn.Sequential(first, nn.GELU(), nn.Dropout(0), middle, nn.GELU(), nn.Dropout(0), last)

    def forward(self, t: Tensor, c: Tensor, logits: Tensor) -> Tensor:
        """(K,) logits of one row from its text (D,), labels (K, D) and logits (K,)."""
        entropy = binary_cross_entropy_with_logits(logits, logits.sigmoid())
        count = torch.full_like(logits, float(len(logits))).log()
        about = [logits, logits.abs(), logits - logits.max(), logits - logits.mean(), entropy.expand_as(logits), count]
        text, label = self.text_norm(t).expand_as(c), self.label_norm(c)
        pairs = (text, label, text * label, (text - label).abs(), torch.stack(about, dim=-1))
        found = self.mlp(torch.cat(pairs, dim=-1))
        scaled: Tensor = self.largest * found[:, 0].sigmoid() * logits
        return scaled + found[:, 1] if self.shifts else scaled


def projector(width: int, out: int, config: GLiClassConfig, *, dropout: bool) -> nn.Sequential:
    """From ``width`` through ``hidden_size`` to the text encoder's width ``out``."""
    hidden = config.hidden_size or out
    layers: list[tuple[str, nn.Module]] = [("linear_1", nn.Linear(width, hidden))]
    layers += [("act", ACTIVATIONS[config.projector_hidden_act]())]
    layers += [("dropout", nn.Dropout(config.dropout))] if dropout else []
    return nn.Sequential(OrderedDict([*layers, ("linear_2", nn.Linear(hidden, out))]))


def pooled(states: Tensor, mask: Tensor, text: Tensor, config: GLiClassConfig) -> Tensor:
    """(B, D) the text's vector, or all states (B, S, D) for "pass".

    Where only a part of the row is text, the published code puts zeros for the rest and pools
    them too: means divide by the length of the row, a maximum is at least 0, the last state is 0.
    With ``isolate_labels`` means divide by the length of the text, or labels would count after all.
    """
    kind = config.pooling_strategy
    if kind == "pass":
        return states
    rows, length = torch.arange(len(states), device=states.device), mask.sum(1)
    if kind == "first":
        return states[rows, text.int().argmax(1)]
    if kind == "last":
        return states[rows, length - 1] * (text.sum(1) == length).unsqueeze(-1)
    x = states.masked_fill(~text.unsqueeze(-1), 0.0)
    if kind == "max":
        return x.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(1)
    if kind == "abs_max":
        return x.abs().amax(1)
    total = (x.abs() if kind == "abs_avg" else x.square() if kind == "rms" else x).sum(1)
    size = text.sum(1) if config.isolate_labels else length
    mean = total if kind == "sum" else total / size.unsqueeze(-1)
    return mean.sqrt() if kind == "rms" else mean


def label_states(states: Tensor, ids: Tensor, mask: Tensor, config: GLiClassConfig) -> tuple[Tensor, Tensor]:
    """One vector for each of the batch's N labels, row after row, and how many each row has: (N, D) and (B,).

    With "average" the last label's span runs on to the end of the row, over the text marker and
    the text, unless ``extract_text_features``: odd, but the instruct models were trained so.
    """
    marks = mask & (ids == config.class_token_index)
    if config.class_token_pooling == "first":
        row, column = marks.nonzero(as_tuple=True)
        return states[row, column if config.embed_class_token else column + 1], marks.sum(1)
    left_out = (behind(ids, mask, config) & config.extract_text_features) | (marks & (not config.embed_class_token))
    spans = mask & (marks.cumsum(1) > 0) & ~left_out
    # Counting markers through the whole batch gives each token the number of the label before it.
    label = marks.flatten().cumsum(0).view_as(marks)[spans] - 1
    n = int(marks.sum())
    sums = states.new_zeros(n, states.shape[-1]).index_add(0, label, states[spans])
    return sums / torch.bincount(label, minlength=n).clamp(min=1).unsqueeze(-1), marks.sum(1)


def filled_up(labels: Tensor, counts: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Zeros behind the labels (N, D) of each row until they are ``slots``, and how many each row has then.

    Published code compares a text with such slots as well, which only the scorer "hopfield" notices.
    """
    rows = [pad(x, (0, 0, 0, max(0, slots - len(x)))) for x in labels.split(counts.tolist())]
    return torch.cat(rows), counts.clamp(min=slots)


def fronted(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The places of the tokens chosen in each row (B, S), in order, and which of the places are no padding: (B, T)."""
    lengths = chosen.sum(1)
    places = chosen.int().argsort(dim=1, descending=True, stable=True)[:, : int(lengths.max())]
    return places, torch.arange(places.shape[1], device=places.device) < lengths.unsqueeze(1)


def behind(ids: Tensor, mask: Tensor, config: GLiClassConfig) -> Tensor:
    """(B, S) bool, True on the text marker and what follows it."""
    return mask & ((ids == config.text_token_index).cumsum(1) > 0)
