"""headgate in LangChain agents; needs langchain: ``pip install "langchain-headgate[agents]"``."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_headgate.agents.model_gates import AbstainedError as AbstainedError
    from langchain_headgate.agents.model_gates import HeadgateModelGateMiddleware as HeadgateModelGateMiddleware
    from langchain_headgate.agents.tool_gates import HeadgateToolGateMiddleware as HeadgateToolGateMiddleware

_GATES = {
    "AbstainedError": "model_gates",
    "HeadgateModelGateMiddleware": "model_gates",
    "HeadgateToolGateMiddleware": "tool_gates",
}


def __getattr__(name: str) -> object:
    # Not with the others, because they need langchain-core 1.8 and langchain 1.5; older ones say so here.
    if name in _GATES:
        return getattr(import_module(f"langchain_headgate.agents.{_GATES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
