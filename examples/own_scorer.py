"""Bring your own scorer: one method, three attributes, no base class; then calibrate it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from corpus import passages, read

from headgate import Calibration, Label, Reranker, Router, Scores
from headgate.scores import as_label
from headgate.testing import check_scorer


@dataclass(frozen=True)
class SharedWords:
    """Counts the label's words in the text: an order, since a count is no probability."""

    joint: bool = False
    labels: tuple[str, ...] | None = None
    fingerprint: str = "shared-words-1"

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        """Share of the label's words that the text has."""
        words = [set(as_label(label).text.lower().split()) for label in labels]
        bags = [set(text.lower().split()) for text in texts]
        z = np.array([[len(w & bag) / len(w) for w in words] for bag in bags]).reshape(len(texts), len(labels))
        return Scores.of(z, texts, meaning="order")


scorer = SharedWords()
check_scorer(scorer)  # the contract that every scorer of headgate keeps

questions, texts, ids = read("questions")[:60], passages(), [p["id"] for p in read("passages")]
scores = scorer.score(texts, [q["query"] for q in questions])
truths = np.array([[q["relevant"].get(i, 0) == 2 for q in questions] for i in ids])
calibrated = Calibration.fit(scores, truths, scorer=scorer.fingerprint).on(scorer)

hit = Reranker(calibrated, min_probability=0.01, top_k=1)("where do I hang the hub", texts)[0]
print(f"{hit.probability:.2f}  {texts[hit.index].split(chr(10))[0]}")
print(Router(calibrated, ["the hub", "the pump"], threshold=0.0)("where do I hang the hub").choice)
