"""NLI cross-encoders and one-logit rankers: text and label in one row.

NLI models read (premise = text, hypothesis = rendered label) and end in two or three classes whose
order differs from checkpoint to checkpoint, so classes are found by name. Rankers read
(query = label, passage = text) and end in one logit, which is an order until it is calibrated.

Sources: huggingface/transformers v5.23 ``pipelines/zero_shot_classification.py`` (the pairing; it
takes the contradiction class by position, we by name), MoritzLaurer/zeroshot-classifier (training).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from headgate.errors import CheckpointError, LabelError
from headgate.families.base import Core, Family, core
from headgate.families.folding import Spot, strongest
from headgate.models.calls import class_logits, head_logits, multi_head
from headgate.models.checkpoint import Checkpoint, Json
from headgate.runtime.batching import Array, Row
from headgate.runtime.windows import cut
from headgate.scores import Ask, Floats, Scores, as_label, class_log_odds

RELEVANCE = "relevance"


@dataclass(frozen=True)
class Classes:
    """Which logit means what.

    Attributes:
        names: Class names, in the order of the logits; ("relevance",) for a ranker.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.names == (RELEVANCE,):
            return
        if len(self.names) not in (2, 3) or sum(n.lower().startswith("entail") for n in self.names) != 1:
            raise CheckpointError(
                f"the classes are {list(self.names)}; expected two or three of which one starts with 'entail'. "
                'Say which logit is what: load(…, classes=["contradiction", "neutral", "entailment"]) in the '
                'order of the logits, or classes=["relevance"] for a ranker with one logit.'
            )

    @property
    def ranker(self) -> bool:
        """True for the one logit of a ranker."""
        return self.names == (RELEVANCE,)

    def index(self, relation: str) -> int:
        """The logit of "entailment" or "contradiction", by name.

        Of two classes the one that isn't entailment is the contradiction, whatever it is called.
        """
        lower = [n.lower() for n in self.names]
        entailment = next(i for i, n in enumerate(lower) if n.startswith("entail"))
        if relation == "entailment":
            return entailment
        if len(lower) == 2:
            return 1 - entailment
        for i, name in enumerate(lower):
            if name.startswith("contrad"):
                return i
        raise LabelError(f"relation='contradiction' needs a class of that name; the model has {list(self.names)}.")


def class_names(config: Json) -> tuple[str, ...]:
    """The class names of a config.json in the order of the logits; () if it names none.

    The one logit of a model that sentence-transformers saved as a ranker is "relevance".
    """
    named = config.get("id2label") or {}
    names = tuple(str(named[k]) for k in sorted(named, key=int))
    if len(names) == 1 and (config.get("sentence_transformers") or "sbert_ce_default_activation_function" in config):
        return (RELEVANCE,)
    return () if all(n.upper().startswith("LABEL_") for n in names) else names


class CrossEncoder(Family):
    """Judges every (text, label) pair in a row of its own; a long text in several.

    Args:
        parts: Tokenizer, forward (rows to (classes,) logits), template, lengths.
        classes: What the logits mean.
        label_first: True if rows are (label, text); None is as rankers and NLI have it.
    """

    def __init__(self, parts: Core, classes: Classes, *, label_first: bool | None = None) -> None:
        super().__init__(parts)
        self._classes = classes
        self._label_first = classes.ranker if label_first is None else label_first

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits; ("relevance",) for a ranker."""
        return self._classes.names

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A ``*ForSequenceClassification`` folder, or a head of a multi-part one.

        Raises:
            CheckpointError: Nothing says which logit means what, or which template was learned.
        """
        if isinstance(checkpoint.classes, Mapping):
            raise CheckpointError(f"classes is {checkpoint.classes}; a cross-encoder expects one list of names.")
        said = checkpoint.classes or checkpoint.settings.get("classes", ())
        names = tuple(said) or class_names(checkpoint.config)
        if not names:
            raise CheckpointError(
                f"{checkpoint.folder} does not name its classes; say which logit is what, in order: "
                'load(…, classes=["contradiction", "neutral", "entailment"]), or ["relevance"] for a ranker.'
            )
        classes = Classes(names)
        head = checkpoint.settings.get("head")
        if head is None:
            model = checkpoint.classifier(len(names))
            forward = checkpoint.forward(class_logits(model), model)
        else:
            heads = multi_head(checkpoint, {head: len(names)})
            forward = checkpoint.forward(head_logits(heads, [head]), heads)
        template = "{}" if classes.ranker else None
        return cls(core(checkpoint, forward, template=template, identity=names), classes)

    def _score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """See :class:`headgate.Scorer`; NLI gives probabilities, rankers an order.

        Raises:
            LabelTooLongError: A label leaves the text less than a quarter of the model's length.
            LabelError: Contradiction asked of a model without that class.
        """
        encoder = self._encoder(asks)
        encoder.add([self._render(label) for ask in asks for label in ask.labels])
        rows: list[Row] = []
        spots: list[Spot] = []
        columns: list[int] = []
        pair = self._core.tokenizer.pair
        for k, ask in enumerate(asks):
            for j, label in enumerate(ask.labels):
                hypothesis = encoder[self._render(label)].ids
                room = self._room(len(hypothesis) + pair.size, as_label(label).text)
                column = self._column(as_label(label).relation)
                for i, text in enumerate(ask.texts):
                    for ids, span, _ in cut(encoder[text], room):
                        first, second = (hypothesis, ids) if self._label_first else (ids, hypothesis)
                        rows.append(pair.row(first, second, types=self._core.types))
                        spots.append(Spot(k, i, j, span))
                        columns.append(column)
        log_odds = self._log_odds(self._core.forward(rows), np.array(columns, dtype=np.int64))
        return strongest(asks, encoder, spots, log_odds, "order" if self._classes.ranker else "probability")

    def _column(self, relation: str) -> int:
        if not self._classes.ranker:
            return self._classes.index(relation)
        if relation != "entailment":
            raise LabelError("a ranker has one logit, relevance; only NLI cross-encoders read contradiction.")
        return 0

    def _log_odds(self, logits: Sequence[Array], columns: NDArray[np.int64]) -> Floats:
        z = np.stack(logits) if len(logits) else np.zeros((0, len(self._classes.names)), np.float32)  # (rows, classes)
        if self._classes.ranker:
            return z[:, 0]
        out = np.empty(len(z), dtype=np.float32)
        for column in set(columns.tolist()):
            at = columns == column
            out[at] = class_log_odds(z[at], column)
        return out
