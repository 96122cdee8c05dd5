"""A panel beside its tasks one by one: ``python benchmarks/panel.py``.

Both answer the same texts in turns in one run, one text a call and many texts in one, new ones in every call; a ratio
is how many times as long one by one takes, by the medians. Rows and tokens, of a call, are those that went through a
model. The last two mixes rank and guard documents, beside a reranker and a guard.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from headgate import Guard, GuardedReranker, Panel, Reader, Reranker, Router, load
from headgate.families.base import Family
from headgate.panel import Task
from headgate.runtime.batching import Work

WANTED = 2.5
WORDS = ("hub", "password", "refund", "invoice", "paid", "twice", "when", "will", "my", "second", "parcel", "arrive")
ROUTES = ["billing", "delivery", "an account", "returns", "small talk"]
RULES = ["toxicity:toxic", "injection:injection", "jailbreak:jailbreak", "harmful:harmful"]
MOODS = ["sentiment:positive", "sentiment:negative", "sentiment:neutral"]
INTENTS = ["intent:greeting", "intent:gratitude", "intent:other"]


def texts(number: int) -> list[str]:
    """Texts of 4 to 120 words, log-normal, as chat messages and passages are."""
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(3, 0.7, number), 4, 120).astype(int)
    return [" ".join(rng.choice(WORDS, n)) for n in lengths]


@dataclass
class Parts:
    """Parts of mini, each loaded once.

    Args:
        exact: In float32.
    """

    exact: bool
    loaded: dict[str, Family] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Family:
        return self.loaded.setdefault(name, load(f"mini/{name}", exact=self.exact, device="cpu"))

    def work(self) -> Work:
        """What they have run so far, together."""
        return sum((scorer.work for scorer in self.loaded.values()), Work())


def mixes(parts: Parts) -> dict[str, dict[str, Task]]:
    """Panels, by what is on them."""
    heads, route, embed, nli, gliclass = (parts[p] for p in ("heads", "route", "embed", "nli", "gliclass"))
    guards: dict[str, Task] = {rule: Guard(heads, [rule]) for rule in RULES}
    on_heads = {**guards, "intent": Router(heads, INTENTS), "mood": Reader(heads, MOODS)}
    threats = ["a threat", "an insult"]
    return {
        "4 guards, router, heads: one scorer": on_heads,
        "guard, router: one scorer": {"guard": Guard(heads, RULES), "intent": Router(heads, INTENTS)},
        "guard on heads, router by meaning": {"guard": Guard(heads, RULES), "route": Router(route, ROUTES)},
        "the same, labels cached": {"guard": Guard(heads, RULES), "route": Router(route.cached(), ROUTES)},
        "6 on heads, router by meaning, labels cached": {**on_heads, "route": Router(route.cached(), ROUTES)},
        "6 on heads, router, embeddings": {**on_heads, "a": Router(route, ROUTES), "b": Router(embed, ROUTES)},
        "NLI guard, NLI router": {"guard": Guard(nli, threats, threshold=0.9), "route": Router(nli, ROUTES)},
        "GLiClass guard, GLiClass router": {
            "guard": Guard(gliclass, threats, threshold=0.9),
            "route": Router(gliclass, ROUTES),
        },
        "guard on heads, NLI router": {"guard": Guard(heads, RULES), "route": Router(nli, ROUTES)},
    }


Ask = Callable[[Sequence[str]], object]


def panels(alone: Mapping[str, Task], together: Mapping[str, Task]) -> tuple[Ask, Ask]:
    """One by one, and together: the same tasks twice, so that neither finds what the other has left in a cache."""
    return (lambda asked: [task.many(asked) for task in alone.values()]), Panel(together).many  # type: ignore[attr-defined]


def retrieval(ranker: Family, guard: Guard) -> tuple[Ask, Ask]:
    """A reranker and a guard, and both in one plan."""
    query = "when will my second parcel arrive"
    alone, both = Reranker(ranker), GuardedReranker(Reranker(ranker), guard)
    return (lambda asked: (alone(query, asked), guard.many(asked))), partial(both, query)


def timed(ways: Sequence[Ask], calls: Sequence[Sequence[str]], parts: Parts) -> tuple[list[list[float]], list[Work]]:
    """Seconds of each call, and the work of all, for both ways in turns."""
    seconds: list[list[float]] = [[] for _ in ways]
    works = [Work() for _ in ways]
    for call in calls:
        for k, way in enumerate(ways):
            before, begun = parts.work(), perf_counter()
            way(call)
            seconds[k].append(perf_counter() - begun)
            works[k] += parts.work() - before
    return seconds, works


def main() -> None:
    """Time every mix."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=6, help="calls with so many texts; the first asks one at a time")
    parser.add_argument("--exact", action="store_true", help="float32, whatever is faster")
    parser.add_argument("--only", nargs="*", help="mixes whose name holds one of these words")
    given = parser.parse_args()
    parts, asked = Parts(given.exact), texts(2 + given.texts * given.rounds)
    warm, asked = asked[:2], asked[2:]
    many = [asked[i * given.texts : (i + 1) * given.texts] for i in range(given.rounds)]
    twice = mixes(parts), mixes(parts)
    ways = {name: panels(*(mix[name] for mix in twice)) for name in twice[0]}
    ways["reranker and guard on one encoder"] = retrieval(parts["route"], Guard(parts["heads"], RULES))
    ways["reranker and guard on two"] = retrieval(parts["rank"], Guard(parts["heads"], RULES))
    table = Table("mix", "texts a call", "one by one, ms", "together, ms", "ratio", "rows", "tokens")
    for name, way in ways.items():
        if given.only and not any(word in name for word in given.only):
            continue
        for calls in ([[text] for text in many[0]], many[1:]):
            timed(way, [warm], parts)
            (slow, fast), works = timed(way, calls, parts)
            rows, tokens = (
                " : ".join(str(getattr(w, part) // len(calls)) for w in works) for part in ("rows", "tokens")
            )
            ms = [f"{1000 * median(s):.1f}" for s in (slow, fast)]
            table.add_row(name, str(len(calls[0])), *ms, f"{median(slow) / median(fast):.2f}", rows, tokens)
    Console(width=150).print(table)
    print(f"wanted of the first: {WANTED}")


if __name__ == "__main__":
    main()
