"""`fit_heads` beside scikit-learn's logistic regression, on the same states: ``python benchmarks/heads.py --data DIR``.

DIR holds ``banking77`` and ``clinc150``, each with ``train.jsonl.gz`` and ``test.jsonl.gz`` of ``text`` and ``label``.
Both read the length-1 mean states of the same frozen encoder; what is compared is the fit. scikit-learn has C=20 and
no names of labels. "None" of CLINC150 is told by the greatest probability and by energy, the log of the summed
exponentials; of a multi head, energy is what a Router calls "none". A multi head learns from rows of none as well.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from headgate.evaluate.rows import read_rows
from headgate.train.common import start
from headgate.train.head_folder import grown
from headgate.train.heads import fit, said_aloud, states

NONE = "oos"


def read(data: Path, name: str, split: str) -> tuple[list[str], list[str]]:
    """Texts and labels."""
    rows = read_rows(data / name / f"{split}.jsonl.gz")
    return [row.text("text") for row in rows], [row.labels()[0] for row in rows]


def some(labels: Sequence[str], shots: int | None, seed: int) -> list[int]:
    """Rows, so many of each class; None is all."""
    by: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        by.setdefault(label, []).append(i)
    rng = random.Random(seed)
    return sorted(i for own in by.values() for i in (rng.sample(own, shots) if shots else own))


class Task:
    """States of one data set, read once.

    Args:
        encode: Texts to states.
        train: Texts and labels.
        test: The same.
    """

    def __init__(self, encode: "Encode", train: tuple[list[str], list[str]], test: tuple[list[str], list[str]]) -> None:
        self.labels = sorted(set(train[1]) - {NONE})
        self.x, self.y = encode(train[0]), np.array(train[1])
        self.z, self.truth = encode(test[0]), np.array(test[1])
        self.names = encode([said_aloud(label) for label in self.labels])

    def ours(self, rows: Sequence[int], kind: str) -> tuple[np.ndarray, float]:
        """Logits of the test rows, and seconds; a multi head learns from the rows of none as well."""
        rows = [i for i in rows if kind == "multi" or self.y[i] != NONE]
        target = np.concatenate([self.y[rows, None] == np.array(self.labels), np.eye(len(self.labels), dtype=bool)])
        begun = perf_counter()
        x = torch.cat([self.x[rows], self.names])
        weight, bias = fit(x, torch.from_numpy(target.astype(np.float64)), kind)  # type: ignore[arg-type]
        return (self.z @ weight.T + bias).numpy(), perf_counter() - begun

    def theirs(self, rows: Sequence[int]) -> tuple[np.ndarray, float]:
        """The same from scikit-learn."""
        rows = [i for i in rows if self.y[i] != NONE]
        begun = perf_counter()
        model = LogisticRegression(C=20, max_iter=300).fit(self.x[rows].float().numpy(), self.y[rows])
        assert list(model.classes_) == self.labels
        return model.decision_function(self.z.float().numpy()), perf_counter() - begun

    def figures(self, logits: np.ndarray, kind: str) -> list[str]:
        """Accuracy over the known classes; AUROC of "none" by greatest probability and by energy."""
        known = self.truth != NONE
        right = np.array(self.labels)[logits.argmax(1)] == self.truth
        said = [f"{right[known].mean():.4f}"]
        if known.all():
            return [*said, "", ""]
        energy = np.logaddexp.reduce(logits, axis=1)  # of a multi head: log-odds of any, as a Router adds them
        top = logits.max(1) - (energy if kind == "single" else 0)
        return [*said, *(f"{roc_auc_score(known, by):.4f}" for by in (top, energy))]


class Encode:
    """Texts to length-1 mean states of a frozen encoder."""

    def __init__(self, base: str) -> None:
        self.checkpoint = start(base, max_length=256)
        self.model = grown(self.checkpoint, {}, {}, "mean")
        self.model.normalize = True

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        """(texts, hidden)."""
        unique = list(dict.fromkeys(texts))
        at = {text: i for i, text in enumerate(unique)}
        return states(self.checkpoint, self.model, unique)[[at[text] for text in texts]]


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default="sentence-transformers/all-MiniLM-L6-v2")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the few rows")
    given = parser.parse_args()
    encode = Encode(given.base)
    table = Table("data", "rows a class", "fit", "accuracy", "none: top", "none: energy", "seconds")
    for name, every in {"banking77": (5, 10, None), "clinc150": (10, None)}.items():
        task = Task(encode, read(given.data, name, "train"), read(given.data, name, "test"))
        for shots in every:
            for how in ("scikit-learn", "single", "multi"):
                found = []
                for seed in range(given.seeds if shots else 1):
                    rows = some(task.y.tolist(), shots, seed)
                    logits, seconds = task.theirs(rows) if how == "scikit-learn" else task.ours(rows, how)
                    found.append([*task.figures(logits, "multi" if how == "multi" else "single"), f"{seconds:.2f}"])
                mean = [f"{np.mean([float(x) for x in c]):.4f}" if c[0] else "" for c in zip(*found, strict=True)]
                table.add_row(name, str(shots or "all"), how, *mean)
    Console().print(table)


if __name__ == "__main__":
    main()
