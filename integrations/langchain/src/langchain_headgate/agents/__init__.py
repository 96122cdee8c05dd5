"""headgate in LangChain agents: middlewares that guard what goes in and out, and choose the tools.

Needs langchain: ``pip install "langchain-headgate[agents]"``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

try:
    from langchain.agents.middleware.types import ExtendedModelResponse, TracePolicy  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"langchain is missing or too old ({error}), and langchain_headgate.agents needs it; "
        'run: pip install "langchain-headgate[agents]"'
    ) from error

from langchain_headgate.agents.chat_model import GuardedChatModel
from langchain_headgate.agents.inputs import HeadgateInputGuardMiddleware
from langchain_headgate.agents.outputs import HeadgateOutputGuardMiddleware
from langchain_headgate.agents.selector import HeadgateToolSelectorMiddleware
from langchain_headgate.agents.tools import HeadgateToolGuardMiddleware, HeadgateToolResultGuardMiddleware

if TYPE_CHECKING:
    from langchain_headgate.agents.model_gates import AbstainedError as AbstainedError
    from langchain_headgate.agents.model_gates import HeadgateModelGateMiddleware as HeadgateModelGateMiddleware
    from langchain_headgate.agents.tool_gates import HeadgateToolGateMiddleware as HeadgateToolGateMiddleware

__all__ = [
    "GuardedChatModel",
    "HeadgateInputGuardMiddleware",
    "HeadgateOutputGuardMiddleware",
    "HeadgateToolGuardMiddleware",
    "HeadgateToolResultGuardMiddleware",
    "HeadgateToolSelectorMiddleware",
]

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
