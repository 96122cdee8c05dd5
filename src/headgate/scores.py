"""The one contract: how likely is this label true of this text?

A :class:`Scorer` answers with log-odds; :func:`judge` is the trust boundary through which every
task calls one. What has passed it has the right shape, is finite, and says what was read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.arguments import listed
from headgate.errors import NotCalibratedError, ScorerError

EMPTY_LOG_ODDS = np.float32(-1e4)
"""The log-odds of every label for a text that holds nothing but white space, and of labels left out."""

Meaning = Literal["probability", "order"]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Label:
    """A label that is more than its words.

    Args:
        text: The label, query or hypothesis.
        verbatim: True if the scorer's template must leave ``text`` as it is.
        relation: Which class of the same logits is read. Families without a contradiction raise.
    """

    text: str
    verbatim: bool = False
    relation: Literal["entailment", "contradiction"] = "entailment"


@dataclass(frozen=True)
class Ask:
    """One cross product to score: every text against every label."""

    texts: Sequence[str]
    labels: Sequence[str | Label]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a scorer found, and what it read to find it, for n texts and m labels.

    Attributes:
        log_odds: (n, m) float32. Ranks without saturation; ``sigmoid`` of it is the probability.
        meaning: "probability", or "order" when the numbers only sort (cosines, uncalibrated rankers).
        windows: (n, m) int, how many windows of text i were read for label j; at least 1.
        spans: (n, m, 2) int, the characters [start, end) of text i that gave the score.
        tokens: (n,) int, tokens of text i, or 0 where the scorer doesn't count them.
        unknown: (n,) float32 in [0, 1], the share of text i that the tokenizer could not read.
        empty: (n,) bool, text i holds nothing but white space.
        exclusive: True if the labels are classes of one softmax: their probabilities sum to at most 1.
        scored: (n, m) bool, False where a shortlist left label j out for text i: its log-odds is
            :data:`EMPTY_LOG_ODDS`, read from 1 window with span (0, 0). None: every label was scored.
    """

    log_odds: Floats
    meaning: Meaning
    windows: NDArray[np.int32]
    spans: NDArray[np.int32]
    tokens: NDArray[np.int32]
    unknown: Floats
    empty: NDArray[np.bool_]
    exclusive: bool = False
    scored: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        for name in ("log_odds", "windows", "spans", "tokens", "unknown", "empty", "scored"):
            if (value := getattr(self, name)) is not None:
                view = np.asarray(value, dtype=np.bool_ if name == "scored" else None).view()
                view.flags.writeable = False  # on our view only: the caller's array stays as it is
                object.__setattr__(self, name, view)

    @classmethod
    def of(cls, log_odds: ArrayLike, texts: Sequence[str], *, meaning: Meaning = "probability") -> "Scores":
        """Scores of a scorer that reads each text whole and reports nothing else.

        Args:
            log_odds: (n, m).
            texts: The n texts that were scored.
            meaning: What the numbers are.
        """
        z = np.asarray(log_odds, dtype=np.float32)
        n, m = z.shape if z.ndim == 2 else (len(texts), 0)
        spans = np.zeros((n, m, 2), dtype=np.int32)
        spans[..., 1] = np.array([len(t) for t in texts], dtype=np.int32).reshape(-1, 1)[:n]
        return cls(
            log_odds=z,
            meaning=meaning,
            windows=np.ones((n, m), dtype=np.int32),
            spans=spans,
            tokens=np.zeros(n, dtype=np.int32),
            unknown=np.zeros(n, dtype=np.float32),
            empty=blank(texts),
        )

    @property
    def probabilities(self) -> Floats:
        """(n, m) float32 in [0, 1].

        Raises:
            NotCalibratedError: The scores are only an order.
        """
        if self.meaning == "order":
            raise NotCalibratedError(
                "these scores are only an order, so a probability or threshold on them means nothing; "
                "fit one on held-out data: Calibration.fit(scores, truths).on(scorer)."
            )
        return sigmoid(self.log_odds)


@runtime_checkable
class Scorer(Protocol):
    """Anything that judges texts by labels; no base class is needed.

    ``score_many(asks: Sequence[Ask]) -> list[Scores]`` is optional and makes one batch plan of
    several cross products. ``thresholds`` (label -> probability), ``split_label``, ``close``, ``run`` and
    ``remembering`` (:mod:`headgate.passes`) are optional too.
    """

    @property
    def joint(self) -> bool:
        """True if a label's score may depend on the other labels of the call."""
        ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """The closed vocabulary, or None if any label can be judged."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever the numbers would: weights, template, class order."""
        ...

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        """Log-odds that ``labels[j]`` is true of ``texts[i]``, in that order."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors whose dot product is their cosine."""

    def embed(self, texts: Sequence[str], *, role: Literal["query", "document"]) -> Floats:
        """(n, d) float32 unit rows, in order; a long text is the mean of its windows."""
        ...


def judge(scorer: Scorer, asks: Sequence[Ask]) -> list[Scores]:
    """Score every ask, and let nothing broken through.

    Empty texts get :data:`EMPTY_LOG_ODDS` for every label, whatever the scorer said.

    Args:
        scorer: Any :class:`Scorer`.
        asks: Cross products; the result has one :class:`Scores` for each, in order.

    Raises:
        TypeError: A ``str`` where a list belongs, or something that is not text.
        ValueError: No labels, a blank one, or the same one twice.
        ScorerError: The scorer's answer has another shape, holds NaN or infinity, or a span
            outside its text.
    """
    asks = [Ask(_texts(a.texts), _labels(a.labels)) for a in asks]
    live = [a for a in asks if a.texts]
    many = getattr(scorer, "score_many", None)
    answers = many(live) if many is not None else [scorer.score(a.texts, a.labels) for a in live]
    if not isinstance(answers, Sequence) or len(answers) != len(live):
        got = len(answers) if isinstance(answers, Sequence) else type(answers).__name__
        raise ScorerError(
            f"{type(scorer).__name__}.score_many gave {got} for {len(live)} asks; expected a list of as many Scores."
        )
    found = iter(answers)
    none: list[str] = []
    out = []
    for ask in asks:
        if ask.texts:
            out.append(checked(type(scorer).__name__, ask, next(found)))
        else:
            out.append(Scores.of(np.zeros((0, len(ask.labels))), none))
    return out


def as_label(label: str | Label) -> Label:
    """A ``str`` is a label that the template renders."""
    return label if isinstance(label, Label) else Label(label)


def blank(texts: Sequence[str]) -> NDArray[np.bool_]:
    """(n,) True where a text holds nothing but white space."""
    return np.array([not t.strip() for t in texts], dtype=np.bool_)


def logistic(z: ArrayLike) -> NDArray[np.float64]:
    """``1 / (1 + exp(-z))`` in float64, exact in both tails and without overflow."""
    x = np.asarray(z, dtype=np.float64)
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


def sigmoid(z: ArrayLike) -> Floats:
    """Probabilities in float32, computed in float64."""
    return logistic(z).astype(np.float32)


def class_log_odds(logits: ArrayLike, index: int) -> Floats:
    """Log-odds of one class of a softmax: ``z_i - logsumexp(z_others)``.

    ``sigmoid`` of it is the softmax probability, so a softmax family and a sigmoid family share
    one contract. Shape (..., classes) -> (...).
    """
    z = np.asarray(logits, dtype=np.float64)
    others = np.delete(z, index, axis=-1)
    top = others.max(axis=-1, keepdims=True)
    rest = top[..., 0] + np.log(np.exp(others - top).sum(axis=-1))
    return np.asarray(z[..., index] - rest, dtype=np.float32)


def _texts(texts: Sequence[str]) -> list[str]:
    out = listed("texts", texts)
    for i, text in enumerate(out):
        if not isinstance(text, str):
            raise TypeError(
                f"text {i} is {type(text).__name__}; expected str. Pass text=... to say where the words are."
            )
    return out


def _labels(labels: Sequence[str | Label]) -> list[str | Label]:
    out = listed("labels", labels)
    if not out:
        raise ValueError("no labels; expected at least one to judge the texts by.")
    words = [label for label in out if isinstance(label, str)]
    if all(map(str.strip, words)) and len(set(words)) == len(out):
        return out  # as nearly always, and a hundred times as quick for thousands of labels
    seen: set[Label] = set()
    for i, label in enumerate(out):
        if not isinstance(label, str | Label):
            raise TypeError(f"label {i} is {type(label).__name__}; expected str or Label.")
        if not as_label(label).text.strip():
            raise ValueError(f"label {i} is blank; expected words to judge the texts by.")
        if as_label(label) in seen:
            raise ValueError(f"label {as_label(label).text!r} came twice; give every label once.")
        seen.add(as_label(label))
    return out


def checked(name: str, ask: Ask, scores: Scores) -> Scores:
    """``scores`` as the answer to ``ask``, or ScorerError."""
    if not isinstance(scores, Scores):
        raise ScorerError(f"{name} returned {type(scores).__name__}; expected Scores: build one with Scores.of.")
    n, m = len(ask.texts), len(ask.labels)
    shapes = {"log_odds": (n, m), "windows": (n, m), "spans": (n, m, 2)}
    shapes |= {"tokens": (n,), "unknown": (n,), "empty": (n,)}
    shapes |= {} if scores.scored is None else {"scored": (n, m)}
    for part, shape in shapes.items():
        if getattr(scores, part).shape != shape:
            raise ScorerError(
                f"{name} returned {part} of shape {getattr(scores, part).shape} "
                f"for {n} texts and {m} labels; expected {shape}."
            )
    if scores.meaning not in get_args(Meaning):
        raise ScorerError(f"{name} gave meaning {scores.meaning!r}; expected one of {list(get_args(Meaning))}.")
    if not ((scores.unknown >= 0) & (scores.unknown <= 1)).all():  # so written, NaN is refused as well
        raise ScorerError(f"{name} gave {scores.unknown.tolist()} as unknown; expected shares of a text, 0 to 1.")
    _refuse(~np.isfinite(scores.log_odds), name, ask, scores, "a finite log-odds")
    length = np.array([len(t) for t in ask.texts])[:, None]
    start, end = scores.spans[..., 0], scores.spans[..., 1]
    _refuse((start < 0) | (end < start) | (end > length), name, ask, scores, "a span inside the text")
    _refuse(scores.windows < 1, name, ask, scores, "at least one window")
    empty = blank(ask.texts)
    if not empty.any() and not scores.empty.any() and scores.scored is None:
        return scores
    return replace(scores, log_odds=silenced(scores.log_odds, empty, scores.scored), empty=empty)


def silenced(log_odds: Floats, empty: NDArray[np.bool_], scored: NDArray[np.bool_] | None) -> Floats:
    """(n, m) log-odds with :data:`EMPTY_LOG_ODDS` for empty texts and for labels left out."""
    silent = empty[:, None] if scored is None else empty[:, None] | ~scored
    return np.asarray(np.where(silent, EMPTY_LOG_ODDS, log_odds))


def _refuse(bad: NDArray[np.bool_], name: str, ask: Ask, scores: Scores, expected: str) -> None:
    if not bad.any():
        return
    i, j = (int(k) for k in np.argwhere(bad)[0])
    raise ScorerError(
        f"{name} gave log-odds {scores.log_odds[i, j]}, {scores.windows[i, j]} windows and span "
        f"{scores.spans[i, j].tolist()} for label {as_label(ask.labels[j]).text!r} and text {i} "
        f"({ask.texts[i][:60]!r}); expected {expected}."
    )
