"""Zero-shot and supervised classification: which of these labels is true?"""

import numpy as np

from headgate.arguments import named as check_names
from headgate.arguments import probability
from headgate.errors import DataError
from headgate.evaluate.choices import Choices, Part, accuracy, confident, details, macro_f1, per_label
from headgate.evaluate.common import (
    Labels,
    calibration,
    figure,
    label_table,
    labelled,
    named,
    seen,
    settings,
    share,
    timed,
)
from headgate.evaluate.metrics import Floats, f1
from headgate.evaluate.report import Figure, Report, few, matrix
from headgate.evaluate.rows import Row, Source, read_rows
from headgate.scores import Ask, Scorer, Scores, judge

Truths = list[tuple[str, ...]]


def classify(  # noqa: PLR0913  one call, everything by name
    scorer: Scorer,
    rows: Source,
    *,
    labels: Labels | None = None,
    multi: bool = False,
    threshold: float = 0.5,
    name: str | None = None,
    seed: int = 0,
) -> Report:
    """Measure how well a scorer chooses among labels; macro F1 first, as the published zero-shot tables have it.

    Without ``multi`` the label with the highest log-odds is always taken. A row with several true labels is right if
    the choice is one of them, and counts as a row of that one, else of its first. A row whose label is null can't be
    right in a forced choice: it is left out of every figure, and the report says how many were;
    :func:`headgate.evaluate.route` measures them.

    With ``multi`` every label from ``threshold`` up is said; a row is an exact match if exactly its true labels are,
    and null asks for none.

    Args:
        scorer: What judges; with ``multi`` its scores must be probabilities.
        rows: ``{"text": …, "label": …}``, see :mod:`headgate.evaluate.rows`.
        labels: Names, or names with what the scorer reads; None: the labels of the rows, sorted.
        multi: Several labels may be true at once.
        threshold: From which probability a label is said, with ``multi``.
        name: The model's name in the report.
        seed: Of the bootstrap.

    Raises:
        DataError: A row is wrong, or no row has a label; before anything is scored.
        NotCalibratedError: ``multi`` with scores that are only an order.
    """
    probability("threshold", threshold)
    every = read_rows(rows)
    texts, truths = labelled(every, None if labels is None else list(labels))
    chosen = named(seen(truths) if labels is None else labels)
    check_names("label", list(chosen))
    kept = [i for i, truth in enumerate(truths) if truth or multi]
    if not kept:
        raise DataError("every row's label is null; expected at least one label, or multi.")
    live, texts, truths = [every[i] for i in kept], [texts[i] for i in kept], [truths[i] for i in kept]
    (scores,), seconds = timed(lambda: judge(scorer, [Ask(texts, list(chosen.values()))]))
    if multi:
        part, truth, said = _several(truths, list(chosen), scores, threshold, seed)
    else:
        part, truth, said = _single(live, texts, truths, list(chosen), scores, seed)
    more = {"labels": list(chosen), "multi": multi, "threshold": threshold if multi else None}
    hits = [set(a) == set(b) for a, b in zip(truth, said, strict=True)]
    return Report(
        task="classify",
        name=name or type(scorer).__name__,
        n=len(live),
        seconds=seconds,
        figures=tuple(part.figures),
        notes=tuple(few("rows", len(live)) + _notes(scores, len(every) - len(live))),
        tables=(label_table(chosen, scorer, truths), *part.tables),
        plots=tuple(part.plots),
        settings=settings(scorer, every, seed=seed, **more),
        outcomes={"truth": truth, "said": said, "exact match" if multi else "accuracy": [float(h) for h in hits]},
    )


def _notes(scores: Scores, left_out: int) -> list[str]:
    notes = []
    if left_out:
        notes.append(f"{left_out} rows whose label is null were left out: a forced choice can't be right about them.")
    if scores.meaning == "order":
        notes.append("The scores are only an order: there are no probabilities whose calibration could be measured.")
    return notes


def _single(
    rows: list[Row], texts: list[str], truths: Truths, names: list[str], scores: Scores, seed: int
) -> tuple[Part, Truths, Truths]:
    """One label for each row, the likeliest, beside the one true label that it is measured by."""
    best = scores.log_odds.argmax(axis=1)
    sure: Floats | None = None
    if scores.meaning == "probability":
        sure = scores.probabilities[np.arange(len(best)), best].astype(np.float64)
    found = Choices(rows, texts, truths, [names[j] for j in best], sure, names)
    more, about = details(found), confident(found, found.right, of="the chosen label", seed=seed)
    figures = [macro_f1(found, seed), accuracy(found), *about.figures]
    part = Part(figures, [*more.tables, *about.tables], [*more.plots, *about.plots])
    return part, [(true,) for true in found.truth], [(said,) for said in found.answer]


def _several(
    truths: Truths, names: list[str], scores: Scores, threshold: float, seed: int
) -> tuple[Part, Truths, Truths]:
    """Any number of labels for each row: those from the threshold up."""
    p = scores.probabilities.astype(np.float64)
    truth, told = matrix(truths, names), (p >= threshold) & ~scores.empty[:, None]
    n = len(truth)
    figures: list[Figure] = [
        figure("macro F1", lambda at: f1(truth[at], told[at]), n, seed=seed),
        figure("micro F1", lambda at: f1(truth[at], told[at], average="micro"), n, seed=seed),
        share("exact match", (truth == told).all(axis=1)),
    ]
    about, plot = calibration(p, truth, of="every label of every row", seed=seed)
    said = [tuple(names[j] for j in np.flatnonzero(row)) for row in told]
    return Part([*figures, *about], [per_label(truth, told, names)], [plot]), truths, said
