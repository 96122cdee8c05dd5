"""Rerank for a request, whatever dialect it came in."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request

from headgate.rerank import Hit, Reranker
from headgate.scores import Ask, Scorer, logistic
from headgate.sentences import sentences, spans_of
from headgate.serve.faults import Fault
from headgate.serve.service import Service


@dataclass(frozen=True)
class Spans:
    """Which passages of a document to point out.

    Attributes:
        threshold: From this probability up.
        most: At most so many of a document, the best first; None for all.
    """

    threshold: float = 0.1
    most: int | None = None


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Attributes:
        query: What to rank for.
        texts: The documents' words.
        model: Name of the reranker.
        top_n: At most so many; None or 0 for all.
        max_tokens: Of a document, the rest isn't read; None reads all.
        max_chunks: The same, counted in lengths of the model.
        spans: What to point out.
    """

    query: str
    texts: Sequence[str]
    model: str | None = None
    top_n: int | None = None
    max_tokens: int | None = None
    max_chunks: int | None = None
    spans: Spans | None = None


@dataclass(frozen=True)
class Passage:
    """Characters [start, end) of a document, and how relevant they are, 0 to 1."""

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Ranking:
    """What was found.

    Attributes:
        model: Name of the reranker that ran.
        hits: Best first.
        scores: Of each hit: its probability, 0 to 1, or where the model gives an order only, a number that sorts.
        meaning: "probability" or "order".
        tokens: Of all that was read.
        spans: Of each hit, where they were asked for.
        warnings: What was left out because the caller said so.
    """

    model: str
    hits: Sequence[Hit]
    scores: Sequence[float]
    meaning: str
    tokens: int
    spans: Sequence[Sequence[Passage]] | None = None
    warnings: Sequence[str] = field(default_factory=tuple)


async def ranked(service: Service, request: Request, wanted: Wanted) -> Ranking:
    """The ranking that a request asks for.

    Raises:
        Fault: It is refused, or asks for what can't be.
    """
    if not wanted.query.strip():
        raise Fault("invalid", "invalid request: query must not be empty or be only whitespace", param="query")
    if not wanted.texts:
        raise Fault("invalid", "invalid request: list of documents must not be empty", param="documents")
    most = service.settings.limits.documents
    if len(wanted.texts) > most:
        raise Fault("invalid", f"{len(wanted.texts)} documents came; expected at most {most}.", param="documents")
    name, reranker = service.catalog.reranker(wanted.model)
    size = sum(map(len, wanted.texts)) + len(wanted.query) * len(wanted.texts)
    found = await service.run(request, size, lambda: _rank(service, name, reranker, wanted))
    service.note(request, model=name, documents=len(wanted.texts), tokens=found.tokens, texts=[wanted.query])
    return found


def _rank(service: Service, name: str, reranker: Reranker, wanted: Wanted) -> Ranking:
    texts, warnings = _shortened(reranker.scorer, wanted)
    asks = reranker.ask(wanted.query, texts)
    scores, tokens = service.judge(name, reranker.scorer, asks)
    hits = reranker.decide(scores, top_k=wanted.top_n or None)
    spans = None
    if wanted.spans is not None:
        spans, more = _passages(service, name, reranker, [texts[hit.index] for hit in hits], wanted)
        tokens += more
    # From the log-odds in float64, which don't saturate where float32 would tie.
    numbers = logistic([hit.log_odds for hit in hits]).tolist()
    return Ranking(name, hits, numbers, scores[0].meaning, tokens, spans, warnings)


def _shortened(scorer: Scorer, wanted: Wanted) -> tuple[Sequence[str], list[str]]:
    """What is to be read of the documents, and what is said of the rest."""
    inner: Any = getattr(scorer, "scorer", scorer)  # beneath its calibration
    if wanted.max_tokens is None and wanted.max_chunks is None:
        return wanted.texts, []
    if not hasattr(inner, "beginning"):
        return wanted.texts, ["max_tokens_per_doc and max_chunks_per_doc have no effect here: all was read."]
    bounds = [wanted.max_tokens, wanted.max_chunks and wanted.max_chunks * inner.max_length]
    texts = inner.beginning(wanted.texts, min(bound for bound in bounds if bound is not None))
    cut = [i for i, (whole, part) in enumerate(zip(wanted.texts, texts, strict=True)) if len(part) < len(whole)]
    few = ", ".join(map(str, cut[:10])) + (", …" if len(cut) > 10 else "")
    return texts, [f"of {len(cut)} documents ({few}) only the beginning was read, as asked."] if cut else []


def _passages(
    service: Service, name: str, reranker: Reranker, texts: Sequence[str], wanted: Wanted
) -> tuple[list[list[Passage]], int]:
    """Of each text the sentences that are relevant, best first; all judged in one plan."""
    assert wanted.spans is not None
    found = [spans_of(sentences(), text) for text in texts]
    plain = replace(reranker, text=None)
    asks: list[Ask] = [
        plain.ask(wanted.query, [text[a:b] for a, b in spans])[0] for text, spans in zip(texts, found, strict=True)
    ]
    scores, tokens = service.judge(name, reranker.scorer, asks)
    out = []
    for spans, mine in zip(found, scores, strict=True):
        p = logistic(mine.log_odds.astype("float64").mean(axis=1)).tolist()
        passages = [Passage(a, b, q) for (a, b), q in zip(spans, p, strict=True) if q >= wanted.spans.threshold]
        out.append(sorted(passages, key=lambda passage: -passage.score)[: wanted.spans.most])
    return out, tokens
