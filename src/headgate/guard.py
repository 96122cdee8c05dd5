"""Allow a text or not, and say which rule broke."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headgate.arguments import listed, named, probability
from headgate.conversation import Conversation, last_turns
from headgate.scores import Ask, Label, Scorer, Scores, as_label, judge

UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Rule:
    """What a guard forbids.

    Args:
        label: True of a text that breaks the rule.
        threshold: The rule is broken from this probability up, 0 to 1.
    """

    label: str | Label
    threshold: float


@dataclass(frozen=True)
class Verdict:
    """Whether a text may pass.

    Attributes:
        allowed: True if no rule is broken.
        broken: The broken rules, in the guard's order; "unreadable" stands for a text that the
            tokenizer can't read.
        probabilities: For each rule, on passes too.
        thresholds: What each rule was compared with.
        spans: For each rule, the characters [start, end) that gave its probability.
        unknown: Share of the text that the tokenizer could not read, 0 to 1.
        empty: The text holds nothing but white space.
    """

    allowed: bool
    broken: tuple[str, ...]
    probabilities: dict[str, float]
    thresholds: dict[str, float]
    spans: dict[str, tuple[int, int]]
    unknown: float = 0.0
    empty: bool = False


@dataclass(frozen=True)
class Guard:
    """Forbid what the rules name; fails closed.

    A rule of your own needs a threshold. A label for which the scorer brings one (the heads of
    ``mini``: "toxicity:toxic", "injection:injection") may be named alone.

    Args:
        scorer: What judges a text by the rules; its scores must be probabilities.
        forbid: Rule name -> label, or :class:`Rule` with its own threshold; or just labels.
        threshold: For the rules that bring none, 0 to 1.
        unreadable: The rule "unreadable" breaks above this share of unknown tokens, 0 to 1.
        turns: How many last messages of a conversation are read; None, all of them: an old message or
            one of several tool results may carry an attack too.
    """

    scorer: Scorer
    forbid: Sequence[str] | Mapping[str, str | Label | Rule]
    threshold: float | None = None
    unreadable: float = 0.5
    turns: int | None = None
    _rules: dict[str, Rule] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.forbid, str) or not self.forbid:
            raise ValueError(
                f"forbid is {self.forbid!r}; expected at least one rule: a guard without rules allows all."
            )
        names = list(self.forbid)
        named("rule", names)
        if UNREADABLE in names:
            raise ValueError(f"a rule is called {UNREADABLE!r}, which every guard has already; choose another name.")
        probability("unreadable", self.unreadable)
        if self.turns is not None and self.turns < 1:
            raise ValueError(f"turns is {self.turns}; expected 1 or more.")
        given = dict(self.forbid) if isinstance(self.forbid, Mapping) else {n: n for n in names}
        object.__setattr__(self, "_rules", {name: self._rule(name, what) for name, what in given.items()})

    def __call__(self, text: Conversation) -> Verdict:
        """The verdict on one text, or one conversation."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[Verdict]:
        """A verdict on each text, in order, in one batch plan."""
        return self.decide(judge(self.scorer, self.ask(texts)))

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score: every text against every rule's label."""
        # Two rules may share a label and differ in threshold; it is scored once.
        labels = {as_label(rule.label): rule.label for rule in self._rules.values()}
        return [Ask([last_turns(t, self.turns) for t in listed("texts", texts)], list(labels.values()))]

    def decide(self, scores: Sequence[Scores]) -> list[Verdict]:
        """One verdict for each text that these scores hold; pure, so a stored one can be replayed."""
        (found,) = scores
        p = found.probabilities  # raises where the scores are only an order
        return [self._row(found, p[i].tolist(), i) for i in range(len(p))]

    def _row(self, scores: Scores, p: list[float], i: int) -> Verdict:
        labels = dict.fromkeys(as_label(rule.label) for rule in self._rules.values())
        column = {label: j for j, label in enumerate(labels)}
        at = {name: column[as_label(rule.label)] for name, rule in self._rules.items()}
        # "not below" rather than "at or above": a comparison with NaN must break the rule.
        broken = [name for name, rule in self._rules.items() if not p[at[name]] < rule.threshold]
        unknown = float(scores.unknown[i])
        if not unknown <= self.unreadable:
            broken.append(UNREADABLE)
        spans = {name: (int(scores.spans[i, j, 0]), int(scores.spans[i, j, 1])) for name, j in at.items()}
        return Verdict(
            allowed=not broken,
            broken=tuple(broken),
            probabilities={name: p[j] for name, j in at.items()},
            thresholds={name: float(rule.threshold) for name, rule in self._rules.items()},
            spans=spans,
            unknown=unknown,
            empty=bool(scores.empty[i]),
        )

    def _rule(self, name: str, what: str | Label | Rule) -> Rule:
        if not isinstance(what, Rule):
            own: Mapping[str, float] = getattr(self.scorer, "thresholds", {})
            threshold = self.threshold if self.threshold is not None else own.get(as_label(what).text)
            if threshold is None:
                known = f" The scorer brings thresholds for {sorted(own)}." if own else ""
                raise ValueError(
                    f"rule {name!r} has no threshold; pass Guard(…, threshold=…) or Rule(label, threshold), "
                    f"chosen on your own data.{known}"
                )
            what = Rule(what, threshold)
        probability(f"the threshold of rule {name!r}", what.threshold)
        return what
