"""Steps of a workflow that a guard or a router makes."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from functools import reduce
from operator import or_
from threading import Lock
from typing import Any, Generic, TypeVar

from llama_index.core.workflow import Event, StopEvent, step

from headgate import Decision, Guard, Logged, Router, Verdict
from headgate.hosting import away

T = TypeVar("T")
Read = str | Callable[[Any], str]
Step = Callable[[Any, Any], Awaitable[Event]]


def guard_step(
    guard: Guard | Logged[Verdict] | Callable[[], Guard],
    takes: type[Event],
    passed: type[Event],
    *,
    blocked: type[Event] = StopEvent,
    text: Read = "query",
    num_workers: int = 4,
) -> Step:
    """A step that lets an event on only if its text breaks no rule.

    ```python
    from llama_index.core.workflow import StartEvent, Workflow
    from llama_index.postprocessor.headgate.workflows import guard_step


    class Flow(Workflow):
        check = guard_step(guard, StartEvent, Safe, text="query")
    ```

    The event that follows has all that the one before it had, and ``verdict``, a ``headgate.Verdict`` as a dict. A
    blocked StopEvent has the result ``{"blocked": True, "verdict": …}``. Judges off the event loop.

    Args:
        guard: A ``headgate.Guard``, one that is ``headgate.Logged``, or a function that makes one at the first event.
        takes: Type of the events that it reads.
        passed: Type of the event that follows an allowed one.
        blocked: Type of the event that follows a blocked one.
        text: Where the words are: an attribute of the event, or a function from it to them.
        num_workers: As of any step.

    Raises:
        TypeError: Something that is no guard, or no type of event.
    """
    _events(takes, passed, blocked)
    noun: _Ready[Guard | Logged[Verdict]] = _Ready("guard", guard, Guard)

    async def check(self: object, ev: Any) -> Event:
        verdict: Verdict = await away(lambda: noun.get()(_words(ev, text)))
        found = asdict(verdict)
        if not verdict.blocks:
            return _next(passed, ev, verdict=found)
        if blocked is StopEvent:
            return StopEvent(result={"blocked": True, "verdict": found})
        return _next(blocked, ev, verdict=found)

    return _step(check, takes, [passed, blocked], num_workers)


def route_step(
    router: Router | Logged[Decision] | Callable[[], Router],
    takes: type[Event],
    routes: Mapping[str, type[Event]],
    *,
    otherwise: type[Event],
    text: Read = "query",
    num_workers: int = 4,
) -> Step:
    """A step that sends an event on as the event of its route.

    ```python
    from llama_index.core.workflow import StartEvent, Workflow
    from llama_index.postprocessor.headgate.workflows import route_step


    class Flow(Workflow):
        route = route_step(router, StartEvent, {"billing": Billing, "shipping": Shipping}, otherwise=Other)
    ```

    The event that follows has all that the one before it had, and ``decision``, a ``headgate.Decision`` as a dict. A
    StopEvent has both as its result. Judges off the event loop.

    Args:
        router: A ``headgate.Router``, one that is ``headgate.Logged``, or a function that makes one at the first event.
        takes: Type of the events that it reads.
        routes: For each route of the router the type of the event that follows.
        otherwise: The type where none of the routes fits.
        text: Where the words are: an attribute of the event, or a function from it to them.
        num_workers: As of any step.

    Raises:
        TypeError: Something that is no router, or no type of event.
        ValueError: A router with ``multi``, or with other routes; from a router made later, at the first event.
    """
    _events(takes, *routes.values(), otherwise)
    noun: _Ready[Router | Logged[Decision]] = _Ready("router", router, Router, lambda found: _fits(found, routes))

    async def route(self: object, ev: Any) -> Event:
        decision: Decision = await away(lambda: noun.get()(_words(ev, text)))
        kind = otherwise if decision.route is None else routes[decision.route]
        return _next(kind, ev, decision=asdict(decision))

    return _step(route, takes, [*routes.values(), otherwise], num_workers)


class _Ready(Generic[T]):
    """A noun, or what makes one, asked once."""

    def __init__(self, name: str, given: Any, kind: type, check: Callable[[Any], None] = lambda found: None) -> None:
        self._name, self._kind, self._check = name, kind, check
        self._lock = Lock()
        self._make: Callable[[], Any] | None = None
        if callable(given) and not isinstance(given, Guard | Router | Logged):  # which can be called too
            self._make = given
        else:
            self._noun = self._checked(given)

    def get(self) -> T:
        with self._lock:
            if self._make is not None:
                self._noun, self._make = self._checked(self._make()), None
            return self._noun

    def _checked(self, found: Any) -> T:
        task = found.task if isinstance(found, Logged) else found
        if not isinstance(task, self._kind):
            raise TypeError(
                f"{self._name} is {type(task).__name__}; expected a headgate.{self._kind.__name__}, or a function "
                "without arguments that makes one."
            )
        self._check(task)
        return found  # type: ignore[no-any-return]


def _fits(router: Router, routes: Mapping[str, type[Event]]) -> None:
    if router.multi:
        raise ValueError("the router has multi=True; expected one that chooses one route: an event goes one way.")
    if set(router.routes) != set(routes):
        raise ValueError(
            f"routes names {sorted(routes)}, and the router's are {sorted(router.routes)}; expected an event for each."
        )


def _events(*kinds: object) -> None:
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise TypeError(f"{kind!r} came for a type of event; expected a subclass of Event, not an instance.")


def _words(event: Event, text: Read) -> str:
    found = getattr(event, text, None) if isinstance(text, str) else text(event)
    if not isinstance(found, str):
        raise TypeError(
            f"the text of {type(event).__name__} is {type(found).__name__}; expected str: say with text=… where the "
            "words are."
        )
    return found


def _next(kind: type[Event], event: Event, **found: dict[str, Any]) -> Event:
    fields = {name: getattr(event, name) for name in type(event).model_fields}
    data = {**fields, **dict(event.items()), **found}
    return kind(result=data) if kind is StopEvent else kind(**data)


def _step(function: Any, takes: type[Event], gives: list[type[Event]], num_workers: int) -> Step:
    function.__annotations__ = {"ev": takes, "return": reduce(or_, gives)}
    function.__qualname__ = f"Workflow.{function.__name__}"  # a step with "<locals>" would want its workflow now
    made: Step = step(num_workers=num_workers)(function)
    return made
