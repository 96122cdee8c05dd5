"""Prompts to train GLiClass on, drawn anew in every epoch.

What an epoch draws depends on the seed, its number and the row alone, so that a resumed run sees what an
uninterrupted one would have.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from headgate.errors import DataError
from headgate.families.base import LEAST_ROOM
from headgate.families.gliclass import GLiClassScorer
from headgate.runtime.batching import Ids
from headgate.train.common import padded
from headgate.train.gliclass_data import Item
from headgate.train.gliclass_losses import PADDING


@dataclass(frozen=True)
class Drawing:
    """How the labels of a prompt are drawn.

    Args:
        shuffle: In another order every time; else as the row has them.
        drop: Probability with which each label, true or not, is left out; one always stays. Where true labels are
            left out too, the model sees prompts of which nothing is true.
        negatives: Labels of other rows, put in as false ones. They may be true all the same where rows don't name
            all that is true of them.
        max_labels: The most labels of a prompt; the rest, false ones first, are left out. None: as many as fit.
        keep_true: True labels are never dropped.
    """

    shuffle: bool = True
    drop: float = 0.1
    negatives: int = 0
    max_labels: int | None = None
    keep_true: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop is {self.drop}; expected a probability, 0 to less than 1.")
        if self.negatives < 0:
            raise ValueError(f"negatives is {self.negatives}; expected at least 0.")
        if self.max_labels is not None and self.max_labels < 1:
            raise ValueError(f"max_labels is {self.max_labels}; expected at least 1, or None.")

    def menu(self, item: Item, pool: Sequence[str], rng: random.Random) -> dict[str, float]:
        """Labels and their targets, in the order of the prompt; `pool` holds the labels of all rows."""
        given = list(item.targets.items())
        kept = [(n, s) for n, s in given if (self.keep_true and s == 1) or rng.random() >= self.drop]
        found = dict(kept or [rng.choice(given)])
        drawn = rng.sample(pool, min(len(pool), self.negatives + len(given))) if self.negatives else []
        found.update([(n, 0.0) for n in drawn if n not in item.targets][: self.negatives])
        order = list(found)
        if self.shuffle:
            rng.shuffle(order)
        return {name: found[name] for name in order}


class Prompts(Dataset[dict[str, list[Any]]]):
    """Rows of token ids and a target for each of their labels, put together as the scorer does.

    Labels, prompt and examples are never cut; of the text, the end is, where a row is longer than the model reads.
    Labels that don't fit beside a quarter of the row are left out, false ones first.

    Args:
        items: What to learn from.
        scorer: Knows tokenizer, markers and lengths.
        drawing: How labels are drawn.
        seed: Of every draw.
        example_marker: Id of the marker in front of an example; None if the model has none.

    Raises:
        DataError: A label is too long, or there are examples and no marker for them.
    """

    def __init__(
        self, items: Sequence[Item], scorer: GLiClassScorer, drawing: Drawing, seed: int, example_marker: int | None
    ) -> None:
        self._items, self._drawing, self._seed = items, drawing, seed
        # Private there, since only training needs to build rows without scoring them.
        self._config, self._prompt, self._row = scorer._config, scorer._prompt, scorer._row
        self._length, self._frame = scorer._core.max_length, scorer._core.tokenizer.single.size
        self._pool = list(dict.fromkeys(name for item in items for name in item.targets))
        spoken = [scorer._render(name) for name in self._pool]
        self._labels = dict(zip(self._pool, (e.ids for e in scorer._labels.encode(spoken)), strict=True))
        first = self._config.prompt_first
        read = scorer._core.tokenizer.encode([item.prompt + item.text if first else item.text for item in items])
        self._texts = [text.ids[: self._length].copy() for text in read]
        self._extras = [_extra(item, scorer, example_marker) for item in items]
        before = scorer._core.tokenizer.encode([item.prompt if first else "" for item in items])
        # Tokens that labels may take beside prompt, examples, and a quarter of the row for the text.
        most = self._length - -(-self._length // LEAST_ROOM) - self._frame - 1
        self._rooms = [most - len(b.ids) - len(e) for b, e in zip(before, self._extras, strict=True)]
        for item, room in zip(items, self._rooms, strict=True):
            self._check(item, room)
        # Shared memory: workers that stay alive between epochs must learn of a new one.
        self.epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, list[Any]]:
        """``input_ids``, and ``labels``: a target a label, in their order."""
        item, extra = self._items[index], self._extras[index]
        rng = random.Random(f"{self._seed} {int(self.epoch)} {index}")
        menu = self._fitting(self._drawing.menu(item, self._pool, rng), self._rooms[index], rng)
        prompt = self._prompt([self._labels[name] for name in menu])
        text = self._texts[index][: self._length - self._frame - len(prompt) - len(extra)]
        if self._config.prompt_first:
            row = self._row(prompt, np.concatenate([text, extra]))
        else:
            row = self._row(np.concatenate([prompt, extra]), text)
        return {"input_ids": row.ids.tolist(), "labels": list(menu.values())}

    def _check(self, item: Item, room: int) -> None:
        longest = max(item.targets, key=lambda name: len(self._labels[name]))
        if (cost := 1 + len(self._labels[longest])) > room:
            raise DataError(
                f"{item.place}: label {longest[:60]!r} takes {cost} tokens, and beside its prompt, its examples and a "
                f"quarter of {self._length} tokens for the text there is room for {max(0, room)}; shorten them."
            )

    def _fitting(self, menu: dict[str, float], room: int, rng: random.Random) -> dict[str, float]:
        """The labels that fit, true ones first, in the order of the menu."""
        alloc, most = self._config.max_labels_alloc, self._config.max_num_classes
        limits = [self._drawing.max_labels, None if alloc == "dynamic" else alloc if isinstance(alloc, int) else most]
        limit = min((n for n in limits if n is not None), default=len(menu))
        kept: set[str] = set()
        for name in sorted(menu, key=lambda name: (-menu[name], rng.random())):
            cost = 1 + len(self._labels[name])
            if cost <= room and len(kept) < limit:
                kept.add(name)
                room -= cost
        return {name: score for name, score in menu.items() if name in kept}


def _extra(item: Item, scorer: GLiClassScorer, marker: int | None) -> Ids:
    """Ids of what stands at the end of a row: a prompt that is not before the text, and examples."""
    if item.examples and (marker is None or scorer._config.use_segment_embeddings):
        raise DataError(
            f"{item.place}: there are 'examples', which this model can't read: it has "
            f"{'no marker for them' if marker is None else 'segments of its own for them'}. Leave them out, or "
            "start from a model made by new_gliclass."
        )
    told = [f"{text} \nLabels:\n {', '.join(labels)}" for text, labels in item.examples]
    prompt, *read = scorer._labels.encode(["" if scorer._config.prompt_first else item.prompt, *told])
    marked = [np.concatenate([np.array([marker], dtype=np.int32), example.ids]) for example in read]
    end = [np.array([scorer._config.text_token_index], dtype=np.int32)] if read else []
    return np.concatenate([prompt.ids, *marked, *end])


def collate(features: Sequence[dict[str, list[Any]]], fill: int) -> dict[str, Tensor]:
    """A batch: ``input_ids`` and ``mask`` (rows, longest), ``labels`` (rows, most labels) with PADDING."""
    rows = padded([feature["input_ids"] for feature in features], fill)
    targets = [torch.tensor(feature["labels"]) for feature in features]
    labels = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=PADDING)
    return {"input_ids": rows.ids, "mask": rows.mask, "labels": labels}
