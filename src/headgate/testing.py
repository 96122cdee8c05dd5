"""What a scorer must do to be a scorer, and a toy one to test with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from headgate.errors import LabelError
from headgate.scores import Ask, Floats, Label, Meaning, Scorer, Scores, as_label, checked, judge

TEXTS = (
    "Reset my password",
    "",
    "The invoice is wrong, please refund me. " * 60,
    "Naïve café ☕ 東京 \x00 \ud800",
    "<<LABEL>> [SEP] </s> [MASK] ignore this",
    "   \n\t ",
)
LABELS = ("password reset", "billing", "wrong invoice")


@dataclass(frozen=True)
class ToyScorer:
    """Odds that grow with the share of the label's words that occur in the text; needs no model.

    Args:
        meaning: What its scores claim to be.
        thresholds: Thresholds for labels of its own, as a trained guard brings them.
    """

    meaning: Meaning = "probability"
    thresholds: dict[str, float] = field(default_factory=dict)
    joint: bool = False
    labels: tuple[str, ...] | None = None
    fingerprint: str = "toy"

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        """See :class:`headgate.Scorer`."""
        for label in labels:
            if as_label(label).relation != "entailment":
                raise LabelError(f"ToyScorer was asked for {as_label(label).relation}; it knows entailment only.")
        bags = [set(re.findall(r"\w+", t.lower())) for t in texts]
        words = [re.findall(r"\w+", as_label(label).text.lower()) or [""] for label in labels]
        share = [[float(np.mean([w in bag for w in ws])) for ws in words] for bag in bags]
        z = 8 * np.array(share, dtype=np.float32).reshape(len(texts), len(labels)) - 4
        return Scores.of(z, texts, meaning=self.meaning)

    def split_label(self, label: str) -> list[str]:
        """Its sentences."""
        return [part.strip() for part in label.split(".") if part.strip()] or [label]


def check_scorer(
    scorer: Scorer,
    *,
    texts: Sequence[str] = TEXTS,
    labels: Sequence[str] | None = None,
    atol: float = 1e-4,
) -> None:
    """Raise AssertionError or ScorerError if ``scorer`` breaks the contract; for your own tests.

    Checks shape, finiteness, spans, determinism; that a text's score depends neither on its batch
    mates nor on its place, and a label's on other labels only where the scorer says ``joint``;
    that ``score_many`` agrees with ``score``; that nothing passed in is changed; and that a closed
    vocabulary refuses strangers.

    Args:
        scorer: The scorer to check.
        texts: At least two different ones.
        labels: At least two that it knows; the first of its own for a closed vocabulary.
        atol: Largest difference in log-odds that batching may make.
    """
    assert isinstance(scorer, Scorer), f"{type(scorer).__name__} lacks score, joint, labels or fingerprint"
    known = list(labels if labels is not None else (scorer.labels or LABELS)[:3])
    texts = list(texts)
    full = _judge(scorer, texts, known)
    assert isinstance(scorer.fingerprint, str), "fingerprint must be a string"
    assert scorer.fingerprint, "fingerprint must not be empty"
    _same(_judge(scorer, texts, known), full, atol, "two equal calls differ")
    _check_score(scorer, texts, known, full, atol)
    _check_batching(scorer, texts, known, full, atol)
    if not scorer.joint:
        for j, label in enumerate(known):
            alone = _judge(scorer, texts, [label]).log_odds[:, 0]
            _close(alone, full.log_odds[:, j], atol, f"label {label!r} alone and among others differ")
    if scorer.labels is not None:
        _check_closed(scorer, texts[:1])


def _check_score(scorer: Scorer, texts: list[str], labels: list[str], full: Scores, atol: float) -> None:
    # Not through judge, which copies the lists and prefers score_many.
    given = list(texts), list(labels)
    found = scorer.score(texts, labels)
    assert (texts, labels) == given, "the scorer changed the lists it was given"
    _same(checked(type(scorer).__name__, Ask(texts, labels), found), full, atol, "score and score_many differ")


def _check_batching(scorer: Scorer, texts: list[str], labels: list[str], full: Scores, atol: float) -> None:
    for i, text in enumerate(texts):
        alone = _judge(scorer, [text], labels)
        _close(alone.log_odds[0], full.log_odds[i], atol, f"text {i} alone and in a batch differ")
        assert (alone.spans[0] == full.spans[i]).all(), f"text {i} alone and in a batch have other spans"
    back = _judge(scorer, texts[::-1], labels)
    _close(back.log_odds[::-1], full.log_odds, atol, "the order of the texts changed the scores")
    twice = _judge(scorer, [*texts, *texts], labels)
    _close(twice.log_odds[len(texts) :], full.log_odds, atol, "a repeated text got another score")
    many = judge(scorer, [Ask(texts, labels), Ask([], labels), Ask(texts[:1], labels)])
    _same(many[0], full, atol, "an ask alone and among others differ")
    _close(many[2].log_odds[0], full.log_odds[0], atol, "one ask of score_many changed another")
    assert many[1].log_odds.shape == (0, len(labels)), "no texts must give no rows"


def _check_closed(scorer: Scorer, texts: list[str]) -> None:
    try:
        scorer.score(texts, ["a label nobody has trained, 7f3a"])
    except ValueError:
        return
    raise AssertionError("the scorer has a closed vocabulary and scored a label outside it")


def _judge(scorer: Scorer, texts: Sequence[str], labels: Sequence[str]) -> Scores:
    return judge(scorer, [Ask(texts, labels)])[0]


def _same(a: Scores, b: Scores, atol: float, message: str) -> None:
    _close(a.log_odds, b.log_odds, atol, message)
    assert (a.meaning, a.exclusive) == (b.meaning, b.exclusive), message
    assert (a.spans == b.spans).all(), f"{message}: spans"
    assert (a.windows == b.windows).all(), f"{message}: windows"


def _close(a: Floats, b: Floats, atol: float, message: str) -> None:
    worst = float(np.abs(a - b).max()) if a.size else 0.0
    assert worst <= atol, f"{message}: log-odds by up to {worst:.3g}, allowed {atol:.3g}"
