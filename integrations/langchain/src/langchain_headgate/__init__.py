"""headgate in LangChain: rerank and guard retrieved documents, route inputs, guard and check answers."""

from langchain_headgate.groundings import HeadgateGrounding, UngroundedError
from langchain_headgate.guards import Checked, GuardBlockedError, HeadgateDocumentGuard, HeadgateGuard
from langchain_headgate.rerankers import HeadgateReranker
from langchain_headgate.routers import HeadgateRouter, NoRouteError, Routed
from langchain_headgate.streams import HeadgateStreamGuard

__all__ = [
    "Checked",
    "GuardBlockedError",
    "HeadgateDocumentGuard",
    "HeadgateGrounding",
    "HeadgateGuard",
    "HeadgateReranker",
    "HeadgateRouter",
    "HeadgateStreamGuard",
    "NoRouteError",
    "Routed",
    "UngroundedError",
]
