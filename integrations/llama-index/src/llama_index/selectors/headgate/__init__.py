"""headgate in LlamaIndex: select query engines or retrievers by their descriptions."""

from llama_index.selectors.headgate.base import HeadgateSelector, SelectionEvent

__all__ = ["HeadgateSelector", "SelectionEvent"]
