"""Files that are there whole or not at all, and rows as Parquet or JSON lines."""

import base64
import json
import os
from collections.abc import Callable, Sequence
from datetime import date, time
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

from headgate.errors import DataError
from headgate.label.arrow import arrow
from headgate.label.columns import Added, Values
from headgate.label.sources import records_of

_HALF = ".half"  # what a kill leaves ends so, and begins with a dot: readers of the folder pass it over


def written(path: Path, write: Callable[[Path], None]) -> None:
    """The file that ``write`` makes, under its name once it is on the disk as a whole.

    Raises:
        DataError: It was swept away meanwhile: two runs work on one folder.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}{_HALF}")
    try:
        write(beside)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except FileNotFoundError as e:
        raise DataError(f"{beside} is gone: another run works on {path.parent}; expected one at a time.") from e
    finally:
        beside.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a folder can't be synced, and needn't be
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def swept(folder: Path) -> None:
    """Nothing half-written is left in it."""
    for path in folder.glob(f".*{_HALF}"):
        path.unlink(missing_ok=True)


def as_lines(records: Sequence[dict[str, Any]], columns: Sequence[Added], values: Values, path: Path) -> None:
    """Records with more keys, one a line, in ASCII: the same bytes in every locale."""
    with path.open("w", encoding="ascii", newline="\n") as file:
        for i, record in enumerate(records):
            own = {column.name: values[column.name][i] for column in columns}
            file.write(json.dumps({**record, **own}, default=_word) + "\n")


def as_table(table: Any, path: Path) -> None:  # noqa: ANN401
    """Parquet, one row group."""
    import_module("pyarrow.parquet").write_table(table, path)


def _word(value: object) -> str:
    """Of what Parquet holds and JSON doesn't."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise DataError(f"a value is {type(value).__name__}, which JSON can't hold; expected --format parquet.")


def schema_of(path: str) -> str:
    """The Arrow schema of JSON lines, as text: what all rows together need.

    Raises:
        DataError: A key has values of several types.
    """
    pa = arrow()
    found = pa.schema([])
    for records in records_of(path):
        try:
            found = pa.unify_schemas([found, _tabled(records, None).schema], promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError) as e:
            raise DataError(f"{path} fits no table: {e}; expected one type a key, or --format jsonl.") from e
    return base64.b64encode(found.serialize().to_pybytes()).decode()


def tabled(records: Sequence[dict[str, Any]], schema: str) -> Any:  # noqa: ANN401
    """JSON records as an Arrow table of that schema."""
    pa = arrow()
    return _tabled(records, pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema))))


def _tabled(records: Sequence[dict[str, Any]], schema: Any) -> Any:  # noqa: ANN401
    pa = arrow()
    names = list(dict.fromkeys(key for record in records for key in record)) if schema is None else schema.names
    kinds = [None if schema is None else schema.field(name).type for name in names]
    columns = [[record.get(name) for record in records] for name in names]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
    return pa.Table.from_arrays(arrays, names=names)
