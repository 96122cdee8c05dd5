"""Allow a text or not, and say which rule broke."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed, named, one_of, probability, whole
from headgate.certificate import ALL, Certificate, Goal, made, pins
from headgate.conversation import Conversation, last_turns
from headgate.coverage import Overflow, coverage, refuse_long
from headgate.errors import DataError
from headgate.labelled import Halves, truth_matrix
from headgate.lengths import joined
from headgate.rules import calibrations, floors, logit, paid, proofs
from headgate.scores import Ask, Label, Scorer, Scores, as_label, judge, logistic
from headgate.verdict import UNREADABLE, Rule, Verdict

Array = NDArray[np.float64]

_BLOCKED = 2.0  # stands for the probability of a text that is blocked whatever the threshold


@dataclass(frozen=True)
class Guard:
    """Forbid what the rules name; fails closed.

    A rule of your own needs a threshold. A label for which the scorer brings one (the heads of
    ``mini``: "toxicity:toxic", "injection:injection") may be named alone.

    Args:
        scorer: What judges a text by the rules; its scores must be probabilities, or every rule calibrated.
        forbid: Rule name -> label, or :class:`Rule` with its own threshold; or just labels.
        threshold: For the rules that bring none, 0 to 1; :meth:`fit` finds better ones.
        unreadable: The rule "unreadable" breaks above this share of unknown tokens, 0 to 1.
        turns: How many last messages of a conversation are read; None, all of them: an old message or
            one of several tool results may carry an attack too.
        on_overflow: "window" reads all of a text that is too long for the model; "error" refuses it.
        certificate: What is promised of the thresholds; from :meth:`fit`, and refused with any other settings.

    Raises:
        StaleError: The certificate is of another scorer, or of other settings.
    """

    scorer: Scorer
    forbid: Sequence[str] | Mapping[str, str | Label | Rule]
    threshold: float | None = None
    unreadable: float = 0.5
    turns: int | None = None
    on_overflow: Overflow = "window"
    certificate: Certificate | None = None
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
        one_of("on_overflow", self.on_overflow, get_args(Overflow))
        given = dict(self.forbid) if isinstance(self.forbid, Mapping) else {n: n for n in names}
        object.__setattr__(self, "_rules", {name: self._rule(name, what) for name, what in given.items()})
        if self.certificate is not None:
            self.certificate.check(self._pins())

    @property
    def rules(self) -> dict[str, Rule]:
        """Every rule with its threshold, in the order they came in."""
        return dict(self._rules)

    def __call__(self, text: Conversation) -> Verdict:
        """The verdict on one text, or one conversation."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[Verdict]:
        """A verdict on each text, in order, in one batch plan."""
        return self.decide(judge(self.scorer, self.ask(texts)))

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score: every text against every rule's label."""
        return [Ask([last_turns(t, self.turns) for t in listed("texts", texts)], self._labels)]

    def decide(self, scores: Sequence[Scores]) -> list[Verdict]:
        """One verdict for each text that these scores hold; pure, so a stored one can be replayed."""
        (found,) = scores
        refuse_long(found, self.on_overflow)
        if self.certificate is not None:
            self.certificate.of(self.scorer)
        p = self.probabilities(found)
        certificate = None if self.certificate is None else self.certificate.id
        return [self._row(found, p[i].tolist(), i, certificate) for i in range(len(p))]

    def probabilities(self, found: Scores) -> Array:
        """(n, rules) float64 probability that each text breaks each rule, before any threshold.

        Raises:
            NotCalibratedError: The scores are only an order, and a rule has no calibration.
        """
        columns = []
        for rule, j in zip(self._rules.values(), self._columns, strict=True):
            if rule.calibration is None:
                columns.append(found.probabilities[:, j].astype(np.float64))
            else:
                columns.append(np.where(found.empty, 0.0, logistic(rule.calibration(found).log_odds[:, j])))
        return np.stack(columns, axis=1)

    def fit(  # noqa: PLR0913  one call, everything by name
        self,
        texts: Sequence[str],
        truths: Sequence[str | Sequence[str] | bool | None],
        *,
        max_false_positive_rate: float | None = None,
        min_recall: float | None = None,
        confidence: float = 0.9,
        by: Literal["all", "rule"] = "all",
        longest: int = 2048,
        seed: int = 0,
    ) -> "Guard":
        """This guard with thresholds that keep a promise, and a certificate of it.

        One half of the texts, drawn by ``seed``, calibrates the rules; the other only sets and proves the thresholds.
        What can't be proven warns, says how many more labels would do, and is marked in the certificate.

        A promise on false positives is proven of texts like those given. So that it is not broken by longer ones, safe
        texts are joined to longer ones too: what these reach sets the price of length (:mod:`headgate.lengths`), and
        may raise the thresholds.

        Args:
            texts: Labelled texts, as they come in use: mostly safe ones.
            truths: The rules that each breaks: a name, several, or None; True or False where there is one rule.
            max_false_positive_rate: At most this share of safe texts is blocked, "unreadable" ones counted too.
            min_recall: Instead: at least this share of unsafe texts is blocked.
            confidence: That the promise holds, above 0, below 1.
            by: "all": one threshold, and the promise is the whole guard's. "rule": each rule has its own threshold and
                promise, of the texts that don't break it, or do; all hold at once.
            longest: Tokens of the longest text that safe ones are joined to, some 160,000 in all; 0 looks at no length,
                and on a CPU saves most of the time.
            seed: Of the halves.

        Raises:
            DataError: Too few texts, a truth that is no rule, or no safe or no unsafe text for a rule.
        """
        if (max_false_positive_rate is None) == (min_recall is None):
            raise ValueError("max_false_positive_rate and min_recall: expected one of the two, and not both.")
        if by not in ("all", "rule"):
            raise ValueError(f'by is {by!r}; expected "all" or "rule".')
        goal = (
            Goal("min_recall", min_recall, confidence, seed)
            if min_recall is not None
            else Goal("max_false_positive_rate", max_false_positive_rate or 0.0, confidence, seed)
        )
        whole("longest", longest, least=0)
        names = list(self._rules)
        halves = Halves.of(texts, truths, seed=seed, known=getattr(self.scorer, "seen", None))
        true = truth_matrix([_broken(truth, names) for truth in halves.truths], names, "rule")
        (scores,) = judge(self.scorer, self.ask(halves.texts))
        columns = dict(zip(names, self._columns, strict=True))
        found = calibrations(scores, columns, true, halves.fit)
        safe = np.flatnonzero(halves.fit & ~true.any(axis=1) & ~scores.empty)
        more = joined(
            [halves.texts[i] for i in safe],
            scores.tokens[safe],
            longest=longest if min_recall is None else 0,
            seed=seed,
        )
        long: list[Scores] = judge(self.scorer, self.ask(more.texts)) if more.texts else []
        for read in long:
            found = paid(found, columns, read, more.sizes)
        rules = {name: replace(rule, calibration=found[name]) for name, rule in self._rules.items()}
        calibrated = replace(self, forbid=rules, threshold=None, certificate=None)
        p = calibrated.probabilities(scores)
        each = names if by == "rule" else None
        least = [f for read in long for f in floors(calibrated.probabilities(read), more.sizes, goal.target, each)]
        blocked = np.where((scores.unknown > self.unreadable)[:, None], _BLOCKED, p)
        proven = proofs(blocked, true, ~halves.fit, goal, each, least)
        own = {name: proven[name if by == "rule" else ALL].threshold for name in names}
        fitted = replace(calibrated, forbid={name: replace(rules[name], threshold=own[name]) for name in names})
        top = logit(p.max(axis=1))
        return replace(fitted, certificate=made(halves, goal, proven, top=top, pins=fitted._pins()))

    @cached_property
    def _labels(self) -> list[str | Label]:
        """Two rules may share a label and differ in threshold; it is scored once."""
        return list({as_label(rule.label): rule.label for rule in self._rules.values()}.values())

    @cached_property
    def _columns(self) -> list[int]:
        """Of each rule, where its label stands among those scored."""
        at = {as_label(label): j for j, label in enumerate(self._labels)}
        return [at[as_label(rule.label)] for rule in self._rules.values()]

    def _row(self, scores: Scores, p: list[float], i: int, certificate: str | None) -> Verdict:
        # "not below" rather than "at or above": a comparison with NaN must break the rule.
        broken = [name for (name, rule), q in zip(self._rules.items(), p, strict=True) if not q < rule.threshold]
        unknown = float(scores.unknown[i])
        if not unknown <= self.unreadable:
            broken.append(UNREADABLE)
        at = dict(zip(self._rules, self._columns, strict=True))
        return Verdict(
            allowed=not broken,
            broken=tuple(broken),
            probabilities=dict(zip(self._rules, p, strict=True)),
            thresholds={name: float(rule.threshold) for name, rule in self._rules.items()},
            spans={name: (int(scores.spans[i, j, 0]), int(scores.spans[i, j, 1])) for name, j in at.items()},
            unknown=unknown,
            empty=bool(scores.empty[i]),
            log_odds={name: float(scores.log_odds[i, j]) for name, j in at.items()},
            coverage=coverage(scores, i),
            certificate=certificate,
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

    def _pins(self) -> dict[str, str]:
        return pins(self.scorer, rules=self._rules, unreadable=self.unreadable, turns=self.turns)


def _broken(truth: object, names: Sequence[str]) -> object:
    """True and False mean the one rule there is, and none."""
    if not isinstance(truth, bool | np.bool_):
        return truth
    if len(names) > 1:
        raise DataError(f"a truth is {truth}, and there are {len(names)} rules; expected the names of those it breaks.")
    return names if truth else None


def brought(scorer: Scorer, called: str) -> list[str]:
    """The rules that a scorer brings thresholds for, each once.

    Args:
        scorer: Such as ``load("mini/guard")``.
        called: Its name, for the error.

    Raises:
        ValueError: It brings none.
    """
    # A scorer may bring thresholds for short names too; its vocabulary holds each rule once.
    own = [label for label in getattr(scorer, "thresholds", ()) if label in (scorer.labels or (label,))]
    if not own:
        raise ValueError(f"{called} brings no rules of its own; name yours, as --forbid LABEL --threshold 0.9 does.")
    return own
