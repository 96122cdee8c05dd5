"""Where a text goes, and the pure step from probabilities to it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import probability
from headgate.coverage import WHOLE, Coverage

Array = NDArray[np.float64]
Reason = Literal["chosen", "none", "ambiguous", "empty"]


@dataclass(frozen=True)
class Found:
    """What a text's probabilities say: parts of a :class:`Decision`."""

    choices: tuple[str, ...]
    reason: Reason
    runner_up: str | None
    threshold: float | None


@dataclass(frozen=True)
class Cut:
    """From probabilities to routes.

    Args:
        threshold: A route is chosen from this probability up, one for all or one for each. None: it must be more
            probable than "none"; with ``multi``, 0.5.
        multi: Several routes may be chosen.
        gap: The best route must lead the next by this many log-odds; 0 is no gap.
        top_k: With ``multi``: at most so many.
    """

    threshold: float | Mapping[str, float] | None = None
    multi: bool = False
    gap: float = 0.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.threshold, Mapping):
            object.__setattr__(self, "threshold", dict(self.threshold))
        for name, value in self._thresholds().items():
            probability(f"the threshold of route {name!r}" if name else "threshold", value)
        if not (isinstance(self.gap, int | float | np.number) and 0 <= self.gap < math.inf):
            raise ValueError(f"gap is {self.gap!r}; expected log-odds, 0 or more.")
        if self.multi and self.gap:
            raise ValueError(f"gap is {self.gap} and multi is set; expected one of the two: several may be true.")
        if self.top_k is not None and (not self.multi or isinstance(self.top_k, bool) or not self.top_k >= 1):
            raise ValueError(f"top_k is {self.top_k!r}; expected a whole number, 1 or more, with multi=True.")
        # In plain numbers: a decision carries them, and is written as JSON.
        own = {name: float(value) for name, value in self._thresholds().items()}
        object.__setattr__(self, "threshold", own if isinstance(self.threshold, Mapping) else own.get(""))
        object.__setattr__(self, "gap", float(self.gap))
        object.__setattr__(self, "top_k", None if self.top_k is None else int(self.top_k))

    def least(self, route: str) -> float | None:
        """What a route must reach."""
        if isinstance(self.threshold, Mapping):
            return float(self.threshold[route])
        if self.threshold is None:
            return 0.5 if self.multi else None
        return float(self.threshold)

    def choose(self, names: Sequence[str], p: Array, *, none: float, null: float, empty: bool = False) -> Found:
        """The routes that these probabilities mean; pure, so a stored decision can be taken again.

        Args:
            names: The k routes that were scored; a shortlist may have let none through.
            p: (k,) their probabilities.
            none: P(none of them).
            null: Probability of the likeliest null hypothesis.
            empty: The text is empty, and goes nowhere.
        """
        if not len(names):
            return Found((), "none", None, None)
        order = np.argsort(-p, kind="stable")
        ranked = [names[k] for k in order[: len(order) if self.multi else 2]]
        best, runner_up = ranked[0], ranked[1] if len(ranked) > 1 else None
        least = self.least(best)
        if empty:
            return Found((), "empty", runner_up, least)
        if self.multi:
            chosen = tuple(n for n, k in zip(ranked, order, strict=True) if self._reaches(n, p[k], none, null))
            return Found(chosen[: self.top_k], "chosen" if chosen else "none", runner_up, least)
        if not self._reaches(best, p[order[0]], none, null):
            return Found((), "none", runner_up, least)
        second = max(null, float(p[order[1]]) if runner_up is not None else 0.0)
        if self.gap and not (second <= 0 or math.log(p[order[0]] / second) >= self.gap):
            return Found((), "ambiguous", runner_up, least)
        return Found((best,), "chosen", runner_up, least)

    def _reaches(self, route: str, p: float, none: float, null: float) -> bool:
        least = self.least(route)
        # A null hypothesis that is likelier says "none of these", whatever the threshold.
        return bool(p > none if least is None else p >= least) and not p < null

    def _thresholds(self) -> dict[str, float]:
        if self.threshold is None:
            return {}
        return dict(self.threshold) if isinstance(self.threshold, Mapping) else {"": self.threshold}


@dataclass(frozen=True)
class Decision:
    """Where a text goes.

    Attributes:
        choice: The best route found, or None: none of these.
        choices: Every route chosen, best first; at most one unless the router is multi-label.
        probabilities: For each route that was scored; with ``none`` they sum to 1, unless the router is multi-label.
        none: P(none of the routes).
        log_odds: The model's own number for each route that was scored.
        threshold: What the best route had to reach; None if it only had to beat "none".
        unknown: Share of the text that the tokenizer could not read, 0 to 1.
        empty: The text holds nothing but white space.
        reason: "chosen"; "none" if no route reached its threshold; "ambiguous" if the runner-up came too near;
            "empty" for an empty text.
        runner_up: The second-best route; None if there is none.
        null: Probability of the likeliest null hypothesis, a part of ``none``; 0 where there are no such.
        coverage: What was read of the text.
        certificate: Id of the router's certificate, where it has one.
        top: Highest calibrated log-odds of a route: what drift shows in, since it never saturates.
        cut: What made routes of the probabilities.
        enforced: False from a router in shadow: ``choice`` says what was found, and the text goes to ``default``.
        default: Where a router in shadow sends every text; None: nowhere, or to the caller's fallback.
    """

    choice: str | None
    choices: tuple[str, ...]
    probabilities: dict[str, float]
    none: float
    log_odds: dict[str, float]
    threshold: float | None
    unknown: float = 0.0
    empty: bool = False
    reason: Reason = "chosen"
    runner_up: str | None = None
    null: float = 0.0
    coverage: Coverage = WHOLE
    certificate: str | None = None
    top: float = 0.0
    cut: Cut = Cut()
    enforced: bool = True
    default: str | None = None

    @property
    def route(self) -> str | None:
        """Where to send the text: the choice, or from a router in shadow the default."""
        return self.choice if self.enforced else self.default
