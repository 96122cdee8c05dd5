"""What priors taken off and examples beside give: ``python benchmarks/wrappers.py --data DIR [--parts nli route]``.

DIR holds folders of labelled texts. Labels are scored by their bare names; examples come from train rows, weights from
dev rows (banking77: other train rows), figures from test rows. Shown is macro F1 / accuracy of the best label.
"""

import argparse
import gzip
import json
import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.metrics import f1_score

from headgate import Ask, Scorer, WithExamples, judge, load
from headgate.bias import CONTENT_FREE
from headgate.scores import Embedder

DEBIASED = {"banking77": "test", "clinc150": "dev", "slurp": "dev"}
PRIORS = {
    "N/A": ("N/A",),
    "[MASK]": ("[MASK]",),
    "...": ("...",),
    "the three": CONTENT_FREE,
    "sentences": ("a text", "This is a sentence.", "Hello."),
}
Rows = list[tuple[str, str]]


def read(data: Path, name: str, split: str) -> Rows:
    """In-scope texts and labels, shuffled."""
    with gzip.open(data / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    return [(row["text"], row["label"]) for row in shuffled if row["label"] not in (None, "oos")]


def spoken(label: str) -> str:
    """A label's words."""
    return label.replace("_", " ").replace("-", " ")


def shown(z: NDArray[np.float64], true: list[int]) -> str:
    """Macro F1 over the labels that occur, and accuracy."""
    best = z.argmax(axis=1)
    macro = f1_score(true, best, average="macro", labels=np.unique(true))
    return f"{macro:.3f}/{np.mean(best == np.array(true)):.3f}"


def debiased(scorer: Scorer, data: Path, n: int, weights: tuple[float, ...]) -> list[list[str]]:
    """A row for each data set: as it is, then each kind of prior at each weight, then the texts' own mean."""
    table = []
    for name, split in DEBIASED.items():
        every = read(data, name, split)
        labels, rows = sorted({label for _, label in every}), every[:n]
        texts, true = [t for t, _ in rows], [labels.index(y) for _, y in rows]
        priors = list(PRIORS.values())
        found = judge(scorer, [Ask(some, [spoken(x) for x in labels]) for some in (texts, *priors)])
        z, *said = (s.log_odds.astype(np.float64) for s in found)
        cells = [name, str(len(labels)), shown(z, true)]
        cells += [shown(z - w * prior.mean(axis=0), true) for prior in (*said, z) for w in weights]
        table.append(cells)
    return table


def beside(scorer: Scorer, embedder: Embedder, data: Path, n: int, each: int) -> list[list[str]]:
    """A row for each data set: the names alone, examples alone, both as they come, both fitted."""
    table = []
    for name in ("banking77", "clinc150"):
        train, test = read(data, name, "train"), read(data, name, "test")[:n]
        labels = sorted({label for _, label in train})
        names = {label: spoken(label) for label in labels}
        examples = {label: [t for t, y in train if y == label][:each] for label in labels}
        known = {t for some in examples.values() for t in some}
        dev = [(t, y) for t, y in train if t not in known][:n] if name == "banking77" else read(data, name, "dev")[:n]
        texts, true = [t for t, _ in test], [labels.index(y) for _, y in test]
        cells = [
            name,
            f"{len(labels)} x {each}",
            shown(judge(scorer, [Ask(texts, list(names.values()))])[0].log_odds, true),
        ]
        for nearest in (1, 3):
            alone = WithExamples(None, embedder, examples, names, nearest=nearest)
            both = WithExamples(scorer, embedder, examples, names, nearest=nearest)
            fitted = both.fit([t for t, _ in dev], [y for _, y in dev])
            cells += [shown(judge(s, [Ask(texts, labels)])[0].log_odds, true) for s in (alone, both, fitted)]
            cells.append(
                f"{fitted.weights.scorer:.2f} z + {fitted.weights.examples:.1f} cos {fitted.weights.shift:+.1f}"
            )
        table.append(cells)
    return table


def main() -> None:
    """Print both tables for each part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["nli", "gliclass", "route"])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--each", type=int, default=5, help="examples a label")
    parser.add_argument("--only", choices=["debiased", "examples"])
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    show, weights, embedder = Console(width=180).print, (0.5, 1.0), load("mini/embed")
    for part in given.parts:
        scorer = load(f"mini/{part}")
        if given.only != "examples":
            kinds = [f"{kind} x{w}" for kind in (*PRIORS, "the texts' own mean") for w in weights]
            table = Table("texts of", "labels", "as it is", *kinds, title=f"mini/{part} without priors")
            for row in debiased(scorer, given.data, given.rows, weights):
                table.add_row(*row)
            show(table)
        if given.only != "debiased":
            kinds = [f"{kind}, nearest {k}" for k in (1, 3) for kind in ("examples", "sum", "fitted", "weights")]
            table = Table("texts of", "labels", "names", *kinds, title=f"mini/{part} beside examples")
            for row in beside(scorer, embedder, given.data, given.rows, given.each):
                table.add_row(*row)
            show(table)


if __name__ == "__main__":
    main()
