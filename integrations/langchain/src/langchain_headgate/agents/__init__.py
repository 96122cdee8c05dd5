"""headgate in LangChain agents; needs langchain: ``pip install "langchain-headgate[agents]"``."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_headgate.agents.decisions import AbstainedError as AbstainedError
    from langchain_headgate.agents.decisions import HeadgateModelGateMiddleware as HeadgateModelGateMiddleware
    from langchain_headgate.agents.decisions import HeadgateToolGateMiddleware as HeadgateToolGateMiddleware

_DECISIONS = {"AbstainedError", "HeadgateModelGateMiddleware", "HeadgateToolGateMiddleware"}


def __getattr__(name: str) -> object:
    # Not with the others, because they need langchain-core 1.8 and langchain 1.5; older ones say so here.
    if name in _DECISIONS:
        return getattr(import_module("langchain_headgate.agents.decisions"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
