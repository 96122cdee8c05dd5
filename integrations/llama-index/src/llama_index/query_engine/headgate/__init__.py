"""headgate in LlamaIndex: query and chat engines whose questions and answers a guard reads."""

from llama_index.query_engine.headgate.base import HeadgateQueryEngine
from llama_index.query_engine.headgate.chat import GuardedChatResponse, HeadgateChatEngine
from llama_index.query_engine.headgate.guards import TextGuardEvent

__all__ = ["GuardedChatResponse", "HeadgateChatEngine", "HeadgateQueryEngine", "TextGuardEvent"]
