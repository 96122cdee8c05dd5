"""What the parts of ``mini`` say, in plain torch, and how well that orders and classifies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headgate.calibration import Calibration
from headgate.errors import MissingExtraError
from headgate.models.multi_head import MultiHead
from headgate.train.mini.model import HEADS, MAX_LENGTH, Batch, Mini, Text, relevance

Floats = NDArray[np.float64]
_TOKENS = 12_000


class Judge:
    """The trained model, or the base, as something to ask. Texts are cut at 256 tokens unless a method says otherwise.

    Args:
        model: The trained model.
        text: Its tokenizer.
    """

    def __init__(self, model: Mini, text: Text) -> None:
        self.model, self.text = model.eval(), text

    def _each(
        self, rows: Sequence[list[int]], first: Sequence[int] | None, ask: Callable[[Batch], Iterable[Tensor]]
    ) -> list[Tensor]:
        """`ask` for every row, in batches of one length, back in the order of the rows."""
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]))
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        while order:
            size = 1
            while size < len(order) and (size + 1) * len(rows[order[size]]) <= _TOKENS:
                size += 1
            part, order = order[:size], order[size:]
            batch = self.text.batch([rows[at] for at in part], None if first is None else [first[at] for at in part])
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                for at, answer in zip(part, ask(batch), strict=True):
                    found[at] = answer
        return found

    def encode(self, texts: Sequence[str], *, base: bool = False) -> list[tuple[Tensor, Tensor]]:
        """Token states (S, D), in half precision, and the unit embedding (D,) of each text."""
        of: MultiHead = self.model.teacher if base else self.model.multi

        def ask(batch: Batch) -> Iterable[Tensor]:
            states = of.encode(batch.ids, batch.mask).float()
            pooled = nn.functional.normalize(of.pool(states, batch.mask), dim=-1)
            for row, real, vector in zip(states, batch.mask, pooled, strict=True):
                yield torch.cat([row[real], vector.unsqueeze(0)]).half()

        both = self._each(self.text.single(list(texts), MAX_LENGTH), None, ask)
        return [(states[:-1], states[-1].float()) for states in both]

    def vectors(self, texts: Sequence[str], *, base: bool = False) -> Floats:
        """Unit embeddings (n, D)."""
        return np.stack([vector.numpy() for _, vector in self.encode(texts, base=base)]).astype(np.float64)

    def states(self, texts: Sequence[str]) -> Floats:
        """Mean-pooled states (n, D), as the heads read them."""
        of = self.model.multi
        rows = self.text.single(list(texts), MAX_LENGTH)
        found = self._each(rows, None, lambda b: of.pool(of.encode(b.ids, b.mask), b.mask))
        return torch.stack(found).double().numpy()

    def nli(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Floats:
        """Class logits (n, 3); the hypothesis is never cut."""
        second = self.text.ids(list(hypotheses), MAX_LENGTH // 2)
        first = self.text.ids(list(premises), MAX_LENGTH - 3)
        rows, lengths = [], []
        for a, b in zip(first, second, strict=True):
            a = a[: MAX_LENGTH - 3 - len(b)]
            rows.append([self.text.cls, *a, self.text.sep, *b, self.text.sep])
            lengths.append(len(a) + 2)
        found = self._each(rows, lengths, lambda b: self.model.multi(*b, ["nli"])["nli"])
        return torch.stack(found).double().numpy()

    def entailment(self, texts: Sequence[str], hypotheses: Sequence[str]) -> Floats:
        """Log-odds of entailment, (texts, hypotheses)."""
        logits = self.nli([t for t in texts for _ in hypotheses], [h for _ in texts for h in hypotheses])
        return entailed(logits).reshape(len(texts), len(hypotheses))

    def joint(self, texts: Sequence[str], labels: Sequence[Sequence[str]], *, most: int = 96) -> list[Floats]:
        """GLiClass logits of each text's own labels, split over prompts of at most `most` label tokens."""
        rows, owner = [], []
        for at, (ids, mine) in enumerate(zip(self.text.ids(list(texts), MAX_LENGTH), labels, strict=True)):
            for prompt in _prompts(self.text, mine, most):
                room = MAX_LENGTH - len(prompt) - 3
                rows.append([self.text.cls, *prompt, self.text.text, *ids[:room], self.text.sep])
                owner.append(at)
        found = self._each(rows, None, lambda b: self.model.gliclass(b.ids, b.mask))
        parts: list[list[Tensor]] = [[] for _ in texts]
        for at, answer in zip(owner, found, strict=True):
            parts[at].append(answer)
        return [torch.cat(part).double().numpy() for part in parts]

    def head(self, texts: Sequence[str], name: str, *, windows: int = 4) -> Floats:
        """Class logits of a head (n, classes); for a long text those of the window whose first class scores highest."""
        width = MAX_LENGTH - 2
        rows, owner = [], []
        for at, ids in enumerate(self.text.ids(list(texts), width * windows)):
            starts = range(0, max(1, len(ids) - width // 4), width * 3 // 4)
            rows += [[self.text.cls, *ids[s : s + width], self.text.sep] for s in starts]
            owner += [at] * len(starts)
        found = torch.stack(self._each(rows, None, lambda b: self.model.multi(*b, [name])[name])).double().numpy()
        best: dict[int, NDArray[np.float64]] = {}
        for at, logits in zip(owner, found, strict=True):
            if at not in best or logits[0] - logits[1:].max() > best[at][0] - best[at][1:].max():
                best[at] = logits
        return np.stack([best[at] for at in range(len(texts))])

    def broken(self, texts: Sequence[str], name: str) -> Floats:
        """Probability of a guard head's first class."""
        logits = self.head(texts, name)
        assert len(HEADS[name]) == 2
        found: Floats = 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))
        return found


def match(query: tuple[Tensor, Tensor], passages: Sequence[tuple[Tensor, Tensor]]) -> Floats:
    """MaxSim and cosine of a query with passages, (2, n)."""
    padded = nn.utils.rnn.pad_sequence([states.float() for states, _ in passages], batch_first=True)
    lengths = torch.tensor([len(states) for states, _ in passages])
    mask = torch.arange(padded.shape[1]) < lengths.unsqueeze(1)
    q = query[0].float().unsqueeze(0)
    maxsim = relevance(q, torch.ones(q.shape[:2], dtype=torch.bool), padded, mask)[0]
    cosine = torch.stack([vector for _, vector in passages]) @ query[1]
    return torch.stack([maxsim, cosine]).double().numpy()


def entailed(logits: Floats) -> Floats:
    """Log-odds of the first class against the rest."""
    found: Floats = logits[:, 0] - np.logaddexp(logits[:, 1], logits[:, 2])
    return found


def standard(scores: Floats) -> Floats:
    """Mean 0 and spread 1."""
    found: Floats = (scores - scores.mean()) / (scores.std() + 1e-6)
    return found


def ndcg(order: Sequence[str], relevant: dict[str, int], k: int = 10) -> float:
    """nDCG@k with linear gains, as trec_eval computes it."""
    gain = sum(relevant.get(doc, 0) / math.log2(at + 2) for at, doc in enumerate(order[:k]))
    best = sum(value / math.log2(at + 2) for at, value in enumerate(sorted(relevant.values(), reverse=True)[:k]))
    return gain / best if best else 0.0


def macro_f1(truth: Sequence[int], said: Sequence[int]) -> float:
    """Mean over the true classes of the harmonic mean of precision and recall."""
    return float(_metrics().f1_score(truth, said, labels=sorted(set(truth)), average="macro", zero_division=0.0))


def recall_at(truth: Sequence[bool], scores: Floats, allowed: float = 0.01) -> float:
    """Share of true rows above the score that `allowed` of the others exceed."""
    t = np.asarray(truth)
    safe = np.sort(scores[~t])[::-1]
    return float((scores[t] > safe[int(allowed * len(safe))]).mean())


def auroc(truth: Sequence[bool], scores: Floats) -> float:
    """Chance that a true row scores above a false one; ties count half."""
    return float(_metrics().roc_auc_score(truth, scores))


def platt(z: Floats, truth: Sequence[bool]) -> dict[str, float]:
    """What scorer.json holds of a calibration fitted on log-odds (n,) and whether each was true."""
    fitted = Calibration.fit(z, truth)
    return {"scale": round(fitted.scale, 5), "shift": round(fitted.shift, 5), "length": 0.0}


def route_calibration(z: Floats, right: NDArray[np.int64]) -> dict[str, float]:
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
    scale = float(fitted[0].exp()) / spread
    return {"scale": round(scale, 5), "shift": round(float(fitted[1]) - scale * middle, 5), "length": 0.0}


def _metrics() -> ModuleType:
    try:
        return import_module("sklearn.metrics")
    except ImportError as e:
        raise MissingExtraError("scikit-learn", "train") from e


def _prompts(text: Text, labels: Sequence[str], most: int) -> Iterable[list[int]]:
    prompt: list[int] = []
    for ids in text.ids(list(labels), MAX_LENGTH // 2):
        if prompt and len(prompt) + len(ids) + 1 > most:
            yield prompt
            prompt = []
        prompt = [*prompt, text.label, *ids]
    yield prompt
