"""headgate in LlamaIndex: embeddings by a small local encoder."""

from llama_index.embeddings.headgate.base import HeadgateEmbedding

__all__ = ["HeadgateEmbedding"]
