"""Scorers at a distance: what has the models, and what stands in for them; neither imports Ray."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from threading import Lock
from typing import Any

import headgate
from headgate import Ask, Label, OverloadedError, Scores, judge

PAGE = 2000
"""Characters of a page, the unit of a batch's budget: some 500 tokens of English."""

_METHODS = ("split_label", "beginning", "embed")


@dataclass(frozen=True)
class Asked:
    """What one caller asks of one model.

    Attributes:
        origin: How the model was loaded.
        device: Where.
        asks: What to score.
    """

    origin: Any
    device: str
    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Facts:
    """What a stand-in must know of its scorer.

    Attributes:
        joint: As the scorer says; so are the others.
        labels: The closed vocabulary, or None.
        fingerprint: Of the model.
        thresholds: That it brings.
        run: How it runs.
        max_length: Tokens of a row.
        methods: Which of the optional ones it has.
    """

    joint: bool
    labels: tuple[str, ...] | None
    fingerprint: str
    thresholds: Mapping[str, float]
    run: Any
    max_length: int | None
    methods: tuple[str, ...]


Answer = list[Scores] | Exception
"""An exception is the caller's alone: it must not fail those who share the batch."""


def pages(asked: Asked) -> int:
    """What a request is worth of a batch: its texts' pages, at least 1."""
    return max(1, ceil(sum(len(text) for ask in asked.asks for text in ask.texts) / PAGE))


class Scoring:
    """Has the models; each is loaded at its first use, and once."""

    def __init__(self) -> None:
        self._scorers: dict[str, Any] = {}
        self._lock = Lock()

    def facts(self, origin: Any, device: str) -> Facts:
        """Load a model, and say what it is."""
        scorer = self._scorer(origin, device)
        return Facts(
            joint=scorer.joint,
            labels=scorer.labels,
            fingerprint=scorer.fingerprint,
            thresholds=dict(getattr(scorer, "thresholds", {})),
            run=getattr(scorer, "run", None),
            max_length=getattr(scorer, "max_length", None),
            methods=tuple(name for name in _METHODS if hasattr(scorer, name)),
        )

    def call(self, origin: Any, device: str, name: str, given: Mapping[str, Any]) -> Any:
        """What one of the optional methods returns."""
        if name not in _METHODS:
            raise ValueError(f"{name!r} was called at a distance; expected one of {list(_METHODS)}.")
        return getattr(self._scorer(origin, device), name)(**given)

    def answers(self, asked: Sequence[Asked]) -> list[Answer]:
        """Of every caller, in order; all that is asked of one model is one plan."""
        groups: dict[str, list[int]] = {}
        for i, one in enumerate(asked):
            groups.setdefault(repr((one.origin, one.device)), []).append(i)
        out: list[Answer] = [[] for _ in asked]
        for own in groups.values():
            for i, answer in zip(own, self._together([asked[i] for i in own]), strict=True):
                out[i] = answer
        return out

    def _together(self, asked: Sequence[Asked]) -> list[Answer]:
        try:
            scorer = self._scorer(asked[0].origin, asked[0].device)
            found = iter(judge(scorer, [ask for one in asked for ask in one.asks]))
            return [[next(found) for _ in one.asks] for one in asked]
        except Exception as e:
            return [e] if len(asked) == 1 else [self._together([one])[0] for one in asked]

    def _scorer(self, origin: Any, device: str) -> Any:
        key = repr((origin, device))
        with self._lock:
            if key not in self._scorers:
                self._scorers[key] = _loaded(origin, device)
            return self._scorers[key]


def _loaded(origin: Any, device: str) -> Any:
    heads = None if origin.heads is None else headgate.TaskHeads(origin.heads, origin.task_embedding, origin.first)
    return headgate.load(  # here, as it brings torch
        origin.where,
        family=origin.family,
        revision=origin.revision,
        device=device,
        dtype=origin.dtype,
        template=origin.template,
        classes=origin.classes,
        max_length=origin.max_length,
        backend=origin.backend,
        backbone=origin.backbone,
        heads=heads,
    )


class Remote:
    """A :class:`headgate.Scorer` whose model is in another process."""

    def __init__(self, handle: Any, origin: Any, device: str, facts: Facts) -> None:
        self._handle, self._origin, self._device, self._facts = handle, origin, device, facts
        self.joint, self.labels, self.fingerprint = facts.joint, facts.labels, facts.fingerprint
        self.thresholds, self.run = dict(facts.thresholds), facts.run
        if facts.max_length is not None:
            self.max_length = facts.max_length

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        """See :class:`headgate.Scorer`."""
        return self.score_many([Ask(texts, labels)])[0]

    def score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """Scores of several cross products, in a batch with what others ask."""
        if not asks:
            return []
        answer: Answer = waited(self._handle.score.remote(Asked(self._origin, self._device, tuple(asks))))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # Only what the scorer has: who looks for a method must find what is there.
        if name.startswith("_") or name not in self._facts.methods:
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        return _Method(self, name)


class _Method:
    """A method at a distance; its arguments by name or by place, as the scorers have them."""

    _ARGUMENTS: Mapping[str, tuple[str, ...]] = {
        "split_label": ("label",),
        "beginning": ("texts", "tokens"),
        "embed": ("texts",),
    }

    def __init__(self, of: Remote, name: str) -> None:
        self._of, self._name = of, name

    def __call__(self, *given: Any, **named: Any) -> Any:
        every = dict(zip(self._ARGUMENTS[self._name], given, strict=False)) | named
        return waited(self._of._handle.call.remote(self._of._origin, self._of._device, self._name, every))


def standing_in(handle: Any, origin: Any, *, device: str) -> Remote:
    """The stand-in of a scorer, which a scoring replica loads now.

    Args:
        handle: Of the deployment.
        origin: How to load it.
        device: Where.
    """
    return Remote(handle, origin, device, waited(handle.facts.remote(origin, device)))


def waited(response: Any) -> Any:
    """What a replica answered, from a thread that may wait.

    Raises:
        OverloadedError: Too much waits for the replicas already.
    """
    try:
        return response.result()
    except Exception as e:
        if type(e).__name__ == "BackPressureError":
            raise OverloadedError(f"the scoring replicas take no more: {e}") from e
        cause = getattr(e, "cause", None)
        raise cause if isinstance(cause, Exception) else e from None
