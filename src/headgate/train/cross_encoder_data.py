"""What a cross-encoder is trained on: pairs with a class, labelled texts, or documents graded for a query."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from headgate.errors import DataError
from headgate.evaluate.rows import Row
from headgate.families.base import LEAST_ROOM
from headgate.families.cross_encoder import Classes
from headgate.models.checkpoint import Checkpoint
from headgate.runtime import batching
from headgate.train.common import padded, several

log = logging.getLogger(__name__)

NOT_ENTAILED = -1
"""The target of a pair of which only that is known: any class but entailment."""
UNKNOWN = -100
"""The target of a pair that nobody labelled, and of the padding in a batch of lists."""
_DENIED = ("neutral", "contradiction", "not_entailment", "not-entailment", "not_entailed")
_AT_ONCE = 1000


class Example(NamedTuple):
    """A query with its documents, or a hypothesis with its premise.

    place: row of the data · label: query or hypothesis, as the model reads it · asked: the same without the
    template · texts: documents, or the premise alone · wanted: grades, or the number of the class.
    """

    place: str
    label: str
    asked: str
    texts: tuple[str, ...]
    wanted: tuple[float, ...]


class Item(NamedTuple):
    """An example as rows of token ids, what is wanted of each, and what the teacher said (None without one)."""

    rows: tuple[batching.Row, ...]
    wanted: tuple[float, ...]
    teacher: tuple[float, ...] | None


@dataclass(frozen=True)
class Reading:
    """How rows are read.

    Attributes:
        classes: What the logits mean.
        template: What turns a label or query into what the model reads.
        unlabelled: True if a teacher says it all, and rows need neither label nor relevance.
        one_grade: True if documents of one list may all be of one grade.
        list_size: The most documents of a list that are read; None reads all.
        wrong_labels: How many labels that are not true are denied of a text.
        seed: Of the draw of wrong labels.
    """

    classes: Classes
    template: str
    unlabelled: bool = False
    one_grade: bool = False
    list_size: int | None = None
    wrong_labels: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.list_size is not None and self.list_size < 2:
            raise ValueError(f"list_size is {self.list_size}; expected 2 or more, so that there is a choice.")
        if self.wrong_labels < 1:
            raise ValueError(f"wrong_labels is {self.wrong_labels}; expected 1 or more, or nothing would be denied.")

    def examples(self, rows: Sequence[Row]) -> list[Example]:
        """Every example of the rows.

        Raises:
            DataError: A text is missing or blank, a label or grade is wrong, or nothing can be learned.
        """
        lists = is_ranked(rows)
        if self.classes.ranker and not lists:
            raise DataError(
                f'{rows[0].place}: there is no "query", only {sorted(rows[0].fields)}; a ranker learns from a query '
                'with documents. For pairs or labels pass classes=["entailment", "not_entailment"], or three of NLI.'
            )
        found = [self._list(row) for row in rows] if lists else list(self._pairs(rows))
        if not self.unlabelled and (self.one_grade or not lists):  # else every list was found to have two grades
            wanted = [x > 0 if lists else x for example in found for x in example.wanted]
            several(map(self._said, wanted), "rows")
        return found

    def _said(self, wanted: float) -> str:
        if isinstance(wanted, bool):
            return "relevant" if wanted else "not relevant"
        return "not entailed" if wanted == NOT_ENTAILED else self.classes.names[int(wanted)]

    # Lists

    def _list(self, row: Row) -> Example:
        query = row.text("query")
        pairs = graded(row, unlabelled=self.unlabelled)
        if len(dict(pairs)) < len(set(pairs)):
            raise DataError(f"{row.place}: a document came twice with different relevance; expected one grade for it.")
        texts, grades = zip(*self._shortened(list(dict.fromkeys(pairs))), strict=True)
        self._check(row.place, grades)
        return Example(row.place, self.template.replace("{}", query), query, texts, grades)

    def _shortened(self, pairs: list[tuple[str, float]]) -> list[tuple[str, float]]:
        """The most relevant ones and the first of the others, which a retriever ordered by how hard they are.

        Where none is of no relevance, the last one is at least less relevant than the best.
        """
        if self.list_size is None or len(pairs) <= self.list_size:
            return pairs
        order = sorted(range(len(pairs)), key=lambda i: -pairs[i][1])
        kept, rest = order[: self.list_size - 1], order[self.list_size - 1 :]
        last = min(rest, key=lambda i: (pairs[i][1] > 0, pairs[i][1] == pairs[order[0]][1]))
        return [pairs[i] for i in sorted([*kept, last])]

    def _check(self, place: str, grades: Sequence[float]) -> None:
        if self.unlabelled or self.one_grade:
            short, said = self.unlabelled and len(grades) < 2, "there is one document"
        else:
            short, said = len(set(grades)) < 2, f"all {len(grades)} documents have relevance {grades[0]:g}"
        if short:
            raise DataError(
                f"{place}: {said}; expected at least one relevant document and one that is less so. "
                "headgate.train.negatives.mine_negatives finds the others in your documents."
            )

    # Pairs

    def _pairs(self, rows: Sequence[Row]) -> Iterator[Example]:
        known = sorted({name for row in rows if "text" in row.fields for name in row.labels()})
        rng = random.Random(self.seed)
        for row in rows:
            if "text" in row.fields:
                yield from self._labelled(row, known, rng)
                continue
            target = UNKNOWN if self.unlabelled and "label" not in row.fields else self._target(row)
            hypothesis = row.text("hypothesis")
            yield Example(row.place, hypothesis, hypothesis, (row.text("premise"),), (target,))

    def _target(self, row: Row) -> int:
        found = row.labels()
        names = [name.lower() for name in self.classes.names]
        if len(found) == 1 and found[0].lower() in names:
            return names.index(found[0].lower())
        if len(found) == 1 and found[0].lower() in _DENIED:
            return NOT_ENTAILED
        raise DataError(
            f'{row.place}: "label" is {row.fields["label"]!r}; expected one of {list(self.classes.names)}'
            f"{'' if 'not_entailment' in names else ', or not_entailment'}."
        )

    def _labelled(self, row: Row, known: Sequence[str], rng: random.Random) -> Iterator[Example]:
        """Every true label as a hypothesis that is entailed, and some of the others as ones that are not."""
        text, true = row.text("text"), row.labels()
        wrong = [name for name in known if name not in true]
        for name in [*true, *rng.sample(wrong, min(self.wrong_labels, len(wrong)))]:
            target = self.classes.index("entailment") if name in true else NOT_ENTAILED
            hypothesis = self.template.replace("{}", name)
            yield Example(row.place, hypothesis, hypothesis, (text,), (target,))


def graded(row: Row, *, unlabelled: bool = False) -> list[tuple[str, float]]:
    """Every document of a row and its grade, 0 for not relevant.

    Args:
        row: With "documents".
        unlabelled: True if a document without a grade has 0.

    Raises:
        DataError: There is no document, or one whose text or grade is wrong.
    """
    documents = row.fields.get("documents")
    if not isinstance(documents, list | tuple) or not documents or not all(map(_is_mapping, documents)):
        raise DataError(
            f'{row.place}: "documents" is {str(documents)[:60]}; expected a list of {{"text": …, "relevance": …}}.'
        )
    out = []
    for number, fields in enumerate(documents, 1):
        document = Row(f"{row.place}, document {number}", dict(fields))
        grade = fields.get("relevance", 0 if unlabelled else None)
        if not isinstance(grade, int | float) or not math.isfinite(grade) or grade < 0:
            raise DataError(f'{document.place}: "relevance" is {grade!r}; expected a number, 0 for not relevant.')
        out.append((document.text("text"), float(grade)))
    return out


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def is_ranked(rows: Sequence[Row]) -> bool:
    """True for queries with documents, False for pairs and labelled texts.

    Raises:
        DataError: The rows are of both kinds, or of neither.
    """
    lists = "query" in rows[0].fields
    for row in rows:
        keys = row.fields.keys()
        if lists != ("query" in keys) or not keys & {"query", "premise", "text"}:
            raise DataError(
                f"{row.place} has {sorted(keys)}; expected rows of one kind: query and documents, or premise, "
                "hypothesis and label, or text and label."
            )
    return lists


def items(examples: Sequence[Example], checkpoint: Checkpoint, classes: Classes) -> list[Item]:
    """Rows of token ids as the scorer will read them; a text that is too long loses its end, and the log says how many.

    Raises:
        DataError: A query or hypothesis leaves the text beside it less than a quarter of the model's length.
    """
    found: list[Item] = []
    cut = 0
    for at in range(0, len(examples), _AT_ONCE):
        some = examples[at : at + _AT_ONCE]
        unique = list(dict.fromkeys(text for e in some for text in (e.label, *e.texts)))
        encoded = {t: e.ids for t, e in zip(unique, checkpoint.tokenizer.encode(unique), strict=True)}
        for example in some:
            label = encoded[example.label]
            room = _room(example, len(label), checkpoint)
            rows = []
            for ids in (encoded[text] for text in example.texts):
                cut += len(ids) > room
                pair = (label, ids[:room]) if classes.ranker else (ids[:room], label)
                rows.append(checkpoint.tokenizer.pair.row(*pair, types=checkpoint.has_types))
            found.append(Item(tuple(rows), example.wanted, None))
    if cut:
        total = sum(len(item.rows) for item in found)
        log.warning(
            "%d of %d pairs are longer than %d tokens; training reads the beginning of their text and the whole "
            "label. Split long texts first where what matters may stand further back.",
            cut,
            total,
            checkpoint.length,
        )
    return found


def _room(example: Example, taken: int, checkpoint: Checkpoint) -> int:
    length = checkpoint.length
    taken += checkpoint.tokenizer.pair.size
    room = length - taken
    if room * LEAST_ROOM < length:
        raise DataError(
            f"{example.place}: {example.label[:60]!r}… takes {taken} tokens of {length}; expected at most "
            f"{length * (LEAST_ROOM - 1) // LEAST_ROOM}, special tokens included, since it is never cut. Shorten it."
        )
    return room


@dataclass(frozen=True)
class Collate:
    """Items to one batch: all pairs of all lists under one another, padded to the longest of them.

    Args:
        pad: The id behind short rows.
    """

    pad: int

    def __call__(self, batch: Sequence[Item]) -> dict[str, Tensor]:
        """Labels and teacher (lists, documents), padded with -100; ids, mask and types (pairs, tokens)."""
        rows = [row for item in batch for row in item.rows]
        types = [row.types.tolist() for row in rows if row.types is not None]
        pairs = padded([row.ids.tolist() for row in rows], self.pad, types or None)
        # The labels come first: the trainer takes the size of a batch from its first tensor.
        out = {"labels": _table([item.wanted for item in batch])}
        said = [item.teacher for item in batch if item.teacher is not None]
        if said:
            out["teacher"] = _table(said)
        found: dict[str, Any] = {"ids": pairs.ids, "mask": pairs.mask, "types": pairs.types}
        return out | {name: tensor for name, tensor in found.items() if tensor is not None}


def _table(lists: Sequence[Sequence[float]]) -> Tensor:
    out = torch.full((len(lists), max(map(len, lists))), float(UNKNOWN))
    for at, numbers in enumerate(lists):
        out[at, : len(numbers)] = torch.tensor(numbers)
    return out
