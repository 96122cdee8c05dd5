"""What a number of errors among n examples says of the rate behind it: exact binomial bounds, numpy alone.

They hold for examples drawn as later texts will be, whatever the model; none of them is asymptotic.
"""

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

_STEPS = 60  # of a bisection: as fine as float64 is near 1


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) for X ~ Binomial(n, p); exact to some 1e-12, for n up to millions.

    Args:
        k: Errors; below 0 the answer is 0, from n up it is 1.
        n: Examples.
        p: Rate of errors, 0 to 1.
    """
    if k < 0:
        return 0.0
    if k >= n or p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    i = np.arange(k + 1)
    logs_of = _log_factorials(1 << int(n).bit_length())
    logs = logs_of[n] - logs_of[i] - logs_of[n - i]
    logs += i * math.log(p) + (n - i) * math.log1p(-p)
    top = float(logs.max())
    return float(min(1.0, math.exp(top) * np.exp(logs - top).sum()))


def upper_bound(errors: int, n: int, confidence: float) -> float:
    """The highest rate that still gives this few errors with probability ``1 - confidence``; 1 where n is 0.

    Source: Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
    1934; one-sided.
    """
    if errors >= n:
        return 1.0
    low, high = errors / n, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if binomial_cdf(errors, n, middle) > 1 - confidence else (low, middle)
    return high


def fewest(rate: float, confidence: float) -> int:
    """Examples that prove a rate below ``rate``, if none of them is an error."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-rate))


def most_errors(n: int, rate: float, confidence: float) -> int:
    """The most errors among n examples that still prove a rate of at most ``rate``; -1 where not even none does.

    It is an order statistic too: of n scores, let this many lie above a threshold, and the share of all later scores
    that lie above it is at most ``rate``, with this confidence.
    """
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_cdf(middle, n, rate) <= 1 - confidence else (low, middle)
    return low


def last_proven(errors: Sequence[int], n: Sequence[int], *, rate: float, confidence: float) -> int:
    """How far a sequence of thresholds can be walked, each proving a rate of at most ``rate``; -1 if the first doesn't.

    The order must not depend on these examples. Then all thresholds up to the answer hold at once with this
    confidence, and however many there are costs nothing: the walk ends at the first that fails.

    Args:
        errors: Among the examples that each threshold lets through, in the order of the walk.
        n: Examples that each threshold lets through.
        rate: What is to be proven, 0 to 1.
        confidence: With which, 0 to 1.

    Source: Angelopoulos, Bates, Candès, Jordan & Lei, "Learn then Test", 2021 (arXiv:2110.01052), fixed-sequence
    testing with binomial p-values.
    """
    for step, (k, of) in enumerate(zip(errors, n, strict=True)):
        if not binomial_cdf(int(k), int(of), rate) <= 1 - confidence or of == 0:
            return step - 1
    return len(errors) - 1


def chi_square(freedom: int, p: float) -> float:
    """The quantile p of chi-square, for p of 0.9 and above to 1%, or 3% below 4 degrees of freedom.

    Source: Wilson & Hilferty, "The distribution of chi-square", 1931.
    """
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + statistics.NormalDist().inv_cdf(p) * math.sqrt(spread)) ** 3)


def wilson(errors: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
    """A cautious guess of the rate: the upper end of Wilson's interval at one standard deviation; 1 where n is 0.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    k, of = np.asarray(errors, dtype=np.float64), np.asarray(n, dtype=np.float64)
    some = np.maximum(of, 1)
    p = k / some
    upper = (p + 0.5 / some + np.sqrt(p * (1 - p) / some + 0.25 / some**2)) / (1 + 1 / some)
    return np.where(of > 0, upper, 1.0)


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> NDArray[np.float64]:
    """log(i!) for i = 0 … n."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
