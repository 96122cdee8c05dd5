"""What published shapes take beside MiniLM-L6's, for the guide to models: ``python benchmarks/guide.py``.

Random weights, as speed doesn't depend on them. Two jobs: passages of 166 tokens ranked for a query, and texts of 48
tokens judged by 16 labels, by an NLI model and by GLiClass. Each shape takes turns with MiniLM-L6 at the same texts in
the same mode; what is said is the ratio of CPU seconds in the cheapest turns, which other work on the machine moves
little, and the texts a second of the quickest turn, which it makes lower than they are. ``--only bert-base`` chooses
shapes; JSON goes to build/guide.json.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait would count as work

import numpy as np
import shapes
import torch

from headgate import Scorer, load
from headgate.bench.report import MODES
from headgate.bench.workloads import Size, Words, lengths
from headgate.runtime.tokenizer import Tokenizer

MODES_SHOWN, TURNS = ("exact", "auto"), 5
RANK, QUERY = Size(texts=16), 12
LABELS = Size(texts=4, labels=16, length=48)


@dataclass(frozen=True)
class Shape:
    """An encoder's size.

    Attributes:
        base: Of :mod:`shapes`.
        more: What of its configuration is other.
        gliclass: GLiClass was published in this shape.
    """

    base: str
    more: dict[str, Any] = field(default_factory=dict)
    gliclass: bool = False


def _sized(hidden: int, layers: int, heads: int, inner: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": inner,
    }


SHAPES: dict[str, Shape] = {
    "minilm-l6": Shape(shapes.MINILM),
    "minilm-l12": Shape(shapes.MINILM, _sized(384, 12, 12, 1536)),
    "bert-base": Shape(shapes.MINILM, _sized(768, 12, 12, 3072)),
    "bert-large": Shape(shapes.MINILM, _sized(1024, 24, 16, 4096)),
    "deberta-v3-small": Shape(shapes.DEBERTA, _sized(768, 6, 12, 3072), gliclass=True),
    "deberta-v3-base": Shape(shapes.DEBERTA, gliclass=True),
    "deberta-v3-large": Shape(shapes.DEBERTA, _sized(1024, 24, 16, 4096), gliclass=True),
    "ettin-32m": Shape(shapes.MODERNBERT, _sized(384, 10, 6, 576), gliclass=True),
    "modernbert-base": Shape(shapes.MODERNBERT, gliclass=True),
    "modernbert-large": Shape(shapes.MODERNBERT, _sized(1024, 28, 16, 2624), gliclass=True),
}


def row(folder: Path, name: str, seconds: float) -> dict[str, Any]:
    """Job -> mode -> times as long as MiniLM-L6, and texts a second."""
    shape, base = SHAPES[name], SHAPES["minilm-l6"]
    ours = {
        "rank": shapes.classifier(folder / "rank", shape.base, shapes.RANKER, shape.more),
        "nli": shapes.classifier(folder / "nli", shape.base, shapes.NLI, shape.more),
    }
    if shape.gliclass:
        ours["gliclass"] = shapes.gliclass(folder / "gliclass", shape.base, shape.more)
    theirs = {
        job: shapes.classifier(folder / f"base-{job}", base.base, classes)
        for job, classes in (("rank", shapes.RANKER), ("nli", shapes.NLI))
    }
    return {job: measured(job, path, theirs.get(job, theirs["nli"]), seconds) for job, path in ours.items()}


def measured(job: str, path: Path, beside: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Mode -> what was measured of a folder beside another one."""
    size = RANK if job == "rank" else LABELS
    rng = np.random.default_rng(0)
    words = Words(Tokenizer.from_folder(beside), rng)
    labels = words.texts([QUERY] if job == "rank" else [3] * size.labels)
    texts = words.texts(lengths(size.texts or 0, size, longest=400, rng=rng))
    scorers = []
    for mode in MODES_SHOWN:
        for folder in (path, beside):
            how = {"template": shapes.TEMPLATE} if shapes.NLI[0] in (folder / "config.json").read_text() else {}
            scorers.append(load(folder, device="cpu", **how, **MODES[mode]))
            scorers[-1].score(texts[:2], labels)
    begun, turns = perf_counter(), []
    while len(turns) < TURNS and (perf_counter() - begun) * (1 + 1 / max(1, len(turns))) < seconds:
        turns.append([timed(scorer, texts, labels) for scorer in scorers])
    cpu, clock = np.array(turns).min(axis=0).T
    return {
        mode: {"times": cpu[2 * k] / cpu[2 * k + 1], "cpu": cpu[2 * k] / len(texts), "rate": len(texts) / clock[2 * k]}
        for k, mode in enumerate(MODES_SHOWN)
    }


def timed(scorer: Scorer, texts: Sequence[str], labels: Sequence[str]) -> tuple[float, float]:
    """CPU seconds and seconds of a call."""
    cpu, clock = process_time(), perf_counter()
    scorer.score(texts, labels)
    return process_time() - cpu, perf_counter() - clock


def main() -> None:
    """Parse arguments, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--seconds", type=float, default=30.0, help="of a job, from which on no turn begins")
    parser.add_argument("--json", type=Path, default=Path("build/guide.json"))
    given = parser.parse_args()
    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    print(f"{found['threads']} threads; in the order {', '.join(MODES_SHOWN)}")
    for name in given.only:
        with tempfile.TemporaryDirectory() as folder:
            found[name] = {**row(Path(folder), name, given.seconds), "load": os.getloadavg()[0]}
        for job, modes in found[name].items():
            if job != "load":
                said = "; ".join(
                    f"{m['times']:5.2f} times, {m['cpu']:.3f} CPU s, {m['rate']:6.2f} a second" for m in modes.values()
                )
                print(f"{name:18}{job:10}{said}   (load {found[name]['load']:.1f})", flush=True)
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
