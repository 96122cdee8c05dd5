"""Splitters that change their minds, random chunks, and what a stream must give by a slower way."""

import re
from functools import cache
from itertools import pairwise

from headgate import Guard, Rule, StreamEvent, StreamGuard
from headgate.sentences import spans_of
from headgate.testing import ToyScorer

DOCTOR = re.compile(r"(?<!\bDr)[.!?]+\s+(?=\S)|\n+(?=\S)")


def periods(text):
    """Sentences end at ".", "!" or "?" before white space and more, and at newlines; "Dr." ends none."""
    starts = [0, *(m.end() for m in DOCTOR.finditer(text))]
    return spans(text, starts)


def spans(text, starts):
    pairs = zip(starts, [*starts[1:], len(text)], strict=True)
    return [(a, b) for a, b in pairs if a < b]


def retracting(text):
    """A quotation that closes takes back the ends of sentences within it, however long ago they were."""
    quoted = [m.span() for m in re.finditer(r'"[^"]*"', text)]
    return spans(text, [0, *(a for a, _ in periods(text)[1:] if not any(q < a < e for q, e in quoted))])


def shifty(text):
    """Where it cuts depends on how long the text is."""
    by = len(text) // 24
    return spans(text, [0, *(c for c in range(1, len(text)) if (c + by) % 17 == 0)])


def late(text):
    """Sees the end of a sentence once sixty more characters are there."""
    return spans(text, [0, *(a for a, _ in periods(text)[1:] if len(text) - a > 60)])


def flickering(text):
    """Every third length of a text has no sentences."""
    return [(0, len(text))] if len(text) % 24 == 0 and text else periods(text)


def gaps(text):
    """Leaves out words; they must be judged all the same."""
    return [(a, max(a + 1, b - 5)) for a, b in periods(text)]


def letters(text):
    return [(i, i + 1) for i in range(len(text))]


def never(text):
    return [(0, len(text))] if text else []


SPLITTERS = [periods, retracting, shifty, late, flickering, gaps, letters, never]


def chunked(text, rng, largest=40):
    """Random chunks, some of them empty; seldom the whole text."""
    if rng.random() < 0.02:
        return [text]
    size = rng.choice([1, 2, 5, largest])
    at, out = 0, []
    while at < len(text):
        step = rng.randint(0, size)
        out.append(text[at : at + step])
        at += step
    return out


def cut(text, splitter, lookahead, max_held):
    """The sentences of a stream: a cut is final at n once every prefix from n - lookahead to n has it."""
    stride = max(1, lookahead // 4)
    begin, seen, out = 0, {}, []
    for n in range(stride, len(text) + 1, stride):
        seen[n] = {begin + a for a, _ in spans_of(splitter, text[begin:n])[1:]}
        asked = [m for m in seen if m >= n - lookahead - (n - lookahead) % stride] if n > lookahead else []
        for c in sorted(seen[n]):
            if n - lookahead >= stride and all(c in seen[m] for m in asked):
                out.append(text[begin:c])
                begin = c
        while n - begin >= max_held:
            end = max((i + 1 for i in range(max_held // 2, max_held) if text[begin + i].isspace()), default=max_held)
            out.append(text[begin : begin + end])
            begin += end
    starts = [begin, *(begin + a for a, _ in spans_of(splitter, text[begin:])[1:]), len(text)]
    return out + [text[a:b] for a, b in pairwise(starts) if a < b]


def events(pieces, judge, action, replacement, context=1):
    """What a stream of these sentences gives, one after the other."""
    end, passed, out = 0, [], []
    for text in pieces:
        before = passed[-context:]
        verdict = judge("".join([*(t for t, _ in before), text]))
        span, end = (end, end + len(text)), end + len(text)
        done = action(verdict)
        words = text.strip()
        shown = {"halt": "", "redact": text.replace(words, replacement, 1) if words else text}.get(done, text)
        out.append(StreamEvent(done, shown, span, tuple(s for _, s in before), verdict))
        if done == "halt":
            break
        if done != "redact":
            passed.append((text, span))
    return out


RULES = {"rude": Rule("rude", 0.5), "attack": Rule("attack now", 0.9), "spam": Rule("spam", 0.5)}
GUARD = Guard(ToyScorer(), RULES)
FINE = "The hub is on the wall beside the door. "
RUDE = "That was a rude thing to say to anyone. "
AFTER = "Nobody said a word for quite some time. "


@cache
def judge(text):
    return GUARD(text)


def guarded(splitter=periods, **settings):
    return StreamGuard(GUARD, splitter, **settings)


def show(found):
    return "".join(e.text for e in found)


def expected(settings, text):
    pieces = cut(text, settings.splitter, settings.lookahead, settings.max_held)
    return events(pieces, judge, settings.action, settings.replacement, settings.context)
