"""Retrieve the few tools that a request needs, of many."""

from dataclasses import asdict
from typing import Any, ClassVar, Self, cast

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.bridge.pydantic import Field, field_serializer, model_validator
from llama_index.core.objects import ObjectRetriever
from llama_index.core.objects.base_node_mapping import BaseObjectNodeMapping
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import QueryType
from llama_index.core.tools.types import BaseTool
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Embedder, Router, Scorer, Shortlist
from headgate.hosting import UNREAD, Kept, away
from llama_index.postprocessor.headgate._shared import STRICT, Lazy, dispatcher
from llama_index.selectors.headgate.base import SelectionEvent, words_of


class HeadgateToolRetriever(Lazy, ObjectRetriever[Any]):
    """Give a router or an agent the tools that fit a request, best first.

    ```python
    from llama_index.selectors.headgate import HeadgateToolRetriever

    retriever = HeadgateToolRetriever(tools=tools, top_n=3)
    retriever.retrieve("how many people live in Oslo?")
    ```

    It goes where the host takes an ObjectRetriever: ``FunctionAgent(tool_retriever=…)``,
    ``ToolRetrieverRouterQueryEngine(retriever)``. That engine calls it on the event loop even when it is itself
    awaited, and fails where nothing is retrieved: give it a ``default``. What is read of a tool is its description,
    without the signature that FunctionTool puts in front. With hundreds of tools let an ``embedder`` find the nearest
    first. Emits SelectionEvent with all probabilities.

    A tool that isn't retrieved is only unseen: what an agent calls by name should be checked when it is called.

    Args:
        tools: All tools: QueryEngineTool, RetrieverTool, FunctionTool.
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        top_n: At most so many that fit, at least 1.
        threshold: Probability from which a tool fits, 0 to 1; at 0 there are always ``top_n``.
        always_include: Names of tools that come along in any case, beyond ``top_n``.
        default: Names of the tools where none fits, and for an empty request.
        embedder: What finds the nearest tools: a model's name, such as "mini/embed", or a ready ``headgate.Embedder``.
        size: With an embedder: how many of the nearest the model reads. All are read where there are no more than 50.
        scorer: A ready ``headgate.Scorer`` in place of the model's name and its arguments.

    Raises:
        ValueError: No tools; two with the same description; a name that no tool has; ``scorer`` and a model's
            arguments together.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "scorer"
    _held: ClassVar[tuple[str, ...]] = ("tools", "embedder")
    _beside: ClassVar[frozenset[str]] = frozenset(
        {"tools", "top_n", "threshold", "always_include", "default", "embedder", "size", "shortlists"}
    )

    tools: SkipJsonSchema[list[InstanceOf[BaseTool]]]
    model: str = "mini/route"
    top_n: int = Field(default=5, ge=1)
    threshold: float = Field(default=0.0, ge=0, le=1)
    always_include: list[str] = Field(default_factory=list)
    default: list[str] = Field(default_factory=list)
    embedder: str | SkipJsonSchema[InstanceOf[Embedder]] | None = None
    size: int = Field(default=32, ge=1)
    scorer: SkipJsonSchema[InstanceOf[Scorer] | None] = None
    shortlists: SkipJsonSchema[InstanceOf[Kept]] = Field(default_factory=Kept, exclude=True, repr=False)

    @classmethod
    def class_name(cls) -> str:
        """The host's name for this class."""
        return "HeadgateToolRetriever"

    @model_validator(mode="after")
    def _known(self) -> Self:
        names = [tool.metadata.name for tool in self.tools]
        for field, given in (("always_include", self.always_include), ("default", self.default)):
            strange = sorted(set(given) - set(names))
            if strange:
                raise ValueError(f"{field} names {strange}; expected some of the tools: {names}.")
        if not self.tools:
            raise ValueError("tools is empty; expected the tools to choose from.")
        self._router(UNREAD)
        return self

    def _make(self, scorer: Scorer) -> Scorer:
        return scorer

    @property
    def node_postprocessors(self) -> list[BaseNodePostprocessor]:
        """None: there are no nodes."""
        return []

    @property
    def retriever(self) -> BaseRetriever:
        """Raises: there are no nodes."""
        raise self._no_nodes()

    @property
    def object_node_mapping(self) -> BaseObjectNodeMapping[Any]:
        """Raises: there are no nodes."""
        raise self._no_nodes()

    @dispatcher.span
    def retrieve(self, str_or_query_bundle: QueryType) -> list[Any]:
        """The tools for a request."""
        query = str_or_query_bundle if isinstance(str_or_query_bundle, str) else str_or_query_bundle.query_str
        words = [words_of(tool.metadata) for tool in self.tools]
        decision = self._router(self._judge(words))(query)
        found = [self.tools[int(route)] for route in decision.choices]
        wanted = [*self.always_include, *(self.default if not found else [])]
        found += [tool for tool in self.tools if tool.metadata.name in wanted and tool not in found]
        at = {id(tool): i for i, tool in enumerate(self.tools)}
        selected = [at[id(tool)] for tool in found]
        dispatcher.event(SelectionEvent(query=query, choices=words, selected=selected, decision=asdict(decision)))
        return found

    @dispatcher.span
    async def aretrieve(self, str_or_query_bundle: QueryType) -> list[Any]:
        """As :meth:`retrieve`, off the event loop."""
        return await away(self.retrieve, str_or_query_bundle)

    def _judge(self, words: list[str]) -> Scorer:
        """What judges the request: the scorer, or a shortlist before it."""
        scorer: Scorer = self._noun()
        if self.embedder is None:
            return scorer
        embedder = self.embedder
        if isinstance(embedder, str):
            embedder = cast(Embedder, self.loaded.get(embedder, {"device": self.device} if self.device else {}))
        return cast(
            Scorer,
            self.shortlists.get(
                (id(scorer), id(embedder), self.size, tuple(words)),  # it holds both, so that their ids stay theirs
                lambda: Shortlist(scorer, embedder, words, size=self.size),
            ),
        )

    def _router(self, scorer: Scorer) -> Router:
        routes = {str(i): words_of(tool.metadata) for i, tool in enumerate(self.tools)}
        return Router(scorer, routes, self.threshold, multi=True, top_k=self.top_n)

    @field_serializer("tools")
    def _refuse_to_dump_tools(self, tools: list[BaseTool]) -> None:
        raise ValueError(
            f"{len(tools)} tools can't be written as data; expected none: write down the other arguments, and give "
            "the tools anew."
        )

    def _no_nodes(self) -> AttributeError:
        return AttributeError(
            "HeadgateToolRetriever keeps no nodes; expected a call of retrieve(request) or aretrieve(request)."
        )
