"""Rows that label some heads of several, checked and turned into numbers.

    {"text": "Late and broken", "heads": {"mood": "angry", "topic": ["delivery", "damage"], "team": null}}
    {"text": "Where is my parcel?", "label": "delivery"}

A head that is null or left out is not labelled in this row, and learns nothing from it. A list, [] too, is of a head
whose labels are true or not by themselves. ``label`` is for a model with one head; there null means, as everywhere
else, that none of the labels is true.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from headgate.arguments import listed
from headgate.errors import DataError
from headgate.evaluate.rows import Row, Source, read_rows
from headgate.families.multi_head import Head
from headgate.scores import Floats
from headgate.train.common import several

log = logging.getLogger(__name__)

Heads = Mapping[str, Head | Sequence[str]]


class Answer(NamedTuple):
    """One row: where it stood, its text, the labels of the heads it labels, and which of them came as lists."""

    place: str
    text: str
    labels: dict[str, tuple[str, ...]]
    lists: frozenset[str]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Texts, and what is true of them.

    Attributes:
        texts: n of them.
        targets: By head, (n, classes) float32: 1 where a class is true, 0 where not, NaN in the rows that say nothing.
    """

    texts: tuple[str, ...]
    targets: dict[str, Floats]


class Lesson(NamedTuple):
    """All heads by name, those of the base first; what the rows say of them; and the names of those to train."""

    heads: dict[str, Head]
    data: Labelled
    trained: list[str]


def lesson(source: Source, given: Heads | None, known: Mapping[str, Head], only: Sequence[str] | None) -> Lesson:
    """Read the rows and settle what is learned from them.

    Args:
        source: The rows.
        given: Heads to add, by name; None takes those of the base, or else of the rows.
        known: Those of the base.
        only: The heads to train; None: all new ones and those that rows label.

    Raises:
        DataError: A row is wrong, or nothing can be learned from them all.
        ValueError: `only` names no head, or a regression.
    """
    found = answers(source, alone(given, known, only))
    heads = declared(found, given, known)
    data = labelled(found, heads)
    trained = trainees(heads, known, data, only)
    learnable(data, heads, trained)
    return Lesson(heads, data, trained)


def answers(source: Source, alone: str | None) -> list[Answer]:
    """Every row of a file or of an iterable.

    Args:
        source: The rows.
        alone: The head that ``label`` is of; None where there are several.

    Raises:
        DataError: A text is missing or blank, or labels are no texts; the message says in which row.
    """
    return [_answer(row, alone) for row in read_rows(source)]


def _answer(row: Row, alone: str | None) -> Answer:
    text = row.text("text")
    if "heads" in row.fields:
        heads = row.fields["heads"]
        if not isinstance(heads, Mapping):
            raise DataError(f'{row.place}: "heads" is {type(heads).__name__}; expected an object: head -> label.')
        said = Row(row.place, {name: value for name, value in heads.items() if value is not None})
    elif alone is None and "label" in row.fields:
        raise DataError(
            f'{row.place}: "label" does not say of which head; expected "heads": {{head: label}}, as there are several.'
        )
    else:
        row.labels()  # which says it if there are none
        said = Row(row.place, {alone or "label": row.fields["label"]})
    labels = {name: said.labels(name) for name in said.fields}
    return Answer(row.place, text, labels, frozenset(n for n in labels if not isinstance(said.fields[n], str)))


def alone(given: Heads | None, known: Mapping[str, Head], only: Sequence[str] | None) -> str | None:
    """The head that a row means by ``label``; None where that is open."""
    names = list(only or given or known or ["label"])
    return names[0] if len(names) == 1 else None


def declared(found: Sequence[Answer], given: Heads | None, known: Mapping[str, Head]) -> dict[str, Head]:
    """All heads: those of the base first, then those named by the caller, or else by the rows.

    Args:
        found: What the rows say.
        given: Heads to add, by name; a list of labels is a head whose kind the rows tell.
        known: Of the base; rows may not add to them by a slip of the pen.

    Raises:
        DataError: No row names a label of a head.
        ValueError: A head to add has a name that is taken or can't be one.
    """
    named = list(dict.fromkeys(n for a in found for n in a.labels)) if not given and not known else list(given or {})
    heads = dict(known)
    for name in named:
        new = _head(name, found, (given or {}).get(name))
        if heads.get(name, new) != new:
            raise ValueError(f"head {name!r} is {heads[name]} in the base and {new} here; expected another name.")
        heads[name] = new
    return heads


def _head(name: str, found: Sequence[Answer], given: Head | Sequence[str] | None) -> Head:
    if not name.strip() or {":", "."} & set(name):
        raise ValueError(f"a head is called {name!r}; expected a name without colon and full stop.")
    if isinstance(given, Head):
        return given
    multi = any(name in a.lists for a in found)
    labels = {label for a in found for label in a.labels.get(name, ())} if given is None else listed("labels", given)
    if not labels:
        raise DataError(f"head {name!r}: no row names a label of it; expected rows of at least two classes.")
    if not multi and len(labels) == 1:
        several([*labels], f"head {name!r}")
    return Head(tuple(sorted(labels) if given is None else labels), "multi" if multi else "single")


def labelled(found: Sequence[Answer], heads: Mapping[str, Head]) -> Labelled:
    """The rows as numbers.

    Raises:
        DataError: A row names a head or label that there is not, or not just one of a softmax head.
    """
    targets = {name: np.full((len(found), len(head.labels)), np.nan, np.float32) for name, head in heads.items()}
    for i, answer in enumerate(found):
        for name, labels in answer.labels.items():
            if name not in heads:
                raise DataError(
                    f"{answer.place}: there is no head {name!r}, only {list(heads)}; "
                    f"to add one, pass heads={{{name!r}: [its labels]}}."
                )
            targets[name][i] = _target(answer.place, name, heads[name], labels)
    return Labelled(tuple(a.text for a in found), targets)


def _target(place: str, name: str, head: Head, labels: tuple[str, ...]) -> Floats:
    for label in labels:
        if label not in head.labels:
            near = get_close_matches(label, head.labels, n=1, cutoff=0.0)[0]
            raise DataError(
                f"{place}: head {name!r} has no label {label!r}; the nearest is {near!r}. "
                "Correct the row, or name all labels of the head in heads=."
            )
    if head.kind == "single" and len(labels) != 1:
        raise DataError(
            f"{place}: head {name!r} has labels {list(labels)}; expected one, since its classes exclude one another. "
            'A head of kind "multi" may have several or none.'
        )
    return np.array([label in labels for label in head.labels], dtype=np.float32)


def trainees(
    heads: Mapping[str, Head], known: Mapping[str, Head], data: Labelled, only: Sequence[str] | None
) -> list[str]:
    """The heads to train, in the order of all: those named, or else the new ones and those that rows label.

    Args:
        heads: All of them.
        known: Those of the base.
        data: What the rows say.
        only: Those named.
    """
    if only is None:
        return [name for name in heads if name not in known or len(labels_of(data, name))]
    if isinstance(only, str) or not only or set(only) - set(heads):
        raise ValueError(f"only is {only!r}; expected a list of heads out of {list(heads)}.")
    return [name for name in heads if name in only]


def learnable(data: Labelled, heads: Mapping[str, Head], wanted: Iterable[str]) -> None:
    """Refuse heads from whose rows nothing can be learned, and warn of labels without any.

    Args:
        data: What to learn from.
        heads: All of them.
        wanted: Those that shall learn.

    Raises:
        DataError: No row labels a head, or all rows say the same.
        ValueError: A head to train is a regression.
    """
    for name in wanted:
        if heads[name].kind == "regression":
            raise ValueError(f"head {name!r} is a regression, which can't be trained; expected only=[other heads].")
        target = labels_of(data, name)
        if len(target) == 0:
            raise DataError(f"head {name!r}: no row labels it; expected rows, or leave it out: only=[other heads].")
        several([" + ".join(np.array(heads[name].labels)[row == 1]) for row in target], f"head {name!r}")
        bare = [label for label, count in zip(heads[name].labels, target.sum(axis=0), strict=True) if count == 0]
        if bare:
            log.warning(
                "head %r: no row is of %d of its labels, which it will hardly predict: %s", name, len(bare), bare
            )


def labels_of(data: Labelled, head: str) -> Floats:
    """(labelled rows, classes) targets of one head."""
    target = data.targets[head]
    return target[~np.isnan(target[:, 0])]
