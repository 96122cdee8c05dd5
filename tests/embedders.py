"""An embedder without a model: texts that share words are near."""

import re
import zlib
from dataclasses import dataclass, field

import numpy as np


@dataclass(eq=False)
class Bags:
    """The mean of a random vector for each word; remembers what it was given."""

    fingerprint: str = "bags"
    size: int = 64
    seen: list = field(default_factory=list)

    def embed(self, texts, *, role):
        self.seen.append((role, list(texts)))
        out = np.zeros((len(texts), self.size), dtype=np.float32)
        for i, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                out[i] += np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.size)
        return (out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)).astype(np.float32)
