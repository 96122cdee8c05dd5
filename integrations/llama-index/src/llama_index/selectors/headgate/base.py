"""Select query engines or retrievers by judging the query by their descriptions."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.bridge.pydantic import Field
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools.types import ToolMetadata
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Decision, Router, Scorer
from headgate.hosting import away
from llama_index.postprocessor.headgate._shared import STRICT, Lazy, dispatcher


class SelectionEvent(BaseEvent):
    """What the selector found.

    Args:
        query: The query.
        choices: The descriptions that the query was judged by, in order.
        selected: The indices chosen, best first.
        decision: A ``headgate.Decision`` as a dict, its routes named "0", "1", … as the choices.
    """

    query: str
    choices: list[str]
    selected: list[int]
    decision: dict[str, Any]

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this event."""
        return "SelectionEvent"


class HeadgateSelector(Lazy, BaseSelector):
    """Choose a query engine or retriever with a local model, or the default where none fits.

    ```python
    from llama_index.core.query_engine import RouterQueryEngine
    from llama_index.selectors.headgate import HeadgateSelector

    RouterQueryEngine(selector=HeadgateSelector(default_index=0), query_engine_tools=tools, llm=llm)
    ```

    (RouterQueryEngine wants an LLM even where the selector needs none: without ``llm=`` it looks
    for the one in ``Settings``.) The reason of each selection holds its probability, and
    SelectionEvent all of them. Async calls work in a thread.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        threshold: Probability from which a choice is taken, 0 to 1; by default it must beat "none".
        multi: Several choices may be taken at once.
        default_index: The choice where none fits; without one that raises.
        scorer: A ready ``headgate.Scorer`` in place of the model's name and its arguments.

    Raises:
        ValueError: ``scorer`` and a model's arguments together; no choice fits and there is no
            default; ``default_index`` beyond the choices; two choices with the same description.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "scorer"
    _beside: ClassVar[frozenset[str]] = frozenset({"threshold", "multi", "default_index"})

    model: str = "mini/route"
    threshold: float | None = Field(default=None, ge=0, le=1)
    multi: bool = False
    default_index: int | None = Field(default=None, ge=0)
    scorer: SkipJsonSchema[InstanceOf[Scorer] | None] = None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class in saved data."""
        return "HeadgateSelector"

    def _make(self, scorer: Scorer) -> Scorer:
        return scorer  # the routes come with every query, so the noun here is the scorer

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        return None

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        return await away(self._select, choices, query)

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        if self.default_index is not None and self.default_index >= len(choices):
            raise ValueError(f"default_index is {self.default_index}; expected below {len(choices)}, the choices.")
        descriptions = [(c.description or "").strip() or c.name or "" for c in choices]
        routes = {str(i): text for i, text in enumerate(descriptions)}
        decision = Router(self._noun(), routes, self.threshold, self.multi)(query.query_str)
        selected = [int(k) for k in decision.choices]
        if not selected and self.default_index is not None:
            selected = [self.default_index]
        dispatcher.event(
            SelectionEvent(query=query.query_str, choices=descriptions, selected=selected, decision=asdict(decision))
        )
        if not selected:
            raise ValueError(f"{_none(decision)}; expected one to: pass default_index=… to say which is taken.")
        return SelectorResult(selections=[SingleSelection(index=i, reason=_reason(decision, i)) for i in selected])


def _reason(decision: Decision, index: int) -> str:
    if not decision.choices:
        return f"{_none(decision)}; this is the default"
    return f"probability {decision.probabilities[str(index)]:.2f}"


def _none(decision: Decision) -> str:
    return f"none of the {len(decision.probabilities)} choices fits (P(none) = {decision.none:.2f})"
