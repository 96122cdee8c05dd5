"""What stages read and add, and what a row must hold; no task, no file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from headgate.errors import DataError
from headgate.guard import Guard
from headgate.rerank import Reranker
from headgate.route import Router
from headgate.scores import Ask, Scores

Columns = Mapping[str, Sequence[Any]]
"""A batch of rows: name -> one value a row, lists or arrays."""

Values = dict[str, list[Any]]
Task = Router | Guard | Reranker
Need = Literal["text", "query", "texts"]
Kind = Literal["bool", "string", "double", "list<string>", "list<double>", "list<int>", "numbers"]


@dataclass(frozen=True)
class Reads:
    """Where a row's words are.

    Args:
        text: Column with the text; of a reranker, the one passage of the row.
        query: What passages are ranked for, the same for all rows.
        query_in: Instead: column with the row's own query.
        passages: Column with a list of passages, for a reranker, in place of ``text``.
    """

    text: str = "text"
    query: str | None = None
    query_in: str | None = None
    passages: str | None = None

    def __post_init__(self) -> None:
        if self.query is not None and self.query_in is not None:
            raise ValueError("query and query_in came together; expected one: the same for all rows, or a column.")
        if self.query is not None and not self.query.strip():
            raise ValueError("the query is blank; expected words to rank passages by.")


@dataclass(frozen=True)
class Added:
    """A column that a stage adds; its values may be null.

    Attributes:
        name: Of the column.
        kind: Of its values; "numbers" is one double under each key.
        keys: Of "numbers".
    """

    name: str
    kind: Kind
    keys: tuple[str, ...] = ()


class Stage(Protocol):
    """One task on the columns of a batch."""

    @property
    def task(self) -> Task:
        """What judges."""
        ...

    @property
    def needs(self) -> Mapping[str, Need]:
        """The columns it reads, and what each must hold."""
        ...

    @property
    def adds(self) -> tuple[Added, ...]:
        """The columns it adds, in order."""
        ...

    def ask(self, rows: Columns) -> list[Ask]:
        """What to score."""
        ...

    def decide(self, rows: Columns, scores: Sequence[Scores]) -> Values:
        """The columns it adds, from the scores of what it asked; pure."""
        ...


class BadRowError(DataError):
    """A row that can't be judged.

    Attributes:
        row: Which of the batch, from 0.
        why: What is wrong with it.
    """

    def __init__(self, row: int, why: str) -> None:
        super().__init__(f"row {row}: {why}")
        self.row, self.why = row, why

    def __reduce__(self) -> tuple[type["BadRowError"], tuple[int, str]]:  # it crosses processes
        return BadRowError, (self.row, self.why)


def problems(stages: Sequence[Stage], rows: Columns) -> list[str | None]:
    """For each row of a batch what is wrong with it, or None.

    Raises:
        DataError: A column that is read isn't there at all, or columns have different lengths.
    """
    needs = {(name, kind): None for one in stages for name, kind in one.needs.items()}
    for name, _ in needs:
        if name not in rows:
            raise DataError(f"there is no column {name!r}; expected it among {list(rows)}: say which has the words.")
    counts = {name: len(rows[name]) for name, _ in needs}
    if len(set(counts.values())) != 1:
        raise DataError(f"the columns have {counts} rows; expected at least one column, all of one length.")
    found: list[str | None] = [None] * next(iter(counts.values()))
    for name, kind in needs:
        for i, value in enumerate(rows[name]):
            found[i] = found[i] or _problem(name, kind, value)
    return found


def _problem(name: str, kind: Need, value: object) -> str | None:
    if kind == "texts":
        if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__iter__"):
            return f"{name!r} is {_said(value)}; expected a list of texts."
        odd = next((i for i, item in enumerate(value) if not isinstance(item, str)), None)
        return None if odd is None else f"{name!r} holds {_said(list(value)[odd])} at {odd}; expected a list of texts."
    if not isinstance(value, str):
        return f"{name!r} is {_said(value)}; expected a text."
    return f"{name!r} is blank; expected words to rank by." if kind == "query" and not value.strip() else None


def _said(value: object) -> str:
    return "null" if value is None else type(value).__name__
