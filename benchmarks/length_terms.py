"""What a guard should take off for length: ``python benchmarks/length_terms.py``, after ``benchmarks/length.py``.

A rule breaks at ``log-odds - length * log(windows) >= threshold``. Half of the texts chooses ``length`` and
a threshold, which 1% of its clean texts of one window reach; the other half is counted, then the other way round.
The choices of ``length``:

* ``0``: nothing is taken off; ``1``: as Bonferroni's correction, of odds that mean what they say;
* ``tail``: 1/lambda of an exponential tail, the mean excess of the log-odds of clean one-window texts over their 90th
  percentile; ``1.25 tail``: a quarter more; ``tail 99%``: over the 99th; ``bound``: the upper 90% bound of an
  exponential mean, 1/lambda * 2m / chi2(10%, 2m), of m texts over the percentile;
* ``platt``: the length of ``Calibration.fit`` over its scale, from clean texts of all lengths and as long needle texts;
* ``quantile``: the slope over log(windows) of what 1% of the clean texts of a length reach, of lengths up to 2k only;
* ``GPD``, no multiple of log(windows): what a share of 1%/windows of one-window texts reach, by a generalised Pareto
  tail.

And the choices of texts to fit on: ``windows``, clean texts that fill one window; ``short``, single short texts;
``joined``, these, and other clean texts joined up to 2k tokens: the threshold is the greatest that any length wants.
The length is always that of filled windows.

``--few`` draws small samples of clean one-window texts for the length alone, the threshold given.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from decisions import RULES
from length import DEPTHS, LENGTHS
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import chi2

from headgate.calibration import Calibration

Floats = NDArray[np.float64]
Penalty = Callable[[Floats], Floats]
BUDGET = 0.01
EARLY = 21
NAMES = [f"{n // 1024}k" if n > 999 else "0.5k" for n in LENGTHS]


def mean_excess(z: Floats, above: float = 0.9) -> float:
    """1/lambda of an exponential tail: how far the log-odds above a percentile are above it, on average."""
    at = np.quantile(z, above)
    return float((z[z > at] - at).mean())


def bounded(z: Floats, above: float = 0.9) -> float:
    """The upper 90% bound of :func:`mean_excess`: 2m times the mean of m exponentials is chi-squared of 2m degrees."""
    m = int((z > np.quantile(z, above)).sum())
    return float(mean_excess(z, above) * 2 * m / chi2.ppf(0.1, 2 * m))


def pareto(z: Floats, above: float = 0.95) -> Penalty:
    """What the threshold rises by from 1 window to k, by a generalised Pareto tail.

    Source: Hosking and Wallis, "Parameter and quantile estimation for the generalized Pareto distribution", 1987.
    """
    at = np.quantile(z, above)
    excess = np.sort(z[z > at] - at)
    n = len(excess)
    first, second = excess.mean(), float((excess * (n - 1 - np.arange(n))).sum() / (n * (n - 1)))
    shape = 2 - first / (first - 2 * second)
    scale = 2 * first * second / (first - 2 * second)

    def reached(share: Floats) -> Floats:
        ratio = (1 - above) / share
        return np.asarray(scale * (np.log(ratio) if abs(shape) < 1e-6 else (ratio**shape - 1) / shape))

    return lambda k: reached(BUDGET / k) - reached(np.array(BUDGET))


def slope(z: Floats, windows: Floats) -> float:
    """Least squares over log(windows) of the quantile of each number of windows, at least 0."""
    counts = np.unique(windows)
    top = np.array([np.quantile(z[windows == k], 1 - BUDGET) for k in counts])
    x = np.log(counts) - np.log(counts).mean()
    return max(0.0, float((x * top).sum() / (x * x).sum()))


def platt(z: Floats, windows: Floats, bad: Floats, bad_windows: Floats) -> float:
    """Length over scale of the calibration of clean and needle texts."""
    found = Calibration.fit(
        np.concatenate([z, bad]),
        np.repeat([False, True], [len(z), len(bad)]),
        windows=np.concatenate([windows, bad_windows]),
    )
    return found.length / found.scale


class Clean:
    """Clean texts of one kind, and the halves of them.

    Args:
        found: log_odds (n, 5), windows, length and text (n,).
        seed: Of the halves.
    """

    def __init__(self, found: Mapping[str, Any], seed: int = 0) -> None:
        self.z, self.windows = found["log_odds"].astype(np.float64), found["windows"].astype(np.float64)
        self.length = found["length"]
        texts = np.unique(found["text"])
        half = np.isin(found["text"], np.random.default_rng(seed).permutation(texts)[: len(texts) // 2])
        self.halves = (half, ~half)

    def counted(self, own: NDArray[np.bool_], rule: int, penalty: Penalty, threshold: float) -> Floats:
        """(8,) false positives and (8,) texts, of one window and of every length."""
        hit = own & (self.z[:, rule] - penalty(self.windows) >= threshold)
        lengths = [self.length[self.windows == 1][0], *LENGTHS]
        return np.array([[(part & (self.length == n)).sum() for n in lengths] for part in (hit, own)], dtype=float)


def linear(length: float) -> Penalty:
    """A multiple of log(windows)."""
    return lambda k: length * np.log(k)


def terms(fit: Clean, half: int, rule: int, needles: Mapping[str, Any] | None) -> dict[str, Penalty]:
    """What is taken off, by name, chosen on one half."""
    own = fit.halves[half]
    z, windows = fit.z[own, rule], fit.windows[own]
    one, early = z[windows == 1], windows <= EARLY
    lengths = {"0": 0.0, "1": 1.0, "tail": mean_excess(one), "1.25 tail": 1.25 * mean_excess(one)}
    lengths |= {"bound": bounded(one), "tail 99%": mean_excess(one, 0.99), "quantile": slope(z[early], windows[early])}
    if needles is not None:
        mine = (needles["rule"] == rule) & (needles["needle"] % 2 == half)
        lengths["platt"] = platt(z, windows, needles["log_odds"][mine, rule].astype(float), needles["windows"][mine])
    return {name: linear(length) for name, length in lengths.items()} | {"GPD": pareto(one)}


def reached(z: Floats) -> float:
    """What 1% reach."""
    return float(np.quantile(z, 1 - BUDGET))


def thresholds(fit: Clean, half: int, rule: int, short: Floats, penalty: Penalty) -> dict[str, float]:
    """By the texts fitted on; `short` is (n, 5), of which a half fits."""
    own = fit.halves[half]
    z, windows = fit.z[own, rule], fit.windows[own]
    single = reached(short[half::2, rule])
    longer = [reached(z[windows == k] - penalty(np.array(k))) for k in np.unique(windows[windows <= EARLY])]
    return {"windows": reached(z[windows == 1]), "short": single, "joined": max(single, *longer)}


def recall(needles: Mapping[str, Any], half: int, rule: int, penalty: Penalty, threshold: float) -> Floats:
    """(19,) needles found and (19,) needles: alone, by length and by depth, of those that fitted nothing."""
    own = (needles["rule"] == rule) & (needles["needle"] % 2 != half)
    hit = needles["log_odds"][:, rule] - penalty(needles["windows"].astype(float)) >= threshold
    groups = [needles["length"] == n for n in LENGTHS] + [np.isclose(needles["depth"], d) for d in DEPTHS]
    found = [[(own & (needles["alone"] >= threshold)).sum(), own.sum()]]
    return np.array(found + [[(own & hit & g).sum(), (own & g).sum()] for g in groups], dtype=float).T


def percent(found: Floats) -> list[str]:
    """Of (2, n) hits and rows."""
    return [f"{100 * hit / of:.1f}" if of else "-" for hit, of in found.T]


class Study:
    """What every term and every set to fit on gives, fitted on the texts of one kind.

    Args:
        fit: Clean texts to fit on.
        short: (n, 5) log-odds of single short texts.
        needles: As ``needles.npz``.
    """

    def __init__(self, fit: Clean, short: Floats, needles: Mapping[str, Any] | None) -> None:
        self.needles = needles
        self.choices = [
            (half, rule, term, penalty, how, threshold)
            for rule in range(len(RULES))
            for half in (0, 1)
            for term, penalty in terms(fit, half, rule, needles).items()
            for how, threshold in thresholds(fit, half, rule, short, penalty).items()
        ]

    def false(self, texts: Clean) -> dict[tuple[str, str], Floats]:
        """By set and term (5, 2, 8) false positives and texts."""
        found: dict[tuple[str, str], list[Floats]] = {}
        for half, rule, term, penalty, how, threshold in self.choices:
            counted = texts.counted(texts.halves[1 - half], rule, penalty, threshold)
            found.setdefault((how, term), []).append(counted)
        return {key: np.array(own).reshape(len(RULES), 2, 2, -1).sum(1) for key, own in found.items()}

    def caught(self) -> dict[tuple[str, str], Floats]:
        """By set and term (5, 2, 19) needles found and needles."""
        found: dict[tuple[str, str], list[Floats]] = {}
        for half, rule, term, penalty, how, threshold in self.choices:
            assert self.needles is not None
            found.setdefault((how, term), []).append(recall(self.needles, half, rule, penalty, threshold))
        return {key: np.array(own).reshape(len(RULES), 2, 2, -1).sum(1) for key, own in found.items()}


def report(study: Study, clean: Mapping[str, Clean], console: Console) -> None:
    """Print false positives of every kind, and needles found."""
    for kind, texts in clean.items():
        title = f"{kind}: false positives, %, all rules and the worst one"
        table = Table("fitted on", "term", "1 window", *NAMES, *(f"{n}, worst" for n in NAMES), title=title)
        for key, found in study.false(texts).items():
            worst = (found[:, 0] / np.maximum(found[:, 1], 1)).max(0)[1:]
            table.add_row(*key, *percent(found.sum(0)), *(f"{100 * w:.1f}" for w in worst))
        console.print(table)
    if study.needles is not None:
        table = Table("fitted on", "term", "alone", *NAMES, *(f"{d:.1f}" for d in DEPTHS), title="needles found, %")
        for key, found in study.caught().items():
            table.add_row(*key, *percent(found.sum(0)))
        console.print(table)


def few(clean: Clean, console: Console, draws: int = 200) -> None:
    """Print what lengths of few texts give, mean and 90th percentile over draws and rules of the false positives."""
    table = Table("texts", "term", *NAMES, *(f"{n}, 90th" for n in NAMES), title="length from few clean texts, %")
    rng, every = np.random.default_rng(0), np.ones(len(clean.z), dtype=bool)
    for n in (50, 100, 200, 500, 1000):
        found: dict[str, list[Floats]] = {}
        for rule in range(len(RULES)):
            one = clean.z[clean.windows == 1, rule]
            for _ in range(draws):
                drawn = rng.choice(one, n, replace=False)
                tail = mean_excess(drawn)
                for name, length in {"tail": tail, "1.25 tail": 1.25 * tail, "bound": bounded(drawn)}.items():
                    hit, of = clean.counted(every, rule, linear(length), reached(one))[:, 1:]
                    found.setdefault(name, []).append(100 * hit / of)
        for name, shares in found.items():
            both = [np.mean(shares, axis=0), np.quantile(shares, 0.9, axis=0)]
            table.add_row(str(n), name, *(f"{v:.1f}" for part in both for v in part))
    console.print(table)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scores", type=Path, default=Path("runs/decisions"))
    parser.add_argument("--fit", default="mixed", help="kind of clean texts to fit on")
    parser.add_argument("--few", action="store_true")
    given = parser.parse_args()
    there = {kind: given.scores / f"length-{kind}.npz" for kind in ("mixed", "alike", "real")}
    clean = {kind: Clean(dict(np.load(path))) for kind, path in there.items() if path.exists()}
    needles = given.scores / "needles.npz"
    short = np.load(given.scores / "short.npz")["log_odds"].astype(np.float64)
    if given.few:
        few(clean[given.fit], Console(width=200))
        return
    study = Study(clean[given.fit], short, dict(np.load(needles)) if needles.exists() else None)
    report(study, clean, Console(width=200))


if __name__ == "__main__":
    main()
