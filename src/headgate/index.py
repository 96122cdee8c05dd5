"""FAISS over embeddings: the first stage that a reranker reorders, and a router's shortlist."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import faiss  # noqa: TID253  this module is FAISS, and is imported by nobody else

from headgate.scores import Embedder


@dataclass(frozen=True)
class Found:
    """One text of an index.

    Attributes:
        index: Where the text stood in the list that came in.
        cosine: With the query, -1 to 1.
    """

    index: int
    cosine: float


class Index:
    """Exact search by cosine over texts that are embedded once.

    Args:
        embedder: What turns texts into unit vectors, such as ``load("mini/embed")``.
        texts: What is searched; they are not kept.
        role: What the texts are to the embedder.
    """

    def __init__(
        self, embedder: Embedder, texts: Sequence[str], *, role: Literal["query", "document"] = "document"
    ) -> None:
        self._embedder = embedder
        self._faiss: faiss.IndexFlatIP | None = None
        if len(texts):
            vectors = embedder.embed(texts, role=role)
            self._faiss = faiss.IndexFlatIP(vectors.shape[1])
            self._faiss.add(vectors)

    def __len__(self) -> int:
        return 0 if self._faiss is None else int(self._faiss.ntotal)

    def search(self, query: str, k: int) -> list[Found]:
        """The ``k`` texts nearest to ``query``, best first; fewer where the index holds fewer."""
        return self.search_many([query], k)[0]

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        """The same for several queries, embedded in one batch plan."""
        if k < 1:
            raise ValueError(f"k is {k}; expected 1 or more.")
        if self._faiss is None or not len(queries):
            return [[] for _ in queries]
        vectors = self._embedder.embed(queries, role="query")
        cosines, indices = self._faiss.search(vectors, min(k, len(self)))
        return [
            [Found(int(i), float(c)) for i, c in zip(row, near, strict=True)]
            for row, near in zip(indices, cosines, strict=True)
        ]
