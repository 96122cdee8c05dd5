"""Classifiers with a closed vocabulary: one backbone, many linear heads, one pass.

A label is ``"head:class"``, or the class alone where only one head has it. A *single* head is a
softmax of which one class is true: a long text's windows average their logits. The labels of a
*multi* head are true or not by themselves: the strongest window counts. A *regression* head gives
an order.

Source: philipp-zettl/multi-head-sequence-classification-model (the layout of the weights).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from headgate.errors import CheckpointError, LabelError, UnknownLabelError
from headgate.families.base import Core, Family, core
from headgate.families.cross_encoder import class_names
from headgate.families.folding import answer
from headgate.models.calls import class_logits, head_logits, multi_head
from headgate.models.checkpoint import Checkpoint, Json
from headgate.runtime.batching import Array, Row
from headgate.runtime.windows import cut
from headgate.scores import Ask, Label, Scores, as_label, class_log_odds

Kind = Literal["single", "multi", "regression"]


@dataclass(frozen=True)
class Head:
    """One linear head.

    Attributes:
        labels: Class names, in the order of the logits.
        kind: "single" (softmax), "multi" (a sigmoid each) or "regression".
    """

    labels: tuple[str, ...]
    kind: Kind = "single"

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise CheckpointError(f"a head has type {self.kind!r}; expected one of {list(get_args(Kind))}.")
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise CheckpointError(f"a head has labels {list(self.labels)}; expected at least one, each once.")
        if self.kind == "single" and len(self.labels) < 2:
            raise CheckpointError(f"a softmax head has the one label {self.labels[0]!r}; expected two, or type multi.")


@dataclass(frozen=True)
class Place:
    """Where a label's number is: which head, which class of it, which logit of the row."""

    head: str
    index: int
    column: int


class MultiHeadClassifier(Family):
    """Judges a text by all heads in one pass.

    Args:
        parts: Tokenizer and forward (rows to (all classes,) logits, heads side by side).
        heads: By name, in the order of the logits.
        thresholds: Label -> probability from which a guard on it fires.
    """

    def __init__(self, parts: Core, heads: Mapping[str, Head], thresholds: Mapping[str, float] | None = None) -> None:
        super().__init__(parts)
        self._heads = dict(heads)
        self._places: dict[str, Place] = {}
        column = 0
        for name, head in self._heads.items():
            for index, label in enumerate(head.labels):
                self._places[f"{name}:{label}"] = Place(name, index, column)
                column += 1
        self._width = column
        self._thresholds = {self._full(label): value for label, value in (thresholds or {}).items()}

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A multi-head folder, a part of one, or any ``*ForSequenceClassification`` as one head.

        Raises:
            CheckpointError: Nobody says what the classes are called.
        """
        named = "heads" in {**checkpoint.config, **checkpoint.settings}
        if not named and not checkpoint.has("heads."):
            return cls._from_classifier(checkpoint)
        heads = named_heads(checkpoint)
        sizes = {name: len(head.labels) for name, head in heads.items()}
        model = multi_head(checkpoint, sizes)
        forward = checkpoint.forward(head_logits(model, list(heads)), model)
        parts = core(checkpoint, forward, template="{}", identity=heads)
        return cls(parts, heads, checkpoint.settings.get("thresholds"))

    @classmethod
    def _from_classifier(cls, checkpoint: Checkpoint) -> Self:
        names = checkpoint.classes or class_names(checkpoint.config)
        if not names or isinstance(names, Mapping):
            raise CheckpointError(f"{checkpoint.folder} does not name its classes; pass load(…, classes=[…]).")
        kinds: dict[object, Kind] = {"multi_label_classification": "multi", "regression": "regression"}
        kind = kinds.get(checkpoint.config.get("problem_type"), "multi" if len(names) == 1 else "single")
        heads = {"label": Head(names, kind)}
        model = checkpoint.classifier(len(names))
        forward = checkpoint.forward(class_logits(model), model)
        return cls(core(checkpoint, forward, template="{}", identity=heads), heads)

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label it knows, as ``head:class``."""
        return tuple(self._places)

    def _score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        places = [[self._place(label) for label in ask.labels] for ask in asks]
        encoder = self._encoder(asks)
        frame = self._core.tokenizer.single
        rows: list[Row] = []
        spans: dict[str, list[tuple[int, int]]] = {}
        at: dict[str, slice] = {}
        for text, encoded in encoder.known.items():
            pieces = cut(encoded, self._core.max_length - frame.size)
            at[text] = slice(len(rows), len(rows) + len(pieces))
            spans[text] = [piece.span for piece in pieces]
            rows += [frame.row(piece.ids, types=self._core.types) for piece in pieces]
        logits = np.stack(self._core.forward(rows)) if rows else np.zeros((0, self._width), np.float32)
        out = []
        for ask, wanted in zip(asks, places, strict=True):
            z = np.zeros((len(ask.texts), len(wanted)), dtype=np.float32)
            where = np.zeros((*z.shape, 2), dtype=np.int32)
            windows = np.array([len(spans[t]) for t in ask.texts], dtype=np.int32)
            for i, text in enumerate(ask.texts):
                for j, place in enumerate(wanted):
                    z[i, j], where[i, j] = self._cell(logits[at[text]], spans[text], place)
            one = {p.head for p in wanted}
            kinds = {self._heads[h].kind for h in one}
            out.append(
                answer(
                    ask,
                    encoder,
                    z,
                    windows=np.repeat(windows[:, None], len(wanted), axis=1),
                    spans=where,
                    meaning="order" if "regression" in kinds else "probability",
                    exclusive=len(one) == 1 and kinds == {"single"},
                )
            )
        return out

    def _cell(self, logits: Array, spans: list[tuple[int, int]], place: Place) -> tuple[float, tuple[int, int]]:
        """Log-odds and span of one label from the (windows, all classes) logits of a text."""
        head = self._heads[place.head]
        first = place.column - place.index
        if head.kind == "single":
            mean = logits[:, first : first + len(head.labels)].mean(axis=0)
            return float(class_log_odds(mean, place.index)), (spans[0][0], spans[-1][1])
        own: NDArray[np.float32] = logits[:, place.column]
        best = int(own.argmax())
        return float(own[best]), spans[best]

    @property
    def thresholds(self) -> dict[str, float]:
        """Probability from which a guard on a label fires, by its full name and by its short one."""
        short = {full.split(":", 1)[1]: t for full, t in self._thresholds.items()}
        return {**{name: t for name, t in short.items() if len(self._named(name)) == 1}, **self._thresholds}

    def _place(self, label: str | Label) -> Place:
        self._entailment_only([label])
        return self._places[self._full(as_label(label).text)]

    def _full(self, name: str) -> str:
        """``head:class`` for a label that may be written as the class alone."""
        found = [name] if name in self._places else self._named(name)
        if len(found) == 1:
            return found[0]
        if found:
            raise LabelError(f"label {name!r} is in several heads; say which: {found}.")
        near = get_close_matches(name, [*self._places, *(f.split(":", 1)[1] for f in self._places)], n=1, cutoff=0.0)
        raise UnknownLabelError(
            f"label {name!r} is not one this classifier was trained on; the nearest is {near[0]!r}, "
            f"all are {list(self._places)}."
        )

    def _named(self, name: str) -> list[str]:
        return [full for full in self._places if full.split(":", 1)[1] == name]


def named_heads(checkpoint: Checkpoint) -> dict[str, Head]:
    """The heads of a folder, from its files or the caller; CheckpointError where their classes have no names."""
    given: Json = checkpoint.settings.get("heads") or checkpoint.config.get("heads") or {}
    found = {
        name: Head(tuple(spec["labels"]), spec.get("type", "single"))
        for name, spec in given.items()
        if isinstance(spec, dict) and spec.get("labels")
    }
    if isinstance(checkpoint.classes, Mapping):
        found |= {name: Head(tuple(labels)) for name, labels in checkpoint.classes.items()}
    unnamed = [name for name in given if name not in found and checkpoint.classes is None]
    if not found or unnamed or isinstance(checkpoint.classes, tuple):
        trained = sorted({k.split(".")[1] for k in checkpoint.tensors if k.startswith("heads.")})
        raise CheckpointError(
            f"{checkpoint.folder} has heads {trained} and does not name the classes of all; pass them in the order "
            'of the logits: load(…, family="multi_head", classes={"sentiment": ["positive", "negative", "neutral"]}).'
        )
    return found
