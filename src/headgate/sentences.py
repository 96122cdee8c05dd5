"""Where the sentences of a text are.

Grounding and the streaming guard take any :data:`Splitter`; :func:`sentences` is one for about 300 languages.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

from headgate.errors import MissingExtraError

Splitter = Callable[[str], Sequence[tuple[int, int]]]
"""From a text to the characters [start, end) of each sentence: in order, without overlap, none empty."""

_MARKER = re.compile(r"\(?(\d{1,3}|[A-Za-z])[.)]|[-*+•‣◦▪\u2013\u2014]")
_ITEM = re.compile(rf"\s*({_MARKER.pattern})\s")
_LINE_END = re.compile(r"\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_SPACE = re.compile(r"\s+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def sentences(language: str = "en") -> Splitter:
    """A splitter for texts of one language.

    Its spans cover all but the white space between them. The marker of a list item belongs to its item.

    Args:
        language: ISO code: "en", "de", "zh". One that sentencex doesn't know is split as a language near it,
            or as English.

    Raises:
        MissingExtraError: sentencex is not installed.

    Source: sentencex, https://github.com/wikimedia/sentencex (Wikimedia Foundation).
    """
    if not isinstance(language, str) or not language.strip():
        raise ValueError(f'language is {language!r}; expected an ISO code like "en".')
    try:
        import_module("sentencex")
    except ImportError:
        raise MissingExtraError("sentencex, which splits text where you pass no splitter,", "sentences") from None
    return partial(_split, language)


def spans_of(splitter: Splitter, text: str) -> list[tuple[int, int]]:
    """The sentences of ``text``, checked: a splitter of somebody else's may be wrong.

    Returns:
        Characters [start, end) of each sentence that holds more than white space, in order.

    Raises:
        TypeError: The splitter gave something that isn't a list of pairs of whole numbers.
        ValueError: A span is empty, outside the text, or begins before the one before it ends.
    """
    found = splitter(text)
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise TypeError(f"the splitter gave {type(found).__name__}; expected a list of spans (start, end).")
    last, out = 0, []
    for k, span in enumerate(found):
        if not (isinstance(span, tuple | list) and len(span) == 2 and all(type(c) is int for c in span)):
            raise TypeError(
                f"the splitter gave {span!r} as sentence {k}; expected a pair of whole numbers: the characters "
                "[start, end) of the text, not its words."
            )
        start, end = span
        if not last <= start < end <= len(text):
            raise ValueError(
                f"the splitter gave {(start, end)} as sentence {k} of a text of {len(text)} characters; expected "
                f"start < end, from {last} on: in order, without overlap, inside the text."
            )
        last = end
        if text[start:end].strip():
            out.append((start, end))
    return out


def _split(language: str, text: str) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for start, end in _pieces(language, _plain(text)):
        # "1." alone belongs to what follows it in its line.
        if out and _MARKER.fullmatch(text, *out[-1]) and not _LINE_END.search(text, out[-1][1], start):
            start, _ = out.pop()
        out.append((start, end))
    return out


def _pieces(language: str, plain: str) -> list[tuple[int, int]]:
    """As sentencex has it, but for an item of a list, which it takes whole."""
    segment: Callable[[str, str], list[str]] = import_module("sentencex").segment
    start, out = 0, []
    for piece in segment(language, plain):
        marker = _ITEM.match(piece)
        at = marker.end() if marker else 0
        for part in [piece[:at], *segment(language, piece[at:])] if marker else [piece]:
            begin = start + len(part) - len(part.lstrip())
            start += len(part)
            if part.strip():
                out.append((begin, begin + len(part.strip())))
    return out


def _plain(text: str) -> str:
    r"""``text`` with the same number of characters, none of which sentencex stumbles over.

    Lone surrogates can't be passed to it, white space beyond ASCII makes it panic behind an initial ("B\xa0."), and
    it knows as a paragraph's end only "\n\n", with nothing between.
    """
    return _SPACE.sub(_plain_space, _SURROGATE.sub("\ufffd", text))


def _plain_space(run: re.Match[str]) -> str:
    lines = len(_LINE_END.findall(run[0]))
    if lines > 1:
        return "\n" * len(run[0])
    return re.sub(r"[^\n]", " ", _LINE_END.sub(lambda end: " " * (len(end[0]) - 1) + "\n", run[0]))
