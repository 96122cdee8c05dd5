"""What is read of a document, and what is written into the metadata of its copy."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from numbers import Real
from typing import Any

from langchain_core.documents import Document

from headgate import Hit, Verdict


def page_content(document: Document) -> str:
    """The words of a document.

    Raises:
        TypeError: Something else came.
    """
    if not isinstance(document, Document):
        raise TypeError(f"a document is {type(document).__name__}; expected langchain_core Document.")
    return document.page_content


def annotated(document: Document, metadata: Mapping[str, Any]) -> Document:
    """A copy with more metadata, nothing of which it shares: retrievers may cache the documents they return."""
    return document.model_copy(update={"metadata": {**deepcopy(document.metadata), **metadata}})


def relevance(hit: Hit, rank: int) -> dict[str, Any]:
    """A hit as metadata: the same entries always, so that none of an earlier reranker's is left.

    Args:
        hit: What was found.
        rank: Its place, from 1.
    """
    probable = hit.probability is not None
    return {
        "relevance_score": hit.probability if probable else hit.log_odds,
        "relevance_meaning": "probability" if probable else "order",
        "relevance_rank": rank,
        "relevance_span": list(hit.span),
    }


def guarded(document: Document, verdict: Verdict) -> dict[str, Any]:
    """A verdict as metadata, beside what earlier guards of the chain found of other rules."""
    before = document.metadata.get("guard_probabilities")
    earlier = deepcopy(dict(before)) if isinstance(before, Mapping) else {}
    return {"guard_probabilities": {**earlier, **verdict.probabilities}}


def first_stage(documents: Sequence[Document], key: str | None) -> list[float] | None:
    """The first stage's scores, from the metadata; None without a key.

    Raises:
        ValueError: One has none.
    """
    return None if key is None else [_score(document, key) for document in documents]


def _score(document: Document, key: str) -> float:
    value = document.metadata.get(key)
    if not isinstance(value, Real):
        raise ValueError(
            f"metadata[{key!r}] of document {document.page_content[:60]!r} is {value!r}; expected the first "
            "stage's score: have the retriever write it, or leave prior_key out."
        )
    return float(value)
