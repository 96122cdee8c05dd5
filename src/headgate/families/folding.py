"""From one number a window to Scores."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from headgate.families.base import Encoder
from headgate.scores import EMPTY_LOG_ODDS, Ask, Floats, Label, Meaning, Scores, as_label, blank

SAME = 1e-4
"""Log-odds that differ by no more are the same, as far as float32 goes."""


@dataclass(frozen=True)
class Spot:
    """The place that one number of a forward pass has in the answer: ask, text, label, characters."""

    ask: int
    text: int
    label: int
    span: tuple[int, int]


def strongest(
    asks: Sequence[Ask], encoder: Encoder, spots: Sequence[Spot], log_odds: Sequence[float] | Floats, meaning: Meaning
) -> list[Scores]:
    """Fold windows: for each text and label the maximum, its characters, and how many there were.

    Of windows that say the same, as those of a text that repeats itself, the first counts, whatever the rounding.
    """
    shapes = [(len(ask.texts), len(ask.labels)) for ask in asks]
    best = [np.full(shape, -np.inf, dtype=np.float32) for shape in shapes]
    count = [np.zeros(shape, dtype=np.int32) for shape in shapes]
    spans = [np.zeros((*shape, 2), dtype=np.int32) for shape in shapes]
    shown = [np.full(shape, -np.inf, dtype=np.float32) for shape in shapes]  # what the window of the span says
    for spot, z in zip(spots, log_odds, strict=True):
        at = spot.text, spot.label
        count[spot.ask][at] += 1
        if z > best[spot.ask][at] or np.isnan(z):  # NaN must get through and stay, to be refused by judge
            best[spot.ask][at] = z
        if z > shown[spot.ask][at] + SAME:
            shown[spot.ask][at] = z
            spans[spot.ask][at] = spot.span
    return [
        answer(ask, encoder, best[k], windows=count[k], spans=spans[k], meaning=meaning) for k, ask in enumerate(asks)
    ]


def answer(  # noqa: PLR0913  what a Scores is made of, by name
    ask: Ask,
    encoder: Encoder,
    log_odds: NDArray[np.float32],
    *,
    windows: NDArray[np.int32],
    spans: NDArray[np.int32],
    meaning: Meaning,
    exclusive: bool = False,
) -> Scores:
    """Scores with what the tokenizer knows of each text; empty texts get the least log-odds."""
    empty = blank(ask.texts)
    texts = [encoder[t] for t in ask.texts]
    return Scores(
        log_odds=np.where(empty[:, None], EMPTY_LOG_ODDS, log_odds).astype(np.float32),
        meaning=meaning,
        windows=windows,
        spans=spans,
        tokens=np.array([len(t.ids) for t in texts], dtype=np.int32),
        unknown=np.array([t.unknown for t in texts], dtype=np.float32),
        empty=empty,
        exclusive=exclusive,
    )


def together(asks: Sequence[Ask]) -> tuple[list[Ask], list[tuple[int, list[int]]]]:
    """One ask for all that are of the same texts, for scorers whose labels don't see one another.

    Returns:
        The joined asks; and for each of the given ones, which of them holds it, and in which columns.
    """
    labels: dict[tuple[str, ...], dict[Label, str | Label]] = {}
    for ask in asks:
        labels.setdefault(tuple(ask.texts), {}).update((as_label(label), label) for label in ask.labels)
    order = {texts: k for k, texts in enumerate(labels)}
    column = {texts: {label: j for j, label in enumerate(own)} for texts, own in labels.items()}
    keys = [tuple(ask.texts) for ask in asks]
    places = [(order[key], [column[key][as_label(x)] for x in ask.labels]) for key, ask in zip(keys, asks, strict=True)]
    return [Ask(texts, list(own.values())) for texts, own in labels.items()], places


def columns_of(scores: Scores, labels: Sequence[int]) -> Scores:
    """The scores of some of the labels, by index, in that order."""
    at = list(labels)
    return replace(scores, log_odds=scores.log_odds[:, at], windows=scores.windows[:, at], spans=scores.spans[:, at])
