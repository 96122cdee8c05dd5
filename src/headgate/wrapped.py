"""What scorers around other scorers share: they hand on all that they don't change."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed, named
from headgate.errors import DataError, LabelError, UnknownLabelError
from headgate.scores import Ask, Label, Scorer, Scores, as_label

Names = Sequence[str] | Mapping[str, str | Label]
Truth = str | Sequence[str] | None


class Wrapper(ABC):
    """A scorer around another one; what is here comes from the inner one.

    Thresholds that the inner scorer brings were chosen on its own numbers: a wrapper that gives
    others has none.
    """

    scorer: Scorer | None

    @property
    def joint(self) -> bool:
        """As the inner scorer's."""
        return False if self.scorer is None else self.scorer.joint

    @property
    def labels(self) -> tuple[str, ...] | None:
        """As the inner scorer's."""
        return None if self.scorer is None else self.scorer.labels

    @property
    def run(self) -> object:
        """How the inner scorer's model runs, where it says so."""
        return getattr(self.scorer, "run", None)

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        """Log-odds (n, m); see :class:`headgate.Scorer`."""
        return self.score_many([Ask(texts, labels)])[0]

    @abstractmethod
    def score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """Scores of several cross products, in one plan of the inner scorer."""

    def _changed(self, **parts: object) -> Self:
        """A twin with other parts that shares all the rest: nothing is embedded anew."""
        twin = copy(self)
        for name, value in parts.items():
            object.__setattr__(twin, name, value)
        return twin

    def split_label(self, label: str) -> list[str]:
        """As the inner scorer's, where it has one."""
        split = getattr(self.scorer, "split_label", None)
        if split is None:
            raise TypeError(f'{type(self.scorer).__name__} has no split_label, which long_query="windows" needs.')
        return list(split(label))

    def close(self) -> None:
        """Release the inner scorer's model."""
        close = getattr(self.scorer, "close", None)
        if close is not None:
            close()


@dataclass(frozen=True)
class Vocabulary:
    """The closed set of labels that a wrapper knows: a name each, and what the inner scorer reads.

    Attributes:
        names: What callers ask for.
        inner: What the inner scorer is asked, in the same order.
    """

    names: tuple[str, ...]
    inner: tuple[str | Label, ...]

    @classmethod
    def of(cls, labels: Names, scorer: Scorer | None) -> "Vocabulary":
        """Names, or names with a description or hypothesis for the scorer, which may know some labels only."""
        if isinstance(labels, str) or not isinstance(labels, Sequence | Mapping) or not labels:
            raise ValueError(f"labels is {labels!r}; expected names, or names with descriptions, at least one.")
        names = list(labels)
        named("label", names)
        inner = list(labels.values()) if isinstance(labels, Mapping) else list(names)
        said: dict[Label, str] = {}
        for name, label in zip(names, inner, strict=True):
            if not isinstance(label, str | Label) or not as_label(label).text.strip():
                raise ValueError(f"label {name!r} is described by {label!r}; expected words, or a Label.")
            twin = said.setdefault(as_label(label), name)
            if twin != name:
                raise ValueError(
                    f"labels {twin!r} and {name!r} have the same description; no text could tell them apart."
                )
        strange = said.keys() - {as_label(label) for label in (scorer and scorer.labels) or said}
        for label in inner:
            if as_label(label) in strange:
                raise UnknownLabelError(
                    f"{type(scorer).__name__} has a closed vocabulary without {as_label(label).text!r}."
                )
        return cls(tuple(names), tuple(inner))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def at(self) -> dict[str, int]:
        """Where each name stands."""
        return {name: j for j, name in enumerate(self.names)}

    @property
    def words(self) -> list[tuple[str, str, bool, str]]:
        """Names and what they stand for, as JSON can write them."""
        known = zip(self.names, map(as_label, self.inner), strict=True)
        return [(name, label.text, label.verbatim, label.relation) for name, label in known]

    def columns(self, labels: Sequence[str | Label]) -> NDArray[np.int64]:
        """(m,) where each label of an ask stands.

        Raises:
            UnknownLabelError: No such name.
            LabelError: Another relation than entailment.
        """
        if tuple(labels) == self.names:  # all of them, as a router asks: nothing to look up
            return np.arange(len(self.names))
        for label in labels:
            if as_label(label).text not in self.at:
                raise UnknownLabelError(
                    f"label {as_label(label).text[:60]!r} is none of the {len(self.names)} known, such as "
                    f"{list(self.names[:3])}; ask for names: what describes them was given with the names."
                )
            if as_label(label).relation != "entailment":
                raise LabelError(
                    f"label {as_label(label).text!r} asks for {as_label(label).relation}; expected entailment. "
                    'Describe a name by Label(…, relation="contradiction") to have its contradiction scored.'
                )
        return np.array([self.at[as_label(label).text] for label in labels], dtype=np.int64)

    def utterances(self, examples: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
        """The example utterances of each name, in order; () for those that have none.

        Raises:
            ValueError: A name nobody knows, a blank utterance, or one that comes twice for a name.
            TypeError: No mapping from names to lists of strings.
        """
        if not isinstance(examples, Mapping):
            raise TypeError(f"examples is {type(examples).__name__}; expected a mapping: label -> list of utterances.")
        for name, given in examples.items():
            if name not in self.at:
                raise ValueError(f"examples has {name!r}, which is no label; expected some of {list(self.names[:5])}.")
            said = listed(f"examples[{name!r}]", given)
            for i, text in enumerate(said):
                if not isinstance(text, str) or not text.strip():
                    raise ValueError(f"examples[{name!r}][{i}] is {text!r}; expected an utterance.")
                if normalized(text) in {normalized(t) for t in said[:i]}:
                    raise ValueError(f"examples[{name!r}][{i}], {text[:60]!r}, came before; give each utterance once.")
        return [tuple(examples.get(name, ())) for name in self.names]

    def true_of(self, texts: Sequence[str], truths: Sequence[Truth]) -> list[list[int]]:
        """Which labels are true of each text, by place; [] where none is.

        Raises:
            ValueError: Not as many truths as texts, or none.
            DataError: A text that is none or blank, or a truth that is no label; the message says which row.
        """
        texts, truths = listed("texts", texts), listed("truths", truths)
        if len(texts) != len(truths) or not texts:
            raise ValueError(f"{len(texts)} texts and {len(truths)} truths; expected as many, and at least one.")
        return [self._row(i, text, truth) for i, (text, truth) in enumerate(zip(texts, truths, strict=True))]

    def _row(self, i: int, text: str, truth: Truth) -> list[int]:
        if not isinstance(text, str) or not text.strip():
            raise DataError(f"text {i} is {text!r}; expected words.")
        true = [] if truth is None else [truth] if isinstance(truth, str) else truth
        if not isinstance(true, list | tuple):
            raise DataError(f"truth {i} is {truth!r}; expected a label, a list of labels, or None for none of them.")
        for name in true:
            if not isinstance(name, str) or name not in self.at:
                raise DataError(f"truth {i} is {name!r}, which is no label; expected some of {list(self.names[:5])}.")
        return [self.at[name] for name in dict.fromkeys(true)]


def normalized(text: str) -> str:
    """The words of a text, whatever its case and spaces: what makes two of them the same."""
    return " ".join(text.split()).casefold()


def digest(*parts: object) -> str:
    """A short hash of parts that JSON can write."""
    return hashlib.sha256(json.dumps(parts, default=repr).encode()).hexdigest()[:12]
