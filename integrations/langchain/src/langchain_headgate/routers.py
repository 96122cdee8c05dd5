"""Send a query where it belongs."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from operator import itemgetter
from typing import Any, ClassVar, Literal

from langchain_core.runnables import Runnable, RunnableBranch, RunnableConfig, RunnableLambda
from langchain_core.runnables.base import coerce_to_runnable
from pydantic import BaseModel, InstanceOf
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypedDict

from headgate import Decision, Descent, HeadgateError, Label, Logged, Router, RouteTree, Scorer
from headgate.hosting import unread
from langchain_headgate._lazy import STRICT, Restorable
from langchain_headgate._runnable import Judge, Judged, Read

ELSEWHERE = ""  # no route can be called so
Found = Decision | Descent
Way = Runnable[Any, Any] | Callable[[Any], Any]


class Routed(TypedDict):
    """What ``RouterRunnable`` takes, and why.

    ``key`` is the route, ``input`` what came in, ``decision`` a ``headgate.Decision`` as a dict; a ``headgate.Descent``
    from a tree.
    """

    key: str
    input: Any
    decision: dict[str, Any]


class NoRouteError(HeadgateError, ValueError):
    """No route fits, and there is no fallback.

    Attributes:
        decision: What the router found.
    """

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision

    def __str__(self) -> str:
        return (
            f"none of the routes {list(self.decision.probabilities)} fits (P(none) = "
            f'{self.decision.none:.2f}); expected one to: pass fallback="…" to say where such inputs go.'
        )


class HeadgateRouter(Restorable, Judge):
    """Choose a route for a text or a conversation, or the fallback.

    ```python
    from langchain_core.runnables.router import RouterRunnable
    from langchain_headgate import HeadgateRouter

    route = HeadgateRouter(
        routes={"billing": "a question about an invoice", "tech": "a technical problem"}, fallback="human"
    )
    chain = route | RouterRunnable({"billing": billing_chain, "tech": tech_chain, "human": human_chain})
    same = route.branches({"billing": billing_chain, "tech": tech_chain}, human_chain)
    ```

    ``batch`` and ``abatch`` judge all inputs in one call. :meth:`as_path` and :meth:`as_command` are for graphs.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        routes: Names, or names with a description or a ``headgate.Label``.
        threshold: Probability from which a route is chosen, 0 to 1, one for all or one for each; by default it must
            beat "none".
        multi: Several routes may be true at once; ``key`` is the best, ``decision["choices"]`` all.
        turns: How many last messages of a conversation are read.
        gap: The best route must lead the next by this many log-odds.
        nulls: Hypotheses that stand for "none of these".
        top_k: With ``multi``: at most so many routes.
        on_overflow: "window" reads all of a text that is too long for the model; "error" refuses it.
        config: A file that ``headgate.save`` wrote of a router, such as ``fit`` gives with its certificate, in place of
            all the above but ``device``.
        fallback: The key where no route fits; without one that raises NoRouteError.
        input_key: The entry of a mapping that is judged, such as the state of a graph.
        router: A ready ``headgate.Router``, one that is ``headgate.Logged``, or a ``headgate.RouteTree``, whose keys
            are like "billing/refund"; in place of all but ``fallback`` and ``input_key``.

    Raises:
        ValueError: ``router`` and scalars together, or neither ``router`` nor ``routes``.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "router"
    _beside: ClassVar[frozenset[str]] = frozenset({"fallback", "input_key"})
    _kind: ClassVar[type] = Router

    model: str = "mini/route"
    routes: list[str] | dict[str, str | Label] | None = None
    threshold: float | dict[str, float] | None = None
    multi: bool = False
    turns: int = 2
    gap: float = 0.0
    nulls: list[str | Label] | None = None
    top_k: int | None = None
    on_overflow: Literal["window", "error"] = "window"
    fallback: str | None = None
    router: SkipJsonSchema[InstanceOf[Router] | InstanceOf[Logged[Decision]] | InstanceOf[RouteTree] | None] = None

    @property
    def OutputType(self) -> type[Routed]:
        """The output's schema."""
        return Routed

    def branches(self, chains: Mapping[str, Way], default: Way) -> Runnable[Judged, Any]:
        """A ``RunnableBranch`` over the routes, which asks the model once for all of them.

        Args:
            chains: Route -> what its inputs go to, as they came in.
            default: Where everything else goes: no route fits, or none of ``chains`` is called so.

        Raises:
            ValueError: A chain is for no route.
        """
        names = self._names()
        if odd := [key for key in chains if names and key not in (*names, self.fallback)]:
            raise ValueError(f"chains are for {odd}; expected some of the routes {names}.")
        router = self if self.fallback is not None else self.model_copy(update={"fallback": ELSEWHERE})
        inputs: RunnableLambda[Routed, Any] = RunnableLambda(itemgetter("input"), name="input")
        ways = [(_is(key), inputs | coerce_to_runnable(chain)) for key, chain in chains.items()]
        return router | RunnableBranch(*ways, inputs | coerce_to_runnable(default))

    def as_path(self) -> Runnable[Any, Hashable | list[Hashable]]:
        """What says where a graph goes next: the name of a route, or with ``multi`` a list of them.

        ```python
        router = HeadgateRouter(routes=["billing", "tech"], fallback="human", input_key="messages")
        graph.add_conditional_edges(START, router.as_path(), {"billing": "refunds", "tech": "tech", "human": "human"})
        ```

        Works in graphs that are invoked and in those that are awaited, off the event loop.
        """

        def path(state: Any, config: RunnableConfig) -> Any:
            return self._ways(self.invoke(self._state(state), config))

        async def apath(state: Any, config: RunnableConfig) -> Any:
            return self._ways(await self.ainvoke(self._state(state), config))

        # By it a graph that is drawn knows where the edges end, if nobody gives a map.
        names = tuple(dict.fromkeys([*self._names(), *([self.fallback] if self.fallback is not None else [])]))
        ends = Literal[names] if names else Any
        path.__annotations__["return"] = apath.__annotations__["return"] = ends
        return RunnableLambda(path, apath, name="route")

    def as_command(
        self, update_key: str | None = "decision", goto: Mapping[str, str] | None = None
    ) -> Runnable[Any, Any]:
        """A node that sends its graph on: ``Command(goto=…, update={update_key: decision})``.

        ```python
        graph.add_node("route", router.as_command("decision"), destinations=("billing", "tech", "human"))
        ```

        Args:
            update_key: Of the state, for the decision as a dict; None writes nothing.
            goto: Route -> node, where a node is called something else.

        Raises:
            ImportError: langgraph is not installed.
        """
        try:
            from langgraph.types import Command
        except ImportError as error:
            raise ImportError(
                "langgraph, which knows commands, is not installed; run: pip install langgraph"
            ) from error
        nodes = dict(goto or {})

        def command(routed: Routed) -> Any:
            ways = self._ways(routed)
            to = [nodes.get(w, w) for w in ways] if isinstance(ways, list) else nodes.get(ways, ways)
            return Command(goto=to, update=None if update_key is None else {update_key: routed["decision"]})

        def node(state: Any, config: RunnableConfig) -> Any:
            return command(self.invoke(self._state(state), config))

        async def anode(state: Any, config: RunnableConfig) -> Any:
            return command(await self.ainvoke(self._state(state), config))

        return RunnableLambda(node, anode, name="route")

    def _state(self, state: Any) -> Any:
        """A graph's state as a mapping; some are objects."""
        named = isinstance(state, BaseModel) or is_dataclass(state)
        if not named or self.input_key is None or not hasattr(state, self.input_key):
            return state
        return {self.input_key: getattr(state, self.input_key)}

    def _ways(self, routed: Routed) -> Any:
        """The keys of a decision of several, or the one key."""
        multi = routed["decision"].get("cut", {}).get("multi", False)
        chosen = list(routed["decision"]["choices"]) if multi and routed["decision"]["enforced"] else []
        return (chosen or [routed["key"]]) if multi else routed["key"]

    def _names(self) -> list[str]:
        """Its routes, as far as they can be told before a model is loaded."""
        if self.routes is not None:
            return list(self.routes)
        ready = self.router if self.config is None else unread(self.config, Router)
        shadow = []
        if isinstance(ready, Logged):
            shadow = [ready.default] if ready.default is not None else []
            ready = ready.task if isinstance(ready.task, Router) else None
        if isinstance(ready, RouteTree):
            return list(_paths(ready))
        return [*ready.routes, *shadow] if isinstance(ready, Router) else []

    def _make(self, scorer: Scorer) -> Router:
        return Router(
            scorer,
            self.routes or [],
            self.threshold,
            self.multi,
            self.turns,
            self.gap,
            self.nulls or (),
            self.top_k,
            self.on_overflow,
        )

    def _judge(self, conversations: list[Read]) -> list[Found]:
        router: Router | Logged[Decision] | RouteTree = self._noun()
        return list(router.many(conversations))

    def _answer(self, value: Judged, result: Found) -> Routed:
        route = result.choice if isinstance(result, Descent) else result.route
        key = route if route is not None else self.fallback
        if key is None:
            raise NoRouteError(result.decisions[0] if isinstance(result, Descent) else result)
        return Routed(key=key, input=value, decision=asdict(result))


def _is(key: str) -> RunnableLambda[Routed, bool]:
    return RunnableLambda(lambda routed: routed["key"] == key, name=f"is {key}")


def _paths(tree: Router | RouteTree, above: str = "") -> Iterator[str]:
    """Every place where a descent may end."""
    router = tree.router if isinstance(tree, RouteTree) else tree
    for name in router.routes:
        yield above + name
        below = tree.below.get(name) if isinstance(tree, RouteTree) else None
        if below is not None:
            yield from _paths(below, f"{above}{name}/")
