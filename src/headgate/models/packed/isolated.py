"""Rows of labels and a text that are read apart, over packed rows; see :mod:`headgate.models.isolated`.

Below the layer where labels begin to read the text, every label and every text stands alone. So there they are rows of
their own, and a label that many texts of a batch are judged by is read once.
"""

import torch
from torch import Tensor

from headgate.models.packed.attention import weighted
from headgate.models.packed.encoder import PackedEncoder
from headgate.models.packed.rows import Group, Rows, filled


def isolated_states(
    encoder: PackedEncoder, ids: Tensor, mask: Tensor, owner: Tensor, *, crossing: int = 0, bias: float = 0.0
) -> Tensor:
    """The states of the last layer (B, S, D), zeros on padding.

    Args:
        encoder: Of the kind bert.
        ids: (B, S) int64 rows.
        mask: (B, S) bool, True on tokens.
        owner: (B, S) int64: 0 on tokens of the text, k on those of the row's k-th label.
        crossing: The first layer in which labels attend to the text.
        bias: Added to the attention of a label to the text, before the softmax.
    """
    rows = Rows(mask.sum(1).tolist(), ids.device, fill=encoder.fill)
    owners = owner[mask]
    apart, places, words = _apart(ids[mask], mask.nonzero()[:, 0], owners, fill=encoder.fill)
    x = encoder.embedded(words, None, apart)
    for layer in encoder.layers[:crossing]:
        x = layer(x, apart, first=False)
    x = x[places]

    def attend(q: Tensor, k: Tensor, v: Tensor, group: Group) -> Tensor:
        if "mask" not in group.kept:
            group.kept["mask"] = _mask(owners[group.start : group.stop], group, bias).to(q.dtype)
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
        return weighted(scores.add_(group.kept["mask"]), v, None)

    for layer in encoder.layers[crossing:]:
        x = layer(x, rows, first=False, how=attend)
    return x.new_zeros(*mask.shape, x.shape[-1]).masked_scatter_(mask[..., None], x)


def _apart(ids: Tensor, row: Tensor, owner: Tensor, *, fill: bool) -> tuple[Rows, Tensor, Tensor]:
    """What stands alone, each once: as rows; where in them each token (T,) is; and their tokens."""
    part = row * (int(owner.max()) + 1) + owner
    order = part.argsort(stable=True)  # the text's tokens lie on both sides of the labels
    sizes = part[order].unique_consecutive(return_counts=True)[1].tolist()
    pieces = _pieces(ids[order], sizes)
    unique = sorted(dict.fromkeys(pieces), key=len, reverse=True)  # like lengths together
    starts, at = {}, 0
    for piece in unique:
        starts[piece] = at
        at += len(piece)
    found = torch.empty_like(order)
    spots = [start for piece in pieces for start in range(starts[piece], starts[piece] + len(piece))]
    found[order] = torch.tensor(spots, device=ids.device)
    words = torch.tensor([word for piece in unique for word in piece], device=ids.device)
    return Rows([len(piece) for piece in unique], ids.device, fill=fill), found, words


def _pieces(ids: Tensor, sizes: list[int]) -> list[tuple[int, ...]]:
    words, found, at = ids.tolist(), [], 0
    for size in sizes:
        found.append(tuple(words[at : at + size]))
        at += size
    return found


def _mask(owner: Tensor, group: Group, bias: float) -> Tensor:
    """(rows, 1, length, length): 0 within a label or the text, ``bias`` from a label to the text, else never."""
    owners = filled(owner, group, -1)
    asking, asked = owners[:, :, None], owners[:, None, :]
    text = (asking > 0) & (asked == 0)
    found = torch.full(text.shape, torch.finfo(torch.bfloat16).min, device=owner.device)
    return found.masked_fill_(asking == asked, 0.0).masked_fill_(text, bias)[:, None]
