"""Work of real proportions without anybody's data: common words, as many as real texts have.

Lengths are log-normal, as those of retrieved passages are. Every text is another one, and none is cut: they fit the
model beside the labels, so that libraries that window and libraries that truncate read the same tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from headgate.families.base import Family
from headgate.families.cross_encoder import CrossEncoder
from headgate.families.gliclass import GLiClassScorer
from headgate.families.multi_head import MultiHeadClassifier
from headgate.models.checkpoint import Checkpoint
from headgate.runtime.tokenizer import Tokenizer

Kind = Literal["ranker", "nli", "gliclass", "heads", "encoder"]

LEAST = 4
"""Tokens of the shortest text."""

_COMMON = (
    "the of and to in is was for on that by this with from at his it an were are which be or has had first one their "
    "its new after but who not they have her she two been other when there all during into school time may years more "
    "most only over city some world would where later up such used many can state about national out known university "
    "united then made between under century before three part through music company house family water river station "
    "small large number group line area game season league team player film book work life war army king church "
    "building road street park island south north east west high long open public local early law court order office "
    "price market money paper letter question answer table window door garden light sound voice hand heart name day"
)
WORDS = tuple(_COMMON.split())


@dataclass(frozen=True)
class Size:
    """How much work.

    Attributes:
        texts: How many; None takes 100 to rerank, 64 to classify.
        labels: How many, where the model leaves them open.
        length: Mean tokens of a text.
        spread: Standard deviation of the logarithm of a length; 0 for texts of one length.
        seed: Of every draw.
    """

    texts: int | None = None
    labels: int = 16
    length: int = 166
    spread: float = 0.6
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """What every library is asked.

    Attributes:
        kind: Of the model: what the labels are to it.
        texts: Each another one.
        labels: One query for rankers and encoders.
        tokens: Of each text, without special tokens.
    """

    kind: Kind
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    tokens: tuple[int, ...]


def kind_of(scorer: Family) -> Kind:
    """What work fits a scorer."""
    if isinstance(scorer, CrossEncoder):
        return "ranker" if scorer.classes == ("relevance",) else "nli"
    if isinstance(scorer, GLiClassScorer):
        return "gliclass"
    return "heads" if isinstance(scorer, MultiHeadClassifier) else "encoder"


def job(scorer: Family, checkpoint: Checkpoint, size: Size) -> Job:
    """The work that fits a scorer, in texts that fit its model.

    Args:
        scorer: What will be asked.
        checkpoint: Of the same folder: its tokenizer counts.
        size: How much.

    Raises:
        ValueError: The labels leave the texts no room.
    """
    kind, rng = kind_of(scorer), np.random.default_rng(size.seed)
    one = kind in ("ranker", "encoder")
    words = Words(checkpoint.tokenizer, rng)
    labels = list(scorer.labels or words.texts([12] if one else [3] * size.labels))
    room = checkpoint.length - _beside(kind, checkpoint.tokenizer, labels, scorer.template)
    if room < LEAST:
        raise ValueError(
            f"{len(labels)} labels leave texts {room} of the {checkpoint.length} tokens of a row; expected {LEAST} or "
            "more: ask with fewer labels."
        )
    count = size.texts if size.texts is not None else 100 if one else 64
    texts = words.texts(lengths(count, size, longest=room, rng=rng))
    tokens = tuple(len(e.ids) for e in checkpoint.tokenizer.encode(texts))
    return Job(kind, tuple(texts), tuple(labels), tokens)


def lengths(count: int, size: Size, *, longest: int, rng: np.random.Generator) -> list[int]:
    """Log-normal numbers of tokens around a mean, none above ``longest``."""
    drawn = rng.lognormal(math.log(size.length) - size.spread**2 / 2, size.spread, count)
    return [int(n) for n in np.clip(drawn.round(), min(LEAST, longest), longest)]


class Words:
    """Makes texts of a wanted number of tokens.

    Args:
        tokenizer: Whose tokens.
        rng: Draws the words.
    """

    def __init__(self, tokenizer: Tokenizer, rng: np.random.Generator) -> None:
        # A word may take other tokens at the start of a text than behind a space.
        alone, behind = (tokenizer.encode([before + word for word in WORDS]) for before in ("", "the "))
        first = len(tokenizer.encode(["the"])[0].ids)
        self._costs = np.array([max(len(a.ids), len(b.ids) - first) for a, b in zip(alone, behind, strict=True)])
        self._rng = rng

    def texts(self, lengths: Sequence[int]) -> list[str]:
        """A text of at most so many tokens for each length, and of one word at least; no two are alike.

        Raises:
            ValueError: So many short texts can't all differ.
        """
        found: dict[str, None] = {}
        for n in lengths:
            for _ in range(1000):
                text = self._text(n)
                if text not in found:
                    break
            else:
                raise ValueError(f"{len(lengths)} texts of {n} tokens were asked for; expected fewer or longer ones.")
            found[text] = None
        return list(found)

    def _text(self, tokens: int) -> str:
        chosen: list[int] = []
        left = tokens
        while left > 0:
            fits = np.flatnonzero(self._costs <= left)
            if not len(fits):
                break
            drawn = self._rng.choice(fits, size=left)
            end = max(1, int(np.searchsorted(self._costs[drawn].cumsum(), left, side="right")))
            chosen += drawn[:end].tolist()
            left -= int(self._costs[drawn[:end]].sum())
        return " ".join(WORDS[i] for i in chosen or [int(self._costs.argmin())])


def _beside(kind: Kind, tokenizer: Tokenizer, labels: Sequence[str], template: str) -> int:
    """Tokens of a row that are not its text's."""
    sizes = [len(e.ids) for e in tokenizer.encode([template.replace("{}", label) for label in labels])]
    if kind == "gliclass":
        return tokenizer.single.size + 1 + sum(1 + n for n in sizes)
    if kind in ("ranker", "nli"):
        return tokenizer.pair.size + max(sizes)
    return tokenizer.single.size
