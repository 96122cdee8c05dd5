"""Is every sentence of an answer supported by its contexts?"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

from llama_index.core.evaluation import EvaluationResult
from llama_index.core.instrumentation.events import BaseEvent
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Claim, Grounding, Scorer
from headgate.sentences import sentences
from llama_index.evaluation.headgate._evaluator import Evaluator, texts_of
from llama_index.postprocessor.headgate._shared import STRICT, dispatcher


class FaithfulnessEvent(BaseEvent):
    """What an evaluator found in an answer.

    Args:
        response: The answer.
        contexts: What it was checked against.
        claims: For each of its sentences a ``headgate.Claim`` as a dict, with citations.
    """

    response: str
    contexts: list[str]
    claims: list[dict[str, Any]]

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this event."""
        return "FaithfulnessEvent"


class HeadgateFaithfulnessEvaluator(Evaluator):
    """Check every sentence of an answer against its contexts, and cite what supports it.

    ```python
    from llama_index.evaluation.headgate import HeadgateFaithfulnessEvaluator

    evaluator = HeadgateFaithfulnessEvaluator(threshold=0.5)
    result = evaluator.evaluate(response="The hub is grey.", contexts=["The hub is grey and weighs 340 grams."])
    ```

    ``score`` is the share of sentences that are supported, 0 to 1; an answer passes if all are. ``feedback`` has a line
    for each sentence, with the words of the contexts that support or contradict it; FaithfulnessEvent has them as data.
    An answer without sentences claims nothing: its result is invalid, with a reason, and doesn't pass. Sentences are
    found with the extra "sentences".

    Args:
        model: A folder, a Hub id or a part of the default: an NLI cross-encoder; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        threshold: A sentence is supported from this probability up. It belongs to a model and to texts like yours:
            ``headgate.Grounding.fit`` chooses it on labelled ones.
        contradiction: A sentence that nothing supports is contradicted from this probability up.
        cite, pairs, literals, unreadable: As in ``headgate.Grounding``.
        language: Of the answers, for finding sentences: "en", "de".
        grounding: A ready ``headgate.Grounding``, in place of all the above.

    Raises:
        ValueError: ``grounding`` and scalars together; no threshold; an evaluation without response or contexts.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "grounding"

    model: str = "mini/nli"
    threshold: float | None = None
    contradiction: float | None = None
    cite: Literal["sentences", "windows"] = "sentences"
    pairs: int = 0
    literals: bool = True
    unreadable: float = 0.5
    language: str = "en"
    grounding: SkipJsonSchema[InstanceOf[Grounding] | None] = None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class in saved data."""
        return "HeadgateFaithfulnessEvaluator"

    def _make(self, scorer: Scorer) -> Grounding:
        return Grounding(
            scorer,
            sentences(self.language),
            threshold=self.threshold,
            contradiction=self.contradiction,
            cite=self.cite,
            pairs=self.pairs,
            literals=self.literals,
            unreadable=self.unreadable,
        )

    def _evaluate(self, query: str | None, response: str | None, given: Sequence[str] | None) -> EvaluationResult:
        if response is None or given is None:
            raise ValueError(
                f"response is {response!r} and contexts {given!r}; expected both: pass the answer and the texts "
                "that it was made from."
            )
        contexts = texts_of(given)
        grounding: Grounding = self._noun()
        claims = grounding(response, contexts)
        found = [asdict(claim) for claim in claims]
        dispatcher.event(FaithfulnessEvent(response=response, contexts=contexts, claims=found))
        supported = sum(claim.supported for claim in claims)
        return EvaluationResult(
            query=query,
            response=response,
            contexts=contexts,
            passing=bool(claims) and supported == len(claims),
            score=supported / len(claims) if claims else None,
            feedback="\n".join(_line(claim, contexts) for claim in claims),
            invalid_result=not claims,
            invalid_reason=None if claims else "The response has no sentence, so there is nothing to support.",
        )


def _line(claim: Claim, contexts: Sequence[str]) -> str:
    cited = [f'[{c.passage}] "{contexts[c.passage][slice(*c.span)]}"' for c in claim.citations]
    missing = [f"nowhere in the contexts: {', '.join(claim.missing)}"] if claim.missing else []
    return " | ".join([f"{claim.verdict} ({claim.probability:.2f}): {claim.sentence}", *cited, *missing])
