"""What `mini` says of CLINC150 and of guard sets, scored once, and risk against coverage.

    python benchmarks/decisions.py --data DIR --out runs/decisions --scores --curves

``--scores`` writes an npz for each scorer and set, and leaves what is there alone:

* ``clinc150-<scorer>-<dev|test>.npz``: ``log_odds`` (n, 150) float32 as a Router sees them, ``logits`` (n, 150) where
  heads have them, ``truth`` (n,) the column of the true route or -1, out of scope, ``labels`` (150,), ``windows``
  and ``tokens`` (n,).
* ``guard.npz``: ``log_odds`` (n, 5) of the guard heads of ``mini/heads``, ``truth`` (n, 5) 1, 0 or -1, unknown,
  ``safe`` (n,) the same of the whole text, ``source``, ``windows`` and ``tokens`` (n,), ``labels`` (5,). No row
  taught these heads.

Scorers of CLINC150: heads fitted on its train rows, over the states of ``mini/embed`` (never taught on it) and of
``mini/heads`` (taught names of its labels), as one softmax or as a regression a label, which learns from rows of none,
too; and ``mini/route`` by name, which was taught names on its train rows.

``--curves`` plots the share of wrong routes among routed texts (out of scope is always wrong) against the share routed.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import beta

from headgate import load
from headgate.evaluate.rows import Row, read_rows
from headgate.families.base import Encoder, Family
from headgate.families.multi_head import Head
from headgate.runtime.batching import Array
from headgate.runtime.windows import cut
from headgate.train.heads import fit_heads, said_aloud

NONE = "oos"
RULES = ("toxicity:toxic", "sexism:sexist", "harmful:harmful", "jailbreak:jailbreak", "injection:injection")
SCORERS = {
    "embed-single": ("mini/embed", "single"),
    "embed-multi": ("mini/embed", "multi"),
    "text-single": ("mini/heads", "single"),
    "route": ("mini/route", None),
    "text-multi": ("mini/heads", "multi"),
}
# Set, splits, label -> what it says of which rule; "safe": harmless in all five; other rules stay unknown.
GUARDED: tuple[tuple[str, tuple[str, ...], dict[str, dict[int, int] | str], int], ...] = (
    ("paradetox", ("dev", "test"), {"toxic": {0: 1}, "neutral": "safe"}, 9999),
    ("hate_offensive_davidson", ("dev", "test"), {"hate": {0: 1}, "offensive": {0: 1}, "neither": {0: 0}}, 4000),
    ("wiki_toxicity_context", ("test",), {"toxic": {0: 1}, "not toxic": "safe"}, 6000),
    ("hatecheck", ("test",), {"hateful": {0: 1}, "non-hateful": {0: 0}}, 9999),
    ("toxic_spans", ("test",), {"toxic": {0: 1}}, 1000),
    ("edos_sexism", ("dev", "test"), {"sexist": {1: 1}, "not sexist": {1: 0}}, 9999),
    ("harmful_prompts", ("test",), {"harmful": {2: 1}, "benign": "safe"}, 9999),
    ("xstest", ("test",), {"unsafe": {2: 1}, "safe": "safe"}, 9999),
    ("jailbreak_prompts", ("dev", "test"), {"jailbreak": {3: 1}, "benign": "safe"}, 9999),
    ("prompt_injections_deepset", ("dev", "test"), {"injection": {4: 1}, "benign": "safe"}, 9999),
    ("bipia_indirect_injection", ("test",), {"injection": {4: 1}, "benign": "safe"}, 9999),
    ("clinc150", ("test",), {"*": "safe"}, 9999),
    ("sms_spam", ("dev", "test"), {"ham": "safe"}, 9999),
    ("ag_news", ("test",), {"*": "safe"}, 3000),
    ("subj", ("test",), {"*": "safe"}, 3000),
)
Logits = NDArray[np.float64]


def rows(data: Path, name: str, *splits: str) -> Iterator[Row]:
    """Rows of a set."""
    for split in splits:
        yield from read_rows(data / name / f"{split}.jsonl.gz")


def window_logits(scorer: Family, texts: Sequence[str]) -> tuple[list[Array], list[int]]:
    """Of each text (windows, all classes) logits of a multi-head scorer, and its number of tokens.

    The windows are the scorer's own, so their maximum is what it gives for a label of a multi head.
    """
    encoder, frame = Encoder(scorer._core.tokenizer), scorer._core.tokenizer.single
    encoder.add(texts)
    read, ends = [], []
    for text in texts:
        pieces = cut(encoder[text], scorer._core.max_length - frame.size)
        read += [frame.row(piece.ids, types=scorer._core.types) for piece in pieces]
        ends.append(len(read))
    return np.split(np.stack(scorer._core.forward(read)), ends[:-1]), [len(encoder[text].ids) for text in texts]


def keep(path: Path, make: Callable[[], dict[str, Any]]) -> None:
    """Write what `make` gives, unless it is there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path.with_suffix(".part.npz"), **make())
        path.with_suffix(".part.npz").rename(path)
        print(path)


def fitted(data: Path, out: Path, name: str) -> Family:
    """Heads on the train rows, or ``mini/route``; a fitted folder stays."""
    base, kind = SCORERS[name]
    if kind is None:
        return load(base, exact=True)
    if not (out / name / "scorer.json").exists():
        train = [(row.text("text"), row.labels()[0]) for row in rows(data, "clinc150", "train")]
        labels = tuple(sorted({label for _, label in train} - {NONE}))
        taught = [
            {"text": text, "heads": {"clinc150": label if kind == "single" else [label] if label != NONE else []}}
            for text, label in train
            if kind == "multi" or label != NONE
        ]
        fit_heads(base, taught, out / name, heads={"clinc150": Head(labels, kind)}, only=["clinc150"])  # type: ignore[arg-type]
    return load(out / name, exact=True)


def clinc(data: Path, scorer: Family, split: str) -> dict[str, Any]:
    """Log-odds of every route for every row of a split."""
    found = list(rows(data, "clinc150", split))
    texts = [row.text("text") for row in found]
    heads = getattr(scorer, "_heads", None)
    if heads:
        labels = list(heads["clinc150"].labels)
        scores = scorer.score(texts, [f"clinc150:{label}" for label in labels])
        place = scorer._places[f"clinc150:{labels[0]}"].column  # type: ignore[attr-defined]
        logits = np.stack([own.mean(0) for own in window_logits(scorer, texts)[0]])[:, place : place + len(labels)]
    else:
        labels = sorted({row.labels()[0] for row in found} - {NONE})
        scores = scorer.score(texts, [said_aloud(label) for label in labels])
        logits = scores.log_odds
    at = {label: i for i, label in enumerate(labels)}
    return {
        "log_odds": scores.log_odds,
        "logits": logits,
        "truth": np.array([at.get(row.labels()[0], -1) for row in found]),
        "labels": np.array(labels),
        "windows": scores.windows[:, 0],
        "tokens": scores.tokens,
    }


def guard_texts(data: Path) -> dict[str, Any]:
    """Rows that none of the guard heads learned from: texts, truth (n, 5), safe (n,) and source (n,)."""
    rng = np.random.default_rng(0)
    texts, truth, safe, source = [], [], [], []
    for name, splits, said, most in GUARDED:
        known = [
            row for row in rows(data, name, *splits) if "*" in said or (row.labels()[:1] and row.labels()[0] in said)
        ]
        for k in sorted(rng.permutation(len(known))[:most]):
            means = said.get("*") or said[known[k].labels()[0]]
            texts.append(known[k].text("text"))
            truth.append([0] * len(RULES) if means == "safe" else [means.get(j, -1) for j in range(len(RULES))])
            safe.append(1 if means == "safe" else 0 if 1 in truth[-1] else -1)
            source.append(name)
    return {
        "texts": texts,
        "truth": np.array(truth, dtype=np.int8),
        "safe": np.array(safe, dtype=np.int8),
        "source": np.array(source),
    }


def guarded(data: Path) -> dict[str, Any]:
    """Log-odds of every rule for these rows."""
    found = guard_texts(data)
    scores = load("mini/heads", exact=True).score(found.pop("texts"), list(RULES))
    read = {"log_odds": scores.log_odds, "windows": scores.windows[:, 0], "tokens": scores.tokens}
    return {**read, **found, "labels": np.array(RULES)}


def confidences(found: dict[str, Any]) -> dict[str, Logits]:
    """(n,) numbers by which a text may be routed to the likeliest route, or not."""
    z, own = found["log_odds"].astype(np.float64), found["logits"].astype(np.float64)
    top = z.max(1)
    return {
        "P(k) = o/(1 + sum o)": top - np.logaddexp(0, np.logaddexp.reduce(z, axis=1)),
        "softmax": own.max(1) - np.logaddexp.reduce(own, axis=1),
        "log-odds": top,
        "energy": np.logaddexp.reduce(own, axis=1),
    }


def curve(by: Logits, right: NDArray[np.bool_]) -> tuple[Logits, Logits]:
    """Share routed and share wrong among these, from the surest text on; texts of one number go together."""
    order = np.argsort(-by, kind="stable")
    last = np.append(np.diff(by[order]) != 0, True)
    routed = np.arange(1, len(by) + 1)
    return (routed / len(by))[last], (np.cumsum(~right[order]) / routed)[last]


def attainable(by: Logits, right: NDArray[np.bool_], most: float, confidence: float | None = None) -> float:
    """The most that can be routed at an error of `most`: as counted, or by each cut's own Clopper-Pearson bound."""
    share, error = curve(by, right)
    if confidence is not None:
        routed = np.rint(share * len(by))
        wrong = np.rint(error * routed)
        error = np.where(wrong < routed, beta.ppf(confidence, wrong + 1, np.maximum(routed - wrong, 1e-9)), 1.0)
    return float(share[error <= most].max(initial=0.0))


def curves(out: Path, plot: Path) -> None:
    """Plot every curve, and say what is attainable."""
    targets = (0.01, 0.02, 0.05, 0.1)
    table = Table(
        "split", "scorer", "by", "accuracy", *(f"{t:.0%}" for t in targets), *(f"{t:.0%}, bound" for t in targets)
    )
    names = [name for name in SCORERS if (out / f"clinc150-{name}-test.npz").exists()]
    figure, axes = plt.subplots(
        2, len(names), figsize=(4 * len(names), 7), sharex=True, sharey=True, layout="constrained"
    )
    for line, split in zip(axes, ("dev", "test"), strict=True):
        for ax, name in zip(line, names, strict=True):
            found = dict(np.load(out / f"clinc150-{name}-{split}.npz"))
            truth, known = found["truth"], found["truth"] >= 0
            right = found["log_odds"].argmax(1) == truth
            for by, values in confidences(found).items():
                share, error = curve(values, right)
                ax.plot(share, error, label=by)
                counted = [f"{attainable(values, right, t):.3f}" for t in targets]
                bound = [f"{attainable(values, right, t, 0.9):.3f}" for t in targets]
                table.add_row(split, name, by, f"{right[known].mean():.3f}", *counted, *bound)
            ax.set_title(f"{split}, {name}: {known.mean():.1%} in scope")
            ax.axvline(known.mean(), color="0.8")
            ax.set_ylim(0, 0.3)
            ax.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.supxlabel("share of texts routed")
    figure.supylabel("wrong among routed")
    plot.parent.mkdir(exist_ok=True)
    figure.savefig(plot, dpi=80)
    Console(width=170).print(table)


def main() -> None:
    """Score, plot, or both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of the sets; needed for --scores")
    parser.add_argument("--out", type=Path, default=Path("runs/decisions"))
    parser.add_argument("--plot", type=Path, default=Path("build/coverage.png"))
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--curves", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.scores:
        keep(given.out / "guard.npz", lambda: guarded(given.data))
        for name in SCORERS:
            for split in ("dev", "test"):
                path = given.out / f"clinc150-{name}-{split}.npz"
                keep(path, lambda name=name, split=split: clinc(given.data, fitted(given.data, given.out, name), split))
    if given.curves:
        curves(given.out, given.plot)


if __name__ == "__main__":
    main()
