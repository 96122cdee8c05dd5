"""What headgate is worth beside other libraries, job by job: ``python benchmarks/speed.py``.

Random weights of published shapes, texts of mixed lengths, and for everybody the same folder, texts and process, in
turns. A ratio is the quotient of the medians, how many times as long the other one takes; what is wanted stands beside
what is got. ``--only rank-minilm nli`` chooses rows; ``--texts 25`` takes fewer texts where a machine is slow (a row of
a base model of 100 passages takes minutes a turn on two slow cores). JSON goes to build/speed.json.

*useful*: tokens that are no padding. *beside*: time of a call outside the model, as a share of the time in it: the
model runs on the same planned batches in the same call, so what is beside it is tokenising, planning, padding and
folding of windows.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapes
import torch
from rich.console import Console
from rich.table import Table

from headgate import load
from headgate.bench.measure import Candidate, Ratio, Result, Turns, ratio
from headgate.bench.report import MODES, Line, Options, Report, bench, ours_as
from headgate.bench.workloads import Size, Words
from headgate.families.base import Family
from headgate.runtime.batching import Work
from headgate.runtime.device import resolve_device
from headgate.runtime.tokenizer import Tokenizer

USEFUL, BESIDE = 0.95, 0.10
"""Wanted of every row: useful tokens at least, time beside the model at most."""


@dataclass(frozen=True)
class Job:
    """A row of the table.

    Attributes:
        build: Saves the model in a folder.
        peers: As ``--against`` names them.
        wanted: Start of a printed name -> goal -> at least so many times faster.
        size: How much work.
        how: More arguments of ``load``.
    """

    build: Callable[[Path], Path]
    peers: tuple[str, ...]
    wanted: dict[str, dict[str, float]]
    size: Size
    how: dict[str, Any] = field(default_factory=dict)


def _ranker(shape: str) -> Callable[[Path], Path]:
    return partial(shapes.classifier, shape=shape, classes=shapes.RANKER)


_ST = {"exact": 1.5, "auto": 3.0}
_ROWS_OF = {"transformers, batch 8": {"exact": 1.5, "auto": 3.0}}
_PIPELINE = "transformers pipeline"
JOBS: dict[str, Job] = {
    "rank-minilm": Job(
        _ranker(shapes.MINILM), ("sentence-transformers", "one-batch"),
        {"sentence-transformers": {"exact": 2.5, "auto": 4, "int8": 5}, "one batch": {"exact": 5, "auto": 8}},
        Size(texts=100),
    ),
    "rank-deberta": Job(
        _ranker(shapes.DEBERTA), ("sentence-transformers",), {"sentence-transformers": _ST}, Size(texts=100)
    ),
    "rank-modernbert": Job(
        _ranker(shapes.MODERNBERT), ("sentence-transformers",), {"sentence-transformers": _ST}, Size(texts=100)
    ),
    "nli": Job(
        partial(shapes.classifier, shape=shapes.MINILM, classes=shapes.NLI), ("transformers",),
        {_PIPELINE: {"exact": 12, "auto": 25}, f"{_PIPELINE}, batch": {"exact": 3, "auto": 6}},
        Size(texts=64, labels=16, length=48), {"template": shapes.TEMPLATE},
    ),
    "gliclass": Job(
        partial(shapes.gliclass, shape=shapes.DEBERTA, more={"num_hidden_layers": 6}), ("gliclass",),
        {"gliclass pipeline": {"exact": 3, "auto": 6}, "gliclass pipeline, batch": {"exact": 1.5, "auto": 3}},
        Size(texts=256, labels=16, length=48),
    ),
    "rows-512": Job(_ranker(shapes.DEBERTA), ("eager",), _ROWS_OF, Size(texts=8, length=512, spread=0)),
    "rows-128": Job(_ranker(shapes.DEBERTA), ("eager",), _ROWS_OF, Size(texts=32, length=113, spread=0)),
}  # fmt: skip
HEADS = {"topic": 8, "sentiment": 3, "toxicity": 2, "intent": 12}
FOUR_HEADS = 3.5
"""Wanted: four models of a head each take so many times as long as one with four."""


@dataclass(frozen=True)
class Row:
    """A line of the table: one of ours beside one of theirs.

    Attributes:
        job: Of :data:`JOBS`.
        ours: Mode.
        theirs: Who it is compared with; "" for what holds of ours alone.
        what: "times", "useful" or "beside".
        wanted: At least; of "beside" at most. None where nothing is said.
        got: The same measured.
        low: Least of the turns.
        high: Largest of the turns.
    """

    job: str
    ours: str
    theirs: str
    what: str
    wanted: float | None
    got: float
    low: float | None = None
    high: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether what is got is what is wanted."""
        if self.wanted is None:
            return None
        return self.got <= self.wanted if self.what == "beside" else self.got >= self.wanted


def rows_of(name: str, job: Job, report: Report) -> list[Row]:
    """What a report says about a job's goals."""
    found = []
    for line in report.lines:
        if line.mode is not None:
            found.append(Row(name, line.mode, "", "useful", USEFUL, line.useful))
            if line.overhead is not None:
                found.append(Row(name, line.mode, "", "beside", BESIDE, line.overhead))
    for start, goals in job.wanted.items():
        line = _found(report, start)
        for mode, times in line.ratios.items() if line else ():
            found.append(_times(name, mode, line.name, goals.get(mode), times))
    return found


def _found(report: Report, start: str) -> Line | None:
    """Who is meant: by name, by its start, or by default where the best batch size is the default one."""
    theirs = [line for line in report.lines if line.mode is None]
    tests = (lambda name: name == start), (lambda name: name.startswith(start)), (lambda name: start.startswith(name))
    return next((line for fits in tests for line in theirs if fits(line.name)), None)


def _times(name: str, mode: str, theirs: str, wanted: float | None, got: Ratio) -> Row:
    return Row(name, mode, theirs, "times", wanted, got.value, got.low, got.high)


def four_heads(folder: Path, options: Options) -> tuple[list[Row], list[Result]]:
    """One text through one model with four heads, and through four models with one each."""
    one = shapes.heads(folder / "four", shapes.MINILM, HEADS)
    several = [shapes.heads(folder / n, shapes.MINILM, {n: size}) for n, size in HEADS.items()]
    device = resolve_device(options.device)
    candidates: list[Candidate] = []
    for mode in options.modes:
        how = {"device": options.device, **MODES[mode]}
        joined: Family = load(one, **how)
        parts = [load(path, **how) for path in several]
        candidates.append(ours_as(f"{mode}: one model", joined, list(joined.labels or ())))
        candidates.append(_all(f"{mode}: four models", [ours_as("", p, list(p.labels or ())) for p in parts]))
    words = Words(Tokenizer.from_folder(one), np.random.default_rng(0))
    results = Turns(candidates, device).run(words.texts([166]), repeat=4 * options.repeat, limit=options.limit)
    rows = [
        _times("heads", mode, "four models of a head", FOUR_HEADS, ratio(results[2 * k + 1], results[2 * k]))
        for k, mode in enumerate(options.modes)
    ]
    return rows, results


def _all(name: str, candidates: Sequence[Candidate]) -> Candidate:
    """Several that each do a part of the labels."""

    def run(texts: Sequence[str]) -> np.ndarray:
        return np.concatenate([c.run(texts) for c in candidates], axis=1)

    return Candidate(name, run, lambda: sum((c.work() for c in candidates), Work()))


def measured(name: str, folder: Path, options: Options) -> tuple[list[Row], Any]:
    """One row of the table, and all that was measured for it, fit for JSON."""
    if name == "heads":
        rows, results = four_heads(folder, options)
        return rows, [{"name": r.name, "seconds": r.seconds, "median": r.median} for r in results]
    job = JOBS[name]
    size = job.size if options.size.texts is None else replace(job.size, texts=options.size.texts)
    report = bench(str(job.build(folder)), replace(options, against=job.peers, size=size, how=job.how))
    return rows_of(name, job, report), asdict(report)


def show(console: Console, rows: Sequence[Row]) -> None:
    """Wanted beside got."""
    table = Table(box=None, pad_edge=False)
    for column in ("job", "headgate", "beside", "what"):
        table.add_column(column, no_wrap=True)
    for column in ("wanted", "got", "turns", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        times = row.what == "times"
        numbers = ["" if x is None else f"{x:.2f}" if times else f"{x:.1%}" for x in (row.wanted, row.got)]
        span = "" if row.low is None else f"{row.low:.2f}-{row.high:.2f}"
        verdict = {None: "", True: "met", False: "missed"}[row.met]
        table.add_row(row.job, row.ours, row.theirs, row.what, *numbers, span, verdict)
    console.print(table)


def main() -> None:
    """Measure the rows that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*JOBS, "heads"], default=[*JOBS, "heads"], help="rows")
    parser.add_argument(
        "--modes", nargs="+", choices=list(MODES), default=["exact", "auto", "int8"], help="ways to load a model"
    )
    parser.add_argument("--texts", type=int, help="of every row, in place of its own number")
    parser.add_argument("--repeat", type=int, default=5, help="turns")
    parser.add_argument("--limit", type=float, default=120, help="seconds from which on a row begins no new turn")
    parser.add_argument("--threads", type=int, help="of torch; else its own choice")
    parser.add_argument("--device", default="cpu", help="as load takes it")
    parser.add_argument("--json", type=Path, default=Path("build/speed.json"))
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    modes = tuple(given.modes)
    options = Options(
        modes=modes, size=Size(texts=given.texts), repeat=given.repeat, limit=given.limit, device=given.device
    )
    console, rows, said = Console(width=120), [], {}
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            found, said[name] = measured(name, Path(folder), options)
        show(console, found)
        rows += found
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps({"rows": [asdict(row) | {"met": row.met} for row in rows], "measured": said}))
    if given.texts is not None:
        console.print(
            "What is wanted is said of each row's own number of texts; --texts took another.", highlight=False
        )
    missed = sum(row.met is False for row in rows)
    console.print(f"{len(rows)} rows, {missed} missed; everything is in {given.json}", highlight=False)


if __name__ == "__main__":
    main()
