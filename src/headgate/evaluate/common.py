"""What the tasks share: rows checked before any scoring, figures with intervals, calibration, settings."""

import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from headgate.calibration import Calibrated, Calibration
from headgate.errors import DataError
from headgate.evaluate.metrics import (
    BINS,
    ROUNDS,
    Floats,
    Ints,
    Statistic,
    bootstrap,
    brier,
    calibration_error,
    exact,
    reliability,
    risk_coverage,
)
from headgate.evaluate.report import Better, Cell, Figure, Plot, Table
from headgate.evaluate.rows import Row
from headgate.scores import Label, Scorer, Scores, as_label

T = TypeVar("T")
Labels = Sequence[str] | Mapping[str, str | Label]

NONE = "(none)"
WORST = 20
GATES = (0.5, 0.8, 0.9)
_PACKAGES = ("headgate", "numpy", "torch", "transformers", "scikit-learn", "ir_measures")


def labelled(rows: Sequence[Row], names: Sequence[str] | None) -> tuple[list[str], list[tuple[str, ...]]]:
    """Texts and true labels of all rows.

    Raises:
        DataError: A row has no text, no label, or one outside `names`.
    """
    texts, truths = [row.text("text") for row in rows], [row.labels() for row in rows]
    for row, truth in zip(rows, truths, strict=True):
        strange = [label for label in truth if names is not None and label not in names]
        if strange:
            raise DataError(
                f"{row.place}: the label {strange[0]!r} is none of {list(names or ())}; expected one of them, "
                "or null where none is true."
            )
    return texts, truths


def seen(truths: Sequence[Sequence[str]]) -> list[str]:
    """Every label of the rows, sorted.

    Raises:
        DataError: There is none.
    """
    names = sorted({label for truth in truths for label in truth})
    if not names:
        raise DataError("no row has a label; expected some, or name the labels.")
    return names


def named(labels: Labels) -> dict[str, str | Label]:
    """Name -> what the scorer reads."""
    return dict(labels) if isinstance(labels, Mapping) else {name: name for name in labels}


def timed(ask: Callable[[], T]) -> tuple[T, float]:
    """What came back, and the seconds it took."""
    started = time.perf_counter()
    found = ask()
    return found, time.perf_counter() - started


def share(name: str, hits: ArrayLike, better: Better = "higher") -> Figure:
    """The share of rows that are true, with its exact interval."""
    found = np.asarray(hits, dtype=np.bool_)
    low, high = exact(int(found.sum()), found.size)
    return Figure(name, float(found.mean()), found.size, low, high, "exact", better)


def figure(
    name: str,
    statistic: Statistic,
    n: int,
    *,
    seed: int,
    better: Better = "higher",
    strata: Sequence[int] | Ints | None = None,
) -> Figure:
    """A figure of n rows, with its bootstrap interval."""
    low, high = bootstrap(statistic, n, strata=strata, seed=seed)
    return Figure(name, statistic(np.arange(n)), n, low, high, "bootstrap", better)


def calibration(
    probabilities: ArrayLike, truth: ArrayLike, *, of: str, seed: int, groups: Ints | None = None
) -> tuple[list[Figure], Plot]:
    """ECE in bins of equal mass and of equal width, Brier score, and the reliability diagram.

    Args:
        probabilities: (n,) or (n, labels), 0 to 1. The bootstrap draws rows: the cells of one are not independent.
        truth: Same shape, whether what had that probability was so.
        of: What the probabilities are of, for the titles.
        seed: Of the bootstrap.
        groups: (n,) what belongs together, such as the documents of a query, and is drawn together.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(truth, dtype=np.bool_)
    units = [np.array([i]) for i in range(len(p))] if groups is None else _members(groups)

    def drawn(measured: Callable[[ArrayLike, ArrayLike], float]) -> Statistic:
        def statistic(at: Ints) -> float:
            rows = at if groups is None else np.concatenate([units[k] for k in at])
            return measured(p[rows], y[rows])

        return statistic

    n = len(units)
    mass, width = f"ECE ({BINS} bins of equal mass)", f"ECE ({BINS} bins of equal width)"
    figures = [
        figure(mass, drawn(calibration_error), n, seed=seed, better="lower"),
        Figure(width, calibration_error(p, y, equal="width"), n, better="lower"),
        figure("Brier score", drawn(brier), n, seed=seed, better="lower"),
    ]
    bins = reliability(p, y)
    data = {
        "probability": [b.probability for b in bins],
        "frequency": [b.frequency for b in bins],
        "rows": [b.rows for b in bins],
    }
    says = f"ECE {figures[0].value:.3f} over {len(bins)} bins, {p.size} probabilities."
    return figures, Plot("reliability", f"Reliability of {of}", says, data)


def selective(confidence: Floats, right: ArrayLike, *, seed: int) -> tuple[Figure, Plot, Table]:
    """AURC, the risk-coverage curve, and the wrong answers that survive a gate on confidence."""
    good = np.asarray(right, dtype=np.bool_)
    n = good.size
    area = figure("AURC", lambda at: risk_coverage(confidence[at], good[at]).area, n, seed=seed, better="lower")
    curve = risk_coverage(confidence, good)
    says = f"Risk at full coverage {curve.risk[-1]:.3f}; area under the curve (AURC) {curve.area:.3f}, {n} rows."
    plot = Plot("risk_coverage", "Risk and coverage", says, thinned(coverage=curve.coverage, risk=curve.risk))
    rows: list[tuple[Cell, ...]] = []
    for gate in GATES:
        answered = confidence >= gate
        wrong = int((answered & ~good).sum())
        rows.append((gate, int(answered.sum()), wrong, wrong / int(answered.sum()) if answered.any() else None))
    note = "Answers given only from this probability up, and how many of them are wrong."
    columns = ("gate", "answered", "wrong answers that pass", "share of the answered")
    return area, plot, Table("Wrong answers that survive a gate", columns, tuple(rows), note)


def thinned(most: int = 400, **arrays: Floats) -> dict[str, list[float]]:
    """The arrays as lists of at most about so many points, first and last among them: a plot shows no more."""
    n = len(next(iter(arrays.values())))
    at = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
    return {name: [float(v) for v in values[at]] for name, values in arrays.items()}


def settings(scorer: object, rows: Sequence[Row], *, seed: int, **more: object) -> dict[str, Any]:
    """What makes the figures again: model, data, seed, versions, and what else the task says."""
    return {
        "fingerprint": str(getattr(scorer, "fingerprint", "none")),
        "scorer": type(scorer).__name__,
        "template": template(scorer),
        "data": digest(rows),
        "seed": seed,
        "bootstrap rounds": ROUNDS,
        **more,
        "versions": {"python": platform.python_version(), **_versions()},
    }


def template(scorer: object) -> str | None:
    """The scorer's hypothesis template, or None where it tells none."""
    found = getattr(inner(scorer), "template", None)
    return found if isinstance(found, str) else None


def inner(scorer: object) -> object:
    """The model's own scorer, where the caller put a calibration around it."""
    return getattr(scorer, "scorer", scorer)


def uncalibrated(scorer: Scorer, scores: Scores) -> Floats:
    """The log-odds (n, m) that the model gave before the calibration that its folder brings.

    Those of a :class:`headgate.calibration.Calibrated` come back as they are: the caller's calibration was fitted on
    what the folder's gives.

    Raises:
        NotCalibratedError: The scores are only an order.
    """
    scores.probabilities  # noqa: B018  raises where they are only an order
    brought = getattr(scorer, "calibration", None)
    z = scores.log_odds.astype(np.float64)
    if isinstance(scorer, Calibrated) or not isinstance(brought, Calibration):
        return z
    return (z - brought.shift + brought.length * np.log(scores.windows)) / brought.scale


def label_table(labels: Mapping[str, str | Label], scorer: Scorer, truths: Sequence[Sequence[str]]) -> Table:
    """Every label as the model reads it."""
    pattern = template(scorer)
    rows: list[tuple[Cell, ...]] = []
    for name, label in labels.items():
        words = as_label(label)
        read = words.text if words.verbatim or pattern is None else pattern.replace("{}", words.text)
        if words.relation != "entailment":
            read += f" ({words.relation})"
        rows.append((name, read, sum(name in truth for truth in truths)))
    said = f"Template: {pattern}" if pattern is not None else "The scorer tells no template."
    return Table("Labels as the model reads them", ("label", "read as", "rows"), tuple(rows), said)


def confusion(truth: Sequence[str], said: Sequence[str], names: Sequence[str]) -> tuple[Plot, Table]:
    """The confusion matrix, and the pairs most often confused."""
    column = {name: j for j, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, ([column[t] for t in truth], [column[s] for s in said]), 1)
    wrong = counts - np.diag(np.diag(counts))
    order = [at for at in np.argsort(-wrong, axis=None, kind="stable")[:WORST] if wrong.flat[at]]
    pairs: list[tuple[Cell, ...]] = []
    for at in order:
        i, j = divmod(int(at), len(names))
        pairs.append((names[i], names[j], int(wrong[i, j]), float(wrong[i, j] / counts[i].sum())))
    says = f"{int(np.trace(counts))} of {int(counts.sum())} rows on the diagonal, over {len(names)} labels."
    plot = Plot("confusion", "Confusion matrix", says, {"labels": list(names), "counts": counts.tolist()})
    return plot, Table("Most confused", ("true", "said", "rows", "share of the true"), tuple(pairs))


def digest(rows: Sequence[Row]) -> str:
    """A fingerprint of the rows and their order."""
    words = json.dumps([row.fields for row in rows], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _members(groups: Ints) -> list[Ints]:
    return [np.flatnonzero(groups == g) for g in np.unique(groups)]


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
