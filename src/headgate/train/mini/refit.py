"""Fit the guard heads anew on the finished backbone: ``python -m headgate.train.mini.refit``.

During training a head chases states that move under it, and what users say most, "hello" and "thanks", is too rare in
the draws to be learned as harmless. With the states at rest the best linear head is a convex problem that takes
seconds, on every source evenly and with everyday small talk as a source of its own.
"""

from __future__ import annotations

import argparse
import logging
import random
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from headgate.errors import MissingExtraError
from headgate.train.mini import examples as reading
from headgate.train.mini import phrases
from headgate.train.mini.data import Examples
from headgate.train.mini.export import ALARMS, load_checkpoint
from headgate.train.mini.measure import Judge
from headgate.train.mini.model import BASE, HEADS

log = logging.getLogger(__name__)

PER_SOURCE = 700
SMALLTALK_WEIGHT = 3.0
"""How much more everyday small talk counts than another source: it is what a guard hears most."""
RUDE = frozenset({"criticism"})
SHORT = 700
"""Characters that are read: about one window."""


def texts(
    examples: Examples, head: str, rng: random.Random
) -> tuple[list[str], NDArray[np.float64], NDArray[np.bool_]]:
    """Texts of a head, how much each counts, and whether it is an alarm."""
    alarm = HEADS[head][0]
    found: list[str] = []
    weights: list[float] = []
    truth: list[bool] = []
    sources = {(name, source): some for name, per in examples.heads[head].items() for source, some in per.items()}
    calm = [c.text for c in examples.choices.get("smalltalk", []) if not RUDE & set(c.truth)]
    sources["clean", "smalltalk"] = [*calm, *phrases.GREETINGS, *phrases.THANKS]
    sources["clean", "thanks"] = [
        w for t in (*phrases.GREETINGS, *phrases.THANKS) for w in (t, f"{t}!", t.rstrip(".!"))
    ]
    for (name, source), some in sources.items():
        chosen = rng.sample(some, min(len(some), PER_SOURCE))
        found += [t[:SHORT] for t in chosen]
        each = (SMALLTALK_WEIGHT if source in ("smalltalk", "thanks") else 1.0) * len(chosen) ** -0.5
        weights += [each] * len(chosen)
        truth += [name == alarm] * len(chosen)
    y, w = np.array(truth), np.array(weights)
    for side in (y, ~y):
        w[side] *= 1000 / w[side].sum()  # both sides count alike
    return found, w, y


def refit(run: Path, data: Path, out: Path, base: str, seed: int) -> None:
    """Write ``out/checkpoint.pt``: the run's, with new guard heads."""
    try:
        linear = import_module("sklearn.linear_model")
    except ImportError as e:
        raise MissingExtraError("scikit-learn", "train") from e
    state = torch.load(run / "checkpoint.pt", weights_only=True, map_location="cpu")
    model, text = load_checkpoint(run, base)
    judge, examples, rng = Judge(model, text), reading.load(data, seed=seed), random.Random(seed)
    for head in ALARMS:
        found, weights, truth = texts(examples, head, rng)
        fitted = linear.LogisticRegression(C=0.3, max_iter=2000).fit(judge.states(found), truth, sample_weight=weights)
        # A softmax of two classes whose difference is the fitted logit; export writes the difference.
        half = torch.tensor(fitted.coef_[0] / 2, dtype=torch.float32), torch.tensor(float(fitted.intercept_[0]) / 2)
        state["weights"][f"multi.heads.{head}.weight"] = torch.stack([half[0], -half[0]])
        state["weights"][f"multi.heads.{head}.bias"] = torch.stack([half[1], -half[1]]).float()
        log.info("%s: %d texts, %d alarms", head, len(truth), int(truth.sum()))
    out.mkdir(parents=True, exist_ok=True)
    torch.save(state, out / "checkpoint.pt")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m headgate.train.mini.refit", description="Fit the guard heads anew."
    )
    parser.add_argument("--run", type=Path, required=True, help="folder with the checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for the new checkpoint")
    parser.add_argument("--base", default=BASE, help="folder or hub id of the base model")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    refit(given.run, given.data, given.out, given.base, given.seed)


if __name__ == "__main__":
    main()
