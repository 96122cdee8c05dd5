"""headgate in LangChain agents: middlewares that guard what goes in and out, and choose the tools.

Needs langchain: ``pip install "langchain-headgate[agents]"``.
"""

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

__all__ = [
    "GuardedChatModel",
    "HeadgateInputGuardMiddleware",
    "HeadgateOutputGuardMiddleware",
    "HeadgateToolGuardMiddleware",
    "HeadgateToolResultGuardMiddleware",
    "HeadgateToolSelectorMiddleware",
]
