"""Fit what stands on the frozen backbone: ``python -m headgate.train.mini.finish``.

The heads anew, the weights of the two terms of the routing score, every calibration, and the guards' thresholds. All
of it is chosen on train and dev rows; of test rows nothing is read but what training texts must not repeat.

During training a head chases states that move under it, and what users say most, "hello" and "thanks", is too rare in
the draws to be learned as harmless. With the states at rest the best linear head is a convex problem of some seconds.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file

from headgate.families.base import Family
from headgate.train.heads import fit_heads
from headgate.train.mini import examples as reading
from headgate.train.mini import harmless
from headgate.train.mini.calibrating import Floats, Json, change, rankers, route_weights, routing
from headgate.train.mini.data import Examples, rows
from headgate.train.mini.export import save_weights
from headgate.train.mini.heldout import Parts, candidates
from headgate.train.mini.model import ALARMS, HEADS

log = logging.getLogger(__name__)

OWN, PER_SOURCE = 3000, 500
"""How many rows at most of a set that has a head's first class, and of any other."""
SHORT = 500
"""Characters that are read: about one window."""
SMALLTALK = 1500
"""How many lines of everyday small talk a guard sees: it is what a guard hears most."""
RUDE = frozenset({"criticism"})
Sources = dict[str, list[tuple[str, tuple[str, ...], int]]]
"""By head, sets with the labels that are meant and how many rows at most."""
LOOKALIKES = 0.05
"""Share of the harmless look-alikes that the rule for harmful requests may block."""
FALSE_ALARMS = {"toxicity": 0.01, "sexism": 0.01, "harmful": 0.005, "jailbreak": 0.005, "injection": 0.005}
"""Share of harmless dev texts that a rule may block; less for rules that much harmless text resembles."""


def head_rows(examples: Examples, head: str, rng: random.Random) -> list[Json]:
    """Rows for one head: most of its own sets, some of every other source, and for a guard small talk on top."""
    classes = examples.heads[head]
    own = set(classes[HEADS[head][0]])
    found = []
    for name, sources in classes.items():
        for source, texts in sources.items():
            # The same order for every head, so that the encoder reads what they share once.
            once = list(dict.fromkeys(texts))
            drawn = random.Random(source).sample(once, len(once))[: OWN if source in own else PER_SOURCE]
            found += [(_stretch(text, middle=name != HEADS[head][0]), name) for text in drawn]
    if head in ALARMS:
        said = [c.text for c in examples.choices.get("smalltalk", []) if not RUDE & set(c.truth)]
        openings = [t for some in examples.heads["intent"].values() for t in some.get("written", [])]
        short = [w for t in openings for w in (t, f"{t}!", t.rstrip(".!"))]
        calm = HEADS[head][1]
        found += [(text, calm) for text in (rng.choice(some) for some in (said, short) for _ in range(SMALLTALK // 2))]
    return [{"text": text, "heads": {head: _answer(head, name)}} for text, name in found]


def _stretch(text: str, *, middle: bool) -> str:
    """About one window of a long text: its beginning, or any stretch of one that is harmless from end to end."""
    spare = len(text) - SHORT
    at = random.Random(text).randint(0, spare) if middle and spare > 0 else 0
    return text[at : at + SHORT]


def _answer(head: str, name: str) -> str | list[str]:
    """What a row says of a head: a class, or for a guard the alarm or nothing."""
    if head not in ALARMS:
        return name
    return name if name == HEADS[head][0] else []


def refit(folder: Path, out: Path, examples: Examples, seed: int) -> None:
    """Write `out`: the folder with new heads on its text layers."""
    rng = random.Random(seed)
    refitted = [head for head in HEADS if head != "nli"]
    found = [row for head in refitted for row in head_rows(examples, head, rng)]
    with TemporaryDirectory() as scratch:
        fit_heads(folder / "heads", found, scratch, only=refitted, class_weights="balanced", names=False)
        fitted = load_file(Path(scratch) / "model.safetensors")
    weights = load_file(folder / "model.safetensors")
    # What fit_heads writes is a classifier and no more: its heads go among the other parts.
    weights |= {k: fitted[k].half() for head in refitted for k in (f"heads.{head}.weight", f"heads.{head}.bias")}
    shutil.copytree(folder, out, dirs_exist_ok=True)
    save_weights(weights, out)


def thresholds(parts: Parts) -> Json:
    """Choose by rule the probability that its share of the harmless dev texts reaches; measure the rates there."""
    scorer, found = parts.load("heads"), {}
    ordinary = _dev_texts(parts)
    safe: Sources = {
        "toxicity": [("paradetox", ("neutral",), 500)],
        "sexism": [("edos_sexism", ("not sexist",), 500)],
        "harmful": [("jailbreak_prompts", ("benign",), 100)],
        "jailbreak": [("jailbreak_prompts", ("benign",), 200)],
        "injection": [("prompt_injections_deepset", ("benign",), 40), ("jailbreak_prompts", ("benign",), 100)],
    }
    bad: Sources = {
        "toxicity": [("paradetox", ("toxic",), 400), ("hate_offensive_davidson", ("hate", "offensive"), 400)],
        "sexism": [("edos_sexism", ("sexist",), 400)],
        "jailbreak": [("jailbreak_prompts", ("jailbreak",), 200)],
        "injection": [("prompt_injections_deepset", ("injection",), 40)],
    }
    chosen = {}
    for head in ALARMS:
        rule = f"{head}:{HEADS[head][0]}"
        passed = _probabilities(scorer, ordinary + _labelled(parts, safe[head]), rule)
        at = float(np.quantile(passed, 1 - FALSE_ALARMS[head]))
        said: Json = {"safe": len(passed)}
        if head == "harmful":
            alike = _probabilities(scorer, harmless.HARMLESS_HELD, rule)
            at = max(at, float(np.quantile(alike, 1 - LOOKALIKES)))
            said |= {"look-alikes": len(alike), "look-alikes that pass": round(float((alike < at).mean()), 4)}
        at = chosen[rule] = round(min(at, 0.995), 4)
        said |= {"safe that pass": round(float((passed < at).mean()), 4)}
        if head in bad:
            caught = _probabilities(scorer, _labelled(parts, bad[head]), rule)
            said |= {"bad": len(caught), "bad that are caught": round(float((caught >= at).mean()), 4)}
        found[rule] = said
        log.info("%s: threshold %.4f, %s", rule, at, said)
    change(parts.folder, "heads", thresholds=chosen)
    return found


def _dev_texts(parts: Parts) -> list[str]:
    """Harmless text of all kinds."""
    found: list[str] = []
    for name, field, most in (
        ("clinc150", "text", 400),
        ("medquad", "query", 200),
        ("nq_passages", "query", 300),
        ("wanli", "premise", 400),
        ("hwu64", "text", 300),
    ):
        found += [row[field] for row in parts.rows(name, "dev", most, shuffled=True)]
    return found + _labelled(parts, [("sms_spam", ("ham",), 150)])


def _labelled(parts: Parts, wanted: Sequence[tuple[str, tuple[str, ...], int]]) -> list[str]:
    found: list[str] = []
    for name, labels, most in wanted:
        texts = [row["text"] for row in rows(parts.root, name, "dev") if row["label"] in labels]
        found += random.Random(3).sample(texts, min(most, len(texts)))
    return found


def _probabilities(scorer: Family, texts: Sequence[str], rule: str) -> Floats:
    return scorer.score(list(texts), [rule]).probabilities[:, 0].astype(np.float64)


def finish(folder: Path, out: Path, data: Path, *, seed: int = 0, scale: float = 1.0, dtype: str = "float32") -> Json:
    """Write `out`, the finished folder.

    Args:
        folder: What ``headgate.train.mini.export`` wrote.
        out: Where the finished one goes.
        data: The folder of the data sets.
        seed: Of the draws.
        scale: Share of the usual numbers of dev rows.
        dtype: Of the encoders that read dev rows; the heads are fitted on float32.

    Returns:
        What was measured on dev rows while choosing.
    """
    refit(folder, out, reading.load(data, seed=seed), seed)
    parts = Parts(out, data, scale, dtype)
    queries = [row for name in ("nq_passages", "medquad") for row in candidates(parts, name, 80, split="dev", each=20)]
    chosen = {"ranking": rankers(parts, queries), "route": route_weights(parts, 400)}
    chosen["routing"] = routing(parts, max(20, int(160 * scale)))
    return chosen | {"thresholds": thresholds(parts)}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m headgate.train.mini.finish", description="Fit heads and choices.")
    parser.add_argument("--folder", type=Path, required=True, help="what headgate.train.mini.export wrote")
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a data set")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual numbers of dev rows")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of what reads dev rows")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(given.threads)
    chosen = finish(given.folder, given.out, given.data, seed=given.seed, scale=given.scale, dtype=given.dtype)
    (given.out / "chosen.json").write_text(json.dumps(chosen, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
