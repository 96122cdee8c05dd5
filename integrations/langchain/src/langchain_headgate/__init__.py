"""headgate in LangChain: rerank and guard retrieved documents, route and guard inputs and answers."""

from typing import TYPE_CHECKING

from langchain_headgate.guards import GuardBlockedError, HeadgateDocumentGuard, HeadgateGuard
from langchain_headgate.rerankers import HeadgateReranker
from langchain_headgate.routers import HeadgateRouter, NoRouteError, Routed

if TYPE_CHECKING:
    from langchain_headgate.decisions import HeadgateDecisionModel as HeadgateDecisionModel

__all__ = [
    "GuardBlockedError",
    "HeadgateDocumentGuard",
    "HeadgateGuard",
    "HeadgateReranker",
    "HeadgateRouter",
    "NoRouteError",
    "Routed",
]


def __getattr__(name: str) -> object:
    # Not with the others, because it needs langchain-core 1.8; an older one says so here.
    if name == "HeadgateDecisionModel":
        from langchain_headgate.decisions import HeadgateDecisionModel

        return HeadgateDecisionModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
