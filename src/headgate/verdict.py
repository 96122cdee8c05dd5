"""Whether a text may pass: rules, and what a guard says."""

from dataclasses import dataclass, field

from headgate.calibration import Calibration
from headgate.coverage import WHOLE, Coverage
from headgate.scores import Label

UNREADABLE = "unreadable"
"""The rule of every guard that breaks on text the tokenizer can't read."""


@dataclass(frozen=True)
class Rule:
    """What a guard forbids.

    Args:
        label: True of a text that breaks the rule.
        threshold: The rule is broken from this probability up, 0 to 1.
        calibration: Of the label's scores; :meth:`Guard.fit` finds one.
    """

    label: str | Label
    threshold: float
    calibration: Calibration | None = None


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
        log_odds: The model's own number for each rule.
        coverage: What was read of the text.
        certificate: Id of the guard's certificate, where it has one.
        enforced: False from a guard in shadow: ``allowed`` and ``broken`` say what was found, and the text passes.
    """

    allowed: bool
    broken: tuple[str, ...]
    probabilities: dict[str, float]
    thresholds: dict[str, float]
    spans: dict[str, tuple[int, int]]
    unknown: float = 0.0
    empty: bool = False
    log_odds: dict[str, float] = field(default_factory=dict)
    coverage: Coverage = WHOLE
    certificate: str | None = None
    enforced: bool = True

    @property
    def blocks(self) -> bool:
        """Whether the text must be kept out: a rule is broken, and the guard is no shadow."""
        return self.enforced and not self.allowed
