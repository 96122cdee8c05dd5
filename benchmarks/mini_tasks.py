"""What the tasks of ``mini`` cost one another: ``python benchmarks/mini_tasks.py --data DIR RUN...``.

Each RUN is a folder of ``python -m headgate.train.mini --only TASK... --out RUN``, or one of its checkpoints; each is
measured on dev rows, as if its layers served all that can be taught, MaxSim + cosine over nq_passages among it. "base"
is the base before the first step.
"""

import argparse
import logging
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from headgate import Guard, Reranker, evaluate
from headgate.train.mini.export import LABELS, PAIRS, TEXT, export, load_checkpoint
from headgate.train.mini.heldout import Parts, candidates
from headgate.train.mini.labels import spoken
from headgate.train.mini.model import BASE, Mini, Text, base_folder, base_tokenizer


def nli(parts: Parts) -> float:
    """Accuracy on pairs."""
    rows = parts.rows("mnli", "dev", 1000, shuffled=True)
    return evaluate.pairs(parts.load("nli"), rows, seed=0)["accuracy"]


def by_name(part: str, name: str, most: int) -> Callable[[Parts], float]:
    """Accuracy of the likeliest label by its name alone."""

    def ask(parts: Parts) -> float:
        rows = parts.rows(name, "dev", most, shuffled=True)
        labels = {label: spoken(label) for label in sorted({row["label"] for row in rows})}
        return evaluate.classify(parts.load(part), rows, labels=labels)["accuracy"]

    return ask


def guarded(name: str, rule: str, bad: Sequence[str]) -> Callable[[Parts], float]:
    """Recall at 1 % false positives."""

    def ask(parts: Parts) -> float:
        rows = [
            {"text": row["text"], "label": rule if row["label"] in bad else None}
            for row in parts.rows(name, "dev", 1000, shuffled=True)
        ]
        return evaluate.guard(Guard(parts.load("heads"), [rule]), rows)[f"{rule}: recall at 1 % false positives"]

    return ask


def ranked(parts: Parts) -> float:
    """nDCG@10 by MaxSim + cosine over the states."""
    queries = candidates(parts, "nq_passages", 60, split="dev", each=20)
    return evaluate.rerank(Reranker(parts.load("route")), queries)["nDCG@10"]


ASKED: dict[str, Callable[[Parts], float]] = {
    "mnli: accuracy": nli,
    "hwu64 by name": by_name("route", "hwu64", 400),
    "tweets by name": by_name("route", "tweet_eval_sentiment", 400),
    "tweets, gliclass": by_name("gliclass", "tweet_eval_sentiment", 400),
    "sexism: recall": guarded("edos_sexism", "sexism:sexist", ("sexist",)),
    "toxicity: recall": guarded("paradetox", "toxicity:toxic", ("toxic",)),
    "jailbreak: recall": guarded("jailbreak_prompts", "jailbreak:jailbreak", ("jailbreak",)),
    "nq: nDCG@10": ranked,
}


def main() -> None:
    """Measure each run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(given.threads)
    table = Table("run", *ASKED)
    for run in [None, *given.runs]:
        with tempfile.TemporaryDirectory() as scratch:
            model, text = load_checkpoint(run, given.base) if run else _untrained(given.base)
            export(dict.fromkeys((TEXT, PAIRS, LABELS), model), text, Path(scratch))
            parts = Parts(Path(scratch), given.data, dtype="bfloat16")
            table.add_row(str(run or "base"), *(f"{ask(parts):.3f}" for ask in ASKED.values()))
    Console(width=160).print(table)


def _untrained(base: str) -> tuple[Mini, Text]:
    folder = base_folder(base)
    text = Text(base_tokenizer(folder))
    return Mini(folder, text).eval(), text


if __name__ == "__main__":
    main()
