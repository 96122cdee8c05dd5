"""Example utterances beside a scorer: what was said for a label tells as much as what describes it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed, whole
from headgate.calibration import platt
from headgate.index import Index, embedder_fingerprint
from headgate.scores import Ask, Embedder, Label, Scorer, Scores, judge, silenced
from headgate.wrapped import Truth, Vocabulary, Wrapper, digest, normalized

Array = NDArray[np.float64]

_BLOCK = 4_000_000  # cosines held at a time: 32 MB of them, several times over


@dataclass(frozen=True)
class Weights:
    """How log-odds are made: ``scorer * z + examples * cosine + shift``.

    Attributes:
        scorer: What the inner scorer's log-odds z counts, 0 or more.
        examples: Log-odds for a unit of cosine, 0 or more.
        shift: Added log-odds.
        fitted: Fitted on data, so that the sum is a probability's; else it is an order.
    """

    scorer: float = 1.0
    examples: float = 10.0
    shift: float = 0.0
    fitted: bool = False

    def __post_init__(self) -> None:
        slopes = (self.scorer, self.examples)
        if not np.isfinite([*slopes, self.shift]).all() or min(slopes) < 0 or max(slopes) == 0:
            raise ValueError(f"{self} can't be; expected finite numbers, scorer and examples 0 or more, one above 0.")


@dataclass(frozen=True)
class WithExamples(Wrapper):
    """A scorer over names that also asks how near a text is to utterances known for each of them.

    Nearness is the mean cosine with the ``nearest`` utterances of a label (all, where it has fewer),
    found through FAISS. The weighted sum is an order until :meth:`fit` has chosen the weights.

    Args:
        scorer: Judges the names, or what ``names`` says of them; None for the examples alone.
        embedder: What makes texts comparable, such as ``load("mini/embed")``.
        examples: Name -> its utterances: at least one each, none twice.
        names: Name -> description or hypothesis that the scorer reads; None: the names themselves.
        nearest: How many utterances of a label count, at least 1.
        weights: How the two are added up.
    """

    scorer: Scorer | None
    embedder: Embedder
    examples: Mapping[str, Sequence[str]]
    names: Mapping[str, str | Label] | None = None
    nearest: int = 1
    weights: Weights = field(default_factory=Weights)
    _vocabulary: Vocabulary = field(init=False, repr=False, compare=False)
    _index: Index = field(init=False, repr=False, compare=False)
    _said: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)
    _embedder_print: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole("nearest", self.nearest, least=1)
        if not isinstance(self.examples, Mapping):
            raise TypeError(f"examples is {type(self.examples).__name__}; expected label -> list of utterances.")
        vocabulary = Vocabulary.of(list(self.examples) if self.names is None else self.names, self.scorer)
        said = vocabulary.utterances(self.examples)
        for name, some in zip(vocabulary.names, said, strict=True):
            if not some:
                raise ValueError(f"label {name!r} has no example; expected one at least: the name itself will do.")
        object.__setattr__(self, "_vocabulary", vocabulary)
        object.__setattr__(self, "_said", tuple(said))
        # As queries on both sides: utterances are what users say, and so is the text.
        object.__setattr__(self, "_index", Index(self.embedder, [t for some in said for t in some], role="query"))
        object.__setattr__(self, "_embedder_print", embedder_fingerprint(self.embedder))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names."""
        return self._vocabulary.names

    @property
    def fingerprint(self) -> str:
        """Of the inner scorer, the embedder, names, utterances and weights."""
        inner = "examples" if self.scorer is None else self.scorer.fingerprint
        w = self.weights
        numbers = (w.scorer, w.examples, w.shift, w.fitted, self.nearest)
        return f"{inner}+{digest(self._embedder_print, self._vocabulary.words, self._said, numbers)}"

    def score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """The weighted sum; meaning "probability" once fitted, "order" before."""
        asks = [Ask(listed("texts", a.texts), listed("labels", a.labels)) for a in asks]
        columns = [self._vocabulary.columns(a.labels) for a in asks]
        texts = list(dict.fromkeys(t for a in asks for t in a.texts))
        near = dict(zip(texts, self._cosines(texts), strict=True))
        found = self._inner(asks, columns)
        return [
            self._sum(scores, np.stack([near[t][at] for t in ask.texts]) if ask.texts else None)
            for scores, ask, at in zip(found, asks, columns, strict=True)
        ]

    def fit(self, texts: Sequence[str], truths: Sequence[Truth]) -> "WithExamples":
        """The same with weights that make its sum the log-odds of a probability, by logistic regression.

        An utterance that is one of the texts is no neighbour of its own, and a warning says how many
        there are: such texts tell little about new ones. A weight that would be negative becomes 0.

        Args:
            texts: Texts other than the utterances.
            truths: The name that is true of each, several, or None where none is.

        Raises:
            DataError: A row is wrong; the message says which.
            ValueError: Too little to fit on, or the sum ranks false above true.
        """
        true = self._vocabulary.true_of(texts, truths)
        seen = len(self.seen(texts))
        if seen:
            warnings.warn(
                f"{seen} of {len(texts)} texts to fit on are example utterances themselves; they are left out of "
                "their own neighbours, but other texts would tell more about new ones.",
                UserWarning,
                stacklevel=2,
            )
        y = np.zeros((len(texts), len(self._vocabulary)), dtype=np.bool_)
        for i, row in enumerate(true):
            y[i, row] = True
        (inner,) = self._inner([Ask(texts, self.labels)], [np.arange(len(self.labels))])
        near = self._cosines(texts, apart=True)
        live = np.isfinite(near) & (True if inner.scored is None else inner.scored)
        z = None if self.scorer is None else inner.log_odds[live].astype(np.float64)
        return self._changed(weights=_fitted(z, near[live], y[live]))

    def seen(self, texts: Sequence[str]) -> list[int]:
        """Indices of the texts that are example utterances: they say nothing of new ones."""
        known = {normalized(t) for some in self._said for t in some}
        return [i for i, t in enumerate(texts) if normalized(t) in known]

    def _inner(self, asks: Sequence[Ask], columns: Sequence[NDArray[np.int64]]) -> list[Scores]:
        if self.scorer is None:
            return [Scores.of(np.zeros((len(a.texts), len(a.labels))), a.texts, meaning="order") for a in asks]
        inner = self._vocabulary.inner
        return judge(self.scorer, [Ask(a.texts, [inner[j] for j in at]) for a, at in zip(asks, columns, strict=True)])

    def _sum(self, scores: Scores, near: Array | None) -> Scores:
        w = self.weights
        z = w.scorer * scores.log_odds.astype(np.float64) + w.shift
        z = z if near is None else z + w.examples * near
        return replace(
            scores,
            log_odds=silenced(z.astype(np.float32), scores.empty, scores.scored),
            meaning="probability" if w.fitted else "order",
            exclusive=False,
        )

    def _cosines(self, texts: Sequence[str], *, apart: bool = False) -> Array:
        """(n, m) mean cosine with the nearest utterances of each label.

        Args:
            texts: The n texts.
            apart: Whether utterances that say what the text says don't count; NaN where none is left.
        """
        step = max(1, _BLOCK // len(self._index))
        blocks = [self._block(texts[i : i + step], apart) for i in range(0, len(texts), step)]
        return np.concatenate([np.zeros((0, len(self._said))), *blocks])

    def _block(self, texts: Sequence[str], apart: bool) -> Array:
        cosines, found = self._index.nearest(texts, len(self._index))
        near = np.empty(cosines.shape)  # (n, utterances), in the order of the utterances
        np.put_along_axis(near, found, cosines.astype(np.float64), axis=1)
        size = np.array([len(some) for some in self._said])
        first = np.concatenate([[0], np.cumsum(size)[:-1]])
        owner = np.repeat(np.arange(len(size)), size)
        if apart:
            said = np.array([normalized(t) for some in self._said for t in some])
            near[np.array([normalized(t) for t in texts])[:, None] == said] = -np.inf
        order = np.lexsort((-near, np.broadcast_to(owner, near.shape)), axis=1)  # by label, best first
        near = np.take_along_axis(near, order, axis=1)
        total, count = np.zeros((len(texts), len(size))), np.zeros((len(texts), len(size)))
        for k in range(min(self.nearest, int(size.max()))):
            one = near[:, np.minimum(first + k, len(owner) - 1)]
            counts = np.isfinite(one) & (k < size)
            total += np.where(counts, one, 0.0)
            count += counts
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _fitted(z: Array | None, near: Array, y: NDArray[np.bool_]) -> Weights:
    """Weights from log-odds (k,), cosines (k,) and truths (k,); slopes that come out negative are 0."""
    if not y.any() or y.all():
        raise ValueError(
            f"{int(y.sum())} of {y.size} pairs of text and label are true; expected both true and false ones, "
            "and labels with an utterance other than the texts."
        )
    features = {"examples": near} if z is None else {"scorer": z, "examples": near}
    while features:
        slopes = list(features)
        x = np.stack([features[slopes[0]], np.ones(y.size), *(features[s] for s in slopes[1:])], axis=1)
        w = platt(x, y)
        found = dict(zip(slopes, w[[0, *range(2, len(w))]].tolist(), strict=True))
        worst = min(found, key=found.__getitem__)
        if found[worst] > 0:
            return Weights(found.get("scorer", 0.0), found.get("examples", 0.0), float(w[1]), fitted=True)
        del features[worst]
    raise ValueError("scorer and examples rank false above true; check the truths, the utterances and the embedder.")
