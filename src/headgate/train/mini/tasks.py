"""What each part of ``mini`` is trained on: how a batch is drawn, and its loss."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from headgate.train.mini import phrases
from headgate.train.mini.data import NLI_CLASSES, NOT_ENTAILED, Examples, Pair
from headgate.train.mini.labels import hypothesis, say
from headgate.train.mini.mixes import (
    CLASS_MIX,
    GROUPS,
    HEAD_MIX,
    NLI_MIX,
    POOL_MIX,
    TRUE_OF_MUCH,
    Row,
    Task,
    bucket,
    pick,
)
from headgate.train.mini.model import HEADS, Mini, Text

F = nn.functional
UNKNOWN = -1.0
"""The target of a label of which nobody said whether it is true."""
LABELLED = 0.15
"""Share of the pairs that are a text and one of its labels."""
CHOICE = 0.5
"""What it counts that the true label is the likeliest of a prompt, beside yes or no for each label."""
CONTRADICTION = NLI_CLASSES.index("contradiction")


class Nli(Task):
    """Natural-language inference, and labels as hypotheses."""

    def __init__(self, examples: Examples, text: Text, budget: int) -> None:
        super().__init__(examples, text, budget)
        self.by_class = {
            name: [[pair for pair in pairs if pair.label == label] for label in sorted({p.label for p in pairs})]
            for name, pairs in examples.pairs.items()
        }

    def draw(self, rng: random.Random) -> list[Row]:
        """One batch of pair rows."""
        pairs = [
            self._labelled(rng) if rng.random() < LABELLED else self._pair(rng)
            for _ in range(max(4, self.budget // 12))
        ]
        premises = self.text.ids([pair.premise for pair in pairs], 96)
        hypotheses = self.text.ids([pair.hypothesis for pair in pairs], 40)
        rows = []
        for pair, a, b in zip(pairs, premises, hypotheses, strict=True):
            rows.append(Row([self.text.cls, *a, self.text.sep, *b, self.text.sep], len(a) + 2, pair.label))
        return bucket(rng, rows, self.budget)

    def _pair(self, rng: random.Random) -> Pair:
        # Classes evenly: where a sample has few neutral pairs, the gap would be learned as a prior of its style.
        classes = self.by_class[pick(rng, NLI_MIX, self.by_class)]
        pair = rng.choice(rng.choice(classes))
        chance = rng.random()
        if chance < 0.04:  # A premise about something else says nothing, however many words are shared.
            return Pair(rng.choice(rng.choice(classes)).premise, pair.hypothesis, 1)
        if chance < 0.06:
            return Pair(pair.premise, pair.premise, 0)
        if pair.label == CONTRADICTION and chance > 0.75:  # What contradicts a text is contradicted by it.
            return pair._replace(premise=pair.hypothesis, hypothesis=pair.premise)
        if chance < 0.18:  # Evidence seldom comes alone: the class must survive a neighbouring sentence.
            other = rng.choice(self.examples.plain)[:160]
            premise = f"{other} {pair.premise}" if rng.random() < 0.5 else f"{pair.premise} {other}"
            return pair._replace(premise=premise)
        return pair

    def _labelled(self, rng: random.Random) -> Pair:
        pool = pick(rng, POOL_MIX, self.examples.choices)
        item = rng.choice(self.examples.choices[pool])
        if rng.random() < 0.42:
            return Pair(item.text, hypothesis(rng, pool, rng.choice(item.truth)), 0)
        wrong = rng.choice(self.examples.pools[pool])
        if wrong in item.truth:
            return Pair(item.text, hypothesis(rng, pool, wrong), 0)
        return Pair(item.text, hypothesis(rng, pool, wrong), NOT_ENTAILED)

    def loss(self, model: Mini, rows: list[Row]) -> Tensor:
        """Cross-entropy; for "not entailed" the log of what is left beside entailment."""
        batch = self.text.batch([row.ids for row in rows], [row.first for row in rows])
        logp = F.log_softmax(model.multi(*batch, ["nli"])["nli"], dim=-1)
        target = torch.tensor([row.target for row in rows], device=logp.device)
        exact = logp.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
        return -torch.where(target == NOT_ENTAILED, logp[:, 1:].logsumexp(-1), exact).mean()


class Labels(Task):
    """GLiClass: a prompt of labels and a text, one yes or no a label."""

    def __init__(self, examples: Examples, text: Text, budget: int) -> None:
        super().__init__(examples, text, budget)
        self.by_label = examples.by_label("clinc150", "clinc150_domains", "snips", "smalltalk")

    def draw(self, rng: random.Random) -> list[Row]:
        """One batch of prompts; every sixth asks for what the base would say."""
        if rng.random() < 1 / 6:
            return self._rows(rng, [self._any(rng) for _ in range(max(4, self.budget // 48))])
        count = max(4, self.budget // 24)
        return self._rows(rng, [self._pairs(rng) if rng.random() < 0.08 else self._menu(rng) for _ in range(count)])

    def _rows(self, rng: random.Random, drawn: list[tuple[str, dict[str, float]]]) -> list[Row]:
        texts = self.text.ids([text for text, _ in drawn], 96)
        rows = []
        for ids, (_, menu) in zip(texts, drawn, strict=True):
            prompt = [self.text.cls]
            for label in self.text.ids(list(menu), 20):
                prompt += [self.text.label, *label]
            rows.append(Row([*prompt, self.text.text, *ids, self.text.sep], 0, list(menu.values())))
        return bucket(rng, rows, self.budget)

    def _menu(self, rng: random.Random) -> tuple[str, dict[str, float]]:
        """A text and how each label of its prompt is said, with 1.0 for true ones; in a fifth none is true."""
        pool = pick(rng, POOL_MIX, self.examples.choices)
        item = rng.choice(self.examples.choices[pool])
        names = self.examples.pools[pool]
        wanted = rng.randint(1, 12) if rng.random() < 0.6 else rng.randint(12, 60)
        wrong = [n for n in rng.sample(names, min(len(names), wanted)) if n not in item.truth]
        if rng.random() < 0.3:
            others = [p for p in self.examples.pools if GROUPS[p] != GROUPS[pool]]
            pools = [rng.choice(others) for _ in range(rng.randint(1, 4))] if others else []
            wrong += [n for p in pools if (n := rng.choice(self.examples.pools[p])) not in TRUE_OF_MUCH | {*item.truth}]
        truth = [] if wrong and rng.random() < 0.2 else list(item.truth)
        plainly = rng.random()
        menu: dict[str, float] = {}
        for name, value in rng.sample(
            [*((n, 1.0) for n in truth), *((n, 0.0) for n in wrong[:wanted])], len(truth) + len(wrong[:wanted])
        ):
            twins = [t for t in self.by_label.get(pool, {}).get(name, []) if t != item.text]
            menu.setdefault(say(rng, name, twins, plainly=plainly), value)
        return item.text, menu

    def _any(self, rng: random.Random) -> tuple[str, dict[str, float]]:
        """An ordinary text and labels from everywhere, of which nobody said which are true."""
        pools = [rng.choice(list(self.examples.pools)) for _ in range(rng.randint(3, 16))]
        labels = [say(rng, rng.choice(self.examples.pools[pool])) for pool in pools]
        return rng.choice(self.examples.plain)[:300], dict.fromkeys(labels, UNKNOWN)

    def _pairs(self, rng: random.Random) -> tuple[str, dict[str, float]]:
        """A premise, and hypotheses as its labels."""
        pairs = self.examples.pairs[pick(rng, NLI_MIX, self.examples.pairs)]
        pair = rng.choice(pairs)
        others = [rng.choice(pairs) for _ in range(rng.randint(0, 4))]
        menu = {p.hypothesis: 0.0 for p in others if p.premise != pair.premise} | {
            pair.hypothesis: float(pair.label == 0)
        }
        return pair.premise, dict(rng.sample(list(menu.items()), len(menu)))

    def loss(self, model: Mini, rows: list[Row]) -> Tensor:
        """Yes or no for each label, and which is the likeliest; or, of prompts nobody labelled, the base's choice."""
        batch = self.text.batch([row.ids for row in rows])
        logits = model.gliclass(batch.ids, batch.mask)
        if all(UNKNOWN in row.target for row in rows if isinstance(row.target, list)):
            return self._unlike_the_base(model, rows, logits)
        losses = [
            _told_apart(z, torch.tensor(row.target, device=z.device)) for z, row in zip(logits, rows, strict=True)
        ]
        return torch.stack(losses).mean()

    def _unlike_the_base(self, model: Mini, rows: list[Row], logits: list[Tensor]) -> Tensor:
        """Divergence of the softmax over a prompt's labels from that of the base's cosines."""
        texts, labels = zip(*(self._parts(row.ids) for row in rows), strict=True)
        with torch.no_grad():
            pooled = [
                F.normalize(model.teacher.pool(model.teacher.encode(b.ids, b.mask), b.mask), dim=-1)
                for b in (self.text.batch(list(texts)), self.text.batch([label for some in labels for label in some]))
            ]
        cosines = pooled[1].split([len(some) for some in labels])
        losses = [
            F.kl_div(F.log_softmax(z, -1), F.log_softmax(20 * (c @ t), -1), log_target=True, reduction="sum")
            for z, c, t in zip(logits, cosines, pooled[0], strict=True)
        ]
        return 0.3 * torch.stack(losses).mean()

    def _parts(self, ids: list[int]) -> tuple[list[int], list[list[int]]]:
        """The text and the labels of a prompt, each as a row of its own."""
        at = ids.index(self.text.text)
        labels: list[list[int]] = []
        for token in ids[1:at]:
            if token == self.text.label:
                labels.append([self.text.cls])
            else:
                labels[-1].append(token)
        return [self.text.cls, *ids[at + 1 :]], [[*label, self.text.sep] for label in labels]


def _told_apart(z: Tensor, true: Tensor) -> Tensor:
    """Yes or no for each label (K,), and which one."""
    loss = F.binary_cross_entropy_with_logits(z, true)
    if not true.any():
        return loss
    return loss + CHOICE * (z.logsumexp(0) - z[true > 0].logsumexp(0))


class Heads(Task):
    """Linear heads on plain text."""

    def __init__(self, examples: Examples, text: Text, budget: int) -> None:
        super().__init__(examples, text, budget)
        # By the root of its size, so that neither a small nor a huge source is all that a class is known by.
        self.mix = {
            head: {
                name: {s: min(len(t), 20_000) ** 0.5 for s, t in sources.items()} for name, sources in classes.items()
            }
            for head, classes in examples.heads.items()
        }

    def draw(self, rng: random.Random) -> tuple[str, list[Row]]:
        """A head and one batch for it."""
        head = pick(rng, HEAD_MIX, self.examples.heads)
        room = {"injection": 128, "jailbreak": 192}.get(head, 72)
        drawn = [self._item(rng, head) for _ in range(max(4, self.budget // (40 if room > 72 else 16)))]
        ids = self.text.single([text for text, _ in drawn], room)
        return head, bucket(rng, [Row(i, 0, target) for i, (_, target) in zip(ids, drawn, strict=True)], self.budget)

    def _item(self, rng: random.Random, head: str) -> tuple[str, int]:
        target = rng.choices(range(len(HEADS[head])), CLASS_MIX[head])[0]
        name = HEADS[head][target]
        sources = self.examples.heads[head][name]
        source = pick(rng, self.mix[head][name], sources)
        text = rng.choice(sources[source])
        if head == "intent" and name == "other" and rng.random() < 0.1:  # "Hello, my card is lost" wants an answer.
            opening = rng.choice((phrases.GREETINGS, phrases.THANKS))
            text = f"{rng.choice(opening)}{rng.choice((', ', '. ', ' - ', ' '))}{text}"
        if head in ("injection", "jailbreak"):
            text = self._carrier(rng, text, target == 0, source)
        return text, target

    def _carrier(self, rng: random.Random, text: str, attack: bool, source: str) -> str:
        """Attacks, and look-alikes, also inside documents; benign text also from its middle."""
        if source in ("written", "prompt_injections_deepset") and rng.random() < 0.5:
            host = rng.choice(self.examples.plain)[: rng.randint(40, 500)]
            at = rng.choice((0, len(host), host.find(". ") + 2, host.find(" ", len(host) // 2)))
            return f"{host[:at]} {text} {host[at:]}".strip()
        if not attack and len(text) > 900 and rng.random() < 0.4:
            at = rng.randrange(len(text) - 600)
            return text[at : at + 700]
        return text

    def loss(self, model: Mini, drawn: tuple[str, list[Row]]) -> Tensor:
        """Cross-entropy of the head."""
        head, rows = drawn
        batch = self.text.batch([row.ids for row in rows])
        target = torch.tensor([row.target for row in rows], device=batch.ids.device)
        return F.cross_entropy(model.multi(*batch, [head])[head], target)
