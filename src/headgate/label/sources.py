"""Parquet and JSON lines, read in portions: an input file is never in memory as a whole."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

from headgate.errors import DataError
from headgate.label.arrow import arrow, clash
from headgate.label.batch import OnError, added
from headgate.label.columns import BadRowError, Stage, problems
from headgate.label.parts import Part, cut

Format = Literal["parquet", "jsonl"]
_SUFFIXES: dict[str, Format] = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
T = TypeVar("T")
_PORTION = 1024  # rows looked at together


@dataclass(frozen=True)
class Source:
    """An input file as it was when it was cut.

    Attributes:
        path: As it was named.
        size: Bytes.
        digest: SHA-256 of all of them.
    """

    path: str
    size: int
    digest: str

    @classmethod
    def of(cls, path: Path) -> "Source":
        """What the file is now."""
        with path.open("rb") as file:
            return cls(str(path), path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())

    @property
    def format(self) -> Format:
        """By its ending."""
        return format_of(Path(self.path))


def format_of(path: Path) -> Format:
    """By its ending, or ValueError."""
    found = _SUFFIXES.get(path.suffix)
    if found is None:
        raise ValueError(f"{path} ends in {path.suffix!r}; expected one of {sorted(_SUFFIXES)}.")
    return found


def survey(source: Source, number: int, stages: Sequence[Stage], size: int, on_error: OnError) -> list[Part]:
    """The parts of a file, once every row was looked at.

    Args:
        source: The file.
        number: Which it is, from 0.
        stages: What will read it.
        size: Rows of a part.
        on_error: With "stop" every row must be good.

    Raises:
        DataError: A bad row; or, whatever ``on_error`` says, a line of JSON lines that isn't an object.
        ValueError: It has a column that would be added.
    """
    if source.format == "parquet":
        return _survey_table(source, number, stages, size, on_error)
    parts: list[Part] = []
    columns = added(stages, on_error)
    rows = 0
    held: list[tuple[int, dict[str, Any]]] = []
    for offset, line, record in _records(source.path, 0, 1):
        if rows % size == 0:
            parts.append(Part(number, rows, 0, offset, line))
        try:
            clash(list(record), columns)
        except ValueError as e:
            raise ValueError(f"{source.path}:{line}: {e}") from e
        rows += 1
        held.append((line, record))
        if len(held) == _PORTION:
            held = _looked_at(source, stages, held, on_error)
    _looked_at(source, stages, held, on_error)
    ends = [*(part.start for part in parts[1:]), rows]
    counted = [Part(p.source, p.start, end - p.start, p.offset, p.line) for p, end in zip(parts, ends, strict=False)]
    return counted or [Part(number, 0, 0)]


def columns_of(records: Sequence[dict[str, Any]], stages: Sequence[Stage]) -> dict[str, list[Any]]:
    """What stages read of JSON records; a key that a record lacks is null."""
    names = dict.fromkeys(name for one in stages for name in one.needs)
    return {name: [record.get(name) for record in records] for name in names}


def _looked_at(
    source: Source, stages: Sequence[Stage], held: Sequence[tuple[int, dict[str, Any]]], on_error: OnError
) -> list[tuple[int, dict[str, Any]]]:
    """Nothing is held any longer; DataError with the line if a row is bad and may not be."""
    if on_error == "stop":
        wrong = problems(stages, columns_of([record for _, record in held], stages))
        for (line, record), why in zip(held, wrong, strict=True):
            if why is not None:
                lacks = "" if all(n in record for one in stages for n in one.needs) else f" It has {sorted(record)}."
                raise DataError(f"{source.path}:{line}: {why}{lacks}")
    return []


def _survey_table(source: Source, number: int, stages: Sequence[Stage], size: int, on_error: OnError) -> list[Part]:
    file = opened(source.path)
    schema = file.schema_arrow
    needs = {name: kind for one in stages for name, kind in one.needs.items()}
    clash(schema.names, added(stages, on_error))
    for name, kind in needs.items():
        if name not in schema.names:
            raise DataError(f"{source.path} has no column {name!r}; expected it among {schema.names}.")
        if not _holds(schema.field(name).type, listed=kind == "texts"):
            expected = "lists of texts" if kind == "texts" else "texts"
            raise DataError(f"{source.path}: column {name!r} is {schema.field(name).type}; expected {expected}.")
    seen = 0
    for batch in file.iter_batches(batch_size=_PORTION, columns=list(needs)) if on_error == "stop" else ():
        rows = {name: batch.column(batch.schema.get_field_index(name)).to_pylist() for name in needs}
        for i, why in enumerate(problems(stages, rows)):
            if why is not None:
                raise DataError(f"{source.path}, row {seen + i + 1}: {why}")
        seen += batch.num_rows
    return cut(file.metadata.num_rows, size, number)


def _holds(kind: Any, *, listed: bool) -> bool:  # noqa: ANN401
    types = arrow().types
    if listed:
        lists = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view)
        return any(is_list(kind) for is_list in lists) and _holds(kind.value_type, listed=False)
    if types.is_dictionary(kind):
        return _holds(kind.value_type, listed=False)
    texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return any(is_text(kind) for is_text in texts)


def opened(path: str) -> Any:  # noqa: ANN401
    """A Parquet file, its footer read."""
    from importlib import import_module

    pa = arrow()
    try:
        return import_module("pyarrow.parquet").ParquetFile(path)
    except pa.ArrowInvalid as e:
        raise DataError(f"{path} is no Parquet file: {e}") from e


def _records(path: str, offset: int, line: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Where each row of JSON lines begins, the number of its line, and what it holds."""
    with Path(path).open("rb") as file:
        file.seek(offset)
        while raw := file.readline():
            if line == 1:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if raw.strip():
                yield offset, line, _record(f"{path}:{line}", raw)
            offset, line = file.tell(), line + 1


def records_of(path: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of JSON lines, some at a time."""
    rows = _records(path, 0, 1)
    while held := [record for _, _, record in islice(rows, _PORTION)]:
        yield held


def _record(place: str, raw: bytes) -> dict[str, Any]:
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except UnicodeDecodeError as e:
        raise DataError(f"{place} holds byte 0x{raw[e.start]:02x}; expected UTF-8: convert it first.") from e
    except (ValueError, RecursionError) as e:
        raise DataError(f"{place} is not JSON: {e}; expected one object a line.") from e
    if not isinstance(found, dict):
        raise DataError(f"{place} is {type(found).__name__}; expected an object.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A record whose keys come once: the others would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a key comes twice among {[key for key, _ in pairs]}")
    return found


class Reader:
    """The rows of parts; asked for neighbours in order, it reads on where it stands."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._rows: Iterator[Any] = iter(())
        self._at: int | None = None  # the row that _rows gives next
        self._table: Any = None  # read, and not yet given

    def records(self, part: Part) -> list[tuple[int, dict[str, Any]]]:
        """(line, record) of each row of JSON lines.

        Raises:
            DataError: The file ended before.
        """
        if self._at != part.start:
            self._rows = _records(self._source.path, part.offset, part.line)
        found = [(line, record) for _, line, record in islice(self._rows, part.rows)]
        return self._whole(part, found, len(found))

    def table(self, part: Part) -> Any:  # noqa: ANN401
        """The rows of a Parquet file, as an Arrow table.

        Raises:
            DataError: The file ended before.
        """
        if self._at != part.start:
            self._seek(part.start)
        held = [] if self._table is None else [self._table]
        count = sum(piece.num_rows for piece in held)
        while count < part.rows and (batch := next(self._rows, None)) is not None:
            held.append(arrow().Table.from_batches([batch]))
            count += batch.num_rows
        whole = arrow().concat_tables(held) if held else opened(self._source.path).schema_arrow.empty_table()
        self._table = whole.slice(part.rows)
        return self._whole(part, whole.slice(0, part.rows), min(count, part.rows))

    def _seek(self, row: int) -> None:
        """To the row, over as few row groups as there are before it."""
        file = opened(self._source.path)
        groups, before = [], 0
        for k in range(file.num_row_groups):
            end = before + file.metadata.row_group(k).num_rows
            if end > row:
                groups = list(range(k, file.num_row_groups))
                break
            before = end
        self._rows = file.iter_batches(batch_size=_PORTION, row_groups=groups)
        self._table = None
        skip = row - before
        while skip and (batch := next(self._rows, None)) is not None:
            self._table = arrow().Table.from_batches([batch]).slice(skip)
            skip -= min(skip, batch.num_rows)

    def _whole(self, part: Part, found: T, count: int) -> T:
        self._at = part.start + part.rows
        if count < part.rows:
            raise DataError(
                f"{self._source.path} gave {count} rows from row {part.start + 1} on; expected {part.rows}: it was "
                "changed meanwhile. Label it anew, into another folder."
            )
        return found


def place(part: Part, lines: Sequence[int] | None, error: BadRowError, path: str) -> DataError:
    """The same error with the file, and its line or row."""
    if lines is not None:
        return DataError(f"{path}:{lines[error.row]}: {error.why}")
    return DataError(f"{path}, row {part.start + error.row + 1}: {error.why}")
