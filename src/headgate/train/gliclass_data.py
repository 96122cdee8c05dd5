"""What GLiClass is trained on: a text, labels to choose among, and how true each of them is.

Two layouts. The published one gives every row its own labels; ours names the true ones, out of the same for all:

    {"text": "Late and broken", "all_labels": ["delivery", "damage", "refund"], "true_labels": ["delivery", "damage"]}
    {"text": "Late and broken", "all_labels": ["delivery", "refund"], "true_labels": {"delivery": 0.9, "refund": 0.3},
     "prompt": "What is it about? ", "examples": [{"text": "It never came", "labels": ["delivery"]}]}
    {"text": "Late and broken", "label": ["delivery", "damage"]}
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from headgate.arguments import listed, named
from headgate.errors import DataError
from headgate.evaluate.rows import Row, Source, read_rows
from headgate.train.common import several

Descriptions = Mapping[str, str | Sequence[str]]


class Item(NamedTuple):
    """One row as it is learned from.

    place: for messages · text · targets: label -> how true it is, 0 to 1, in order · prompt: what stands between
    labels and text · examples: texts and their labels, shown behind the text.
    """

    place: str
    text: str
    targets: dict[str, float]
    prompt: str = ""
    examples: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def true(self) -> tuple[str, ...]:
        """The labels that are rather true than not."""
        return tuple(name for name, score in self.targets.items() if score >= 0.5)


def vocabulary(rows: Iterable[Row], labels: Sequence[str] | None, descriptions: Descriptions | None) -> list[str]:
    """The labels to choose among where a row doesn't name them: `labels`, else all that rows and descriptions name.

    Raises:
        TypeError, ValueError: `labels` is no list of different names.
        DataError: A row has no label, or one that is no text.
    """
    if labels is not None:
        found = listed("labels", labels)
        named("label", found)
        return found
    told = [name for row in rows if "all_labels" not in row.fields for name in row.labels()]
    return list(dict.fromkeys([*told, *(descriptions or {})]))


def gather(
    rows: Source | None,
    labels: Sequence[str] | None,
    descriptions: Descriptions | None,
    few_shot: int | None,
    seed: int,
) -> tuple[list[Item], list[str]]:
    """What there is to learn from, and the labels that rows without ``all_labels`` choose among.

    Args:
        rows: Of either layout; None with descriptions alone.
        labels: See :func:`vocabulary`.
        descriptions: See :func:`described`; all of them are kept.
        few_shot: See :func:`few`; None keeps every row.
        seed: Of the draw.

    Raises:
        DataError: There is no row, or a wrong one.
    """
    read = [] if rows is None and descriptions else read_rows(() if rows is None else rows)
    names = vocabulary(read, labels, descriptions)
    items = read_items(read, names)
    kept = items if few_shot is None else few(items, few_shot, seed)
    return kept + described(descriptions or {}, names), names


def read_items(rows: Iterable[Row], labels: Sequence[str]) -> list[Item]:
    """What rows of either layout say.

    Args:
        rows: Of :func:`headgate.evaluate.rows.read_rows`.
        labels: What rows without ``all_labels`` choose among.

    Raises:
        DataError: A text is blank, a label unknown, a score outside 0 to 1, a prompt or example no text.
    """
    return [Item(r.place, r.text("text"), _targets(r, labels), _prompt(r), tuple(_examples(r))) for r in rows]


def described(descriptions: Descriptions, labels: Sequence[str]) -> list[Item]:
    """Each description as a text of which its label alone is true.

    Args:
        descriptions: Label -> what it means, in one text or several.
        labels: To choose among.

    Raises:
        DataError: A label is unknown, or a description blank.
    """
    items = []
    for label, texts in descriptions.items():
        for number, text in enumerate([texts] if isinstance(texts, str) else texts, 1):
            row = Row(f"descriptions, {label!r}, text {number}", {"text": text, "label": label})
            items.append(Item(row.place, row.text("text"), _targets(row, labels)))
    return items


def few(items: Sequence[Item], k: int, seed: int) -> list[Item]:
    """About `k` rows of every label, drawn at random, in their order.

    A row with several true labels counts for each, so that a label may get more; rows of which no label is true
    count as a label of their own.
    """
    order = list(range(len(items)))
    random.Random(seed).shuffle(order)
    seen: Counter[str] = Counter()
    kept = []
    for i in order:
        names = items[i].true or ("",)
        if any(seen[name] < k for name in names):
            seen.update(names)
            kept.append(i)
    return [items[i] for i in sorted(kept)]


def exactly_one(items: Sequence[Item]) -> None:
    """Refuse rows of which not exactly one label is true, and the others not at all.

    Raises:
        DataError: The first such row.
    """
    for item in items:
        if sorted(item.targets.values(), reverse=True)[:2] not in ([1.0], [1.0, 0.0]):
            given = {name: score for name, score in item.targets.items() if score}
            raise DataError(
                f"{item.place}: true are {given or 'none'}; expected exactly one label, with score 1. "
                'For none, several or soft ones train with loss="bce".'
            )


def learnable(items: Sequence[Item], negatives: int) -> None:
    """Refuse rows from which nothing can be learned.

    Args:
        items: All of them.
        negatives: How many labels of other rows will be put beside a row's own.

    Raises:
        DataError: All rows are of one class, or all labels are equally true.
    """
    several((", ".join(n if s == 1 else f"{n} {s:g}" for n, s in i.targets.items() if s) for i in items), "rows")
    found = {score for item in items for score in item.targets.values()}
    if len(found) < 2 and not negatives:
        raise DataError(
            f"{items[0].place} to {items[-1].place}: every label of every row has score {found.pop():g}; expected true "
            "and false ones. Name false labels too, in all_labels or labels=…, or draw them: negatives=…."
        )


def _targets(row: Row, labels: Sequence[str]) -> dict[str, float]:
    own = "all_labels" in row.fields
    known = row.labels("all_labels") if own else tuple(labels)
    key = "true_labels" if own else "label"
    given = row.fields.get(key)
    scores = given if isinstance(given, Mapping) else dict.fromkeys(row.labels(key), 1.0)
    for name, score in scores.items():
        if name not in known:
            raise DataError(
                f"{row.place}: {key!r} names {name!r}, which is not among its labels {list(known)[:9]}"
                f"{'…' if len(known) > 9 else ''}; add it to {'all_labels' if own else 'labels'}, or spell it alike."
            )
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise DataError(f"{row.place}: {name!r} has score {score!r}; expected a number, 0 (false) to 1 (true).")
    if not known:
        raise DataError(f"{row.place}: there is no label to choose; expected at least one in 'all_labels'.")
    return {name: float(scores.get(name, 0.0)) for name in known}


def _prompt(row: Row) -> str:
    found = row.fields.get("prompt")
    if found is not None and not isinstance(found, str):
        raise DataError(f"{row.place}: 'prompt' is {type(found).__name__}; expected a text, or nothing.")
    return found or ""


def _examples(row: Row) -> Iterable[tuple[str, tuple[str, ...]]]:
    found = row.fields.get("examples") or []
    if not isinstance(found, list | tuple) or not all(isinstance(e, Mapping) for e in found):
        raise DataError(f'{row.place}: \'examples\' is {str(found)[:60]}; expected [{{"text": …, "labels": […]}}, …].')
    for number, fields in enumerate(found, 1):
        example = Row(f"{row.place}, example {number}", dict(fields))
        yield example.text("text"), example.labels("labels" if "labels" in fields else "true_labels")
