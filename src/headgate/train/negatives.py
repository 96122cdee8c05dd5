"""Hard negatives: documents that a first stage finds for a query, though they don't answer it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from headgate.arguments import listed
from headgate.errors import DataError
from headgate.evaluate.rows import Row, Source, read_rows
from headgate.index import Found, Index
from headgate.scores import Embedder
from headgate.train.common import normal
from headgate.train.cross_encoder_data import graded

log = logging.getLogger(__name__)

Json = dict[str, Any]
_SHINGLE = 3


class _Known(NamedTuple):
    """What is known of a query from all rows: relevant documents, and the normalised texts never to be taken."""

    relevant: list[str]
    barred: set[str]


def mine_negatives(  # noqa: PLR0913  one call, everything by name
    rows: Source,
    documents: Sequence[str],
    embedder: Embedder,
    *,
    per_query: int = 8,
    skip_top: int = 0,
    margin: float | None = 0.05,
    overlap: float = 0.8,
    depth: int = 100,
) -> list[Json]:
    """Rows to train a ranker on: each with its own documents, and the nearest ones that aren't relevant behind them.

    A near document may be an unmarked right answer, and would teach the opposite. So none is taken that is as near as
    the nearest relevant one but for `margin`; that repeats a relevant one or the query, in other punctuation and case
    too, or shares most of its words; or that any row of the same query calls relevant.
    Source of the margin: Moreira et al. 2024, "NV-Retriever", TopK-MarginPos.

    Args:
        rows: Queries with documents, of which one or more is relevant; other keys are kept.
        documents: What is searched.
        embedder: The first stage, such as ``load("mini/embed")``; embeds `documents` once.
        per_query: The most negatives of a query, nearest first.
        skip_top: So many of the nearest documents are passed over, relevant ones among them.
        margin: Cosine; None takes documents however near they are.
        overlap: Share of the runs of three words of the shorter text that make it a repetition of the other, 0 to 1.
        depth: How many of the nearest documents are looked at.

    Returns:
        One row a query that has a negative, in order; the log says how many were left out for want of one.

    Raises:
        DataError: A row has no query or no relevant document, or no row has a negative.
    """
    if per_query < 1 or not 0 <= skip_top < depth:
        raise ValueError(
            f"per_query is {per_query}, skip_top {skip_top} and depth {depth}; expected per_query >= 1 and "
            "0 <= skip_top < depth."
        )
    documents = listed("documents", documents)
    found = read_rows(rows)
    known = _known(found)
    queries = [row.text("query") for row in found]
    near = Index(embedder, documents).search_many(queries, depth)
    limits = _limits(embedder, [known[normal(q)].relevant for q in queries], queries, margin)
    out, short = [], 0
    for row, query, candidates, limit in zip(found, queries, near, limits, strict=True):
        some = _taken(candidates[skip_top:], documents, known[normal(query)], limit, overlap)[:per_query]
        short += len(some) < per_query
        if some:
            added = [{"text": text, "relevance": 0} for text in some]
            out.append({**row.fields, "documents": [*row.fields["documents"], *added]})
    if not out:
        raise DataError(
            f"no query has a negative among {len(documents)} documents; expected more documents, or a lesser "
            f"margin than {margin} and overlap nearer 1 than {overlap}."
        )
    if short:
        log.warning(
            "%d of %d queries have fewer than %d negatives; %d have none and are left out",
            short, len(found), per_query, len(found) - len(out),
        )  # fmt: skip
    return out


def _known(rows: Sequence[Row]) -> dict[str, _Known]:
    """By normalised query: what is relevant to one wording is relevant to it in every row."""
    known: dict[str, _Known] = {}
    for row in rows:
        query = row.text("query")
        entry = known.setdefault(normal(query), _Known([], {normal(query)}))
        documents = graded(row)
        relevant = [text for text, grade in documents if grade > 0]
        if not relevant:
            raise DataError(f"{row.place}: no document is relevant; expected one with a relevance above 0.")
        entry.relevant.extend(relevant)
        entry.barred.update(normal(text) for text, _ in documents)
    return known


def _limits(
    embedder: Embedder, relevant: Sequence[Sequence[str]], queries: Sequence[str], margin: float | None
) -> list[float]:
    """How near a negative may be to each query: its nearest relevant document, less the margin."""
    if margin is None:
        return [np.inf] * len(queries)
    flat = list(dict.fromkeys(text for some in relevant for text in some))
    place = {text: at for at, text in enumerate(flat)}
    documents = embedder.embed(flat, role="document")
    asked = embedder.embed(queries, role="query")
    return [
        float((documents[[place[t] for t in some]] @ vector).max()) - margin
        for some, vector in zip(relevant, asked, strict=True)
    ]


def _taken(
    candidates: Sequence[Found], documents: Sequence[str], known: _Known, limit: float, overlap: float
) -> list[str]:
    """Those that may be called irrelevant, nearest first, each wording once."""
    shingles = [_shingles(normal(text)) for text in known.relevant]
    seen = set(known.barred)
    out = []
    for found in candidates:
        text = documents[found.index]
        plain = normal(text)
        repeats = any(_shared(_shingles(plain), other) >= overlap for other in shingles)
        if plain and plain not in seen and found.cosine <= limit and not repeats:
            out.append(text)
        seen.add(plain)
    return out


def _shingles(plain: str) -> set[tuple[str, ...]]:
    """Every run of three words; of a shorter text all of it."""
    words = plain.split()
    return {tuple(words[i : i + _SHINGLE]) for i in range(max(1, len(words) - _SHINGLE + 1))}


def _shared(a: set[tuple[str, ...]], b: set[tuple[str, ...]]) -> float:
    """The share of the smaller set that the other holds (Broder 1997, "containment")."""
    return len(a & b) / min(len(a), len(b))
