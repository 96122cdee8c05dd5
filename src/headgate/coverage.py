"""What was read of a text: no verdict on its first page alone passes for one on the whole."""

from dataclasses import dataclass
from typing import Literal

from headgate.errors import TextTooLongError
from headgate.scores import Scores

Overflow = Literal["window", "error"]


@dataclass(frozen=True)
class Coverage:
    """How much of a text was read.

    Attributes:
        windows: Pieces the text was read in, at least 1.
        read: Tokens that were read; 0 where the scorer doesn't count them.
        total: Tokens of the text. Headgate's scorers read all of them.
    """

    windows: int
    read: int
    total: int


WHOLE = Coverage(1, 0, 0)
"""Of a text read in one piece, by a scorer that doesn't count tokens."""


def coverage(scores: Scores, i: int) -> Coverage:
    """Of text i."""
    tokens = int(scores.tokens[i])
    return Coverage(windows=int(scores.windows[i].max()), read=tokens, total=tokens)


def refuse_long(scores: Scores, on_overflow: Overflow) -> None:
    """Raise TextTooLongError where a text took several windows and the caller wants none of those."""
    long = (scores.windows > 1).any(axis=1)
    if on_overflow == "error" and long.any():
        i = int(long.argmax())
        raise TextTooLongError(
            f"text {i} has {int(scores.tokens[i])} tokens and took {int(scores.windows[i].max())} windows; expected "
            'one that fits the model: shorten it, or read all of it: on_overflow="window".'
        )
