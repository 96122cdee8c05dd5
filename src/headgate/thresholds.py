"""Thresholds that keep a promise: chosen on one half of the data, proven on the other.

A promise is about a rate of errors: of wrong routes among those chosen, of safe texts that are blocked, of unsafe ones
that pass. Everything here is arrays in, :class:`Proof` out, and knows neither models nor texts.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.bounds import binomial_cdf, fewest, last_proven, most_errors, upper_bound, wilson
from headgate.scores import logistic

Array = NDArray[np.float64]

MARGIN = 1e-3
"""Log-odds between a threshold and the text it was taken from: a score may move so far with the batch it is in."""

_EPSILON = 2.0**-52
_GRID = 200  # thresholds of a walk; each lets through about half a percent more of the texts
_MOST = 1_000_000  # labels; who needs more will not label them


@dataclass(frozen=True)
class Proof:
    """What the certifying half says of one threshold.

    Attributes:
        threshold: A probability, from which up a route is chosen or a rule is broken.
        guaranteed: The promise holds with the confidence asked for; else the threshold is only a good guess.
        n: Examples that certify: texts routed, safe texts, or unsafe ones.
        errors: Among them.
        bound: The highest rate of errors that they leave possible with this confidence; None where there are none.
        needed: About how many more labelled texts would prove it; 0 if proven, None if no number would.
    """

    threshold: float
    guaranteed: bool
    n: int
    errors: int
    bound: float | None
    needed: int | None


class Outcomes(NamedTuple):
    """What each text gets at any threshold t: a route if ``best >= t``, a wrong one if ``wrong >= t``.

    Attributes:
        best: (n,) probability of the best route; below 0 where it can't be chosen.
        wrong: (n,) probability of the best route that would be an error; below 0 where there is none.
    """

    best: Array
    wrong: Array

    def at(self, threshold: float) -> tuple[int, int]:
        """How many texts get a route, and how many a wrong one."""
        return int((self.best >= threshold).sum()), int((self.wrong >= threshold).sum())

    def where(self, mask: NDArray[np.bool_]) -> "Outcomes":
        """Of some texts."""
        return Outcomes(self.best[mask], self.wrong[mask])


def selective(fit: Outcomes, held: Outcomes, *, rate: float, confidence: float) -> Proof:
    """The lowest threshold at which P(wrong | routed) is provably at most ``rate``.

    ``fit`` alone sets out the walk: it begins at the threshold that is likeliest to be proven, and goes down from there
    as far as ``held`` proves each step. A walk that began at the strictest threshold would fail at once: hardly
    anything reaches it.

    Args:
        fit: The half that the router was calibrated on.
        held: The other half, used here alone.
        rate: The most wrong routes among those chosen, 0 to 1.
        confidence: That the promise holds, 0 to 1.
    """
    walk = _walk(fit, len(held.best), rate)
    counts = [held.at(t) for t in walk]
    last = last_proven([wrong for _, wrong in counts], [n for n, _ in counts], rate=rate, confidence=confidence)
    if last >= 0:
        return _proof(walk[last], counts[last], confidence=confidence, needed=0)
    needed = _needed(fit, held, rate, confidence)
    guess = 1 - rate  # what calibrated probabilities say by themselves
    return _proof(guess, held.at(guess), confidence=confidence, needed=needed, guaranteed=False)


def false_alarms(held: Array, every: Array, *, rate: float, confidence: float) -> Proof:
    """The lowest threshold that provably at most ``rate`` of all safe texts reach.

    Args:
        held: (n,) probabilities of the safe texts that certify.
        every: (m,) of all safe texts: what the guess is made of where nothing can be proven.
        rate: The most safe texts that may be blocked, 0 to 1.
        confidence: That the promise holds, 0 to 1.
    """
    return _order_statistic(held, every, rate, confidence, above=True)


def raised(proof: Proof, least: float, held: Array, confidence: float) -> Proof:
    """The proof of a threshold that is ``least`` or higher: fewer texts reach it, so it holds as the old one did."""
    if least <= proof.threshold:
        return proof
    errors = int((held >= least).sum())
    counts = (len(held), errors)
    return _proof(least, counts, confidence=confidence, needed=proof.needed, guaranteed=proof.guaranteed)


def misses(held: Array, every: Array, *, rate: float, confidence: float) -> Proof:
    """The highest threshold that provably at most ``rate`` of all unsafe texts stay below; arguments as above."""
    return _order_statistic(held, every, rate, confidence, above=False)


def _order_statistic(held: Array, every: Array, rate: float, confidence: float, *, above: bool) -> Proof:
    n = len(held)
    most = most_errors(n, rate, confidence)
    threshold = _at(held, most, above) if most >= 0 else 2.0
    guaranteed = threshold <= 1  # a probability of 1 that must not be reached leaves no threshold
    if not guaranteed:
        threshold = min(1.0, _at(every, int(rate * len(every)), above)) if len(every) else 1.0
    errors = int((held >= threshold).sum() if above else (held < threshold).sum())
    # One half certifies, so each text that it lacks asks for two.
    needed = 0 if guaranteed else None if most >= 0 else 2 * (fewest(rate, confidence) - n)
    return _proof(threshold, (n, errors), confidence=confidence, needed=needed, guaranteed=guaranteed)


def _at(p: Array, most: int, above: bool) -> float:
    """The threshold that ``most`` of these probabilities, and no more, lie on the wrong side of."""
    ordered = np.sort(p)
    at = float(ordered[::-1][min(most, len(p) - 1)] if above else ordered[min(most, len(p) - 1)])
    return at if at > 1 else moved(at, MARGIN if above else -MARGIN)


def moved(p: float, by: float) -> float:
    """A probability with so many log-odds more; above 1 where it can't be told from 1 any more."""
    if p >= 1 - _EPSILON:
        return 2.0 if by > 0 else p
    return float(logistic(np.log(p) - np.log1p(-p) + by)) if p > 0 else 0.0 if by < 0 else _EPSILON


def _walk(fit: Outcomes, held: int, rate: float) -> list[float]:
    """Thresholds from the one likeliest to be proven on ``held`` texts downwards; chosen on ``fit`` alone."""
    live = np.sort(fit.best[fit.best >= 0])[::-1]
    if not len(live):
        return []
    # Beside the texts, not on them: a text of the other half may be the same.
    steps = live[np.unique(np.linspace(0, len(live) - 1, _GRID).round().astype(int))]
    grid = sorted({moved(float(t), -MARGIN) for t in steps}, reverse=True)
    counts = np.array([fit.at(t) for t in grid])
    guess, share = wilson(counts[:, 1], counts[:, 0]), held / len(fit.best)
    chance = [
        binomial_cdf(math.ceil(g * int(n * share)), int(n * share), rate) if int(n * share) else 1.0
        for g, n in zip(guess, counts[:, 0], strict=True)
    ]
    least = min(chance)
    # Of equals the lowest threshold: it has the fewest steps to go.
    return grid[max(i for i, c in enumerate(chance) if c <= least) :]


def _needed(fit: Outcomes, held: Outcomes, rate: float, confidence: float) -> int | None:
    """About how many more labels would prove the threshold that looks best on all of them."""
    both = Outcomes(np.concatenate([fit.best, held.best]), np.concatenate([fit.wrong, held.wrong]))
    walk, total = _walk(both, len(both.best), rate), len(both.best)
    if not walk:
        return None
    routed, wrong = both.at(walk[0])
    guess, share = (wrong + 0.5) / (routed + 1), routed / total
    if guess >= rate:
        return None
    labels = total
    while labels <= _MOST:
        n = int(labels / 2 * share)
        if n and binomial_cdf(math.ceil(guess * n), n, rate) <= 1 - confidence:
            return max(labels - total, 2)
        labels = math.ceil(labels * 1.1) + 1
    return None


def _proof(
    threshold: float,
    counts: tuple[int, int],
    *,
    confidence: float,
    needed: int | None,
    guaranteed: bool = True,
) -> Proof:
    n, errors = counts
    bound = upper_bound(errors, n, confidence) if n else None
    return Proof(float(threshold), guaranteed, n, errors, bound, needed)
