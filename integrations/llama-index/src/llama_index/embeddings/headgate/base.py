"""Embed texts and queries."""

from typing import Any, ClassVar, Literal, cast

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.bridge.pydantic import model_validator
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Embedder, Scorer
from headgate.hosting import away
from llama_index.postprocessor.headgate._shared import STRICT, Lazy


class HeadgateEmbedding(Lazy, BaseEmbedding):
    """Embed with a local encoder; its vectors have length 1.

    ```python
    from llama_index.embeddings.headgate import HeadgateEmbedding

    embed_model = HeadgateEmbedding()
    vector = embed_model.get_query_embedding("how do I reset it?")
    ```

    A query is embedded as a query and a text as a document, for models that put a prompt in front of one. A text too
    long for the model is the mean of its windows. Each batch of ``embed_batch_size`` texts is one call.

    Args:
        model: A folder, a Hub id or a part of the default: a bi-encoder; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        embedder: A ready ``headgate.Embedder`` in place of the model's name and its arguments.
        model_name: What events call it; by default the model.
        embed_batch_size, num_workers, embeddings_cache, rate_limiter: As in any embedding of the host. One cache
            serves queries and texts alike, so leave it out where the model has a prompt for either.

    Raises:
        ValueError: ``embedder`` and a model's arguments together.
        TypeError: The model embeds nothing.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "embedder"
    _beside: ClassVar[frozenset[str]] = frozenset(
        {"model_name", "embed_batch_size", "num_workers", "embeddings_cache", "rate_limiter"}
    )

    model: str = "mini/embed"
    embedder: SkipJsonSchema[InstanceOf[Embedder] | None] = None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class in saved data."""
        return "HeadgateEmbedding"

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "model_name" in data:
            return data
        ready = data.get("embedder")
        name = getattr(ready, "fingerprint", type(ready).__name__)
        return {**data, "model_name": data.get("model", cls.model_fields["model"].default) if ready is None else name}

    def _make(self, scorer: Scorer) -> Embedder:
        return cast(Embedder, scorer)  # what embeds is loaded as what scores is

    def _embed(self, texts: list[str], role: Literal["query", "document"]) -> list[Embedding]:
        embedder = self._noun()
        if not isinstance(embedder, Embedder):
            raise TypeError(
                f"{self.model} is a {type(embedder).__name__}, which embeds nothing; expected a bi-encoder: "
                'such as model="mini/embed".'
            )
        return cast(list[Embedding], embedder.embed(texts, role=role).tolist())

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._embed([query], "query")[0]

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._embed([text], "document")[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._embed(texts, "document")

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await away(self._get_query_embedding, query)

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await away(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await away(self._get_text_embeddings, texts)
