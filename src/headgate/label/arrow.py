"""pyarrow, which Parquet needs, imported where it is used; and the columns of stages in its types."""

from collections.abc import Sequence
from typing import Any

from headgate.errors import MissingExtraError
from headgate.label.batch import OnError, added, label
from headgate.label.columns import Added, Stage, Values

_SIMPLE = {
    "bool": "bool_",
    "string": "string",
    "double": "float64",
    "list<string>": "string",
    "list<double>": "float64",
    "list<int>": "int64",
}


def arrow() -> Any:  # noqa: ANN401  it has no types
    """The module pyarrow.

    Raises:
        MissingExtraError: It isn't installed.
    """
    try:
        import pyarrow
    except ImportError as e:
        raise MissingExtraError("pyarrow", "label") from e
    return pyarrow


def labelled_table(stages: Sequence[Stage], table: Any, *, on_error: OnError = "stop") -> Any:  # noqa: ANN401
    """An Arrow table with the columns that stages add; see :func:`headgate.label.label`.

    Raises:
        ValueError: It has a column of such a name already.
    """
    columns = added(stages, on_error)
    clash(table.column_names, columns)
    needed = [name for name in dict.fromkeys(n for one in stages for n in one.needs) if name in table.column_names]
    found = label(stages, {name: table.column(name).to_pylist() for name in needed}, on_error=on_error)
    return with_columns(table, columns, found)


def with_columns(table: Any, columns: Sequence[Added], values: Values) -> Any:  # noqa: ANN401
    """The table and those columns, in order."""
    for column in columns:
        table = table.append_column(field(column), arrow().array(values[column.name], field(column).type))
    return table


def field(column: Added) -> Any:  # noqa: ANN401
    """The Arrow field of a column."""
    pa = arrow()
    if column.kind == "numbers":
        return pa.field(column.name, pa.struct([(key, pa.float64()) for key in column.keys]))
    simple = getattr(pa, _SIMPLE[column.kind])()
    return pa.field(column.name, pa.list_(simple) if column.kind.startswith("list") else simple)


def clash(names: Sequence[str], columns: Sequence[Added]) -> None:
    """Raise ValueError where the input has a column that would be added."""
    both = [column.name for column in columns if column.name in names]
    if both:
        raise ValueError(
            f"the input has the columns {both} already; expected other names: name the task, as --config NAME=FILE "
            "does, or rename them."
        )
