"""``headgate eval``: rows in; a table, an HTML page and JSON out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer  # noqa: TID253  the command line imports this file, and nothing else does

from headgate.arguments import named_words
from headgate.errors import DataError
from headgate.evaluate.classification import classify
from headgate.evaluate.common import labelled, seen
from headgate.evaluate.fewshot import few_shot
from headgate.evaluate.guarding import guard
from headgate.evaluate.history import loss_plot
from headgate.evaluate.html import write_html
from headgate.evaluate.metrics import extra
from headgate.evaluate.nli import pairs
from headgate.evaluate.report import Report
from headgate.evaluate.reranking import rerank
from headgate.evaluate.routing import route
from headgate.evaluate.rows import Row, read_rows
from headgate.guard import Guard
from headgate.rerank import Reranker
from headgate.route import Router

Task = Literal["classify", "route", "guard", "rerank", "pairs"]
_MODELS = {
    "classify": "mini/route",
    "route": "mini/route",
    "guard": "mini/guard",
    "rerank": "mini/rerank",
    "pairs": "mini/nli",
}


@dataclass(frozen=True)
class Options:
    """What the command was told, beside data and models.

    Attributes:
        labels: Name -> words of labels, routes or rules; empty: the labels of the rows.
        template: Hypothesis template in place of the model's.
        threshold: Of the router, the guard's rules, or multi-label classification.
        multi: Several labels may be true at once.
        shots: Examples a label for few-shot classification; 0 for none.
        lookalikes: A file of harmless look-alikes, for guards.
        seed: Of the bootstrap; None: 0.
        device: As ``load`` takes it.
        revision: As ``load`` takes it.
        max_length: As ``load`` takes it.
    """

    labels: Mapping[str, str]
    template: str | None = None
    threshold: float | None = None
    multi: bool = False
    shots: int = 0
    lookalikes: Path | None = None
    seed: int | None = None
    device: str = "auto"
    revision: str | None = None
    max_length: int | None = None


def command(  # noqa: PLR0913  a command's options are its arguments
    data: Annotated[Path, typer.Argument(help="Labelled rows: JSON lines.")],
    task: Annotated[Task | None, typer.Option(help="What to measure, where the rows leave it open.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="As for the other commands; repeat it to compare.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="name, or name=description; else the rows' own.")] = None,
    template: Annotated[str | None, typer.Option(help='Hypothesis template with one "{}".')] = None,
    threshold: Annotated[float | None, typer.Option(min=0.0, max=1.0)] = None,
    multi: Annotated[bool, typer.Option("--multi", help="Several labels may be true at once.")] = False,
    shots: Annotated[int, typer.Option(min=0, help="Few-shot: examples a label, on the model's embeddings.")] = 0,
    lookalikes: Annotated[Path | None, typer.Option(help="Guards: JSON lines of harmless look-alikes.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the HTML report goes.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where the JSON goes; numbered for several models.")] = None,
    history: Annotated[Path | None, typer.Option(help="A trainer_state.json, for its loss curves.")] = None,
    texts: Annotated[bool, typer.Option("--texts/--no-texts", help="Show the worst errors' texts.")] = True,
    seed: Annotated[int | None, typer.Option(help="Of the bootstrap; else 0.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub id.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens of a row, in place of the model's.")] = None,
) -> None:
    """Measure models on labelled rows: classify, route, guard, rerank or pairs."""
    options = Options(
        labels=named_words("label", [], label),
        template=template,
        threshold=threshold,
        multi=multi,
        shots=shots,
        lookalikes=lookalikes,
        seed=seed,
        device=device,
        revision=revision,
        max_length=max_length,
    )
    _writable(out, json, history)
    reports = [r if texts else r.without_texts() for r in evaluate(data, task, model or [], options)]
    show(reports)
    if out is not None:
        write_html(reports, out, history=history, texts=texts)
        typer.echo(f"headgate: the report is {out}", err=True)
    for number, report in enumerate(reports, 1):
        if json is not None:
            report.save(json if len(reports) == 1 else json.with_stem(f"{json.stem}-{number}"))


def evaluate(data: Path, task: Task | None, models: Sequence[str], options: Options) -> list[Report]:
    """One report for each model, on the same rows.

    Raises:
        DataError: A row is wrong, or the rows leave the task open; before any model is loaded where that shows.
        ValueError: An option does not fit the task.
    """
    for module, package in (("sklearn", "scikit-learn"), ("matplotlib", "matplotlib"), ("ir_measures", "ir_measures")):
        extra(module, package)  # before the scoring rather than after it
    rows = read_rows(data)
    found = _task(rows, task)
    _fits(found, options)
    if found in ("classify", "route", "guard"):
        _, truths = labelled(rows, list(options.labels) or None)
        options = replace(options, labels=options.labels or {name: name for name in seen(truths)})
    usual = "mini/embed" if options.shots else _MODELS[found]
    return [_measured(found, data, model, options) for model in models or [usual]]


def _writable(out: Path | None, json: Path | None, history: Path | None) -> None:
    """Refuse, before the scoring rather than after it, what could not be written."""
    for path in (out, json):
        if path is not None and not path.resolve().parent.is_dir():
            raise ValueError(f"there is no folder {path.resolve().parent}; expected one to write {path.name} into.")
    if history is not None:
        if out is None:
            raise ValueError("--history came without --out; expected a page for its loss curves: add --out FILE.html.")
        loss_plot(history)


def show(reports: Sequence[Report]) -> None:
    """Every figure with its interval as a table on stdout, and the notes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in (reports[0].task, *(report.name for report in reports)):
        table.add_column(Text(name))
    known = [{figure.name: figure for figure in report.figures} for report in reports]
    for name in dict.fromkeys(name for found in known for name in found):
        cells = []
        for found in known:
            figure = found.get(name)
            sure = "" if figure is None or figure.low is None else f"  [{figure.low:.3f}, {figure.high:.3f}]"
            cells.append(Text("-" if figure is None else f"{figure.value:.3f}{sure}"))
        table.add_row(Text(name), *cells)
    console = Console()
    console.print(table)
    for note in dict.fromkeys(note for report in reports for note in report.notes):
        console.print(Text(note, style="yellow"))


def _task(rows: Sequence[Row], given: Task | None) -> Task:
    """What to measure, as the keys of the rows say it.

    Raises:
        DataError: They leave it open, or `given` is of another layout.
    """
    found = _layout(rows)
    if found != "text":
        if given not in (None, found):
            raise DataError(
                f"the rows are laid out for {found}, and --task is {given}; expected {found}, or no --task."
            )
        return found
    if given in ("pairs", "rerank"):
        raise DataError(
            f"{rows[0].place} has no {'premise' if given == 'pairs' else 'documents'}, which {given} needs."
        )
    if given is not None:
        return given
    if any("lookalike" in row.fields for row in rows):
        return "guard"
    if all(row.labels() for row in rows):
        return "classify"
    raise DataError("some rows are labelled null, as routes and as rules have it; say --task route or --task guard.")


def _layout(rows: Sequence[Row]) -> Literal["pairs", "rerank", "text"]:
    """The layout of all rows, or DataError with the first that differs."""
    found = [_layout_of(row) for row in rows]
    for row, layout in zip(rows, found, strict=True):
        if layout != found[0]:
            raise DataError(
                f"{row.place} has {sorted(row.fields)}, and {rows[0].place} {sorted(rows[0].fields)}; "
                "expected one layout in a file."
            )
    return found[0]


def _layout_of(row: Row) -> Literal["pairs", "rerank", "text"]:
    if "premise" in row.fields:
        return "pairs"
    return "rerank" if "documents" in row.fields else "text"


def _fits(task: Task, options: Options) -> None:
    """Refuse what would be ignored in silence."""
    for name, given, tasks in (
        ("--label", bool(options.labels), ("classify", "route", "guard")),
        ("--threshold", options.threshold is not None, ("classify", "route", "guard")),
        ("--multi", options.multi, ("classify", "route")),
        ("--shots", options.shots > 0, ("classify",)),
        ("--lookalikes", options.lookalikes is not None, ("guard",)),
    ):
        if given and task not in tasks:
            raise ValueError(
                f"{name} came with the task {task}; expected it with {' or '.join(tasks)}: leave it out, or say --task."
            )
    unread = (options.labels, options.template, options.multi, options.threshold is not None, options.seed is not None)
    if options.shots and any(unread):
        raise ValueError(
            "--shots came with --label, --template, --threshold, --multi or --seed; few-shot learns from the rows, "
            "with draws of its own: leave them out."
        )
    if task == "classify" and options.threshold is not None and not options.multi:
        raise ValueError(
            "--threshold came with the task classify; expected it with --multi, since one label takes the likeliest: "
            "add --multi, or leave it out."
        )


def _measured(task: Task, data: Path, model: str, o: Options) -> Report:
    from headgate.loading import load  # here, because it brings torch

    scorer: Any = load(model, template=o.template, device=o.device, revision=o.revision, max_length=o.max_length)
    seed = o.seed or 0
    if task == "rerank":
        return rerank(Reranker(scorer), data, name=model, seed=seed)
    if task == "pairs":
        return pairs(scorer, data, name=model, seed=seed)
    if task == "route":
        return route(Router(scorer, o.labels, threshold=o.threshold, multi=o.multi), data, name=model, seed=seed)
    if task == "guard":
        judged = Guard(scorer, o.labels, threshold=o.threshold)
        return guard(judged, data, lookalikes=o.lookalikes, name=model, seed=seed)
    if o.shots:
        if not hasattr(scorer, "embed"):
            raise ValueError(f"{model} makes no embeddings; expected one that does for --shots, such as mini/embed.")
        return few_shot(scorer, data, shots=o.shots, name=model)
    threshold = 0.5 if o.threshold is None else o.threshold
    return classify(scorer, data, labels=o.labels, multi=o.multi, threshold=threshold, name=model, seed=seed)
