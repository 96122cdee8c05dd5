"""Choose a route for a text: one, several, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from headgate.arguments import listed, named, probability
from headgate.conversation import Conversation, last_turns
from headgate.scores import Ask, Floats, Label, Scorer, Scores, as_label, judge

Routes = Sequence[str] | Mapping[str, str | Label]


@dataclass(frozen=True)
class Decision:
    """Where a text goes.

    Attributes:
        choice: The best route, or None: none of these.
        choices: Every route chosen, best first; at most one unless the router is multi-label.
        probabilities: For each route; with ``none`` they sum to 1, unless the router is multi-label.
        none: P(none of the routes).
        log_odds: The model's own number for each route.
        threshold: What the choice had to reach; None if it only had to beat "none".
        unknown: Share of the text that the tokenizer could not read, 0 to 1.
        empty: The text holds nothing but white space.
    """

    choice: str | None
    choices: tuple[str, ...]
    probabilities: dict[str, float]
    none: float
    log_odds: dict[str, float]
    threshold: float | None
    unknown: float = 0.0
    empty: bool = False


@dataclass(frozen=True)
class Router:
    """Choose among routes, or decline.

    One label at most is true: ``P(k) = o_k / (1 + sum o)`` and ``P(none) = 1 / (1 + sum o)`` with
    o the odds of each route; the classes of one softmax head show that softmax. With ``multi``
    each route has its own probability and any number may be chosen.

    Args:
        scorer: What judges a text by the routes; its scores must be probabilities.
        routes: Names, or names with a description, or with a hypothesis of their own:
            ``Label("The customer wants money back.", verbatim=True)``.
        threshold: A route is chosen from this probability up. Without one, the best route must be
            more probable than "none" (with ``multi``: 0.5); 0 always takes the best.
        multi: Several routes may be true at once.
        turns: How many last messages of a conversation are read.
    """

    scorer: Scorer
    routes: Routes
    threshold: float | None = None
    multi: bool = False
    turns: int = 2
    _labels: dict[str, str | Label] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.routes, str) or not self.routes:
            raise ValueError(f"routes is {self.routes!r}; expected names, or names with descriptions.")
        if self.threshold is not None:
            probability("threshold", self.threshold)
        if self.turns < 1:
            raise ValueError(f"turns is {self.turns}; expected 1 or more.")
        names = list(self.routes)
        named("route", names)
        labels = dict(self.routes) if isinstance(self.routes, Mapping) else {n: n for n in names}
        said: dict[Label, str] = {}
        for name, label in labels.items():
            twin = said.setdefault(as_label(label), name)
            if twin != name:
                raise ValueError(
                    f"routes {twin!r} and {name!r} have the same description; no text could tell them apart."
                )
        object.__setattr__(self, "_labels", labels)

    def __call__(self, text: Conversation) -> Decision:
        """The decision for one text, or one conversation."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[Decision]:
        """A decision for each text, in order, in one batch plan."""
        return self.decide(judge(self.scorer, self.ask(texts)))

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score: every text against every route."""
        return [Ask([last_turns(t, self.turns) for t in listed("texts", texts)], list(self._labels.values()))]

    def decide(self, scores: Sequence[Scores]) -> list[Decision]:
        """One decision for each text that these scores hold; pure, so a stored one can be replayed."""
        (found,) = scores
        own = found.probabilities.astype(np.float64)  # raises where the scores are only an order
        return [self._row(found, own[i], i) for i in range(len(found.log_odds))]

    def _row(self, scores: Scores, own: np.ndarray[tuple[int], np.dtype[np.float64]], i: int) -> Decision:
        names = list(self._labels)
        z = scores.log_odds[i]
        if self.multi:
            p, none = own, float(np.prod(1 - own))
        elif scores.exclusive:
            p, none = own, max(0.0, 1.0 - float(own.sum()))
        else:
            p, none = _one_of(z)
        least = 0.5 if self.multi and self.threshold is None else self.threshold
        ranked = [] if scores.empty[i] else sorted(range(len(names)), key=lambda k: (-p[k], k))
        chosen = tuple(names[k] for k in ranked if (p[k] > none if least is None else p[k] >= least))
        chosen = chosen if self.multi else chosen[:1]
        return Decision(
            choice=chosen[0] if chosen else None,
            choices=chosen,
            probabilities={n: float(p[k]) for k, n in enumerate(names)},
            none=none,
            log_odds={n: float(z[k]) for k, n in enumerate(names)},
            threshold=None if least is None else float(least),
            unknown=float(scores.unknown[i]),
            empty=bool(scores.empty[i]),
        )


def _one_of(log_odds: Floats) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], float]:
    """P(k) and P(none) when at most one label is true: a softmax beside a zero for "none"."""
    z = np.append(log_odds.astype(np.float64), 0.0)
    p = np.exp(z - z.max())
    p /= p.sum()
    return p[:-1], float(p[-1])
