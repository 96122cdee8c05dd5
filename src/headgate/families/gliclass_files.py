"""GLiClass folders: weights into a model, tokenizers that can't write a marker, and how long a row may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tokenizers import Tokenizer as RustTokenizer

from headgate.errors import CheckpointError
from headgate.models.checkpoint import Checkpoint, Json, length_limits, read_json
from headgate.models.gliclass_config import GLiClassConfig
from headgate.models.gliclass_layers import Head
from headgate.runtime.tokenizer import Tokenizer, read_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

PUBLISHED_LENGTH = 1024
"""Tokens that the published pipeline reads where nobody says otherwise, whatever the encoder."""

ENCODERS = ("encoder_model.", "label_encoder.", "encoder_decoder_model.")

Model = TypeVar("Model", bound=Head)


def fill(model: Model, checkpoint: Checkpoint, prefix: str = "model.") -> Model:
    """The model with its weights, in float32, but for the encoders, which brought their own.

    Raises:
        CheckpointError: Weights are missing, left over, or of another shape.
    """
    named = checkpoint.part(prefix) | {f"calibrator.{k}": v for k, v in checkpoint.part("calibrator.").items()}
    weights = {k: v.float() for k, v in named.items() if not k.startswith(ENCODERS)}
    try:
        found = model.load_state_dict(weights, strict=False)
    except RuntimeError as e:  # shapes that differ
        raise CheckpointError(f"the weights in {checkpoint.folder} don't fit its config.json: {e}") from e
    missing = [k for k in found.missing_keys if not k.startswith(ENCODERS)]
    if missing or found.unexpected_keys:
        raise CheckpointError(
            f"{checkpoint.folder} lacks {missing[:3] or 'nothing'} and has {found.unexpected_keys[:3] or 'nothing'} "
            f"beyond what its config.json describes (scorer_type {model.config.scorer_type!r}); expected weights that "
            "fit it."
        )
    for name, part in model.named_children():
        if not f"{name}.".startswith(ENCODERS):
            part.float()  # whatever torch's default is
    model.requires_grad_(False)
    return model.to(checkpoint.device).eval()


def length(checkpoint: Checkpoint) -> int:
    """Tokens of the longest row: what somebody asked for, else the pipeline's length or what is shorter."""
    given = checkpoint.settings.get("max_length") if checkpoint.max_length is None else checkpoint.max_length
    return reach(checkpoint.body, checkpoint.home) if given is None else checkpoint.length


def reach(body: PreTrainedConfig, folder: Path) -> int:
    """Tokens that an encoder of this configuration reads, with the tokenizer of a folder: the pipeline's at most."""
    limits = length_limits(body, folder)
    if not getattr(body, "position_biased_input", True):
        # DeBERTa-v2 and v3 know relative positions only: the 512 in their configuration is no limit.
        limits.pop("positions", None)
    return min([PUBLISHED_LENGTH, *limits.values()])


def tokenizers(checkpoint: Checkpoint, config: GLiClassConfig, *, text_first: bool) -> tuple[Tokenizer, Tokenizer]:
    """The folder's tokenizer as it reads texts and labels where they stand; neither can write a marker.

    Args:
        checkpoint: Its folder.
        config: The ids of the markers.
        text_first: True where a text begins its row, False where a marker stands in front of it.
    """
    path = checkpoint.folder / "tokenizer.json"
    state = read_json(path)
    rust = read_tokenizer(path)
    added = {t["id"]: t["content"] for t in state["added_tokens"]}
    markers = []
    for name in ("class_token_index", "text_token_index"):
        index = getattr(config, name)
        token = added.get(index) or rust.id_to_token(index)  # which shows an added one as the normalizer leaves it
        if token is None:
            raise CheckpointError(f"config.json has {name}: {index}; expected an id of {path}.")
        markers.append(token)
    whole = Tokenizer(rust, markers=markers)
    inside = _inside(state.get("pre_tokenizer"))
    if inside == state.get("pre_tokenizer"):
        return whole, whole
    labels = Tokenizer(RustTokenizer.from_str(json.dumps({**state, "pre_tokenizer": inside})), markers=markers)
    return whole if text_first else labels, labels


def _inside(step: Json | None) -> Json | None:
    """A pre-tokenizer as it works behind the start of a string."""
    if step is None:
        return None
    if step["type"] == "Sequence":
        return {**step, "pretokenizers": [_inside(s) for s in step["pretokenizers"]]}
    if step["type"] == "Metaspace" and step.get("prepend_scheme") == "first":
        return {**step, "prepend_scheme": "never"}
    return step
