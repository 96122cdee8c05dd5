"""Calibrations, and the weights of the two terms of the routing score: chosen on dev rows."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headgate import Ask, Calibration
from headgate.evaluate.metrics import f1
from headgate.evaluate.reranking import measure
from headgate.train.mini.data import rows
from headgate.train.mini.heldout import Parts
from headgate.train.mini.labels import spoken

log = logging.getLogger(__name__)

Json = dict[str, Any]
Floats = NDArray[np.float64]
ROUTES_A_QUERY = 8
SHARES = [i / 10 for i in range(11)]
ROUTED = ("hwu64", "slurp", "clinc150", "tweet_eval_sentiment", "tweet_eval_emotion")
"""Sets whose dev rows weigh the terms of the routing score."""


def change(folder: Path, part: str, **keys: object) -> None:
    """Other values for some keys of a part in scorer.json."""
    path = folder / "scorer.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["parts"][part] |= keys
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def rankers(parts: Parts, queries: Sequence[Json]) -> Json:
    """Calibrations of the parts that rank, and how well each does on dev queries, by nDCG@10."""
    truth = [d["relevance"] > 0 for q in queries for d in q["documents"]]
    relevance = [[d["relevance"] for d in q["documents"]] for q in queries]
    found: Json = {}
    for part in ("rank", "embed"):
        change(parts.folder, part, calibration=None)
        asks = [Ask([d["text"] for d in q["documents"]], [q["query"]]) for q in queries]
        z = [scores.log_odds[:, 0].astype(np.float64) for scores in parts.load(part).score_many(asks)]
        orders = [np.argsort(-column, kind="stable").tolist() for column in z]
        found[part] = {"nDCG@10": round(float(measure(relevance, orders)["nDCG@10"].mean()), 4)}
        change(parts.folder, part, calibration=platt(np.concatenate(z), truth))
    log.info("ranking on dev queries: %s", found)
    return found


def route_weights(parts: Parts, number: int) -> Json:
    """What MaxSim and the cosine count in routing: the best shares on dev rows, by macro F1, mean over sets."""
    asks, truths = [], []
    for name in ROUTED:
        found = [row for row in parts.rows(name, "dev", number, shuffled=True) if row["label"] != "oos"]
        labels = sorted({row["label"] for row in found})
        asks.append(Ask([row["text"] for row in found], [spoken(label) for label in labels]))
        truths.append([labels.index(row["label"]) for row in found])
    terms = []
    for maxsim, cosine in ((1.0, 0.0), (0.0, 1.0)):
        change(parts.folder, "route", maxsim=maxsim, cosine=cosine, calibration=None)
        terms.append([s.log_odds.astype(np.float64) for s in parts.load("route").score_many(asks)])
    spread = [float(np.mean([z.std(1).mean() for z in term])) for term in terms]
    classes = [np.eye(len(ask.labels), dtype=bool) for ask in asks]
    shares = {}
    for share in SHARES:
        mixed = [share / spread[0] * a + (1 - share) / spread[1] * b for a, b in zip(*terms, strict=True)]
        by_set = [f1(eye[y], eye[z.argmax(1)]) for y, z, eye in zip(truths, mixed, classes, strict=True)]
        shares[share] = round(float(np.mean(by_set)), 4)
    log.info("route, dev macro F1 by the share of maxsim: %s", shares)
    best = max(shares, key=lambda s: shares[s])
    weights = {"maxsim": round(best / spread[0], 4), "cosine": round((1 - best) / spread[1], 4)}
    change(parts.folder, "route", **weights, calibration=None)
    return {"shares": shares}


def routing(parts: Parts, number: int) -> Json:
    """Calibrations of the parts that route, and how well each does.

    Eight routes by name, in half of the asks the right one among them. One of the two sets is unseen in training.
    """
    asks, right = _menus(parts, number)
    found: Json = {}
    for part in ("nli", "gliclass", "route"):
        change(parts.folder, part, calibration=None)
        z = np.stack([s.log_odds[0] for s in parts.load(part).score_many(asks)]).astype(np.float64)
        calibration, found[part] = _routed(z, right)
        change(parts.folder, part, calibration=calibration)
        log.info("routing by %s: %s", part, found[part])
    return found


def _menus(parts: Parts, number: int) -> tuple[list[Ask], NDArray[np.int64]]:
    rng, asks, right = random.Random(2), [], []
    for name, split in (("hwu64", "dev"), ("clinc150", "dev")):
        items = [row for row in rows(parts.root, name, split) if row["label"] != "oos"]
        labels = sorted({row["label"] for row in items})
        for row in rng.sample(items, min(number, len(items))):
            inside = rng.random() < 0.5
            menu = rng.sample([label for label in labels if label != row["label"]], ROUTES_A_QUERY - inside)
            if inside:
                menu.insert(rng.randrange(ROUTES_A_QUERY), row["label"])
            asks.append(Ask([row["text"]], [spoken(label) for label in menu]))
            right.append(menu.index(row["label"]) if inside else -1)
    return asks, np.array(right)


def _routed(z: Floats, right: NDArray[np.int64]) -> tuple[Json, Json]:
    """The router's calibration on all of it; and how well one half routes when the other half calibrates.

    Args:
        z: Log-odds (n, routes).
        right: The true route of each text, -1 for none (n,).
    """
    even = np.arange(len(z)) % 2 == 0
    fit = route_calibration(z[even], right[even])
    odds, there = fit["scale"] * z[~even] + fit["shift"], right[~even]
    # P(none) = 1 / (1 + sum of odds), so a route wins where its log-odds are above 0.
    said = np.where(odds.max(1) > 0, odds.argmax(1), -1)
    inside, outside = said[there >= 0] == there[there >= 0], said[there < 0] == -1
    return route_calibration(z, right), {
        "in": round(float(inside.mean()), 4),
        "none": round(float(outside.mean()), 4),
        "balanced": round(float(inside.mean() + outside.mean()) / 2, 4),
        "top-1 where a route is true": round(float((odds.argmax(1) == there)[there >= 0].mean()), 4),
    }


def platt(z: Floats, truth: Sequence[bool]) -> Json:
    """What scorer.json holds of a calibration fitted on log-odds (n,) and whether each was true."""
    fitted = Calibration.fit(z, truth)
    return {"scale": round(fitted.scale, 5), "shift": round(fitted.shift, 5), "length": 0.0}


def route_calibration(z: Floats, right: NDArray[np.int64]) -> Json:
    """The calibration under which a Router's own decisions are likeliest.

    A router says ``P(k) = o_k / (1 + sum o)``, so scale and shift maximise that softmax with a zero for "none".
    Platt's fit looks at each label alone: it ranks the same, and declines far more often.

    Args:
        z: Log-odds (n, routes).
        right: The true route of each text, -1 for none (n,).
    """
    middle, spread = float(z.mean()), float(z.std())
    scores, target = torch.tensor((z - middle) / spread), torch.tensor(np.where(right < 0, z.shape[1], right))
    fitted = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([fitted], max_iter=100)

    def loss() -> Tensor:
        optimizer.zero_grad()
        odds = fitted[0].exp() * scores + fitted[1]
        found = nn.functional.cross_entropy(nn.functional.pad(odds, (0, 1)), target)
        found.backward()
        return found

    optimizer.step(loss)
    slope, shift = fitted.detach().tolist()
    scale = math.exp(slope) / spread
    return {"scale": round(scale, 5), "shift": round(shift - scale * middle, 5), "length": 0.0}
