"""Losses of GLiClass over the labels of each prompt, and figures of a model that is being trained.

Prompts hold different numbers of labels, so logits and targets come padded: (prompts, most labels), where a target
of :data:`PADDING` is no label. Padding never counts, not even in a mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from transformers import EvalPrediction

F = nn.functional

PADDING = -100.0
"""The target where a prompt has no more labels; it is also what the Trainer pads with."""

Kind = Literal["bce", "focal", "cross_entropy"]


@dataclass(frozen=True)
class Objective:
    """What training makes small.

    Args:
        kind: "bce", every label for itself; "focal", the same with little weight on labels that are already judged
            well; "cross_entropy", the one true label against the others of its prompt.
        gamma: Of the focal loss, at least 0; the higher, the less an easy label counts.
        alpha: Of the focal loss, 0 to 1: weight of true labels, where false ones get 1 - alpha; None weighs none.
        contrastive: Weight of :func:`apart`, at least 0.
    """

    kind: Kind = "bce"
    gamma: float = 2.0
    alpha: float | None = None
    contrastive: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"loss is {self.kind!r}; expected one of {list(get_args(Kind))}.")
        for name, value in (("focal_gamma", self.gamma), ("contrastive", self.contrastive)):
            if not value >= 0:
                raise ValueError(f"{name} is {value}; expected a number, at least 0.")
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise ValueError(f"focal_alpha is {self.alpha}; expected 0 to 1, or None to weigh no label.")

    def __call__(self, logits: Tensor, targets: Tensor, vectors: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            logits: (prompts, most labels) float32.
            targets: The same shape: how true each label is, 0 to 1, or PADDING.
            vectors: (labels of the batch, width), prompt after prompt.
        """
        real = targets != PADDING
        if self.kind == "cross_entropy":
            loss = cross_entropy(logits, targets)
        elif self.kind == "focal":
            loss = focal(logits[real], targets[real], self.gamma, self.alpha).mean()
        else:
            loss = F.binary_cross_entropy_with_logits(logits[real], targets[real])
        return loss + self.contrastive * apart(vectors, real.sum(1)) if self.contrastive else loss


def focal(logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Focal loss of each logit, in the shape given: ``alpha_t (1 - p_t)^gamma BCE``.

    With a soft target t, ``p_t`` is ``p t + (1 - p)(1 - t)``, as published GLiClass models were trained.

    Source: Lin et al., "Focal Loss for Dense Object Detection" (arXiv 1708.02002), equation 5.
    """
    p = torch.sigmoid(logits)
    p_t = p * targets + (1 - p) * (1 - targets)
    loss = (1 - p_t) ** gamma * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return loss if alpha is None else loss * (alpha * targets + (1 - alpha) * (1 - targets))


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Softmax over the labels of each prompt, mean over prompts; targets as in :class:`Objective`, one true a prompt.

    The published code takes the classes of the whole model, of which there are -1, for those of the prompt; its
    trainer drops the error and the step, and nothing is learned.
    """
    real = targets != PADDING
    log_p = logits.masked_fill(~real, -torch.inf).log_softmax(-1)
    return -(log_p.masked_fill(~real, 0.0) * targets.clamp(min=0)).sum(-1).mean()


def apart(vectors: Tensor, counts: Tensor) -> Tensor:
    """InfoNCE of the labels of a prompt: each should be more like itself than like its neighbours.

    Cosines without a temperature, mean over labels, as ``sequence_contrastive_loss`` in Knowledgator/GLiClass@40baa67.

    Args:
        vectors: (labels of the batch, width).
        counts: (prompts,) how many of them belong to each prompt, in order.
    """
    unit = F.normalize(vectors.float(), dim=-1)
    owner = torch.repeat_interleave(counts)
    strangers = owner.unsqueeze(0) != owner.unsqueeze(1)
    cosines = (unit @ unit.T).masked_fill(strangers, -torch.inf)
    return F.cross_entropy(cosines, torch.arange(len(unit), device=unit.device))


def figures(predictions: EvalPrediction) -> dict[str, float]:
    """Figures for the Trainer: ``f1``, micro-averaged at probability 0.5, and ``accuracy``.

    Accuracy is the share of the prompts with a true label whose strongest label is one. A soft target of 0.5 or
    more is true.
    """
    logits, targets = np.asarray(predictions.predictions), np.asarray(predictions.label_ids)
    real, true = targets != PADDING, targets >= 0.5
    said = (logits > 0) & real
    strongest = np.where(real, logits, -np.inf).argmax(1)
    hits = true[np.arange(len(true)), strongest][true.any(1)]
    return {
        "f1": float(2 * (said & true).sum() / max(1, said.sum() + true.sum())),
        "accuracy": float(hits.mean()) if len(hits) else 0.0,
    }
