"""The command line: ``headgate rerank``, ``route``, ``guard``, ``eval``, ``bench`` and ``export``.

Documents come from files or stdin, one a line, as JSON lines, or one a file. Results go to stdout,
as a table or as JSON lines, and nothing else does; notes, progress and errors go to stderr.

Exit status: 0 done; 1 the guard blocked a document; 2 nothing was done, and one line says why.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from headgate import __version__
from headgate.arguments import named_words
from headgate.bench.command import command as bench
from headgate.decision import Decision
from headgate.errors import HeadgateError
from headgate.evaluate.command import command as evaluate
from headgate.export import command as export
from headgate.guard import Guard
from headgate.rerank import Hit, Reranker
from headgate.route import Router
from headgate.scores import Ask, Scorer, Scores, judge
from headgate.verdict import Verdict

_CHUNK = 256  # texts between two steps of the progress bar: some seconds on a CPU
_STDIN = Path("-")
_STYLES = {"allowed": "green", "BLOCKED": "bold red", "(none)": "dim"}

Probability = Annotated[float | None, typer.Option(min=0.0, max=1.0)]
Files = Annotated[list[Path] | None, typer.Argument(help="Documents; stdin if none is named, or for -.")]
Whole = Annotated[bool, typer.Option("--whole", help="A file is one document; otherwise a line is.")]
Field = Annotated[str | None, typer.Option(help='JSON lines: where the text is ("text" for .jsonl files).')]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines, with every field that came in.")]
Model = Annotated[str, typer.Option(help="A folder, a Hub id, or a part of the default model.")]
Revision = Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub id.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
MaxLength = Annotated[int | None, typer.Option(min=1, help="Tokens of a row, in place of the model's.")]

Result = TypeVar("Result", Hit, Decision, Verdict)
Cells = tuple[str, str, int]
"""Two columns of the table, and the character from which on it shows the document."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Document:
    """A text, the record it came in and goes out with, and where it stood."""

    text: str
    record: dict[str, Any]
    place: str


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
    documents = _documents(files, field, whole)
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
    model: Model = "mini/route", revision: Revision = None, device: Device = "auto",
    max_length: MaxLength = None, whole: Whole = False, field: Field = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Choose a route for every document, or none."""
    named = named_words("route", _routes(routes), route)
    if not named:
        raise ValueError("there are no routes; expected --route name=description, or --routes FILE.json.")
    documents = _documents(files, field, whole)
    scorer = _scorer(model, revision=revision, device=device, max_length=max_length)
    router = Router(scorer, named, threshold=threshold, multi=multi)
    decisions = router.decide(_scores(scorer, router.ask([d.text for d in documents])))
    _print(documents, decisions, "decision", None if as_json else _decision_cells)


@app.command()
@_explained()
def guard(
    files: Files = None,
    forbid: Annotated[list[str] | None, typer.Option(help="label, or name=label; else the model's own.")] = None,
    threshold: Probability = None,
    unreadable: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of unknown tokens.")] = 0.5,
    model: Model = "mini/guard", revision: Revision = None, device: Device = "auto",
    max_length: MaxLength = None, whole: Whole = False, field: Field = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Allow every document or not; status 1 if one is blocked."""
    rules = named_words("rule", [], forbid)
    documents = _documents(files, field, whole)
    if not documents:  # a guard that saw nothing must not look like one that allowed all
        raise ValueError("there is nothing to guard; expected at least one document.")
    scorer = _scorer(model, revision=revision, device=device, max_length=max_length)
    # A scorer may bring thresholds for short names too; its vocabulary holds each rule once.
    own = [label for label in getattr(scorer, "thresholds", ()) if label in (scorer.labels or (label,))]
    if not rules and not own:
        raise ValueError(f"{model} brings no rules of its own; name yours: --forbid LABEL --threshold 0.9.")
    judged = Guard(scorer, rules or own, threshold=threshold, unreadable=unreadable)
    verdicts = judged.decide(_scores(scorer, judged.ask([d.text for d in documents])))
    _print(documents, verdicts, "verdict", None if as_json else _verdict_cells)
    if not all(verdict.allowed for verdict in verdicts):
        raise typer.Exit(1)


app.command("eval")(_explained()(evaluate))
app.command("bench")(_explained()(bench))
app.command("export")(_explained()(export))


def _scorer(model: str, **how: Any) -> Scorer:  # noqa: ANN401  as load takes them
    from headgate import load  # here, because it brings torch, which takes a second or two

    return load(model, **how)


def _documents(files: list[Path] | None, field: str | None, whole: bool) -> list[Document]:
    """All documents, in order; a blank line is none."""
    if whole and field is not None:
        raise ValueError("--whole and --field came together; expected one: a file is a text, or JSON lines.")
    documents = []
    for path in files or [_STDIN]:
        name, text = _read(path)
        if whole:
            found = [Document(text, {"text": text, "source": name}, name)] if text.strip() else []
        elif field is not None or path.suffix in (".jsonl", ".ndjson"):
            found = [_record(f"{name}:{n}", line, field or "text") for n, line in _lines(text)]
        else:
            rows = [(f"{name}:{n}", {"text": line, "source": name, "line": n}) for n, line in _lines(text)]
            found = [Document(str(row["text"]), row, place) for place, row in rows]
        if not found:
            typer.echo(f"headgate: {name} is empty.", err=True)
        documents += found
    return documents


def _read(path: Path) -> tuple[str, str]:
    """Name and text of a file, or of stdin."""
    if path == _STDIN and sys.stdin.isatty():
        typer.echo("headgate: reading documents from here, one a line; Ctrl-D ends them.", err=True)
    name = "stdin" if path == _STDIN else str(path)
    raw = sys.stdin.buffer.read() if path == _STDIN else path.read_bytes()
    try:
        return name, raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line, byte = 1 + raw.count(b"\n", 0, e.start), raw[e.start]
        raise ValueError(f"{name}:{line} holds byte 0x{byte:02x}; expected UTF-8: convert it first.") from e


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Number and words of each line that has any."""
    # Not splitlines(): it also cuts at characters that may stand inside a document or a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _record(place: str, line: str, field: str) -> Document:
    record = _json(place, line)
    if not isinstance(record, dict):
        raise ValueError(f"{place} is {type(record).__name__}; expected an object with the field {field!r}.")
    text = record.get(field)
    if not isinstance(text, str):
        found = f"it is {type(text).__name__}" if field in record else f"there are {sorted(record)}"
        raise ValueError(f"{place} has no text in the field {field!r} ({found}); say where: --field NAME.")
    return Document(text, record, place)


def _routes(path: Path | None) -> list[tuple[str, str]]:
    """The routes of a JSON file: a list of names, or an object name -> description."""
    if path is None:
        return []
    source, text = _read(path)
    given = _json(source, text)
    pairs = [*given.items()] if isinstance(given, dict) else [(n, n) for n in given] if isinstance(given, list) else []
    if not pairs or not all(isinstance(words, str) for pair in pairs for words in pair):
        raise ValueError(f"{source} holds no routes; expected a list of names, or an object name -> description.")
    return pairs


def _json(place: str, text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"{place} is not JSON: {e.msg} (line {e.lineno}, column {e.colno}).") from e


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
        others = [_shown(cell) for cell in (second, document.place, words)]
        table.add_row(_shown(first, _STYLES.get(first, "bold")), *others)
    Console().print(table)


def _shown(words: str, style: str = "") -> Text:
    """Without markup and escape codes: a document may not steer the terminal."""
    return Text("".join(c if c.isprintable() or c == "\n" else " " for c in words), style)


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
