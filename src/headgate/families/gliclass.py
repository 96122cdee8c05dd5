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

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from headgate.errors import CheckpointError
from headgate.families.base import LEAST_ROOM, Core, Encoder, Family, Spot, core, cut, strongest
from headgate.models.checkpoint import Checkpoint, Json, read_json
from headgate.models.gliclass import GLiClass, GLiClassConfig
from headgate.runtime.batching import Ids, Row
from headgate.runtime.tokenizer import Tokenizer, read_tokenizer
from headgate.scores import Ask, Scores, as_label

PUBLISHED_LENGTH = 1024
"""Tokens that the published pipeline reads where nobody says otherwise, whatever the encoder."""


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
        self.joint = not config.isolate_labels
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
        model = _model(checkpoint, config) if own is None else _part(checkpoint, config)
        texts, labels = _tokenizers(checkpoint, config)
        forward = checkpoint.forward(lambda batch: model(batch.ids, batch.mask, batch.types))
        parts = core(checkpoint, forward, template="{}", identity=config)
        # Rows carry no token types: the pipeline's are all of the first kind, which models assume.
        parts = replace(parts, tokenizer=texts, types=False, max_length=_length(checkpoint))
        return cls(parts, config, labels)

    def _score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """See :class:`headgate.Scorer`.

        Raises:
            LabelTooLongError: A label leaves the text less than a quarter of the model's length.
            LabelError: Contradiction asked of a model that knows only true and not true.
        """
        texts, labels = self._encoder(asks), Encoder(self._labels)
        labels.add([self._render(label) for ask in asks for label in ask.labels])
        rows: list[Row] = []
        spots: list[list[Spot]] = []
        for k, ask in enumerate(asks):
            self._entailment_only(ask.labels)
            for group in self._prompts(ask, labels):
                prompt = self._prompt([labels[self._render(ask.labels[j])].ids for j in group])
                beside = 1 if self._config.isolate_labels else len(prompt)
                room = self._core.max_length - self._core.tokenizer.single.size - beside
                for i, text in enumerate(ask.texts):
                    for ids, span, _ in cut(texts[text], room):
                        rows.append(self._row(prompt, ids))
                        spots.append([Spot(k, i, j, span) for j in group])
        logits = self._core.forward(rows)
        log_odds = [float(x) for row, found in zip(spots, logits, strict=True) for _, x in zip(row, found, strict=True)]
        return strongest(asks, texts, [spot for row in spots for spot in row], log_odds, "probability")

    def _prompts(self, ask: Ask, labels: Encoder) -> list[range]:
        """Which labels share a prompt."""
        frame = self._core.tokenizer.single.size + 1  # and the text marker
        costs = [1 + len(labels[self._render(label)].ids) for label in ask.labels]
        for label, cost in zip(ask.labels, costs, strict=True):
            self._room(frame + cost, as_label(label).text)
        least = -(-self._core.max_length // LEAST_ROOM)
        taken = 0 if self._config.isolate_labels else least + frame  # the text then has room of its own
        alloc, most = self._config.max_labels_alloc, self._config.max_num_classes
        limit = None if alloc == "dynamic" else alloc if isinstance(alloc, int) else most
        return deal(costs, self._core.max_length - taken, limit)

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
    model = GLiClass(checkpoint.encoder(inner, encoder), config)
    weights = {k: v.float() for k, v in checkpoint.part(rest).items() if not k.startswith("encoder_model.")}
    try:
        found = model.load_state_dict(weights, strict=False)
    except RuntimeError as e:  # shapes that differ
        raise CheckpointError(f"the weights in {checkpoint.folder} don't fit its config.json: {e}") from e
    missing = [k for k in found.missing_keys if not k.startswith("encoder_model.")]
    if missing or found.unexpected_keys:
        raise CheckpointError(
            f"{checkpoint.folder} lacks {missing[:3] or 'nothing'} and has {found.unexpected_keys[:3] or 'nothing'} "
            f"beyond what its config.json describes (scorer_type {config.scorer_type!r}); expected weights that fit it."
        )
    model.requires_grad_(False)
    return model.to(checkpoint.device).eval()


def _length(checkpoint: Checkpoint) -> int:
    """Tokens of the longest row: what somebody asked for, else the pipeline's length or what is shorter."""
    given = checkpoint.settings.get("max_length") if checkpoint.max_length is None else checkpoint.max_length
    if given is not None:
        return checkpoint.length
    if getattr(checkpoint.body, "position_biased_input", True):
        return min(PUBLISHED_LENGTH, checkpoint.length)
    # DeBERTa-v2 and v3 know relative positions only: the 512 in their configuration is no limit.
    path = checkpoint.folder / "tokenizer_config.json"
    said = read_json(path).get("model_max_length") if path.is_file() else None
    return int(min(PUBLISHED_LENGTH, said)) if isinstance(said, int | float) and said > 0 else PUBLISHED_LENGTH


def _tokenizers(checkpoint: Checkpoint, config: GLiClassConfig) -> tuple[Tokenizer, Tokenizer]:
    """The folder's tokenizer as it reads texts and labels where they stand; neither can write a marker."""
    path = checkpoint.folder / "tokenizer.json"
    state = read_json(path)
    rust = read_tokenizer(path)
    added = {t["id"]: t["content"] for t in state["added_tokens"]}
    markers = []
    for name in ("class_token_index", "text_token_index"):
        index = getattr(config, name)
        token = added.get(index) or rust.id_to_token(index)  # which shows an added one as the normalizer leaves it
        if token is None:
            raise CheckpointError(f"config.json has {name}: {index}; expected an id of {path}.")
        markers.append(token)
    whole = Tokenizer(rust, markers=markers)
    inside = _inside(state.get("pre_tokenizer"))
    if inside == state.get("pre_tokenizer"):
        return whole, whole
    labels = Tokenizer(RustTokenizer.from_str(json.dumps({**state, "pre_tokenizer": inside})), markers=markers)
    return labels if config.prompt_first else whole, labels


def _inside(step: Json | None) -> Json | None:
    """A pre-tokenizer as it works behind the start of a string."""
    if step is None:
        return None
    if step["type"] == "Sequence":
        return {**step, "pretokenizers": [_inside(s) for s in step["pretokenizers"]]}
    if step["type"] == "Metaspace" and step.get("prepend_scheme") == "first":
        return {**step, "prepend_scheme": "never"}
    return step
