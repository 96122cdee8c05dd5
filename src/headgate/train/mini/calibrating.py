"""Calibrations, and the weights of the two terms of the rank score: chosen on dev rows."""

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
from headgate.evaluate.reranking import measure
from headgate.families.base import Family
from headgate.train.mini.data import rows
from headgate.train.mini.heldout import Parts
from headgate.train.mini.labels import spoken

log = logging.getLogger(__name__)

Json = dict[str, Any]
Floats = NDArray[np.float64]
ROUTES_A_QUERY = 8


def change(folder: Path, part: str, **keys: object) -> None:
    """Other values for some keys of a part in scorer.json."""
    path = folder / "scorer.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["parts"][part] |= keys
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def rank_weights(parts: Parts, queries: Sequence[Json]) -> Json:
    """What MaxSim and the cosine count: the best shares on dev queries, by nDCG@10."""
    terms = []
    for maxsim, cosine in ((1.0, 0.0), (0.0, 1.0)):
        change(parts.folder, "rank", maxsim=maxsim, cosine=cosine, calibration=None)
        terms.append(_columns(parts.load("rank"), queries))
    relevance = [[d["relevance"] for d in q["documents"]] for q in queries]
    spread = [float(np.mean([z.std() for z in term])) for term in terms]
    shares = {}
    for share in np.linspace(0, 1, 11):
        mixed = [share / spread[0] * a + (1 - share) / spread[1] * b for a, b in zip(*terms, strict=True)]
        orders = [np.argsort(-z, kind="stable").tolist() for z in mixed]
        shares[round(float(share), 1)] = round(float(measure(relevance, orders)["nDCG@10"].mean()), 4)
    log.info("rank, dev nDCG@10 by the share of maxsim: %s", shares)
    # Among shares nearly as good as the best, the most even one: the two terms fail on different queries, and two dev
    # sets can't tell shares apart that are this close.
    good = [share for share, value in shares.items() if value > max(shares.values()) - 0.005]
    share = min(good, key=lambda s: abs(s - 0.5))
    weights = {"maxsim": round(share / spread[0], 4), "cosine": round((1 - share) / spread[1], 4)}
    change(parts.folder, "rank", **weights, calibration=None)
    change(parts.folder, "embed", calibration=None)
    z = {
        "rank": [weights["maxsim"] * a + weights["cosine"] * b for a, b in zip(*terms, strict=True)],
        "embed": _columns(parts.load("embed"), queries),
    }
    truth = [d["relevance"] > 0 for q in queries for d in q["documents"]]
    for part, columns in z.items():
        change(parts.folder, part, calibration=platt(np.concatenate(columns), truth))
    return {"shares": shares}


def _columns(scorer: Family, queries: Sequence[Json]) -> list[Floats]:
    asks = [Ask([d["text"] for d in q["documents"]], [q["query"]]) for q in queries]
    return [scores.log_odds[:, 0].astype(np.float64) for scores in scorer.score_many(asks)]


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
