"""Select query engines or retrievers by judging the query by their descriptions."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self

from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.bridge.pydantic import Field, model_validator
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.schema import QueryBundle
from llama_index.core.tools.types import ToolMetadata
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Decision, Label, Logged, Router, Scorer
from headgate.hosting import UNREAD, away
from llama_index.postprocessor.headgate._shared import STRICT, Lazy, dispatcher


class SelectionEvent(BaseEvent):
    """What the selector found.

    Args:
        query: The query.
        choices: The descriptions that the query was judged by, in order.
        selected: The indices chosen, best first.
        decision: A ``headgate.Decision`` as a dict, its routes named "0", "1", … as the choices, or as those of a
            ready router are.
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
    SelectionEvent all of them. Async calls work in a thread. A ready router, such as one that
    ``headgate.Router.fit`` calibrated, has the choices' names for routes and brings their descriptions.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        threshold: Probability from which a choice is taken, 0 to 1; by default it must beat "none".
        multi: Several choices may be taken at once.
        max_outputs: With ``multi``: at most so many, at least 1.
        gap: The best choice must lead the next by this many log-odds, or none fits.
        nulls: Descriptions that stand for "none of these", such as "small talk".
        default_index: The choice where none fits; without one that raises.
        scorer: A ready ``headgate.Scorer`` in place of the model's name and its arguments.
        router: A ready ``headgate.Router``, or one that is ``headgate.Logged``, in place of all but ``default_index``.

    Raises:
        ValueError: ``scorer`` or ``router`` together with what it brings; no choice fits and there is no
            default; ``default_index`` beyond the choices; two choices with the same description; with a ready router
            a choice that is no route of it.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "scorer"
    _beside: ClassVar[frozenset[str]] = frozenset(
        {"threshold", "multi", "max_outputs", "gap", "nulls", "default_index", "router"}
    )
    _held: ClassVar[tuple[str, ...]] = ("router",)

    model: str = "mini/route"
    threshold: float | None = Field(default=None, ge=0, le=1)
    multi: bool = False
    max_outputs: int | None = Field(default=None, ge=1)
    gap: float = Field(default=0.0, ge=0)
    nulls: list[str | Label] = Field(default_factory=list)
    default_index: int | None = Field(default=None, ge=0)
    scorer: SkipJsonSchema[InstanceOf[Scorer] | None] = None
    router: SkipJsonSchema[InstanceOf[Router] | InstanceOf[Logged[Decision]] | None] = None

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class in saved data."""
        return "HeadgateSelector"

    @model_validator(mode="after")
    def _router_alone(self) -> Self:
        own = set(type(self).model_fields) - {"router", "default_index", "loaded"}
        both = self._set(own) if self.router is not None else []
        if both:
            raise ValueError(
                f"router came together with {', '.join(both)}; expected one or the other: give these "
                "to the router itself, e.g. dataclasses.replace(router, …)."
            )
        if self.max_outputs is not None and not self.multi:
            raise ValueError(f"max_outputs is {self.max_outputs} without multi=True; expected both, or neither.")
        self._over(UNREAD, {"a": "a"})
        return self

    def _make(self, scorer: Scorer) -> Scorer:
        return scorer  # the routes come with every query, so the noun here is the scorer

    def _over(self, scorer: Scorer, routes: dict[str, str]) -> Router:
        return Router(
            scorer, routes, self.threshold, self.multi, gap=self.gap, nulls=self.nulls, top_k=self.max_outputs
        )

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        return None

    async def _aselect(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        return await away(self._select, choices, query)

    def _select(self, choices: Sequence[ToolMetadata], query: QueryBundle) -> SelectorResult:
        if self.default_index is not None and self.default_index >= len(choices):
            raise ValueError(f"default_index is {self.default_index}; expected below {len(choices)}, the choices.")
        descriptions = [words_of(choice) for choice in choices]
        if self.router is None:
            names = [str(i) for i in range(len(choices))]
            decision = self._over(self._noun(), dict(zip(names, descriptions, strict=True)))(query.query_str)
        else:
            names = _named(choices, self.router)
            decision = self.router(query.query_str)
        routes = decision.choices if decision.enforced else (decision.default,)
        selected = [names.index(route) for route in routes if route is not None]
        if not selected and self.default_index is not None:
            selected = [self.default_index]
        dispatcher.event(
            SelectionEvent(query=query.query_str, choices=descriptions, selected=selected, decision=asdict(decision))
        )
        if not selected:
            raise ValueError(f"{_none(decision)}; expected one to: pass default_index=… to say which is taken.")
        reasons = [_reason(decision, names[i]) for i in selected]
        return SelectorResult(
            selections=[SingleSelection(index=i, reason=r) for i, r in zip(selected, reasons, strict=True)]
        )


def words_of(choice: ToolMetadata) -> str:
    """What a choice says of itself: its description, without a signature in front; or its name."""
    name, text = choice.name or "", (choice.description or "").strip()
    if name and text.startswith(f"{name}("):  # as FunctionTool makes it
        text = text.partition("\n")[2].strip()
    return text or name.replace("_", " ")


def _named(choices: Sequence[ToolMetadata], router: Router | Logged[Decision]) -> list[str]:
    task = router.task if isinstance(router, Logged) else router
    routes = list(task.routes) if isinstance(task, Router) else []
    names = [choice.name or "" for choice in choices]
    if set(names) != set(routes) or len(set(names)) != len(names):
        raise ValueError(f"the choices are called {names}, and the router's routes {routes}; expected the same names.")
    return names


def _reason(decision: Decision, route: str) -> str:
    if not decision.enforced:
        return f"the default of a router in shadow, which found {decision.choice!r}"
    if not decision.choices:
        return f"{_none(decision)}; this is the default"
    return f"probability {decision.probabilities[route]:.2f}"


def _none(decision: Decision) -> str:
    why = ", as the best two are too near" if decision.reason == "ambiguous" else ""
    return f"none of the {len(decision.probabilities)} choices fits (P(none) = {decision.none:.2f}){why}"
