"""Figures from arrays: no models, no rows, no files.

scikit-learn computes what it has; written here is what it lacks, and F1 and AUROC, which the bootstrap asks for a
thousand times over. Every interval covers 95 %.
"""

import math
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.errors import MissingExtraError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Statistic = Callable[[Ints], float]
"""A figure of the rows with these numbers; rows may come several times."""

ROUNDS = 1000
BINS = 15


class Interval(NamedTuple):
    """The ends of a 95 % interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """A difference, its 95 % interval, and how often chance alone makes one as large."""

    value: float
    low: float
    high: float
    p: float


class Operating(NamedTuple):
    """Where a threshold stands: what it catches of the unsafe rows, and what of the safe ones."""

    threshold: float
    caught: int
    unsafe: int
    false_positives: int
    safe: int

    @property
    def recall(self) -> float:
        """Share of the unsafe rows at or above the threshold."""
        return self.caught / self.unsafe

    @property
    def false_positive_rate(self) -> float:
        """Share of the safe rows at or above the threshold."""
        return self.false_positives / self.safe


class RiskCoverage(NamedTuple):
    """Share of the answers given that is wrong, for each share that is given.

    Attributes:
        coverage: (k,) shares of rows answered, rising to 1: one for each different confidence.
        risk: (k,) share of the answered rows that is wrong.
        threshold: (k,) the confidence from which rows are answered.
        area: The mean risk over the coverages 1/n, 2/n, ..., 1 (AURC); lower is better.
    """

    coverage: Floats
    risk: Floats
    threshold: Floats
    area: float


class Bin(NamedTuple):
    """Rows of like probability: its mean, the share that was true, and how many they are."""

    probability: float
    frequency: float
    rows: int


def extra(module: str, package: str) -> Any:  # noqa: ANN401  a module
    """A module of the extra ``evaluate``; MissingExtraError where it is not installed."""
    try:
        return import_module(module)
    except ImportError as e:
        raise MissingExtraError(package, "evaluate") from e


def f1(truth: Bools, said: Bools, *, average: Literal["macro", "micro"] = "macro") -> float:
    """F1 of label matrices (n, labels), as scikit-learn's ``f1_score``; 0 where nothing is true or said.

    Macro is the mean over the labels that are true or said of some row. Rows with one label each give the figure
    of multi-class classification.
    """
    both, either = (truth & said).sum(axis=0), truth.sum(axis=0) + said.sum(axis=0)
    if average == "micro":
        both, either = both.sum(keepdims=True), either.sum(keepdims=True)
    live = either > 0
    return float((2 * both[live] / either[live]).mean()) if live.any() else 0.0


def auroc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Chance that a true row scores above a false one; ties count half.

    Raises:
        ValueError: There are no true or no false rows.
    """
    real = np.asarray(truth, dtype=np.bool_)
    if real.all() or not real.any():
        raise ValueError(f"{int(real.sum())} of {real.size} rows are true; expected both true and false ones.")
    _, group, sizes = np.unique(np.asarray(scores), return_inverse=True, return_counts=True)
    high = np.bincount(group.ravel()[real], minlength=sizes.size)
    low = sizes - high
    return float((high * (np.cumsum(low) - low / 2)).sum() / (high.sum() * low.sum()))


def average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """Mean precision at each true row, AUPRC without interpolation (scikit-learn)."""
    return float(extra("sklearn.metrics", "scikit-learn").average_precision_score(truth, scores))


def roc(truth: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    """False-positive rates and recalls of every threshold, from (0, 0) to (1, 1) (scikit-learn)."""
    rates, recalls, _ = extra("sklearn.metrics", "scikit-learn").roc_curve(truth, scores)
    return np.asarray(rates, dtype=np.float64), np.asarray(recalls, dtype=np.float64)


def at_false_positives(truth: ArrayLike, scores: ArrayLike, rate: float = 0.01) -> Operating:
    """The lowest threshold that lets through at most ``floor(rate * safe)`` false positives.

    A row is caught at or above the threshold, which is one of the scores, or infinity where even the highest is
    too low. Safe rows that tie are caught together or not at all, so ties never help.

    Args:
        truth: (n,) True for unsafe rows.
        scores: (n,) higher is unsafer.
        rate: The share of safe rows that may be caught, 0 to 1.

    Raises:
        ValueError: There are no safe or no unsafe rows.
    """
    unsafe, z = np.asarray(truth, dtype=np.bool_), np.asarray(scores, dtype=np.float64)
    if unsafe.all() or not unsafe.any():
        raise ValueError(f"{int(unsafe.sum())} of {unsafe.size} rows are unsafe; expected both safe and unsafe ones.")
    safe = np.sort(z[~unsafe])[::-1]
    allowed = math.floor(rate * safe.size + 1e-9)  # 0.29 * 100 is 28.999...96
    above = z if allowed >= safe.size else z[z > safe[allowed]]
    threshold = float(above.min()) if above.size else math.inf
    caught = z >= threshold
    return Operating(
        threshold, int((caught & unsafe).sum()), int(unsafe.sum()), int((caught & ~unsafe).sum()), safe.size
    )


def declined_at_retention(inside: ArrayLike, outside: ArrayLike, keep: float = 0.95) -> float:
    """Share of ``outside`` below the highest threshold that keeps at least this share of ``inside``."""
    kept, other = np.sort(np.asarray(inside, dtype=np.float64))[::-1], np.asarray(outside, dtype=np.float64)
    threshold = kept[max(1, math.ceil(keep * kept.size - 1e-9)) - 1]
    return float((other < threshold).mean())


def risk_coverage(confidence: ArrayLike, right: ArrayLike) -> RiskCoverage:
    """Risk for each coverage when the most confident rows are answered first.

    Rows of equal confidence are answered together in the curve; the area takes the mean over all their orders, so
    it does not depend on the order of the rows.

    Source: El-Yaniv and Wiener, 2010; AURC as in Geifman, Uziel and El-Yaniv, 2019, equation 4.
    """
    sure, wrong = np.asarray(confidence, dtype=np.float64), 1.0 - np.asarray(right, dtype=np.float64)
    levels, group, sizes = np.unique(-sure, return_inverse=True, return_counts=True)
    errors = np.bincount(group.ravel(), weights=wrong, minlength=levels.size)
    answered, lost = np.cumsum(sizes), np.cumsum(errors)
    share = np.repeat(errors / sizes, sizes)  # the expected error of each row of a tie
    risks = np.cumsum(share) / np.arange(1, sure.size + 1)
    return RiskCoverage(answered / sure.size, lost / answered, -levels, float(risks.mean()))


def reliability(
    probabilities: ArrayLike, truth: ArrayLike, *, equal: Literal["mass", "width"] = "mass", bins: int = BINS
) -> list[Bin]:
    """Bins of like probability, lowest first; empty ones are left out, and equal probabilities share one.

    Args:
        probabilities: Any shape, 0 to 1.
        truth: Same shape.
        equal: Bins of as many rows each ("mass"), or of the same width ("width").
        bins: At most so many.
    """
    p, y = np.asarray(probabilities, dtype=np.float64).ravel(), np.asarray(truth, dtype=np.float64).ravel()
    if equal == "mass":
        starts = np.arange(1, bins) * p.size // bins
        edges = np.unique(np.sort(p)[starts[starts > 0]])
    else:
        edges = np.arange(1, bins) / bins
    at = np.searchsorted(edges, p, side="right")
    found = [(p[at == k], y[at == k]) for k in range(edges.size + 1)]
    return [Bin(float(a.mean()), float(b.mean()), a.size) for a, b in found if a.size]


def calibration_error(
    probabilities: ArrayLike, truth: ArrayLike, *, equal: Literal["mass", "width"] = "mass", bins: int = BINS
) -> float:
    """Expected calibration error (ECE): mean distance of probability and frequency over the rows' bins.

    Source: Naeini, Cooper and Hauskrecht, 2015 (equal width); Nguyen and O'Connor, 2015 (equal mass).
    """
    found = reliability(probabilities, truth, equal=equal, bins=bins)
    total = sum(b.rows for b in found)
    return sum(b.rows * abs(b.probability - b.frequency) for b in found) / total


def brier(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Mean squared distance of probability and truth; 0.25 is what 0.5 everywhere gets."""
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    return float(((p - y) ** 2).mean())


def exact(hits: int, n: int) -> Interval:
    """Clopper and Pearson's interval of a share, which holds for small n too."""
    beta = extra("scipy.stats", "scipy").beta
    low = float(beta.ppf(0.025, hits, n - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(0.975, hits + 1, n - hits)) if hits < n else 1.0
    return Interval(low, high)


def bootstrap(
    statistic: Statistic, n: int, *, strata: Sequence[int] | Ints | None = None, seed: int = 0, rounds: int = ROUNDS
) -> Interval:
    """Percentile interval of a figure of n rows.

    Args:
        statistic: The figure of the rows with these numbers.
        n: How many rows there are.
        strata: (n,) group of each row; each keeps its size in every round. None: one group.
        seed: Of the draws.
        rounds: How many.
    """
    found = _rounds(statistic, n, strata, seed, rounds)
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(low), float(high))


def paired(
    difference: Statistic,
    n: int,
    *,
    strata: Sequence[int] | Ints | None = None,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> Difference:
    """Difference of two systems on the same n rows, with a percentile interval and a two-sided p-value.

    The p-value is the share of rounds whose distance from the observed difference is at least as large as that
    difference is from zero, both counted with one more: it is never 0.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 16 (the null by shifting).
    """
    value = difference(np.arange(n))
    found = _rounds(difference, n, strata, seed, rounds)
    low, high = np.quantile(found, [0.025, 0.975])
    beyond = int((np.abs(found - value) >= abs(value) - 1e-12).sum())
    return Difference(value, float(low), float(high), (beyond + 1) / (rounds + 1))


def _rounds(statistic: Statistic, n: int, strata: Sequence[int] | Ints | None, seed: int, rounds: int) -> Floats:
    if n < 1:
        raise ValueError("there are no rows to draw from; expected at least one.")
    groups = np.zeros(n, dtype=np.int64) if strata is None else np.asarray(strata)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    rng = np.random.default_rng(seed)
    draws = (np.concatenate([rng.choice(m, m.size) for m in members]) for _ in range(rounds))
    return np.array([statistic(at) for at in draws])
