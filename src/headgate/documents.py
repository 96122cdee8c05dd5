"""What the command line reads, documents from files or stdin, one a line, as JSON lines, or one a file; and shows."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer  # noqa: TID253  the command line imports this file, and nothing else does
from rich.text import Text  # noqa: TID253

STDIN = Path("-")


@dataclass(frozen=True)
class Document:
    """A text, the record it came in and goes out with, and where it stood."""

    text: str
    record: dict[str, Any]
    place: str


def read_documents(files: list[Path] | None, field: str | None, whole: bool) -> list[Document]:
    """All documents, in order; a blank line is none."""
    if whole and field is not None:
        raise ValueError("--whole and --field came together; expected one: a file is a text, or JSON lines.")
    every: list[Document] = []
    for path in files or [STDIN]:
        name, text = read_text(path)
        if whole:
            found = [Document(text, {"text": text, "source": name}, name)] if text.strip() else []
        elif field is not None or path.suffix in (".jsonl", ".ndjson"):
            found = [_record(f"{name}:{n}", line, field or "text") for n, line in _lines(text)]
        else:
            rows = [(f"{name}:{n}", {"text": line, "source": name, "line": n}) for n, line in _lines(text)]
            found = [Document(str(row["text"]), row, place) for place, row in rows]
        if not found:
            typer.echo(f"headgate: {name} is empty.", err=True)
        every += found
    return every


def read_text(path: Path) -> tuple[str, str]:
    """Name and text of a file, or of stdin."""
    if path == STDIN and sys.stdin.isatty():
        typer.echo("headgate: reading documents from here, one a line; Ctrl-D ends them.", err=True)
    name = "stdin" if path == STDIN else str(path)
    raw = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
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
    record = parse_json(place, line)
    if not isinstance(record, dict):
        raise ValueError(f"{place} is {type(record).__name__}; expected an object with the field {field!r}.")
    text = record.get(field)
    if not isinstance(text, str):
        found = f"it is {type(text).__name__}" if field in record else f"there are {sorted(record)}"
        raise ValueError(f"{place} has no text in the field {field!r} ({found}); say where: --field NAME.")
    return Document(text, record, place)


def parse_json(place: str, text: str) -> Any:  # noqa: ANN401
    """What a text holds, or ValueError with its place."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise ValueError(f"{place} is not JSON: {e.msg} (line {e.lineno}, column {e.colno}).") from e


def routes_in(path: Path | None) -> list[tuple[str, str]]:
    """The routes of a JSON file: a list of names, or an object name -> description."""
    if path is None:
        return []
    source, text = read_text(path)
    given = parse_json(source, text)
    pairs = [*given.items()] if isinstance(given, dict) else [(n, n) for n in given] if isinstance(given, list) else []
    if not pairs or not all(isinstance(words, str) for pair in pairs for words in pair):
        raise ValueError(f"{source} holds no routes; expected a list of names, or an object name -> description.")
    return pairs


def shown(words: str, style: str = "") -> Text:
    """Without markup and escape codes: a document may not steer the terminal."""
    return Text("".join(c if c.isprintable() or c == "\n" else " " for c in words), style)
