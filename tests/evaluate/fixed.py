"""Rows, and scorers and embedders that say what a test tells them."""

from collections.abc import Mapping, Sequence

import numpy as np

from headgate.scores import Label, Scores, as_label

ROWS = [{"text": f"{label} {i}", "label": label} for i in range(12) for label in ("red", "green", "blue")]


class Says:
    """A scorer with one log-odds for each text and label; -5 where none is given.

    Args:
        table: Text -> label -> log-odds.
        meaning: What the numbers are.
    """

    joint, labels, fingerprint, template = False, None, "says", "It is about {}."

    def __init__(self, table: Mapping[str, Mapping[str, float]], meaning: str = "probability") -> None:
        self.table, self.meaning, self.calls = table, meaning, 0

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        self.calls += 1
        z = [[self.table.get(text, {}).get(as_label(label).text, -5.0) for label in labels] for text in texts]
        return Scores.of(np.array(z, dtype=np.float32).reshape(len(texts), len(labels)), texts, meaning=self.meaning)


class Embeds:
    """An embedder whose vectors are drawn around one point a label, which each text begins with."""

    fingerprint = "embeds"

    def embed(self, texts: Sequence[str], *, role: str) -> np.ndarray:
        points = {}
        out = []
        for at, text in enumerate(texts):
            name = text.split()[0]
            points.setdefault(name, np.random.default_rng(ord(name[0])).normal(size=8))
            out.append(points[name] + 1.5 * np.random.default_rng(at).normal(size=8))
        vectors = np.array(out)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
