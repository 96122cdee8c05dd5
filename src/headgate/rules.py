"""Calibrations and thresholds of a guard's rules, from labelled texts: arrays in, no model."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from headgate.calibration import Calibration
from headgate.certificate import ALL, Goal
from headgate.errors import DataError
from headgate.labelled import Bools
from headgate.lengths import length_term, reached
from headgate.scores import Scores, logistic
from headgate.thresholds import Proof, false_alarms, misses, raised

Array = NDArray[np.float64]

_OWN = 20  # texts that break a rule, and texts that don't, from which up it has a calibration of its own


def calibrations(scores: Scores, columns: Mapping[str, int], true: Bools, fit: Bools) -> dict[str, Calibration]:
    """Platt scaling for every rule; rules with few texts that break them share one.

    It takes nothing off for windows: where the long texts of a sample happen to be the safe ones, a regression would
    take it for a reason, and be blind to what stands in a long text.

    Args:
        scores: Of n texts.
        columns: Rule -> its label's column.
        true: (n, rules) which rules each text breaks.
        fit: (n,) the half that fits.

    Raises:
        DataError: Rules that nothing breaks, or everything.
    """
    live = fit & ~scores.empty
    rows = {name: (scores.log_odds[live, j], true[live, r]) for r, (name, j) in enumerate(columns.items())}
    few = [name for name, (_, y) in rows.items() if min(y.sum(), (~y).sum()) < _OWN]
    found = {name: _platt([rows[name]], [name]) for name in rows if name not in few}
    shared = _platt([rows[name] for name in few], few) if few else Calibration()
    return {name: found.get(name, shared) for name in rows}


def paid(
    found: Mapping[str, Calibration], columns: Mapping[str, int], safe: Scores, sizes: NDArray[np.int64]
) -> dict[str, Calibration]:
    """The calibrations with the price of length that safe texts of many lengths show; see :mod:`headgate.lengths`.

    Args:
        found: By rule.
        columns: Rule -> its label's column.
        safe: Scores of joined texts.
        sizes: (n,) about how many tokens each has.
    """
    if len(sizes) and (safe.windows > 1).all():
        warnings.warn(
            "every safe text is longer than a window of the model, so what length is worth can't be told: false alarms "
            "may grow beyond the lengths given. Label short texts too.",
            UserWarning,
            stacklevel=3,
        )
    out = {}
    for name, calibration in found.items():
        j = columns[name]
        term = length_term(safe.log_odds[:, j], safe.windows[:, j], sizes)
        out[name] = replace(calibration, length=calibration.scale * term)
    return out


def proofs(
    p: Array, true: Bools, held: Bools, goal: Goal, each: Sequence[str] | None, least: Sequence[float] = ()
) -> dict[str, Proof]:
    """Thresholds that keep the goal: one for all rules, or one for each.

    Args:
        p: (n, rules) calibrated probabilities; above 1 for texts that are blocked whatever the threshold.
        true: (n, rules) which rules each text breaks.
        held: (n,) the half that certifies.
        goal: What is promised.
        each: Names of the rules, where each has a promise of its own; they hold at once.
        least: What the thresholds may not be below, in the same order.

    Raises:
        DataError: No text to prove it with.
    """
    if each is None:
        groups = {ALL: (p.max(axis=1), np.asarray(true.any(axis=1)))}
    else:
        groups = {name: (p[:, r], true[:, r]) for r, name in enumerate(each)}
    confidence = 1 - (1 - goal.confidence) / len(groups)
    floors = least or [0.0] * len(groups)
    return {
        name: _proof(own, unsafe, held, replace(goal, confidence=confidence), name, floor)
        for (name, (own, unsafe)), floor in zip(groups.items(), floors, strict=True)
    }


def floors(p: Array, sizes: NDArray[np.int64], rate: float, each: Sequence[str] | None) -> list[float]:
    """The lowest thresholds, for all rules or for each, that joined texts of no length reach more often than ``rate``.

    Args:
        p: (n, rules) calibrated probabilities of safe texts.
        sizes: (n,) about how many tokens each has.
        rate: The share of safe texts that may be blocked.
        each: Names of the rules, where each has a threshold of its own.
    """
    own = [p.max(axis=1)] if each is None else list(p.T)
    return [float(max(logistic(reached(logit(q[sizes == s]), rate)) for s in np.unique(sizes))) for q in own]


def logit(p: Array) -> Array:
    """Log-odds of probabilities, finite at 0 and 1."""
    inside = np.clip(p, 1e-300, 1 - 1e-16)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _proof(p: Array, unsafe: Bools, held: Bools, goal: Goal, name: str, least: float) -> Proof:
    safe = goal.promise == "max_false_positive_rate"
    mine = ~unsafe if safe else unsafe
    if not mine[held].any():
        kind = "don't break" if safe else "break"
        what = "any rule" if name == ALL else repr(name)
        raise DataError(f"of the texts that certify none is one of those that {kind} {what}; expected dozens at least.")
    if safe:
        found = false_alarms(p[mine & held], p[mine], rate=goal.target, confidence=goal.confidence)
        return raised(found, least, p[mine & held], goal.confidence)
    return misses(p[mine & held], p[mine], rate=1 - goal.target, confidence=goal.confidence)


def _platt(rows: Sequence[tuple[NDArray[np.float32], Bools]], names: Sequence[str]) -> Calibration:
    z, y = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    if y.all() or not y.any():
        raise DataError(
            f"of the {len(y)} texts that fit {', '.join(map(repr, names))} {'all' if y.any() else 'none'} break it; "
            "expected texts of both kinds: add some, or drop the rule."
        )
    return Calibration.fit(z, y)
