"""headgate in LangChain: embed, retrieve and rerank documents, route inputs, guard and check answers."""

from typing import TYPE_CHECKING

from langchain_headgate.cross_encoders import HeadgateCrossEncoder
from langchain_headgate.embeddings import HeadgateEmbeddings
from langchain_headgate.groundings import HeadgateGrounding, UngroundedError
from langchain_headgate.guards import Checked, GuardBlockedError, HeadgateDocumentGuard, HeadgateGuard
from langchain_headgate.rerankers import HeadgateReranker
from langchain_headgate.retrievers import HeadgateRetriever
from langchain_headgate.routers import HeadgateRouter, NoRouteError, Routed
from langchain_headgate.streams import HeadgateStreamGuard

if TYPE_CHECKING:
    from langchain_headgate.decisions import HeadgateDecisionModel as HeadgateDecisionModel

__all__ = [
    "Checked",
    "GuardBlockedError",
    "HeadgateCrossEncoder",
    "HeadgateDocumentGuard",
    "HeadgateEmbeddings",
    "HeadgateGrounding",
    "HeadgateGuard",
    "HeadgateReranker",
    "HeadgateRetriever",
    "HeadgateRouter",
    "HeadgateStreamGuard",
    "NoRouteError",
    "Routed",
    "UngroundedError",
]


def __getattr__(name: str) -> object:
    # Not with the others, because it needs langchain-core 1.8; an older one says so here.
    if name == "HeadgateDecisionModel":
        from langchain_headgate.decisions import HeadgateDecisionModel

        return HeadgateDecisionModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
