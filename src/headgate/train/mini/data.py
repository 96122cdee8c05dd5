"""Reads the training sets of ``mini`` and turns their rows into examples.

``SOURCES`` is the one table of what was learned from, with licences; the model card is generated from it. Rows that are
wrong (an empty text, an unknown label) raise before the first step; rows that occur in an evaluation file are dropped.
"""

from __future__ import annotations

import gzip
import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from headgate.errors import DataError
from headgate.train.common import normal

log = logging.getLogger(__name__)

Row = dict[str, Any]


class Source(NamedTuple):
    """One data set that ``mini`` learns from."""

    name: str
    tier: str
    licence: str
    parts: str


SOURCES = (
    Source("mnli", "P", "OANC and CC BY 3.0 / CC BY-SA 3.0 (fiction)", "nli, gliclass, heads"),
    Source("wanli", "P", "CC BY 4.0", "nli, gliclass, heads"),
    Source("dnc_recast", "P", "MIT, CC BY 4.0, VerbNet 3.0 licence, by subset", "nli, gliclass, heads"),
    Source("snli", "SA", "CC BY-SA 4.0", "nli, gliclass, heads"),
    Source("vitaminc_synthetic", "SA", "CC BY-SA 3.0", "nli, gliclass, heads"),
    Source("semi_automatic_nli", "SA", "CC BY-SA 3.0 (the Wikipedia subsets only)", "nli, gliclass, heads"),
    Source("clinc150", "P", "CC BY 3.0", "nli, gliclass, route, heads"),
    Source("snips", "P", "CC0 1.0", "nli, gliclass, route, heads"),
    Source("smalltalk_ggu", "P", "ISC-style, MIT, Apache-2.0, by subset", "nli, gliclass, route, heads"),
    Source("mmlu_domain_routing", "P", "MIT", "nli, gliclass, route, heads"),
    Source(
        "llm_task_routing",
        "SA",
        "MIT, CC BY 4.0, Apache-2.0, CC BY-SA; NQ, ARC and OpenBookQA rows dropped",
        "nli, gliclass, route, heads",
    ),
    Source("sentiment_sentences_uci", "P", "CC BY 4.0", "nli, gliclass, route, heads"),
    Source("goemotions", "P", "Apache-2.0", "nli, gliclass, route, heads"),
    Source("sms_spam", "P", "CC BY 4.0", "nli, gliclass, route"),
    Source("paradetox", "P", "CC0 1.0", "nli, gliclass, route, heads"),
    Source("hate_offensive_davidson", "P", "MIT", "heads"),
    Source("hatexplain", "P", "MIT", "nli, gliclass, route, heads"),
    Source("hatemoji_build", "P", "CC BY 4.0", "heads"),
    Source("edos_sexism", "P", "CC0 1.0", "nli, gliclass, route, heads"),
    Source("toxic_spans", "P", "CC0 1.0", "heads"),
    Source("jailbreak_prompts", "P", "Apache-2.0, MIT, CC0 1.0, by source", "nli, gliclass, route, heads"),
    Source("prompt_injections_deepset", "P", "Apache-2.0", "nli, gliclass, route, heads"),
    Source("bipia_indirect_injection", "P", "MIT", "heads"),
    Source(
        "harmful_prompts",
        "P",
        "Apache-2.0, MIT, CC0 1.0, by source; databricks-dolly rows dropped",
        "nli, gliclass, route, heads",
    ),
    Source("nq_passages", "SA", "CC BY-SA 3.0", "nli, gliclass, route, heads"),
    Source("squad_sentences", "SA", "CC BY-SA 4.0", "heads"),
    Source("boolq_retrieval", "SA", "CC BY-SA 3.0", "heads"),
    Source("medquad", "P", "CC BY 4.0", "heads"),
    Source("pubmedqa_retrieval", "P", "MIT", "heads"),
)

NLI_CLASSES = ("entailment", "neutral", "contradiction")
NOT_ENTAILED = -1
"""The label of a pair known to be no entailment, without saying which other class it is."""


class Pair(NamedTuple):
    """A premise and a hypothesis; `label` indexes NLI_CLASSES or is NOT_ENTAILED."""

    premise: str
    hypothesis: str
    label: int


class Choice(NamedTuple):
    """A text and the labels of its pool that are true of it."""

    text: str
    truth: tuple[str, ...]


class Query(NamedTuple):
    """A query, one relevant passage, and passages that a first stage took for relevant."""

    query: str
    positive: str
    negatives: tuple[str, ...]


@dataclass
class Examples:
    """Everything the tasks draw from, by source, pool or head."""

    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    choices: dict[str, list[Choice]] = field(default_factory=dict)
    pools: dict[str, tuple[str, ...]] = field(default_factory=dict)
    queries: dict[str, list[Query]] = field(default_factory=dict)
    heads: dict[str, dict[str, dict[str, list[str]]]] = field(default_factory=dict)
    """Texts by head, class and source."""
    plain: list[str] = field(default_factory=list)
    """Ordinary text of all kinds."""
    dropped: Counter[str] = field(default_factory=Counter)
    """How many rows were dropped because they occur in an evaluation file."""

    def by_label(self, *pools: str) -> dict[str, dict[str, list[str]]]:
        """The texts of some pools by pool and label; of a text with several labels, by the first."""
        found: dict[str, dict[str, list[str]]] = {}
        for pool in pools:
            for item in self.choices.get(pool, []):
                found.setdefault(pool, {}).setdefault(item.truth[0], []).append(item.text)
        return found


def rows(root: Path, name: str, split: str) -> Iterator[Row]:
    """The rows of one file of a set."""
    with gzip.open(root / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


class Held:
    """Every dev and test row of every set under a root: what no training text may repeat.

    A text repeats it that is the same in normalised form, or that shares 13 words in a row with it (the usual test for
    contamination: Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C).

    Args:
        root: The folder that holds one folder a set.
    """

    WORDS = 13
    _FIELDS = ("text", "query", "premise", "hypothesis", "context", "response", "question", "passage")

    def __init__(self, root: Path) -> None:
        self._same: set[int] = set()
        self._grams: set[int] = set()
        for path in sorted(root.glob("*/*.jsonl.gz")):
            if path.name.startswith(("dev", "test")):
                for row in rows(root, path.parent.name, path.name.removesuffix(".jsonl.gz")):
                    self._same.update(hash(key) for key in _keys(row))
                    for name in self._FIELDS:
                        if isinstance(row.get(name), str):
                            self._grams.update(self._of(row[name]))

    def repeats(self, text: str) -> bool:
        """True if a text is the same as one of theirs, or shares 13 words in a row with it."""
        return hash(normal(text)) in self._same or not self._grams.isdisjoint(self._of(text))

    def has(self, row: Row) -> bool:
        """True if any text of a training row repeats one of theirs, or the row is one of their pairs."""
        if any(hash(key) in self._same for key in _keys(row)):
            return True
        texts = (row[name] for name in self._FIELDS if isinstance(row.get(name), str))
        return any(not self._grams.isdisjoint(self._of(text)) for text in texts)

    def _of(self, text: str) -> Iterator[int]:
        words = normal(text).split()
        for at in range(len(words) - self.WORDS + 1):
            yield hash(" ".join(words[at : at + self.WORDS]))


class Reader:
    """Reads sets under one root, checks rows, and drops what evaluation files hold.

    Args:
        root: The folder that holds one folder a set.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.held = Held(root)
        self._dropped: set[tuple[str, int | str]] = set()

    def train(self, name: str, *fields: str, label: str | None = None, known: tuple[str, ...] = ()) -> Iterator[Row]:
        """The usable training rows of a set; absent sets give none, so that a part can be trained alone.

        Raises:
            DataError: A field is missing or empty, or the label is not one of `known`.
        """
        if not (self.root / name / "train.jsonl.gz").exists():
            log.warning("no training rows for %s under %s", name, self.root)
            return
        for number, row in enumerate(rows(self.root, name, "train"), 1):
            for key in fields:
                if not isinstance(row.get(key), str) or not row[key].strip():
                    raise DataError(
                        f"{name}, train row {number}: field {key!r} is {row.get(key)!r}; a text was expected"
                    )
            if label is not None and known and row.get(label) not in known:
                raise DataError(
                    f"{name}, train row {number}: label {row.get(label)!r}; expected one of {', '.join(known)}"
                )
            if self.held.has(row):
                self._dropped.add((name, number))
            else:
                yield row

    def written(self, texts: Iterable[str]) -> list[str]:
        """Texts of our own that no evaluation file repeats."""
        kept = []
        for text in texts:
            if self.held.repeats(text):
                self._dropped.add(("written", text))
            else:
                kept.append(text)
        return kept

    @property
    def dropped(self) -> Counter[str]:
        """How many rows and passages of each set were dropped, however often the set was read."""
        return Counter(name for name, _ in self._dropped)

    def passages(self, name: str) -> dict[str, tuple[str, str]]:
        """Title and text of the passages by id, without those relevant to a dev or test query or repeated there."""
        judged = {
            doc
            for split in ("dev", "test")
            if (self.root / name / f"{split}.jsonl.gz").exists()
            for row in rows(self.root, name, split)
            for doc in row["positives"]
        }
        corpus = rows(self.root, name, "corpus") if (self.root / name / "corpus.jsonl.gz").exists() else iter(())
        found = {}
        for row in corpus:
            if row["doc_id"] not in judged:
                if self.held.repeats(row["text"]):
                    self._dropped.add((name, row["doc_id"]))
                else:
                    found[row["doc_id"]] = (row.get("title") or "", row["text"])
        return found


def _keys(row: Row) -> Iterator[str]:
    """What identifies a row: its text or query, or its pair (short hypotheses recur in honest data)."""
    if "premise" in row:
        yield f"{normal(row['premise'])} || {normal(row['hypothesis'])}"
    for name in ("text", "query"):
        if isinstance(row.get(name), str):
            yield normal(row[name])
