"""``headgate label``: corpora in, the same rows with more columns out."""

from collections.abc import Iterable
from pathlib import Path
from time import monotonic
from typing import Annotated, Literal

import typer  # noqa: TID253  the command line imports this file, and nothing else does
from rich.console import Console  # noqa: TID253
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: TID253

from headgate.arguments import named_words
from headgate.label.batch import OnError
from headgate.label.columns import Reads
from headgate.label.job import Job, Settings, begun
from headgate.label.making import Kind, Options, tasks
from headgate.label.parts import PART_ROWS, Part
from headgate.label.running import Here, runner
from headgate.label.stages import stage

_OFTEN = 10.0  # seconds between two lines of progress, where there is no terminal

Probability = Annotated[float | None, typer.Option(min=0.0, max=1.0)]


def command(  # noqa: PLR0913  a command's options are its arguments
    files: Annotated[list[Path], typer.Argument(help="Parquet files, or JSON lines.")],
    out: Annotated[Path, typer.Option(help="The folder for the parts; again with the same goes on where it ended.")],
    config: Annotated[list[str] | None, typer.Option(help="A saved task, FILE or NAME=FILE; repeat it.")] = None,
    text: Annotated[str, typer.Option(help="Column with the text.")] = "text",
    query: Annotated[str | None, typer.Option(help="Of a reranker: the same for all rows.")] = None,
    query_in: Annotated[str | None, typer.Option(help="Of a reranker: column with the row's query.")] = None,
    passages: Annotated[str | None, typer.Option(help="Of a reranker: column with a list, in place of --text.")] = None,
    task: Annotated[Kind | None, typer.Option(help="In place of --config: a task made of the options below.")] = None,
    route: Annotated[list[str] | None, typer.Option(help="name, or name=description; repeat it.")] = None,
    routes: Annotated[Path | None, typer.Option(help="JSON file: names, or name -> description.")] = None,
    multi: Annotated[bool, typer.Option("--multi", help="Several may be true at once.")] = False,
    forbid: Annotated[list[str] | None, typer.Option(help="label, or name=label; else the model's own.")] = None,
    threshold: Probability = None,
    unreadable: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Share of unknown tokens.")] = None,
    model: Annotated[str | None, typer.Option(help="A folder, a Hub id, or a part of the default model.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub id.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens of a row, in place of the model's.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    format: Annotated[Literal["same", "parquet", "jsonl"], typer.Option(help="Of the parts.")] = "same",
    part_rows: Annotated[int, typer.Option(min=1, help="Rows of a part: what a kill costs at most.")] = PART_ROWS,
    on_error: Annotated[OnError, typer.Option(help="At a bad row: stop, or nulls and a column error.")] = "stop",
    with_: Annotated[str | None, typer.Option("--with", help="Who runs it: ray, of headgate-ray; else here.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="name=value of --with; repeat it.")] = None,
) -> None:
    """Add routes, verdicts or relevance to every row of a corpus; a run that was killed goes on."""
    run = runner(with_)
    given = named_words("option", [], set_)
    made = Options(
        task, model, revision, max_length, routes, tuple(route or ()), tuple(forbid or ()), threshold, multi, unreadable
    )
    reads = Reads(text=text, query=query, query_in=query_in, passages=passages)
    named = tasks(config or [], made, device=device)
    job = begun(named, files, out, Settings(reads, part_rows, format, on_error))
    missing = job.missing()
    here = Here([stage(own, name, reads) for name, own in named.items()], device, given)
    _report(job, missing, run(job, missing, here))


def _report(job: Job, missing: list[Part], done: Iterable[Part]) -> None:
    """Say on stderr how far it is, and where it lies in the end."""
    console = Console(stderr=True, highlight=False)
    total, left = sum(part.rows for part in job.parts), sum(part.rows for part in missing)
    kept = len(job.parts) - len(missing)
    if kept:
        console.print(f"headgate: {kept} of {len(job.parts)} parts are there.", markup=False)
    begun_at = said_at = monotonic()
    rows = 0
    columns = TextColumn("Labelling"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("", total=total, completed=total - left)
        for part in done:
            rows += part.rows
            bar.advance(shown, part.rows)
            if not console.is_terminal and monotonic() - said_at > _OFTEN:
                said_at = monotonic()
                rate = rows / (said_at - begun_at)
                console.print(
                    f"headgate: {total - left + rows:,} of {total:,} rows, {rate:,.0f} a second.", markup=False
                )
    still = job.missing()
    if still:
        raise RuntimeError(f"the runner ended and {len(still)} parts are missing, such as {job.path(still[0])}.")
    seconds = monotonic() - begun_at
    words = (
        f"headgate: {rows:,} rows labelled in {seconds:,.1f} s; {total:,} in {len(job.parts)} parts in {job.folder}."
    )
    console.print(words, markup=False, soft_wrap=True)
