"""What an evaluation found: frozen, JSON-able, and enough to draw every plot without the model."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from headgate.errors import DataError
from headgate.evaluate.metrics import Bools, Difference, Statistic, f1, paired

Task = Literal["classify", "few-shot", "route", "guard", "rerank", "pairs"]
Cell = str | int | float | None
Better = Literal["higher", "lower", ""]

FEW = 100
"""Fewer rows than this are said loudly."""


@dataclass(frozen=True)
class Figure:
    """One number, and how sure it is.

    Attributes:
        name: What is measured, in the field's words.
        value: The number.
        n: How many rows it is of.
        low: Lower end of the interval, or None where there is none.
        high: Its upper end.
        how: What the interval is: "exact" (Clopper-Pearson), "bootstrap", "mean ± sd".
        better: Which way is better; "" where neither is.
    """

    name: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    how: str = ""
    better: Better = "higher"


@dataclass(frozen=True)
class Table:
    """A table of a report.

    Attributes:
        title: What it shows.
        columns: Their names.
        rows: As many cells each.
        note: How to read it.
        texts: True if it holds texts of the user, which a report may leave out.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    texts: bool = False


@dataclass(frozen=True)
class Plot:
    """The arrays of one plot.

    Attributes:
        kind: How it is drawn.
        title: What it shows.
        says: What a reader who can't see it should know.
        data: Lists by name, as :mod:`headgate.evaluate.plots` reads them for this kind.
    """

    kind: Literal["confusion", "reliability", "roc", "risk_coverage", "differences", "loss"]
    title: str
    says: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """What one model did on one data set.

    Attributes:
        task: What was measured.
        name: The model, as tables call it.
        n: Rows measured.
        seconds: How long the model took for them.
        figures: The numbers, the main one first.
        notes: What a reader must know before believing them.
        tables: Details.
        plots: Arrays of the plots.
        settings: Labels as they were said, template, fingerprint, data digest, seed, versions.
        outcomes: Figure name -> one value for each row; two reports on the same rows are compared by them.
            "truth" and "said" hold the labels of each row instead; where one of several true labels counts, "truth"
            is the one that this report's own figures count.
    """

    task: Task
    name: str
    n: int
    seconds: float
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    plots: tuple[Plot, ...]
    settings: Mapping[str, Any]
    outcomes: Mapping[str, Sequence[Any]]

    def __getitem__(self, name: str) -> float:
        """The value of a figure; KeyError with the names there are."""
        found = {figure.name: figure.value for figure in self.figures}
        if name not in found:
            raise KeyError(f"there is no figure {name!r}; expected one of {list(found)}")
        return found[name]

    def save(self, path: str | Path) -> None:
        """Write the report as JSON; :func:`read_report` reads it again."""
        words = json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)
        # Half a surrogate pair has no UTF-8; with its backslash it is JSON, and comes back as it was.
        Path(path).write_text(words + "\n", encoding="utf-8", errors="backslashreplace")

    def without_texts(self) -> "Report":
        """The report without the tables that hold texts of the rows."""
        return replace(self, tables=tuple(table for table in self.tables if not table.texts))

    def html(self, path: str | Path, *, history: str | Path | Sequence[Any] | None = None, texts: bool = True) -> None:
        """Write the report as one HTML page; see :func:`headgate.evaluate.write_html`."""
        from headgate.evaluate.html import write_html

        write_html([self], path, history=history, texts=texts)


def read_report(path: str | Path) -> Report:
    """A report that :meth:`Report.save` wrote.

    Raises:
        DataError: The file is no such report.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        parts = {
            "figures": tuple(Figure(**f) for f in found["figures"]),
            "notes": tuple(found["notes"]),
            "tables": tuple(_table(t) for t in found["tables"]),
            "plots": tuple(Plot(**p) for p in found["plots"]),
        }
        return Report(**{**found, **parts})
    except (json.JSONDecodeError, KeyError, TypeError) as e:
        raise DataError(f"{path} is no report ({e}); expected a file that Report.save wrote.") from e


def compare(first: Report, second: Report, *, seed: int = 0) -> dict[str, Difference]:
    """Figure name -> how much better ``second`` is than ``first``, by the paired bootstrap over rows.

    Figures that are a mean over rows are compared, and macro F1 where both reports chose labels.

    Raises:
        ValueError: The reports are of other tasks, other rows, or other draws of them.
    """
    a, b = measured(first), measured(second)
    other = [f"{what} {a[what]!r} and {b[what]!r}" for what in a if a[what] != b[what]]
    if other:
        raise ValueError(
            f"the reports are of the {', '.join(other)}; expected one task on the same rows: measure both alike."
        )
    found: dict[str, Difference] = {}
    if "said" in first.outcomes and "said" in second.outcomes:
        before, after = _macro_f1(first), _macro_f1(second)
        found["macro F1"] = paired(lambda at: after(at) - before(at), first.n, seed=seed)
    for name in [n for n in first.outcomes if n in second.outcomes and n not in ("truth", "said")]:
        gain = np.asarray(second.outcomes[name], dtype=float) - np.asarray(first.outcomes[name], dtype=float)
        found[name] = paired(lambda at, gain=gain: float(gain[at].mean()), len(gain), seed=seed)  # type: ignore[misc]
    return found


def measured(report: Report) -> dict[str, object]:
    """What two reports must share to be compared row by row; equal data alone may have been drawn from."""
    said = report.settings
    return {"tasks": report.task, "rows": said.get("data"), "row counts": report.n, "draws": said.get("draws")}


def few(what: str, n: int) -> list[str]:
    """A loud note where n rows are too few to tell much, else nothing."""
    if n >= FEW:
        return []
    wide = min(1.0, 0.98 / math.sqrt(max(n, 1)))
    return [f"Only {n} {what}: a share of them is known to about ±{100 * wide:.0f} percentage points at best."]


def _table(found: dict[str, Any]) -> Table:
    rows = tuple(tuple(row) for row in found["rows"])
    return Table(**{**found, "columns": tuple(found["columns"]), "rows": rows})


def _macro_f1(report: Report) -> Statistic:
    """Macro F1 of some rows, by the truth that the report's own figure uses."""
    parts = (report.outcomes["truth"], report.outcomes["said"])
    names = sorted({label for rows in parts for row in rows for label in row})
    truth, said = (matrix(rows, names) for rows in parts)
    return lambda at: f1(truth[at], said[at])


def matrix(rows: Sequence[Sequence[str]], names: Sequence[str]) -> Bools:
    """(n, names) True where row i holds name j."""
    column = {name: j for j, name in enumerate(names)}
    out = np.zeros((len(rows), len(names)), dtype=np.bool_)
    for i, row in enumerate(rows):
        out[i, [column[name] for name in row]] = True
    return out
