"""Learning from another scorer: its log-odds beside the labels, or in their place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from headgate.errors import LabelError, NotCalibratedError
from headgate.evaluate.common import inner
from headgate.scores import Ask, Label, Scorer, judge
from headgate.train.cross_encoder_data import Example
from headgate.train.ranking_losses import divergence, margin_mse

_AT_ONCE = 256


@dataclass(frozen=True)
class Teacher:
    """A scorer whose log-odds are learned.

    Args:
        scorer: Any :class:`headgate.Scorer`. For rankings an order is enough; for pairs it must give probabilities.
        weight: Share of the loss that is the teacher's, above 0; 1 needs no labels at all.
        temperature: Divides the log-odds of both; above 1 the teacher's doubts count for more.
        loss: Of rankings: "divergence" of the two softmaxes over a list, or "margin_mse", the squared error of the
            margins, which learns the teacher's scale too (and takes no temperature). Pairs have binary
            cross-entropies of entailment, and of contradiction where both know it; a model of two classes does not.
    """

    scorer: Scorer
    weight: float = 0.5
    temperature: float = 1.0
    loss: Literal["divergence", "margin_mse"] = "divergence"

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight is {self.weight}; expected a share of the loss, above 0 and at most 1.")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; expected a number above 0, such as 2.")
        if self.loss not in ("divergence", "margin_mse"):
            raise ValueError(f"loss is {self.loss!r}; expected divergence or margin_mse.")

    def judged(self, examples: Sequence[Example], *, pairs: bool, classes: int) -> Iterator[tuple[float, ...]]:
        """Log-odds for every example, in order: of each document, or of entailment (and contradiction) for a pair.

        Args:
            examples: What is judged; a query goes through the teacher's own template, a hypothesis does not.
            pairs: True for premise and hypothesis, False for a query with documents.
            classes: How many classes the learner has; of three the third is worth knowing.

        Raises:
            NotCalibratedError: Pairs need a probability, and the teacher gives an order.
            ScorerError: The teacher broke its contract.
        """
        relations = self._relations(examples[0], pairs and classes > 2)
        for at in range(0, len(examples), _AT_ONCE):
            some = examples[at : at + _AT_ONCE]
            asks = [Ask(e.texts, [Label(e.asked, pairs, r) for r in relations]) for e in some]
            for scores in judge(self.scorer, asks):
                if pairs and scores.meaning == "order":
                    raise NotCalibratedError(
                        "the teacher gives only an order, and a pair is learned from a probability; fit one first: "
                        "Calibration.fit(scores, truths).on(scorer)."
                    )
                yield tuple(scores.log_odds.ravel().tolist())

    def ranking_loss(self, logits: Tensor, said: Tensor, mask: Tensor) -> Tensor:
        """How far the ranker is from the teacher; all (lists, documents)."""
        if self.loss == "margin_mse":
            return margin_mse(logits, said, mask)
        return divergence(logits, said, mask, self.temperature)

    def pair_loss(self, log_odds: Tensor, said: Tensor) -> Tensor:
        """Binary cross-entropy with the teacher's probabilities; both (pairs, relations) log-odds.

        Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2.
        """
        t = self.temperature
        return nn.functional.binary_cross_entropy_with_logits(log_odds / t, (said / t).sigmoid()) * t**2

    def _relations(self, example: Example, both: bool) -> list[Literal["entailment", "contradiction"]]:
        two = len(getattr(inner(self.scorer), "classes", ())) == 2  # what such a model does not entail may be neutral
        if not both or two:
            return ["entailment"]
        try:
            judge(self.scorer, [Ask(example.texts, [Label(example.asked, True, "contradiction")])])
        except LabelError:  # so say families that know no contradiction
            return ["entailment"]
        return ["entailment", "contradiction"]
