"""Whether texts still look like those that a certificate was made on: what is promised holds for such texts only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from headgate.bounds import chi_square
from headgate.certificate import Certificate
from headgate.decision import Decision
from headgate.errors import DataError
from headgate.receipts import Receipt
from headgate.rules import logit
from headgate.verdict import Verdict

LEAST = 100
"""Texts; a histogram of fewer says nothing."""

_MATTERS = 0.1  # a PSI below is no change worth a word, however surely it is one
_ALARMS = 0.0025  # by chi-square; what PSI has beyond it, of 100 texts, makes 0.01 of it


@dataclass(frozen=True)
class Drift:
    """How far texts are from those of a certificate.

    Attributes:
        psi: Population stability index of the texts' highest log-odds; 0 is no difference.
        limit: What ``psi`` reaches in one of 100 logs without drift, and at least 0.1.
        n: Texts that were looked at.
        reference: Texts that certified.
        expected: Share of those in each bin.
        bins: Share of the texts in each bin.
        expired: ``psi`` is above the limit: the texts are others, and what was promised is off.
    """

    psi: float
    limit: float
    n: int
    reference: int
    expected: tuple[float, ...]
    bins: tuple[float, ...]
    expired: bool

    def __str__(self) -> str:
        numbers = f"PSI {self.psi:.3f} of {self.limit:.3f}, {self.n} texts"
        if self.expired:
            return f"calibration expired: {numbers}. Label some of these texts, and fit again."
        if len(self.bins) == 1:
            return "no telling: the texts that certified have one log-odds, all of them."
        if self.n < LEAST:
            return f"too few texts to tell: {self.n} of {LEAST}."
        return f"no drift seen: {numbers}."


def drift(certificate: Certificate, seen: Iterable[Receipt | Decision | Verdict]) -> Drift:
    """Compare texts that were decided under a certificate with those that it was made on.

    Their highest calibrated log-odds are sorted into ten bins that the certifying texts filled equally. Without drift
    the population stability index is about ``(1/n + 1/m)`` times a chi-square of nine degrees of freedom, for n texts
    and m that certified: bins that few texts drew are uncertain too. Texts are taken to come independently of one
    another, and each call to be one look: who looks at a log every day has an alarm in every hundredth of quiet days.

    Args:
        certificate: Of a router or guard.
        seen: Receipts, or decisions or verdicts themselves; those under other certificates, or none, don't count.

    Raises:
        DataError: None is under this certificate.

    Source: Yurdakul & Naranjo, "Statistical properties of the population stability index", 2020, the distribution.
    """
    own, others = certificate.id, 0
    top: list[float] = []
    for one in seen:
        result = one.result if isinstance(one, Receipt) else one
        if isinstance(result, tuple) or result.certificate != own:
            others += 1
        else:
            top.append(_top(result))
    if not top:
        raise DataError(
            f"none of {others} receipts was made under certificate {own}; expected those of the router or guard that "
            "it belongs to. Was it fitted again since?"
        )
    return compare(certificate.deciles, top, reference=certificate.certified)


def compare(deciles: Sequence[float], top: Sequence[float], *, reference: int) -> Drift:
    """The same for bare numbers.

    Args:
        deciles: Nine, of the certifying texts.
        top: Highest log-odds of the texts that were seen, at least one.
        reference: How many texts certified.
    """
    edges, expected = _edges(deciles)
    n = len(top)
    counts = np.bincount(np.searchsorted(edges, top, side="right"), minlength=len(expected))
    share = (counts + expected) / (n + 1)  # an empty bin is not infinitely far: one more text, spread as expected
    psi = float(((share - expected) * np.log(share / expected)).sum())
    quantile = chi_square(len(edges), 1 - _ALARMS) if len(edges) else 0.0
    limit = max(_MATTERS, (1 / n + 1 / reference) * quantile)
    return Drift(
        psi=psi,
        limit=limit,
        n=n,
        reference=reference,
        expected=tuple(expected.tolist()),
        bins=tuple((counts / n).tolist()),
        expired=n >= LEAST and psi > limit,
    )


def _edges(deciles: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Deciles that stand alone, and the share of texts between them.

    Where many texts have the same log-odds, several deciles are one number, and how many of them lie on its either side
    is not known: the bins about it become one.
    """
    values = np.asarray(deciles, dtype=np.float64)
    alone = np.array([(values == v).sum() == 1 for v in values])
    ranks = np.linspace(0, 1, len(values) + 2)[1:-1][alone]
    return values[alone], np.diff(np.concatenate([[0.0], ranks, [1.0]]))


def _top(result: Decision | Verdict) -> float:
    if isinstance(result, Decision):
        return result.top
    return float(logit(np.array(max(result.probabilities.values()))))  # as Guard.fit takes its deciles
