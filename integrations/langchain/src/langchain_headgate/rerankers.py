"""Order retrieved documents for the query."""

from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

from langchain_core.documents import Document
from pydantic import Field, InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Label, Reranker, Scorer
from langchain_headgate._compressor import TracedCompressor
from langchain_headgate._lazy import STRICT, Lazy
from langchain_headgate._metadata import annotated, first_stage, page_content, relevance


class HeadgateReranker(Lazy, TracedCompressor):
    """Rerank documents with a local model, best first.

    ```python
    from langchain_classic.retrievers import ContextualCompressionRetriever
    from langchain_headgate import HeadgateReranker

    ContextualCompressionRetriever(base_compressor=HeadgateReranker(top_n=5), base_retriever=retriever)
    ```

    The documents that come back are copies, with their ``id`` and four more metadata entries:

    - ``relevance_score``: the probability that the document answers the query, 0 to 1; where the
      model gives only an order, its own number (higher is better, any scale).
    - ``relevance_meaning``: ``"probability"`` or ``"order"``, which of the two it is.
    - ``relevance_rank``: the place in the list, from 1.
    - ``relevance_span``: the characters ``[start, end]`` of the document that gave the score.

    With ``prior_key`` the order is that of the fused scores, and ``relevance_score`` is still the
    model's alone.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        label: Rank by this fixed label instead of by the query.
        long_query: "error" or "windows", for a query too long for the model.
        top_n: At most so many, at least 1; all by default.
        min_probability, top_p, max_gap: More cut-offs, as in ``headgate.Reranker``; they need a
            model that gives probabilities.
        prior_key: The metadata entry that holds the first stage's score (higher is better), to be
            fused with the model's.
        prior_weight: What one standard deviation of the first stage is worth, of the model's.
        reranker: A ready ``headgate.Reranker`` in place of all the above but ``prior_key``. Its
            ``text``, if it has one, reads the Document.

    Raises:
        ValueError: ``reranker`` and scalars together; a document without a number under ``prior_key``.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "reranker"
    _beside: ClassVar[frozenset[str]] = frozenset({"prior_key"})

    model: str = "mini/rank"
    label: str | Label | None = None
    long_query: Literal["error", "windows"] = "error"
    top_n: int | None = Field(default=None, ge=1)
    min_probability: float | None = None
    top_p: float | None = None
    max_gap: float | None = None
    prior_weight: float = 1.0
    prior_key: str | None = None
    reranker: SkipJsonSchema[InstanceOf[Reranker] | None] = None

    def _make(self, scorer: Scorer) -> Reranker:
        return Reranker(
            scorer,
            label=self.label,
            long_query=self.long_query,
            top_k=self.top_n,
            min_probability=self.min_probability,
            top_p=self.top_p,
            max_gap=self.max_gap,
            prior_weight=self.prior_weight,
        )

    def _compress(self, query: str, documents: list[Document]) -> dict[str, Any]:
        if not documents:
            return {"documents": [], "hits": []}
        rerank: Reranker = self._noun()
        if rerank.text is None:
            rerank = replace(rerank, text=page_content)
        hits = rerank(query, documents, prior=first_stage(documents, self.prior_key))
        best = [annotated(documents[hit.index], relevance(hit, i + 1)) for i, hit in enumerate(hits)]
        return {"documents": best, "hits": [asdict(hit) for hit in hits]}
