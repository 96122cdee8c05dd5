"""Several judgements of one text in the fewest passes: routes, guards, and plain readings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from headgate.arguments import listed, named
from headgate.conversation import Conversation, last_turns
from headgate.passes import judge_all
from headgate.rerank import Reranker
from headgate.scores import Ask, Floats, Label, Scorer, Scores, as_label, judge

PORTION = 1024
"""Texts of one plan: the token states that scorers on one encoder share are then at most some 400 MB."""

CHARACTERS = 2_000_000
"""Of one plan, a text counted once for every label: families cut longer ones ask by ask, which reads a text again."""


class Task(Protocol):
    """What can sit on a panel: a Router, a Guard, a :class:`Reader`, or anything with these three."""

    @property
    def scorer(self) -> Scorer:
        """What it asks."""
        ...

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score."""
        ...

    def decide(self, scores: Sequence[Scores]) -> Sequence[object]:
        """One result a text, from the scores of what it asked; pure."""
        ...


@dataclass(frozen=True)
class Reading:
    """What a scorer says of a text.

    Attributes:
        probabilities: For each label; None where the scorer gives an order only.
        log_odds: The model's own number for each label.
        spans: For each label, the characters [start, end) that gave its number.
        unknown: Share of the text that the tokenizer could not read, 0 to 1.
        empty: The text holds nothing but white space.
    """

    probabilities: dict[str, float] | None
    log_odds: dict[str, float]
    spans: dict[str, tuple[int, int]]
    unknown: float = 0.0
    empty: bool = False


@dataclass(frozen=True)
class Reader:
    """Read labels off a text, and decide nothing: the sentiment, a score to log.

    Args:
        scorer: What judges a text by the labels.
        labels: Labels, or names with the label each stands for; None takes all of a closed vocabulary.
        turns: How many last messages of a conversation are read; None, all of them.
    """

    scorer: Scorer
    labels: Sequence[str] | Mapping[str, str | Label] | None = None
    turns: int | None = None
    _labels: dict[str, str | Label] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        given = self.scorer.labels if self.labels is None else self.labels
        if isinstance(given, str) or not given:
            known = "all that the scorer knows, and it takes any" if self.labels is None else repr(self.labels)
            raise ValueError(f"labels is {known}; expected at least one label to read, or names with labels.")
        if self.turns is not None and self.turns < 1:
            raise ValueError(f"turns is {self.turns}; expected 1 or more.")
        named("label", list(given))
        object.__setattr__(self, "_labels", dict(given) if isinstance(given, Mapping) else {n: n for n in given})

    def __call__(self, text: Conversation) -> Reading:
        """The reading of one text, or one conversation."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[Reading]:
        """A reading of each text, in order, in one batch plan."""
        return self.decide(judge(self.scorer, self.ask(texts)))

    def ask(self, texts: Sequence[Conversation]) -> list[Ask]:
        """What to score: every text against every label, which two names may share."""
        labels = {as_label(label): label for label in self._labels.values()}
        return [Ask([last_turns(t, self.turns) for t in listed("texts", texts)], list(labels.values()))]

    def decide(self, scores: Sequence[Scores]) -> list[Reading]:
        """One reading for each text that these scores hold."""
        (found,) = scores
        p = None if found.meaning == "order" else found.probabilities
        column = {label: j for j, label in enumerate(dict.fromkeys(map(as_label, self._labels.values())))}
        at = {name: column[as_label(label)] for name, label in self._labels.items()}
        return [self._row(found, p, at, i) for i in range(len(found.log_odds))]

    def _row(self, scores: Scores, p: Floats | None, at: Mapping[str, int], i: int) -> Reading:
        return Reading(
            probabilities=None if p is None else {name: float(p[i, j]) for name, j in at.items()},
            log_odds={name: float(scores.log_odds[i, j]) for name, j in at.items()},
            spans={name: (int(scores.spans[i, j, 0]), int(scores.spans[i, j, 1])) for name, j in at.items()},
            unknown=float(scores.unknown[i]),
            empty=bool(scores.empty[i]),
        )


@dataclass(frozen=True)
class Panel:
    """Routers, guards and readers on the same text, in the fewest forward passes.

    Every task gets the numbers that it would get alone; see :mod:`headgate.passes` for what is shared.

        panel = Panel({"route": Router(heads, ["greeting", "other"]), "guard": Guard(heads, ["toxic"])})
        panel("Hello!")["guard"].allowed

    Args:
        tasks: By name, each a :class:`Task`.
    """

    tasks: Mapping[str, Task]
    _tasks: dict[str, Task] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.tasks, Mapping) or not self.tasks:
            raise ValueError(f"tasks is {self.tasks!r}; expected names with a Router, Guard or Reader each.")
        named("task", list(self.tasks))
        for name, task in self.tasks.items():
            _check(name, task)
        object.__setattr__(self, "_tasks", dict(self.tasks))

    def __call__(self, text: Conversation) -> dict[str, Any]:
        """The result of every task on one text, or one conversation, by the task's name."""
        return self.many([text])[0]

    def many(self, texts: Sequence[Conversation]) -> list[dict[str, Any]]:
        """The results on each text, in order."""
        texts = listed("texts", texts)
        out = []
        for portion in self._portions(texts):
            asks = self.ask(texts[portion])
            found = judge_all([(self._tasks[name].scorer, own) for name, own in asks.items()])
            out += self.decide(dict(zip(asks, found, strict=True)))
        return out

    def _portions(self, texts: Sequence[Conversation]) -> Iterator[slice]:
        """Texts of one plan each, in order."""
        sizes = [0] * len(texts)
        for ask in [ask for own in self.ask(texts).values() for ask in own]:
            for i, text in enumerate(ask.texts[: len(texts)]):
                sizes[i] += len(text) * len(ask.labels)
        start = held = 0
        for i, size in enumerate(sizes):
            if i > start and (held + size > CHARACTERS or i - start == PORTION):
                yield slice(start, i)
                start, held = i, 0
            held += size
        if texts:
            yield slice(start, len(texts))

    def ask(self, texts: Sequence[Conversation]) -> dict[str, list[Ask]]:
        """What every task asks of its scorer, by the task's name."""
        texts = listed("texts", texts)
        return {name: task.ask(texts) for name, task in self._tasks.items()}

    def decide(self, scores: Mapping[str, Sequence[Scores]]) -> list[dict[str, Any]]:
        """The results for each text that these scores hold; pure, so a stored one can be replayed.

        Args:
            scores: For every task, by its name, the scores of what it asked.

        Raises:
            ValueError: Scores of a task are missing, or of one that is not on the panel.
        """
        if set(scores) != set(self._tasks):
            raise ValueError(
                f"scores are of {sorted(scores)}; expected the tasks of this panel, {sorted(self._tasks)}."
            )
        found = {name: task.decide(scores[name]) for name, task in self._tasks.items()}
        counts = {name: len(results) for name, results in found.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the tasks give {counts} results; expected one a text, of the same texts.")
        return [dict(zip(found, results, strict=True)) for results in zip(*found.values(), strict=True)]


def _check(name: str, task: object) -> None:
    if isinstance(task, Reranker):
        raise TypeError(
            f"task {name!r} is a Reranker, which reads documents for a query; expected a Router, Guard or Reader. "
            "To rank and guard documents in one plan, use GuardedReranker."
        )
    lacks = [part for part in ("scorer", "ask", "decide") if not hasattr(task, part)]
    if lacks:
        raise TypeError(
            f"task {name!r} is {type(task).__name__} without {' and '.join(lacks)}; expected a Router, Guard or Reader."
        )
