"""Sentences of a stream depend on its characters alone, and are found with bounded work."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import ClosedError
from headgate.cutting import Cutter
from tests.core.streaming import SPLITTERS, chunked, cut, letters, never, periods, retracting, shifty

WORDS = st.sampled_from(
    ["Dr. ", "a", "Is it? ", "No.", " ", "\n\n", '"', "e\u0301", "\ud800", "。", "word ", "... ", "1.5"]
)
TEXTS = st.lists(WORDS | st.text(max_size=3), max_size=60).map("".join)


def pieces(chunks, splitter=periods, lookahead=32, max_held=1000):
    cutter = Cutter(splitter, lookahead=lookahead, max_held=max_held)
    return [p for chunk in chunks for p in cutter.feed(chunk)] + cutter.close()


@given(TEXTS, st.randoms(use_true_random=False), st.sampled_from(SPLITTERS), st.integers(1, 40), st.integers(0, 60))
def test_chunks_change_nothing(text, rng, splitter, lookahead, more):
    max_held = 2 * lookahead + 1 + more
    whole = pieces([text], splitter, lookahead, max_held)
    assert pieces(chunked(text, rng), splitter, lookahead, max_held) == whole
    assert pieces(text, splitter, lookahead, max_held) == whole
    assert whole == cut(text, splitter, lookahead, max_held)
    assert "".join(whole) == text
    assert all(whole)
    assert max(map(len, whole), default=0) <= max_held + max(1, lookahead // 4)


def test_an_end_that_more_text_moves_is_not_final():
    before, after = "She met Dr.", " Ash there. "
    assert pieces([before, after, "He left."]) == [before + after, "He left."]
    spoken = 'He said "Go. Now." and left. '
    assert pieces([spoken, "Then it rained for days."], retracting)[0] == spoken


def test_an_end_is_final_after_the_lookahead_and_no_sooner():
    first = "The hub is on. "
    cutter = Cutter(periods, lookahead=32, max_held=1000)
    text = first + "x" * 100
    found = [n for n, c in enumerate(text, 1) if cutter.feed(c)]
    assert len(found) == 1
    # The first place that shows the cut is at most a stride away, the last one a lookahead from there.
    assert len(first) + 32 <= found[0] <= len(first) + 1 + 32 + 8


def test_a_splitter_that_never_agrees_with_itself_is_cut_by_length():
    text = "word " * 200
    found = pieces([text], shifty, 32, 100)
    assert all(50 < len(p) <= 108 for p in found[:-1])


def test_a_sentence_without_an_end_is_cut_after_white_space_or_else_anywhere():
    text = "aaaa " * 30
    assert {len(p) for p in pieces([text], never, 8, 52)[:-1]} == {50}
    assert {len(p) for p in pieces(["a" * 200], never, 8, 52)[:-1]} == {52}


def test_nothing_waits_in_memory_longer_than_allowed():
    cutter = Cutter(never, lookahead=32, max_held=100)
    for _ in range(5000):
        cutter.feed("a ")
        assert len(cutter) < 108


@pytest.mark.parametrize("splitter", [periods, letters, never])
def test_the_work_grows_with_the_length_and_not_with_its_square(splitter):
    def read(sentences):
        seen = []
        text = "The tomatoes were watered in the morning and the soil is moist. " * sentences
        pieces([text], lambda t: seen.append(len(t)) or splitter(t), max_held=300)
        return sum(seen) / len(text)

    assert read(400) < 1.1 * read(100)
    assert read(100) < 45


def test_text_after_the_end_is_refused():
    cutter = Cutter(periods, lookahead=32, max_held=100)
    cutter.close()
    with pytest.raises(ClosedError, match="fed after close"):
        cutter.feed("more")


@pytest.mark.parametrize("bad", [[(0, 3), (2, 5)], [(0, 99)], [(3, 3)], [(2, 4), (0, 1)]])
def test_spans_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="the splitter gave"):
        pieces(["some words of a text."], lambda text: bad)


def test_a_real_splitter_gives_the_same_for_any_chunks():
    pytest.importorskip("sentencex")
    from headgate.sentences import sentences

    split = sentences("en")
    text = (
        'Dr. Ash paid $1,000.50 on Jan. 3. She said "Stop. Go." to him...\n\n- See a.example/b.c now! 好。 B\xa0. ' * 3
    )
    whole = pieces([text], split)
    assert len(whole) > 8
    rng = random.Random(5)
    for _ in range(100):
        assert pieces(chunked(text, rng), split) == whole
