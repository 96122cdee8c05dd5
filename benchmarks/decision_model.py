"""What a decision model of LangChain's is worth with ``mini``: ``python benchmarks/decision_model.py --data DIR``.

Questions as an application asks them, of sets that no part was trained on: a Choice over four topics of news and one
over 18 kinds of request, a Noul over unsafe text and one over unsafe requests, a Score over five degrees of praise.
Half of the rows fit a calibration (``HeadgateDecisionModel.fitted``), the other half measures: accuracy before fitting
(of a Noul at 0.5) and after, beside the most frequent answer; the expected calibration error of the probability shown
and, of a Choice or Score, of the confidence. "rho" is Spearman's, of the mean level. Needs langchain-core 1.8.
"""

import argparse
import gzip
import json
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from langchain_core.decisions import Choice, Noul, NoulCriteria, Question, Score
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from langchain_headgate import HeadgateDecisionModel

BINS = 10
TOPICS = {
    "World": "international politics and conflicts",
    "Sports": "sports",
    "Business": "business, companies and markets",
    "Sci/Tech": "science and technology",
}
REQUESTS = {
    "alarm": "setting or checking an alarm",
    "audio": "volume and sound",
    "calendar": "calendar events and reminders",
    "cooking": "recipes and cooking",
    "datetime": "time and date",
    "email": "e-mail",
    "general": "small talk and remarks about the assistant",
    "iot": "smart home devices such as lights",
    "lists": "lists and notes",
    "music": "music preferences",
    "news": "news",
    "play": "playing music, radio, podcasts or audiobooks",
    "qa": "facts, definitions, currency and maths questions",
    "recommendation": "recommendations of places, films and events",
    "social": "social media posts",
    "takeaway": "ordering food",
    "transport": "trains, taxis, traffic and directions",
    "weather": "weather",
}
PRAISE = ["very negative", "negative", "neutral", "positive", "very positive"]
UNSAFE = NoulCriteria(true="sexual, hateful, violent or harassing content", false="harmless content")
HARM = NoulCriteria(
    true="The user asks for help with something harmful or illegal.", false="The user asks for something harmless."
)


class Task(NamedTuple):
    """A question, and the rows it is asked of."""

    name: str
    question: Question
    texts: list[str]
    truths: list[Any]


def tasks(data: Path, n: int) -> list[Task]:
    """All of them, ``n`` rows each."""

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(data / name / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
            found = [json.loads(line) for line in lines]
        random.Random(0).shuffle(found)
        return found[:n]

    def task(name: str, question: Question, source: list[dict[str, Any]], truths: list[Any]) -> Task:
        return Task(name, question, [row["text"] for row in source], truths)

    news, spoken, moderated, asked, films = map(rows, ("ag_news", "slurp", "openai_moderation", "xstest", "sst5"))
    flagged, unsafe = [r["flagged"] for r in moderated], [r["label"] != "safe" for r in asked]
    return [
        task("topic (4)", Choice(instructions="Topic?", criteria=TOPICS), news, [r["label"] for r in news]),
        task("request (18)", Choice(instructions="Which?", criteria=REQUESTS), spoken, [r["scenario"] for r in spoken]),
        task("unsafe text", Noul(instructions="Unsafe?", criteria=UNSAFE), moderated, flagged),
        task("unsafe request", Noul(instructions="Unsafe?", criteria=HARM), asked, unsafe),
        task("praise (5)", Score(instructions="?", criteria=PRAISE), films, [PRAISE.index(r["label"]) for r in films]),
    ]


def ece(p: NDArray[np.float64], true: NDArray[np.bool_]) -> float:
    """Expected calibration error over bins of equal width."""
    at = np.minimum((p * BINS).astype(int), BINS - 1)
    return float(sum(abs(p[at == b].mean() - true[at == b].mean()) * (at == b).mean() for b in np.unique(at)))


def ranks(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each value, ties in the middle."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def measured(model: HeadgateDecisionModel, task: Task, rows: slice) -> tuple[float, float, float | None, float | None]:
    """Accuracy, ECE of the probability and of the confidence, and the rank correlation of a Score."""
    texts, truths = task.texts[rows], task.truths[rows]
    found = model.batch([{"state": text, "questions": {"q": task.question}} for text in texts])
    if isinstance(task.question, Noul):
        p = np.array([r.nouls["q"].noul for r in found])
        right = np.array(truths, dtype=bool)
        return float(((p >= 0.5) == right).mean()), ece(p, right), None, None
    answers = [r.answers["q"] for r in found]
    best = [max(a.probabilities, key=a.probabilities.__getitem__) for a in answers]
    right = np.array([b == t for b, t in zip(best, truths, strict=True)])
    p = np.array([max(a.probabilities.values()) for a in answers])
    sure = np.array([a.confidence for a in answers])
    rho = None
    if isinstance(task.question, Score):
        means = np.array([r.scores["q"].score for r in found])
        rho = float(np.corrcoef(ranks(means), ranks(np.array(truths, dtype=float)))[0, 1])
    return float(right.mean()), ece(p, right), ece(sure, right), rho


def main() -> None:
    """Measure every task with every part."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--models", nargs="+", default=["mini/gliclass"])
    given = parser.parse_args()
    columns = (
        "model",
        "question",
        "n",
        "majority",
        "accuracy",
        "fitted",
        "ECE",
        "fitted",
        "ECE conf.",
        "fitted",
        "rho",
    )
    table = Table(*columns, title=f"half of {given.rows} rows fit, half measure")
    for name in given.models:
        for task in tasks(given.data, given.rows):
            half = len(task.texts) // 2
            model = HeadgateDecisionModel(model=name)
            fitted = model.fitted({"q": task.question}, task.texts[:half], {"q": task.truths[:half]})
            rest = slice(half, None)
            before, after = measured(model, task, rest), measured(fitted, task, rest)
            _, counts = np.unique([str(t) for t in task.truths[rest]], return_counts=True)
            pairs = [x for one, other in zip(before[:3], after[:3], strict=True) for x in (one, other)]
            shown = ["" if x is None else f"{x:.3f}" for x in [counts.max() / counts.sum(), *pairs, before[3]]]
            table.add_row(name, task.name, str(counts.sum()), *shown)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
