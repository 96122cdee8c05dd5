"""Routes in a tree: descend while sure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headgate.arguments import listed
from headgate.conversation import Conversation
from headgate.decision import Decision
from headgate.route import Router
from headgate.scores import Ask, Scorer, Scores, judge

SEPARATOR = "/"


@dataclass(frozen=True)
class Descent:
    """How far down a tree a text went.

    Attributes:
        choice: The last route that was sure, with those above it: "billing/refund"; None if not even the first was.
        path: The routes chosen, from the root down.
        decisions: One a level: those that chose, and the one that declined, if the descent ended above a leaf.
    """

    choice: str | None
    path: tuple[str, ...]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class RouteTree:
    """A router, and routers below some of its routes.

    Each level decides with its own threshold, gap, nulls and certificate; where one declines, the text stays at the
    route above. All share one scorer.

    Args:
        router: Chooses among the first routes.
        below: Route -> what chooses among the routes below it.

    Raises:
        ValueError: A branch hangs below no route, a level chooses several routes, or has a scorer of its own.
    """

    router: Router
    below: Mapping[str, "Router | RouteTree"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "below", dict(self.below))  # a copy holds no tree that holds itself
        names = list(self.router.routes)
        for name, branch in self.below.items():
            if name not in names:
                raise ValueError(f"a branch hangs below {name!r}; expected one of the routes {names}.")
            if not isinstance(branch, Router | RouteTree):
                raise TypeError(f"below {name!r} is {type(branch).__name__}; expected a Router or a RouteTree.")
        if any(SEPARATOR in name for name in names):
            raise ValueError(f"routes {names} hold {SEPARATOR!r}, which joins the levels; expected names without it.")
        for router in self.routers():
            if router.multi:
                raise ValueError("a level of the tree has multi set; expected routers that choose one route.")
            if router.scorer is not self.router.scorer:
                raise ValueError("a level of the tree has a scorer of its own; expected one scorer for all.")

    @property
    def scorer(self) -> Scorer:
        """What all levels ask."""
        return self.router.scorer

    def routers(self) -> Iterator[Router]:
        """Every level's, a router before those below it."""
        yield self.router
        for branch in self.below.values():
            yield from branch.routers() if isinstance(branch, RouteTree) else [branch]

    def __call__(self, text: Conversation) -> Descent:
        """How far down one text goes, or one conversation."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[Descent]:
        """How far down each text goes, in order: one batch plan a level, which scores only the branches taken."""
        texts = listed("texts", texts)
        found = [_Walk(self) for _ in texts]
        while going := [i for i, walk in enumerate(found) if walk.router is not None]:
            routers = list(dict.fromkeys(map(id, (found[i].router for i in going))))
            groups = [[i for i in going if id(found[i].router) == router] for router in routers]
            asks = [ask for mine in groups for ask in found[mine[0]].of.ask([texts[i] for i in mine])]
            for mine, scores in zip(groups, judge(self.router.scorer, asks), strict=True):
                for i, decision in zip(mine, found[mine[0]].of.decide([scores]), strict=True):
                    found[i].go(decision)
        return [walk.descent() for walk in found]

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score to know every level's answer: every text against the routes of each."""
        return [ask for router in self.routers() for ask in router.ask(texts)]

    def decide(self, scores: Sequence[Scores]) -> list[Descent]:
        """One descent for each text that these scores of the whole tree hold; pure, so a stored one can be replayed."""
        every = list(self.routers())
        if len(scores) != len(every):
            raise ValueError(f"{len(scores)} scores came for {len(every)} levels; expected those of ask, in order.")
        levels = {id(router): router.decide([one]) for router, one in zip(every, scores, strict=True)}
        out = []
        for i in range(len(scores[0].log_odds)):
            walk = _Walk(self)
            while walk.router is not None:
                walk.go(levels[id(walk.router)][i])
            out.append(walk.descent())
        return out


class _Walk:
    """One text on its way down; ``router`` is what decides next, None at the end."""

    def __init__(self, tree: RouteTree) -> None:
        self.at: Router | RouteTree | None = tree
        self.path: list[str] = []
        self.decisions: list[Decision] = []

    @property
    def router(self) -> Router | None:
        return self.at.router if isinstance(self.at, RouteTree) else self.at

    @property
    def of(self) -> Router:
        """The router of a walk that has not ended."""
        assert self.router is not None
        return self.router

    def go(self, decision: Decision) -> None:
        self.decisions.append(decision)
        if decision.choice is None:
            self.at = None
            return
        self.path.append(decision.choice)
        self.at = self.at.below.get(decision.choice) if isinstance(self.at, RouteTree) else None

    def descent(self) -> Descent:
        return Descent(SEPARATOR.join(self.path) or None, tuple(self.path), tuple(self.decisions))
