"""GLiClass with a tower for texts and one for labels.

    bi-encoder          [CLS] text [SEP]                            and  [CLS] label [SEP], each by itself
    bi-encoder-fused    [CLS] <<LABEL>> <<LABEL>> <<SEP>> text [SEP]  with the labels' vectors for their markers

A bi-encoder judges each label by itself, so it is not joint, unless its scorer or its calibrator lets labels compete;
every text and label of a call is read once, and ``cached()`` remembers both. In the fused kind labels see one another.

The label tower has a tokenizer of its own, which published folders leave at the repository that ``label_model_name``
names. It is looked for here, and nothing is downloaded: in the folder that scorer.json calls ``label_tokenizer``, else
in the subfolder ``label_tokenizer``, else in the folder ``label_model_name``.

Source: gliclass 0.1.21, ``pipeline.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar, cast

import numpy as np

from headgate.errors import CheckpointError, LabelTooLongError
from headgate.families.base import Core, Encoder, Family, core
from headgate.families.folding import Spot, strongest
from headgate.families.gliclass import GLiClassScorer, deal
from headgate.families.gliclass_files import fill, length, reach, tokenizers
from headgate.models.checkpoint import Checkpoint
from headgate.models.gliclass_config import GLiClassConfig
from headgate.models.gliclass_towers import BiEncoder, Compare, Fused, comparison
from headgate.runtime.batching import Ids, Row
from headgate.runtime.tokenizer import Tokenizer
from headgate.runtime.windows import characters, cut, windows
from headgate.scores import Ask, Scores, as_label

Model = TypeVar("Model", BiEncoder, Fused)


class LabelReader(NamedTuple):
    """How labels become rows of the label tower.

    tokenizer: Its own · max_length: Tokens that the tower reads.
    """

    tokenizer: Tokenizer
    max_length: int

    def row(self, ids: Ids, label: str) -> Ids:
        """A label with its special tokens, whole.

        Raises:
            LabelTooLongError: The tower reads less.
        """
        found = self.tokenizer.single.row(ids).ids
        if len(found) > self.max_length:
            raise LabelTooLongError(
                f"label {label[:60]!r}… takes {len(found)} tokens; expected at most {self.max_length}, which is what "
                'the label encoder reads. Shorten it; a reranker may split a long query: long_query="windows".'
            )
        return found

    def split(self, label: str, template: str) -> list[str]:
        """The parts of a long label that the tower reads, each within the template, in order."""
        encoded, around = self.tokenizer.encode([label, template.replace("{}", "")])
        room = self.max_length - self.tokenizer.single.size - len(around.ids)
        spans = [characters(encoded.offsets, a, b, encoded.length) for a, b in windows(len(encoded.ids), room, 0)]
        return [label[a:b] for a, b in spans]


class BiEncoderGLiClassScorer(Family):
    """Compares a vector of each text with one of each label; long texts in windows, of which the strongest counts.

    Args:
        parts: Tokenizer of texts, and forward: rows of texts (token types 0) and of labels (1) to vectors.
        config: Whether labels compete.
        compare: Vectors to logits.
        labels: How labels are read.
    """

    def __init__(self, parts: Core, config: GLiClassConfig, compare: Compare, labels: LabelReader) -> None:
        super().__init__(parts)
        self.joint = config.joint
        self._compare = compare
        self._labels = labels

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A published folder, with the tokenizer of its labels.

        Raises:
            CheckpointError: That tokenizer is missing, or weights that don't fit.
        """
        config = GLiClassConfig.from_dict(checkpoint.config)
        model, labels, identity = _towers(checkpoint, config, BiEncoder)
        forward = checkpoint.forward(lambda batch: model(batch.ids, batch.mask, batch.types), model)
        parts = core(checkpoint, forward, template="{}", identity=identity)
        parts = replace(parts, types=False, max_length=length(checkpoint))
        return cls(parts, config, comparison(model.head(), checkpoint.device), labels)

    def split_label(self, label: str) -> list[str]:
        """The parts of a long query that the label tower reads, in order."""
        return self._labels.split(label, self._core.template)

    def _score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        texts, labels = self._encoder(asks), Encoder(self._labels.tokenizer)
        labels.add([self._render(label) for ask in asks for label in ask.labels])
        single = self._core.tokenizer.single
        room = self._core.max_length - single.size
        rows: list[Row] = []
        places: list[list[tuple[int, tuple[int, int]]]] = []  # of each ask's windows: which text, which characters
        for ask in asks:
            self._entailment_only(ask.labels)
            told = [self._labels.row(labels[self._render(x)].ids, as_label(x).text) for x in ask.labels]
            pieces = [(i, window) for i, text in enumerate(ask.texts) for window in cut(texts[text], room)]
            read = [single.row(window.ids).ids for _, window in pieces]
            rows += [Row(ids, np.ones_like(ids)) for ids in told] + [Row(ids, np.zeros_like(ids)) for ids in read]
            places.append([(i, window.span) for i, window in pieces])
        vectors = iter(self._core.forward(rows))
        spots: list[Spot] = []
        found: list[float] = []
        for k, ask in enumerate(asks):
            c, t = ([next(vectors) for _ in some] for some in (ask.labels, places[k]))
            if c and t:
                found += self._compare(np.stack(t), np.stack(c)).ravel().tolist()
                spots += [Spot(k, i, j, span) for i, span in places[k] for j in range(len(ask.labels))]
        return strongest(asks, texts, spots, found, "probability")


class FusedGLiClassScorer(GLiClassScorer):
    """As the uni-encoder, but a label takes one token of the text's row, and is read by a tower of its own.

    Args:
        parts: As of :class:`~headgate.families.gliclass.GLiClassScorer`.
        config: The same.
        labels: How labels are read.
    """

    def __init__(self, parts: Core, config: GLiClassConfig, labels: LabelReader) -> None:
        super().__init__(parts, config, labels.tokenizer)
        self._reader = labels

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A published folder, with the tokenizer of its labels.

        Raises:
            CheckpointError: That tokenizer is missing, or weights and markers that don't fit.
        """
        config = GLiClassConfig.from_dict(checkpoint.config)
        model, labels, identity = _towers(checkpoint, config, Fused)
        texts, _ = tokenizers(checkpoint, config, text_first=not config.prompt_first)
        forward = checkpoint.forward(lambda batch: model(batch.ids, batch.mask, batch.types), model)
        parts = core(checkpoint, forward, template="{}", identity=identity)
        return cls(replace(parts, tokenizer=texts, types=False, max_length=length(checkpoint)), config, labels)

    def split_label(self, label: str) -> list[str]:
        """The parts of a long query that the label tower reads, in order."""
        return self._reader.split(label, self._core.template)

    def _prompts(self, ask: Ask, labels: Encoder) -> list[range]:
        for label in ask.labels:
            self._reader.row(labels[self._render(label)].ids, as_label(label).text)
        taken = self._taken(self._core.tokenizer.single.size + 1)  # and the text marker
        return deal([1] * len(ask.labels), self._core.max_length - taken)

    def _frame(self, labels: Sequence[Ids]) -> tuple[Callable[[Ids], Row], int]:
        told = [self._labels.single.row(ids).ids for ids in labels]
        marks = self._prompt([ids[:0] for ids in labels])
        kinds = np.repeat(np.arange(1, len(told) + 1, dtype=np.int32), [len(ids) for ids in told])

        def row(text: Ids) -> Row:
            first = self._row(marks, text).ids
            return Row(np.concatenate([first, *told]), np.concatenate([np.zeros_like(first), kinds]))

        return row, self._core.max_length - self._core.tokenizer.single.size - len(marks)


def _towers(checkpoint: Checkpoint, config: GLiClassConfig, kind: type[Model]) -> tuple[Model, LabelReader, object]:
    """The model, how its labels are read, and what else makes its numbers what they are."""
    texts, labels = (checkpoint.config.get(key) for key in ("encoder_config", "label_model_config"))
    if not isinstance(texts, dict) or not isinstance(labels, dict):
        raise CheckpointError(
            f"{checkpoint.folder} is a {config.architecture}; expected encoder_config and label_model_config in its "
            "config.json, since both towers are built from there."
        )
    place = _label_folder(checkpoint)
    encoder = checkpoint.encoder(texts, "model.encoder_model.")
    label_encoder = checkpoint.encoder(labels, "model.label_encoder.")
    model = fill(kind(encoder, label_encoder, config), checkpoint)
    reader = LabelReader(Tokenizer.from_folder(place), reach(cast(Any, label_encoder.config), place))
    return model, reader, (config, hashlib.sha256((place / "tokenizer.json").read_bytes()).hexdigest())


def _label_folder(checkpoint: Checkpoint) -> Path:
    """Where the tokenizer of the label tower is."""
    name, said = checkpoint.config.get("label_model_name"), checkpoint.settings.get("label_tokenizer")
    names = [said] if said else ["label_tokenizer", *([name] if name else [])]
    for place in (checkpoint.folder / str(n) for n in names):
        if (place / "tokenizer.json").is_file():
            return place
    raise CheckpointError(
        f"{checkpoint.folder} lacks the tokenizer of its label encoder, {name}; expected tokenizer.json in "
        f"{' or '.join(map(repr, names))} there. Fetch it: hf download {name} tokenizer.json tokenizer_config.json "
        f"--local-dir {checkpoint.folder / 'label_tokenizer'}"
    )
