"""Write down all that a router or guard decides; and let one decide without a say, to see what it would do."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

from headgate.conversation import Conversation
from headgate.decision import Decision
from headgate.receipts import Log, Receipt
from headgate.scores import Ask, Scorer, Scores, judge
from headgate.verdict import Verdict

R = TypeVar("R", Decision, Verdict)


@runtime_checkable  # pydantic, which adapters are made of, wants to ask
class Task(Protocol[R]):
    """A router or a guard."""

    @property
    def scorer(self) -> Scorer:
        """What judges the texts."""
        ...

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score."""
        ...

    def decide(self, scores: Sequence[Scores]) -> list[R]:
        """One result for each text."""
        ...


@dataclass(frozen=True)
class Logged(Generic[R]):
    """A router or guard that leaves a receipt of every result, of passes too, before it gives it.

    In shadow, with ``enforce=False``, nothing is changed about what was found: ``allowed`` and ``choice`` say it, in
    the log as well, with ``enforced`` false beside it. What keeps texts out asks ``verdict.blocks``, never true of a
    shadow; what sends them on asks ``decision.route``, which is the default of a shadow. A live task and its shadow may
    share a log, told apart by name.

    Args:
        task: The router or guard.
        log: Where its receipts go. What can't be written down is not given out either: OSError.
        name: Of the task, in the receipts.
        enforce: False for a shadow.
        default: Where a router in shadow sends every text; None: nowhere, or to the caller's fallback.
    """

    task: Task[R]
    log: Log
    name: str
    enforce: bool = True
    default: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"name is {self.name!r}; expected one that tells this task's receipts from others'.")
        if self.default is not None and self.enforce:
            raise ValueError(f"default is {self.default!r}, and enforce is set; expected it with enforce=False only.")

    def __call__(self, text: Conversation) -> R:
        """The result for one text, or one conversation."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[R]:
        """A result for each text, in order, in one batch plan and one write."""
        asks = self.task.ask(texts)
        found = [self._marked(result) for result in self.task.decide(judge(self.task.scorer, asks))]
        read = asks[0].texts
        self.log.write(
            *(
                Receipt.of(result, task=self.name, text=text, keep_text=self.log.texts)
                for result, text in zip(found, read, strict=True)
            )
        )
        return found

    def _marked(self, result: R) -> R:
        if self.enforce:
            return result
        if isinstance(result, Verdict):
            return replace(result, enforced=False)
        return replace(result, enforced=False, default=self.default)
