"""Matching texts with one another: passages with queries, texts with the names of their labels."""

from __future__ import annotations

import random
from typing import NamedTuple

import torch
from torch import Tensor, nn

from headgate.train.mini.data import Examples
from headgate.train.mini.labels import say
from headgate.train.mini.mixes import POOL_MIX, QUERY_MIX, Task, pick
from headgate.train.mini.model import Batch, Mini, Text, relevance

F = nn.functional
Encoded = list[tuple[Tensor, Tensor]]
"""Token states (B, S, D) and pooled states (B, D) of each batch, in float32."""


def encoded(model: Mini, batches: list[Batch], *, base: bool) -> Encoded:
    """The states of the trained model, or of the base without gradients."""
    of = model.teacher if base else model.multi
    with torch.set_grad_enabled(torch.is_grad_enabled() and not base):
        return [(states := of.encode(b.ids, b.mask).float(), of.pool(states, b.mask)) for b in batches]


def scores(model: Mini, states: Encoded, batches: list[Batch]) -> Tensor:
    """MaxSim and cosine of the first batch's texts with the second's (Q, P), each with its learned scale."""
    (q, q_pooled), (p, p_pooled) = states[:2]
    maxsim = relevance(q, batches[0].mask, p, batches[1].mask)
    cosine = F.normalize(q_pooled, dim=-1) @ F.normalize(p_pooled, dim=-1).T
    return model.maxsim * maxsim + model.cosine * cosine


def drift(ours: Encoded, base: Encoded, batches: list[Batch]) -> Tensor:
    """How far pooled and token states have moved from the base's."""
    far = torch.zeros((), device=batches[0].ids.device)
    for batch, new, old in zip(batches, ours, base, strict=True):
        far = far + 2 * (1 - F.cosine_similarity(new[1], old[1], dim=-1)).mean()
        far = far + (1 - F.cosine_similarity(new[0], old[0], dim=-1))[batch.mask].mean()
    return far / len(batches)


def departure(order: Tensor, wish: Tensor) -> Tensor:
    """Kullback-Leibler divergence of a ranking (Q, P) from the base's."""
    return F.kl_div(F.log_softmax(order, -1), F.log_softmax(wish.detach(), -1), log_target=True, reduction="batchmean")


class Retrieval(Task):
    """Late interaction and sentence embeddings: learn where the labels help, keep what the base knows."""

    def draw(self, rng: random.Random) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
        """Rows of queries, of passages (the i-th is relevant to the i-th query), and of ordinary texts."""
        room = 96
        count = max(2, self.budget * 3 // 4 // (room * 3))
        source = self.examples.queries[pick(rng, QUERY_MIX, self.examples.queries)]
        drawn = rng.sample(source, min(count, len(source)))
        negatives = [text for query in drawn for text in rng.sample(query.negatives[:10], min(2, len(query.negatives)))]
        plain = sorted((rng.choice(self.examples.plain) for _ in range(max(4, self.budget // 90))), key=len)
        queries = self.text.single([query.query for query in drawn], 48)
        passages = self.text.single([query.positive for query in drawn] + negatives, room)
        return queries, passages, self.text.single(plain, 64)

    def loss(self, model: Mini, drawn: tuple[list[list[int]], list[list[int]], list[list[int]]]) -> Tensor:
        """Listwise cross-entropy, divergence from the base's own ranking, and distance from the base's states."""
        batches = [self.text.batch(rows) for rows in drawn]
        ours, base = (encoded(model, batches, base=which) for which in (False, True))
        with torch.autocast(batches[0].ids.device.type, enabled=False):
            order, wish = scores(model, ours, batches), scores(model, base, batches)
        right = torch.arange(len(order), device=order.device)
        return drift(ours, base, batches) + 0.7 * F.cross_entropy(order, right) + 0.5 * departure(order, wish)


class Menu(NamedTuple):
    """Rows of labels, rows of texts, and which labels are true of each text."""

    labels: list[list[int]]
    texts: list[list[int]]
    true: list[list[bool]]


class Names(Task):
    """Texts and the names of their labels: a label is a short query, and its texts are the passages."""

    def __init__(self, examples: Examples, text: Text, budget: int) -> None:
        super().__init__(examples, text, budget)
        self.twins = examples.by_label("clinc150", "clinc150_domains", "snips", "smalltalk", "subjects")

    def draw(self, rng: random.Random) -> Menu:
        """One pool's labels, and texts of which one label or more are true."""
        pool = pick(rng, POOL_MIX, self.examples.choices)
        items = [rng.choice(self.examples.choices[pool]) for _ in range(max(4, self.budget // 40))]
        names = list(dict.fromkeys(name for item in items for name in item.truth))
        others = [name for name in self.examples.pools[pool] if name not in names]
        names += rng.sample(others, min(len(others), rng.randint(0, 16)))
        plainly = rng.random()
        # An utterance may stand for its class, but then not for itself.
        told = {item.text for item in items}
        said = [
            say(rng, name, [t for t in self._twins(rng, pool, name) if t not in told], plainly=plainly)
            for name in names
        ]
        room = 96 if pool == "titles" else 64
        return Menu(
            self.text.single(said, 32),
            self.text.single([item.text for item in items], room),
            [[name in item.truth for name in names] for item in items],
        )

    def _twins(self, rng: random.Random, pool: str, name: str) -> list[str]:
        some = self.twins.get(pool, {}).get(name, [])
        return rng.sample(some, min(3, len(some)))

    def loss(self, model: Mini, drawn: Menu) -> Tensor:
        """Cross-entropy over the labels of each text, and divergence from the base's own choice."""
        batches = [self.text.batch(drawn.labels), self.text.batch(drawn.texts)]
        ours, base = (encoded(model, batches, base=which) for which in (False, True))
        with torch.autocast(batches[0].ids.device.type, enabled=False):
            order, wish = scores(model, ours, batches).T, scores(model, base, batches).T
        true = torch.tensor(drawn.true, device=order.device)
        right = F.log_softmax(order, -1).masked_fill(~true, -torch.inf).logsumexp(-1)
        return 0.5 * drift(ours, base, batches) - right.mean() + 0.3 * departure(order, wish)
