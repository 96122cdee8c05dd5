"""How long one query waits: ``python benchmarks/latency.py``, and ``--device cuda`` on a GPU.

A router of eight labels (``mini/nli``: eight rows a call) and a guard (``mini/guard``: heads in one row), one text a
call, as an application asks them. Ours stand beside the same scorers on transformers' own modules, on CUDA also
compiled with ``mode="reduce-overhead"``, which replays CUDA graphs. They take turns call by call; texts differ in
length, and every one is asked once before the clock runs.
"""

import argparse
from collections.abc import Callable, Mapping
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from headgate import Guard, Router, load
from headgate.families.base import Family
from headgate.runtime.torch_forward import TorchForward

LABELS = ("billing", "refund", "delivery", "password reset", "a broken device", "cancellation", "praise", "small talk")
TEXTS = (
    "where is my parcel",
    "I was charged twice for one month, and nobody answers my messages",
    "hello",
    "the hub lost its password again and the pump will not start; I have reset it three times as the manual says",
)
Task = Callable[[str], object]


def routed(scorer: Family) -> Task:
    """A router of eight."""
    return Router(scorer, list(LABELS))


def guarded(scorer: Family) -> Task:
    """A guard by two heads."""
    return Guard(scorer, ["injection", "toxic"])


TASKS: Mapping[str, tuple[str, Callable[[Family], Task]]] = {
    "router of 8": ("mini/nli", routed),
    "guard": ("mini/guard", guarded),
}


def compiled(scorer: Family) -> Family:
    """The same scorer, its model compiled into CUDA graphs."""
    forward = scorer._core.forward
    assert isinstance(forward, TorchForward)
    assert forward._module is not None
    whole = torch.compile(forward._module, mode="reduce-overhead")
    return scorer._through(TorchForward(whole, torch.device("cuda"), pad=forward._pad))


def candidates(name: str, device: str) -> dict[str, Family]:
    """Whose turn it is, by name; the last ones are transformers' own."""
    ours = {"headgate, exact": load(name, device=device, exact=True), "headgate, auto": load(name, device=device)}
    theirs = load(name, device=device, backend="transformers", dtype="float32")
    found = {**ours, "transformers, float32": theirs}
    if device.startswith("cuda"):
        half = load(name, device=device, backend="transformers", dtype="bfloat16")
        found |= {"transformers, bfloat16": half, "transformers, bfloat16, compiled": compiled(half)}
    return found


def seconds(tasks: Mapping[str, Task], calls: int) -> dict[str, list[float]]:
    """Of every call, in turns."""
    found: dict[str, list[float]] = {name: [] for name in tasks}
    for text in TEXTS * 3:
        for task in tasks.values():
            task(text)
    for i in range(calls):
        for name, task in tasks.items():
            begun = perf_counter()
            task(TEXTS[i % len(TEXTS)])
            found[name].append(perf_counter() - begun)
    return found


def main() -> None:
    """Time both tasks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1")
    parser.add_argument("--calls", type=int, default=200)
    given = parser.parse_args()
    table = Table("task", "who", "p50 ms", "p95 ms", "times headgate, exact")
    for title, (name, task) in TASKS.items():
        spent = seconds({who: task(s) for who, s in candidates(name, given.device).items()}, given.calls)
        least = float(np.median(spent["headgate, exact"]))
        for who, times in spent.items():
            middle, most = np.quantile(times, (0.5, 0.95))
            table.add_row(title, who, f"{1e3 * middle:.1f}", f"{1e3 * most:.1f}", f"{middle / least:.2f}")
    threads = torch.get_num_threads()
    Console(width=110).print(f"{given.calls} calls on {given.device}, {threads} threads", table)


if __name__ == "__main__":
    main()
