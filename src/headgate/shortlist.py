"""Thousands of labels: the nearest few by embedding, then the exact scorer on just those."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed, share, whole
from headgate.index import Index, embedder_fingerprint
from headgate.promise import Promise, promised
from headgate.scores import EMPTY_LOG_ODDS, Ask, Embedder, Scorer, Scores, as_label, blank, judge
from headgate.wrapped import Names, Truth, Vocabulary, Wrapper, digest, normalized

Places = NDArray[np.int64]

_BLOCK = 4_000_000  # cosines held at a time


@dataclass(frozen=True)
class _Part:
    """Texts of one ask that share their candidates: rows of the ask, candidates, their columns in it."""

    ask: int
    rows: tuple[int, ...]
    places: tuple[int, ...]
    columns: tuple[int, ...]


@dataclass(frozen=True)
class Shortlist(Wrapper):
    """A scorer over many names that looks at the ``size`` nearest of them for each text.

    Nearness is the greatest cosine of the text with a label's name, its description and its
    utterances, found through FAISS; the names are embedded once. All others get
    :data:`headgate.scores.EMPTY_LOG_ODDS` and ``scored`` False, which no threshold above 0 lets
    through: so a *guard* wants its rules in no shortlist. Which labels are looked at depends on the
    text and all the names, not on the labels asked for. With ``least`` names or fewer, all are scored.

    Args:
        scorer: The exact scorer; its own wrappers go inside: ``Shortlist(Debiased(scorer), …)``.
        embedder: What makes texts and labels comparable, such as ``load("mini/embed")``.
        names: All names, or names with the description or hypothesis that the scorer reads.
        examples: Name -> utterances that are near to it too; none for a name is fine.
        size: How many labels the exact scorer sees, at least 1; :meth:`fit` chooses it on data.
        least: Up to so many names there is no shortlist.
        promise: What :meth:`fit` found of its size.
    """

    scorer: Scorer
    embedder: Embedder
    names: Names
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    size: int = 32
    least: int = 50
    promise: Promise | None = None
    _vocabulary: Vocabulary = field(init=False, repr=False, compare=False)
    _index: Index = field(init=False, repr=False, compare=False)
    _owner: Places = field(init=False, repr=False, compare=False)
    _said: tuple[tuple[str, ...], ...] = field(init=False, repr=False, compare=False)
    _print: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        whole("size", self.size, least=1)
        whole("least", self.least, least=0)
        vocabulary = Vocabulary.of(self.names, self.scorer)
        said = tuple(vocabulary.utterances(self.examples))
        texts = [
            list({normalized(t): t for t in (name, as_label(inner).text, *some)}.values())
            for name, inner, some in zip(vocabulary.names, vocabulary.inner, said, strict=True)
        ]
        near = [] if len(vocabulary) <= self.least else [t for some in texts for t in some]
        parts = {
            "_vocabulary": vocabulary,
            "_said": said,
            "_index": Index(self.embedder, near),
            "_owner": np.repeat(np.arange(len(texts)), [len(some) for some in texts]),
            "_print": digest(embedder_fingerprint(self.embedder), vocabulary.words, said),
        }
        for part, made in parts.items():
            object.__setattr__(self, part, made)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names."""
        return self._vocabulary.names

    @property
    def thresholds(self) -> dict[str, float]:
        """The inner scorer's own thresholds, by name."""
        own: Mapping[str, float] = getattr(self.scorer, "thresholds", {})
        known = zip(self._vocabulary.names, map(as_label, self._vocabulary.inner), strict=True)
        return {name: own[label.text] for name, label in known if label.text in own}

    @property
    def fingerprint(self) -> str:
        """Of the inner scorer, the embedder, names, utterances and size."""
        return f"{self.scorer.fingerprint}/{self._print}/{'all' if self._all else self.size}"

    @property
    def _all(self) -> bool:
        return len(self._vocabulary) <= max(self.least, self.size)

    def score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """Log-odds of the labels in each text's shortlist, all in one plan; the rest is not scored."""
        asks = [Ask(listed("texts", a.texts), listed("labels", a.labels)) for a in asks]
        columns = [self._vocabulary.columns(a.labels) for a in asks]
        inner = self._vocabulary.inner
        if self._all:
            plan = zip(asks, columns, strict=True)
            return judge(self.scorer, [Ask(a.texts, [inner[j] for j in at]) for a, at in plan])
        texts = list(dict.fromkeys(t for a in asks for t in a.texts if t.strip()))
        near = dict(zip(texts, self.nearest(texts), strict=True))
        parts = [part for k, ask in enumerate(asks) for part in self._parts(k, ask, columns[k], near)]
        found = judge(
            self.scorer,
            [Ask([asks[p.ask].texts[i] for i in p.rows], [inner[j] for j in p.places]) for p in parts],
        )
        out: list[list[tuple[_Part, Scores]]] = [[] for _ in asks]
        for part, scores in zip(parts, found, strict=True):
            out[part.ask].append((part, scores))
        return [_assembled(ask, some) for ask, some in zip(asks, out, strict=True)]

    def nearest(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """For each text the places of its ``size`` nearest labels, in the order of the names."""
        if self._all or not texts:
            return [tuple(range(len(self._vocabulary)))] * len(texts)
        # So deep that even if the labels with most vectors came first, enough labels are found.
        deep = (self.size - 1) * int(np.bincount(self._owner).max()) + 1
        near: list[tuple[int, ...]] = []
        step = max(1, _BLOCK // deep)
        for i in range(0, len(texts), step):
            _, found = self._index.nearest(texts[i : i + step], deep)
            near += [tuple(sorted(list(dict.fromkeys(row))[: self.size])) for row in self._owner[found].tolist()]
        return near

    def _parts(self, k: int, ask: Ask, columns: Places, near: Mapping[str, tuple[int, ...]]) -> list[_Part]:
        """The rows of ask k, together where their candidates are the same."""
        column = np.full(len(self._vocabulary), -1)
        column[columns] = np.arange(len(columns))
        rows: dict[tuple[int, ...], list[int]] = {}
        for i, text in enumerate(ask.texts):
            rows.setdefault(near.get(text, ()), []).append(i)
        parts = []
        for candidates, some in rows.items():
            places = tuple(j for j in candidates if column[j] >= 0)
            # Where nothing asked for is near, one label is scored for what the scorer says of the text alone.
            parts.append(_Part(k, tuple(some), places or (0,), tuple(int(column[j]) for j in places)))
        return parts

    def sized(self, size: int) -> "Shortlist":
        """The same with another size, and no promise; nothing is embedded anew."""
        whole("size", size, least=1)
        return self._changed(size=size, promise=None)

    def fit(
        self, texts: Sequence[str], truths: Sequence[Truth], *, miss: float = 0.02, confidence: float = 0.9
    ) -> "Shortlist":
        """The same with the smallest size that keeps the true label with probability 1 - ``miss``.

        With ``confidence`` that holds for new texts like these, whatever the embedder: the size is an
        order statistic of the true labels' ranks, and the number of misses binomial. Texts that can't
        promise it are warned of with how many are missing; the size is then the largest rank among
        them, at least the present one, and the promise is marked not guaranteed.

        Args:
            texts: Texts that the size is chosen on; those that are utterances of the shortlist are left out.
            truths: The name that is true of each, several, or None: texts out of scope don't count.
            miss: The share of in-scope texts whose true label may be left out, above 0, below 1.
            confidence: Of the promise, above 0, below 1.

        Raises:
            DataError: A row is wrong; the message says which.
            ValueError: No text is in scope, or ``miss`` or ``confidence`` is out of range.

        Source: the exact bound of Clopper & Pearson, 1934, on the nested family of sizes.
        """
        for name, value in (("miss", miss), ("confidence", confidence)):
            share(name, value)
        ranks = self._ranks(*self._in_scope(texts, self._vocabulary.true_of(texts, truths)))
        if len(self._vocabulary) <= self.least:
            return self._changed(promise=Promise(miss, confidence, len(ranks), len(self._vocabulary), 1.0, True))
        promise = promised(ranks, miss, confidence, least=self.size)
        if not promise.guaranteed:
            warnings.warn(
                f"{len(ranks)} texts in scope can't promise a miss of {miss:g} with confidence {confidence:g}: "
                f"{promise.needed} more are needed. The size is {promise.size}, the most that these texts took, "
                "and not guaranteed.",
                UserWarning,
                stacklevel=2,
            )
        return self._changed(size=promise.size, promise=promise)

    def seen(self, texts: Sequence[str]) -> list[int]:
        """Indices of the texts that are example utterances: they say nothing of new ones."""
        known = {normalized(t) for some in self._said for t in some}
        return [i for i, t in enumerate(texts) if normalized(t) in known]

    def _in_scope(self, texts: Sequence[str], true: Sequence[list[int]]) -> tuple[list[str], list[list[int]]]:
        seen = set(self.seen(texts))
        new = [(t, row) for i, (t, row) in enumerate(zip(texts, true, strict=True)) if i not in seen]
        if len(new) < len(true):
            warnings.warn(
                f"{len(true) - len(new)} of {len(true)} texts are example utterances of the shortlist and promise "
                "nothing about new ones; they are left out.",
                UserWarning,
                stacklevel=3,
            )
        kept = [(t, row) for t, row in new if row]
        if not kept:
            raise ValueError(f"none of {len(true)} texts is in scope and new; expected some with a true label.")
        return [t for t, _ in kept], [row for _, row in kept]

    def _ranks(self, texts: Sequence[str], true: Sequence[list[int]]) -> Places:
        """(n,) the size that just holds all true labels of each text; of equally near ones the last counts."""
        if not len(self._index):
            return np.ones(len(texts), dtype=np.int64)
        first = np.flatnonzero(np.diff(self._owner, prepend=-1))
        ranks: list[int] = []
        step = max(1, _BLOCK // len(self._index))
        for i in range(0, len(texts), step):
            cosines, found = self._index.nearest(texts[i : i + step], len(self._index))
            near = np.empty_like(cosines)
            np.put_along_axis(near, found, cosines, axis=1)
            best = np.maximum.reduceat(near, first, axis=1)
            rows = zip(best, true[i : i + step], strict=True)
            ranks += [int((row >= row[places].min()).sum()) for row, places in rows]
        return np.array(ranks)


def _assembled(ask: Ask, parts: Sequence[tuple[_Part, Scores]]) -> Scores:
    """One Scores for an ask from those of its parts; what is in none was not scored."""
    n, m = len(ask.texts), len(ask.labels)
    log_odds = np.full((n, m), EMPTY_LOG_ODDS)
    scored, windows = np.zeros((n, m), dtype=np.bool_), np.ones((n, m), dtype=np.int32)
    spans, tokens = np.zeros((n, m, 2), dtype=np.int32), np.zeros(n, dtype=np.int32)
    unknown = np.zeros(n, dtype=np.float32)
    for part, found in parts:
        rows = np.array(part.rows)
        tokens[rows], unknown[rows] = found.tokens, found.unknown
        at = np.ix_(rows, np.array(part.columns, dtype=np.int64))
        k = len(part.columns)
        log_odds[at], windows[at], spans[at] = found.log_odds[:, :k], found.windows[:, :k], found.spans[:, :k]
        scored[at] = True if found.scored is None else found.scored[:, :k]
    return Scores(
        log_odds=log_odds,
        meaning=parts[0][1].meaning if parts else "probability",
        windows=windows,
        spans=spans,
        tokens=tokens,
        unknown=unknown,
        empty=blank(ask.texts),
        exclusive=bool(parts) and parts[0][1].exclusive,
        scored=scored,
    )
