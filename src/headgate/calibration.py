"""Turn a model's log-odds into probabilities that mean what they say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.scores import EMPTY_LOG_ODDS, Ask, Scorer, Scores, as_label, judge, logistic
from headgate.wrapped import Wrapper


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

    @classmethod
    def fit_choice(cls, scores: Scores, truths: ArrayLike) -> "Calibration":
        """Fit so that ``o_k / (1 + sum o)``, with o the calibrated odds, is the probability that k is the true label.

        The likeliest scale, shift and length, with Platt's smoothed targets; ``1 / (1 + sum o)`` is that of none.

        Args:
            scores: Of n texts and m labels; empty texts, and labels that were not scored, are left out.
            truths: (n,) int, which label is true of each text; -1 where none is.

        Raises:
            ValueError: No label is ever true, or the scores rank false above true.
        """
        y = np.asarray(truths)
        if y.shape != scores.log_odds.shape[:1] or not np.issubdtype(y.dtype, np.integer):
            raise ValueError(f"truths have shape {y.shape}, {y.dtype}; expected one label index a text, -1 for none.")
        live = ~scores.empty
        if not (y[live] >= 0).any():
            raise ValueError("no text has a true label; expected some, or nothing can be calibrated.")
        z, count, seen, right = _offered(scores, y, live)
        x = np.stack([np.where(seen, z, 0.0), np.ones(z.shape), -np.log(count)], axis=-1)
        long = bool((count > 1).any())
        w = _choice(x[..., : 3 if long else 2], seen, right)
        if long and w[2] < 0:  # the length term may only cost
            w = _choice(x[..., :2], seen, right)
        if not w[0] > 0:
            raise ValueError("these scores rank false above true; check the labels, the template or the class map.")
        return cls(float(w[0]), float(w[1]), float(w[2]) if len(w) == 3 else 0.0)


@dataclass(frozen=True)
class Calibrated(Wrapper):
    """A scorer whose log-odds went through a calibration; a scorer itself."""

    scorer: Scorer
    calibration: Calibration

    @property
    def fingerprint(self) -> str:
        """The inner scorer's with the three numbers."""
        c = self.calibration
        return f"{self.scorer.fingerprint}*{c.scale:.6g}{c.shift:+.6g}-{c.length:.6g}"

    @property
    def thresholds(self) -> dict[str, float]:
        """The inner scorer's own thresholds, if it has any."""
        return dict(getattr(self.scorer, "thresholds", {}))

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

    def remembering(self, memo: object) -> "Calibrated":
        """As the inner scorer's, where it has one; see :func:`headgate.passes.judge_all`."""
        remember = getattr(self.scorer, "remembering", None)
        return self if remember is None else replace(self, scorer=remember(memo))


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

    def slopes(w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        p = logistic(x @ w)
        return x.T @ (target - p), (x.T * (p * (1 - p))) @ x

    return _lowest(loss, slopes, w)


def _offered(
    scores: Scores, y: NDArray[np.int64], live: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Log-odds, windows, whether scored, whether true; each (n, k), k as many labels as any text was scored by."""
    seen = np.ones(scores.log_odds.shape, dtype=np.bool_) if scores.scored is None else scores.scored
    right = np.zeros(seen.shape, dtype=np.bool_)
    right[y >= 0, y[y >= 0]] = True
    some = np.argsort(~seen[live], axis=1, kind="stable")[:, : int(seen[live].sum(axis=1).max())]
    rows = np.flatnonzero(live)[:, None]
    return (
        scores.log_odds[rows, some].astype(np.float64),
        scores.windows[rows, some],
        seen[rows, some],
        right[rows, some],
    )


def _choice(x: NDArray[np.float64], seen: NDArray[np.bool_], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights (k,) of a multinomial regression of ``right`` (n, m) on x (n, m, k); none has odds 1."""
    n = len(seen)
    smooth = 1 / (n + 2) / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    # A true label that was not on offer leaves "none" as the right answer.
    target = np.where(right, (n + 1) / (n + 2), smooth) * seen

    def chances(w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        z = np.where(seen, x @ w, -np.inf)
        top = np.maximum(z.max(axis=1, keepdims=True), 0)
        odds = np.exp(z - top)
        total = odds.sum(axis=1, keepdims=True) + np.exp(-top)
        return x @ w, odds / total, (top + np.log(total))[:, 0]

    def loss(w: NDArray[np.float64]) -> float:
        z, _, total = chances(w)
        return float(total.sum() - (target * z).sum())

    def slopes(w: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        _, p, _ = chances(w)
        mean = np.einsum("nm,nmk->nk", p, x)
        return np.einsum("nm,nmk->k", target - p, x), np.einsum("nm,nmk,nml->kl", p, x, x) - mean.T @ mean

    return _lowest(loss, slopes, np.eye(x.shape[2])[0])


def _lowest(
    loss: Callable[[NDArray[np.float64]], float],
    slopes: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]],
    w: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Where a convex loss is lowest, by damped Newton from w; ``slopes`` gives minus the gradient, and the Hessian."""
    for _ in range(100):
        down, hessian = slopes(w)
        step = np.linalg.solve(hessian + 1e-9 * np.eye(len(w)), down)
        rate = 1.0
        while rate > 1e-8 and loss(w + rate * step) > loss(w):
            rate /= 2
        w = w + rate * step
        if np.abs(step).max() < 1e-9:
            break
    return w
