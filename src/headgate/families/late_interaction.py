"""Late interaction: text and label are read apart and meet token by token.

``score = maxsim_weight * maxsim + cosine_weight * cosine``, where *maxsim* is the mean over the label's tokens
of their best dot product with a token of the text, and *cosine* that of the pooled states. Both are
an order until calibrated. The token states of a text don't depend on the label, so they can be kept
(:meth:`cached <headgate.families.base.Family.cached>`), and the tokens that matched are the span.

Source: Khattab & Zaharia, "ColBERT", 2020 (arXiv:2004.12832), eq. 3, here as a mean so that long
and short labels share one scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from headgate.errors import LabelTooLongError
from headgate.families.base import Core, Encoder, Family, core
from headgate.families.bi_encoder import pooling_and_prompts
from headgate.families.folding import Spot, strongest
from headgate.models.calls import multi_head, token_states
from headgate.models.checkpoint import Checkpoint
from headgate.runtime.batching import Array, Ids, Row
from headgate.runtime.windows import characters, cut
from headgate.scores import Ask, Floats, Label, Scores, as_label

CHUNK = 256
"""Windows whose token states are held at once: 256 x 256 tokens x 384 floats are 100 MB."""


@dataclass(frozen=True)
class Weights:
    """What the two similarities count."""

    maxsim: float
    cosine: float


@dataclass(frozen=True, eq=False)
class States:
    """One window or label.

    Attributes:
        tokens: (tokens, hidden) unit states of the tokens that are matched.
        places: (tokens,) which token of the window each of them is; -1 for special tokens.
        pooled: (hidden,) their pooled unit state.
    """

    tokens: Floats
    places: Ids
    pooled: Floats


@dataclass(frozen=True)
class Piece:
    """One window of one text: its first token, its row, and every (ask, text) place it stands for."""

    text: str
    first: int
    row: Row
    places: tuple[tuple[int, int], ...]


class LateInteraction(Family):
    """Judges a text by the tokens of a label that it matches.

    Args:
        parts: Tokenizer and forward (rows to (tokens + 1, hidden): token states, then the pooled one).
        weights: Of maxsim and cosine.
    """

    def __init__(self, parts: Core, weights: Weights) -> None:
        super().__init__(parts)
        self._weights = weights

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A part of a multi-part folder, or a sentence encoder read token by token."""
        settings = checkpoint.settings
        weights = Weights(float(settings.get("maxsim", 1.0)), float(settings.get("cosine", 1.0)))
        published = (checkpoint.folder / "modules.json").is_file()
        model = multi_head(checkpoint, {}, pooling_and_prompts(checkpoint)[0] if published else None)
        forward = checkpoint.forward(token_states(model), model)
        return cls(core(checkpoint, forward, template="{}", identity=weights), weights)

    def _score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        encoder = self._encoder(asks)
        labels = self._label_states(asks, encoder)
        pieces = self._pieces(asks, encoder)
        spots: list[Spot] = []
        found: list[float] = []
        for start in range(0, len(pieces), CHUNK):
            chunk = pieces[start : start + CHUNK]
            for piece, out in zip(chunk, self._core.forward([p.row for p in chunk]), strict=True):
                states = self._states(out, piece.row.ids, label=False)
                for k, i in piece.places:
                    for j, label in enumerate(asks[k].labels):
                        z, where = self._meet(labels[self._render(label)], states)
                        spots.append(Spot(k, i, j, self._span(encoder, piece, where)))
                        found.append(z)
        return strongest(asks, encoder, spots, found, "order")

    def _pieces(self, asks: Sequence[Ask], encoder: Encoder) -> list[Piece]:
        """The windows of every text, longest first so that a chunk holds like lengths."""
        places: dict[str, list[tuple[int, int]]] = {}
        for k, ask in enumerate(asks):
            for i, text in enumerate(ask.texts):
                places.setdefault(text, []).append((k, i))
        pieces = []
        for text, where in places.items():
            for window in cut(encoder[text], self._space(label=False)):
                pieces.append(Piece(text, window.first, self._row(window.ids, label=False), tuple(where)))
        return sorted(pieces, key=lambda p: -len(p.row.ids))

    def _label_states(self, asks: Sequence[Ask], encoder: Encoder) -> dict[str, States]:
        words: dict[str, str | Label] = {self._render(x): x for ask in asks for x in ask.labels}
        self._entailment_only(list(words.values()))
        encoder.add(list(words))
        room = self._space(label=True)
        for text, label in words.items():
            if len(encoder[text].ids) > room:
                raise LabelTooLongError(
                    f"label {as_label(label).text[:60]!r}… has {len(encoder[text].ids)} tokens; expected at most "
                    f'{room}, since labels are never cut. Shorten it, or use Reranker(…, long_query="windows").'
                )
        rows = [self._row(encoder[text].ids, label=True) for text in words]
        found = zip(words, rows, self._core.forward(rows), strict=True)
        return {text: self._states(out, row.ids, label=True) for text, row, out in found}

    def _space(self, *, label: bool) -> int:
        """Tokens that a label, or a window of a text, may have."""
        return self._core.max_length - self._core.tokenizer.single.size

    def _row(self, ids: Ids, *, label: bool) -> Row:
        return self._core.tokenizer.single.row(ids, types=self._core.types)

    def _states(self, out: Array, ids: Ids, *, label: bool) -> States:
        """Split a forward's answer to a row, and leave the special tokens out of the matching."""
        frame = self._core.tokenizer.single
        tokens = out[len(frame.before) : len(out) - 1 - len(frame.after)]
        return States(unit(tokens), np.arange(len(tokens), dtype=np.int32), unit(out[-1:])[0])

    def _meet(self, label: States, text: States) -> tuple[float, Ids]:
        """The score, and which tokens of the window matched a token of the label best."""
        cosine = float(label.pooled @ text.pooled)
        if not len(label.tokens) or not len(text.tokens):
            return self._weights.cosine * cosine - abs(self._weights.maxsim), np.zeros(0, np.int32)
        grid = label.tokens @ text.tokens.T  # (label tokens, text tokens)
        best = grid.max(axis=1)
        z = self._weights.maxsim * float(best.mean()) + self._weights.cosine * cosine
        return z, text.places[grid.argmax(axis=1)]

    def _span(self, encoder: Encoder, piece: Piece, matched: Ids) -> tuple[int, int]:
        """The characters around the densest of the matched tokens."""
        text = encoder[piece.text]
        if not len(matched):
            return 0, text.length
        start, end = densest(np.sort(matched), 2 * len(matched) + 8)
        offsets = text.offsets
        return characters(offsets, piece.first + start, piece.first + end, text.length)


def densest(positions: NDArray[np.int32], width: int) -> tuple[int, int]:
    """The tight range [start, end) of at most ``width`` that holds most of the sorted positions."""
    last = np.searchsorted(positions, positions + width)  # of a range that begins at each position
    best = int((last - np.arange(len(positions))).argmax())
    return int(positions[best]), int(positions[last[best] - 1]) + 1


def unit(x: Floats) -> Floats:
    """Rows of length 1."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.asarray(x / np.maximum(norm, 1e-12), dtype=np.float32)
