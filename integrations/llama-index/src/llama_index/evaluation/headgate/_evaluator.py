"""What both evaluators share: the host's ways to call them."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.prompts.mixin import PromptDictType

from headgate.hosting import away
from llama_index.postprocessor.headgate._shared import Lazy, dispatcher


class Evaluator(Lazy, BaseEvaluator):
    """An evaluator that asks a small model and has no prompts; subclasses say what they find."""

    @abstractmethod
    def _evaluate(self, query: str | None, response: str | None, given: Sequence[str] | None) -> EvaluationResult:
        """The result of one answer."""

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        return None

    @dispatcher.span
    def evaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Evaluate one answer."""
        return self._evaluate(query, response, contexts)  # not through a loop, which the host leaves open in threads

    @dispatcher.span
    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> EvaluationResult:
        """As :meth:`evaluate`, off the event loop."""
        return await away(self._evaluate, query, response, contexts)


def texts_of(contexts: Iterable[str]) -> list[str]:
    """The contexts of an answer; a str would be one for each of its letters."""
    if isinstance(contexts, str):
        raise TypeError(f"contexts is a str; expected a list of them: pass [{contexts[:20]!r}].")
    return list(contexts)
