"""Do certificates keep their promise? ``python benchmarks/certify.py --scores runs/decisions``.

Reads what ``benchmarks/decisions.py`` kept of mini: log-odds of CLINC150's routes, and of guard rules. Of these texts
as many as a user might label are drawn, at random, hundreds of times; each draw fits a router or a guard by its public
``fit``, and the texts that were not drawn say what its threshold is really worth. Beside it, on the same draws:

* naive: the threshold that just keeps the target on the labelled texts themselves;
* Platt: the cut where the calibrated probability says so, ``p >= 1 - target``.
"""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from headgate import Guard, Label, Router, Scores

CONFIDENCE = 0.9
SIZES = (100, 200, 500, 1000, 2000)
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Stored:
    """A scorer that reads what another one said: a text is the number of its row."""

    log_odds: NDArray[np.float32]
    names: tuple[str, ...]
    joint: bool = False
    labels: tuple[str, ...] | None = None
    fingerprint: str = "stored"

    def score(self, texts: list[str], labels: list[str | Label]) -> Scores:
        """Of rows and columns by name."""
        columns = [self.names.index(str(label)) for label in labels]
        rows = np.array([int(text) for text in texts], dtype=np.int64)
        return Scores.of(self.log_odds[rows][:, columns], texts)


class Draw(NamedTuple):
    """One threshold, by what it does to texts that were not drawn.

    Attributes:
        error: What the promise is about: wrong among routed, or safe texts blocked.
        gain: What it is paid with: texts routed, or unsafe texts blocked.
        promised: False where the certificate says that nothing is guaranteed.
    """

    error: float
    gain: float
    promised: bool = True


def routing(scores: Stored, truths: NDArray[np.int64], n: int, target: float, seed: int) -> dict[str, Draw]:
    """Fit a router on n texts; measure it, and the two cuts beside it, on the others."""
    order = np.random.default_rng(seed).permutation(len(truths))
    mine, others = order[:n], order[n:]
    said = [scores.names[t] if t >= 0 else None for t in truths[mine]]
    router = Router(scores, list(scores.names)).fit([str(i) for i in mine], said, max_error=target, seed=seed)

    def outcome(rows: NDArray[np.int64]) -> tuple[Array, NDArray[np.bool_]]:
        p = router.chances(scores.score([str(i) for i in rows], list(scores.names))).p
        return p.max(axis=1), p.argmax(axis=1) != truths[rows]

    p, wrong = outcome(mine)
    by = np.sort(p)
    errors = np.array([wrong[p >= t].mean() for t in by])
    naive = by[errors <= target][0] if (errors <= target).any() else np.inf
    later, missed = outcome(others)

    def at(threshold: float, promised: bool = True) -> Draw:
        routed = later >= threshold
        return Draw(float(missed[routed].mean()) if routed.any() else 0.0, float(routed.mean()), promised)

    assert router.certificate is not None
    assert isinstance(router.threshold, float)
    return {
        "certified": at(router.threshold, router.certificate.guaranteed),
        "naive": at(float(naive)),
        "Platt": at(1 - target),
    }


def guarding(scores: Stored, truth: NDArray[np.int8], n: int, target: float, seed: int) -> dict[str, Draw]:
    """Fit a guard on n texts; measure it, and the two cuts beside it, on the others."""
    order = np.random.default_rng(seed).permutation(len(truth))
    mine, others = order[:n], order[n:]
    names = list(scores.names)
    said = [[name for name, true in zip(names, truth[i], strict=True) if true == 1] for i in mine]
    guard = Guard(scores, names, threshold=0.5).fit(
        [str(i) for i in mine], said, max_false_positive_rate=target, longest=0, seed=seed
    )

    def top(rows: NDArray[np.int64]) -> Array:
        return guard.probabilities(scores.score([str(i) for i in rows], names)).max(axis=1)

    safe, unsafe = (truth[others] != 1).all(axis=1), (truth[others] == 1).any(axis=1)
    later, clean = top(others), top(mine)[(truth[mine] != 1).all(axis=1)]

    def at(threshold: float, promised: bool = True) -> Draw:
        return Draw(float((later[safe] >= threshold).mean()), float((later[unsafe] >= threshold).mean()), promised)

    assert guard.certificate is not None
    (threshold,) = {rule.threshold for rule in guard.rules.values()}
    return {
        "certified": at(threshold, guard.certificate.guaranteed),
        "naive": at(float(np.quantile(clean, 1 - target, method="higher"))),
        "Platt": at(1 - target),
    }


def broken(draws: list[Draw], target: float) -> int:
    """Draws whose promise the other texts belie."""
    return sum(d.promised and d.error > target for d in draws)


def gained(draws: list[Draw]) -> float:
    """What the draws with a promise gain; NaN where hardly any has one."""
    own = [d.gain for d in draws if d.promised]
    return float(np.mean(own)) if len(own) > 0.05 * len(draws) else float("nan")


def measure(
    name: str, run: object, sizes: tuple[int, ...], targets: tuple[float, ...], draws: int, table: Table
) -> dict[tuple[float, int], dict[str, list[Draw]]]:
    """All draws of all sizes and targets, and a line of the table for each."""
    found: dict[tuple[float, int], dict[str, list[Draw]]] = {}
    for target in targets:
        for n in sizes:
            every = [run(n, target, seed) for seed in range(draws)]  # type: ignore[operator]
            kept = {way: [draw[way] for draw in every] for way in every[0]}
            found[target, n] = kept
            sure = kept["certified"]
            p = stats.binomtest(broken(sure, target), draws, 1 - CONFIDENCE, alternative="greater").pvalue
            cells = [
                f"{broken(kept[way], target) / draws:.3f} / {np.mean([d.gain for d in kept[way]]):.3f}" for way in kept
            ]
            table.add_row(
                name, f"{target:.0%}", str(n), f"{np.mean([d.promised for d in sure]):.2f}", *cells, f"{p:.3f}"
            )
            Console(stderr=True).print(f"{name} {target} {n}: {cells}, p {p:.3f}")
    return found


def draw(found: dict[str, dict[tuple[float, int], dict[str, list[Draw]]]], path: Path) -> None:
    """Share of draws that break the target, and what is gained, by number of labelled texts."""
    figure, axes = plt.subplots(2, len(found), figsize=(5 * len(found), 6.5), sharex="col", squeeze=False)
    for column, (name, results) in enumerate(found.items()):
        target = min(t for t, _ in results)
        sizes = sorted(n for t, n in results if t == target)
        for way, style in (("certified", "o-"), ("naive", "s--"), ("Platt", "^:")):
            rate = [broken(results[target, n][way], target) / len(results[target, n][way]) for n in sizes]
            axes[0, column].plot(sizes, rate, style, label=way)
            axes[1, column].plot(sizes, [gained(results[target, n][way]) for n in sizes], style)
        axes[0, column].axhline(1 - CONFIDENCE, color="0.6", lw=1)
        axes[0, column].set(title=f"{name}, {target:.0%}", ylim=(-0.02, 1.02), ylabel="draws that break the target")
        axes[1, column].set(xscale="log", ylim=(0, 1), xlabel="labelled texts")
        axes[1, column].set(ylabel="texts routed" if column == 0 else "unsafe texts blocked")
        axes[1, column].set_xticks(sizes, [str(n) for n in sizes])
        axes[1, column].minorticks_off()
        for ax in axes[:, column]:
            ax.grid(alpha=0.3)
    axes[0, 0].legend()
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=80)


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scores", type=Path, default=Path("runs/decisions"))
    parser.add_argument("--scorer", default="embed-single", help="whose scores of CLINC150")
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--plot", type=Path, default=Path("build/certified.png"))
    given = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # what can't be proven is counted below
    table = Table(
        *["", "target", "n", "proven", "certified", "naive", "Platt", "p"], title="broken / routed or blocked"
    )
    found = {}
    parts = [np.load(given.scores / f"clinc150-{given.scorer}-{split}.npz") for split in ("dev", "test")]
    routes = Stored(np.concatenate([p["log_odds"] for p in parts]), tuple(map(str, parts[0]["labels"])))
    truths = np.concatenate([p["truth"] for p in parts])
    found["wrong routes"] = measure(
        "routes", lambda n, t, s: routing(routes, truths, n, t, s), SIZES, (0.05, 0.1), given.draws, table
    )
    rules = np.load(given.scores / "guard.npz")
    known = rules["safe"] >= 0
    guards = Stored(rules["log_odds"][known], tuple(map(str, rules["labels"])))
    truth = rules["truth"][known]
    found["false alarms"] = measure(
        "guard",
        lambda n, t, s: guarding(guards, truth, n, t, s),
        (500, 1000, 2000, 4000),
        (0.01, 0.05),
        given.draws,
        table,
    )
    Console(width=120).print(table)
    draw(found, given.plot)


if __name__ == "__main__":
    main()
