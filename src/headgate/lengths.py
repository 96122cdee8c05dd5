"""False alarms by length: a long text is read in many windows, and the highest of many is high by luck.

A threshold that was chosen on short texts is reached by more and more safe ones as they grow: 1% becomes 15% at sixteen
windows. So fitting a guard joins safe texts to longer ones, and looks at what these reach.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_SHORTEST = 48  # tokens; the sizes double from here, so that one fills three quarters of any model's window
_TOKENS = 20_000  # of one size: 200 short texts, 40 long ones
_FEWEST, _MOST = 40, 200
_TAIL = 0.9


class Joined(NamedTuple):
    """Safe texts of many lengths, joined from shorter ones.

    Attributes:
        texts: Every size's.
        sizes: (n,) about how many tokens each has.
    """

    texts: list[str]
    sizes: NDArray[np.int64]


def joined(texts: Sequence[str], tokens: ArrayLike, *, longest: int, seed: int) -> Joined:
    """Texts of 48, 96, … tokens, up to ``longest``, each of different texts in a random order.

    Args:
        texts: Safe texts.
        tokens: (n,) of each; where the scorer counts none, four characters are one.
        longest: Tokens of the longest, 0 for none.
        seed: Of the order.
    """
    counted = np.asarray(tokens)
    length = np.maximum(1, np.where(counted > 0, counted, [len(t) // 4 for t in texts])) if len(texts) else counted
    rng = np.random.default_rng(seed)
    out, sizes = [], []
    size = _SHORTEST
    while size <= longest:
        fits = np.flatnonzero(length < size)  # a text beyond the size would make a longer one
        for _ in range(min(_MOST, max(_FEWEST, _TOKENS // size)) if len(fits) else 0):
            chosen: list[int] = []
            room = size
            while room > 0:
                turn = rng.permutation(fits)
                upto = int(np.searchsorted(length[turn].cumsum(), room)) + 1
                chosen += turn[:upto].tolist()
                room -= int(length[turn[:upto]].sum())
            out.append("\n".join(texts[i] for i in chosen))
            sizes.append(size)
        size *= 2
    return Joined(out, np.array(sizes, dtype=np.int64))


def length_term(log_odds: ArrayLike, windows: ArrayLike, sizes: ArrayLike) -> float:
    """What to take off for each e-fold of windows, so that the highest of many reaches a threshold no oftener than one.

    Far out, the log-odds of safe windows fall off as an exponential does: of k windows the highest is then higher than
    one by its mean excess times log(k). The mean excess is taken at its upper 90% bound, for a few texts tell little.

    Args:
        log_odds: (n,) of safe texts.
        windows: (n,) that each was read in.
        sizes: (n,) tokens that each was joined to: the largest size that is mostly read in one window counts.

    Returns:
        Log-odds, 0 where no size is mostly read in one window, or no text in several.
    """
    z, k, size = np.asarray(log_odds, dtype=np.float64), np.asarray(windows), np.asarray(sizes)
    whole = [s for s in np.unique(size) if (k[size == s] == 1).mean() > 0.5]
    if not whole or (k == 1).all():
        return 0.0
    one = z[(size == max(whole)) & (k == 1)]
    at = np.quantile(one, _TAIL)
    over = one[one > at] - at
    return float(over.mean() * 2 * len(over) / chi_squared_low(2 * len(over))) if len(over) else 0.0


def reached(log_odds: ArrayLike, rate: float) -> float:
    """What a share ``rate`` of texts like these reaches: an exponential tail above their 90th percentile."""
    z = np.asarray(log_odds, dtype=np.float64)
    if rate >= 1 - _TAIL:
        return float(np.quantile(z, 1 - rate))
    at = np.quantile(z, _TAIL)
    over = z[z > at] - at
    return float(at + (over.mean() if len(over) else 0.0) * math.log((1 - _TAIL) / rate))


def chi_squared_low(degrees: int) -> float:
    """The 10% quantile of a chi-squared of so many degrees of freedom, within 1% from 4 degrees up.

    Source: Wilson & Hilferty, "The distribution of chi-square", 1931.
    """
    normal = -1.2815515655446004
    c = 2 / (9 * degrees)
    return float(degrees * (1 - c + normal * math.sqrt(c)) ** 3)
