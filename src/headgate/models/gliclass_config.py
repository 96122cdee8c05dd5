"""What a GLiClass ``config.json`` says beside its encoders, for every architecture but "decoder-kv".

    uni-encoder             labels and text in one row of tokens; ours with labels that don't see each other
    bi-encoder              a tower for texts, a tower for labels
    bi-encoder-fused        the same, and the labels' vectors stand in the text's row in place of their markers
    encoder-decoder         the text through the encoder, the labels through the decoder
    encoder-decoder-cls     the labels through the encoder, the text through the decoder

Source: Knowledgator/GLiClass@40baa67 and gliclass 0.1.21, ``config.py`` and ``model.py``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from headgate.errors import CheckpointError
from headgate.models.gliclass_scorers import SCORERS

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "swish": nn.SiLU, "tanh": nn.Tanh}
POOLINGS = ("first", "last", "avg", "sum", "max", "rms", "abs_max", "abs_avg", "pass")
TOWERS = ("bi-encoder", "bi-encoder-fused")
ARCHITECTURES = ("uni-encoder", *TOWERS, "encoder-decoder", "encoder-decoder-cls")
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
        architecture_type: One of the above; "uni-encoder" also where labels are isolated.
        squeeze_layers: Read a weighted sum of all the encoder's layers.
        encoder_layer_id: Read this one of its states, 0 the embeddings; -1 the last.
        use_lstm: A bidirectional LSTM over the text's states before they are pooled.
        use_calibrator: Scale, and perhaps shift, each logit by what a network says of it and its row.
        calibrator_hidden_size: Of that network.
        calibrator_beta_max: The largest scale.
        calibrator_use_bias: Shift as well.
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
    architecture_type: str = "uni-encoder"
    squeeze_layers: bool = False
    encoder_layer_id: int = -1
    use_lstm: bool = False
    use_calibrator: bool = False
    calibrator_hidden_size: int = 256
    calibrator_beta_max: float = 3.0
    calibrator_use_bias: bool = False
    isolate_labels: bool = False
    crossing_layer: int = 0
    crossing_bias: float = 0.0

    def __post_init__(self) -> None:
        known: dict[str, Iterable[str]] = {"projector_hidden_act": ACTIVATIONS, "scorer_type": SCORERS}
        known |= {"pooling_strategy": POOLINGS, "class_token_pooling": ("first", "average")}
        known |= {"architecture_type": ARCHITECTURES}
        for name, choices in known.items():
            if getattr(self, name) not in tuple(choices):
                raise CheckpointError(f"{name} is {getattr(self, name)!r}; expected one of {sorted(choices)}.")
        if (self.pooling_strategy == "pass") != (self.scorer_type == "cross-attn"):
            found = f"pooling_strategy is {self.pooling_strategy!r}, scorer_type {self.scorer_type!r}"
            raise CheckpointError(f"{found}; expected 'pass' with 'cross-attn', which reads every state, alone.")
        for f in fields(self):
            value = getattr(self, f.name)
            # A string "false" would count as true; a marker that nobody named is -1.
            if f.type in (bool, int) and (type(value) is not f.type or (value < 0 and f.name != "encoder_layer_id")):
                raise CheckpointError(f"{f.name} is {value!r}; expected {f.type.__name__}, at least 0.")

        if self.class_token_index == self.text_token_index:
            raise CheckpointError(f"class_token_index and text_token_index are both {self.class_token_index}.")
        self._check_architecture()
        if self.isolate_labels:
            self._check_isolation()

    def _check_architecture(self) -> None:
        """Refuse what the published code leaves out, or fails at, in this architecture."""
        uni, decoder = self.architecture_type == "uni-encoder", self.architecture_type == "encoder-decoder"
        wrong = {
            "squeeze_layers": self.squeeze_layers and not uni,
            "encoder_layer_id": self.encoder_layer_id != -1 and not uni,
            "use_segment_embeddings": self.use_segment_embeddings and not uni,
            "use_lstm": self.use_lstm and not (uni or decoder),
            "scorer_type": self.scorer_type == "cross-attn" and (self.use_calibrator or not (uni or decoder)),
        }
        if names := [f"{name} {getattr(self, name)!r}" for name, is_wrong in wrong.items() if is_wrong]:
            raise CheckpointError(
                f"{' and '.join(names)} stands with {self.architecture_type}, use_calibrator {self.use_calibrator}, "
                "where the published code does not read it; expected a config.json that gliclass runs."
            )

    def _check_isolation(self) -> None:
        if type(self.crossing_bias) not in (int, float) or not math.isfinite(self.crossing_bias):
            raise CheckpointError(f"crossing_bias is {self.crossing_bias!r}; expected a finite number.")
        apart = {"prompt_first": True, "extract_text_features": True, "architecture_type": "uni-encoder"}
        apart |= dict.fromkeys(("use_segment_embeddings", "squeeze_layers", "use_lstm", "use_calibrator"), False)
        apart |= {"encoder_layer_id": -1}
        wrong = [f"{name} {getattr(self, name)!r}" for name, value in apart.items() if getattr(self, name) != value]
        wrong += ["scorer_type 'hopfield'"] if self.scorer_type == "hopfield" else []
        if wrong:
            raise CheckpointError(
                f"isolate_labels stands with {' and '.join(wrong)}; expected {apart} and a scorer that judges each "
                "label by itself, or labels would meet after all."
            )

    @property
    def architecture(self) -> str:
        """What config.json calls ``architecture_type``."""
        return ISOLATED if self.isolate_labels else self.architecture_type

    @property
    def most_labels(self) -> int | None:
        """Of one prompt; None for any number."""
        if self.architecture_type == "uni-encoder" and isinstance(self.max_labels_alloc, int):
            return self.max_labels_alloc
        dynamic = self.max_labels_alloc == "dynamic" and self.architecture_type == "uni-encoder"
        return None if dynamic else self.max_num_classes

    @property
    def slots(self) -> int:
        """How many vectors at least compete for a text."""
        return (self.most_labels or 0) if self.scorer_type == "hopfield" else 0

    @property
    def joint(self) -> bool:
        """True if a label's logit depends on the other labels of its call."""
        together = self.scorer_type == "hopfield" or self.use_calibrator
        return together if self.architecture_type == "bi-encoder" else not self.isolate_labels

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "GLiClassConfig":
        """Read a published ``config.json``; keys that we don't know are ignored.

        Raises:
            CheckpointError: An architecture or feature that we don't run.
        """
        isolated = raw.get("architecture_type") == ISOLATED
        raw = {**raw, "isolate_labels": isolated} | ({"architecture_type": "uni-encoder"} if isolated else {})
        kind = (raw.get("encoder_config") or {}).get("model_type")
        if kind in DECODERS and raw.get("architecture_type", "uni-encoder") == "uni-encoder":
            raise CheckpointError(f"the encoder is a {kind} decoder without its causal mask; take an encoder.")
        return cls(**{f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None})
