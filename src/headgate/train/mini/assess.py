"""Calibrate, choose thresholds and the default router, and measure: ``python -m headgate.train.mini.assess``.

Everything chosen (calibrations, thresholds, the weights of the rank score, the part that routes) is chosen on dev
data; the figures are from test data that no choice has seen. Writes one JSON file, from which the export and the card
are made.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headgate.train.mini import heldout
from headgate.train.mini.data import rows
from headgate.train.mini.export import TEMPLATE, load_checkpoint
from headgate.train.mini.labels import spoken
from headgate.train.mini.measure import Floats, Judge, entailed, match, ndcg, platt, route_calibration
from headgate.train.mini.model import BASE

log = logging.getLogger(__name__)

Json = dict[str, Any]
ROUTES_A_QUERY = 8


def calibrate_rank(judge: Judge, root: Path, number: int) -> Json:
    """Weights of the two terms of the rank score, and calibrations of rank and embed.

    From dev queries with the candidates of BM25.
    """
    terms, truth, groups = [], [], []
    for name in ("nq_passages", "medquad"):
        chosen = random.Random(1).sample(list(rows(root, name, "dev")), number)
        wanted = {doc for row in chosen for doc in row["candidates"][:30]}
        docs = {
            r["doc_id"]: f"{r.get('title') or ''} {r['text']}".strip()
            for r in rows(root, name, "corpus")
            if r["doc_id"] in wanted
        }
        known = dict(zip(docs, judge.encode(list(docs.values())), strict=True))
        for row, query in zip(chosen, judge.encode([row["query"] for row in chosen]), strict=True):
            ids = [doc for doc in row["candidates"][:30] if doc in known]
            terms.append(match(query, [known[doc] for doc in ids]))
            groups.append((ids, row["positives"]))
            truth += [doc in row["positives"] for doc in ids]
    spread = np.mean([t.std(1) for t in terms], axis=0)
    shares = {}
    for share in np.linspace(0, 1, 11):
        weights = np.array([share, 1 - share]) / spread
        quality = [
            ndcg([ids[at] for at in np.argsort(-(weights @ t))], right)
            for t, (ids, right) in zip(terms, groups, strict=True)
        ]
        shares[round(float(share), 1)] = round(float(np.mean(quality)), 4)
    log.info("rank, dev nDCG@10 by the share of maxsim: %s", shares)
    # Among shares nearly as good as the best, the most even one: the two terms fail on different queries, and two dev
    # sets can't tell shares apart that are this close.
    good = [share for share, value in shares.items() if value > max(shares.values()) - 0.005]
    share = min(good, key=lambda s: abs(s - 0.5))
    weights = np.array([share, 1 - share]) / spread
    flat = np.concatenate(terms, axis=1)
    return {
        "rank": {"maxsim": round(float(weights[0]), 4), "cosine": round(float(weights[1]), 4)},
        "shares": shares,
        "calibrations": {"rank": platt(weights @ flat, truth), "embed": platt(flat[1], truth)},
    }


def routing(judge: Judge, root: Path, number: int, weights: Floats) -> Json:
    """Calibrations of nli, gliclass and the routing part, and how well each part routes.

    Eight routes a text, by name; half of the texts have their route among them. Two of the three sets are unseen in
    training.
    """
    scored: dict[str, list[Floats]] = {"nli": [], "gliclass": [], "embed": [], "rank": []}
    right: list[int] = []
    rng = random.Random(2)
    for name, split in (("banking77", "train"), ("hwu64", "dev"), ("clinc150", "dev")):
        items = [row for row in rows(root, name, split) if row["label"] != "oos"]
        labels = sorted({row["label"] for row in items})
        for row in rng.sample(items, number):
            inside = rng.random() < 0.5
            menu = rng.sample([label for label in labels if label != row["label"]], ROUTES_A_QUERY - inside)
            if inside:
                menu.insert(rng.randrange(ROUTES_A_QUERY), row["label"])
            said = [spoken(label) for label in menu]
            scored["nli"].append(judge.nli([row["text"]] * len(said), [TEMPLATE.format(s) for s in said]))
            scored["gliclass"].append(judge.joint([row["text"]], [said])[0])
            text, *names = judge.encode([row["text"], *said])
            terms = np.stack([match(name, [text])[:, 0] for name in names])  # (routes, 2): MaxSim, cosine
            scored["embed"].append(terms[:, 1])
            scored["rank"].append(terms @ weights)
            right.append(menu.index(row["label"]) if inside else -1)
    found: Json = {"calibrations": {}, "routing": {}}
    for part, scores in scored.items():
        z = np.stack([entailed(s) if part == "nli" else s for s in scores])
        found["calibrations"][part], found["routing"][part] = _routed(z, np.array(right))
        log.info("routing by %s: %s", part, found["routing"][part])
    # Token by token is within the noise of the best here, finds the right name more often than any, reads descriptions
    # as well as names, and costs a tenth. Relevance keeps its own calibrations; routes get one of their own.
    z = np.stack(scored["rank"])
    found["calibrations"]["route"] = route_calibration(z, np.array(right))
    found["route"] = "route"
    for part in ("embed", "rank"):
        del found["calibrations"][part]
    return found


def _routed(z: Floats, right: NDArray[np.int64]) -> tuple[Json, Json]:
    """Platt's calibration on all of it; and how well one half routes when the other half calibrates the router.

    Args:
        z: Log-odds (n, routes).
        right: The true route of each text, -1 for none (n,).
    """
    truth = np.arange(z.shape[1])[None, :] == right[:, None]
    even = np.arange(len(z)) % 2 == 0
    fit = route_calibration(z[even], right[even])
    odds, there = fit["scale"] * z[~even] + fit["shift"], right[~even]
    # P(none) = 1 / (1 + sum of odds), so a route wins where its log-odds are above 0.
    said = np.where(odds.max(1) > 0, odds.argmax(1), -1)
    inside, outside = said[there >= 0] == there[there >= 0], said[there < 0] == -1
    figures = {
        "in": round(float(inside.mean()), 4),
        "none": round(float(outside.mean()), 4),
        "balanced": round(float(inside.mean() + outside.mean()) / 2, 4),
        "top-1 where a route is true": round(float((odds.argmax(1) == there)[there >= 0].mean()), 4),
    }
    return platt(z.ravel(), truth.ravel().tolist()), figures


def thresholds(judge: Judge, root: Path) -> Json:
    """By guard head, the probability above which 1% of safe dev texts score; and the share of bad ones above it."""

    def texts(name: str, split: str, keep: Any, most: int, field: str = "text") -> list[str]:  # noqa: ANN401
        found = [row[field] for row in rows(root, name, split) if keep(row)]
        return random.Random(3).sample(found, min(most, len(found)))

    ordinary = texts("clinc150", "dev", lambda r: True, 400) + texts("medquad", "dev", lambda r: True, 200, "query")
    ordinary += texts("nq_passages", "dev", lambda r: True, 300, "query") + texts(
        "mnli", "dev", lambda r: True, 500, "premise"
    )
    ordinary += texts("hwu64", "dev", lambda r: True, 300) + texts(
        "sms_spam", "dev", lambda r: r["label"] == "ham", 150
    )
    safe = {
        "toxicity": ordinary + texts("paradetox", "dev", lambda r: r["label"] == "neutral", 250),
        "injection": ordinary
        + texts("jailbreak_prompts", "dev", lambda r: r["label"] == "benign", 200)
        + texts("prompt_injections_deepset", "dev", lambda r: r["label"] == "benign", 40),
    }
    bad = {
        "toxicity": texts("paradetox", "dev", lambda r: r["label"] == "toxic", 400)
        + texts("hate_offensive_davidson", "dev", lambda r: r["label"] != "neither", 400),
        "injection": texts("jailbreak_prompts", "dev", lambda r: r["label"] == "jailbreak", 200)
        + texts("prompt_injections_deepset", "dev", lambda r: r["label"] == "injection", 40),
    }
    found: Json = {"thresholds": {}, "dev": {}}
    for head, rule in (("toxicity", "toxicity:toxic"), ("injection", "injection:injection")):
        passed, caught = judge.broken(safe[head], head), judge.broken(bad[head], head)
        at = round(min(float(np.quantile(passed, 0.99)), 0.99), 4)
        found["thresholds"][rule] = at
        found["dev"][rule] = {
            "safe": len(passed),
            "safe that pass": round(float((passed < at).mean()), 4),
            "bad": len(caught),
            "bad that are caught": round(float((caught >= at).mean()), 4),
        }
        log.info("%s: threshold %.4f, %s", rule, at, found["dev"][rule])
    return found


def assess(run: Path, root: Path, base: str, *, scale: float) -> Json:
    """All of it.

    Args:
        run: The folder with the checkpoint.
        root: The folder of the data sets.
        base: The base model.
        scale: Share of the usual numbers of test rows.
    """
    model, text = load_checkpoint(run, base)
    for weight in model.parameters():  # What is measured is what is shipped.
        weight.data = weight.data.half().float()
    judge = Judge(model, text)

    def number(usual: int) -> int:
        return max(20, int(usual * scale))

    steps = torch.load(run / "checkpoint.pt", weights_only=True, mmap=True)["step"]
    found: Json = {"scale": scale, "steps": steps, "drift": heldout.drift(judge, root, number(600))}
    rank = calibrate_rank(judge, root, number(120))
    weights = np.array([rank["rank"]["maxsim"], rank["rank"]["cosine"]])
    routes = routing(judge, root, number(160), weights)
    guards = thresholds(judge, root)
    found |= {
        "rank": rank["rank"],
        "route": routes["route"],
        "routing": routes["routing"],
        "thresholds": guards["thresholds"],
    }
    found |= {"calibrations": rank["calibrations"] | routes["calibrations"], "threshold_dev": guards["dev"]}
    found["retrieval"] = heldout.retrieval(judge, root, rank["rank"], number)
    found["nli"] = heldout.inference(judge, root, number(2000))
    found["zero_shot"] = heldout.zero_shot(judge, root, number)
    found["guards"] = heldout.guards(judge, root, guards["thresholds"], number)
    found["heads"] = heldout.own_heads(judge, root, number(1000))
    return found


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m headgate.train.mini.assess", description="Calibrate and measure a checkpoint."
    )
    parser.add_argument("--run", type=Path, required=True, help="folder with the checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a data set")
    parser.add_argument("--figures", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--base", default=BASE, help="folder or hub id of the base model")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual numbers of test rows")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(given.threads)
    begun = time.monotonic()
    found = assess(given.run, given.data, given.base, scale=given.scale)
    given.figures.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    log.info("measured in %.0f s", time.monotonic() - begun)


if __name__ == "__main__":
    main()
