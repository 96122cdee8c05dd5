"""What the trainer runs for a multi-head classifier: batches, the loss of several heads, and what is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import EvalPrediction

from headgate.evaluate.metrics import f1
from headgate.families.multi_head import Head
from headgate.models.multi_head import MultiHead
from headgate.train.common import padded
from headgate.train.head_data import Labelled, labels_of

F = nn.functional
ClassWeights = Mapping[str, Mapping[str, float]]


class Item(TypedDict):
    """One row: token ids, token types or None, and the (all classes,) target, NaN where nothing is said."""

    input_ids: list[int]
    types: list[int] | None
    target: Tensor


class Collate:
    """Rows to one batch.

    Args:
        pad: The id that fills short rows up.
    """

    def __init__(self, pad: int) -> None:
        self._pad = pad

    def __call__(self, items: Sequence[Item]) -> dict[str, Tensor]:
        """The arguments of :meth:`HeadLoss.forward`."""
        types = [item["types"] or [] for item in items] if items[0]["types"] is not None else None
        rows = padded([item["input_ids"] for item in items], self._pad, types)
        batch = {"input_ids": rows.ids, "mask": rows.mask, "labels": torch.stack([item["target"] for item in items])}
        return batch if rows.types is None else {**batch, "types": rows.types}


class HeadLoss(nn.Module):
    """A multi-head model and the loss of the heads in training.

    Everything else of the model takes no gradient, and with it no weight decay.

    Args:
        model: The classifier.
        heads: Those in training, in the order of the columns of logits and targets.
        frozen: The backbone stays as it is; then it runs without dropout.
        weights: By head, (classes,) weights.
        dropout: Share of the pooled state that is dropped.
        label_smoothing: Share of the truth that is spread over all classes.
        l2: Weight of half the squared weights of the heads.
    """

    def __init__(  # noqa: PLR0913  what the loss is made of, by name
        self,
        model: MultiHead,
        heads: Mapping[str, Head],
        *,
        frozen: bool,
        weights: Mapping[str, Tensor],
        dropout: float,
        label_smoothing: float,
        l2: float,
    ) -> None:
        super().__init__()
        self.model, self.heads, self.frozen = model.requires_grad_(False), dict(heads), frozen
        self.dropout, self.label_smoothing, self.l2 = nn.Dropout(dropout), label_smoothing, l2
        model.backbone.requires_grad_(not frozen)
        if isinstance(pooler := getattr(model.backbone, "pooler", None), nn.Module):
            pooler.requires_grad_(False)  # no head reads it, and several GPUs wait for every gradient
        for name in heads:
            model.heads[name].requires_grad_(True)
            self.register_buffer(f"weights_{name}", weights.get(name), persistent=False)

    def train(self, mode: bool = True) -> HeadLoss:
        """As usual, but that a frozen backbone has no dropout."""
        super().train(mode)
        if self.frozen:
            self.model.backbone.eval()
        return self

    def forward(
        self, input_ids: Tensor, mask: Tensor, labels: Tensor, types: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The loss, and the logits (rows, all classes in training) in float32.

        Args:
            input_ids: (rows, longest).
            mask: (rows, longest), True on tokens.
            labels: (rows, all classes in training) targets, NaN where a row says nothing of a head.
            types: (rows, longest), or None.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            pooled = self.model.pool(self.model.encode(input_ids, mask, types), mask)
        pooled = self.dropout(pooled)
        losses, logits = [], []
        with torch.autocast(pooled.device.type, enabled=False):
            sizes = [len(head.labels) for head in self.heads.values()]
            for (name, head), target in zip(self.heads.items(), labels.split(sizes, dim=1), strict=True):
                linear = self.model.heads[name]
                assert isinstance(linear, nn.Linear)
                logits.append(linear(pooled.float()))
                losses.append(self._loss(name, head, logits[-1], target) + self.l2 / 2 * linear.weight.square().sum())
        return {"loss": torch.stack(losses).sum(), "logits": torch.cat(logits, dim=1)}

    def _loss(self, name: str, head: Head, logits: Tensor, target: Tensor) -> Tensor:
        """The mean over the rows that label the head; a batch without any gives 0, not 0/0."""
        said = ~target[:, 0].isnan()
        logits, target, weights = logits[said], target[said].float(), getattr(self, f"weights_{name}")
        if len(target) == 0:
            return logits.sum()
        if head.kind == "single":
            true = target.argmax(dim=1)
            return F.cross_entropy(logits, true, weight=weights, label_smoothing=self.label_smoothing)
        soft = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, soft, pos_weight=weights)


def loss_weights(
    data: Labelled,
    heads: Mapping[str, Head],
    trained: Sequence[str],
    given: Literal["balanced"] | ClassWeights | None,
) -> dict[str, Tensor]:
    """(classes,) weights by head; {} for None.

    Args:
        data: To count in.
        heads: All of them.
        trained: Those that have weights.
        given: "balanced", or head -> label -> weight.

    Raises:
        ValueError: A head or label that there is not, or a weight that is not above 0.
    """
    if given is None:
        return {}
    if given == "balanced":
        return {name: torch.from_numpy(balanced(heads[name], labels_of(data, name))) for name in trained}
    if not isinstance(given, Mapping) or not all(isinstance(w, Mapping) for w in given.values()):
        raise ValueError(f'class_weights is {given!r}; expected "balanced", or head -> label -> weight.')
    for name, weights in given.items():
        unknown = set(weights) - set(heads[name].labels) if name in trained else {name}
        if unknown or not all(0 < w < np.inf for w in weights.values()):
            raise ValueError(
                f"class_weights of head {name!r} are {dict(weights)}; expected weights above 0 of labels of a head in "
                f"training: { ({n: list(heads[n].labels) for n in trained}) }."
            )
    return {
        name: torch.tensor([float(given.get(name, {}).get(label, 1.0)) for label in heads[name].labels])
        for name in trained
    }


def balanced(head: Head, target: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights that give every class of a head the same say; a class without rows weighs 1.

    Source: scikit-learn's "balanced", for a softmax head, n / (classes * rows of the class); for a label of a multi
    head untrue over true rows, torch's ``pos_weight``.

    Args:
        head: Which.
        target: (rows, classes).
    """
    true = target.sum(axis=0)
    least = np.maximum(true, 1)
    found = len(target) / (len(head.labels) * least) if head.kind == "single" else (len(target) - true) / least
    return np.where((true == 0) | (found == 0), 1.0, found).astype(np.float32)


def measured(heads: Mapping[str, Head]) -> Callable[[EvalPrediction], dict[str, float]]:
    """What the trainer logs of held-out rows: ``accuracy_<head>``, or ``macro_f1_<head>`` of a multi head."""

    def measure(found: EvalPrediction) -> dict[str, float]:
        logits, targets = np.asarray(found.predictions), np.asarray(found.label_ids)
        figures: dict[str, float] = {}
        first = 0
        for name, head in heads.items():
            columns = slice(first, first + len(head.labels))
            first += len(head.labels)
            said = ~np.isnan(targets[:, columns.start])
            if said.any():
                kind = "accuracy" if head.kind == "single" else "macro_f1"
                figures[f"{kind}_{name}"] = _figure(head, logits[said, columns], targets[said, columns])
        return figures

    return measure


def _figure(head: Head, logits: NDArray[Any], target: NDArray[Any]) -> float:
    if head.kind == "single":
        return float((logits.argmax(axis=1) == target.argmax(axis=1)).mean())
    return f1(target > 0, logits > 0)
