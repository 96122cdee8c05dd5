"""GLiClass, uni-encoder: every label and the text in one row of tokens, one logit a label.

    <<LABEL>>sports<<LABEL>>politics<<SEP>>the text        (or the text first)

The encoder reads the row once; a label's vector comes from its own tokens, the text's from the
pooled states, and a scorer compares the two. Our own code, which loads published weights: the keys
of ``state_dict`` are the published ones without their leading ``model.``.

Source: Stepanov et al., "GLiClass: Generalist Lightweight Model for Sequence Classification Tasks"
(arXiv 2508.07662); Knowledgator/GLiClass@40baa67, ``model.py`` and ``scorers.py``. On purpose, pooling
leaves padding out, so a row's logits don't depend on its batch mates (the repository's do; for a batch
of one both agree), and labels are gathered, not multiplied with a one-hot array that spreads NaNs.
"""

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from headgate.errors import CheckpointError
from headgate.models.gliclass_scorers import SCORERS
from headgate.models.isolated import can_isolate, isolated_states

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "swish": nn.SiLU, "tanh": nn.Tanh}
POOLINGS = ("first", "last", "avg", "sum", "max", "rms", "abs_max", "abs_avg", "pass")
OFF = ("squeeze_layers", "use_lstm", "use_calibrator")
SUPPORTED = {"architecture_type": "uni-encoder", "encoder_layer_id": -1, **dict.fromkeys(OFF, False)}
ISOLATED = "uni-encoder-isolated"
"""The architecture_type that stands for ``isolate_labels``; the published package, which would score it otherwise,
fails."""
DECODERS = ("gemma", "llama", "mistral", "qwen2")  # published without their causal mask, through llm2vec


@dataclass(frozen=True)
class GLiClassConfig:
    """What ``config.json`` says beside the encoder; names and defaults are the published ones.

    Attributes:
        class_token_index: Id of the marker in front of every label.
        text_token_index: Id of the marker behind the last label.
        hidden_size: Inner width of the projectors; None takes the encoder's width.
        prompt_first: Labels before the text; the model itself reads either order.
        pooling_strategy: How the text's states become one vector; "pass" keeps them all.
        class_token_pooling: "first" reads a label at its marker, "average" over its tokens.
        embed_class_token: False reads the token behind the marker, or averages without the marker.
        extract_text_features: Pool from the text marker on, instead of the whole row.
        use_segment_embeddings: Mark labels and text in the encoder's input, as instruct models do.
        normalize_features: Compare unit vectors and multiply the logits by ``logit_scale``.
        max_labels_alloc: Most labels of a row: "dynamic" any, a number, or else ``max_num_classes``.
        isolate_labels: No label sees another, see :mod:`headgate.models.isolated`. Ours, as are the two below;
            config.json says it by its architecture_type.
        crossing_layer: With it, the first layer in which labels read the text.
        crossing_bias: With it, what is added to a label's attention to the text, so that training can begin with
            labels read almost alone.
    """

    class_token_index: int = -1
    text_token_index: int = -1
    hidden_size: int | None = None
    projector_hidden_act: str = "gelu"
    dropout: float = 0.1
    prompt_first: bool = False
    pooling_strategy: str = "first"
    class_token_pooling: str = "first"
    embed_class_token: bool = True
    extract_text_features: bool = False
    scorer_type: str = "simple"
    scorer_num_heads: int = 16
    scorer_mlp_hidden_size: int = 1024
    use_segment_embeddings: bool = False
    normalize_features: bool = False
    max_num_classes: int = 25
    max_labels_alloc: str | int = "dynamic"
    isolate_labels: bool = False
    crossing_layer: int = 0
    crossing_bias: float = 0.0

    def __post_init__(self) -> None:
        known: dict[str, Iterable[str]] = {"projector_hidden_act": ACTIVATIONS, "scorer_type": SCORERS}
        known |= {"pooling_strategy": POOLINGS, "class_token_pooling": ("first", "average")}
        for name, choices in known.items():
            if getattr(self, name) not in tuple(choices):
                raise CheckpointError(f"{name} is {getattr(self, name)!r}; expected one of {sorted(choices)}.")
        if (self.pooling_strategy == "pass") != (self.scorer_type == "cross-attn"):
            found = f"pooling_strategy is {self.pooling_strategy!r}, scorer_type {self.scorer_type!r}"
            raise CheckpointError(f"{found}; expected 'pass' with 'cross-attn', which reads every state, alone.")
        for f in fields(self):
            value = getattr(self, f.name)
            # A string "false" would count as true; a marker that nobody named is -1.
            if f.type in (bool, int) and (type(value) is not f.type or value < 0):
                raise CheckpointError(f"{f.name} is {value!r}; expected {f.type.__name__}, at least 0.")

        if self.class_token_index == self.text_token_index:
            raise CheckpointError(f"class_token_index and text_token_index are both {self.class_token_index}.")
        if self.isolate_labels:
            self._check_isolation()

    def _check_isolation(self) -> None:
        if type(self.crossing_bias) not in (int, float) or not math.isfinite(self.crossing_bias):
            raise CheckpointError(f"crossing_bias is {self.crossing_bias!r}; expected a finite number.")
        apart = {"prompt_first": True, "extract_text_features": True, "use_segment_embeddings": False}
        wrong = [f"{name} {not value}" for name, value in apart.items() if getattr(self, name) is not value]
        wrong += ["scorer_type 'hopfield'"] if self.scorer_type == "hopfield" else []
        if wrong:
            raise CheckpointError(
                f"isolate_labels stands with {' and '.join(wrong)}; expected {apart} and a scorer that judges each "
                "label by itself, or labels would meet after all."
            )

    @property
    def architecture(self) -> str:
        """What config.json calls ``architecture_type``."""
        return ISOLATED if self.isolate_labels else "uni-encoder"

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "GLiClassConfig":
        """Read a published ``config.json``; keys that we don't know are ignored.

        Raises:
            CheckpointError: Another architecture than the uni-encoder, or a feature we don't run.
        """
        isolated = raw.get("architecture_type") == ISOLATED
        raw = {**raw, "isolate_labels": isolated} | ({"architecture_type": "uni-encoder"} if isolated else {})
        for name, expected in SUPPORTED.items():
            if (value := raw.get(name, expected)) != expected:
                raise CheckpointError(f"{name} is {value!r}; expected {expected!r}: take another checkpoint.")
        kind = (raw.get("encoder_config") or {}).get("model_type")
        if kind in DECODERS:
            raise CheckpointError(f"the encoder is a {kind} decoder without its causal mask; take an encoder.")
        return cls(**{f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None})


class GLiClass(nn.Module):
    """An encoder, two projectors and a scorer.

    For half precision cast the encoder alone (``model.encoder_model.to(torch.bfloat16)``): all that
    follows it runs in float32, also under autocast.

    Args:
        encoder: A transformers encoder; its output has ``last_hidden_state`` (B, S, D).
        config: How labels and text are read off its states.
    """

    def __init__(self, encoder: nn.Module, config: GLiClassConfig) -> None:
        super().__init__()
        if config.isolate_labels:
            can_isolate(encoder, config.crossing_layer)
        width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.config = config
        self.encoder_model = encoder
        self.text_projector = _projector(width, config)
        self.classes_projector = _projector(width, config)
        self.scorer = SCORERS[config.scorer_type](width, config)
        self.dropout = nn.Dropout(config.dropout)
        self.logit_scale = nn.Parameter(torch.tensor(2.6592))
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
        config = self.config
        marks = mask & (ids == config.class_token_index)
        behind = mask & ((ids == config.text_token_index).cumsum(1) > 0)  # the text marker and on
        states = self._encode(ids, mask, types, behind)
        with torch.autocast(states.device.type, enabled=False):
            states = states.float()
            text = behind if config.extract_text_features else mask
            counts = marks.sum(1)
            t = self.dropout(self.text_projector(self._pool(states, mask, text)))
            c = self.classes_projector(self._labels(states, mask, marks, behind))
            if config.normalize_features:
                t, c = normalize(t, dim=-1), normalize(c, dim=-1)
            logits: Tensor = self.scorer(t, c, torch.repeat_interleave(counts), text)
            if config.normalize_features:
                logits = logits * self.logit_scale
            return list(logits.split(counts.tolist()))

    def _encode(self, ids: Tensor, mask: Tensor, types: Tensor | None, behind: Tensor) -> Tensor:
        if self.config.isolate_labels:
            owner = (mask & (ids == self.config.class_token_index)).cumsum(1).masked_fill(behind, 0)
            layer, bias = self.config.crossing_layer, self.config.crossing_bias
            return isolated_states(self.encoder_model, ids, mask, owner, crossing=layer, bias=bias)
        inputs = {"attention_mask": mask.long()} | ({} if types is None else {"token_type_ids": types})
        if self.config.use_segment_embeddings:
            words = self.encoder_model.get_input_embeddings()(ids)  # type: ignore[operator]
            inputs["inputs_embeds"] = words + self.segment_embeddings(behind.long()).to(words.dtype)
        else:
            inputs["input_ids"] = ids
        states: Tensor = self.encoder_model(**inputs).last_hidden_state
        return states

    def _pool(self, states: Tensor, mask: Tensor, text: Tensor) -> Tensor:
        """(B, D) the text's vector, or all states (B, S, D) for "pass".

        Where only a part of the row is text, the published code puts zeros for the rest and pools
        them too: means divide by the length of the row, a maximum is at least 0, the last state is 0.
        With ``isolate_labels`` means divide by the length of the text, or labels would count after all.
        """
        kind = self.config.pooling_strategy
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
        size = text.sum(1) if self.config.isolate_labels else length
        mean = total if kind == "sum" else total / size.unsqueeze(-1)
        return mean.sqrt() if kind == "rms" else mean

    def _labels(self, states: Tensor, mask: Tensor, marks: Tensor, behind: Tensor) -> Tensor:
        """(N, D) one vector for each of the batch's N labels, row after row.

        With "average" the last label's span runs on to the end of the row, over the text marker and
        the text, unless ``extract_text_features``: odd, but the instruct models were trained so.
        """
        if self.config.class_token_pooling == "first":
            row, column = marks.nonzero(as_tuple=True)
            return states[row, column if self.config.embed_class_token else column + 1]
        left_out = (behind & self.config.extract_text_features) | (marks & (not self.config.embed_class_token))
        spans = mask & (marks.cumsum(1) > 0) & ~left_out
        # Counting markers through the whole batch gives each token the number of the label before it.
        label = marks.flatten().cumsum(0).view_as(marks)[spans] - 1
        n = int(marks.sum())
        sums = states.new_zeros(n, states.shape[-1]).index_add(0, label, states[spans])
        return sums / torch.bincount(label, minlength=n).clamp(min=1).unsqueeze(-1)


def _projector(width: int, config: GLiClassConfig) -> nn.Sequential:
    """From the encoder's width D through ``hidden_size`` back to D."""
    hidden = config.hidden_size or width
    first, last = nn.Linear(width, hidden), nn.Linear(hidden, width)
    act, dropout = ACTIVATIONS[config.projector_hidden_act](), nn.Dropout(config.dropout)
    return nn.Sequential(OrderedDict(linear_1=first, act=act, dropout=dropout, linear_2=last))
