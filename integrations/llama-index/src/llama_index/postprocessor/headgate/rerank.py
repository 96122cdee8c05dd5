"""Order retrieved nodes for the query."""

from dataclasses import asdict, replace
from typing import Any, ClassVar, Literal

from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Hit, Label, Reranker, Scorer
from headgate.hosting import away
from llama_index.postprocessor.headgate._shared import STRICT, Lazy, dispatcher


class RerankEndEvent(ReRankEndEvent):
    """The host's ReRankEndEvent with the model's findings.

    Args:
        nodes: The nodes that came back, best first.
        hits: For each, a ``headgate.Hit`` as a dict: index before, probability, log-odds, span.
    """

    hits: list[dict[str, Any]]


class HeadgateRerank(Lazy, BaseNodePostprocessor):
    """Rerank nodes with a local model, best first.

    ```python
    from llama_index.postprocessor.headgate import HeadgateRerank

    index.as_query_engine(similarity_top_k=20, node_postprocessors=[HeadgateRerank(top_n=5)])
    ```

    The nodes that come back are new ``NodeWithScore`` around the same nodes; ``score`` is the
    probability that the node answers the query, 0 to 1, or, where the model gives only an order,
    its own number (higher is better, any scale). What is read is the text with the metadata that
    the node shows to embedding models, or as ``metadata_mode`` says. Emits ReRankStartEvent,
    RerankEndEvent (which also holds spans and log-odds) and the legacy RERANKING callback.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        label: Rank by this fixed label instead of by the query.
        long_query: "error" or "windows", for a query too long for the model.
        top_n: At most so many, at least 1; all by default.
        min_probability, top_p, max_gap: More cut-offs, as in ``headgate.Reranker``; they need a
            model that gives probabilities.
        fuse_retrieval_score: Order by the model's and the retriever's scores together; ``score`` is
            still the model's alone.
        metadata_mode: Which metadata is read with the text: "embed" (what the node shows to embedding models), "llm",
            "all" or "none".
        prior_weight: What one standard deviation of the retriever's scores is worth, of the model's.
        reranker: A ready ``headgate.Reranker`` in place of all but ``fuse_retrieval_score`` and
            ``metadata_mode``. Its ``text``, if it has one, reads the NodeWithScore.

    Raises:
        ValueError: ``reranker`` and scalars together; neither query nor label; a node without the score to fuse.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "reranker"
    _beside: ClassVar[frozenset[str]] = frozenset({"fuse_retrieval_score", "metadata_mode"})

    model: str = "mini/rank"
    label: str | Label | None = None
    long_query: Literal["error", "windows"] = "error"
    top_n: int | None = Field(default=None, ge=1)
    min_probability: float | None = None
    top_p: float | None = None
    max_gap: float | None = None
    prior_weight: float = 1.0
    fuse_retrieval_score: bool = False
    metadata_mode: MetadataMode = MetadataMode.EMBED
    reranker: SkipJsonSchema[InstanceOf[Reranker] | None] = None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class in saved data."""
        return "HeadgateRerank"

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

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        label = self.label if self.reranker is None else self.reranker.label
        if query_bundle is None and label is None:
            raise ValueError("no query came; expected one to rank the nodes by: pass query_str or query_bundle.")
        if not nodes:
            return []
        return self._rerank(nodes, query_bundle or QueryBundle(""))

    @dispatcher.span
    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return await away(self._postprocess_nodes, nodes, query_bundle)

    def _rerank(self, nodes: list[NodeWithScore], query: QueryBundle) -> list[NodeWithScore]:
        reranker: Reranker = self._noun()
        name = self.model if self.reranker is None else reranker.scorer.fingerprint
        top_n = reranker.top_k or len(nodes)
        dispatcher.event(ReRankStartEvent(query=query, nodes=nodes, top_n=top_n, model_name=name))
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: name,
            EventPayload.QUERY_STR: query.query_str,
            EventPayload.TOP_K: top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            hits = self._hits(reranker, query.query_str, nodes)
            best = [NodeWithScore(node=nodes[hit.index].node, score=_score(hit)) for hit in hits]
            event.on_end(payload={EventPayload.NODES: best})
        dispatcher.event(RerankEndEvent(nodes=best, hits=[asdict(hit) for hit in hits]))
        return best

    def _text(self, node: NodeWithScore) -> str:
        return node.node.get_content(metadata_mode=self.metadata_mode)

    def _hits(self, reranker: Reranker, query: str, nodes: list[NodeWithScore]) -> list[Hit]:
        prior = [_prior(n) for n in nodes] if self.fuse_retrieval_score else None
        return replace(reranker, text=reranker.text or self._text)(query, nodes, prior=prior)


def _score(hit: Hit) -> float:
    return hit.log_odds if hit.probability is None else hit.probability


def _prior(node: NodeWithScore) -> float:
    if node.score is None:
        raise ValueError(
            f"node {node.node.node_id} has no score; expected the retriever's, because fuse_retrieval_score "
            "is set: leave it out, or retrieve with scores."
        )
    return node.score
