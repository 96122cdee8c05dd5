"""headgate in LlamaIndex: evaluate answers with small local models, no LLM call."""

from llama_index.evaluation.headgate.faithfulness import FaithfulnessEvent, HeadgateFaithfulnessEvaluator
from llama_index.evaluation.headgate.relevancy import HeadgateRelevancyEvaluator, RelevancyEvent

__all__ = ["FaithfulnessEvent", "HeadgateFaithfulnessEvaluator", "HeadgateRelevancyEvaluator", "RelevancyEvent"]
