"""The stages: a router, a guard, or a reranker, on the columns of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from headgate.guard import Guard
from headgate.label.columns import Added, Columns, Kind, Need, Reads, Stage, Task, Values
from headgate.rerank import Hit, Reranker
from headgate.route import Router
from headgate.scores import Ask, Scores


def stage(task: Task, name: str = "", reads: Reads | None = None) -> Stage:
    """The stage of a task.

    Args:
        task: A Router, Guard or Reranker.
        name: What its columns begin with; without one "route", "guard" or "rerank".
        reads: Where a row's words are; the column "text" without it.

    Raises:
        TypeError: Another task.
        ValueError: A reranker has neither a query nor a label of its own, or both.
    """
    reads = reads or Reads()
    if isinstance(task, Router):
        return Routed(task, name or "route", reads.text)
    if isinstance(task, Guard):
        return Guarded(task, name or "guard", reads.text)
    if not isinstance(task, Reranker):
        raise TypeError(f"a {type(task).__name__} came; expected a Router, Guard or Reranker.")
    asked = reads.query is not None or reads.query_in is not None
    if asked == (task.label is not None):
        what = f"has the label {task.label!r} and a query" if asked else "has no query"
        raise ValueError(f"the reranker {what}; expected one: a query for all rows, a column of queries, or its label.")
    return Ranked(task, name or "rerank", reads) if reads.passages else Ranks(task, name or "rerank", reads)


@dataclass(frozen=True)
class Routed:
    """Adds choice (null: none of these), its probability, that of "none", the reason, and every route's probability."""

    task: Router
    name: str
    text: str

    @property
    def needs(self) -> dict[str, Need]:
        """One text a row."""
        return {self.text: "text"}

    @property
    def adds(self) -> tuple[Added, ...]:
        """See :class:`headgate.Decision`; ``choices`` where several may be true."""
        several: dict[str, Kind] = {"choices": "list<string>"} if self.task.multi else {}
        kinds: dict[str, Kind] = {"choice": "string", **several, "probability": "double", "none": "double"}
        simple = [Added(f"{self.name}_{part}", kind) for part, kind in kinds.items()]
        every = Added(f"{self.name}_probabilities", "numbers", tuple(self.task.routes))
        return (*simple, Added(f"{self.name}_reason", "string"), every)

    def ask(self, rows: Columns) -> list[Ask]:
        """Every text against every route."""
        return self.task.ask(list(rows[self.text]))

    def decide(self, rows: Columns, scores: Sequence[Scores]) -> Values:
        """Of every text's decision."""
        found = self.task.decide(scores)
        values: dict[str, list[Any]] = {
            "choice": [d.choice for d in found],
            "choices": [list(d.choices) for d in found],
            "probability": [None if d.choice is None else d.probabilities[d.choice] for d in found],
            "none": [d.none for d in found],
            "reason": [d.reason for d in found],
            "probabilities": [dict(d.probabilities) for d in found],
        }
        return {a.name: values[a.name.removeprefix(f"{self.name}_")] for a in self.adds}


@dataclass(frozen=True)
class Guarded:
    """Adds whether a text is allowed, the rules it breaks, and every rule's probability."""

    task: Guard
    name: str
    text: str

    @property
    def needs(self) -> dict[str, Need]:
        """One text a row."""
        return {self.text: "text"}

    @property
    def adds(self) -> tuple[Added, ...]:
        """See :class:`headgate.Verdict`."""
        every = Added(f"{self.name}_probabilities", "numbers", tuple(self.task.rules))
        return Added(f"{self.name}_allowed", "bool"), Added(f"{self.name}_broken", "list<string>"), every

    def ask(self, rows: Columns) -> list[Ask]:
        """Every text against every rule."""
        return self.task.ask(list(rows[self.text]))

    def decide(self, rows: Columns, scores: Sequence[Scores]) -> Values:
        """Of every text's verdict."""
        found = self.task.decide(scores)
        values: list[list[Any]] = [
            [v.allowed for v in found],
            [list(v.broken) for v in found],
            [dict(v.probabilities) for v in found],
        ]
        return {a.name: column for a, column in zip(self.adds, values, strict=True)}


@dataclass(frozen=True)
class Ranked:
    """A list of passages a row: adds their order, best first and cut as the reranker cuts, and a number for each."""

    task: Reranker
    name: str
    reads: Reads

    @property
    def needs(self) -> dict[str, Need]:
        """The passages, and the query where it is the row's own."""
        passages: dict[str, Need] = {self.reads.passages or "": "texts"}
        return passages | _query_of(self.reads)

    @property
    def adds(self) -> tuple[Added, ...]:
        """See :class:`headgate.Hit`; probabilities are null where the model gives an order only."""
        kinds: dict[str, Kind] = {"order": "list<int>", "log_odds": "list<double>", "probability": "list<double>"}
        return tuple(Added(f"{self.name}_{part}", kind) for part, kind in kinds.items())

    def ask(self, rows: Columns) -> list[Ask]:
        """The passages of each row against its query."""
        passages = rows[self.reads.passages or ""]
        return [self.task.ask(q, list(p))[0] for q, p in zip(self._queries(rows), passages, strict=True)]

    def decide(self, rows: Columns, scores: Sequence[Scores]) -> Values:
        """Of every row's hits."""
        every = [_uncut(self.task, found) for found in scores]
        order = [[hit.index for hit in self.task.decide([found])] for found in scores]
        z = [[hit.log_odds for hit in hits] for hits in every]
        p = [None if any(h.probability is None for h in hits) else [h.probability for h in hits] for hits in every]
        values: list[list[Any]] = [order, z, p]
        return {a.name: column for a, column in zip(self.adds, values, strict=True)}

    def _queries(self, rows: Columns) -> Sequence[str]:
        n = len(rows[self.reads.passages or ""])
        return rows[self.reads.query_in] if self.reads.query_in else [self.reads.query or ""] * n


@dataclass(frozen=True)
class Ranks:
    """One passage a row: adds its log-odds and probability; rows of one query make one ask."""

    task: Reranker
    name: str
    reads: Reads

    @property
    def needs(self) -> dict[str, Need]:
        """The passage, and the query where it is the row's own."""
        text: dict[str, Need] = {self.reads.text: "text"}
        return text | _query_of(self.reads)

    @property
    def adds(self) -> tuple[Added, ...]:
        """The probability is null where the model gives an order only."""
        return Added(f"{self.name}_log_odds", "double"), Added(f"{self.name}_probability", "double")

    def ask(self, rows: Columns) -> list[Ask]:
        """The passages of each query against it."""
        texts = rows[self.reads.text]
        return [self.task.ask(query, [texts[i] for i in at])[0] for query, at in self._groups(rows).items()]

    def decide(self, rows: Columns, scores: Sequence[Scores]) -> Values:
        """Of every row's passage; nothing is cut."""
        hits: list[Any] = [None] * len(rows[self.reads.text])
        for found, at in zip(scores, self._groups(rows).values(), strict=True):
            for i, hit in zip(at, _uncut(self.task, found), strict=True):
                hits[i] = hit
        values: list[list[Any]] = [[hit.log_odds for hit in hits], [hit.probability for hit in hits]]
        return {a.name: column for a, column in zip(self.adds, values, strict=True)}

    def _groups(self, rows: Columns) -> dict[str, list[int]]:
        """Rows by query, in order of first appearance."""
        if not self.reads.query_in:
            return {self.reads.query or "": list(range(len(rows[self.reads.text])))}
        groups: dict[str, list[int]] = {}
        for i, query in enumerate(rows[self.reads.query_in]):
            groups.setdefault(query, []).append(i)
        return groups


def _query_of(reads: Reads) -> dict[str, Need]:
    return {reads.query_in: "query"} if reads.query_in else {}


def _uncut(task: Reranker, scores: Scores) -> list[Hit]:
    """A hit for every passage, in the order they came in."""
    every = replace(task, top_k=None, min_probability=None, top_p=None, max_gap=None)
    return sorted(every.decide([scores]), key=lambda hit: hit.index)
