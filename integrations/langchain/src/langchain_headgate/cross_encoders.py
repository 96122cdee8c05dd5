"""Score pairs of texts, for whatever takes a LangChain cross-encoder."""

from typing import ClassVar, Literal

from langchain_core.cross_encoders import BaseCrossEncoder
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Ask, Reranker, Scorer, judge
from headgate.hosting import away
from langchain_headgate._lazy import STRICT, Lazy


class HeadgateCrossEncoder(Lazy, BaseCrossEncoder):
    """Score (query, document) pairs with a local model.

    ```python
    from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
    from langchain_headgate import HeadgateCrossEncoder

    CrossEncoderReranker(model=HeadgateCrossEncoder(), top_n=3)
    ```

    Higher is better. Of an NLI model the number is that of entailment, wherever its files have that class. Pairs of one
    query are asked together, and those of all queries make one batch plan. ``CrossEncoderReranker`` drops the scores;
    ``HeadgateReranker`` writes them into the metadata.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        long_query: "error" or "windows", for a query too long for the model.
        scorer: A ready ``headgate.Scorer``, such as a calibrated one, in place of all but ``long_query``.

    Raises:
        ValueError: ``scorer`` and scalars together.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "scorer"
    _beside: ClassVar[frozenset[str]] = frozenset({"long_query"})

    model: str = "mini/rank"
    long_query: Literal["error", "windows"] = "error"
    scorer: SkipJsonSchema[InstanceOf[Scorer] | None] = None

    @property
    def meaning(self) -> Literal["probability", "order"]:
        """What :meth:`score` gives, by which only "probability" may be compared with a threshold.

        The model says it with a score, so this loads it and judges two words.
        """
        return judge(self._noun(), [Ask(["text"], ["label"])])[0].meaning

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """A number for each pair, in order.

        Args:
            text_pairs: A query and a document each; many queries with documents of their own are one batch plan.

        Returns:
            The probability that the document answers the query, 0 to 1; where the model gives only an order, its own
            number, on any scale. See :attr:`meaning`.

        Raises:
            TypeError: A pair is not two strings.
        """
        places: dict[str, list[int]] = {}
        for i, pair in enumerate(text_pairs):
            places.setdefault(_query(i, pair), []).append(i)
        if not places:
            return []
        rerank = Reranker(self._noun(), long_query=self.long_query)
        found = [0.0] * len(text_pairs)
        every = rerank.many(list(places), [[text_pairs[i][1] for i in own] for own in places.values()])
        for own, hits in zip(places.values(), every, strict=True):
            for hit in hits:
                found[own[hit.index]] = hit.log_odds if hit.probability is None else hit.probability
        return found

    async def ascore(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """As :meth:`score`, off the event loop; the host's own interface has none."""
        return await away(self.score, text_pairs)

    def _make(self, scorer: Scorer) -> Scorer:
        return scorer


def _query(number: int, pair: tuple[str, str]) -> str:
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise TypeError(
            f"pair {number} is {type(pair).__name__} {pair!r:.60}; expected a query and a document, both str."
        )
    return pair[0]
