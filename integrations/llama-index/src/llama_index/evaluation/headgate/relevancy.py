"""Do an answer and its contexts have to do with the query?"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from llama_index.core.bridge.pydantic import Field
from llama_index.core.evaluation import EvaluationResult
from llama_index.core.instrumentation.events import BaseEvent
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Reranker, Scorer
from llama_index.evaluation.headgate._evaluator import Evaluator, texts_of
from llama_index.postprocessor.headgate._shared import STRICT, dispatcher


class RelevancyEvent(BaseEvent):
    """What an evaluator found in an answer and its contexts.

    Args:
        query: The query.
        texts: The response, and the contexts.
        hits: A ``headgate.Hit`` as a dict for each, best first; its index counts in ``texts``.
    """

    query: str
    texts: list[str]
    hits: list[dict[str, Any]]

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this event."""
        return "RelevancyEvent"


class HeadgateRelevancyEvaluator(Evaluator):
    """Check that an answer, and some context that it was made from, has to do with the query.

    ```python
    from llama_index.evaluation.headgate import HeadgateRelevancyEvaluator

    evaluator = HeadgateRelevancyEvaluator(threshold=0.5)
    result = evaluator.evaluate(query="cats?", response="Cats purr.", contexts=["Cats purr when they are happy."])
    ```

    ``score`` is the lower of two probabilities: that the response is relevant, and that the best context is. It passes
    from ``threshold`` up. ``feedback`` has a line for each text, RelevancyEvent the same as data. Without any context
    the score is 0.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call. It must give probabilities.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        threshold: Probability from which a text is relevant, 0 to 1; choose it on your own data.
        long_query: "error" or "windows", for a query too long for the model.
        reranker: A ready ``headgate.Reranker`` in place of the model's name and its arguments; it cuts nothing off.

    Raises:
        ValueError: ``reranker`` and a model's arguments together; an evaluation without query, response or contexts.
        NotCalibratedError: The model gives an order only.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "reranker"
    _beside: ClassVar[frozenset[str]] = frozenset({"threshold"})

    model: str = "mini/rank"
    threshold: float = Field(default=0.5, ge=0, le=1)
    long_query: Literal["error", "windows"] = "error"
    reranker: SkipJsonSchema[InstanceOf[Reranker] | None] = None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class in saved data."""
        return "HeadgateRelevancyEvaluator"

    def _make(self, scorer: Scorer) -> Reranker:
        return Reranker(scorer, long_query=self.long_query)

    def _evaluate(self, query: str | None, response: str | None, given: Sequence[str] | None) -> EvaluationResult:
        if query is None or response is None or given is None:
            raise ValueError(
                f"query is {query!r}, response {response!r} and contexts {given!r}; expected all three: pass the "
                "question, the answer, and the texts that it was made from."
            )
        contexts = texts_of(given)
        noun: Reranker = self._noun()
        # A cut-off that cuts nothing, but refuses a model that gives an order only.
        reranker = Reranker(noun.scorer, label=noun.label, long_query=noun.long_query, min_probability=0.0)
        texts = [response, *contexts]
        hits = reranker(query, texts)
        dispatcher.event(RelevancyEvent(query=query, texts=texts, hits=[asdict(hit) for hit in hits]))
        found = {hit.index: hit.probability or 0.0 for hit in hits}
        score = min(found[0], max((found[i] for i in range(1, len(texts))), default=0.0))
        names = ["response", *(f"context {i}" for i in range(len(contexts)))]
        return EvaluationResult(
            query=query,
            response=response,
            contexts=contexts,
            passing=score >= self.threshold,
            score=score,
            feedback="\n".join(_line(name, found[i], self.threshold) for i, name in enumerate(names)),
        )


def _line(name: str, probability: float, threshold: float) -> str:
    return f"{'relevant' if probability >= threshold else 'not relevant'} ({probability:.2f}): {name}"
