"""GLiClass: all labels and a text in one prompt, one logit a label.

    [CLS] <<LABEL>> label <<LABEL>> label <<SEP>> text [SEP]        (or the text first)

The labels of a prompt see one another, so the scorer is *joint*. Its raw logits are the log-odds;
there is never a softmax over the user's labels.

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
from uuid import uuid4

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from headgate.errors import CheckpointError
from headgate.families.base import LEAST_ROOM, Core, Encoder, Family, Spot, core, cut, strongest
from headgate.models.checkpoint import Checkpoint, Json, read_json
from headgate.models.gliclass import GLiClass, GLiClassConfig
from headgate.runtime.batching import Ids, Row
from headgate.runtime.tokenizer import Tokenizer
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
        inner = _plain_tokenizer(checkpoint, config, first=False)
        outer = inner if config.prompt_first else _plain_tokenizer(checkpoint, config, first=True)
        forward = checkpoint.forward(lambda batch: model(batch.ids, batch.mask, batch.types))
        parts = core(_with_length(checkpoint, model), forward, template="{}", identity=config)
        # Rows carry no token types: the pipeline's are all of the first kind, which models assume.
        return cls(replace(parts, tokenizer=outer, types=False), config, inner)

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
                room = self._core.max_length - self._core.tokenizer.single.size - len(prompt)
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
        return deal(costs, self._core.max_length - least - frame, self._config.max_labels)

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
    inner = {"model_type": "deberta-v2", **(checkpoint.config.get("encoder_config") or {})}
    vocabulary = checkpoint.config.get("vocab_size")
    if vocabulary is not None:  # the encoder's own may not count the markers
        inner["vocab_size"] = vocabulary
    return _filled(checkpoint, config, inner, "model.encoder_model.", "model.")


def _part(checkpoint: Checkpoint, config: GLiClassConfig) -> GLiClass:
    """The model of a part, on the backbone that all parts share."""
    return _filled(checkpoint, config, checkpoint.config.get("backbone", checkpoint.config), "backbone.", "gliclass.")


def _filled(checkpoint: Checkpoint, config: GLiClassConfig, inner: Json, encoder: str, rest: str) -> GLiClass:
    """The encoder under one prefix, everything else, in float32, under another."""
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


def _with_length(checkpoint: Checkpoint, model: GLiClass) -> Checkpoint:
    """The checkpoint with a length that the encoder has positions for."""
    limits = [PUBLISHED_LENGTH]
    for name, module in model.encoder_model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            # RoBERTa and its kin count positions from the padding id on.
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    wanted = checkpoint.max_length or checkpoint.settings.get("max_length")
    if wanted is not None:
        if len(limits) > 1 and wanted > limits[1]:
            raise CheckpointError(f"max_length is {wanted}; expected at most the encoder's {limits[1]} positions.")
        return checkpoint
    path = checkpoint.folder / "tokenizer_config.json"
    said = read_json(path).get("model_max_length") if path.is_file() else None
    if isinstance(said, int | float) and said > 0:
        limits.append(int(said))
    return replace(checkpoint, settings={**checkpoint.settings, "max_length": min(limits)})


def _plain_tokenizer(checkpoint: Checkpoint, config: GLiClassConfig, *, first: bool) -> Tokenizer:
    """The folder's tokenizer, in which nothing that a user writes is a special token or a marker.

    Telling it to leave special tokens alone is not enough: a Unigram model (DeBERTa-v3, T5) finds
    ``[SEP]`` in its own vocabulary, and markers may have been added as plain tokens. So they all get
    names that nobody can write; their ids stay.

    Args:
        checkpoint: The folder.
        config: The ids of the markers.
        first: Whether what it reads stands at the beginning of a row.
    """
    path = checkpoint.folder / "tokenizer.json"
    state = read_json(path)
    rust = RustTokenizer.from_str(json.dumps(state))
    hidden = {t["content"] for t in state["added_tokens"] if t["special"]}
    for name in ("class_token_index", "text_token_index"):
        token = rust.id_to_token(getattr(config, name))
        if token is None:
            raise CheckpointError(
                f"config.json has {name}: {getattr(config, name)}, and {path} has no such id; expected the marker's."
            )
        hidden.add(token)
    secret = uuid4().hex
    _rename(state, {token: token + secret for token in hidden})
    if not first:
        state["pre_tokenizer"] = _inside(state["pre_tokenizer"])
    return Tokenizer(RustTokenizer.from_str(json.dumps(state)))


def _rename(state: Json, names: dict[str, str]) -> None:
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = state["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): i for piece, i in model["vocab"].items()}
    else:  # Unigram: pieces and their log-probabilities, in the order of their ids
        model["vocab"] = [[names.get(piece, piece), p] for piece, p in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]


def _inside(step: Json | None) -> Json | None:
    """A pre-tokenizer as it works behind the start of a string."""
    if step is None:
        return None
    if step["type"] == "Sequence":
        return {**step, "pretokenizers": [_inside(s) for s in step["pretokenizers"]]}
    if step["type"] == "Metaspace" and step.get("prepend_scheme") == "first":
        return {**step, "prepend_scheme": "never"}
    return step
