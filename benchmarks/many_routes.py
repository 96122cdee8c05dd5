"""10 to 10,000 routes: ``python benchmarks/many_routes.py --data DIR [--plot FILE]``.

DIR holds folders of labelled texts (clinc150, banking77, …: ``test.jsonl.gz`` with "text" and "label"). The routes are
their labels, then generated distractors. Four questions: how long a query takes, what of it goes where, how often the
true route is in the shortlist beside what was promised, and what the shortlist costs in accuracy.
"""

import argparse
import gzip
import itertools
import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from headgate import Router, Scorer, Shortlist, judge, load
from headgate.scores import Embedder, Floats

SIZES = (10, 100, 1_000, 10_000)
LOOKED_AT = (8, 32, 64)
SETS = ("clinc150", "banking77", "hwu64", "slurp", "mmlu_domain_routing", "20newsgroups", "snips")
VERBS = (
    "archive approve audit borrow calibrate check clean compare count decorate deliver describe dismantle donate "
    "draw export fold freeze grow hide import inspect label lend list map measure melt mend mix order pack paint "
    "photograph plant polish print record reject rename rent repair replace reserve return review scan sell "
    "sharpen ship sketch sort stack store tag teach test trace trade translate unpack wash weigh wrap "
)
KINDS = (
    "annual antique broken cheap damp digital early empty foreign frozen golden heavy hidden hourly idle large "
    "late local missing narrow old open outdated overdue painted portable quarterly rare red second shared silent "
    "small spare square stolen striped temporary torn unused upper urgent vacant wet white wooden yearly "
)
THINGS = (
    "anchor balcony barrel basket beehive boat bridge brochure bucket cabinet camera canoe carpet cello chart "
    "clay coat compass curtain diary drum engine exhibit fence flute forklift garden glacier goat greenhouse "
    "hammer harvest helmet herbarium kiln ladder lantern lathe ledger lens loom manuscript microscope mosaic "
    "mural nail orchard oven parade passport piano pillow plough pottery pump quilt rope saddle sculpture seed "
    "shelf stadium tapestry telescope tent tractor trophy trumpet tunnel turbine vase violin wagon warehouse "
    "wheel windmill "
)


def rows(data: Path, name: str, split: str = "test") -> list[tuple[str, str]]:
    """In-scope texts and their labels as words, shuffled."""
    with gzip.open(data / name / f"{split}.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    pairs = [(row["text"], spoken(row["label"])) for row in found if row["label"] not in (None, "oos")]
    return [pairs[i] for i in np.random.default_rng(0).permutation(len(pairs))]


def utterances(data: Path, name: str, labels: Collection[str], n: int) -> dict[str, list[str]]:
    """The first n train texts of each label."""
    found: dict[str, list[str]] = {label: [] for label in labels}
    for text, label in rows(data, name, "train") if n else []:
        if label in found and len(found[label]) < n:
            found[label].append(text)
    return found


def spoken(label: str) -> str:
    """A label's words."""
    return " ".join(label.replace("_", " ").replace(".", " ").replace("/", " ").split()).lower()


def vocabulary(data: Path) -> list[str]:
    """Real routes first, then distractors; each once."""
    real = [label for name in SETS if (data / name).is_dir() for label in sorted({y for _, y in rows(data, name)})]
    made = [f"{v} the {k} {t}" for v, k, t in itertools.product(VERBS.split(), KINDS.split(), THINGS.split())]
    order = np.random.default_rng(0).permutation(len(made))[: SIZES[-1]]
    return list(dict.fromkeys([*real, *(made[i] for i in order)]))[: SIZES[-1]]


class Once:
    """An embedder that remembers labels, which several shortlists have in common; texts are embedded each time."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Floats] = {}

    def embed(self, texts: Sequence[str], *, role: Literal["query", "document"]) -> Floats:
        """See :class:`headgate.Embedder`."""
        if role == "query":
            return self._embedder.embed(texts, role=role)
        new = [text for text in texts if text not in self._known]
        self._known.update(zip(new, self._embedder.embed(new, role=role) if new else [], strict=True))
        return np.stack([self._known[text] for text in texts])


def latency(exact: Scorer, embedder: Embedder, names: Sequence[str], texts: Sequence[str]) -> dict[int, list[float]]:
    """Milliseconds a query for each number of routes, sizes alternating."""
    routers = {m: Router(Shortlist(exact, embedder, names[:m]), names[:m]) for m in SIZES}
    found: dict[int, list[float]] = {m: [] for m in SIZES}
    for text in texts[:3]:
        for router in routers.values():
            router(text)
    for text in texts:
        for m, router in routers.items():
            found[m].append(1000 * seconds(lambda text=text, router=router: router(text)))  # type: ignore[misc]
    return found


def stages(exact: Scorer, embedder: Embedder, names: Sequence[str], texts: Sequence[str]) -> dict[str, float]:
    """Milliseconds of the parts of a query among all routes, medians."""
    shortlist = Shortlist(exact, embedder, names)
    router = Router(shortlist, names)
    found: dict[str, list[float]] = {}
    for text in texts:
        asks = router.ask([text])
        near = [names[j] for j in shortlist.nearest([text])[0]]
        scores = judge(shortlist, asks)
        parts: dict[str, Callable[[], object]] = {
            "embed the text": lambda text=text: embedder.embed([text], role="query"),  # type: ignore[misc]
            "embed and search": lambda text=text: shortlist.nearest([text]),  # type: ignore[misc]
            "score the shortlist": lambda text=text, near=near: exact.score([text], near),  # type: ignore[misc]
            "Router.ask": lambda text=text: router.ask([text]),  # type: ignore[misc]
            "judge, with all of the above": lambda asks=asks: judge(shortlist, asks),  # type: ignore[misc]
            "Router.decide": lambda scores=scores: router.decide(scores),  # type: ignore[misc]
        }
        for part, call in parts.items():
            found.setdefault(part, []).append(1000 * seconds(call))
    return {part: float(np.median(times)) for part, times in found.items()}


def recall(
    shortlist_of: Callable[[Sequence[str]], Shortlist], names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[list[str]]:
    """For each promise: the size, and the share of the other half's true routes that it holds."""
    first, second = pairs[: len(pairs) // 2], pairs[len(pairs) // 2 :]
    table = []
    made = {m: shortlist_of(names[:m]) for m in SIZES[1:]}
    for m, miss in itertools.product(SIZES[1:], (0.1, 0.05, 0.02)):
        shortlist = made[m]
        inside = [(t, y) for t, y in first if y in shortlist.labels]
        fitted = shortlist.fit([t for t, _ in inside], [y for _, y in inside], miss=miss, confidence=0.9)
        new = [(t, y) for t, y in second if y in shortlist.labels]
        near = fitted.nearest([t for t, _ in new])
        at = {name: j for j, name in enumerate(names)}
        held = np.mean([at[y] in places for (_, y), places in zip(new, near, strict=True)])
        table.append(
            [f"{m:,}", f"{1 - miss:.2f}", str(fitted.size), f"{len(inside):,}", f"{held:.4f}", f"{len(new):,}"]
        )
    return table


def accuracy(
    exact: Scorer, embedder: Embedder, names: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[list[str]]:
    """Accuracy of the best route, with shortlists of some sizes and without."""
    table = []
    for m in SIZES[1:]:
        inside = [(t, y) for t, y in pairs if y in names[:m]]
        cells, shortlist = [f"{m:,}", str(len(inside))], Shortlist(exact, embedder, names[:m])
        for size in [*LOOKED_AT, m]:
            scorer = shortlist.sized(size)
            best = judge(scorer, Router(scorer, names[:m]).ask([t for t, _ in inside]))[0].log_odds.argmax(axis=1)
            cells.append(f"{np.mean([names[j] == y for j, (_, y) in zip(best, inside, strict=True)]):.3f}")
        table.append(cells)
    return table


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def plot(times: dict[int, list[float]], path: Path) -> None:
    """Median and middle half of the latencies."""
    import matplotlib.pyplot as plt

    low, mid, high = (np.array([np.percentile(t, p) for t in times.values()]) for p in (25, 50, 75))
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    axes.errorbar(list(times), mid, yerr=[mid - low, high - mid], marker="o", capsize=3)
    axes.set(xscale="log", ylim=(0, None), xlabel="routes", ylabel="ms a query", title="A shortlist of 32, one thread")
    figure.savefig(path, dpi=150)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", default="clinc150", help="whose test rows are asked")
    parser.add_argument("--exact", default="mini/route")
    parser.add_argument("--queries", type=int, default=60, help="for latency; 0 leaves it out")
    parser.add_argument("--rows", type=int, default=2000, help="of which half choose sizes and half measure recall")
    parser.add_argument("--scored", type=int, default=200, help="rows for accuracy; 0 leaves it out")
    parser.add_argument("--examples", type=int, nargs="*", default=[0, 5], help="utterances a route, for recall")
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


def main() -> None:
    """Print all tables."""
    given = arguments()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    exact, embedder = load(given.exact), Once(load("mini/embed"))
    names, pairs = vocabulary(given.data), rows(given.data, given.texts)[: given.rows]
    real = {y for _, y in pairs}
    names = [*sorted(real), *(n for n in names if n not in real)][: SIZES[-1]]
    show = Console(width=120).print
    if given.queries:
        times = latency(exact, embedder, names, [t for t, _ in pairs[: given.queries]])
        show(_latencies(times, f"{given.exact}, {given.queries} queries, one thread"))
        if given.plot:
            plot(times, given.plot)
        parts = stages(exact, embedder, names, [t for t, _ in pairs[: 1 + given.queries // 3]])
        show(_table("", ("of a query among 10,000", "p50 ms"), [[part, f"{ms:.2f}"] for part, ms in parts.items()]))
    columns = ("routes", "promised", "size", "texts", "attained", "new texts")
    for n in given.examples:
        said = utterances(given.data, given.texts, real, n)
        found = recall(lambda some, said=said: _with(exact, embedder, some, said), names, pairs)  # type: ignore[misc]
        show(_table(f"recall, {given.texts}, {n} utterances for each of its routes", columns, found))
    columns = ("routes", "texts", *(f"shortlist {s}" for s in LOOKED_AT), "all")
    if given.scored:
        found = accuracy(exact, embedder, names, pairs[: given.scored])
        show(_table(f"accuracy of the best route, {given.texts}", columns, found))


def _with(exact: Scorer, embedder: Embedder, names: Sequence[str], said: dict[str, list[str]]) -> Shortlist:
    return Shortlist(exact, embedder, names, {name: said[name] for name in names if said.get(name)})


def _latencies(times: dict[int, list[float]], title: str) -> Table:
    base = np.median(times[100])
    rows = [
        [f"{m:,}", *(f"{np.percentile(t, p):.1f}" for p in (50, 90)), f"{np.median(t) / base:.2f}"]
        for m, t in times.items()
    ]
    return _table(title, ("routes", "p50 ms", "p90 ms", "to 100"), rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    main()
