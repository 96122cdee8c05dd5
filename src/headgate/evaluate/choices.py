"""What every task that chooses labels tells: F1, each label's precision and recall, confusions, worst errors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from headgate.evaluate.common import NONE, WORST, calibration, confusion, figure, selective, share
from headgate.evaluate.metrics import Bools, Floats, f1
from headgate.evaluate.report import Cell, Figure, Plot, Table, matrix
from headgate.evaluate.rows import Row


class Part(NamedTuple):
    """Some figures, tables and plots of a report."""

    figures: list[Figure]
    tables: list[Table]
    plots: list[Plot]


class Choices(NamedTuple):
    """What a model chose for n rows.

    Attributes:
        rows: The rows.
        texts: What the model read of each.
        truths: The true labels of each; () for none of them.
        said: The label chosen for each, or None.
        confidence: (n,) probability that the model gives its best label; None where it gives an order only.
        names: Every label.
    """

    rows: Sequence[Row]
    texts: Sequence[str]
    truths: Sequence[tuple[str, ...]]
    said: Sequence[str | None]
    confidence: Floats | None
    names: Sequence[str]

    @property
    def right(self) -> Bools:
        """(n,) True where the choice is one of the true labels, or none was chosen and none is true."""
        pairs = zip(self.truths, self.said, strict=True)
        return np.array([said in truth if said is not None else not truth for truth, said in pairs])

    @property
    def truth(self) -> list[str]:
        """The one true label of each row: the chosen one if it is among them, else the first, else "(none)"."""
        pairs = zip(self.truths, self.said, strict=True)
        return [said if said in truth and said is not None else (*truth, NONE)[0] for truth, said in pairs]

    @property
    def answer(self) -> list[str]:
        """The chosen label of each row, or "(none)"."""
        return [NONE if said is None else said for said in self.said]


def macro_f1(found: Choices, seed: int) -> Figure:
    """Macro F1 over the labels that are true or said of some row, "(none)" among them where it is."""
    names = [*found.names, NONE]
    truth, said = (matrix([(label,) for label in part], names) for part in (found.truth, found.answer))
    return figure("macro F1", lambda at: f1(truth[at], said[at]), len(truth), seed=seed)


def accuracy(found: Choices) -> Figure:
    """Share of the rows whose choice is right."""
    return share("accuracy", found.right)


def details(found: Choices) -> Part:
    """Each label's precision and recall, the confusion matrix, and the errors the model was surest of."""
    names = [*found.names, *([NONE] if {NONE} & {*found.truth, *found.answer} else [])]
    plot, pairs = confusion(found.truth, found.answer, names)
    truth, said = (matrix([(label,) for label in part], names) for part in (found.truth, found.answer))
    return Part([], [per_label(truth, said, names), pairs, *_worst(found)], [plot])


def confident(found: Choices, right: Bools, *, of: str, seed: int) -> Part:
    """AURC, risk and coverage, gates, ECE, Brier and reliability of the confidence; nothing where there is none.

    Args:
        found: The choices.
        right: (n,) whether the model's best label is right, chosen or not.
        of: What the confidence is the probability of.
        seed: Of the bootstrap.
    """
    if found.confidence is None:
        return Part([], [], [])
    area, curve, gates = selective(found.confidence, right, seed=seed)
    figures, plot = calibration(found.confidence, right, of=of, seed=seed)
    return Part([area, *figures], [gates], [curve, plot])


def per_label(truth: Bools, said: Bools, names: Sequence[str]) -> Table:
    """Rows, precision, recall and F1 of each label, from matrices (n, labels)."""
    rows: list[tuple[Cell, ...]] = []
    for j, name in enumerate(names):
        both, real, told = (int(part.sum()) for part in (truth[:, j] & said[:, j], truth[:, j], said[:, j]))
        precision, recall = both / told if told else None, both / real if real else None
        rows.append((name, real, told, precision, recall, 2 * both / (real + told) if real + told else None))
    columns = ("label", "rows", "said", "precision", "recall", "F1")
    return Table("By label", columns, tuple(rows), "— where no row has the label, or none was given it.")


def _worst(found: Choices) -> list[Table]:
    """The errors, surest first."""
    wrong = np.flatnonzero(~found.right)
    if not wrong.size:
        return []
    if found.confidence is not None:
        wrong = wrong[np.argsort(-found.confidence[wrong], kind="stable")]
    rows: list[tuple[Cell, ...]] = []
    for i in map(int, wrong[:WORST]):
        sure = None if found.confidence is None else float(found.confidence[i])
        rows.append((found.rows[i].place, found.texts[i], ", ".join(found.truths[i]) or NONE, found.answer[i], sure))
    note = f"{len(rows)} of {wrong.size} wrong rows, surest first." if found.confidence is not None else ""
    return [Table("Worst errors", ("row", "text", "true", "said", "confidence"), tuple(rows), note, texts=True)]
