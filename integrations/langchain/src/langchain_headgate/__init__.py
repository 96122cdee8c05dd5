"""headgate in LangChain: embed, retrieve, rerank and guard documents, route and guard inputs and answers."""

from langchain_headgate.cross_encoders import HeadgateCrossEncoder
from langchain_headgate.embeddings import HeadgateEmbeddings
from langchain_headgate.guards import GuardBlockedError, HeadgateDocumentGuard, HeadgateGuard
from langchain_headgate.rerankers import HeadgateReranker
from langchain_headgate.retrievers import HeadgateRetriever
from langchain_headgate.routers import HeadgateRouter, NoRouteError, Routed

__all__ = [
    "GuardBlockedError",
    "HeadgateCrossEncoder",
    "HeadgateDocumentGuard",
    "HeadgateEmbeddings",
    "HeadgateGuard",
    "HeadgateReranker",
    "HeadgateRetriever",
    "HeadgateRouter",
    "NoRouteError",
    "Routed",
]
