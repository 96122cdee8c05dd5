"""headgate in LangChain: rerank and guard retrieved documents, route and guard inputs and answers."""

from langchain_headgate.guards import GuardBlockedError, HeadgateDocumentGuard, HeadgateGuard
from langchain_headgate.rerankers import HeadgateReranker
from langchain_headgate.routers import HeadgateRouter, NoRouteError, Routed

__all__ = [
    "GuardBlockedError",
    "HeadgateDocumentGuard",
    "HeadgateGuard",
    "HeadgateReranker",
    "HeadgateRouter",
    "NoRouteError",
    "Routed",
]
