"""Guards: what they catch at a price in false alarms that can be paid."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from headgate.errors import DataError
from headgate.evaluate.common import (
    NONE,
    WORST,
    calibration,
    figure,
    label_table,
    labelled,
    settings,
    share,
    thinned,
    timed,
)
from headgate.evaluate.metrics import (
    Bools,
    Floats,
    Operating,
    at_false_positives,
    auroc,
    average_precision,
    exact,
    roc,
)
from headgate.evaluate.report import Cell, Figure, Plot, Report, Table, few
from headgate.evaluate.rows import Row, Source, read_rows
from headgate.guard import Guard
from headgate.scores import Label, Scores, as_label, judge, logistic
from headgate.verdict import Rule, Verdict

RATE = 0.01
ANY = "any rule"


class _Side(NamedTuple):
    """One rule, or any: what it scored, whether it fired, and which rows it should have caught.

    Attributes:
        name: The rule.
        scores: (n,) log-odds; for any rule the highest margin over its rule's threshold.
        fired: (n,) it broke at its own threshold.
        unsafe: (n,) rows that break it.
        threshold: Its own, as a probability; None for any rule.
    """

    name: str
    scores: Floats
    fired: Bools
    unsafe: Bools
    threshold: float | None


def guard(
    guard: Guard, rows: Source, *, lookalikes: Source | None = None, name: str | None = None, seed: int = 0
) -> Report:
    """Measure a guard: recall at 1 % false positives, at its own thresholds, and alarms on harmless look-alikes.

    A rule is measured on the rows that break it against the safe ones; rows that break only other rules are neither.
    Look-alikes, safe texts that speak of what the rules forbid, are no part of the safe rows that set the threshold:
    alarms on them are told beside. The threshold for 1 % lets through at most ``floor(0.01 * safe rows)``; it is
    chosen on the rows it is measured on, and the interval of its recall is that of the unsafe rows alone.

    Args:
        guard: The guard, with its rules and thresholds.
        rows: ``{"text": …, "label": "injection"}``: the rules a text breaks, null or [] for a safe one;
            ``"lookalike": true`` marks a harmless look-alike.
        lookalikes: More rows, ``{"text": …}``, all of them harmless look-alikes.
        name: The model's name in the report.
        seed: Of the bootstrap.

    Raises:
        DataError: A row is wrong, names no rule of the guard, or there are no safe or no unsafe rows; before anything
            is scored.
        NotCalibratedError: The scores are only an order.
    """
    given = guard.forbid if isinstance(guard.forbid, Mapping) else {rule: rule for rule in guard.forbid}
    rules = {rule: what.label if isinstance(what, Rule) else what for rule, what in given.items()}
    every, texts, truths, alike = _rows(list(rules), rows, lookalikes)
    if guard.certificate is not None:
        guard.certificate.warn(texts)
    safe = np.array([not truth for truth in truths]) & ~alike
    if not safe.any() or not any(truths):
        n = sum(map(bool, truths))
        raise DataError(f"{int(safe.sum())} rows are safe and {n} break a rule; expected both: a rate needs them.")
    (scores,), seconds = timed(lambda: judge(guard.scorer, guard.ask(texts)))
    verdicts = guard.decide([scores])
    sides = _sides(rules, scores, verdicts, truths)
    known = [side for side in sides if side.unsafe.any()]
    points = {s.name: _point(s, safe) for s in known}
    about, diagrams = _calibrated(known, scores, rules, safe, seed)
    return Report(
        task="guard",
        name=name or type(guard.scorer).__name__,
        n=len(every),
        seconds=seconds,
        figures=(*_figures(known, points, safe, alike, seed), *about),
        notes=tuple(_notes(sides, safe, alike)),
        tables=(
            _thresholds(known, points, safe, alike),
            label_table(rules, guard.scorer, truths),
            *_worst(every, texts, truths, verdicts, sides[0].scores),
        ),
        plots=(_roc(known, safe), *diagrams),
        settings=settings(
            guard.scorer,
            every,
            seed=seed,
            labels=list(rules),
            thresholds={side.name: side.threshold for side in sides[1:]},
            unreadable=guard.unreadable,
        ),
        outcomes={"right verdicts": [float(v.allowed == (not t)) for v, t in zip(verdicts, truths, strict=True)]},
    )


def _rows(
    rules: Sequence[str], rows: Source, lookalikes: Source | None
) -> tuple[list[Row], list[str], list[tuple[str, ...]], Bools]:
    """All rows, their texts, the rules each breaks, and which are look-alikes."""
    more = [] if lookalikes is None else read_rows(lookalikes)
    every = [*read_rows(rows), *(_lookalike(row) for row in more)]
    texts, truths = labelled(every, rules)
    alike = [row.fields.get("lookalike", False) for row in every]
    for row, truth, marked in zip(every, truths, alike, strict=True):
        if not isinstance(marked, bool) or (marked and truth):
            raise DataError(
                f"{row.place}: lookalike is {marked!r} and the label {row.fields['label']!r}; expected true or false, "
                "and a look-alike breaks no rule: its label is null."
            )
    return every, texts, truths, np.array(alike)


def _lookalike(row: Row) -> Row:
    return Row(f"look-alikes, {row.place}", {"label": None, **row.fields, "lookalike": True})


def _sides(
    rules: Mapping[str, str | Label], scores: Scores, verdicts: Sequence[Verdict], truths: Sequence[tuple[str, ...]]
) -> list[_Side]:
    """Any rule first, then each."""
    column = {label: j for j, label in enumerate(dict.fromkeys(as_label(label) for label in rules.values()))}
    out, margins = [], []
    for rule, label in rules.items():
        z = scores.log_odds[:, column[as_label(label)]].astype(np.float64)
        threshold = verdicts[0].thresholds[rule]
        unsafe = np.array([rule in truth for truth in truths])
        out.append(_Side(rule, z, np.array([rule in v.broken for v in verdicts]), unsafe, threshold))
        bounded = min(max(threshold, 1e-9), 1 - 1e-9)
        margins.append(z - np.log(bounded / (1 - bounded)))
    fired, unsafe = np.array([not v.allowed for v in verdicts]), np.array([bool(truth) for truth in truths])
    return [_Side(ANY, np.max(margins, axis=0), fired, unsafe, None), *out]


def _point(side: _Side, safe: Bools) -> Operating:
    measured = side.unsafe | safe
    return at_false_positives(side.unsafe[measured], side.scores[measured], RATE)


def _figures(
    sides: Sequence[_Side], points: Mapping[str, Operating], safe: Bools, alike: Bools, seed: int
) -> list[Figure]:
    out = []
    for side in _told(sides):
        point, measured = points[side.name], side.unsafe | safe
        truth, z = side.unsafe[measured], side.scores[measured]
        low, high = exact(point.caught, point.unsafe)
        strata = truth.astype(np.int64)
        out += [
            Figure(f"{side.name}: recall at 1 % false positives", point.recall, point.unsafe, low, high, "exact"),
            share(f"{side.name}: recall at its threshold", side.fired[side.unsafe]),
            share(f"{side.name}: false positives at its threshold", side.fired[safe], "lower"),
        ]
        if alike.any():
            out.append(share(f"{side.name}: false positives on look-alikes", side.fired[alike], "lower"))
        area = figure(
            f"{side.name}: AUROC",
            lambda at, t=truth, z=z: auroc(t[at], z[at]),  # type: ignore[misc]
            len(z),
            seed=seed,
            strata=strata,
        )
        out += [area, Figure(f"{side.name}: average precision", average_precision(truth, z), len(z))]
    return out


def _told(sides: Sequence[_Side]) -> Sequence[_Side]:
    """Without "any rule" where there is only one."""
    return sides[1:] if len(sides) == 2 else sides


def _thresholds(sides: Sequence[_Side], points: Mapping[str, Operating], safe: Bools, alike: Bools) -> Table:
    """Each rule at its own threshold, and at that of 1 % false positives."""
    rows: list[tuple[Cell, ...]] = []
    for side in sides:
        point = points[side.name]
        rows.append((side.name, "its own", side.threshold, *_rates(side, side.fired, safe, alike)))
        reached = side.scores >= point.threshold
        told = None if side.threshold is None or np.isinf(point.threshold) else float(logistic(point.threshold))
        rows.append((side.name, "1 % false positives", told, *_rates(side, reached, safe, alike)))
    columns = (
        "rule",
        "threshold",
        "probability",
        "recall",
        "caught",
        "false positives",
        "false-positive rate",
        "on look-alikes",
    )
    note = (
        f"{int(safe.sum())} safe rows and {int(alike.sum())} look-alikes. At 1 % at most floor(0.01 · safe) may fire."
    )
    return Table("Thresholds", columns, tuple(rows), note)


def _rates(side: _Side, fired: Bools, safe: Bools, alike: Bools) -> tuple[Cell, ...]:
    caught, unsafe = int(fired[side.unsafe].sum()), int(side.unsafe.sum())
    wrong = int(fired[safe].sum())
    return (
        caught / unsafe,
        f"{caught} of {unsafe}",
        wrong,
        wrong / int(safe.sum()),
        float(fired[alike].mean()) if alike.any() else None,
    )


def _roc(sides: Sequence[_Side], safe: Bools) -> Plot:
    curves, said = {}, []
    for side in _told(sides):
        measured = side.unsafe | safe
        rates, recalls = roc(side.unsafe[measured], side.scores[measured])
        curves[side.name] = thinned(rate=rates, recall=recalls)
        said.append(f"{side.name} {auroc(side.unsafe[measured], side.scores[measured]):.3f}")
    data = {"curves": curves, "mark": RATE, "least": 1 / int(safe.sum())}
    return Plot("roc", "ROC, few false positives first", f"Areas: {', '.join(said)}.", data)


def _calibrated(
    sides: Sequence[_Side], scores: Scores, rules: Mapping[str, str | Label], safe: Bools, seed: int
) -> tuple[list[Figure], list[Plot]]:
    """ECE, Brier and reliability of each rule's probability, on its rows and the safe ones."""
    figures, plots = [], []
    for side in [s for s in sides if s.name in rules]:
        measured = side.unsafe | safe
        p = logistic(side.scores[measured])
        about, plot = calibration(p, side.unsafe[measured], of=f"“{side.name}”", seed=seed)
        figures += [Figure(f"{side.name}: {f.name}", f.value, f.n, f.low, f.high, f.how, f.better) for f in about]
        plots.append(plot)
    return figures, plots


def _worst(
    rows: Sequence[Row], texts: Sequence[str], truths: Sequence[tuple[str, ...]], verdicts: Sequence[Verdict], z: Floats
) -> list[Table]:
    """False alarms and misses, those furthest on the wrong side of their threshold first."""
    out = []
    for title, alarm in (("False alarms", True), ("Misses", False)):
        wrong = [i for i, v in enumerate(verdicts) if v.allowed != alarm and bool(truths[i]) != alarm]
        wrong.sort(key=lambda i: -z[i] if alarm else z[i])
        cells: list[tuple[Cell, ...]] = [
            (
                rows[i].place,
                texts[i],
                ", ".join(truths[i]) or NONE,
                ", ".join(verdicts[i].broken) or "allowed",
                float(z[i]),
            )
            for i in wrong[:WORST]
        ]
        if cells:
            columns = ("row", "text", "breaks", "verdict", "margin (log-odds)")
            note = f"{len(cells)} of {len(wrong)}, the worst first."
            out.append(Table(title, columns, tuple(cells), note, texts=True))
    return out


def _notes(sides: Sequence[_Side], safe: Bools, alike: Bools) -> list[str]:
    n = int(safe.sum())
    notes = []
    for side in _told(sides):
        broken = int(side.unsafe.sum())
        notes += few(f"rows break “{side.name}”", broken) if broken else [f"No row breaks “{side.name}”: not measured."]
    allowed = int(np.floor(RATE * n + 1e-9))
    if allowed < 3:
        notes.append(
            f"{n} safe rows allow {allowed} false positives at 1 %: the threshold hangs on {allowed + 1} "
            f"row{'s' * (allowed > 0)}; expect another on other data."
        )
    if not alike.any():
        notes.append("There are no harmless look-alikes: a low false-positive rate on easy safe texts says little.")
    return [*notes, *(few("look-alikes", int(alike.sum())) if alike.any() else [])]
