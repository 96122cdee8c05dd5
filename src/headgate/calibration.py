"""Turn a model's log-odds into probabilities that mean what they say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.scores import EMPTY_LOG_ODDS, Ask, Label, Scorer, Scores, as_label, judge, logistic


@dataclass(frozen=True)
class Calibration:
    """Platt scaling with a price on length: ``scale * z + shift - length * log(windows)``.

    ``scale`` is positive, so labels of one text length never change their order; ``length`` pays
    for the chances that the maximum over many windows has of being high by luck. It belongs to one
    model, one template and, for joint scorers, one set of labels: ``scorer`` and ``labels`` say
    which, and :meth:`on` refuses others.

    Args:
        scale: 1 / temperature, above 0.
        shift: Added log-odds.
        length: Log-odds taken off for each e-fold of windows, at least 0.
        scorer: The fingerprint it was fitted on; "" fits any.
        labels: The label set it was fitted on; () fits any.

    Source: Platt, "Probabilistic outputs for support vector machines", 1999.
    """

    scale: float = 1.0
    shift: float = 0.0
    length: float = 0.0
    scorer: str = ""
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.scale > 0 and np.isfinite([self.scale, self.shift, self.length]).all()):
            raise ValueError(f"scale is {self.scale}; expected above 0 and finite, or ranking would change.")
        if not self.length >= 0:
            raise ValueError(f"length is {self.length}; expected at least 0: long texts earn no bonus.")

    def __call__(self, scores: Scores) -> Scores:
        """The same scores as probabilities: meaning "probability", order kept."""
        z = self.scale * scores.log_odds.astype(np.float64) + self.shift
        z -= self.length * np.log(scores.windows)
        if scores.scored is not None:  # what nobody scored stays far from every threshold
            z = np.where(scores.scored, z, EMPTY_LOG_ODDS)
        return replace(scores, log_odds=z.astype(np.float32), meaning="probability", exclusive=False)

    def on(self, scorer: Scorer) -> "Calibrated":
        """``scorer`` with this calibration applied to every score."""
        if self.scorer and self.scorer != scorer.fingerprint:
            raise ValueError(
                f"this calibration was fitted on scorer {self.scorer}, and this one is {scorer.fingerprint}: "
                "other weights, template or classes. Fit one for it: Calibration.fit(scores, truths)."
            )
        return Calibrated(scorer, self)

    @classmethod
    def fit(
        cls,
        log_odds: Scores | ArrayLike,
        truths: ArrayLike,
        *,
        windows: ArrayLike | None = None,
        scorer: str = "",
        labels: Sequence[str] = (),
    ) -> "Calibration":
        """Fit on held-out data.

        Uses Platt's smoothed targets, so that separable data doesn't send ``scale`` to infinity.

        Args:
            log_odds: Scores, whose empty texts and unscored labels are left out, or an array of any shape.
            truths: Whether each label was true of its text, same shape.
            windows: How many windows each score was the maximum of; taken from Scores.
            scorer: Fingerprint of the scorer, kept with the result.
            labels: Label set of a joint scorer, kept with the result.

        Raises:
            ValueError: Shapes differ, no windows, only one kind of truth, or scores that rank false
                above true.
        """
        z, y, count = _examples(log_odds, truths, windows)
        features = [z, np.ones(z.size), -np.log(count)]
        long = bool((count > 1).any())
        w = platt(np.stack(features[: 3 if long else 2], axis=1), y)
        if long and w[2] < 0:  # the length term may only cost
            w = platt(np.stack(features[:2], axis=1), y)
        if not w[0] > 0:
            raise ValueError("these scores rank false above true; check the labels, the template or the class map.")
        length = float(w[2]) if len(w) == 3 else 0.0
        return cls(float(w[0]), float(w[1]), length, scorer=scorer, labels=tuple(labels))


@dataclass(frozen=True)
class Calibrated:
    """A scorer whose log-odds went through a calibration; a scorer itself."""

    scorer: Scorer
    calibration: Calibration

    @property
    def joint(self) -> bool:
        """As the inner scorer's."""
        return self.scorer.joint

    @property
    def labels(self) -> tuple[str, ...] | None:
        """As the inner scorer's."""
        return self.scorer.labels

    @property
    def fingerprint(self) -> str:
        """The inner scorer's with the three numbers."""
        c = self.calibration
        return f"{self.scorer.fingerprint}*{c.scale:.6g}{c.shift:+.6g}-{c.length:.6g}"

    @property
    def thresholds(self) -> dict[str, float]:
        """The inner scorer's own thresholds, if it has any."""
        return dict(getattr(self.scorer, "thresholds", {}))

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        """Calibrated log-odds, (n, m)."""
        return self.score_many([Ask(texts, labels)])[0]

    def score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """Calibrated log-odds for several cross products in one plan."""
        for ask in asks:
            names = tuple(as_label(label).text for label in ask.labels)
            if self.calibration.labels and set(names) != set(self.calibration.labels):
                raise ValueError(
                    f"labels {list(names)} are not those this calibration was fitted on, "
                    f"{list(self.calibration.labels)}; a joint scorer needs one for every label set."
                )
        return [self.calibration(s) for s in judge(self.scorer, asks)]

    def split_label(self, label: str) -> list[str]:
        """As the inner scorer's, where it has one."""
        split = getattr(self.scorer, "split_label", None)
        if split is None:
            raise TypeError(f'{type(self.scorer).__name__} has no split_label, which long_query="windows" needs.')
        return list(split(label))

    def close(self) -> None:
        """Release the inner scorer's model."""
        close = getattr(self.scorer, "close", None)
        if close is not None:
            close()


def _examples(
    log_odds: Scores | ArrayLike, truths: ArrayLike, windows: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Log-odds, truths and numbers of windows to fit on, each (k,), or ValueError."""
    live: NDArray[np.bool_] | None = None
    if isinstance(log_odds, Scores):
        live = np.broadcast_to(~log_odds.empty[:, None], log_odds.log_odds.shape)
        live = live if log_odds.scored is None else live & log_odds.scored
        windows, log_odds = log_odds.windows, log_odds.log_odds
    z, y = np.asarray(log_odds, dtype=np.float64), np.asarray(truths, dtype=np.bool_)
    count = np.ones_like(z) if windows is None else np.asarray(windows, dtype=np.float64)
    if not z.shape == y.shape == count.shape:
        raise ValueError(f"scores have shape {z.shape}, truths {y.shape} and windows {count.shape}; expected the same.")
    if not np.isfinite(z).all():
        raise ValueError("scores hold NaN or infinity; expected finite log-odds.")
    if not (count >= 1).all():
        raise ValueError("a score was read from no window; expected windows of at least 1.")
    if live is not None:  # an empty text's log-odds is no model's, and far from all others
        z, y, count = z[live], y[live], count[live]
    if y.all() or not y.any():
        raise ValueError("every truth is the same; expected both true and false examples.")
    return z.ravel(), y.ravel(), count.ravel()


def platt(x: NDArray[np.float64], y: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights (k,) of a logistic regression of y (n,) on x (n, k), with Platt's targets; column 1 is the constant."""
    n_true, n_false = int(y.sum()), int((~y).sum())
    target = np.where(y, (n_true + 1) / (n_true + 2), 1 / (n_false + 2))
    w = np.zeros(x.shape[1])
    w[1] = np.log((n_true + 1) / (n_false + 1))

    def loss(w: NDArray[np.float64]) -> float:
        m = x @ w
        return float((np.logaddexp(0, m) - target * m).sum())

    for _ in range(100):  # damped Newton; the loss is convex
        p = logistic(x @ w)
        hessian = (x.T * (p * (1 - p))) @ x + 1e-9 * np.eye(x.shape[1])
        step = np.linalg.solve(hessian, x.T @ (target - p))
        rate = 1.0
        while rate > 1e-8 and loss(w + rate * step) > loss(w):
            rate /= 2
        w = w + rate * step
        if np.abs(step).max() < 1e-9:
            break
    return w
