"""headgate in LlamaIndex: select query engines or retrievers by their descriptions, and tools for agents."""

from llama_index.selectors.headgate.base import HeadgateSelector, SelectionEvent
from llama_index.selectors.headgate.tools import HeadgateToolRetriever

__all__ = ["HeadgateSelector", "HeadgateToolRetriever", "SelectionEvent"]
