"""A row of labels and a text, read so that no label sees another.

    label k attends to itself and, from one layer on, to the text; the text attends to the text alone

Positions count within each label and within the text. So a label's states depend on that label and the text, and on
neither the order nor the company of the labels; and below that layer text and labels are read as if each stood alone,
which is what an encoder of single texts was trained for.

Splitting the lower layers is from DeFormer (Cao et al., arXiv 2005.00697); reading the text without the label in every
layer, and each label by itself, is ours.
"""

import torch
from torch import Tensor, nn

from headgate.errors import CheckpointError


def can_isolate(encoder: nn.Module, crossing: int) -> None:
    """Raise CheckpointError for another encoder than a BERT of transformers, or one without the layer ``crossing``."""
    kind = encoder.config.model_type  # type: ignore[union-attr]
    if kind != "bert":
        raise CheckpointError(
            f"isolate_labels is set on a {kind} encoder; expected bert, whose positions can be counted within each "
            "label. Take another encoder, or leave it out."
        )
    layers = int(encoder.config.num_hidden_layers)  # type: ignore[union-attr, arg-type]
    if crossing >= layers:
        raise CheckpointError(
            f"crossing_layer is {crossing} of {layers}; expected less, since labels would never read the text."
        )


def isolated_states(
    encoder: nn.Module, ids: Tensor, mask: Tensor, owner: Tensor, *, crossing: int = 0, bias: float = 0.0
) -> Tensor:
    """The states of the last layer (B, S, D).

    Args:
        encoder: See :func:`can_isolate`.
        ids: (B, S) int64 rows.
        mask: (B, S) bool, True on tokens.
        owner: (B, S) int64: 0 on tokens of the text, k on those of the row's k-th label.
        crossing: The first layer in which labels attend to the text.
        bias: Added to the attention of a label to the text, before the softmax.
    """
    alike = owner.unsqueeze(2) == owner.unsqueeze(1)
    places = alike.tril(-1).sum(2) * mask  # how many tokens of the same owner stand before each; padding has none
    same = alike & mask.unsqueeze(1)
    text = ((owner == 0) & mask).unsqueeze(1)
    states: Tensor = encoder.get_submodule("embeddings")(input_ids=ids, position_ids=places)
    never = torch.finfo(states.dtype).min
    apart = torch.zeros_like(same, dtype=states.dtype).masked_fill(~same, never)
    across = apart.masked_fill(text & ~same, bias)
    for number, layer in enumerate(encoder.get_submodule("encoder").get_submodule("layer").children()):
        states = layer(states, (across if number >= crossing else apart).unsqueeze(1))
    return states
