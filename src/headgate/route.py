"""Choose a route for a text: one, several, or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed, named, one_of
from headgate.bounds import fewest
from headgate.calibration import Calibration
from headgate.certificate import ALL, OTHERS, Certificate, Goal, made, pins
from headgate.chances import Chances, part
from headgate.conversation import Conversation, last_turns
from headgate.coverage import Overflow, coverage, refuse_long
from headgate.decision import Cut, Decision
from headgate.labelled import Bools, Halves, truth_matrix
from headgate.scores import Ask, Label, Scorer, Scores, as_label, judge
from headgate.thresholds import selective

Routes = Sequence[str] | Mapping[str, str | Label]


@dataclass(frozen=True)
class Router:
    """Choose among routes, or decline.

    One label at most is true: ``P(k) = o_k / (1 + sum o)`` and ``P(none) = 1 / (1 + sum o)`` with
    o the odds of each route; the classes of one softmax head show that softmax. With ``multi``
    each route has its own probability and any number may be chosen.

    Args:
        scorer: What judges a text by the routes; its scores must be probabilities, or calibrated here.
        routes: Names, or names with a description, or with a hypothesis of their own:
            ``Label("The customer wants money back.", verbatim=True)``.
        threshold: A route is chosen from this probability up; one for all, or one for each. Without one, the best
            route must be more probable than "none" (with ``multi``: 0.5); 0 always takes the best.
        multi: Several routes may be true at once.
        turns: How many last messages of a conversation are read.
        gap: The best route must lead the next, or the likeliest null, by this many log-odds; else "ambiguous".
        nulls: Hypotheses that stand for "none of these", such as ``"small talk"``; their probability is none's.
        top_k: With ``multi``: at most so many routes.
        on_overflow: "window" reads all of a text that is too long for the model; "error" refuses it.
        calibration: Of the scores; :meth:`fit` finds one.
        certificate: What is promised of the thresholds; from :meth:`fit`, and refused with any other settings.

    Raises:
        StaleError: The certificate is of another scorer, or of other settings.
    """

    scorer: Scorer
    routes: Routes
    threshold: float | Mapping[str, float] | None = None
    multi: bool = False
    turns: int = 2
    gap: float = 0.0
    nulls: Sequence[str | Label] = ()
    top_k: int | None = None
    on_overflow: Overflow = "window"
    calibration: Calibration | None = None
    certificate: Certificate | None = None
    _labels: dict[str, str | Label] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.routes, str) or not self.routes:
            raise ValueError(f"routes is {self.routes!r}; expected names, or names with descriptions.")
        if self.turns < 1:
            raise ValueError(f"turns is {self.turns}; expected 1 or more.")
        one_of("on_overflow", self.on_overflow, get_args(Overflow))
        names = list(self.routes)
        named("route", names)
        if isinstance(self.threshold, Mapping) and set(self.threshold) != set(names):
            odd = sorted(set(self.threshold) ^ set(names))
            raise ValueError(f"threshold names {sorted(self.threshold)}, odd is {odd}; expected one for each route.")
        labels = dict(self.routes) if isinstance(self.routes, Mapping) else {n: n for n in names}
        said: dict[Label, str] = {}
        for name, label in [*labels.items(), *((f"null {x!r}", x) for x in listed("nulls", self.nulls))]:
            twin = said.setdefault(as_label(label), name)
            if twin != name:
                raise ValueError(
                    f"routes {twin!r} and {name!r} have the same description; no text could tell them apart."
                )
        object.__setattr__(self, "_labels", labels)
        object.__setattr__(self, "nulls", tuple(self.nulls))
        object.__setattr__(self, "nulls", tuple(self.nulls))
        if isinstance(self.threshold, Mapping):  # a copy: what the caller does with theirs changes no decision
            object.__setattr__(self, "threshold", dict(self.threshold))
        _ = self.cut  # its errors belong here
        if self.certificate is not None:
            self.certificate.check(self._pins())

    @cached_property
    def cut(self) -> Cut:
        """The step from probabilities to routes, without a model."""
        return Cut(self.threshold, self.multi, self.gap, self.top_k)

    def __call__(self, text: Conversation) -> Decision:
        """The decision for one text, or one conversation."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[Decision]:
        """A decision for each text, in order, in one batch plan."""
        return self.decide(judge(self.scorer, self.ask(texts)))

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score: every text against every route and null."""
        labels = [*self._labels.values(), *self.nulls]
        return [Ask([last_turns(t, self.turns) for t in listed("texts", texts)], labels)]

    def decide(self, scores: Sequence[Scores]) -> list[Decision]:
        """One decision for each text that these scores hold; pure, so a stored one can be replayed."""
        (found,) = scores
        refuse_long(found, self.on_overflow)
        if self.certificate is not None:
            self.certificate.of(self.scorer)
        chances = self.chances(found)
        certificate = None if self.certificate is None else self.certificate.id
        return [self._row(found, chances, i, certificate) for i in range(len(chances.p))]

    def fit(
        self,
        texts: Sequence[str],
        truths: Sequence[str | Sequence[str] | None],
        *,
        max_error: float,
        confidence: float = 0.9,
        by: Literal["all", "route"] = "all",
        seed: int = 0,
    ) -> "Router":
        """This router with a threshold that keeps P(wrong | routed) at or below ``max_error``, and a certificate of it.

        One half of the texts, drawn by ``seed``, fits the calibration and sets out which thresholds are tried; the
        other only proves them. Over the texts that one might have drawn the promise holds with ``confidence``, for
        later texts that are like these. What can't be proven warns, says how many more labels would do, and is marked
        in the certificate: ``guaranteed`` is False. It holds for one try: who tries seeds or targets until one is
        proven, has proven less.

        Args:
            texts: Labelled texts, as they come in use: those out of scope too, and none that made the routes' names.
            truths: The right route of each, or None: out of scope. With ``multi`` several.
            max_error: Of the texts that get a route, at most this share may get a wrong one, above 0, below 1.
            confidence: That the promise holds, above 0, below 1.
            by: "all": one threshold for all routes. "route": routes with enough texts get one of their own, each with
                the promise; the others share one. All hold at once.
            seed: Of the halves.

        Raises:
            DataError: Too few texts, or a truth that is no route; the message says which row.
        """
        goal = Goal("max_error", max_error, confidence, seed)
        if by not in ("all", "route") or (self.multi and by == "route"):
            raise ValueError(f'by is {by!r}; expected "all", or "route" for a router that chooses one.')
        names = list(self._labels)
        if by == "route" and OTHERS in names:
            raise ValueError(f"a route is called {OTHERS!r}, as those that share a threshold are; choose another name.")
        halves = Halves.of(texts, truths, seed=seed, known=getattr(self.scorer, "seen", None))
        true = truth_matrix(halves.truths, names, "route")
        plain = replace(self, threshold=None, calibration=None, certificate=None)
        (scores,) = judge(self.scorer, plain.ask(halves.texts))
        calibrated = replace(plain, calibration=_calibration(scores, true, halves.fit, multi=self.multi))
        chances = calibrated.chances(scores)
        outcomes = chances.outcomes(self.cut, true, scores.empty)
        best = chances.p.argmax(axis=1)
        groups = _groups(best, halves.fit, names, goal) if by == "route" else {ALL: best >= 0}
        share = 1 - (1 - confidence) / len(groups)  # all promises hold at once
        proofs = {
            name: selective(
                outcomes.where(mine & halves.fit), outcomes.where(mine & ~halves.fit), rate=max_error, confidence=share
            )
            for name, mine in groups.items()
        }
        every = {n: proofs.get(n, proofs.get(OTHERS)) for n in names}
        threshold = {n: proof.threshold for n, proof in every.items() if proof is not None}
        fitted = replace(calibrated, threshold=threshold if by == "route" else proofs[ALL].threshold)
        return replace(fitted, certificate=made(halves, goal, proofs, top=chances.top, pins=fitted._pins()))

    def chances(self, found: Scores) -> Chances:
        """Probabilities of the routes and of none, for each text, before any threshold."""
        calibrated = found if self.calibration is None else self.calibration(found)
        return Chances.of(calibrated, len(self._labels), multi=self.multi)

    def _row(self, scores: Scores, chances: Chances, i: int, certificate: str | None) -> Decision:
        names, p = list(self._labels), chances.p[i]
        z = scores.log_odds[i]
        if scores.scored is not None:  # of thousands of routes, those that a shortlist let through
            seen = np.flatnonzero(scores.scored[i, : len(names)])
            names, p, z = [names[k] for k in seen], p[seen], z[seen]
        none, null, empty = float(chances.none[i]), float(chances.null[i]), bool(scores.empty[i])
        chosen = self.cut.choose(names, p, none=none, null=null, empty=empty)
        return Decision(
            choice=chosen.choices[0] if chosen.choices else None,
            choices=chosen.choices,
            probabilities=dict(zip(names, p.tolist(), strict=True)),
            none=none,
            log_odds=dict(zip(names, z[: len(names)].tolist(), strict=True)),
            threshold=chosen.threshold,
            unknown=float(scores.unknown[i]),
            empty=empty,
            reason=chosen.reason,
            runner_up=chosen.runner_up,
            null=null,
            coverage=coverage(scores, i),
            certificate=certificate,
            top=float(chances.top[i]),
            cut=self.cut,
        )

    def _pins(self) -> dict[str, str]:
        return pins(
            self.scorer,
            routes=self._labels,
            threshold=self.threshold,
            multi=self.multi,
            turns=self.turns,
            gap=self.gap,
            nulls=list(self.nulls),
            top_k=self.top_k,
            on_overflow=self.on_overflow,
            calibration=self.calibration,
        )


def _calibration(scores: Scores, true: Bools, fit: Bools, *, multi: bool) -> Calibration:
    """On the half that fits: of each route by itself where several may be true, of the choice where one is."""
    m = true.shape[1]
    half = part(scores, fit & ~scores.empty, m)
    rows = true[fit & ~scores.empty]
    if multi:
        return Calibration.fit(half, rows)
    best = np.where(rows, half.log_odds, -np.inf).argmax(axis=1)  # of several true ones, the one it is surest of
    return Calibration.fit_choice(half, np.where(rows.any(axis=1), best, -1))


def _groups(best: NDArray[np.int64], fit: Bools, names: Sequence[str], goal: Goal) -> dict[str, Bools]:
    """Texts by their best route, (n,) each: routes that may prove a promise of their own, and the others together."""
    counts = np.bincount(best[fit], minlength=len(names))
    enough = 2 * fewest(goal.target, goal.confidence)
    share = 1 - (1 - goal.confidence) / (1 + int((counts >= enough).sum()))
    own = [k for k in range(len(names)) if counts[k] >= 2 * fewest(goal.target, share)]
    groups = {names[k]: best == k for k in own}
    others = ~np.isin(best, own)
    return groups | ({OTHERS: others} if len(own) < len(names) else {})
