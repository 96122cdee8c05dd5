"""Few-shot classification: a logistic regression on the embeddings of a handful of examples."""

from collections.abc import Sequence

import numpy as np

from headgate.errors import DataError
from headgate.evaluate.choices import Choices, details
from headgate.evaluate.common import labelled, seen, settings, timed
from headgate.evaluate.metrics import Bools, Floats, Ints, extra, f1
from headgate.evaluate.report import Cell, Figure, Report, Table, few, matrix
from headgate.evaluate.rows import Row, Source, read_rows
from headgate.scores import Embedder
from headgate.scores import Floats as Vectors

Draw = tuple[Ints, Ints, Floats]
"""Rows tested, the label said of each, and its probability."""


def few_shot(
    embedder: Embedder,
    rows: Source,
    *,
    shots: int,
    train: Source | None = None,
    seeds: int = 5,
    name: str | None = None,
) -> Report:
    """Measure what an embedder's vectors tell apart after k examples of each label.

    scikit-learn's logistic regression, with its defaults, is fitted on ``shots`` drawn examples a label, once for each
    seed; mean and standard deviation over the draws are told, since one draw says little.

    Args:
        embedder: What makes the vectors.
        rows: ``{"text": …, "label": …}``, one label each.
        shots: Examples of each label, at least 1.
        train: Where the examples are drawn from; None: from ``rows``, and those drawn are not tested on.
        seeds: How many draws, at least 2.
        name: The model's name in the report.

    Raises:
        DataError: A row is wrong, has no label or several, or a label has too few rows.
        MissingExtraError: scikit-learn is not installed.
    """
    if shots < 1 or seeds < 2:
        raise ValueError(f"shots is {shots} and seeds {seeds}; expected at least 1 example a label and 2 draws.")
    extra("sklearn", "scikit-learn")  # before the model reads anything
    every = read_rows(rows)
    texts, truths = _single(every, None)
    names = seen([(t,) for t in truths])
    pool = every if train is None else read_rows(train)
    examples, classes = (texts, truths) if train is None else _single(pool, names)
    _enough(classes, names, shots + (train is None))
    vectors, seconds = timed(lambda: embedder.embed(texts, role="query"))
    known = vectors if train is None else embedder.embed(examples, role="query")
    y, target = (np.array([names.index(t) for t in part]) for part in (truths, classes))
    draws = []
    for seed in range(seeds):
        drawn = _draw(target, shots, seed)
        tested = np.setdiff1d(np.arange(len(y)), drawn) if train is None else np.arange(len(y))
        draws.append((tested, *_fitted(known[drawn], target[drawn], vectors[tested])))
    first = _choices(every, texts, truths, names, draws[0])
    figures, table = _spread(y, draws, len(names))
    more = details(first)
    return Report(
        task="few-shot",
        name=name or type(embedder).__name__,
        n=len(draws[0][0]),
        seconds=seconds,
        figures=tuple(figures),
        notes=(*few("rows tested", len(draws[0][0])), "By label, confusion and worst errors are the first draw's."),
        tables=(table, *more.tables),
        plots=tuple(more.plots),
        settings=settings(
            embedder,
            every,
            seed=0,
            shots=shots,
            draws=seeds,
            labels=names,
            texts=len(texts),
            train=_train(train, pool),
        ),
        outcomes={"accuracy": _right(y, draws)},
    )


def _single(rows: Sequence[Row], names: Sequence[str] | None) -> tuple[list[str], list[str]]:
    texts, truths = labelled(rows, names)
    for row, truth in zip(rows, truths, strict=True):
        if len(truth) != 1:
            raise DataError(f"{row.place}: the label is {row.fields['label']!r}; expected one label, to learn from.")
    return texts, [truth[0] for truth in truths]


def _train(train: Source | None, pool: Sequence[Row]) -> str:
    return "drawn from the rows" if train is None else f"{len(pool)} rows of their own"


def _enough(classes: Sequence[str], names: Sequence[str], least: int) -> None:
    for label in names:
        n = classes.count(label)
        if n < least:
            raise DataError(f"label {label!r} has {n} rows; expected at least {least} to draw from, or fewer shots.")
    if len(names) < 2:
        raise DataError(f"every row's label is {names[0]!r}; expected at least two labels.")


def _draw(target: Ints, shots: int, seed: int) -> Ints:
    """Numbers of the examples, `shots` of each label."""
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(np.flatnonzero(target == k), shots, replace=False) for k in np.unique(target)]
    return np.concatenate(drawn).astype(np.int64)


def _fitted(x: Vectors, y: Ints, tested: Vectors) -> tuple[Ints, Floats]:
    """The label that a regression on x (k, d) and y (k,) says of each tested row, and its probability."""
    regression = extra("sklearn.linear_model", "scikit-learn").LogisticRegression
    p = np.asarray(regression(max_iter=1000).fit(x, y).predict_proba(tested), dtype=np.float64)
    return p.argmax(axis=1), p.max(axis=1)


def _choices(
    rows: Sequence[Row],
    texts: Sequence[str],
    truths: Sequence[str],
    names: Sequence[str],
    draw: Draw,
) -> Choices:
    tested, said, sure = draw
    return Choices(
        [rows[i] for i in tested],
        [texts[i] for i in tested],
        [(truths[i],) for i in tested],
        [names[j] for j in said],
        sure,
        names,
    )


def _spread(y: Ints, draws: Sequence[Draw], labels: int) -> tuple[list[Figure], Table]:
    """Macro F1 and accuracy, mean and standard deviation over the draws, and each draw's own."""
    rows: list[tuple[Cell, ...]] = []
    for seed, (tested, said, _) in enumerate(draws):
        rows.append((seed, f1(_one_hot(y[tested], labels), _one_hot(said, labels)), float((y[tested] == said).mean())))
    figures = []
    for at, what in enumerate(("macro F1", "accuracy"), start=1):
        values = np.array([row[at] for row in rows], dtype=np.float64)
        mean, sd = float(values.mean()), float(values.std(ddof=1))
        figures.append(Figure(what, mean, len(draws[0][0]), mean - sd, mean + sd, f"± sd of {len(draws)} draws"))
    return figures, Table("Draws", ("seed", "macro F1", "accuracy"), tuple(rows), "Each draw has examples of its own.")


def _one_hot(y: Ints, labels: int) -> Bools:
    return matrix([(str(k),) for k in y], [str(k) for k in range(labels)])


def _right(y: Ints, draws: Sequence[Draw]) -> list[float]:
    """For each row that some draw tested, the share of those draws that were right about it."""
    count, hits = np.zeros(len(y)), np.zeros(len(y))
    for tested, said, _ in draws:
        count[tested] += 1
        hits[tested] += y[tested] == said
    return [float(v) for v in hits[count > 0] / count[count > 0]]
