"""Spans of sentences cover a text but for its white space, whatever it holds."""

import pickle
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate import MissingExtraError
from headgate.sentences import sentences, spans_of

pytest.importorskip("sentencex")
SPACES = [" ", "\n", "\r\n", "\r", "\xa0", "\u3000", "\x85", "\u2028"]
ODD = st.sampled_from([*SPACES, "B.", ".", "\ud800", "。", "」", "「", "1. ", "- ", "😀", "e\u0301", "Dr.", "…", '"'])
SPLIT = sentences("en")


def said(text, split=SPLIT):
    return [text[start:end] for start, end in spans_of(split, text)]


@given(st.lists(ODD | st.text(max_size=4), max_size=25).map("".join), st.sampled_from(["en", "de", "ja", "ar", "hi"]))
@example("B\xa0.", "en")  # sentencex alone panics
@example("B\u3000.\x00 ", "te")
@example("a\ud800b. C", "en")
def test_all_but_white_space_is_in_a_sentence(text, language):
    spans = spans_of(sentences(language), text)
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    between = [text[a:b] for a, b in zip(ends, starts, strict=True)]
    inside = [text[start:end] for start, end in spans]
    assert not "".join(between).strip()
    assert all(s and s == s.strip() for s in inside)
    assert "".join(b + s for b, s in zip(between, [*inside, ""], strict=True)) == text


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\r\n\t\u3000"])
def test_a_text_of_white_space_has_no_sentence(text):
    assert said(text) == []


@pytest.mark.parametrize(
    "parts",
    [
        ["Dr. Ash paid $1,000.50 on Jan. 3, e.g. for fig. 4.", "It rose 3.5%."],
        ["See https://example.org/a.b?c=d.e for more.", "Or write to a.b@example.org."],
        ["Wait... what?!", "Yes."],
        ["No one said “Stop. Go.” to him.", "He left."],
        ["今日は晴れです。", "元気ですか？", "はい！"],
        ["यह पहला है।", "यह दूसरा है।"],
        ["e\u0301te\u0301 😀.", "Next one."],
        ["lone \ud800 surrogate.", "Next one."],
    ],
)
@pytest.mark.parametrize("between", [" ", "\n", "\n\n", "\r\n", " \r\n\t\r\n", "\u2028", "\xa0"])
def test_sentences_are_found_whatever_is_between_them(parts, between):
    assert said(between.join(parts)) == parts
    assert said(f"{between}{between.join(parts)}{between}") == parts


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_paragraphs_and_items_of_lists_end_without_a_stop(end):
    lines = [
        "Two steps",
        "",
        "1. Turn it off. Wait.",
        "2. Turn it on",
        f" {end}- Done",
        "* Really",
        " ",
        "A heading",
        "",
        "End",
    ]
    assert said(end.join(lines)) == [
        "Two steps", "1. Turn it off.", "Wait.", "2. Turn it on", "- Done", "* Really", "A heading", "End",
    ]  # fmt: skip


def test_a_line_broken_by_its_width_goes_on():
    assert said("A sentence broken\nby an editor. Next.") == ["A sentence broken\nby an editor.", "Next."]
    assert said("A sentence broken\r\nby an editor. Next.") == ["A sentence broken\r\nby an editor.", "Next."]


def test_the_marker_of_an_item_belongs_to_it():
    assert said("1. First. 2. Second.") == ["1. First.", "2. Second."]
    assert said("1.\nA line. 2)") == ["1.", "A line.", "2)"]


def test_a_language_has_abbreviations_of_its_own():
    text = "Das gilt z. B. auch am 3. Mai. Nicht hier."
    assert len(said(text, sentences("en"))) == 3
    assert said(text, sentences("de")) == ["Das gilt z. B. auch am 3. Mai.", "Nicht hier."]


def test_a_very_long_text_keeps_its_places():
    one = "Sentence é 東 😀 here. "
    spans = spans_of(SPLIT, one * 20_000)
    assert len(spans) == 20_000
    assert spans[-1] == (19_999 * len(one), 20_000 * len(one) - 1)
    assert said("x" * 200_000) == ["x" * 200_000]


def test_a_splitter_can_be_pickled():
    assert said("A cat. A dog.", pickle.loads(pickle.dumps(SPLIT))) == ["A cat.", "A dog."]


@pytest.mark.parametrize("language", ["", " ", None, 3])
def test_a_language_is_a_code(language):
    with pytest.raises(ValueError, match='expected an ISO code like "en"'):
        sentences(language)


def test_without_the_extra_it_says_what_helps(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencex", None)
    with pytest.raises(MissingExtraError, match=r'where you pass no splitter.*pip install "headgate\[sentences\]"$'):
        sentences()


# ------------------------------------------------------------------- splitters of somebody else's


@pytest.mark.parametrize("found", ["A. B.", None, {0: 2}, 3, ["A.", "B."], [(0, 2, "A.")], [(0.0, 2.0)], [(False, 2)]])
def test_what_is_no_list_of_spans_is_refused(found):
    with pytest.raises(TypeError, match=r"the splitter gave .*; expected a"):
        spans_of(lambda text: found, "A. B.")


@pytest.mark.parametrize("found", [[(0, 3), (2, 5)], [(3, 5), (0, 2)], [(0, 6)], [(-1, 2)], [(2, 2)], [(3, 2)]])
def test_spans_out_of_order_or_outside_the_text_are_refused(found):
    with pytest.raises(ValueError, match=r"the splitter gave \(.*\) as sentence \d of a text of 5 characters"):
        spans_of(lambda text: found, "A. B.")


def test_white_space_is_no_sentence():
    assert spans_of(lambda text: [[0, 2], (2, 3), (3, 5)], "A. B.") == [(0, 2), (3, 5)]
