"""What a cross-encoder learns: the loss of a batch and the measure of held-out rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers import EvalPrediction

from headgate.errors import MissingExtraError
from headgate.families.cross_encoder import Classes
from headgate.train.cross_encoder_data import NOT_ENTAILED, UNKNOWN
from headgate.train.distil import Teacher
from headgate.train.ranking_losses import listwise, pairwise, pointwise

Loss = Literal["cross_entropy", "listwise", "pairwise", "pointwise"]
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "listwise": listwise,
    "pairwise": pairwise,
    "pointwise": pointwise,
}


@dataclass(frozen=True)
class Goal:
    """What is learned.

    Attributes:
        classes: What the logits mean.
        lists: True for rankings.
        loss: From the labels.
        teacher: Whose log-odds are learned as well.
    """

    classes: Classes
    lists: bool
    loss: Loss
    teacher: Teacher | None

    @property
    def metric(self) -> str:
        """By which the best epoch is known."""
        return "ndcg@10" if self.lists else "accuracy"

    def scores(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (pairs, classes) as rankings have them, (lists, documents) log-odds; as they are for the rest."""
        if not self.lists:
            return logits
        numbers = logits[:, 0] if self.classes.ranker else self._log_odds(logits, "entailment")
        # Pairs stand list by list, as the True places of a mask are counted.
        return numbers.new_zeros(labels.shape).masked_scatter(labels != UNKNOWN, numbers)

    def objective(self, scores: Tensor, labels: Tensor, said: Tensor | None) -> Tensor:
        """The loss of one batch: of the labels, of the teacher, or of both by its weight.

        Args:
            scores: As :meth:`scores` gives them.
            labels: (lists, documents) grades, padded with -100; (pairs, 1) classes.
            said: (lists, documents) or (pairs, relations) log-odds of the teacher.
        """
        weight = self.teacher.weight if self.teacher is not None and said is not None else 0.0
        total = scores.new_zeros(())
        if weight < 1:
            own = LOSSES[self.loss](scores, labels, labels != UNKNOWN) if self.lists else self._entropy(scores, labels)
            total = total + (1 - weight) * own
        if self.teacher is not None and said is not None:
            total = total + weight * self._distance(self.teacher, scores, labels, said)
        return total

    def _distance(self, teacher: Teacher, scores: Tensor, labels: Tensor, said: Tensor) -> Tensor:
        if self.lists:
            return teacher.ranking_loss(scores, said, labels != UNKNOWN)
        relations = ("entailment", "contradiction")[: said.shape[1]]
        return teacher.pair_loss(torch.stack([self._log_odds(scores, r) for r in relations], dim=1), said)

    def _entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy; of "not entailed" the log of the probability that is left beside entailment."""
        logp = torch.log_softmax(logits, dim=1)
        target = labels[:, 0].long()
        exact = logp.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
        denied = _without(logp, self.classes.index("entailment")).logsumexp(1)
        return -torch.where(target == NOT_ENTAILED, denied, exact).mean()

    def _log_odds(self, logits: Tensor, relation: str) -> Tensor:
        """As :func:`headgate.scores.class_log_odds`, with gradients."""
        at = self.classes.index(relation)
        return logits[:, at] - _without(logits, at).logsumexp(1)

    def measured(self, found: EvalPrediction) -> dict[str, float]:
        """The metric, from what the trainer gathered."""
        scores, labels = np.asarray(found.predictions), np.asarray(found.label_ids)
        if self.lists:
            return {self.metric: _ndcg(scores, labels)}
        best, wanted = scores.argmax(1), labels[:, 0]
        entailed = self.classes.index("entailment")
        return {self.metric: float(np.where(wanted == NOT_ENTAILED, best != entailed, best == wanted).mean())}


def _without(logits: Tensor, at: int) -> Tensor:
    return torch.cat([logits[:, :at], logits[:, at + 1 :]], dim=1)


def _ndcg(scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> float:
    try:
        from sklearn.metrics import ndcg_score
    except ImportError as e:
        raise MissingExtraError("scikit-learn", "train") from e
    real = labels != UNKNOWN
    each = [ndcg_score([y[m]], [z[m]], k=10) for z, y, m in zip(scores, labels, real, strict=True)]
    return float(np.mean(each))
