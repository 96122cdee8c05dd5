"""Windows cover a text, and the characters of windows cover it too."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.runtime.windows import characters, windows


@st.composite
def sizes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Length, room and overlap."""
    room = draw(st.integers(1, 40))
    return draw(st.integers(0, 300)), room, draw(st.integers(0, room - 1))


@given(sizes())
def test_every_token_is_in_a_window(size: tuple[int, int, int]) -> None:
    length, room, overlap = size
    found = windows(length, room, overlap)
    assert {t for a, b in found for t in range(a, b)} == set(range(length))
    assert found[0][0] == 0
    assert found[-1][1] == length
    assert all(0 <= b - a <= room for a, b in found)


@given(sizes())
def test_neighbours_overlap_and_the_last_is_full(size: tuple[int, int, int]) -> None:
    length, room, overlap = size
    found = windows(length, room, overlap)
    shared = [before[1] - after[0] for before, after in pairwise(found)]
    assert all(s == overlap for s in shared[:-1])
    assert all(s >= overlap for s in shared[-1:])  # the last is moved back so that it is full
    if length >= room:
        assert {b - a for a, b in found} == {room}
    assert all(after[0] > before[0] for before, after in pairwise(found))
    # No more than it takes: one less would not reach the end.
    assert len(found) == 1 or (len(found) - 1) * (room - overlap) + overlap < length


def test_an_empty_text_has_one_empty_window() -> None:
    assert windows(0, 8, 2) == [(0, 0)]


@pytest.mark.parametrize(("room", "overlap"), [(0, 0), (-1, 0), (4, 4), (4, 5), (4, -1)])
def test_impossible_sizes(room: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"room is {room} and overlap {overlap}"):
        windows(100, room, overlap)


@st.composite
def tokenized(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int]:
    """Offsets as a tokenizer gives them, gaps and shared characters included; length, room, overlap."""
    starts, ends, at = [], [], draw(st.integers(0, 3))
    for _ in range(draw(st.integers(0, 60))):
        width = draw(st.integers(1, 4))
        again = draw(st.booleans()) and len(starts) > 0  # a second piece of the same character
        starts.append(starts[-1] if again else at)
        ends.append(ends[-1] if again else at + width)
        at = ends[-1] + draw(st.integers(0, 2))  # white space belongs to no token
    room = draw(st.integers(2, 16))
    offsets = np.array([starts, ends], dtype=np.int32).T.reshape(-1, 2)
    return offsets, at + draw(st.integers(0, 3)), room, draw(st.integers(1, room - 1))


@given(tokenized())
def test_windows_cover_all_characters(text: tuple[np.ndarray, int, int, int]) -> None:
    offsets, length, room, overlap = text
    spans = [characters(offsets, a, b, length) for a, b in windows(len(offsets), room, overlap)]
    assert spans[0][0] == 0
    assert spans[-1][1] == length
    assert all(0 <= start <= end <= length for start, end in spans)
    assert all(after[0] <= before[1] for before, after in pairwise(spans))


def test_a_window_inside_stands_for_its_own_tokens() -> None:
    offsets = np.array([[2, 4], [5, 6], [7, 9], [10, 12]], dtype=np.int32)
    assert characters(offsets, 1, 3, 20) == (5, 9)
    assert characters(offsets, 0, 2, 20) == (0, 6)
    assert characters(offsets, 2, 4, 20) == (7, 20)
