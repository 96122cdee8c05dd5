"""GLiClass on a decoder ("decoder-kv"), by the published package itself.

Source: gliclass 0.1.21, ``model.py``; it is an optional dependency, and nothing of it is written anew here.
"""

import copy
from typing import Any

import torch
from torch import Tensor

from headgate.errors import MissingExtraError
from headgate.models.building import filled
from headgate.models.checkpoint import Checkpoint


class Decoder:
    """A row is a text and its labels, each with its marker behind it; all of them together give the logits.

    Args:
        model: A GLiClassModel of the package.
        marker: Id behind every label.
    """

    def __init__(self, model: Any, marker: int) -> None:  # noqa: ANN401  the package has no types
        self.network = model
        self._marker = marker

    def __call__(self, ids: Tensor, mask: Tensor) -> list[Tensor]:
        """B float32 tensors (K_i,): one raw logit a label, of rows (B, S), padded on the right."""
        found = self.network(input_ids=ids, attention_mask=mask.long(), return_dict=True).logits.float()
        counts = (mask & (ids == self._marker)).sum(1).tolist()
        return [row[:count] for row, count in zip(found, counts, strict=True)]


def decoder(checkpoint: Checkpoint, marker: int) -> Decoder:
    """The model in a published folder; its decoder in the checkpoint's dtype, all behind it in float32.

    Raises:
        MissingExtraError: The package is not installed.
        CheckpointError: It doesn't run this decoder, or weights are missing or don't fit.
    """
    try:
        from gliclass import GLiClassModel, GLiClassModelConfig
    except ImportError as e:
        raise MissingExtraError("gliclass", "gliclass") from e
    kind = checkpoint.body.model_type  # one that transformers has: for another the package would run foreign code
    misfit = f"{checkpoint.folder} is no decoder-kv that gliclass runs, on {kind}"

    def make(**how: Any) -> Any:  # noqa: ANN401
        config = GLiClassModelConfig(**copy.deepcopy(checkpoint.config))
        return GLiClassModel.from_pretrained(None, config=config, dtype=torch.float32, **how)

    model = filled(make, checkpoint.tensors, where=checkpoint.folder, misfit=misfit)
    model.to(checkpoint.device)
    body = model.model.decoder_model.to(checkpoint.plain_dtype)
    body.register_forward_hook(_in_float32)
    return Decoder(model, marker)


def _in_float32(module: object, inputs: object, output: Any) -> Any:  # noqa: ANN401
    output.last_hidden_state = output.last_hidden_state.float()
    return output
