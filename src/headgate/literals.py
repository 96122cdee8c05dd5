"""The numbers and quotes of a sentence, and whether a text holds them: what a model reads too loosely.

Numbers are compared by value: 1,000 is 1000, "5.0%" is 5, 1.5 million is 1,500,000. Units and signs aren't read, nor
are numbers in words. What a sentence only bounds ("over 40", "before 1975") its passage may say exactly, so that is
left to the model, in English, and so are the digits of names (B12, COVID-19). Quotes are compared by their letters:
NFKC, case-folded, white space squashed, punctuation at their ends left out.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_NUMBER = re.compile(
    rf"(?<![A-Za-z0-9])(?<![0-9][.,])([0-9]+(?:[.,][0-9]+)*)(?:[ -]({'|'.join(_SCALES)})(?![a-z]))?", re.IGNORECASE
)
_QUOTE = re.compile(
    r'"([^"\n]+)"|\u201c([^\u201c\u201d]+)\u201d|\u201e([^\u201c-\u201e]+)[\u201c\u201d]'
    r"|\u00ab([^\u00ab\u00bb]+)\u00bb|\u300c([^\u300c\u300d]+)\u300d|\u300e([^\u300e\u300f]+)\u300f"
)
_NOT_SAID = re.compile(
    r"^\s*\(?\d{1,3}[.)]\s|\[\s*\d+(?:\s*[,;\u2013-]\s*\d+)*\s*\]|\b(passage|source|document|step)s?\s+\d+(\s+and\s+\d+)?",
    re.IGNORECASE,
)
"""The marker of a list's item and references ([1], [2, 3], passage 4): numbers that the sentence doesn't state."""
_LOOSE = re.compile(
    r"(\b((more|less|fewer|greater|higher|lower|larger|smaller|later|earlier)\s+than|over|under|above|below|up\s+to"
    r"|at\s+(least|most)|about|around|nearly|almost|approximately|roughly|before|after|between|exceed(s|ed|ing)?)\s*"
    r"|[<>≥≤≈~]\s*)([$€£¥]|US\$)?\s*$|[A-Za-z]-$",
    re.IGNORECASE,
)
"""What stands before a number that is only a bound, or the digits of a name."""
_SPACED = re.compile(r"(?<=\d)[\u00a0\u2009\u202f'\u2019](?=\d{3}(?!\d))")
_SIGNS = str.maketrans("\u2018\u2019\u066b\u066c", "''.,")
_MARKS = dict.fromkeys(map(ord, '"\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\u300e\u300f'))  # quotes inside quotes
_ENDS = " '.,;:!?[]()\u3002\u3001"


@dataclass(frozen=True)
class Held:
    """What a text holds literally.

    Attributes:
        numbers: Every reading of every number, as decimals without needless zeros.
        words: The text as quotes are compared with it.
    """

    numbers: frozenset[str]
    words: str


@dataclass(frozen=True)
class Stated:
    """A number or a quote of a sentence.

    Attributes:
        written: As it stands there.
        numbers: What the number may mean.
        parts: The quote as texts are compared with it; several where it leaves something out ("...").
    """

    written: str
    numbers: frozenset[str] = frozenset()
    parts: tuple[str, ...] = ()


def held(text: str) -> Held:
    """What ``text`` holds."""
    found = (_readings(*number.groups()) for number in _NUMBER.finditer(_figures(text)))
    return Held(frozenset(reading for readings in found for reading in readings), _words(text))


def stated(sentence: str) -> list[Stated]:
    """The numbers and quotes of ``sentence``, each once; no number that is only a bound or part of a name."""
    said = _NOT_SAID.sub(" ", sentence)
    figures = _figures(said)
    numbers = [n for n in _NUMBER.finditer(figures) if not _LOOSE.search(figures[max(0, n.start() - 24) : n.start()])]
    out = {n[0]: Stated(n[0], numbers=_readings(*n.groups())) for n in numbers}
    for quote in _QUOTE.finditer(said):
        parts = tuple(part.strip(_ENDS) for part in _words(quote[0]).split("..."))
        out[quote[0]] = Stated(quote[0], parts=tuple(part for part in parts if part))
    return list(out.values())


def missing(literals: Sequence[Stated], source: Held) -> tuple[str, ...]:
    """Those that the source doesn't hold, as they were written."""
    return tuple(
        one.written
        for one in literals
        if (one.numbers and not one.numbers & source.numbers) or not all(part in source.words for part in one.parts)
    )


def _words(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).translate(_SIGNS).translate(_MARKS).casefold().split())


def _figures(text: str) -> str:
    """``text`` with digits and separators as ASCII has them, and a comma where a space parts thousands."""
    plain = unicodedata.normalize("NFKC", _SPACED.sub(",", text)).translate(_SIGNS)
    return re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), plain)


def _readings(number: str, scale: str | None) -> frozenset[str]:
    """The values that a number may have: "1.000" is a thousand in some languages, one in others."""
    *groups, last = re.split("[.,]", number)
    signs = set(re.findall("[.,]", number))
    zeros = _SCALES[scale.lower()] if scale else 0
    if not groups:
        return frozenset([_value(last, "", zeros)])
    out = set()
    thousands = all(len(group) == 3 for group in [*groups[1:], last]) and len(groups[0]) <= 3
    if thousands and len(signs) == 1:
        out.add(_value("".join([*groups, last]), "", zeros))
    if len(signs) == 2 or (len(groups) == 1 and not (thousands and signs == {","})):
        out.add(_value("".join(groups), last, zeros))
    return frozenset(out or {number})


def _value(whole: str, part: str, zeros: int) -> str:
    whole, part = whole + part[:zeros].ljust(zeros, "0"), part[zeros:].rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")
