"""What documents, labels and length cost: ``python benchmarks/cost.py``, a plot in build/cost.png and build/cost.svg.

Seconds of one call, the median of up to three, for texts of mixed lengths; nothing is extrapolated. A curve ends where
its next point would take longer than ``--limit`` seconds, and all of them where ``--total`` is over; what was left out
is said below the plot. MiniLM-L6 is a cross-encoder of that shape with random weights, which sentence-transformers
reads too. Texts longer than the model are read in windows; sentence-transformers would cut them: no curve there.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from textwrap import wrap
from time import perf_counter
from typing import Any

import numpy as np
import shapes
import torch
from rich.console import Console

from headgate import load
from headgate.bench.measure import Candidate, Turns
from headgate.bench.peers import NotHere, Subject, sentence_transformers
from headgate.bench.report import MODES, ours_as
from headgate.bench.workloads import Size, Words, lengths
from headgate.evaluate.metrics import extra
from headgate.evaluate.plots import SERIES, style
from headgate.families.base import Family
from headgate.loading import open_checkpoint
from headgate.runtime.device import resolve_device

MINILM, RANK, NLI, ROUTE, GLICLASS = "MiniLM-L6", "mini/rank", "mini/nli", "mini/route", "mini/gliclass"
PEER = "sentence-transformers"
DOCUMENTS = (10, 30, 100, 300, 1000, 3000, 10_000)
LABELS = (1, 3, 10, 30, 100, 300, 1000)
LENGTHS = tuple(2**k for k in range(5, 14))
TEXTS = 8
"""Of the panels whose documents don't grow."""
REPEAT = 3


@dataclass(frozen=True)
class Point:
    """Seconds of a call."""

    x: int
    seconds: float


@dataclass(frozen=True)
class Panel:
    """One plot: what grows, and how long each one takes.

    Attributes:
        x: Words below the axis.
        title: What stays the same.
        curves: Who -> points.
        notes: What was left out.
    """

    x: str
    title: str
    curves: dict[str, list[Point]]
    notes: list[str]


class Clock:
    """Which points are still worth measuring.

    Args:
        limit: Seconds of a point.
        total: Seconds of them all.
    """

    def __init__(self, limit: float, total: float) -> None:
        self.limit, self._end = limit, perf_counter() + total

    def refuses(self, points: Sequence[Point], x: int) -> str:
        """Why the next point is left out, as those before it say; "" if it isn't."""
        power = 0.0  # a second point is tried, as labels may cost nearly nothing
        if len(points) > 1:
            before, last = points[-2:]
            power = float(np.log(last.seconds / before.seconds) / np.log(last.x / before.x))
        expected = points[-1].seconds * (x / points[-1].x) ** min(max(power, 0.0), 2.0) if points else 0.0
        if expected > self.limit:
            return f"over {self.limit:g} s expected"
        return "no time left" if perf_counter() + expected > self._end else ""


def panel(
    words: tuple[str, str], grid: Sequence[int], names: Sequence[str],
    at: Callable[[str, int], Candidate], texts: Callable[[int], Sequence[str]], clock: Clock,
) -> Panel:  # fmt: skip
    """Measure every curve at every point, those of a point in turns.

    Args:
        words: Below the axis, and above the panel.
        grid: Of x.
        names: Of the curves.
        at: Name and x to who does it.
        texts: x to texts.
        clock: Leaves points out.
    """
    curves: dict[str, list[Point]] = {name: [] for name in names}
    notes, alive = [], list(names)
    for x in grid:
        for name in list(alive):
            why = clock.refuses(curves[name], x)
            if why:
                notes.append(f"{name} from {x:,} {words[0]} on: {why}")
                alive.remove(name)
        if alive:
            turns = Turns([at(name, x) for name in alive], torch.device("cpu"))
            for name, found in zip(alive, turns.run(texts(x), repeat=REPEAT, limit=clock.limit), strict=True):
                curves[name].append(Point(x, found.median))
    return Panel(*words, curves, notes)


def panels(
    scorers: Mapping[str, Family], peer: Candidate | None, query: str, words: Words, clock: Clock
) -> list[Panel]:
    """Documents, labels, length."""
    rng = np.random.default_rng(0)
    names = words.texts([3] * max(LABELS))
    drawn = lengths(max(DOCUMENTS), Size(), longest=240, rng=rng)
    mixed, mean = words.texts(drawn), f"of {np.mean(drawn):.0f} tokens on average"
    long = {n: words.texts([n] * TEXTS) for n in LENGTHS}

    def asked(count: int) -> Callable[[str, int], Candidate]:
        """Who answers for so many labels; 0 for as many as x."""
        return lambda name, x: ours_as(name, scorers[name], [query] if count else names[:x])

    def reranks(name: str, x: int) -> Candidate:
        return peer if name == PEER and peer is not None else asked(1)(name, x)

    ranked = [MINILM, *([PEER] if peer is not None else []), RANK]
    return [
        panel(("documents", f"one query, texts {mean}"), DOCUMENTS, ranked, reranks, lambda x: mixed[:x], clock),
        panel(("labels", f"{TEXTS} texts {mean}"), LABELS, [NLI, ROUTE, GLICLASS], asked(0),
              lambda _: mixed[:TEXTS], clock),
        panel(("tokens of a text", f"one query, {TEXTS} texts"), LENGTHS, [MINILM, RANK], asked(1), long.__getitem__,
              clock),
    ]  # fmt: skip


def draw(found: Sequence[Panel], title: str, out: Path) -> None:
    """The panels side by side, as PNG and SVG."""
    matplotlib = extra("matplotlib", "matplotlib")
    names = list(dict.fromkeys(name for p in found for name in p.curves))
    with matplotlib.rc_context(style("#222222")):
        figure = extra("matplotlib.figure", "matplotlib").Figure(figsize=(12.6, 4.6), layout="constrained")
        for axes, one in zip(figure.subplots(1, len(found), sharey=True), found, strict=True):
            for name, points in one.curves.items():
                colour = SERIES[names.index(name)]
                dash = "--" if name == PEER else "-"
                x, y = [p.x for p in points], [p.seconds for p in points]
                axes.plot(x, y, dash, color=colour, marker="o", markersize=4, linewidth=1.8, label=name)
            axes.set(xscale="log", yscale="log", xlabel=one.x)
            axes.set_title(one.title, fontsize=10)
            ticks = sorted({p.x for points in one.curves.values() for p in points})
            axes.set_xticks(ticks, [f"{x:,}" for x in ticks], fontsize=9)
            axes.xaxis.minorticks_off()
            axes.yaxis.set_major_locator(extra("matplotlib.ticker", "matplotlib").LogLocator(subs=(1, 3)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
            axes.grid(alpha=0.25, linewidth=0.6)
            axes.legend(loc="best", fontsize=9)
        figure.axes[0].set_ylabel("seconds of a call")
        notes = "; ".join(note for p in found for note in p.notes)
        below = f"Not measured: {notes}." if notes else ""
        figure.suptitle(title, fontsize=11)
        figure.supxlabel("\n".join(wrap(below, 190)), fontsize=8)
        for kind in ("png", "svg"):
            figure.savefig(out.with_suffix(f".{kind}"), dpi=160)


def main() -> None:
    """Measure, draw, and keep the numbers beside the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=list(MODES), default=next(iter(MODES)), help="how ours are loaded")
    parser.add_argument("--limit", type=float, default=20, help="seconds of a point")
    parser.add_argument("--total", type=float, default=500, help="seconds of all points")
    parser.add_argument("--out", type=Path, default=Path("build/cost"))
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    console = Console(width=120)
    how: dict[str, Any] = {"device": "cpu", **MODES[given.mode]}
    with tempfile.TemporaryDirectory() as folder:
        shapes.classifier(Path(folder), shapes.MINILM, shapes.RANKER)
        scorers = {name: load(name, **how) for name in (RANK, NLI, ROUTE, GLICLASS)}
        scorers[MINILM] = load(folder, **how)
        words = Words(open_checkpoint(folder).tokenizer, np.random.default_rng(0))
        (query,) = words.texts([12])
        peer = _peer(Path(folder), query, console)
        found = panels(scorers, peer, query, words, Clock(given.limit, given.total))
    title = f"headgate in {given.mode}, {torch.get_num_threads()} threads"
    draw(found, title, given.out)
    given.out.with_suffix(".json").write_text(json.dumps({"title": title, "panels": [asdict(p) for p in found]}))
    for note in (note for p in found for note in p.notes):
        console.print(f"not measured: {note}", highlight=False)
    console.print(f"the plot is {given.out.with_suffix('.png')}", highlight=False)


def _peer(folder: Path, query: str, console: Console) -> Candidate | None:
    """sentence-transformers on the same folder and query, if it is installed."""
    length = open_checkpoint(folder).length
    subject = Subject(folder, "ranker", (query,), "{}", shapes.RANKER, resolve_device("cpu"), length)
    try:
        (found,) = sentence_transformers(subject, [])
    except NotHere as e:
        console.print(f"without {PEER}: {e}", highlight=False)
        return None
    return replace(found, name=PEER)


if __name__ == "__main__":
    main()
