"""What fewer digits cost: `mini` in bfloat16 and int8 beside float32: ``benchmarks/digits.py --data ../shared/data``.

For each part, on the same rows: Spearman's correlation of the log-odds, their largest difference, and the figure that
counts (nDCG@10 of a reranker, macro F1 of a classifier) as a difference in points. Below 0.999 or above half a point is
marked.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

import headgate
from headgate import Ask, Reranker, evaluate
from headgate.families.base import Family
from headgate.train.mini.heldout import Parts, candidates

DTYPES = ("float32", "bfloat16", "int8")
Job = tuple[str, str, Callable[[Family], tuple[np.ndarray, float]]]


def main() -> None:
    """Measure every part in every dtype."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="The folder of data sets.")
    parser.add_argument("--rows", type=int, default=400, help="Texts, or a tenth as many queries.")
    asked = parser.parse_args()
    parts = Parts(Path(headgate.__file__).parent / "mini", asked.data, 1.0, "float32")
    table = Table("part", "rows", *(f"{d} {x}" for d in DTYPES[1:] for x in ("Spearman", "max |Δ|", "points")))
    for part, rows, measure in jobs(parts, asked.rows):
        found = {dtype: measure(headgate.load(f"mini/{part}", device="cpu", dtype=dtype)) for dtype in DTYPES}
        cells = []
        for dtype in DTYPES[1:]:
            (z, figure), (exact, wanted) = found[dtype], found["float32"]
            rank, points = float(spearmanr(z, exact).statistic), 100 * (figure - wanted)
            cells += [marked(f"{rank:.5f}", rank >= 0.999), f"{np.abs(z - exact).max():.3f}"]
            cells += [marked(f"{points:+.2f}", abs(points) <= 0.5)]
        table.add_row(part, rows, *cells)
    Console().print(table)


def jobs(parts: Parts, most: int) -> Iterator[Job]:
    """Part, what it reads, and what gives its log-odds and its figure."""
    queries = candidates(parts, "trec_dl19", max(1, most // 10), each=100)

    def rerank(scorer: Family) -> tuple[np.ndarray, float]:
        asks = [Ask([d["text"] for d in row["documents"]], [row["query"]]) for row in queries]
        report = evaluate.rerank(Reranker(scorer), queries, name="x")
        return np.concatenate([s.log_odds.ravel() for s in scorer.score_many(asks)]), report["nDCG@10"]

    yield "rank", f"DL19, {len(queries)} queries", rerank
    for part, name in (
        ("route", "banking77"),
        ("gliclass", "banking77"),
        ("nli", "ag_news"),
        ("heads", "tweet_eval_sentiment"),
    ):
        rows = parts.rows(name, "test", most, shuffled=True)
        names = sorted({row["label"] for row in rows})
        yield part, f"{name}, {len(rows)} texts", classify(rows, names)


def classify(rows: list[dict[str, str]], names: list[str]) -> Callable[[Family], tuple[np.ndarray, float]]:
    """The job of naming each text's label."""
    said = {name: name.replace("_", " ") for name in names}

    def measure(scorer: Family) -> tuple[np.ndarray, float]:
        report = evaluate.classify(scorer, rows, labels=said, name="x")
        return scorer.score([r["text"] for r in rows], list(said.values())).log_odds.ravel(), report["macro F1"]

    return measure


def marked(text: str, good: bool) -> str:
    """In red where it is not."""
    return text if good else f"[red]{text}[/red]"


if __name__ == "__main__":
    main()
