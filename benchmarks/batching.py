"""How much the batch plan is worth, beside the plans that others use: ``python benchmarks/batching.py``.

Same model, same rows, same process; only the plan differs. Seconds are the best of three, and the
ratios are what to read: a machine's seconds are its own. Random weights of MiniLM's shape, since
speed doesn't depend on them, and 100 pairs whose lengths are log-normal, as retrieved passages' are.
"""

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from transformers import BertConfig, BertForSequenceClassification

from headgate.models.calls import class_logits
from headgate.runtime.batching import Row
from headgate.runtime.torch_forward import TorchForward

Plan = Callable[[list[int]], list[list[int]]]


def chunks(order: list[int], size: int) -> list[list[int]]:
    """Neighbours in batches of ``size``."""
    return [order[i : i + size] for i in range(0, len(order), size)]


PLANS: dict[str, Plan] = {
    "one batch of all (FlashRank)": lambda n: [list(range(len(n)))],
    "as they come, 32 (rerankers, fastembed)": lambda n: chunks(list(range(len(n))), 32),
    "sorted, 32 (sentence-transformers)": lambda n: chunks(sorted(range(len(n)), key=lambda i: -n[i]), 32),
    "one by one": lambda n: [[i] for i in range(len(n))],
}


def main() -> None:
    """Time every plan."""
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    model = class_logits(BertForSequenceClassification(BertConfig(**shape)).eval())
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4.9, 0.6, 100), 12, 512).astype(int).tolist()
    rows = [Row(rng.integers(1000, 30_000, n).astype(np.int32)) for n in lengths]
    ours = TorchForward(model, torch.device("cpu"), pad=0)
    whole = TorchForward(model, torch.device("cpu"), pad=0, max_tokens=10**9)

    def timed(run: Callable[[], object]) -> float:
        seconds = []
        for _ in range(3):
            start = perf_counter()
            run()
            seconds.append(perf_counter() - start)
        return min(seconds)

    def by(plan: Plan) -> Callable[[], object]:
        return lambda: [whole([rows[i] for i in batch]) for batch in plan(lengths)]

    base = timed(lambda: ours(rows))
    table = Table("plan", "seconds", "times ours", title=f"100 rows, {sum(lengths)} tokens, longest {max(lengths)}")
    table.add_row("headgate: token budget", f"{base:.2f}", "1.0")
    for name, plan in PLANS.items():
        seconds = timed(by(plan))
        table.add_row(name, f"{seconds:.2f}", f"{seconds / base:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
