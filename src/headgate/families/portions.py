"""A large call in portions: what is known of a text and its rows is forgotten before the next portion is read."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from headgate.calibration import Calibration
from headgate.scores import EMPTY_LOG_ODDS, Ask, Scores

CHARACTERS = 4_000_000
"""Of a portion, a text counted once for every label: about a million tokens, and 50 MB on the CPU."""

Portion = list[tuple[int, Ask]]
"""Asks, each with the number of the one that it is part of."""


def portions(asks: Sequence[Ask], characters: int) -> list[Portion]:
    """The asks in portions of at most so many characters, or of one text; in order, texts kept whole.

    Args:
        asks: Any number.
        characters: Of a portion, counted as in :data:`CHARACTERS`.
    """
    found: list[Portion] = [[]]
    held = 0
    for number, ask in enumerate(asks):
        start = 0
        for i, text in enumerate(ask.texts):
            size = len(text) * max(1, len(ask.labels))
            if held and held + size > characters:
                if i > start:
                    found[-1].append((number, Ask(ask.texts[start:i], ask.labels)))
                found.append([])
                start, held = i, 0
            held += size
        found[-1].append((number, Ask(ask.texts[start:], ask.labels) if start else ask))
    return found


def joined(parts: Sequence[Scores]) -> Scores:
    """The Scores of an ask from those of its parts, at least one, in order."""
    if len(parts) == 1:
        return parts[0]
    names = ("log_odds", "windows", "spans", "tokens", "unknown", "empty")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Scores(**arrays, meaning=parts[0].meaning, exclusive=parts[0].exclusive)


def calibrated(scores: Scores, calibration: Calibration) -> Scores:
    """The scores through a calibration; empty texts keep their log-odds."""
    found = calibration(scores)
    return replace(found, log_odds=np.where(found.empty[:, None], EMPTY_LOG_ODDS, found.log_odds))
