"""Labelled rows, from JSON lines or from Python: the one layout for evaluation and training.

    {"text": "Where is my parcel?", "label": "delivery"}                     one true label
    {"text": "Late and broken", "label": ["delivery", "damage"]}             several; [] or null: none of them
    {"premise": "…", "hypothesis": "…", "label": "entailment"}               a pair and its class
    {"query": "…", "documents": [{"text": "…", "relevance": 2}, …]}          candidates in the first stage's order

Other keys are kept and ignored. What is wrong is said with the number of its row, counted from 1.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headgate.errors import DataError

Json = dict[str, Any]
Source = str | Path | Iterable[Mapping[str, Any]]


class Row(NamedTuple):
    """One row and where it stood, such as ``tickets.jsonl, row 3``."""

    place: str
    fields: Json

    def text(self, key: str) -> str:
        """The text under `key`.

        Raises:
            DataError: It is missing, no string, or blank.
        """
        found = self.fields.get(key)
        if not isinstance(found, str) or not found.strip():
            raise DataError(f"{self.place}: {key!r} is {_short(found)}; expected a text that is not blank.")
        return found

    def labels(self, key: str = "label") -> tuple[str, ...]:
        """The true labels under `key`; () for null and [].

        Raises:
            DataError: The key is missing, or holds anything but texts that are not blank.
        """
        if key not in self.fields:
            raise DataError(f"{self.place}: there is no {key!r}, only {sorted(self.fields)}; expected a label or null.")
        found = self.fields[key]
        listed = [] if found is None else [found] if isinstance(found, str) else found
        if not isinstance(listed, list | tuple) or not all(isinstance(n, str) and n.strip() for n in listed):
            raise DataError(f"{self.place}: {key!r} is {_short(found)}; expected a label, a list of labels, or null.")
        return tuple(dict.fromkeys(listed))


def read_rows(source: Source) -> list[Row]:
    """Every row of a JSON lines file (``.gz`` too), or of an iterable of mappings.

    Args:
        source: The file, or the rows themselves.

    Raises:
        DataError: There is no row, or one that is no JSON object, or the file is not UTF-8.
        FileNotFoundError: There is no such file.
    """
    if isinstance(source, str | Path):
        try:
            found = list(_lines(Path(source)))
        except UnicodeDecodeError as e:
            raise DataError(f"{source} is not UTF-8 ({e.reason}); expected JSON lines in UTF-8: convert it.") from e
    elif isinstance(source, Mapping):
        raise DataError("rows is a mapping; expected a file of JSON lines, or an iterable of mappings, one a row.")
    else:
        found = [Row(f"row {number}", _mapping(row, f"row {number}")) for number, row in enumerate(source, 1)]
    if not found:
        said = source if isinstance(source, str | Path) else "rows"
        raise DataError(f"{said}: there is no row; expected at least one.")
    return found


def _lines(path: Path) -> Iterator[Row]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8-sig") as lines:  # a byte order mark is no part of the first row
        for number, line in enumerate(lines, 1):
            place = f"{path.name}, row {number}"
            if line.strip():
                try:
                    yield Row(place, _mapping(json.loads(line), place))
                except json.JSONDecodeError as e:
                    raise DataError(f"{place} is not JSON ({e}); expected one JSON object a line.") from e


def _mapping(row: object, place: str) -> Json:
    if not isinstance(row, Mapping):
        raise DataError(f"{place} is {_short(row)}; expected a JSON object.")
    return dict(row)


def _short(value: object) -> str:
    said = repr(value)
    return said if len(said) < 60 else f"{said[:57]}..."
