"""Losses over lists of documents: what a ranker learns from grades, or from another scorer.

All take the ranker's logits, shape (lists, documents), what is wanted in the same shape, and a mask, True on
documents and False on padding. What stands under the padding, NaN too, changes neither the loss nor a gradient.
Each is a mean over lists, so that a long list weighs as much as a short one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

F = nn.functional


def listwise(logits: Tensor, relevance: Tensor, mask: Tensor) -> Tensor:
    """Softmax cross-entropy against the grades' share of their sum; with one relevant document, its NLL.

    Source: Bruch et al. 2019, "An Analysis of the Softmax Cross Entropy Loss for Learning-to-Rank with Binary
    Relevance", eq. 4. ListNet (Cao et al. 2007, eq. 6) takes the softmax of the grades in place of their share,
    and so asks that irrelevant documents keep part of the probability.

    Args:
        logits: (lists, documents).
        relevance: (lists, documents), 0 and more; a list without a relevant document adds nothing.
        mask: (lists, documents).
    """
    gain = relevance.masked_fill(~mask, 0.0)
    share = gain / gain.sum(1, keepdim=True).clamp(min=torch.finfo(gain.dtype).tiny)
    return -(share * _log_softmax(logits, mask)).sum(1).mean()


def pairwise(logits: Tensor, relevance: Tensor, mask: Tensor) -> Tensor:
    """Logistic loss of every pair of different grade, averaged within a list.

    Source: RankNet, Burges et al. 2005, "Learning to Rank using Gradient Descent", eq. 3 with certain targets.

    Args:
        logits: (lists, documents).
        relevance: (lists, documents); only its order counts.
        mask: (lists, documents).
    """
    better = _pairs(mask) & (_margins(relevance) > 0)
    return _pair_mean(F.softplus(-_margins(logits.masked_fill(~mask, 0.0))), better)


def pointwise(logits: Tensor, relevance: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of every document by itself: is it relevant at all, 1 or more?

    The logit comes to be a log-odds, but of the lists that were trained on: calibrate before thresholds.

    Args:
        logits: (lists, documents).
        relevance: (lists, documents); above 0 is relevant.
        mask: (lists, documents).
    """
    each = F.binary_cross_entropy_with_logits(
        logits.masked_fill(~mask, 0.0), (relevance > 0).to(logits.dtype), reduction="none"
    )
    return (each.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp(min=1)).mean()


def margin_mse(logits: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Squared error of the margins between any two documents of a list, against the teacher's margins.

    Source: Hofstätter et al. 2020, "Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
    Distillation", eq. 3, for every pair of a list and not only (relevant, irrelevant): the teacher knows both.

    Args:
        logits: (lists, documents).
        teacher: (lists, documents) log-odds.
        mask: (lists, documents).
    """
    ours, wanted = (_margins(z.masked_fill(~mask, 0.0)) for z in (logits, teacher))
    return _pair_mean((ours - wanted).square(), _pairs(mask))


def divergence(logits: Tensor, teacher: Tensor, mask: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence from the teacher's softmax over a list to ours, in nats.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", section 2: both divided by the
    temperature, and the loss multiplied by its square so that gradients keep their size.

    Args:
        logits: (lists, documents).
        teacher: (lists, documents) log-odds.
        mask: (lists, documents).
        temperature: Above 1 the teacher's lesser differences count for more.
    """
    logp, wanted = (_log_softmax(z / temperature, mask) for z in (logits, teacher))
    return (wanted.exp() * (wanted - logp)).masked_fill(~mask, 0.0).sum(1).mean() * temperature**2


def _log_softmax(z: Tensor, mask: Tensor) -> Tensor:
    """Over the documents of a list; 0 under the padding, where minus infinity would make gradients NaN."""
    low = torch.finfo(z.dtype).min
    return torch.log_softmax(z.masked_fill(~mask, low), dim=1).masked_fill(~mask, 0.0)


def _margins(z: Tensor) -> Tensor:
    """(lists, documents, documents): the first document's number less the second's."""
    return z.unsqueeze(2) - z.unsqueeze(1)


def _pairs(mask: Tensor) -> Tensor:
    """(lists, documents, documents), True for two different documents of a list."""
    own = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    return mask.unsqueeze(2) & mask.unsqueeze(1) & ~own


def _pair_mean(each: Tensor, chosen: Tensor) -> Tensor:
    """The mean over the chosen pairs of a list, then over lists; a list without any adds nothing."""
    total = torch.where(chosen, each, 0.0).sum((1, 2))
    return (total / chosen.sum((1, 2)).clamp(min=1)).mean()
