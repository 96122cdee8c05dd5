"""Take from a scorer what it would have said anyway: by the order of the labels, or of any text."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import factorial

import numpy as np

from headgate.arguments import listed, whole
from headgate.scores import Ask, Floats, Label, Scorer, Scores, as_label, judge, silenced
from headgate.wrapped import Wrapper, digest

CONTENT_FREE = ("N/A", "[MASK]", "...")
"""Texts that say nothing. The empty one of the source is missing: no scorer is asked about it."""

WEIGHT = 0.5
"""How much of a prior is taken off; all of it costs ``mini`` more than it gives."""

_MOST_PRIORS = 65_536  # numbers kept: 10,000 labels several times over, and under 10 MB


@dataclass(frozen=True)
class Permuted(Wrapper):
    """A joint scorer whose log-odds are means over several orders of the labels.

    Whatever order labels are asked in, the result is the same: the orders are drawn from the sorted
    labels. Every second order is the one before it backwards, so that over both each label stands
    in the middle on average. A scorer whose labels don't see one another is asked once.

    Args:
        scorer: A joint scorer; each order costs a pass, all in one plan.
        orders: How many, at least 1; fewer where so few labels have fewer.
        seed: Of the orders.

    Source: Lu et al., "Fantastically ordered prompts", 2022 (arXiv:2104.08786) shows what order does to prompts.
    """

    scorer: Scorer
    orders: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        whole("orders", self.orders, least=1)
        whole("seed", self.seed, least=0)

    @property
    def fingerprint(self) -> str:
        """The inner scorer's with the orders."""
        return f"{self.scorer.fingerprint}~{self.orders}orders{self.seed}"

    @property
    def thresholds(self) -> dict[str, float]:
        """The inner scorer's own thresholds, if it has any: these are its numbers still."""
        return dict(getattr(self.scorer, "thresholds", {}))

    def score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """Mean log-odds over the orders; the most windows, and the span of the order that said most."""
        orders = [self._orders(listed("labels", ask.labels)) for ask in asks]
        plan = [
            Ask(ask.texts, [ask.labels[j] for j in order])
            for ask, some in zip(asks, orders, strict=True)
            for order in some
        ]
        found = iter(judge(self.scorer, plan))
        return [_averaged([next(found) for _ in some], some) for some in orders]

    def _orders(self, labels: Sequence[str | Label]) -> list[list[int]]:
        m = len(labels)
        if not self.scorer.joint:
            return [list(range(m))]
        known = [as_label(label) for label in labels]
        first = sorted(range(m), key=lambda j: (known[j].text, known[j].verbatim, known[j].relation))
        random = np.random.default_rng(self.seed)
        drawn: dict[tuple[int, ...], None] = {}
        while len(drawn) < min(self.orders, factorial(min(m, 12))):
            order = tuple(random.permutation(m).tolist())
            drawn |= {order: None, order[::-1]: None}
        return [[first[k] for k in order] for order in list(drawn)[: self.orders]]


def _averaged(found: Sequence[Scores], orders: Sequence[Sequence[int]]) -> Scores:
    """One Scores in the caller's order of labels, from one for each order."""
    back = [np.argsort(order) for order in orders]
    z = np.stack([s.log_odds[:, b] for s, b in zip(found, back, strict=True)])  # (orders, n, m)
    best = z.argmax(axis=0)[None, ..., None]
    spans = np.stack([s.spans[:, b] for s, b in zip(found, back, strict=True)])
    scored = [s.scored[:, b] for s, b in zip(found, back, strict=True) if s.scored is not None]
    return replace(
        found[0],
        log_odds=z.mean(axis=0, dtype=np.float64).astype(np.float32),
        windows=np.max([s.windows[:, b] for s, b in zip(found, back, strict=True)], axis=0),
        spans=np.take_along_axis(spans, best, axis=0)[0],
        exclusive=found[0].exclusive and len(found) == 1,  # a mean of softmaxes' log-odds is none
        scored=np.all(scored, axis=0) if scored else None,
    )


@dataclass(frozen=True)
class Debiased(Wrapper):
    """A scorer without what it says of texts that say nothing: ``z - weight * mean z(content-free)``.

    A label that a model finds likely of any text stops winning. What is left is how much more a text
    says than no text at all: an order; fit a Calibration to have probabilities again. Whether it
    helps depends on model and labels, and with ``mini`` it mostly doesn't (benchmarks/LOG.md): measure
    it on yours. Texts of your own, unlabelled, may serve better than content-free ones. It goes inside
    a shortlist, not around it.

    Args:
        scorer: Any scorer; what it says of content-free texts is kept for each label (for a joint
            scorer, for each list of labels), and asked in the plan of the first call that needs it.
        content_free: Texts that say nothing, at least one, none blank.
        weight: How much of it is taken off; 0 takes nothing.

    Source: Zhao et al., "Calibrate before use", 2021 (arXiv:2102.09690), eq. 3 in log-odds.
    """

    scorer: Scorer
    content_free: Sequence[str] = CONTENT_FREE
    weight: float = WEIGHT
    # Without a lock, which a fork might copy while held: two threads may ask for one prior, and find the same.
    _known: dict[tuple[Label, ...], Floats] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        texts = tuple(listed("content_free", self.content_free))
        if not texts or not all(isinstance(t, str) and t.strip() for t in texts):
            raise ValueError(f"content_free is {list(texts)}; expected texts that are not blank, at least one.")
        if isinstance(self.weight, bool) or not isinstance(self.weight, int | float) or not np.isfinite(self.weight):
            raise ValueError(f"weight is {self.weight!r}; expected a finite number.")
        object.__setattr__(self, "content_free", texts)

    @property
    def fingerprint(self) -> str:
        """The inner scorer's with the content-free texts and their weight."""
        return f"{self.scorer.fingerprint}-{digest(self.content_free)}x{self.weight:.6g}"

    def score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """Log-odds less the prior of each label; meaning "order"."""
        keys = [tuple(as_label(label) for label in listed("labels", ask.labels)) for ask in asks]
        wanted = dict.fromkeys(unit for key in keys for unit in self._units(key))
        known = {unit: prior for unit in wanted if (prior := self._known.get(unit)) is not None}
        new = [unit for unit in wanted if unit not in known]
        # One ask for all new labels, unless labels see one another.
        extra = new if self.scorer.joint or not new else [tuple(label for (label,) in new)]
        found = judge(self.scorer, [*asks, *(Ask(self.content_free, labels) for labels in extra)])
        for labels, scores in zip(extra, found[len(asks) :], strict=True):
            known.update(zip(self._units(labels), self._split(_prior(scores)), strict=True))
        self._keep(known, new)
        priors = [np.concatenate([known[unit] for unit in self._units(key)]) for key in keys]
        return [self._less(scores, prior) for scores, prior in zip(found[: len(asks)], priors, strict=True)]

    def _units(self, labels: tuple[Label, ...]) -> list[tuple[Label, ...]]:
        """What has a prior of its own: each label, or the whole list where labels see one another."""
        return [labels] if self.scorer.joint else [(label,) for label in labels]

    def _split(self, prior: Floats) -> list[Floats]:
        return [prior] if self.scorer.joint else list(prior[:, None])

    def _keep(self, known: dict[tuple[Label, ...], Floats], new: Sequence[tuple[Label, ...]]) -> None:
        if new and sum(map(len, [*self._known, *new])) > _MOST_PRIORS:
            self._known.clear()
        if sum(map(len, new)) <= _MOST_PRIORS:
            self._known.update({unit: known[unit] for unit in new})

    def _less(self, scores: Scores, prior: Floats) -> Scores:
        z = (scores.log_odds - self.weight * prior.astype(np.float64)).astype(np.float32)
        return replace(scores, log_odds=silenced(z, scores.empty, scores.scored), meaning="order", exclusive=False)


def _prior(scores: Scores) -> Floats:
    """(m,) mean log-odds over the content-free texts."""
    if scores.scored is not None and not scores.scored.all():
        raise ValueError(
            "a shortlist left labels out for content-free texts, so their priors are unknown; "
            "put it outside: Shortlist(Debiased(scorer), …)."
        )
    return np.asarray(scores.log_odds.mean(axis=0, dtype=np.float64), dtype=np.float32)
