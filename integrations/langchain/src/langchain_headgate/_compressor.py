"""A document compressor that shows up in traces."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.runnables import RunnableLambda

from headgate.hosting import away


class TracedCompressor(BaseDocumentCompressor):
    """Opens a chain run of its own, child of the caller's; LangChain opens none for compressors.

    The run's inputs are ``query`` and ``documents``; its outputs ``documents`` and whatever the
    subclass adds to explain them. Errors end the run as failed. The async method works in a thread.
    """

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """See the class; documents that come in are not changed."""
        work = {"query": query, "documents": list(documents)}
        return list(self._run().invoke(work, {"callbacks": callbacks})["documents"])

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """As :meth:`compress_documents`, off the event loop."""
        work = {"query": query, "documents": list(documents)}
        return list((await self._run().ainvoke(work, {"callbacks": callbacks}))["documents"])

    @abstractmethod
    def _compress(self, query: str, documents: list[Document]) -> dict[str, Any]:
        """``documents`` to return, and whatever else the trace should hold."""

    def _run(self) -> RunnableLambda[dict[str, Any], dict[str, Any]]:
        def compress(work: dict[str, Any]) -> dict[str, Any]:
            return self._compress(work["query"], work["documents"])

        async def acompress(work: dict[str, Any]) -> dict[str, Any]:
            return await away(compress, work)

        return RunnableLambda(compress, acompress, name=type(self).__name__)
