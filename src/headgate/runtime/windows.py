"""Cut a long text into windows that cover it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headgate.runtime.batching import Ids
from headgate.runtime.tokenizer import Encoded


class Window(NamedTuple):
    """A piece of a text: its ids, the characters [start, end) it covers, its first token."""

    ids: Ids
    span: tuple[int, int]
    first: int


def windows(length: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Token ranges [start, end) that cover ``range(length)``, each at most ``room`` long.

    Neighbours share ``overlap`` tokens; the last window is moved back so that it is full too, since
    a short tail would be judged without its context.

    Args:
        length: Tokens of the text, at least 0; an empty text has one empty window.
        room: Tokens that fit, at least 1.
        overlap: Tokens that neighbours share, 0 to room - 1.
    """
    if room < 1 or not 0 <= overlap < room:
        raise ValueError(f"room is {room} and overlap {overlap}; expected room >= 1 and 0 <= overlap < room.")
    if length <= room:
        return [(0, length)]
    starts = list(range(0, length - room, room - overlap))
    return [(s, s + room) for s in [*starts, length - room]]


def characters(offsets: NDArray[np.int32], start: int, end: int, length: int) -> tuple[int, int]:
    """The characters [from, to) of a text that the tokens [start, end) stand for.

    A window that begins or ends the text takes its margin too, so that windows cover all of it.

    Args:
        offsets: (tokens, 2) characters of each token.
        start: First token.
        end: Behind the last token.
        length: Characters of the text.
    """
    first = 0 if start == 0 else int(offsets[start, 0])
    last = length if end >= len(offsets) else int(offsets[end - 1, 1])
    return first, max(first, last)


def cut(text: Encoded, room: int) -> list[Window]:
    """The windows of a text; neighbours share a quarter of the room."""
    ranges = windows(len(text.ids), room, room // 4)
    return [Window(text.ids[a:b], characters(text.offsets, a, b, text.length), a) for a, b in ranges]
