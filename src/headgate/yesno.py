"""Put a question to a text that has two answers, and get the probability of yes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.arguments import listed, probability
from headgate.calibration import Calibration
from headgate.conversation import Conversation, last_turns
from headgate.coverage import WHOLE, Coverage, coverage
from headgate.errors import DataError
from headgate.scores import Ask, Label, Scorer, Scores, as_label, judge, logistic

Array = NDArray[np.float64]
Hypotheses = str | Label | Sequence[str | Label]


@dataclass(frozen=True)
class Answer:
    """How likely yes is.

    Attributes:
        probability: Of yes, 0 to 1; 0.5 where the text says nothing: it is empty, or can't be read.
        log_odds: The model's own number for each hypothesis, by its words.
        unknown: Share of the text that the tokenizer could not read, 0 to 1.
        empty: The text holds nothing but white space.
        coverage: How much of it was read.
    """

    probability: float
    log_odds: dict[str, float]
    unknown: float = 0.0
    empty: bool = False
    coverage: Coverage = WHOLE


@dataclass(frozen=True)
class YesNo:
    """A question of yes or no, and no threshold.

    With hypotheses for yes alone, ``P(yes) = o / (1 + o)``, o being the sum of their odds. With hypotheses for no as
    well, ``P(yes) = o_yes / (o_yes + o_no)``: what independent odds mean where one of the two is true. How likely both
    are does not count then, only how they compare. Labels that are classes of one softmax are compared by it.

        YesNo(scorer, yes="The customer is angry.", no="The customer is calm.")("Where is my parcel?!").probability

    Args:
        scorer: What judges a text by the hypotheses; its scores must be probabilities, or calibrated here.
        yes: What is true of the text where the answer is yes: one hypothesis, or several of which one is enough.
        no: The same for no.
        turns: How many last messages of a conversation are read; None, all of them.
        unreadable: Above this share of unknown tokens a text says nothing, 0 to 1.
        calibration: Of the log-odds of yes; :meth:`fit` finds one.

    Raises:
        ValueError: No hypothesis for yes, one that came twice, or a calibration of another scorer or other hypotheses.
    """

    scorer: Scorer
    yes: Hypotheses
    no: Hypotheses = ()
    turns: int | None = None
    unreadable: float = 0.5
    calibration: Calibration | None = None
    _labels: tuple[Label, ...] = field(init=False, repr=False)
    _count: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        yes, no = _labels("yes", self.yes), _labels("no", self.no)
        if not yes:
            raise ValueError("no hypothesis for yes came; expected at least one that is true where the answer is yes.")
        if len({*yes, *no}) < len(yes) + len(no):
            raise ValueError(f"hypotheses {_words(yes + no)} hold one twice; expected each once, for yes or for no.")
        if self.turns is not None and self.turns < 1:
            raise ValueError(f"turns is {self.turns}; expected 1 or more.")
        probability("unreadable", self.unreadable)
        object.__setattr__(self, "_labels", yes + no)
        object.__setattr__(self, "_count", len(yes))
        if self.calibration is not None:
            self._check(self.calibration)

    def __call__(self, text: Conversation) -> Answer:
        """The answer of one text, or one conversation."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[Answer]:
        """An answer of each text, in order, in one batch plan."""
        return self.decide(judge(self.scorer, self.ask(texts)))

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score: every text against every hypothesis, those for yes first."""
        return [Ask([last_turns(t, self.turns) for t in listed("texts", texts)], list(self._labels))]

    def decide(self, scores: Sequence[Scores]) -> list[Answer]:
        """One answer for each text that these scores hold; pure, so a stored one can be answered again.

        Raises:
            NotCalibratedError: The scores are only an order, and there is no calibration.
        """
        (found,) = scores
        balance = self._balance(found)
        if self.calibration is not None:
            p = logistic(self.calibration(balance).log_odds[:, 0])
        else:
            _ = found.probabilities  # raises for an order
            p = logistic(balance.log_odds[:, 0])
        p = np.where(self._silent(found), 0.5, p)
        return [self._row(found, float(p[i]), i) for i in range(len(p))]

    def fit(self, texts: Sequence[Conversation], truths: ArrayLike) -> "YesNo":
        """This question with a calibration that makes its probabilities mean what they say.

        Args:
            texts: Labelled texts, as they come in use, and none that were used to find the hypotheses.
            truths: (n,) whether the answer of each is yes.

        Raises:
            DataError: There are not as many truths as texts.
            ValueError: All truths are the same, or the scores rank no above yes.
        """
        return self.calibrated(judge(self.scorer, self.ask(texts)), truths)

    def calibrated(self, scores: Sequence[Scores], truths: ArrayLike) -> "YesNo":
        """As :meth:`fit`, on scores of what this asks."""
        (found,) = scores
        y = np.asarray(truths, dtype=np.bool_)
        if y.shape != (len(found.log_odds),):
            raise DataError(f"truths have shape {y.shape}; expected {(len(found.log_odds),)}, one for each text.")
        live = ~self._silent(found)
        balance = self._balance(found)
        fitted = Calibration.fit(balance.log_odds[live], y[live, None], windows=balance.windows[live])
        fitted = replace(fitted, scorer=self.scorer.fingerprint, labels=tuple(_words(self._labels)))
        return replace(self, calibration=fitted)

    def _balance(self, found: Scores) -> Scores:
        """(n, 1) log-odds of yes, before any calibration."""
        z = found.log_odds.astype(np.float64)
        w = -np.logaddexp(0, -z) if found.exclusive else z  # log p of a class, or log odds of a label
        yes = _log_sum(w[:, : self._count])
        if w.shape[1] > self._count:
            z = yes - _log_sum(w[:, self._count :])
        else:
            z = yes - np.log(np.maximum(1 - np.exp(yes), 1e-12)) if found.exclusive else yes
        windows = found.windows.max(axis=1, keepdims=True)
        first = found.spans[:, :1]
        return replace(
            found, log_odds=z[:, None].astype(np.float32), windows=windows, spans=first, exclusive=False, scored=None
        )

    def _silent(self, found: Scores) -> NDArray[np.bool_]:
        return np.asarray(found.empty | (found.unknown > self.unreadable))

    def _row(self, found: Scores, p: float, i: int) -> Answer:
        return Answer(
            probability=p,
            log_odds=dict(zip(_words(self._labels), found.log_odds[i].tolist(), strict=True)),
            unknown=float(found.unknown[i]),
            empty=bool(found.empty[i]),
            coverage=coverage(found, i),
        )

    def _check(self, calibration: Calibration) -> None:
        if calibration.scorer and calibration.scorer != self.scorer.fingerprint:
            raise ValueError(
                f"the calibration was fitted on scorer {calibration.scorer}, and this one is "
                f"{self.scorer.fingerprint}; expected the same weights, template and classes: fit again."
            )
        if calibration.labels and list(calibration.labels) != _words(self._labels):
            raise ValueError(
                f"the calibration was fitted on hypotheses {list(calibration.labels)}, and these are "
                f"{_words(self._labels)}; expected the same, in that order: fit again."
            )


def _labels(name: str, given: Hypotheses) -> tuple[Label, ...]:
    labels = (given,) if isinstance(given, str | Label) else tuple(listed(name, given))
    for label in labels:
        if not isinstance(label, str | Label) or not as_label(label).text.strip():
            raise ValueError(f"a hypothesis for {name} is {label!r}; expected words, or a Label.")
    return tuple(map(as_label, labels))


def _words(labels: Sequence[Label]) -> list[str]:
    return [label.text for label in labels]


def _log_sum(w: Array) -> Array:
    """Log of the sum of exp over a row, without overflow; (n, k) -> (n,)."""
    top = w.max(axis=1, keepdims=True)
    total: Array = top[:, 0] + np.log(np.exp(w - top).sum(axis=1))
    return total
