"""Scorers that break the contract, each in one way, and what check_scorer should say of it."""

from dataclasses import replace

import numpy as np

from headgate import Scores
from headgate.testing import LABELS, ToyScorer

calls = []
"""One entry for each call of a scorer that changes its mind; emptied before each check."""


class Toy(ToyScorer):
    """The toy, with ``bump`` added to its log-odds."""

    def score(self, texts, labels):
        found = super().score(texts, labels)
        return replace(found, log_odds=found.log_odds + np.asarray(self.bump(texts, labels), np.float32))

    def bump(self, texts, labels):
        return 0.0


class Softmax(Toy):
    """A softmax over the labels of the call, that says nothing of it."""

    def bump(self, texts, labels):
        z = ToyScorer().score(texts, labels).log_odds
        return -np.log(np.exp(z).sum(axis=1, keepdims=True))


# ------------------------------------------------------------------------------ broken numbers


class NotANumber(Toy):
    def bump(self, texts, labels):
        return np.nan


class Infinite(Toy):
    def bump(self, texts, labels):
        return -np.inf


class Random(Toy):
    def bump(self, texts, labels):
        return np.random.default_rng().random((len(texts), len(labels)))


class PaddingLeak(Toy):
    """Depends on the longest text beside it."""

    def bump(self, texts, labels):
        return 1e-5 * max(map(len, texts))


class PlaceLeak(Toy):
    """Depends on the place in the batch."""

    def bump(self, texts, labels):
        return 0.01 * np.arange(len(texts))[:, None]


class OrderLeak(Toy):
    """Depends on which text comes first."""

    def bump(self, texts, labels):
        return 0.01 * (texts[0] >= texts[-1])


class Twins(Toy):
    """Scores a text that came before anew."""

    def bump(self, texts, labels):
        return [[0.01 * (text in texts[:i])] for i, text in enumerate(texts)]


class SortedRows(ToyScorer):
    """Sorts by length, and forgets to restore the order."""

    def score(self, texts, labels):
        return Scores.of(super().score(sorted(texts, key=len), labels).log_odds, texts)


class SortedColumns(ToyScorer):
    def score(self, texts, labels):
        return super().score(texts, sorted(labels))


class Exclusive(Softmax):
    """Being one softmax is no excuse: which labels are asked must not matter."""

    def score(self, texts, labels):
        return replace(super().score(texts, labels), exclusive=True)


# -------------------------------------------------------------------------------- broken parts


class Flat(ToyScorer):
    def score(self, texts, labels):
        found = super().score(texts, labels)
        return replace(found, log_odds=found.log_odds[:, 0])


class DropsEmpty(ToyScorer):
    def score(self, texts, labels):
        return super().score([t for t in texts if t.strip()], labels)


class Array(ToyScorer):
    def score(self, texts, labels):
        return super().score(texts, labels).log_odds


class SpansOutside(ToyScorer):
    def score(self, texts, labels):
        found = super().score(texts, labels)
        return replace(found, spans=found.spans + np.array([0, 1]))


class SpansLeak(ToyScorer):
    """The characters depend on the batch, the number does not."""

    def score(self, texts, labels):
        found = super().score(texts, labels)
        return replace(found, spans=found.spans // (2 if len(texts) > 1 else 1))


class NoWindows(ToyScorer):
    def score(self, texts, labels):
        found = super().score(texts, labels)
        return replace(found, windows=np.zeros_like(found.windows))


class Wanders(ToyScorer):
    """Finds its number somewhere else each time."""

    def score(self, texts, labels):
        calls.append(1)
        found = super().score(texts, labels)
        return replace(found, spans=found.spans // len(calls))


class Moody(ToyScorer):
    """Its second answer means something else."""

    def score(self, texts, labels):
        calls.append(1)
        return replace(super().score(texts, labels), meaning="probability" if len(calls) == 1 else "order")


class Reads(ToyScorer):
    """Reads more windows each time."""

    def score(self, texts, labels):
        calls.append(1)
        found = super().score(texts, labels)
        return replace(found, windows=found.windows * len(calls))


# ----------------------------------------------------------------------------- broken manners


class ChangesTexts(ToyScorer):
    def score(self, texts, labels):
        found = super().score(texts, labels)
        texts[0] = texts[0].upper()
        return found


class ChangesLabels(ToyScorer):
    def score(self, texts, labels):
        found = super().score(texts, labels)
        labels.sort(reverse=True)
        return found


class Two(ToyScorer):
    """``score_many`` as good as any; subclasses spoil it."""

    def score_many(self, asks):
        return self.spoil([self.score(a.texts, a.labels) for a in asks])


class Disagrees(Two):
    def spoil(self, found):
        return [replace(f, log_odds=f.log_odds + 1) for f in found]


class AskLeak(Two):
    """Another ask in the plan changes the first."""

    def spoil(self, found):
        return [replace(f, log_odds=f.log_odds + len(found) - 1) for f in found]


class LaterAskLeak(Two):
    def spoil(self, found):
        return [replace(f, log_odds=f.log_odds + k) for k, f in enumerate(found)]


class TooFew(Two):
    def spoil(self, found):
        return found[:1]


class Backwards(Two):
    def spoil(self, found):
        return found[::-1]


class Nameless:
    joint = False
    labels = None
    score = ToyScorer.score


BROKEN = [
    (NotANumber(), "finite log-odds"),
    (Infinite(), "finite log-odds"),
    (Random(), "two equal calls differ"),
    (PaddingLeak(), "alone and in a batch differ"),
    (PlaceLeak(), "alone and in a batch differ"),
    (OrderLeak(), "order of the texts"),
    (Twins(), "repeated text got another score"),
    (SortedRows(), "alone and in a batch differ"),
    (SortedColumns(), "label 'password reset' alone and among others differ"),
    (Softmax(), "label 'password reset' alone and among others differ"),
    (Exclusive(), "label 'password reset' alone and among others differ"),
    (Flat(), "returned log_odds of shape"),
    (DropsEmpty(), "returned log_odds of shape"),
    (Array(), "returned ndarray; expected Scores"),
    (SpansOutside(), "span inside the text"),
    (SpansLeak(), "alone and in a batch have other spans"),
    (NoWindows(), "at least one window"),
    (Wanders(), "two equal calls differ: spans"),
    (Moody(), "two equal calls differ"),
    (Reads(), "two equal calls differ: windows"),
    (ChangesTexts(), "changed the lists"),
    (ChangesLabels(), "changed the lists"),
    (Disagrees(), "score and score_many differ"),
    (AskLeak(), "an ask alone and among others differ"),
    (LaterAskLeak(), "one ask of score_many changed another"),
    (TooFew(), "gave 1 for 2 asks"),
    (Backwards(), "returned log_odds of shape"),
    (ToyScorer(labels=LABELS), "scored a label outside"),
    (ToyScorer(fingerprint=""), "fingerprint must not be empty"),
    (ToyScorer(fingerprint=7), "fingerprint must be a string"),
    (Nameless(), "Nameless lacks .*fingerprint"),
    (object(), "object lacks score"),
]
