"""The command line: ``headgate rerank``, ``route``, ``guard``, and what trains, measures, serves and looks back.

Documents come from files or stdin, one a line, as JSON lines, or one a file. Results go to stdout,
as a table or as JSON lines, and nothing else does; notes, progress and errors go to stderr.

Exit status: 0 done; 1 the guard blocked a document, or a calibration expired; 2 nothing was done, and one
line says why.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from headgate import __version__
from headgate.arguments import named_words
from headgate.bench.command import command as bench
from headgate.decision import Decision
from headgate.documents import Document, read_documents, routes_in, shown
from headgate.errors import HeadgateError
from headgate.evaluate.command import command as evaluate
from headgate.export import command as export
from headgate.guard import Guard, brought
from headgate.label.command import command as label
from headgate.logbook import drift, replay
from headgate.rerank import Hit, Reranker
from headgate.route import Router
from headgate.scores import Ask, Scorer, Scores, judge
from headgate.serve.command import command as serve
from headgate.verdict import Verdict

_CHUNK = 256  # texts between two steps of the progress bar: some seconds on a CPU
_STYLES = {"allowed": "green", "BLOCKED": "bold red", "(none)": "dim"}

Probability = Annotated[float | None, typer.Option(min=0.0, max=1.0)]
Files = Annotated[list[Path] | None, typer.Argument(help="Documents; stdin if none is named, or for -.")]
Whole = Annotated[bool, typer.Option("--whole", help="A file is one document; otherwise a line is.")]
Field = Annotated[str | None, typer.Option(help='JSON lines: where the text is ("text" for .jsonl files).')]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines, with every field that came in.")]
Model = Annotated[str, typer.Option(help="A folder, a Hub id, or a part of the default model.")]
Revision = Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub id.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
Config = Annotated[Path | None, typer.Option(help="A saved one, YAML or JSON, in place of all options that make one.")]
MaxLength = Annotated[int | None, typer.Option(min=1, help="Tokens of a row, in place of the model's.")]

Result = TypeVar("Result", Hit, Decision, Verdict)
Noun = TypeVar("Noun", Router, Guard)
Cells = tuple[str, str, int]
"""Two columns of the table, and the character from which on it shows the document."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def main(version: Annotated[bool, typer.Option("--version", help="Say which this is.")] = False) -> None:
    """Rerank documents, route queries and guard text with small local models."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter must not end the run
            stream.reconfigure(errors="backslashreplace")
    if version:
        typer.echo(f"headgate {__version__}")
        raise typer.Exit


@contextmanager
def _explained() -> Iterator[None]:
    """What the user can mend becomes one line and status 2; a bug keeps its traceback."""
    try:
        yield
    except BrokenPipeError:  # `headgate … | head`
        raise
    except (HeadgateError, ValueError, OSError) as e:
        said = f"{e.filename}: {e.strerror}." if isinstance(e, OSError) and e.filename else str(e)
        typer.echo(f"headgate: {' '.join(said.split())}", err=True)
        raise typer.Exit(2) from e


@app.command()
@_explained()
def rerank(
    query: Annotated[str, typer.Argument(help="What the documents should answer.")],
    files: Files = None,
    top_k: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    min_probability: Probability = None,
    model: Model = "mini/rerank", revision: Revision = None, device: Device = "auto",
    max_length: MaxLength = None, whole: Whole = False, field: Field = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Order documents for a query, best first."""
    documents = read_documents(files, field, whole)
    scorer = _scorer(model, revision=revision, device=device, max_length=max_length)
    reranker = Reranker(scorer, top_k=top_k, min_probability=min_probability)
    hits = reranker.decide(_scores(scorer, reranker.ask(query, [d.text for d in documents])))
    ranked = [documents[hit.index] for hit in hits]
    _print(ranked, hits, "hit", None if as_json else _hit_cells)


@app.command()
@_explained()
def route(
    files: Files = None,
    route: Annotated[list[str] | None, typer.Option(help="name, or name=description; repeat it.")] = None,
    routes: Annotated[Path | None, typer.Option(help="JSON file: names, or name -> description.")] = None,
    threshold: Probability = None,
    multi: Annotated[bool, typer.Option("--multi", help="Several may be true at once.")] = False,
    config: Config = None,
    model: Model = "mini/route", revision: Revision = None, device: Device = "auto",
    max_length: MaxLength = None, whole: Whole = False, field: Field = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Choose a route for every document, or none."""
    named = named_words("route", routes_in(routes), route)
    if not named and config is None:
        raise ValueError("there are no routes; expected --route name=description, --routes FILE.json, or --config.")
    documents = read_documents(files, field, whole)
    if config is not None:
        router = _restored(
            config, Router, device, [named, threshold is not None, multi, model != "mini/route", revision, max_length]
        )
    else:
        scorer = _scorer(model, revision=revision, device=device, max_length=max_length)
        router = Router(scorer, named, threshold=threshold, multi=multi)
    decisions = router.decide(_scores(router.scorer, router.ask([d.text for d in documents])))
    _print(documents, decisions, "decision", None if as_json else _decision_cells)


@app.command()
@_explained()
def guard(
    files: Files = None,
    forbid: Annotated[list[str] | None, typer.Option(help="label, or name=label; else the model's own.")] = None,
    threshold: Probability = None,
    unreadable: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of unknown tokens.")] = 0.5,
    config: Config = None,
    model: Model = "mini/guard", revision: Revision = None, device: Device = "auto",
    max_length: MaxLength = None, whole: Whole = False, field: Field = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Allow every document or not; status 1 if one is blocked."""
    rules = named_words("rule", [], forbid)
    documents = read_documents(files, field, whole)
    if not documents:  # a guard that saw nothing must not look like one that allowed all
        raise ValueError("there is nothing to guard; expected at least one document.")
    if config is not None:
        given = [rules, threshold is not None, unreadable != 0.5, model != "mini/guard", revision, max_length]
        judged = _restored(config, Guard, device, given)
    else:
        scorer = _scorer(model, revision=revision, device=device, max_length=max_length)
        judged = Guard(scorer, rules or brought(scorer, model), threshold=threshold, unreadable=unreadable)
    verdicts = judged.decide(_scores(judged.scorer, judged.ask([d.text for d in documents])))
    _print(documents, verdicts, "verdict", None if as_json else _verdict_cells)
    if any(verdict.blocks for verdict in verdicts):
        raise typer.Exit(1)


app.command("eval")(_explained()(evaluate))
app.command("bench")(_explained()(bench))
app.command("export")(_explained()(export))
app.command("replay")(_explained()(replay))
app.command("drift")(_explained()(drift))
app.command("label")(_explained()(label))
app.command("serve")(_explained()(serve))


def _scorer(model: str, **how: Any) -> Scorer:  # noqa: ANN401  as load takes them
    from headgate import load  # here, because it brings torch, which takes a second or two

    return load(model, **how)


def _restored(config: Path, kind: type[Noun], device: str, given: Sequence[object]) -> Noun:
    """What a file holds, if it is what the command wants."""
    if any(given):
        raise ValueError(f"--config {config} came with options that it holds; expected it alone, but for --device.")
    from headgate import restore  # here, because it brings torch

    task = restore(config, device=device)
    if not isinstance(task, kind):
        raise ValueError(f"{config} holds a {type(task).__name__}; expected a {kind.__name__}.")
    return task


def _scores(scorer: Scorer, asks: Sequence[Ask]) -> list[Scores]:
    """Scores of the one ask, in chunks with a progress bar where there are several."""
    (ask,) = asks
    chunks = [ask.texts[i : i + _CHUNK] for i in range(0, len(ask.texts), _CHUNK)] or [[]]
    console = Console(stderr=True)
    quiet = len(chunks) == 1 or not console.is_terminal
    # A text's score does not depend on its batch mates, so chunks make the same scores.
    parts = [
        judge(scorer, [Ask(chunk, ask.labels)])[0]
        for chunk in track(chunks, "Scoring", console=console, transient=True, disable=quiet)
    ]
    arrays = [f.name for f in fields(Scores) if isinstance(getattr(parts[0], f.name), np.ndarray)]
    whole: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in arrays}
    return [replace(parts[0], **whole)]


def _print(
    documents: Sequence[Document], results: Sequence[Result], key: str, cells: Callable[[int, Result], Cells] | None
) -> None:
    """A table of ``cells``; or JSON lines, what came in with the result under ``key``."""
    if cells is None:
        for document, result in zip(documents, results, strict=True):
            # In ASCII: the same bytes in every locale, and lone surrogates are safe.
            typer.echo(json.dumps({**document.record, key: asdict(result)}))
        return
    table = Table(box=None, pad_edge=False, expand=True)
    for name in (key, "probability", "from"):
        table.add_column(name, no_wrap=True)
    table.add_column("text", no_wrap=True, overflow="ellipsis", ratio=1, min_width=20)
    for n, (document, result) in enumerate(zip(documents, results, strict=True), start=1):
        first, second, start = cells(n, result)
        words = "… " * (start > 0) + document.text[start : start + 500].replace("\n", " ")
        others = [shown(cell) for cell in (second, document.place, words)]
        table.add_row(shown(first, _STYLES.get(first, "bold")), *others)
    Console().print(table)


def _hit_cells(rank: int, hit: Hit) -> Cells:
    number = f"{hit.log_odds:+.3f} (log-odds)" if hit.probability is None else f"{hit.probability:.3f}"
    return str(rank), number, hit.span[0]


def _decision_cells(_: int, decision: Decision) -> Cells:
    names = decision.choices or ("(none)",)
    numbers = [f"{decision.probabilities.get(name, decision.none):.3f}" for name in names]
    return "\n".join(names), "\n".join(numbers), 0


def _verdict_cells(_: int, verdict: Verdict) -> Cells:
    p, limit = verdict.probabilities, verdict.thresholds
    nearest = max(p, key=lambda rule: p[rule] - limit[rule])
    rules = verdict.broken or (nearest,)
    why = [f"{r} {p[r]:.3f} of {limit[r]:.3f}" if r in p else f"{r}: {verdict.unknown:.0%}" for r in rules]
    return "allowed" if verdict.allowed else "BLOCKED", "\n".join(why), verdict.spans.get(rules[0], (0, 0))[0]
