"""FAISS over embeddings: the first stage that a reranker reorders, and a router's shortlist."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import faiss  # noqa: TID253  this module is FAISS, and what imports it is meant to
import numpy as np
from numpy.typing import NDArray

from headgate.errors import ScorerError
from headgate.scores import Embedder, Floats


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

    Raises:
        ScorerError: The embedder gave something other than one finite unit vector a text.
    """

    def __init__(
        self, embedder: Embedder, texts: Sequence[str], *, role: Literal["query", "document"] = "document"
    ) -> None:
        self._embedder = embedder
        self._faiss: faiss.IndexFlatIP | None = None
        if len(texts):
            vectors = unit_vectors(embedder, texts, role)
            self._faiss = faiss.IndexFlatIP(vectors.shape[1])
            self._faiss.add(vectors)

    def __len__(self) -> int:
        return 0 if self._faiss is None else int(self._faiss.ntotal)

    def search(self, query: str, k: int) -> list[Found]:
        """The ``k`` texts nearest to ``query``, best first; fewer where the index holds fewer."""
        return self.search_many([query], k)[0]

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Found]]:
        """The same for several queries, embedded in one batch plan."""
        cosines, indices = self.nearest(queries, k)
        return [
            [Found(int(i), float(c)) for i, c in zip(row, near, strict=True)]
            for row, near in zip(indices, cosines, strict=True)
        ]

    def nearest(self, queries: Sequence[str], k: int) -> tuple[Floats, NDArray[np.int64]]:
        """The same as arrays: cosines and indices, both (n, k) or narrower, best first."""
        if k < 1:
            raise ValueError(f"k is {k}; expected 1 or more.")
        if self._faiss is None or not len(queries):
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        cosines, indices = self._faiss.search(unit_vectors(self._embedder, queries, "query"), min(k, len(self)))
        return cosines, indices


def unit_vectors(embedder: Embedder, texts: Sequence[str], role: Literal["query", "document"]) -> Floats:
    """(n, d) float32 unit rows as FAISS wants them, or ScorerError: others would pass for cosines."""
    name = type(embedder).__name__
    vectors = np.ascontiguousarray(embedder.embed(texts, role=role), dtype=np.float32)
    if vectors.ndim != 2 or len(vectors) != len(texts):
        raise ScorerError(
            f"{name} gave vectors of shape {vectors.shape} for {len(texts)} texts; expected a row a text."
        )
    length = np.linalg.norm(vectors, axis=1)
    wrong = ~((np.abs(length - 1) < 0.01) | (length == 0))  # so written, NaN is wrong; a blank text may be nothing
    if wrong.any():
        i = int(wrong.argmax())
        raise ScorerError(
            f"{name} gave text {i} ({texts[i][:60]!r}) a vector of length {length[i]:.4g}; expected 1, so that a dot "
            "product is a cosine: have it normalize."
        )
    return vectors


def embedder_fingerprint(embedder: Embedder) -> str:
    """Its ``fingerprint``; where it has none, a hash of what it makes of one text, to two digits."""
    own = getattr(embedder, "fingerprint", None)
    if isinstance(own, str) and own:
        return own
    vector = unit_vectors(embedder, ["Which of these is it?"], "query")
    return (
        f"{type(embedder).__name__}-{hashlib.sha256(np.rint(vector * 100).astype(np.int8).tobytes()).hexdigest()[:12]}"
    )
