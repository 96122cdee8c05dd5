"""Many callers of one scorer, each with a text of its own: ``python benchmarks/concurrency.py``.

The offline rate is that of one call with all texts. Beside it threads that call at once, as a server's do, with the
scorer as it is, and with one whose callers share batches (``scorer.shared()``); each thread asks again and again, so
that the number of threads is the number of requests under way. The three take turns in one run; the ratio is what to
read.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from headgate import load
from headgate.families.base import Family

WORDS = ("hub", "password", "refund", "invoice", "paid", "twice", "when", "will", "my", "second", "parcel", "arrive")
LABEL = "a question about delivery"


def texts(number: int) -> list[str]:
    """Texts of 4 to 120 words, log-normal, as chat messages and passages are."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3, 0.7, number), 4, 120).astype(int)
    return [" ".join(rng.choice(WORDS, n)) for n in lengths]


def offline(scorer: Family, asked: list[str]) -> list[float]:
    """One call with all texts; seconds."""
    start = perf_counter()
    scorer.score(asked, [LABEL])
    return [perf_counter() - start]


def at_once(scorer: Family, asked: list[str], threads: int) -> list[float]:
    """Seconds that each of the calls took, from as many threads."""

    def one(text: str) -> float:
        start = perf_counter()
        scorer.score([text], [LABEL])
        return perf_counter() - start

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(one, asked))


def main() -> None:
    """Time all three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scorer", default="mini/nli")
    parser.add_argument("--texts", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    scorer, asked = load(given.scorer), texts(given.texts)
    shared = scorer.shared()
    ways: dict[str, Callable[[], list[float]]] = {
        "one call": lambda: offline(scorer, asked),
        f"{given.threads} threads": lambda: at_once(scorer, asked, given.threads),
        f"{given.threads} threads, shared": lambda: at_once(shared, asked, given.threads),
        "1 thread": lambda: at_once(scorer, asked[:64], 1),
        "1 thread, shared": lambda: at_once(shared, asked[:64], 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    calls: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            start = perf_counter()
            calls[name] += way()
            seconds[name].append(perf_counter() - start)
    rates = {name: (64 if name.startswith("1 ") else len(asked)) / median(some) for name, some in seconds.items()}
    table = Table("callers", "texts a second", "share of one call", "median ms a call", "95 %")
    for name, rate in rates.items():
        middle, most = (f"{1000 * np.quantile(calls[name], q):.1f}" for q in (0.5, 0.95))
        own = name == "one call"
        table.add_row(
            name, f"{rate:.0f}", f"{rate / rates['one call']:.2f}", "" if own else middle, "" if own else most
        )
    Console().print(table)


if __name__ == "__main__":
    main()
