"""What the hosts' own ways to call cost: ``python benchmarks/hosts.py``.

Two questions. How many forwards does ``Runnable.batch`` of 64 inputs take, beside the core's one call with all of them?
And how long does the event loop stand still while 64 callers await a reranker at once, over and over: the longest wait
of a task that wants to run every millisecond, beside the same task on an idle loop, and beside a compressor that
leaves async to LangChain's default (an executor of few threads, each running the model by itself)?
"""

import argparse
import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import median
from unittest.mock import patch

import numpy as np
from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from rich.console import Console
from rich.table import Table

from headgate import Reranker, Router, load
from headgate.runtime.torch_forward import TorchForward
from langchain_headgate import HeadgateReranker, HeadgateRouter

WORDS = ("hub", "password", "refund", "invoice", "paid", "twice", "when", "will", "my", "second", "parcel", "arrive")
ROUTES = {"billing": "invoices and payments", "delivery": "delivery of parcels", "device": "how to use the hub"}


def texts(number: int, seed: int = 0) -> list[str]:
    """Texts of 4 to 120 words, log-normal."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(3, 0.7, number), 4, 120).astype(int)
    return [" ".join(rng.choice(WORDS, n)) for n in lengths]


def forwards(call: Callable[[], object]) -> int:
    """Batches that went through a model."""
    begun = TorchForward._begin
    with patch.object(TorchForward, "_begin", autospec=True, side_effect=begun) as counted:
        call()
    return counted.call_count


class Default(BaseDocumentCompressor):
    """A compressor as most are written: the sync method alone."""

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Best first."""
        hits = RERANK(query, [d.page_content for d in documents])
        return [documents[hit.index] for hit in hits]


RERANK = Reranker(load("mini/rank"))


async def stalls(call: Callable[[int], Awaitable[object]], callers: int, seconds: float) -> tuple[list[float], int]:
    """Milliseconds that a task which sleeps for one was late each time, and calls answered."""
    late: list[float] = []
    over = time.perf_counter() + seconds
    answered = 0

    async def tick() -> None:
        while time.perf_counter() < over:
            start = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - start - 0.001) * 1e3)

    async def ask(caller: int) -> None:
        nonlocal answered
        while time.perf_counter() < over:
            await call(caller)
            answered += 1

    await asyncio.gather(tick(), *(ask(n) for n in range(callers)))
    return late, answered


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--documents", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    console = Console(width=110)
    asked = texts(64)
    table = Table("forwards of 64 texts", "one call of the core", "batch", "abatch", "64 invokes")
    for part in ("mini/route", "mini/nli"):
        route, core = HeadgateRouter(model=part, routes=ROUTES, fallback="none"), Router(load(part), ROUTES)
        route.batch(asked[:1])
        table.add_row(
            part,
            str(forwards(lambda core=core: core.many(asked))),
            str(forwards(lambda route=route: route.batch(asked))),
            str(forwards(lambda route=route: asyncio.run(route.abatch(asked)))),
            str(forwards(lambda route=route: [route.invoke(text) for text in asked])),
        )
    console.print(table)
    documents = [Document(text) for text in texts(given.documents, 1)]
    ours, default = HeadgateReranker(), Default()
    ours.compress_documents(documents, "when will it arrive?")
    gc.collect()
    gc.freeze()  # as a server does once it has loaded: a full collection of what torch imports takes 0.4 s here
    ways: dict[str, Callable[[int], Awaitable[object]]] = {
        "an idle loop": lambda n: asyncio.sleep(0.1),
        "HeadgateReranker": lambda n: ours.acompress_documents(documents, f"when will parcel {n} arrive?"),
        "sync method alone": lambda n: default.acompress_documents(documents, f"when will parcel {n} arrive?"),
    }
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(given.rounds):  # in turns
        for name, call in ways.items():
            late, answered = asyncio.run(stalls(call, given.callers, given.seconds))
            found[name].append((max(late), float(np.quantile(late, 0.99)), answered / given.seconds))
    table = Table(
        f"{given.callers} callers, {given.documents} documents", "longest stall ms", "p99 ms", "calls a second"
    )
    for name, rounds in found.items():
        table.add_row(name, *(f"{median(r[i] for r in rounds):.1f}" for i in range(3)))
    console.print(table)


if __name__ == "__main__":
    main()
