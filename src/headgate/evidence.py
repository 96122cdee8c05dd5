"""What :class:`headgate.Grounding` reads of the passages, and what was found there for each claim."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headgate.literals import held, missing, stated
from headgate.scores import Ask, Label, Scores, logistic
from headgate.sentences import Splitter, spans_of

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Span = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """The characters [start, end) of one passage."""

    passage: int
    start: int
    end: int


@dataclass(frozen=True)
class Text:
    """What is read at once: a passage, a sentence of it, or two passages joined by a new line."""

    words: str
    pieces: tuple[Piece, ...]
    kind: Literal["passage", "sentence", "pair"] = "passage"

    def cited(self, start: int, end: int) -> list[Piece]:
        """The characters [start, end) of these words, as those of the passages."""
        out, at = [], 0
        for piece in self.pieces:
            length = piece.end - piece.start
            first, last = max(0, start - at), min(length, end - at)
            if first < last:
                out.append(Piece(piece.passage, piece.start + first, piece.start + last))
            at += length + 1
        return out


@dataclass(frozen=True)
class Checks:
    """What a text must be, beside likely, to support a claim.

    Attributes:
        literals: It holds the claim's numbers and quotes.
        unreadable: No larger share of it, or of the claim, is unknown to the tokenizer.
    """

    literals: bool = True
    unreadable: float = 0.5


@dataclass(frozen=True)
class Found:
    """One relation of a claim to k texts.

    Attributes:
        log_odds: (k,) that it holds.
        spans: (k, 2) the characters of the text that gave them.
    """

    log_odds: Array = field(default_factory=lambda: np.zeros(0))
    spans: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int32))

    @property
    def probabilities(self) -> Array:
        """(k,) in [0, 1]."""
        return logistic(self.log_odds)


@dataclass(frozen=True)
class Evidence:
    """What was found for one claim in k texts.

    Attributes:
        supports: The text entails it.
        contradicts: The text contradicts it; of no text if that wasn't asked.
        admitted: (k,) the text and the claim can be read, and the text holds all its numbers and quotes.
        missing: The numbers and quotes that even the text which holds most of them lacks.
        unknown: Share of the claim that the tokenizer could not read.
    """

    supports: Found
    contradicts: Found
    admitted: Bools
    missing: tuple[str, ...]
    unknown: float

    @property
    def best(self) -> float:
        """The highest log-odds of support, of what is admitted if anything is; -inf without texts."""
        z = self.supports.log_odds
        return float(z[self.admitted if self.admitted.any() else slice(None)].max(initial=-np.inf))


def texts_of(passages: Sequence[str], splitter: Splitter | None, pairs: int) -> list[Text]:
    """The passages, then their sentences, then the first ``pairs`` passages two by two.

    Args:
        passages: Texts; blank ones are read too, and support nothing.
        splitter: Finds the sentences; None leaves them out.
        pairs: How many passages are joined with each other.
    """
    whole = [Text(words, (Piece(i, 0, len(words)),)) for i, words in enumerate(passages)]
    parts = []
    for i, words in enumerate(passages if splitter is not None else []):
        spans = spans_of(splitter, words) if splitter is not None else []
        if len(spans) > 1:  # the only sentence of a passage is the passage
            parts += [Text(words[a:b], (Piece(i, a, b),), "sentence") for a, b in spans]
    joined = [
        Text(f"{a.words}\n{b.words}", (*a.pieces, *b.pieces), "pair")
        for a, b in combinations([w for w in whole[:pairs] if w.words.strip()], 2)
    ]
    return [*whole, *parts, *joined]


def asks_of(claims: Sequence[str], texts: Sequence[Text], contradiction: bool) -> list[Ask]:
    """Every text against every claim, and the claims themselves: how much of them can be read."""
    said = list(dict.fromkeys(claims))
    if not said or not texts:
        return []
    labels = [Label(claim, verbatim=True) for claim in said]
    against = [Label(claim, verbatim=True, relation="contradiction") for claim in said] if contradiction else []
    return [Ask([text.words for text in texts], [*labels, *against]), Ask(said, labels[:1])]


def evidence_of(
    claims: Sequence[str], texts: Sequence[Text], scores: Sequence[Scores], *, contradiction: bool, checks: Checks
) -> list[Evidence]:
    """What the scores of :func:`asks_of` say of each claim.

    Raises:
        NotCalibratedError: The scores are only an order.
        ValueError: They belong to other claims or texts.
    """
    said = {claim: j for j, claim in enumerate(dict.fromkeys(claims))}
    asks = asks_of(claims, texts, contradiction)
    shapes = [(len(ask.texts), len(ask.labels)) for ask in asks]
    if [s.log_odds.shape for s in scores] != shapes:
        raise ValueError(
            f"the scores have shapes {[s.log_odds.shape for s in scores]}, and this answer with these passages asks "
            f"for {shapes}; expected the scores of the same answer, passages and settings."
        )
    if not scores:
        return [_nothing(claim, checks) for claim in claims]
    grid, own = scores
    _ = grid.probabilities  # raises where the scores are only an order
    holds = [held(text.words) for text in texts] if checks.literals else []
    readable = ~grid.empty & (grid.unknown <= checks.unreadable)
    out = []
    for claim in claims:
        j, k = said[claim], said[claim] + len(said)
        literals = stated(claim) if checks.literals else []
        lacking = [missing(literals, h) for h in holds] if literals else [()] * len(texts)
        out.append(
            Evidence(
                supports=_column(grid, j),
                contradicts=_column(grid, k) if contradiction else Found(),
                admitted=readable & np.array([not some for some in lacking]) & (own.unknown[j] <= checks.unreadable),
                missing=min(lacking, key=len),
                unknown=float(own.unknown[j]),
            )
        )
    return out


def _column(scores: Scores, j: int) -> Found:
    return Found(scores.log_odds[:, j].astype(np.float64), scores.spans[:, j])


def _nothing(claim: str, checks: Checks) -> Evidence:
    """The evidence for a claim where there is no passage."""
    lacking = missing(stated(claim), held("")) if checks.literals else ()
    return Evidence(Found(), Found(), np.zeros(0, dtype=np.bool_), lacking, 0.0)
