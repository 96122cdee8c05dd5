"""How many of the nearest labels are enough, and how surely: an exact bound on the share of misses."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.bounds import fewest, most_errors


@dataclass(frozen=True)
class Promise:
    """How often a shortlist may miss the true label.

    Attributes:
        miss: The share of in-scope texts whose true label may be left out, 0 to 1.
        confidence: Of the promise: the chance that the texts it was made on don't flatter it.
        n: In-scope texts it was made on.
        size: Labels a shortlist holds.
        attained: The share of those texts whose true labels were all in it.
        guaranteed: False where the texts were too few: the size is then only what these texts needed.
        needed: How many more texts would have been enough, at the least; 0 if guaranteed.
    """

    miss: float
    confidence: float
    n: int
    size: int
    attained: float
    guaranteed: bool
    needed: int = 0


def promised(ranks: NDArray[np.int64], miss: float, confidence: float, *, least: int) -> Promise:
    """The smallest size that is shown to miss at most ``miss``, or what these ranks took.

    Sizes are nested, so testing them from the largest down until one fails is a fixed sequence, and
    the last that passed is an order statistic of the ranks.

    Args:
        ranks: (n,) the size that just holds the true labels of each text, 1 or more.
        miss: Above 0, below 1.
        confidence: Above 0, below 1.
        least: The size, at least, where nothing can be shown.

    Source: Clopper & Pearson, "The use of confidence or fiducial limits", 1934; the sequence is
    that of Angelopoulos et al., "Learn then test", 2021 (arXiv:2110.01052).
    """
    n, allowed = len(ranks), most_errors(len(ranks), miss, confidence)
    sure = allowed >= 0
    size = int(np.sort(ranks)[n - 1 - allowed]) if sure else max(least, int(ranks.max()))
    needed = 0 if sure else fewest(miss, confidence) - n
    return Promise(miss, confidence, n, size, float((ranks <= size).mean()), sure, needed)
