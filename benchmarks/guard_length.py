"""A fitted guard by length of text: ``python benchmarks/guard_length.py --data DIR``, after ``length.py``.

A guard of `mini`'s five rules is fitted by its public ``fit`` on short labelled texts, as a user has them, for 1% false
positives: as it is by default, and with ``longest=0``, which looks at no length. Then clean texts of 0.5k to 32k
tokens are counted that are blocked, and unsafe texts that are found in clean ones, by length and by depth.
"""

import argparse
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from decisions import RULES, guard_texts
from length import DEPTHS, LENGTHS
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from headgate import Guard, Scores, load

NAMES = [f"{n // 1024}k" if n > 999 else "0.5k" for n in LENGTHS]


def fitted(data: Path, n: int, longest: int, by: Literal["all", "rule"], seed: int) -> Guard:
    """A guard on short labelled texts of all sets."""
    found = guard_texts(data)
    known = np.flatnonzero(found["safe"] >= 0)
    mine = np.random.default_rng(seed).choice(known, n, replace=False)
    truths = [[rule for rule, true in zip(RULES, found["truth"][i], strict=True) if true == 1] for i in mine]
    guard = Guard(load("mini/guard", exact=True), list(RULES), threshold=0.5)
    return guard.fit([found["texts"][i] for i in mine], truths, max_false_positive_rate=0.01, by=by, longest=longest)


def blocked(guard: Guard, found: dict[str, Any]) -> NDArray[np.bool_]:
    """(n,) texts that break a rule, from their stored log-odds."""
    scores = Scores.of(found["log_odds"], ["a text"] * len(found["log_odds"]))
    windows = np.repeat(found["windows"][:, None], len(RULES), axis=1)
    least = np.array([rule.threshold for rule in guard.rules.values()])
    return (guard.probabilities(replace(scores, windows=windows)) >= least).any(axis=1)


def main() -> None:
    """Fit, count, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--scores", type=Path, default=Path("runs/decisions"))
    parser.add_argument("--texts", type=int, default=2000, help="labelled texts to fit on")
    parser.add_argument("--by", choices=("all", "rule"), default="all")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    console = Console(width=120)
    for longest in (2048, 0):
        guard = fitted(given.data, given.texts, longest, given.by, given.seed)
        lengths = [f"{rule.calibration.length:.2f}" for rule in guard.rules.values() if rule.calibration]
        least = [f"{rule.threshold:.3f}" for rule in guard.rules.values()]
        table = Table("", *NAMES, "short", title=f"longest={longest}: thresholds {least}, length {lengths}")
        for kind in ("mixed", "alike", "real"):
            path = given.scores / f"length-{kind}.npz"
            if path.is_file():
                found = dict(np.load(path))
                hit = blocked(guard, found)
                own = [hit[found["length"] == n] for n in LENGTHS]
                table.add_row(f"safe, {kind}", *(f"{part.mean():.3f}" if len(part) else "-" for part in own), "")
        needles = dict(np.load(given.scores / "needles.npz"))
        hit = blocked(guard, needles)
        alone = blocked(guard, {"log_odds": alone_of(needles), "windows": np.ones(len(hit), dtype=np.int64)})
        at = [hit[needles["length"] == n].mean() for n in LENGTHS]
        table.add_row("needles found", *(f"{share:.3f}" for share in at), f"{alone.mean():.3f} alone")
        for depth in DEPTHS[::2]:
            mine = np.isclose(needles["depth"], depth)
            cells = [f"{hit[mine & (needles['length'] == n)].mean():.3f}" for n in LENGTHS]
            table.add_row(f"  at depth {depth:.1f}", *cells, f"{hit[mine].mean():.3f} mean")
        console.print(table)


def alone_of(needles: dict[str, Any]) -> NDArray[np.float32]:
    """(n, 5) log-odds of the needles without haystack: of their own rule, the others far below."""
    z = np.full(needles["log_odds"].shape, -20, dtype=np.float32)
    z[np.arange(len(z)), needles["rule"]] = needles["alone"]
    return z


if __name__ == "__main__":
    main()
