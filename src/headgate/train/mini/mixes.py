"""How often each source is drawn, and how rows are put into batches."""

from __future__ import annotations

import random
from collections.abc import Container
from typing import NamedTuple

from headgate.train.mini.data import Examples
from headgate.train.mini.model import Text

NLI_MIX = {
    "mnli": 0.46,
    "wanli": 0.15,
    "snli": 0.12,
    "vitaminc_synthetic": 0.12,
    "semi_automatic_nli": 0.12,
    "dnc_recast": 0.03,
}
POOL_MIX = {
    "clinc150": 0.22,
    "clinc150_domains": 0.07,
    "snips": 0.05,
    "smalltalk": 0.05,
    "subjects": 0.10,
    "tasks": 0.05,
    "polarity": 0.06,
    "spam": 0.03,
    "toxicity": 0.05,
    "hate": 0.02,
    "sexism": 0.02,
    "harm": 0.03,
    "emotion": 0.08,
    "sentiment": 0.05,
    "guard": 0.03,
    "titles": 0.14,
}
# Labels of another group are safe negatives; within a group two pools may say the same thing in other words.
GROUPS = {
    "clinc150": "intent",
    "clinc150_domains": "intent",
    "snips": "intent",
    "smalltalk": "intent",
    "subjects": "topic",
    "tasks": "topic",
    "titles": "topic",
    "polarity": "feeling",
    "sentiment": "feeling",
    "emotion": "feeling",
    "toxicity": "guard",
    "hate": "guard",
    "sexism": "guard",
    "harm": "guard",
    "guard": "guard",
    "spam": "guard",
}
TRUE_OF_MUCH = frozenset({"neutral", "polite", "task", "ham"})
QUERY_MIX = {
    "nq_passages": 0.35,
    "squad_sentences": 0.25,
    "medquad": 0.2,
    "boolq_retrieval": 0.12,
    "pubmedqa_retrieval": 0.08,
}
HEAD_MIX = {
    "intent": 0.05,
    "sentiment": 0.12,
    "toxicity": 0.18,
    "sexism": 0.13,
    "harmful": 0.13,
    "jailbreak": 0.12,
    "injection": 0.27,
}
CLASS_MIX = {
    "intent": (0.2, 0.2, 0.6),
    "sentiment": (0.36, 0.36, 0.28),
    "toxicity": (0.45, 0.55),
    "sexism": (0.4, 0.6),
    "harmful": (0.5, 0.5),
    "jailbreak": (0.4, 0.6),
    "injection": (0.4, 0.6),
}


class Row(NamedTuple):
    """Token ids, the length of the first segment, and the target: a class, or one 0/1 a label."""

    ids: list[int]
    first: int
    target: int | list[float]


class Task:
    """Something that ``mini`` is taught: subclasses draw a batch, and give its loss.

    Args:
        examples: What to draw from.
        text: The tokenizer.
        budget: Padded tokens a batch.
    """

    def __init__(self, examples: Examples, text: Text, budget: int) -> None:
        self.examples, self.text, self.budget = examples, text, budget


def pick(rng: random.Random, mix: dict[str, float], there: Container[str]) -> str:
    """A key of `mix` that is in `there`, by weight."""
    names = [name for name in mix if name in there]
    return rng.choices(names, [mix[name] for name in names])[0]


def bucket(rng: random.Random, rows: list[Row], budget: int) -> list[Row]:
    """Neighbours in length whose padded size stays within `budget` tokens."""
    rows = sorted(rows, key=lambda row: len(row.ids))
    chosen: list[Row] = []
    for row in rows[rng.randrange(max(1, len(rows) * 2 // 3)) :]:
        if chosen and (len(chosen) + 1) * len(row.ids) > budget:
            break
        chosen.append(row)
    return chosen
