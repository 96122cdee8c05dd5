"""Choose the tools that a model sees."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, NotRequired

from langchain.agents.middleware.types import (
    ExtendedModelResponse,
    ModelRequest,
    ModelResponse,
    OmitFromSchema,
    ToolCallRequest,
)
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import Command
from pydantic import Field, InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Decision, Logged, Router, Scorer, Shortlist
from headgate.hosting import Kept, away
from langchain_headgate.agents._middleware import GuardState, Middleware, merged

CHOSEN = "selected_tools"
"""Where the choice is found in the state, by the middleware's name."""

Tools = list[BaseTool | dict[str, Any]]
ModelHandler = Callable[[ModelRequest[Any]], ModelResponse[Any]]
AsyncModelHandler = Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
ToolHandler = Callable[[ToolCallRequest], Any]
AsyncToolHandler = Callable[[ToolCallRequest], Awaitable[Any]]


class SelectorState(GuardState):
    """The state of an agent whose tools are chosen."""

    selected_tools: NotRequired[Annotated[dict[str, Any], OmitFromSchema(input=True, output=False), merged]]


class HeadgateToolSelectorMiddleware(Middleware):
    """Show the model the tools that fit the conversation, and refuse calls of the others.

    ```python
    from langchain.agents import create_agent
    from langchain_headgate.agents import HeadgateToolSelectorMiddleware

    selector = HeadgateToolSelectorMiddleware(max_tools=5, always_include=["search"])
    agent = create_agent(model, five_hundred_tools, middleware=[selector])
    ```

    A tool is judged by its name and the first paragraph of its description. With many tools the exact scorer reads
    the nearest few alone: a :class:`headgate.Shortlist`, made once for each set of tools. Tools keep their order, and
    tools that are dicts, which providers run, are always shown. Where the conversation holds no words, all tools are.

    A tool that is hidden from a model can still be called by it, and the host would execute the call; here it is
    answered by a ToolMessage with ``status="error"``. The state holds ``selected_tools[name]``: the tools shown, the
    probabilities of those that were chosen, and the ids of calls of hidden ones.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        max_tools: At most so many of the tools that are chosen among; those of ``always_include`` come on top.
        threshold: A tool is shown from this probability up, 0 to 1; 0 takes the best ``max_tools``.
        always_include: Names of tools that are shown whatever is said.
        turns: How many last messages are read of those that users wrote and models answered with; tool calls and
            their results aren't.
        descriptions: Tool name -> words that stand for its description.
        embedder: Finds the nearest tools, where there are more than ``least``.
        size: How many the exact scorer reads then, at least ``max_tools``.
        least: Up to so many tools all are read.
        router: A ready ``headgate.Router`` with ``multi=True`` whose routes are the names of the tools, or one that is
            ``headgate.Logged``, in place of all but ``always_include``.
        key: What stands in the brackets of ``name``.

    Raises:
        ValueError: ``router`` and scalars together, or neither ``max_tools`` nor ``threshold``.
    """

    _ready: ClassVar[str] = "router"
    _beside: ClassVar[frozenset[str]] = frozenset({"always_include", "key", "kept"})
    state_schema: ClassVar[Any] = SelectorState  # type: ignore[misc]

    model: str = "mini/route"
    max_tools: Annotated[int, Field(ge=1)] | None = None
    threshold: float = 0.0
    always_include: list[str] | None = None
    turns: int = 2
    descriptions: dict[str, str] | None = None
    embedder: str = "mini/embed"
    size: Annotated[int, Field(ge=1)] = 32
    least: Annotated[int, Field(ge=0)] = 50
    router: SkipJsonSchema[InstanceOf[Router] | InstanceOf[Logged[Decision]] | None] = None
    # Routers by the tools they choose among, of several agents and of tools that come and go.
    kept: Annotated[SkipJsonSchema[InstanceOf[Kept]], Field(exclude=True, repr=False)] = Field(default_factory=Kept)

    def wrap_model_call(self, request: ModelRequest[Any], handler: ModelHandler) -> ExtendedModelResponse[Any]:
        """Call the model with the tools that fit."""
        choice = self._choice(request)
        return self._noted(request, choice, handler(request.override(tools=_shown(request.tools, choice))))

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: AsyncModelHandler
    ) -> ExtendedModelResponse[Any]:
        """As :meth:`wrap_model_call`, off the event loop."""
        choice = await away(self._choice, request)
        return self._noted(request, choice, await handler(request.override(tools=_shown(request.tools, choice))))

    def wrap_tool_call(self, request: ToolCallRequest, handler: ToolHandler) -> Any:
        """Refuse a call of a tool that the model wasn't shown."""
        return self._refused(request) or handler(request)

    async def awrap_tool_call(self, request: ToolCallRequest, handler: AsyncToolHandler) -> Any:
        """As :meth:`wrap_tool_call`."""
        return self._refused(request) or await handler(request)

    def _choice(self, request: ModelRequest[Any]) -> dict[str, float | None]:
        """The tools to show, each with its probability, or None where it was not chosen but had to be there."""
        tools = {t.name: t for t in request.tools if isinstance(t, BaseTool)}
        fixed = set(self.always_include or ())
        if missing := sorted(fixed - set(tools)):
            raise ValueError(f"always_include names {missing}; expected some of the agent's tools: {sorted(tools)}.")
        if isinstance(request.tool_choice, str):
            fixed.add(request.tool_choice)
        among = [t for name, t in tools.items() if name not in fixed]
        said = [m for m in request.messages if _is_said(m)]
        few = self.router is None and not self.threshold and len(among) <= (self.max_tools or 0)
        if few or not among or not any(m.text.strip() for m in said):
            return dict.fromkeys(tools)
        decision = self._router(among).many([said])[0]
        if not decision.enforced:
            return dict.fromkeys(tools)
        chosen = {name: decision.probabilities[name] for name in decision.choices}
        return {name: chosen.get(name) for name in tools if name in fixed or name in chosen}

    def _router(self, tools: Sequence[BaseTool]) -> Router | Logged[Decision]:
        if self.router is not None:
            known = set(_routes(self.router))
            if strange := sorted(t.name for t in tools if t.name not in known):
                raise ValueError(
                    f"the agent has tools {strange}, which are no routes of the router; expected {sorted(known)}: "
                    "name the others in always_include."
                )
            return self.router
        labels = {t.name: self._label(t) for t in tools}
        settings = self.model_dump_json(exclude={"descriptions", "always_include", "key"})
        found: Router = self.kept.get((settings, tuple(labels.items())), lambda: self._made(labels))
        return found

    def _made(self, labels: dict[str, str]) -> Router:
        like: Router = self._noun()
        if len(labels) <= self.least:
            return replace(like, routes=labels)
        embedder: Any = self.loaded.get(self.embedder, {} if self.device is None else {"device": self.device})
        near = Shortlist(like.scorer, embedder, labels, size=self.size, least=self.least)
        return replace(like, scorer=near, routes=list(labels))

    def _make(self, scorer: Scorer) -> Router:
        """A router with all but its routes, which come with the tools."""
        if self.max_tools is None and not self.threshold:
            raise ValueError("max_tools and threshold are both left out; expected one, or all tools would be shown.")
        if self.max_tools is not None and self.size < self.max_tools:
            raise ValueError(
                f"size is {self.size}, and max_tools {self.max_tools}; expected it to be as many at least."
            )
        return Router(scorer, ["a tool"], self.threshold, True, self.turns, top_k=self.max_tools)

    def _label(self, tool: BaseTool) -> str:
        words = (self.descriptions or {}).get(tool.name, tool.description.strip().split("\n\n")[0])
        return " ".join(f"{tool.name}: {words}".split())

    def _noted(
        self, request: ModelRequest[Any], choice: Mapping[str, float | None], response: ModelResponse[Any]
    ) -> ExtendedModelResponse[Any]:
        hidden = {t.name for t in request.tools if isinstance(t, BaseTool)} - choice.keys()
        calls = [c for m in response.result if isinstance(m, AIMessage) for c in m.tool_calls]
        found = {
            "tools": list(choice),
            "probabilities": {name: p for name, p in choice.items() if p is not None},
            "hidden_calls": [c["id"] for c in calls if c["name"] in hidden],
        }
        return ExtendedModelResponse(response, Command(update={CHOSEN: {self.name: found}}))

    def _refused(self, request: ToolCallRequest) -> ToolMessage | None:
        state = request.state if isinstance(request.state, Mapping) else {}
        found = state.get(CHOSEN, {}).get(self.name, {})
        call = request.tool_call
        if call["id"] not in found.get("hidden_calls", ()):
            return None
        return ToolMessage(
            f"{call['name']} is not available here; these are: {', '.join(found['tools'])}. It was not executed.",
            tool_call_id=call["id"],
            name=call["name"],
            status="error",
        )

    def _words(self) -> list[str]:
        return []


def _shown(tools: Tools, choice: Mapping[str, float | None]) -> Tools:
    return [t for t in tools if not isinstance(t, BaseTool) or t.name in choice]


def _is_said(message: AnyMessage) -> bool:
    return isinstance(message, HumanMessage) or (isinstance(message, AIMessage) and not message.tool_calls)


def _routes(router: Router | Logged[Decision]) -> list[str]:
    task: Any = router.task if isinstance(router, Logged) else router
    return list(task.routes)
