"""Embed queries and documents."""

from typing import ClassVar, Literal

from langchain_core.embeddings import Embeddings
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Embedder, Scorer
from headgate.hosting import UNREAD, away
from langchain_headgate._lazy import STRICT, Lazy


class HeadgateEmbeddings(Lazy, Embeddings):
    """Embed texts with a local sentence encoder.

    ```python
    from langchain_core.vectorstores import InMemoryVectorStore
    from langchain_headgate import HeadgateEmbeddings

    store = InMemoryVectorStore(HeadgateEmbeddings())
    ```

    Vectors have length 1, so a dot product is a cosine. A long text is the mean of its windows, never cut. What reads
    the same encoder, as ``HeadgateReranker`` and heads fitted on it do, takes over what was read of a query that was
    embedded a moment ago.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``; an encoder that its
            files don't call one wants ``family="bi_encoder"``.
        embedder: A ready ``headgate.Embedder`` in place of all the above.

    Raises:
        ValueError: ``embedder`` and scalars together.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "embedder"

    model: str = "mini/embed"
    embedder: SkipJsonSchema[InstanceOf[Embedder] | None] = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector of length 1 for each text, in order; no model is loaded for none."""
        return self._embed(texts, "document") if texts else []

    def embed_query(self, text: str) -> list[float]:
        """The vector of a query; some models read it behind a prompt of its own."""
        return self._embed([text], "query")[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As :meth:`embed_documents`, off the event loop."""
        return await away(self.embed_documents, texts)

    async def aembed_query(self, text: str) -> list[float]:
        """As :meth:`embed_query`, off the event loop."""
        return await away(self.embed_query, text)

    def _embed(self, texts: list[str], role: Literal["query", "document"]) -> list[list[float]]:
        embedder: Embedder = self._noun()
        vectors: list[list[float]] = embedder.embed(texts, role=role).tolist()
        return vectors

    def _make(self, scorer: Scorer) -> Embedder | None:
        if scorer is UNREAD:
            return None
        if not isinstance(scorer, Embedder):
            raise ValueError(
                f"model {self.model!r} is a {type(scorer).__name__}, which gives no vectors; expected a sentence "
                'encoder, such as "mini/embed": read another encoder as one with family="bi_encoder".'
            )
        return scorer
