"""What labelling a large corpus takes: ``python benchmarks/label.py``; with ``--ray`` (headgate-ray) also on replicas.

Passages of common words, log-normal in length, go through a guard, a router of eight, and a reranker with one query;
one thread a replica, so that replicas add up as machines do. The rate counts from when every replica had a part done;
starting Ray and loading models stands beside it, and is paid once. What 100 million passages take is then arithmetic,
with a price that you state; no such run was made.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported; Ray gives its actors as many as CPUs

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from headgate import Guard, Reranker, Router, load
from headgate.guard import brought
from headgate.label import Here, Job, Part, Reads, Settings, Task, begun, in_turn, runner, stage
from headgate.label.writing import as_lines

MANY = 100_000_000
ROUTES = ("billing", "refund", "delivery", "password reset", "a broken device", "cancellation", "praise", "small talk")
WORDS = "the of and to in is for hub password refund invoice paid twice when will second parcel arrive water pump"


def corpus(path: Path, rows: int, seed: int) -> float:
    """Passages of 8 to 250 words, 60 in the middle, as JSON lines; their mean number of words."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(np.log(60), 0.6, rows), 8, 250).astype(int)
    as_lines([{"id": i, "text": " ".join(rng.choice(WORDS.split(), n))} for i, n in enumerate(lengths)], [], {}, path)
    return float(lengths.mean())


def tasks(dtype: str) -> dict[str, Task]:
    """What is measured, by name."""
    guard = load("mini/guard", device="cpu", dtype=dtype)
    return {
        "guard": Guard(guard, brought(guard, "mini/guard")),
        "route": Router(load("mini/route", device="cpu", dtype=dtype), ROUTES),
        "rerank": Reranker(load("mini/rerank", device="cpu", dtype=dtype)),
    }


def timed(job: Job, done: Iterator[Part], replicas: int) -> tuple[float, float]:
    """(seconds before all replicas had a part done, rows a second from then on)."""
    begun_at, at, rows = perf_counter(), [], []
    for part in done:
        at.append(perf_counter() - begun_at)
        rows.append(part.rows)
    return at[replicas - 1], sum(rows[replicas:]) / (at[-1] - at[replicas - 1])


def measured(
    task: Task, source: Path, folder: Path, replicas: Sequence[int], part_rows: int
) -> list[tuple[float, float]]:
    """Of this process, and of each number of replicas on Ray."""
    reads = Reads(query=None if not isinstance(task, Reranker) else "when will my parcel arrive")
    found = []
    for n in (0, *replicas):
        job = begun({"t": task}, [source], folder / f"{type(task).__name__}{n}", Settings(reads, part_rows))
        here = Here([stage(task, "t", reads)], "cpu", {"concurrency": str(n), "num_cpus": "1"} if n else None)
        run = runner("ray") if n else in_turn
        found.append(timed(job, run(job, job.missing(), here), max(n, 1)))
    return found


def main() -> None:
    """Measure, and count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rows", type=int, default=2400)
    parser.add_argument("--part-rows", type=int, default=100)
    parser.add_argument("--ray", action="store_true", help="also with 1 and 2 replicas")
    parser.add_argument("--task", choices=("guard", "route", "rerank"), action="append", help="some of them")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--price", type=float, default=0.04, help="dollars that a replica costs an hour")
    given = parser.parse_args()
    torch.set_num_threads(1)
    replicas = (1, 2) if given.ray else ()
    table = Table("task", "replicas", "start s", "rows/s", "a replica", f"{MANY:,} rows: replica hours", "$")
    with TemporaryDirectory() as folder:
        source = Path(folder) / "corpus.jsonl"
        words = corpus(source, given.rows, seed=0)
        every = tasks(given.dtype)
        for name, task in ((name, every[name]) for name in given.task or every):
            found = measured(task, source, Path(folder), replicas, given.part_rows)
            for n, (start, rate) in zip((0, *replicas), found, strict=True):
                each = rate / max(n, 1)
                hours = MANY / each / 3600
                cells = (f"{start:.1f}", f"{rate:.0f}", f"{each:.0f}", f"{hours:,.0f}", f"{hours * given.price:,.0f}")
                table.add_row(name, str(n) if n else "(no Ray)", *cells)
    title = f"{given.rows} passages of {words:.0f} words in the mean, {given.dtype}, 1 thread each, CPU; "
    Console(width=110).print(title + f"${given.price} a replica and hour", table)


if __name__ == "__main__":
    main()
