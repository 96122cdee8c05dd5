"""Order documents for a query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed, probability
from headgate.conversation import Conversation, last_turns
from headgate.errors import NotCalibratedError
from headgate.scores import Ask, Label, Scorer, Scores, judge, logistic

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Hit:
    """One document of a ranking.

    Attributes:
        index: Where the document stood in the list that came in.
        probability: P(the query is true of it), or None where the scorer gives an order only.
        log_odds: The model's own number; higher is better.
        span: The characters [start, end) of the document that gave the score.
        empty: The document holds nothing but white space.
        prior: The first stage's score, as it was given.
    """

    index: int
    probability: float | None
    log_odds: float
    span: tuple[int, int]
    empty: bool = False
    prior: float | None = None


@dataclass(frozen=True)
class Reranker:
    """Order documents, best first, and cut the list where you say.

    Sorts on log-odds, which don't saturate; ties keep the order that came in; empty documents come
    last. Cut-offs apply together, each measured on all documents.

    Args:
        scorer: What judges a document by the query.
        label: Rank by this fixed label instead of by the query.
        text: Where a document's words are, for documents that aren't strings.
        long_query: "error" raises on a query too long for the model; "windows" splits it into
            parts that fit and ranks by their mean log-odds.
        top_k: At most so many, at least 1.
        min_probability: None below it, in [0, 1].
        top_p: The fewest, from the top, that hold this share of the probability of all, in (0, 1].
        max_gap: None this many log-odds or more below the best.
        prior_weight: With ``prior=``: how many standard deviations of the model's log-odds one
            standard deviation of the first stage's scores is worth.
        turns: How many last messages of a conversation make the query.
    """

    scorer: Scorer
    label: str | Label | None = None
    text: Callable[[Any], str] | None = None
    long_query: Literal["error", "windows"] = "error"
    top_k: int | None = None
    min_probability: float | None = None
    top_p: float | None = None
    max_gap: float | None = None
    prior_weight: float = 1.0
    turns: int = 2

    def __post_init__(self) -> None:
        if self.long_query not in ("error", "windows"):
            raise ValueError(f'long_query is {self.long_query!r}; expected "error" or "windows".')
        _range("top_k", self.top_k, _count(self.top_k), "a whole number, 1 or more")
        if self.min_probability is not None:
            probability("min_probability", self.min_probability)
        _range("top_p", self.top_p, _inside(self.top_p, 1e-12, 1), "above 0, at most 1")
        _range("max_gap", self.max_gap, _inside(self.max_gap, 0, np.inf), "0 or more log-odds")
        _range("prior_weight", self.prior_weight, _inside(self.prior_weight, 0, np.finfo(float).max), "0 or more")
        _range("turns", self.turns, self.turns >= 1, "1 or more")

    def __call__(
        self,
        query: Conversation,
        documents: Sequence[Any],
        *,
        prior: Sequence[float] | None = None,
        top_k: int | None = None,
    ) -> list[Hit]:
        """Rank ``documents`` for ``query``, best first.

        Args:
            query: The query, or a conversation that ends in it.
            documents: Strings, or anything that ``text`` reads; none is copied or changed.
            prior: The first stage's score of each document, higher is better, fused by its z-score.
            top_k: In place of the reranker's own.
        """
        scores = judge(self.scorer, self.ask(query, documents))
        return self.decide(scores, prior=prior, top_k=top_k)

    def many(self, queries: Sequence[Conversation], documents: Sequence[Sequence[Any]]) -> list[list[Hit]]:
        """Rank each list of documents for its own query, all in one batch plan."""
        queries, documents = listed("queries", queries), listed("documents", documents)
        if len(queries) != len(documents):
            raise ValueError(f"{len(queries)} queries and {len(documents)} lists of documents; expected as many.")
        asks = [ask for q, d in zip(queries, documents, strict=True) for ask in self.ask(q, d)]
        return [self.decide([scores]) for scores in judge(self.scorer, asks)]

    def ask(self, query: Conversation, documents: Sequence[Any]) -> list[Ask]:
        """What to score: all documents against the query, or against the parts of a long one."""
        documents = listed("documents", documents)
        texts = documents if self.text is None else [self.text(d) for d in documents]
        label = last_turns(query, self.turns) if self.label is None else self.label
        if isinstance(label, str) and not label.strip():
            raise ValueError("the query is blank; expected words to rank the documents by.")
        if self.long_query == "windows" and isinstance(label, str):
            split = getattr(self.scorer, "split_label", None)
            if split is None:
                raise TypeError(
                    f'{type(self.scorer).__name__} has no split_label, which long_query="windows" needs; '
                    'use "error", or give the scorer split_label(str) -> list[str].'
                )
            return [Ask(texts, list(dict.fromkeys(split(label))))]
        return [Ask(texts, [label])]

    def decide(
        self, scores: Sequence[Scores], *, prior: Sequence[float] | None = None, top_k: int | None = None
    ) -> list[Hit]:
        """The ranking that these scores of one ask mean; pure, so a stored one can be replayed."""
        (found,) = scores
        if found.meaning == "order" and (self.min_probability, self.top_p, self.max_gap) != (None,) * 3:
            raise NotCalibratedError(
                "min_probability, top_p and max_gap need probabilities, and this scorer gives only an order; "
                "use top_k, or fit one: Calibration.fit(scores, truths).on(scorer)."
            )
        z = found.log_odds.astype(np.float64).mean(axis=1)
        rank = z if prior is None else _fuse(z, _prior(prior, len(z)), self.prior_weight, found.empty)
        order = np.lexsort((np.arange(len(z)), -rank, found.empty))
        hits = [_hit(found, z, int(i), prior) for i in order]
        limit = self.top_k if top_k is None else top_k
        _range("top_k", limit, _count(limit), "a whole number, 1 or more")
        return self._cut(hits)[:limit]

    def _cut(self, hits: list[Hit]) -> list[Hit]:
        best = max((h.log_odds for h in hits), default=0.0)
        kept = hits
        if self.top_p is not None and hits:  # first, since its share is of all documents
            mass = np.cumsum([h.probability or 0.0 for h in hits])
            kept = hits[: int(np.searchsorted(mass, self.top_p * mass[-1])) + 1]
        if self.min_probability is not None:
            kept = [h for h in kept if not (h.probability or 0.0) < self.min_probability]
        if self.max_gap is not None:
            kept = [h for h in kept if best - h.log_odds < self.max_gap or h.log_odds == best]
        return kept


def _hit(scores: Scores, z: Array, i: int, prior: Sequence[float] | None) -> Hit:
    best = int(scores.log_odds[i].argmax())  # of a long query's parts, the one that matched best
    start, end = (int(c) for c in scores.spans[i, best])
    probability = None if scores.meaning == "order" else float(logistic(z[i]))
    return Hit(
        index=i,
        probability=probability,
        log_odds=float(z[i]),
        span=(start, end),
        empty=bool(scores.empty[i]),
        prior=None if prior is None else float(prior[i]),
    )


def _prior(prior: Sequence[float], n: int) -> Array:
    values = np.asarray(listed("prior", prior), dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(f"prior has shape {values.shape}; expected {n} first-stage scores, one a document.")
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"prior {at} is {values[at]}; expected finite first-stage scores.")
    return values


def _fuse(z: Array, prior: Array, weight: float, empty: NDArray[np.bool_]) -> Array:
    """Sum of z-scores over the documents that hold text; a constant side adds nothing."""
    return _standard(z, ~empty) + weight * _standard(prior, ~empty)


def _standard(x: Array, live: NDArray[np.bool_]) -> Array:
    spread = float(x[live].std()) if live.any() else 0.0
    return np.zeros_like(x) if spread == 0.0 else (x - x[live].mean()) / spread


def _inside(value: float | None, low: float, high: float) -> bool:
    return value is None or bool(low <= value <= high)


def _count(value: int | None) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return value is None or (whole and value >= 1)


def _range(name: str, value: float | None, ok: bool, expected: str) -> None:
    if not ok:
        raise ValueError(f"{name} is {value!r}; expected {expected}.")
