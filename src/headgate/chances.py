"""What a router's scores mean before any threshold: the probability of each route, and of none."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.decision import Cut
from headgate.labelled import Bools
from headgate.passes import rows_of
from headgate.scores import Scores
from headgate.thresholds import Outcomes

Array = NDArray[np.float64]


class Chances(NamedTuple):
    """Of n texts and m routes.

    Attributes:
        p: (n, m) probability of each route; 0 for routes that were not scored.
        none: (n,) P(none of the routes).
        null: (n,) probability of the likeliest null hypothesis, a part of none; 0 without any.
        top: (n,) the highest log-odds of a route.
    """

    p: Array
    none: Array
    null: Array
    top: Array

    @classmethod
    def of(cls, scores: Scores, m: int, *, multi: bool) -> "Chances":
        """From scores of m routes and, behind them, of null hypotheses.

        Raises:
            NotCalibratedError: The scores are only an order.
        """
        own = scores.probabilities.astype(np.float64)
        z = scores.log_odds.astype(np.float64)
        if multi:
            none = np.prod(1 - own[:, :m], axis=1)
        elif scores.exclusive:
            none = np.maximum(0.0, 1.0 - own[:, :m].sum(axis=1))
        else:
            own, none = _one_of(z, m)
        return cls(own[:, :m], none, own[:, m:].max(axis=1, initial=0.0), z[:, :m].max(axis=1))

    def outcomes(self, cut: Cut, true: Bools, empty: Bools) -> Outcomes:
        """What each text gets at any one threshold, gap and number of routes being those of ``cut``.

        Args:
            cut: Its thresholds don't count.
            true: (n, m) which routes are right.
            empty: (n,) texts that go nowhere.
        """
        if cut.multi:
            p = np.where(self.p >= self.null[:, None], self.p, -1.0)
            least = np.sort(p, axis=1)[:, -min(cut.top_k or p.shape[1], p.shape[1])]
            p = np.where(p >= least[:, None], p, -1.0)
            best, wrong = p.max(axis=1), np.where(true, -1.0, p).max(axis=1)
        else:
            rows, first = np.arange(len(self.p)), self.p.argmax(axis=1)
            best, right = self.p[rows, first], true[rows, first]
            others = self.p.copy()
            others[rows, first] = 0.0
            near = best < np.maximum(others.max(axis=1), self.null) * np.exp(cut.gap)
            best = np.where(near, -1.0, best)
            wrong = np.where(right, -1.0, best)
        return Outcomes(np.where(empty, -1.0, best), np.where(empty, -1.0, wrong))


def part(scores: Scores, rows: Bools, m: int) -> Scores:
    """Scores of some texts, (n,) True, and of the first m labels."""
    some = rows_of(scores, np.flatnonzero(rows).tolist())
    return replace(
        some,
        log_odds=some.log_odds[:, :m],
        windows=some.windows[:, :m],
        spans=some.spans[:, :m],
        scored=None if some.scored is None else some.scored[:, :m],
    )


def _one_of(z: Array, m: int) -> tuple[Array, Array]:
    """P of each label, and of none of the first m, when at most one is true: a softmax beside a zero for "none"."""
    z = np.concatenate([z, np.zeros((len(z), 1))], axis=1)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p[:, :-1], p[:, m:].sum(axis=1)
