"""headgate in LlamaIndex: rerank retrieved nodes, and keep out what a guard forbids."""

from llama_index.postprocessor.headgate.guard import HeadgateNodeGuard, NodeGuardEvent
from llama_index.postprocessor.headgate.rerank import HeadgateRerank, RerankEndEvent

__all__ = ["HeadgateNodeGuard", "HeadgateRerank", "NodeGuardEvent", "RerankEndEvent"]
