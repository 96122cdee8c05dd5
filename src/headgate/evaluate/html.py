"""One page for one report or many: self-contained, readable without scripts, on light and on dark."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from headgate.evaluate.history import History, loss_plot
from headgate.evaluate.plots import svg
from headgate.evaluate.report import Cell, Figure, Plot, Report, Table, compare, measured

_TASKS = {
    "classify": "Classification",
    "few-shot": "Few-shot classification",
    "route": "Routing",
    "guard": "Guarding",
    "rerank": "Reranking",
    "pairs": "Inference over pairs",
}
_TILES = 4
_UNBROKEN = 24  # characters that a cell keeps on one line


def write_html(
    reports: Sequence[Report], path: str | Path, *, history: History | None = None, texts: bool = True
) -> None:
    """Write reports as one HTML page that needs nothing else, the same bytes for the same reports.

    Reports of one task on the same rows stand side by side, compared with the first by the paired bootstrap.

    Args:
        reports: At least one.
        path: Where the page goes.
        history: The model's training, for its loss curves: a ``trainer_state.json`` or its ``log_history``.
        texts: False leaves out every table that holds texts of the rows.

    Raises:
        ValueError: There is no report.
        DataError: The history holds no loss.
        MissingExtraError: matplotlib is not installed.
    """
    html = page(reports, history=history, texts=texts)
    Path(path).write_text(html, encoding="utf-8", errors="replace")  # half a surrogate pair has no UTF-8


def page(reports: Sequence[Report], *, history: History | None = None, texts: bool = True) -> str:
    """The page that :func:`write_html` writes."""
    if not reports:
        raise ValueError("there are no reports; expected at least one.")
    title = _title(reports)
    parts = [f"<header><h1>{escape(title)}</h1>", _subtitle(reports), "</header>"]
    if len(reports) > 1:
        links = "".join(f'<li><a href="#r{k}">{_name(r)}</a></li>' for k, r in enumerate(reports))
        parts.append(f"<nav><ul>{links}</ul></nav>")
        parts += [_side_by_side(group) for group in _alike(reports) if len(group) > 1]
    parts += [_section(report, k, texts, alone=len(reports) == 1) for k, report in enumerate(reports)]
    if history is not None:
        parts.append(f"<h2>Training</h2>{_plots([loss_plot(history)])}")
    style, script = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + f"\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _title(reports: Sequence[Report]) -> str:
    tasks = {_TASKS[r.task] for r in reports}
    names = list(dict.fromkeys(r.name for r in reports))
    return f"{tasks.pop() if len(tasks) == 1 else 'Evaluation'}: {', '.join(names)}"


def _subtitle(reports: Sequence[Report]) -> str:
    if len(reports) > 1:
        return f'<p class="soft">{len(reports)} reports by headgate.evaluate</p>'
    (report,) = reports
    return f'<p class="soft">{_size(report)}, by headgate.evaluate</p>'


def _size(report: Report) -> str:
    unit = {"rerank": "queries", "pairs": "pairs"}.get(report.task, "texts")
    what = "documents" if "documents" in report.settings else unit  # a reranker reads documents
    scored = int(report.settings.get(what, report.n))  # and a few-shot report texts that it does not test
    speed = f"; {scored / report.seconds:,.0f} {what} a second" if report.seconds > 0 else ""
    return f"{report.n:,} {unit}{speed}"


def _name(report: Report) -> str:
    return escape(f"{_TASKS[report.task]}: {report.name}")


def _section(report: Report, number: int, texts: bool, *, alone: bool) -> str:
    head = "" if alone else f'<h2 id="r{number}">{_name(report)}</h2><p class="soft">{_size(report)}</p>'
    notes = "".join(f"<li>{escape(note)}</li>" for note in report.notes)
    tables = (report if texts else report.without_texts()).tables
    return "\n".join(
        [
            f"<section>{head}",
            f'<div class="notes" role="note"><ul>{notes}</ul></div>' if notes else "",
            f'<div class="tiles">{"".join(_tile(f) for f in report.figures[:_TILES])}</div>',
            _plots(report.plots),
            _figures(report.figures),
            *(_table(table) for table in tables),
            _settings(report.settings),
            "</section>",
        ]
    )


def _tile(figure: Figure) -> str:
    sure = "no interval" if figure.low is None else f"{_interval(figure)} ({escape(figure.how)}), n = {figure.n:,}"
    return (
        f'<div class="tile"><div class="name">{escape(figure.name)}</div>'
        f'<div class="value">{_number(figure.value)}</div>{_range(figure)}<div class="sure">{sure}</div></div>'
    )


def _figures(figures: Sequence[Figure]) -> str:
    rows = []
    for f in figures:
        better = {"higher": "higher is better", "lower": "lower is better", "": ""}[f.better]
        rows.append(
            f"<tr><td>{escape(f.name)}<small>{better}</small></td>{_cell(f.value)}<td>{_range(f)}</td>"
            f'<td class="n">{_interval(f)}</td><td>{escape(f.how)}</td>{_cell(f.n)}</tr>'
        )
    head = _head(("figure", "value", "", "95 % interval, or spread", "how", "n"), {1, 3, 5})
    note = '<p class="soft">Exact intervals are Clopper and Pearson\'s; the bootstrap draws rows.</p>'
    return f"<h3>Figures</h3>{note}{_whole(head, rows)}"


def _interval(figure: Figure) -> str:
    if figure.low is None or figure.high is None:
        return "—"
    return f"{_number(figure.low)} to {_number(figure.high)}"


def _range(figure: Figure) -> str:
    """The figure and its interval on a line from 0 to 1, where it lies there."""
    ends = (figure.value if figure.low is None else figure.low, figure.value if figure.high is None else figure.high)
    if not all(0 <= v <= 1 for v in (*ends, figure.value)):
        return ""
    low, high, at = (f"{100 * v:.1f}%" for v in (*ends, figure.value))
    wide = f"{100 * (ends[1] - ends[0]):.1f}%"
    return (
        f'<span class="range" title="{low} to {high}"><i style="left:{low};width:{wide}"></i>'
        f'<b style="left:{at}"></b></span>'
    )


def _plots(plots: Sequence[Plot]) -> str:
    drawn = [(plot, svg(plot)) for plot in plots]
    figures = []
    for plot, image in drawn:
        if image is not None:
            wide = plot.kind == "confusion" and len(plot.data["labels"]) > 6
            caption = f"<figcaption>{escape(plot.title)}<span>{escape(plot.says)}</span></figcaption>"
            figures.append(f"<figure{' class=wide' if wide else ''}>{caption}{image}</figure>")
    return f'<div class="plots">{"".join(figures)}</div>' if figures else ""


def _table(table: Table) -> str:
    note = f'<p class="soft">{escape(table.note)}</p>' if table.note else ""
    if not table.rows:
        return f"<h3>{escape(table.title)}</h3><p>None.</p>"
    numbers = {j for j in range(len(table.columns)) if all(not isinstance(row[j], str) for row in table.rows)}
    rows = [f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in table.rows]
    return f"<h3>{escape(table.title)}</h3>{note}{_whole(_head(table.columns, numbers), rows)}"


def _head(columns: Sequence[str], numbers: set[int]) -> str:
    return "".join(
        f'<th scope="col"{" class=n" if j in numbers else ""}>{escape(name)}</th>' for j, name in enumerate(columns)
    )


def _whole(head: str, rows: Sequence[str]) -> str:
    body = "\n".join(rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _cell(value: Cell) -> str:
    if isinstance(value, str):
        return f"<td{' class=s' if len(value) <= _UNBROKEN else ''}>{escape(value)}</td>"
    sort = "-1e99" if value is None else repr(value)
    return f'<td class="n" data-value="{sort}">{_number(value)}</td>'


def _number(value: float | None) -> str:
    if value is None:
        return "—"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.1e}" if 0 < abs(value) < 0.0005 else f"{value:.3f}"


def _settings(settings: Mapping[str, object]) -> str:
    said = "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(_plain(value))}</dd>" for key, value in settings.items())
    return f"<details><summary>Settings that make these figures again</summary><dl>{said}</dl></details>"


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(v)}" for key, v in value.items())
    return json.dumps(value, ensure_ascii=False, default=str)


def _alike(reports: Sequence[Report]) -> list[list[Report]]:
    """Reports of the same task on the same rows, together."""
    groups: dict[tuple[object, ...], list[Report]] = defaultdict(list)
    for report in reports:
        groups[tuple(measured(report).values())].append(report)
    return list(groups.values())


def _side_by_side(reports: Sequence[Report]) -> str:
    """Every figure of each, and what separates the others from the first."""
    first, *others = reports
    known = [{f.name: f for f in report.figures} for report in reports]
    rows = []
    for name in dict.fromkeys(name for found in known for name in found):
        cells = "".join(_beside(found.get(name)) for found in known)
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    head = _head(("figure", *(report.name for report in reports)), set(range(1, len(reports) + 1)))
    table = _whole(head, rows)
    differences: list[tuple[Cell, ...]] = []
    for other in others:
        for name, found in compare(first, other).items():
            interval = f"{_number(found.low)} to {_number(found.high)}"
            differences.append((f"{other.name} - {first.name}", name, found.value, interval, found.p))
    columns = ("models", "figure", "difference", "95 % interval", "p")
    paired = Table("Differences", columns, tuple(differences), "Paired bootstrap over the rows; p is two-sided.")
    return f"<section><h2>{_TASKS[first.task]}, side by side</h2>{table}{_table(paired)}</section>"


def _beside(figure: Figure | None) -> str:
    if figure is None:
        return _cell(None)
    sure = "" if figure.low is None else f"<small>{_interval(figure)}</small>"
    return f'<td class="n" data-value="{figure.value!r}">{_number(figure.value)}{sure}</td>'
