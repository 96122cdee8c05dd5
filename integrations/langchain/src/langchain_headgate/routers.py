"""Send a query where it belongs."""

from dataclasses import asdict
from typing import Any, ClassVar

from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypedDict

from headgate import Decision, HeadgateError, Label, Logged, Router, Scorer
from langchain_headgate._lazy import STRICT, Lazy
from langchain_headgate._runnable import Judge, Judged, Read


class Routed(TypedDict):
    """What ``RouterRunnable`` takes, and why.

    ``key`` is the route, ``input`` what came in, ``decision`` a ``headgate.Decision`` as a dict.
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


class HeadgateRouter(Lazy, Judge):
    """Choose a route for a text or a conversation, or the fallback.

    ```python
    from langchain_core.runnables.router import RouterRunnable
    from langchain_headgate import HeadgateRouter

    route = HeadgateRouter(
        routes={"billing": "a question about an invoice", "tech": "a technical problem"}, fallback="human"
    )
    chain = route | RouterRunnable({"billing": billing_chain, "tech": tech_chain, "human": human_chain})
    ```

    ``batch`` and ``abatch`` judge all inputs in one call.

    Args:
        model: A folder, a Hub id or a part of the default; loaded at the first call.
        family, revision, device, dtype, template, classes, max_length: As in ``headgate.load``.
        routes: Names, or names with a description or a ``headgate.Label``.
        threshold: Probability from which a route is chosen, 0 to 1; by default it must beat "none".
        multi: Several routes may be true at once; ``key`` is the best, ``decision["choices"]`` all.
        turns: How many last messages of a conversation are read.
        fallback: The key where no route fits; without one that raises NoRouteError.
        input_key: The entry of a mapping that is judged.
        router: A ready ``headgate.Router``, or one that is ``headgate.Logged``, in place of all but ``fallback`` and
            ``input_key``.

    Raises:
        ValueError: ``router`` and scalars together, or neither ``router`` nor ``routes``.
    """

    model_config = STRICT
    _ready: ClassVar[str] = "router"
    _beside: ClassVar[frozenset[str]] = frozenset({"fallback", "input_key"})

    model: str = "mini/route"
    routes: list[str] | dict[str, str | Label] | None = None
    threshold: float | None = None
    multi: bool = False
    turns: int = 2
    fallback: str | None = None
    router: SkipJsonSchema[InstanceOf[Router] | InstanceOf[Logged[Decision]] | None] = None

    @property
    def OutputType(self) -> type[Routed]:
        """The output's schema."""
        return Routed

    def _make(self, scorer: Scorer) -> Router:
        return Router(scorer, self.routes or [], self.threshold, self.multi, self.turns)

    def _judge(self, conversations: list[Read]) -> list[Decision]:
        router: Router | Logged[Decision] = self._noun()
        return router.many(conversations)

    def _answer(self, value: Judged, result: Decision) -> Routed:
        key = result.route if result.route is not None else self.fallback
        if key is None:
            raise NoRouteError(result)
        return Routed(key=key, input=value, decision=asdict(result))
