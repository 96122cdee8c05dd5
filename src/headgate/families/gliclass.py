"""GLiClass: all labels and a text in one prompt, one logit a label.

    [CLS] <<LABEL>> label <<LABEL>> label <<SEP>> text [SEP]        (or the text first)

The labels of a prompt see one another, so the scorer is *joint*. Its raw logits are the log-odds;
there is never a softmax over the user's labels.

With ``isolate_labels``, ours alone, no label sees another, and the scorer is not joint: a label's log-odds are the same
in any order and company. Labels and text then have room of their own in a row, each as long as the model reads.

Labels are never cut. Where they don't fit beside a quarter of the model's length, they are dealt out,
in the caller's order, over the fewest prompts that hold them, as evenly as can be in tokens. How
depends on the labels alone, so every text of a call is judged by the same prompts.

Prompts are put together from ids. The published pipeline tokenises one joined string, in which a
``<<LABEL>>`` inside a text is one label more; here what a user writes can't be a marker. The ids are
the pipeline's all the same, since tokenizers read what stands between two special tokens by itself.
One part of them does look around, a Metaspace that begins only the *first* piece with a space: labels,
and a text behind them, are never first, and are read without that space.

Source: Knowledgator/GLiClass@40baa67, ``pipeline.py``, and arXiv 2508.07662.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Self

import numpy as np

from headgate.errors import CheckpointError
from headgate.families.base import LEAST_ROOM, Core, Encoder, Family, core
from headgate.families.folding import Spot, columns_of, strongest, together
from headgate.families.gliclass_files import fill, length, tokenizers
from headgate.models.checkpoint import Checkpoint, Json
from headgate.models.gliclass import ISOLATED, GLiClass, GLiClassConfig, reads_layers
from headgate.runtime.batching import Ids, Row
from headgate.runtime.tokenizer import Tokenizer
from headgate.runtime.windows import cut
from headgate.scores import Ask, Scores, as_label


class GLiClassScorer(Family):
    """Judges a text by all labels at once; a long text in windows, many labels in several prompts.

    Args:
        parts: Tokenizer of texts, forward (rows to (labels,) logits), template, lengths.
        config: The markers, which of labels and text comes first, and how many labels a row takes.
        labels: Tokenizer of labels; None takes that of the texts.
    """

    joint = True

    def __init__(self, parts: Core, config: GLiClassConfig, labels: Tokenizer | None = None) -> None:
        super().__init__(parts)
        self.joint = config.joint
        self._config = config
        self._labels = labels or parts.tokenizer

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A published folder, or a part of one whose settings hold its ``config``.

        Raises:
            CheckpointError: Another architecture, or weights, markers and tokenizer that don't fit.
        """
        own = checkpoint.settings.get("config")
        config = GLiClassConfig.from_dict(checkpoint.config if own is None else own)
        if config.architecture not in ("uni-encoder", ISOLATED):
            raise CheckpointError(
                f"architecture_type is {config.architecture!r}; expected a uni-encoder, which alone can be trained and "
                "be part of a folder. load(…) reads a published folder of the others."
            )
        model = _model(checkpoint, config) if own is None else _part(checkpoint, config)
        texts, labels = tokenizers(checkpoint, config, text_first=not config.prompt_first)
        forward = checkpoint.forward(lambda batch: model(batch.ids, batch.mask, batch.types), model)
        parts = core(checkpoint, forward, template="{}", identity=config)
        # Rows carry no token types: the pipeline's are all of the first kind, which models assume.
        parts = replace(parts, tokenizer=texts, types=False, max_length=length(checkpoint))
        return cls(parts, config, labels)

    def _score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """See :class:`headgate.Scorer`.

        Raises:
            LabelTooLongError: A label leaves the text less than a quarter of the model's length.
            LabelError: Contradiction asked of a model that knows only true and not true.
        """
        if self._config.isolate_labels and len(asks) > 1:  # then whatever is asked of a text takes one row
            joined, places = together(asks)
            found = self._prompted(joined)
            return [columns_of(found[k], at) for k, at in places]
        return self._prompted(asks)

    def _prompted(self, asks: Sequence[Ask]) -> list[Scores]:
        texts, labels = self._encoder(asks), Encoder(self._labels)
        labels.add([self._render(label) for ask in asks for label in ask.labels])
        rows: list[Row] = []
        spots: list[list[Spot]] = []
        for k, ask in enumerate(asks):
            self._entailment_only(ask.labels)
            for group in self._prompts(ask, labels):
                row, room = self._frame([labels[self._render(ask.labels[j])].ids for j in group])
                for i, text in enumerate(ask.texts):
                    for ids, span, _ in cut(texts[text], room):
                        rows.append(row(ids))
                        spots.append([Spot(k, i, j, span) for j in group])
        logits = self._core.forward(rows)
        log_odds = [float(x) for row, found in zip(spots, logits, strict=True) for _, x in zip(row, found, strict=True)]
        return strongest(asks, texts, [spot for row in spots for spot in row], log_odds, "probability")

    def _frame(self, labels: Sequence[Ids]) -> tuple[Callable[[Ids], Row], int]:
        """What puts a text beside these labels, and how many tokens of it there is room for."""
        prompt = self._prompt(labels)
        beside = 1 if self._config.isolate_labels else len(prompt)
        return partial(self._row, prompt), self._core.max_length - self._core.tokenizer.single.size - beside

    def _prompts(self, ask: Ask, labels: Encoder) -> list[range]:
        """Which labels share a prompt."""
        frame = self._core.tokenizer.single.size + 1  # and the text marker
        costs = [1 + len(labels[self._render(label)].ids) for label in ask.labels]
        for label, cost in zip(ask.labels, costs, strict=True):
            self._room(frame + cost, as_label(label).text)
        return deal(costs, self._core.max_length - self._taken(frame), self._config.most_labels)

    def _taken(self, frame: int) -> int:
        """Tokens of the model's length that labels can't have, ``frame`` special ones among them."""
        least = -(-self._core.max_length // LEAST_ROOM)
        return 0 if self._config.isolate_labels else least + frame  # the text then has room of its own

    def _prompt(self, labels: Sequence[Ids]) -> Ids:
        """A class marker and a label, for each, and the text marker."""
        mark = np.array([self._config.class_token_index], dtype=np.int32)
        end = np.array([self._config.text_token_index], dtype=np.int32)
        return np.concatenate([part for label in labels for part in (mark, label)] + [end])

    def _row(self, prompt: Ids, text: Ids) -> Row:
        order = (prompt, text) if self._config.prompt_first else (text, prompt)
        return self._core.tokenizer.single.row(np.concatenate(order))


def deal(costs: Sequence[int], room: int, most: int | None = None) -> list[range]:
    """Split a list, in its order, into the fewest runs that fit, as even as can be.

    Args:
        costs: Tokens of each item, each at most ``room``.
        room: Tokens that fit a run.
        most: Items that fit a run; None for any number.
    """
    if not costs:
        return []
    fewest = len(_fill(costs, room, most))
    low, high = max(costs), room
    while low < high:  # the least room that needs no more runs: its longest run is as short as can be
        middle = (low + high) // 2
        low, high = (low, middle) if len(_fill(costs, middle, most)) == fewest else (middle + 1, high)
    return _fill(costs, high, most)


def _fill(costs: Sequence[int], room: int, most: int | None) -> list[range]:
    cuts, spent = [0], 0
    for i, cost in enumerate(costs):
        if spent + cost > room or i - cuts[-1] == most:
            cuts.append(i)
            spent = 0
        spent += cost
    return [range(a, b) for a, b in zip(cuts, [*cuts[1:], len(costs)], strict=True)]


def _model(checkpoint: Checkpoint, config: GLiClassConfig) -> GLiClass:
    """The model of a published folder."""
    inner = dict(checkpoint.config.get("encoder_config") or {})
    vocabulary = checkpoint.config.get("vocab_size")
    if vocabulary is not None:  # the encoder's own may not count the markers
        inner["vocab_size"] = vocabulary
    return _filled(checkpoint, config, inner, "model.encoder_model.", "model.")


def _part(checkpoint: Checkpoint, config: GLiClassConfig) -> GLiClass:
    """The model of a part, on the backbone that all parts share."""
    return _filled(checkpoint, config, checkpoint.config.get("backbone", checkpoint.config), "backbone.", "gliclass.")


def _filled(checkpoint: Checkpoint, config: GLiClassConfig, inner: Json, encoder: str, rest: str) -> GLiClass:
    """The encoder under one prefix, everything else, in float32, under another."""
    if config.isolate_labels and checkpoint.backend == "onnx":
        raise CheckpointError(
            f'{checkpoint.folder} isolates its labels, layer by layer; expected a joint GLiClass for backend="onnx", '
            'which runs an encoder as a whole. Load it with backend="torch".'
        )
    body = checkpoint.encoder(inner, encoder, plain=reads_layers(config))
    weighed = checkpoint.part(f"{rest}layer_wise_attention.").get("W1.weight")
    return fill(GLiClass(body, config, None if weighed is None else weighed.shape[1]), checkpoint, rest)
