"""One batch of rows through several stages, all their texts in one plan; no files, no hosts."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from headgate.arguments import named, one_of
from headgate.errors import LabelTooLongError
from headgate.label.columns import Added, BadRowError, Columns, Stage, Values, problems
from headgate.panel import PORTION
from headgate.passes import judge_all, rows_of
from headgate.rerank import Reranker
from headgate.scores import Ask, Scorer, Scores, judge

OnError = Literal["stop", "null"]

ERROR = "error"
"""The column that says what was wrong with a row, where bad rows go on."""


def label(stages: Sequence[Stage], rows: Columns, *, on_error: OnError = "stop") -> Values:
    """The columns that stages add to a batch of rows, in order; nothing that came in is changed.

    All texts are scored in one plan; several models share what they read of a text, 1,024 rows at a time.

    Args:
        stages: Each with a name of its own.
        rows: At least the columns that they read, as long as one another.
        on_error: "stop" raises at the first bad row; "null" gives it nulls, and adds the column "error".

    Raises:
        BadRowError: A value is null or no text, a query is blank or too long for the model, or a text takes several
            windows where the task has ``on_overflow="error"``.
    """
    columns, wrong = added(stages, on_error), problems(stages, rows)
    portion = PORTION if len({id(one.task.scorer) for one in stages}) > 1 else max(1, len(wrong))
    out: Values = {column.name: [] for column in columns}
    for start in range(0, len(wrong), portion):
        cut = {name: list(rows[name][start : start + portion]) for one in stages for name in one.needs}
        try:
            found = _labelled(stages, cut, wrong[start : start + portion], on_error)
        except BadRowError as e:
            raise BadRowError(e.row + start, e.why) from e
        for column in columns:
            out[column.name] += found[column.name]
    return out


def added(stages: Sequence[Stage], on_error: OnError = "stop") -> list[Added]:
    """The columns that these stages add, in order.

    Raises:
        ValueError: There are no stages, or two add a column of one name.
    """
    one_of("on_error", on_error, get_args(OnError))
    if not stages:
        raise ValueError("there are no stages; expected at least one task.")
    found = [column for one in stages for column in one.adds]
    found += [Added(ERROR, "string")] if on_error == "null" else []
    named("column", [column.name for column in found])
    return found


def _labelled(stages: Sequence[Stage], rows: Columns, wrong: list[str | None], on_error: OnError) -> Values:
    """Of rows of which some are known to be bad; finds those that are too long."""
    good, kept, scores = _judged(stages, rows, wrong, on_error)
    for k in {k for one, found in zip(stages, scores, strict=True) for k in _overflowing(one, found)}:
        wrong[good[k]] = 'a text takes several windows, which on_overflow="error" refuses; expected a shorter one.'
    if on_error == "stop":
        _refuse(wrong)
    short = [k for k, i in enumerate(good) if wrong[i] is None]
    out: Values = {column.name: [None] * len(wrong) for one in stages for column in one.adds}
    for one, found in zip(stages, scores, strict=True):
        if isinstance(one.task, Reranker):  # its asks aren't one a row, and it refuses no long text
            every = one.decide(kept, found)
            decided = {name: [values[k] for k in short] for name, values in every.items()}
        else:
            cut = {name: [values[k] for k in short] for name, values in kept.items()}
            decided = one.decide(cut, [rows_of(own, short) for own in found])
        for name, values in decided.items():
            for k, value in zip(short, values, strict=True):
                out[name][good[k]] = value
    return {**out, ERROR: list(wrong)}


def _judged(
    stages: Sequence[Stage], rows: Columns, wrong: list[str | None], on_error: OnError
) -> tuple[list[int], Values, list[list[Scores]]]:
    """The good rows, what they hold, and each stage's scores; marks those whose query is too long as wrong."""
    while True:
        if on_error == "stop":
            _refuse(wrong)
        good = [i for i, why in enumerate(wrong) if why is None]
        kept = {name: [values[i] for i in good] for name, values in rows.items()}
        try:
            return good, kept, judge_all([(one.task.scorer, one.ask(kept)) for one in stages])
        except LabelTooLongError:
            more = _too_long(stages, kept)
            if not more:  # of a route or rule: no row's fault
                raise
            for k, why in more.items():
                wrong[good[k]] = why


def _refuse(wrong: Sequence[str | None]) -> None:
    for i, why in enumerate(wrong):
        if why is not None:
            raise BadRowError(i, why)


def _overflowing(one: Stage, scores: Sequence[Scores]) -> list[int]:
    """Of a task that refuses long texts, which they are."""
    if getattr(one.task, "on_overflow", "window") != "error":
        return []
    return [int(k) for k in np.flatnonzero((scores[0].windows > 1).any(axis=1))]


def _too_long(stages: Sequence[Stage], rows: Columns) -> dict[int, str]:
    """Rows whose query alone is too long for a model, and what is wrong with each."""
    found: dict[int, str] = {}
    for one in stages:
        for name in [name for name, kind in one.needs.items() if kind == "query"]:
            known = {query: _refused(one.task.scorer, query) for query in dict.fromkeys(rows[name])}
            found |= {k: why for k, query in enumerate(rows[name]) if (why := known[query]) is not None}
    return found


def _refused(scorer: Scorer, query: str) -> str | None:
    try:
        judge(scorer, [Ask(["a"], [query])])
    except LabelTooLongError as e:
        return str(e)
    return None
