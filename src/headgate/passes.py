"""Asks of several scorers, in the fewest passes through a model.

* The same scorer is called once, with everything that is asked of it: its family makes one batch plan of all, and
  whatever two asks have in common, a text or a pair, is run once. Asks are never made one here, so an ask gets what it
  would get alone: the softmax of its labels, its windows, and of a joint scorer its own prompt.
* Different scorers on one encoder let it read a row once: heads, embeddings and late interaction differ in what they
  read off its states.
* What can do neither runs its own rows.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from headgate.scores import Ask, Scorer, Scores, judge


def judge_all(asked: Sequence[tuple[Scorer, Sequence[Ask]]]) -> list[list[Scores]]:
    """Score the asks of several scorers.

    A scorer may offer ``remembering(memo: dict) -> Scorer``: for one call, the same scorer, which runs nothing that
    another one has left in the memo. It gives the same numbers, to 1e-4.

    Args:
        asked: Scorers, each with its asks; the same one may come several times.

    Returns:
        For each of them the :class:`Scores` of its asks, in order; errors are those of :func:`headgate.judge`.
    """
    groups: list[tuple[Scorer, list[int]]] = []
    for k, (scorer, _) in enumerate(asked):
        known = next((own for other, own in groups if _same(scorer, other)), None)
        if known is None:
            groups.append((scorer, [k]))
        else:
            known.append(k)
    out: list[list[Scores]] = [[] for _ in asked]
    for scorer, (_, own) in zip(_sharing([scorer for scorer, _ in groups]), groups, strict=True):
        found = iter(judge(scorer, [ask for k in own for ask in asked[k][1]]))
        for k in own:
            out[k] = [next(found) for _ in asked[k][1]]
    return out


def rows_of(scores: Scores, texts: Sequence[int]) -> Scores:
    """The scores of some of the texts, by index, in that order."""
    at = np.asarray(texts, dtype=np.int64)
    parts: dict[str, Any] = {f.name: getattr(scores, f.name) for f in fields(scores)}
    chosen: dict[str, Any] = {name: a[at] for name, a in parts.items() if isinstance(a, np.ndarray)}
    return replace(scores, **chosen)


def _sharing(scorers: Sequence[Scorer]) -> list[Scorer]:
    """The same scorers, which share what they find for the length of a call; all are told before one is asked."""
    if len(scorers) == 1:
        return list(scorers)
    memo: dict[object, object] = {}
    offers = [getattr(scorer, "remembering", None) for scorer in scorers]
    return [s if offer is None else offer(memo) for s, offer in zip(scorers, offers, strict=True)]


def _same(one: Scorer, other: Scorer) -> bool:
    """True for one object, and for one model loaded twice: of what the fingerprint doesn't hold, ``run`` tells."""
    run = getattr(one, "run", None)
    if one is other or run is None:
        return one is other
    return type(one) is type(other) and run == getattr(other, "run", None) and one.fingerprint == other.fingerprint
