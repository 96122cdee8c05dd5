"""Calibrations and thresholds of a guard's rules, from labelled texts: arrays in, no model."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headgate.calibration import Calibration
from headgate.certificate import ALL, Goal
from headgate.errors import DataError
from headgate.labelled import Bools
from headgate.scores import Scores
from headgate.thresholds import Proof, false_alarms, misses

Array = NDArray[np.float64]

_OWN = 20  # texts that break a rule, and texts that don't, from which up it has a calibration of its own


def calibrations(scores: Scores, columns: Mapping[str, int], true: Bools, fit: Bools) -> dict[str, Calibration]:
    """Platt scaling for every rule; rules with few texts that break them share one.

    Args:
        scores: Of n texts.
        columns: Rule -> its label's column.
        true: (n, rules) which rules each text breaks.
        fit: (n,) the half that fits.

    Raises:
        DataError: Rules that nothing breaks, or everything.
    """
    live = fit & ~scores.empty
    rows = {name: (_column(scores, j, live), true[live, r]) for r, (name, j) in enumerate(columns.items())}
    few = [name for name, (_, y) in rows.items() if min(y.sum(), (~y).sum()) < _OWN]
    found = {name: _platt([rows[name]], [name]) for name in rows if name not in few}
    shared = _platt([rows[name] for name in few], few) if few else Calibration()
    return {name: found.get(name, shared) for name in rows}


def proofs(p: Array, true: Bools, held: Bools, goal: Goal, each: Sequence[str] | None) -> dict[str, Proof]:
    """Thresholds that keep the goal: one for all rules, or one for each.

    Args:
        p: (n, rules) calibrated probabilities; above 1 for texts that are blocked whatever the threshold.
        true: (n, rules) which rules each text breaks.
        held: (n,) the half that certifies.
        goal: What is promised.
        each: Names of the rules, where each has a promise of its own; they hold at once.

    Raises:
        DataError: No text to prove it with.
    """
    if each is None:
        return {ALL: _proof(p.max(axis=1), np.asarray(true.any(axis=1)), held, goal, 1, "the rules")}
    return {name: _proof(p[:, r], true[:, r], held, goal, len(each), repr(name)) for r, name in enumerate(each)}


def _proof(p: Array, unsafe: Bools, held: Bools, goal: Goal, rules: int, what: str) -> Proof:
    confidence = 1 - (1 - goal.confidence) / rules
    safe = goal.promise == "max_false_positive_rate"
    mine = ~unsafe if safe else unsafe
    if not mine[held].any():
        kind = "don't break" if safe else "break"
        raise DataError(f"no text that certifies is one of those that {kind} {what}; expected dozens of them at least.")
    if safe:
        return false_alarms(p[mine & held], p[mine], rate=goal.target, confidence=confidence)
    return misses(p[mine & held], p[mine], rate=1 - goal.target, confidence=confidence)


def _column(scores: Scores, j: int, live: Bools) -> tuple[Array, NDArray[np.int32]]:
    return scores.log_odds[live, j].astype(np.float64), scores.windows[live, j]


def _platt(rows: Sequence[tuple[tuple[Array, NDArray[np.int32]], Bools]], names: Sequence[str]) -> Calibration:
    z, windows = (np.concatenate([row[0][k] for row in rows]) for k in (0, 1))
    y = np.concatenate([truths for _, truths in rows])
    if y.all() or not y.any():
        raise DataError(
            f"of the {len(y)} texts that fit {', '.join(map(repr, names))} {'all' if y.any() else 'none'} break it; "
            "expected texts of both kinds: add some, or drop the rule."
        )
    return Calibration.fit(z, y, windows=windows)
