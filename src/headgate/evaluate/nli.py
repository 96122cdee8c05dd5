"""Natural language inference: accuracy over pairs of premise and hypothesis."""

from collections.abc import Sequence

import numpy as np

from headgate.errors import DataError
from headgate.evaluate.choices import Choices, accuracy, confident, details, macro_f1
from headgate.evaluate.common import inner, settings, timed, uncalibrated
from headgate.evaluate.metrics import Floats
from headgate.evaluate.report import Report, few
from headgate.evaluate.rows import Row, Source, read_rows
from headgate.scores import Ask, Label, Scorer, judge, logistic

THREE = ("entailment", "neutral", "contradiction")
TWO = ("entailment", "not_entailment")


def pairs(scorer: Scorer, rows: Source, *, name: str | None = None, seed: int = 0) -> Report:
    """Measure how well a scorer infers: does the premise entail the hypothesis?

    The scorer is asked for P(entailment), and for P(contradiction) where the rows have three classes; neutral is what
    is left of 1. The likeliest is said. A calibration that the model's folder brings, which is one of labels for
    zero-shot use, is taken off first, so that these are the classes of the model's own softmax; a calibration of the
    caller's (``Calibration.on``) stays, and so does what it was fitted on.

    Args:
        scorer: A cross-encoder over NLI classes, whose scores are probabilities.
        rows: ``{"premise": …, "hypothesis": …, "label": "entailment"}``; classes entailment, neutral, contradiction,
            or entailment, not_entailment.
        name: The model's name in the report.
        seed: Of the bootstrap.

    Raises:
        DataError: A row is wrong, or its class is none of these, or neutral where the model has two classes; before
            anything is scored.
        NotCalibratedError: The scores are only an order.
    """
    every = read_rows(rows)
    premises, hypotheses = [r.text("premise") for r in every], [r.text("hypothesis") for r in every]
    classes = _classes(every)
    truths = [_class(row, classes) for row in every]
    _within(every, truths, getattr(inner(scorer), "classes", THREE))
    asks = [Ask([p], _labels(h, classes)) for p, h in zip(premises, hypotheses, strict=True)]
    scores, seconds = timed(lambda: judge(scorer, asks))
    p = _probabilities(np.stack([logistic(uncalibrated(scorer, s))[0] for s in scores]))
    said = [classes[j] for j in p.argmax(axis=1)]
    texts = [f"{a} ⊢ {b}" for a, b in zip(premises, hypotheses, strict=True)]
    found = Choices(every, texts, [(t,) for t in truths], said, p.max(axis=1), classes)
    more, about = details(found), confident(found, found.right, of="the chosen class", seed=seed)
    return Report(
        task="pairs",
        name=name or type(scorer).__name__,
        n=len(every),
        seconds=seconds,
        figures=(accuracy(found), macro_f1(found, seed), *about.figures),
        notes=tuple(few("pairs", len(every))),
        tables=(*more.tables, *about.tables),
        plots=(*more.plots, *about.plots),
        settings=settings(scorer, every, seed=seed, classes=list(classes)),
        outcomes={
            "truth": [[t] for t in truths],
            "said": [[s] for s in said],
            "accuracy": [float(right) for right in found.right],
        },
    )


def _classes(rows: Sequence[Row]) -> tuple[str, ...]:
    """Two classes where a row says not_entailment, else three."""
    return TWO if any(row.fields.get("label") == TWO[1] for row in rows) else THREE


def _class(row: Row, classes: Sequence[str]) -> str:
    found = row.labels()
    if len(found) != 1 or found[0] not in classes:
        raise DataError(f"{row.place}: the class is {row.fields['label']!r}; expected one of {list(classes)}.")
    return found[0]


def _within(rows: Sequence[Row], truths: Sequence[str], known: Sequence[str]) -> None:
    """Refuse rows that a model of two classes could only be wrong about."""
    if len(known) == 2 and THREE[1] in truths:
        raise DataError(
            f"{rows[truths.index(THREE[1])].place}: the class is 'neutral', and the model knows only {list(known)}; "
            "expected a model of three classes, or rows of entailment and not_entailment: rename the classes."
        )


def _labels(hypothesis: str, classes: Sequence[str]) -> list[Label]:
    entailed = Label(hypothesis, verbatim=True)
    return [entailed] if classes == TWO else [entailed, Label(hypothesis, verbatim=True, relation="contradiction")]


def _probabilities(p: Floats) -> Floats:
    """(n, classes) that sum to 1, from P(entailment) or from P(entailment) and P(contradiction)."""
    rest = np.maximum(0.0, 1.0 - p.sum(axis=1))  # rounding, and the maxima of two windows
    columns = [p[:, 0], rest] if p.shape[1] == 1 else [p[:, 0], rest, p[:, 1]]
    whole = np.stack(columns, axis=1)
    out: Floats = whole / whole.sum(axis=1, keepdims=True)
    return out
