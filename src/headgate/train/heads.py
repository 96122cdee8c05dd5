"""Fit linear heads on the frozen states of an encoder: logistic regression, in seconds.

The encoder reads every text once. What is fitted is what :mod:`headgate.families.multi_head` scores: the states of a
long text are the mean of its windows', as a softmax head averages their logits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from headgate.evaluate.rows import Source
from headgate.families.base import Encoder, core
from headgate.families.multi_head import Head, Kind, MultiHeadClassifier
from headgate.loading import open_checkpoint
from headgate.models.calls import head_logits, multi_head, sentence_vectors
from headgate.models.checkpoint import Checkpoint
from headgate.models.multi_head import MultiHead, Pooling
from headgate.runtime.windows import cut
from headgate.train.common import different
from headgate.train.head_data import Heads, lesson
from headgate.train.head_folder import grown, heads_of, loaded, save, thresholds
from headgate.train.head_loss import ClassWeights, loss_weights

F = nn.functional
GRID = (0.2, 0.05, 0.0125, 0.003)
USUAL = 0.05
FOLDS = 4
MOST = 200_000
LARGE = 1e8


def fit_heads(  # noqa: PLR0913  one call, everything by name
    base: str | Path,
    rows: Source,
    out: str | Path | None = None,
    *,
    heads: Heads | None = None,
    only: Sequence[str] | None = None,
    l2: float | Literal["cv"] = "cv",
    names: bool = True,
    class_weights: Literal["balanced"] | ClassWeights | None = None,
    pooling: Pooling | None = None,
    revision: str | None = None,
    max_length: int | None = None,
    device: str = "auto",
) -> MultiHeadClassifier:
    """Fit heads, save them to a folder if one is named, and give the scorer.

    The backbone and the heads that are not fitted stay bit for bit. Heads on a bare encoder read states of length 1.

    Args:
        base: A multi-head folder, or an encoder to put heads on: a folder, Hub id or part of mini.
        rows: A file of JSON lines, or the rows themselves, as :mod:`headgate.train.head_data` has them.
        out: The folder for the result; not the base. None keeps it in memory.
        heads: Heads to add: their labels in order, or a :class:`Head`. None takes those of the base, or else of the
            rows.
        only: Fit these heads. None fits all that rows label.
        l2: Weight of half the squared weights beside the summed loss of the rows, over states whose squares sum to 1
            on average: scikit-learn's 1 / C. "cv" takes the one of :data:`GRID` with the least log loss in four-fold
            cross-validation, head by head; :data:`USUAL` where rows times classes pass :data:`MOST`, since it hardly
            matters there and the time does.
        names: Read the name of a label as one more text of it, "card_arrival" as "card arrival". It helps where there
            are few rows a class, and can't hurt much where there are many; False where the names say nothing.
        class_weights: As :func:`headgate.train.multi_head.train_heads` has them.
        pooling: "cls" or "mean", in place of what the base's files say; where they say nothing, "mean".
        revision: Commit, tag or branch of a Hub id.
        max_length: Tokens of the longest window, in place of the base's.
        device: Where the encoder reads, as :func:`headgate.load` takes it.

    Raises:
        DataError: A row is wrong, or nothing can be learned from them; before the encoder reads anything.
        CheckpointError: The base's files are missing, damaged or ambiguous.
    """
    if l2 != "cv" and not (isinstance(l2, int | float) and 0 < l2 < float("inf")):
        raise ValueError(
            f'l2 is {l2!r}; expected "cv" or a number above 0: without it, separable rows have no best fit.'
        )
    checkpoint = open_checkpoint(
        base, revision=revision, device=device, dtype="float32", max_length=max_length, backend="transformers"
    )
    if out is not None:
        different(out, checkpoint)
    known = heads_of(checkpoint, heads)
    every, data, fitted = lesson(rows, heads, known, only)
    weights = loss_weights(data, every, fitted, class_weights)
    model = grown(checkpoint, known, every, pooling)
    model.normalize = model.normalize or not known
    spoken = {name: [said_aloud(label) for label in every[name].labels] if names else [] for name in fitted}
    texts = list(dict.fromkeys([*data.texts, *(text for said in spoken.values() for text in said)]))
    at, read = {text: i for i, text in enumerate(texts)}, states(checkpoint, model, texts)
    for name in fitted:
        target = np.concatenate([data.targets[name], np.eye(len(every[name].labels))[: len(spoken[name])]])
        said = ~np.isnan(target[:, 0])
        own = [at[text] for text, one in zip([*data.texts, *spoken[name]], said, strict=True) if one]
        weight, bias = fit(read[own], torch.from_numpy(target[said]), every[name].kind, l2, weights.get(name))
        model.heads[name].load_state_dict({"weight": weight, "bias": bias})
    if out is None:
        # As a folder would be loaded: it shares the encoder of its base, and runs as fast.
        served = open_checkpoint(base, revision=revision, device=device, max_length=max_length, backend="auto")
        model.backbone = multi_head(served, {}, model.pooling).backbone
        return _in_memory(served, model, every, fitted)
    save(Path(out), checkpoint, model, every, changed=fitted)
    return loaded(out)


def states(checkpoint: Checkpoint, model: MultiHead, texts: Sequence[str]) -> Tensor:
    """(texts, hidden) float64 pooled states; of a long text, the mean of its windows.

    Args:
        checkpoint: Tokenizer, length and device.
        model: The encoder, and how it pools.
        texts: What to read, each once.
    """
    encoder, frame = Encoder(checkpoint.tokenizer), checkpoint.tokenizer.single
    encoder.add(texts)
    rows, owner = [], []
    for i, text in enumerate(texts):
        for window in cut(encoder[text], checkpoint.length - frame.size):
            rows.append(frame.row(window.ids, types=checkpoint.has_types))
            owner.append(i)
    read = torch.from_numpy(np.stack(checkpoint.forward(sentence_vectors(model), model)(rows)).astype(np.float64))
    total = torch.zeros((len(texts), read.shape[1]), dtype=torch.float64).index_add_(0, torch.tensor(owner), read)
    return total / torch.bincount(torch.tensor(owner))[:, None]


def fit(
    x: Tensor, target: Tensor, kind: Kind, l2: float | Literal["cv"] = "cv", weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(classes, features) weights and (classes,) intercepts of one head.

    Args:
        x: (rows, features) states, on any scale: `l2` is of states whose squares sum to 1 on average.
        target: (rows, classes), 1 where a class is true and 0 elsewhere.
        kind: "single" or "multi".
        l2: As of :func:`fit_heads`.
        weights: (classes,) as of :func:`log_loss`.
    """
    scale = x.square().sum(1).mean().rsqrt()
    centre = x.mean(0)  # the intercept is free, so this changes no optimum, only the way there
    z = (x - centre) * scale
    chosen = _cross_validated(z.float(), target, kind, weights) if l2 == "cv" else l2
    # Large problems are sums over many rows, where single precision is enough and takes half the time.
    large = z.numel() * target.shape[1] > LARGE
    found = regression(z.float() if large else z, target, kind, chosen, weights).double()
    weight = found[:, :-1] * scale
    return weight, found[:, -1] - weight @ centre


def _cross_validated(x: Tensor, target: Tensor, kind: Kind, weights: Tensor | None) -> float:
    """The strength with the least log loss of rows that were left out."""
    if target.numel() > MOST:
        return USUAL
    # Rows of a class are dealt out one by one, so that every fold has its share of each.
    order = np.lexsort((np.random.default_rng(0).permutation(len(x)), target.argmax(1).numpy()))
    fold = torch.empty(len(x), dtype=torch.long)
    fold[torch.from_numpy(order)] = torch.arange(len(x)) % FOLDS
    loss = dict.fromkeys(GRID, 0.0)
    for k in range(FOLDS):
        kept, start = fold != k, None
        for l2 in GRID:  # from strong to weak, each from where the last one ended; near is good enough to choose
            start = regression(x[kept], target[kept], kind, l2, weights, start=start, steps=30)
            logits = x[~kept] @ start[:, :-1].T + start[:, -1]
            loss[l2] += float(log_loss(logits, target[~kept].to(x.dtype), kind, weights))
    return min(GRID, key=loss.__getitem__)


def regression(  # noqa: PLR0913  what a regression is made of
    x: Tensor,
    target: Tensor,
    kind: Kind,
    l2: float,
    weights: Tensor | None = None,
    *,
    start: Tensor | None = None,
    steps: int = 200,
) -> Tensor:
    """(classes, features + 1) weights, and behind them the intercepts, of least log loss plus l2/2 squared weights.

    The minimum is that of scikit-learn's ``LogisticRegression(C=1 / l2)``; for a softmax of two classes, whose weights
    it counts once and we twice, ``C=2 / l2``. Found by L-BFGS.

    Args:
        x: (rows, features), in the precision to reckon with.
        target: (rows, classes), 1 where a class is true and 0 elsewhere.
        kind: "single" is one softmax, "multi" a regression for every class.
        l2: Above 0.
        weights: (classes,) as of :func:`log_loss`.
        start: Where to begin, as returned; None is 0.
        steps: The most steps of L-BFGS; it ends before where they get nowhere.
    """
    weights = None if weights is None else weights.to(x.dtype)
    target = target.to(x.dtype)
    found = torch.zeros(target.shape[1], x.shape[1] + 1, dtype=x.dtype) if start is None else start.clone()
    found.requires_grad_(True)
    least = (1e-8, 1e-14) if x.dtype == torch.float64 else (1e-5, 1e-7)  # of the gradient, and of a step
    search = torch.optim.LBFGS(
        [found], max_iter=steps, tolerance_grad=least[0], tolerance_change=least[1], line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        search.zero_grad()
        logits = x @ found[:, :-1].T + found[:, -1]
        total = (log_loss(logits, target, kind, weights) + l2 / 2 * found[:, :-1].square().sum()) / len(x)
        total.backward()
        return total

    with torch.enable_grad():
        search.step(loss)
    return found.detach()


def log_loss(logits: Tensor, target: Tensor, kind: Kind, weights: Tensor | None) -> Tensor:
    """The sum over rows, and over the labels of a "multi" head, of the negative log-likelihood.

    Args:
        logits: (rows, classes).
        target: (rows, classes).
        kind: "single" or "multi".
        weights: (classes,): of the rows of a class, or of the true rows of a label; None weighs all alike.
    """
    if kind == "single":
        return F.cross_entropy(logits, target.argmax(1), weight=weights, reduction="sum")
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weights, reduction="sum")


def said_aloud(label: str) -> str:
    """A label as a text: "card_arrival" is "card arrival"."""
    return label.replace("_", " ").strip() or label


def _in_memory(
    checkpoint: Checkpoint, model: MultiHead, heads: dict[str, Head], changed: Sequence[str]
) -> MultiHeadClassifier:
    plain = replace(checkpoint, settings={"max_length": checkpoint.length})
    digest = hashlib.sha256(b"".join(p.detach().cpu().numpy().tobytes() for p in model.heads.parameters())).hexdigest()
    forward = checkpoint.forward(head_logits(model, list(heads)), model)
    parts = core(plain, forward, template="{}", identity=(heads, model.pooling, model.normalize, digest))
    return MultiHeadClassifier(parts, heads, thresholds(checkpoint, heads, changed))
