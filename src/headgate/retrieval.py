"""Rank documents and hold rules against each of them, in one plan.

A passage that breaks a rule is dropped or flagged. Where it is dropped, the others are ranked as if it had never been
there: it moves no cut-off and no first stage's scale. Nothing is lost: the result tells it, with its verdicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from headgate.arguments import listed, named
from headgate.conversation import Conversation, last_turns
from headgate.errors import ScorerError, TextTooLongError
from headgate.guard import Guard
from headgate.passes import judge_all, rows_of
from headgate.rerank import Hit, Reranker
from headgate.scores import Ask, Label, Scores, as_label, judge
from headgate.verdict import Rule, Verdict

QUERY = "{query}"
"""The label of a rule that stands for the query, in the call that brings it."""

RANKING = "ranking"

_OF_A_TEXT = (ScorerError, TextTooLongError)  # errors that one document may cause, and others need not pay for


@dataclass(frozen=True)
class Passage:
    """A document of a ranking, and what the rules say of it.

    Attributes:
        hit: Its place: ``hit.index`` is where it stood in the list that came in.
        verdicts: Of every guard, by its name.
        broken: The rules it breaks, of all guards, in order; () for a clean one.
    """

    hit: Hit
    verdicts: dict[str, Verdict]
    broken: tuple[str, ...]

    @property
    def allowed(self) -> bool:
        """True if it breaks no rule."""
        return all(verdict.allowed for verdict in self.verdicts.values())


@dataclass(frozen=True)
class Unjudged:
    """A document whose verdict could not be made; it is not kept.

    Attributes:
        index: Where it stood in the list that came in.
        error: What the guard or its scorer said.
    """

    index: int
    error: str


@dataclass(frozen=True)
class Retrieved:
    """What a guarded reranker found.

    Attributes:
        kept: Best first, as the reranker cuts them; clean unless offenders are only flagged.
        dropped: Every document that broke a rule and was left out, best first.
        unjudged: Those without a verdict, in the order that came in.
    """

    kept: tuple[Passage, ...]
    dropped: tuple[Passage, ...] = ()
    unjudged: tuple[Unjudged, ...] = ()


@dataclass(frozen=True)
class GuardedReranker:
    """Rank documents, and drop or flag those that break a rule, never all for one.

    What reranker and guards share, a scorer or its encoder, reads a document once (:mod:`headgate.passes`). A rule
    whose label is :data:`QUERY` is held against the query of the call:

        Guard(nli, {"contradicts": Rule(Label(QUERY, verbatim=True, relation="contradiction"), 0.5)})

    It fails closed: a document whose verdict can't be made, since a guard's scorer breaks its contract on it or
    a guard refuses its length, is not kept.

    Args:
        reranker: Ranks; its ``text`` says where a document's words are, and its cut-offs see allowed documents alone.
        guard: One, which is called "guard" in the verdicts, or several by name.
        on_broken: "drop" leaves offenders out, "flag" keeps them in the ranking with their verdicts.
    """

    reranker: Reranker
    guard: Guard | Mapping[str, Guard]
    on_broken: Literal["drop", "flag"] = "drop"
    _guards: dict[str, Guard] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.reranker, Reranker):
            raise TypeError(f"reranker is {type(self.reranker).__name__}; expected a headgate.Reranker.")
        if self.on_broken not in ("drop", "flag"):
            raise ValueError(f'on_broken is {self.on_broken!r}; expected "drop" or "flag".')
        guards = {"guard": self.guard} if isinstance(self.guard, Guard) else self.guard
        if not isinstance(guards, Mapping) or not all(isinstance(g, Guard) for g in guards.values()):
            raise TypeError(f"guard is {self.guard!r}; expected a headgate.Guard, or names with one each.")
        if not guards:
            raise ValueError("guard is {}; expected at least one Guard: to rank without rules, use the Reranker.")
        named("guard", list(guards))
        if RANKING in guards:
            raise ValueError(f"a guard is called {RANKING!r}, which is the reranker's name; choose another.")
        object.__setattr__(self, "_guards", dict(guards))

    def __call__(
        self,
        query: Conversation,
        documents: Sequence[Any],
        *,
        prior: Sequence[float] | None = None,
        top_k: int | None = None,
    ) -> Retrieved:
        """Rank ``documents`` for ``query``, and judge each of them by the rules.

        Args:
            query: The query, or a conversation that ends in it.
            documents: Strings, or anything that the reranker's ``text`` reads; none is copied or changed.
            prior: The first stage's score of each document, higher is better.
            top_k: In place of the reranker's own.
        """
        documents = listed("documents", documents)
        prior = None if prior is None else listed("prior", prior)
        asks = self.ask(query, documents)
        scorers = {RANKING: self.reranker.scorer, **{name: guard.scorer for name, guard in self._guards.items()}}
        try:
            found = judge_all([(scorers[name], own) for name, own in asks.items()])
            return self.decide(query, dict(zip(asks, found, strict=True)), prior=prior, top_k=top_k)
        except _OF_A_TEXT:
            return self._without_broken(query, documents, prior, top_k)

    def ask(self, query: Conversation, documents: Sequence[Any]) -> dict[str, list[Ask]]:
        """What to score: the reranker's asks as "ranking", and those of every guard by its name."""
        ranking = self.reranker.ask(query, documents)
        return {RANKING: ranking, **{name: g.ask(ranking[0].texts) for name, g in self._bound(query).items()}}

    def decide(
        self,
        query: Conversation,
        scores: Mapping[str, Sequence[Scores]],
        *,
        prior: Sequence[float] | None = None,
        top_k: int | None = None,
    ) -> Retrieved:
        """What these scores mean; pure, so a stored one can be replayed.

        Args:
            query: As it was asked: rules may be held against it.
            scores: As :meth:`ask` names them.
            prior: As it was given to the call.
            top_k: In place of the reranker's own.

        Raises:
            ValueError: Scores are missing, or are of another number of documents.
        """
        names = [RANKING, *self._guards]
        if set(scores) != set(names):
            raise ValueError(f"scores are of {sorted(scores)}; expected {sorted(names)}, as ask names them.")
        (ranking,) = scores[RANKING]
        verdicts = {name: guard.decide(scores[name]) for name, guard in self._bound(query).items()}
        n = len(ranking.log_odds)
        for name, own in verdicts.items():
            if len(own) != n:
                raise ValueError(f"guard {name!r} has {len(own)} verdicts on {n} documents; expected one each.")
        passages = [{name: own[i] for name, own in verdicts.items()} for i in range(n)]
        clean = [i for i in range(n) if self.on_broken == "flag" or all(v.allowed for v in passages[i].values())]
        kept = self.reranker.decide(
            [rows_of(ranking, clean)], prior=None if prior is None else _some(prior, clean, n), top_k=top_k
        )
        # Uncut: a document that was dropped is told, however low it stands.
        whole = replace(self.reranker, top_k=None, min_probability=None, top_p=None, max_gap=None)
        left = set(range(n)) - set(clean)
        return Retrieved(
            kept=tuple(_passage(replace(hit, index=clean[hit.index]), passages) for hit in kept),
            dropped=tuple(_passage(h, passages) for h in whole.decide([ranking], prior=prior) if h.index in left),
        )

    def _bound(self, query: Conversation) -> dict[str, Guard]:
        """The guards, with the query in rules that are held against it."""
        words = last_turns(query, self.reranker.turns)
        return {name: _about(guard, words) for name, guard in self._guards.items()}

    def _without_broken(
        self, query: Conversation, documents: list[Any], prior: list[float] | None, top_k: int | None
    ) -> Retrieved:
        """The same without the documents of which a guard makes no verdict, each found by itself."""
        errors = {}
        for i, text in enumerate(self.reranker.ask(query, documents)[0].texts):
            try:
                for guard in self._bound(query).values():
                    guard.decide(judge(guard.scorer, guard.ask([text])))
            except _OF_A_TEXT as error:
                errors[i] = str(error)
        if not errors:  # it is the reranker's scorer, or one that breaks on no single document
            ranking = judge(self.reranker.scorer, self.reranker.ask(query, documents))
            raise ScorerError(
                f"a guard's scorer broke on {len(ranking[0].log_odds)} documents together and on none of them alone; "
                "expected the same of both: check it with headgate.testing.check_scorer."
            )
        rest = [i for i in range(len(documents)) if i not in errors]
        own = None if prior is None else _some(prior, rest, len(documents))
        found = self(query, [documents[i] for i in rest], prior=own, top_k=top_k)
        return Retrieved(
            kept=tuple(replace(p, hit=replace(p.hit, index=rest[p.hit.index])) for p in found.kept),
            dropped=tuple(replace(p, hit=replace(p.hit, index=rest[p.hit.index])) for p in found.dropped),
            unjudged=tuple(Unjudged(i, error) for i, error in errors.items()),
        )


def _passage(hit: Hit, verdicts: Sequence[dict[str, Verdict]]) -> Passage:
    own = verdicts[hit.index]
    return Passage(hit, own, tuple(dict.fromkeys(rule for verdict in own.values() for rule in verdict.broken)))


def _some(prior: Sequence[float], documents: Sequence[int], n: int) -> list[float]:
    values = listed("prior", prior)
    if len(values) != n:
        raise ValueError(f"prior has {len(values)} scores; expected {n} first-stage scores, one a document.")
    return [values[i] for i in documents]


def _about(guard: Guard, query: str) -> Guard:
    """The guard with the query in place of :data:`QUERY`."""
    given = guard.forbid if isinstance(guard.forbid, Mapping) else {name: name for name in guard.forbid}
    if not any(_label(rule).text == QUERY for rule in given.values()):
        return guard
    bound: dict[str, str | Label | Rule] = {}
    for name, rule in given.items():
        label = replace(_label(rule), text=query)
        about = replace(rule, label=label) if isinstance(rule, Rule) else label
        bound[name] = about if _label(rule).text == QUERY else rule
    return replace(guard, forbid=bound)


def _label(rule: str | Label | Rule) -> Label:
    return as_label(rule.label if isinstance(rule, Rule) else rule)
