"""Log-odds of the guard heads of `mini` by length: ``python benchmarks/length.py --data DIR --out runs/decisions``.

Clean long texts, none of which taught the heads: ``mixed``, different short texts one behind the other; ``alike``,
posts of one newsgroup one behind the other; ``real``, web pages and encyclopedia articles. A text is read once, and
every stretch of k of its windows is a text of its own, window for window the same: one of 32k tokens is two of 16k.

Needle texts: an unsafe text in the place of as many tokens of a clean one, from its first (depth 0) to its last (1).

What is written, and left alone where it is there:

* ``clean-<kind>.npz``: ``logits`` (windows, 5), ``ends`` (texts,), where the next text begins;
* ``length-<kind>.npz``: ``log_odds`` (n, 5), ``windows``, ``length`` in tokens and ``text`` (n,);
* ``short.npz``: ``log_odds`` (n, 5) and ``tokens`` (n,) of single short clean texts;
* ``needles.npz``: as ``length``, with ``depth``, ``rule`` (the column it should break), ``needle`` (its number) and
  ``alone`` (n,), the log-odds of the needle without its haystack.

``length_terms.py`` counts what is in them.
"""

import argparse
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from decisions import RULES, keep, rows, window_logits
from numpy.typing import NDArray

from headgate import load
from headgate.families.base import Encoder, Family
from headgate.runtime.windows import windows

LENGTHS = (512, 1024, 2048, 4096, 8192, 16384, 32768)
DEPTHS = tuple(np.linspace(0, 1, 11))
KINDS = ("mixed", "alike", "real")
Floats = NDArray[np.float32]
NEEDLES = (
    ("paradetox", "toxic", 0),
    ("edos_sexism", "sexist", 1),
    ("harmful_prompts", "harmful", 2),
    ("jailbreak_prompts", "jailbreak", 3),
    ("bipia_indirect_injection", "injection", 4),
)


class Frame(NamedTuple):
    """How the scorer cuts a text: tokens of a window, and tokens from one to the next."""

    room: int
    stride: int

    @classmethod
    def of(cls, scorer: Family) -> "Frame":
        """The scorer's own."""
        room = scorer._core.max_length - scorer._core.tokenizer.single.size
        return cls(room, room - room // 4)

    def windows(self, length: int) -> int:
        """Windows whose texts are nearest to `length` tokens."""
        return 1 + round(max(0, length - self.room) / self.stride)

    def tokens(self, count: int) -> int:
        """Tokens of a text of just so many windows."""
        return self.room + (count - 1) * self.stride


def short_texts(data: Path) -> Iterator[str]:
    """Clean short texts of several sets."""
    for name, labels in {
        "ag_news": None,
        "subj": None,
        "clinc150": None,
        "sms_spam": ("ham",),
        "wiki_toxicity_context": ("not toxic",),
    }.items():
        for row in rows(data, name, "test"):
            if labels is None or row.labels()[0] in labels:
                yield row.text("text")


def articles(data: Path) -> list[str]:
    """Real documents, the long ones too."""
    pages = {" ".join(row.fields["sentences"]) for row in rows(data, "wice_retrieval", "dev", "test")}
    return sorted(pages) + [row.text("text") for row in rows(data, "factscore_claims", "docs")]


def haystacks(data: Path, scorer: Family, kind: str, most: int, seed: int = 0) -> list[str]:
    """Clean long texts of about the greatest length; of ``real`` ones, whatever length they have.

    Args:
        data: Folder of the sets.
        scorer: Whose tokens are counted.
        kind: "mixed", "alike" or "real".
        most: Texts, at most; half as many that are alike, five times as many real ones.
        seed: Of the order.
    """
    if kind == "real":
        return random.Random(seed).sample(found := articles(data), min(5 * most, len(found)))
    if kind == "mixed":
        pools = [list(short_texts(data))]
    else:
        groups: dict[str, list[str]] = {}
        for row in rows(data, "20newsgroups", "test"):
            groups.setdefault(row.labels()[0], []).append(row.text("text"))
        pools = [groups[name] for name in sorted(groups)]
    found = []
    for pool in pools:
        random.Random(seed).shuffle(pool)
        known = Encoder(scorer._core.tokenizer)
        known.add(pool)
        piece: list[str] = []
        size = 0
        for text in pool:
            piece.append(text)
            size += len(known[text].ids)
            if size >= LENGTHS[-1] + 200:
                found.append("\n".join(piece))
                piece, size = [], 0
    random.Random(seed).shuffle(found)
    return found[: most if kind == "mixed" else most // 2]


def guard_columns(scorer: Family) -> list[int]:
    """Where the five rules are in a row of logits."""
    return [scorer._places[rule].column for rule in RULES]  # type: ignore[attr-defined]


def clean(scorer: Family, texts: Sequence[str]) -> dict[str, Any]:
    """Logits of every window."""
    logits, _ = window_logits(scorer, texts)
    stacked = np.concatenate(logits)[:, guard_columns(scorer)]
    return {"logits": stacked, "ends": np.cumsum([len(own) for own in logits])}


def stretches(found: dict[str, Any], count: int) -> tuple[Floats, NDArray[np.int64]]:
    """Maxima (n, 5) of every stretch of so many windows that no other shares, and the number of its text."""
    out, owner = [], []
    for i, (start, end) in enumerate(zip([0, *found["ends"][:-1]], found["ends"], strict=True)):
        own = found["logits"][start : start + (end - start) // count * count]
        if len(own):
            out.append(own.reshape(-1, count, own.shape[1]).max(1))
            owner += [i] * len(out[-1])
    return np.concatenate(out) if out else np.zeros((0, len(RULES)), np.float32), np.array(owner, dtype=np.int64)


def by_length(found: dict[str, Any], frame: Frame) -> dict[str, Any]:
    """The log-odds, windows and length of clean texts of every length."""
    log_odds, count, length, owner = [], [], [], []
    for tokens in (frame.room, *LENGTHS):
        z, own = stretches(found, frame.windows(tokens))
        log_odds.append(z)
        owner.append(own)
        count += [frame.windows(tokens)] * len(z)
        length += [tokens] * len(z)
    return {
        "log_odds": np.concatenate(log_odds),
        "windows": np.array(count),
        "length": np.array(length),
        "text": np.concatenate(owner),
    }


def unsafe(data: Path, each: int, seed: int = 1) -> list[tuple[str, int]]:
    """Needles and the rule that each breaks; of injections, the attack without its document."""
    found = []
    for name, label, rule in NEEDLES:
        own = [row for row in rows(data, name, "test") if row.labels()[0] == label]
        texts = list(dict.fromkeys(row.fields.get("attack") or row.text("text") for row in own))
        found += [(text, rule) for text in random.Random(seed).sample(texts, min(each, len(texts)))]
    return found


def needles(
    scorer: Family, hay: dict[str, Any], texts: Sequence[str], wanted: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    """Log-odds with each needle in the place of as many tokens, for every length and depth.

    Args:
        scorer: The guard heads.
        hay: Their logits of the windows of `texts`.
        texts: Clean texts of the greatest length.
        wanted: Needles and rules.
    """
    frame, columns, encoder = Frame.of(scorer), guard_columns(scorer), Encoder(scorer._core.tokenizer)
    encoder.add([*texts, *(text for text, _ in wanted)])
    single = scorer._core.tokenizer.single
    starts = [0, *hay["ends"][:-1]]
    built, made, rng = [], [], random.Random(2)
    for n, (needle, rule) in enumerate(wanted):
        ids = encoder[needle].ids[: frame.tokens(2)]
        for length in LENGTHS:
            count = frame.windows(length)
            i = rng.randrange(len(texts))
            first = rng.randrange(0, hay["ends"][i] - starts[i] - count)  # the last window of a text is moved back
            base = encoder[texts[i]].ids[first * frame.stride : first * frame.stride + frame.tokens(count)]
            own = hay["logits"][starts[i] + first : starts[i] + first + count]
            for depth in DEPTHS:
                at = round(depth * (len(base) - len(ids)))
                spliced = np.concatenate([base[:at], ids, base[at + len(ids) :]])
                ranges = windows(len(spliced), frame.room, frame.room // 4)
                touched = [k for k, (a, b) in enumerate(ranges) if a < at + len(ids) and b > at]
                rest = np.delete(own, touched, axis=0).max(axis=0, initial=-np.inf)
                built.append((n, rule, length, count, depth, rest, len(touched)))
                made += [single.row(spliced[slice(*ranges[k])], types=scorer._core.types) for k in touched]
    read = np.stack(scorer._core.forward(made))[:, columns]
    pieces = np.split(read, np.cumsum([b[6] for b in built])[:-1])
    alone = [own[:, columns].max(0) for own in window_logits(scorer, [text for text, _ in wanted])[0]]
    return {
        "log_odds": np.stack([np.maximum(b[5], own.max(0)) for b, own in zip(built, pieces, strict=True)]),
        "windows": np.array([b[3] for b in built]),
        "length": np.array([b[2] for b in built]),
        "depth": np.array([b[4] for b in built]),
        "rule": np.array([b[1] for b in built]),
        "needle": np.array([b[0] for b in built]),
        "alone": np.array([alone[b[0]][b[1]] for b in built]),
    }


def main() -> None:
    """Score, or count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/decisions"))
    parser.add_argument("--texts", type=int, default=40, help="clean texts of 32k tokens of each kind")
    parser.add_argument("--needles", type=int, default=12, help="of each rule")
    parser.add_argument("--max-length", type=int, help="tokens of a window with its two markers, in place of 128")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    scorer = load("mini/heads", exact=True, max_length=given.max_length)
    frame = Frame.of(scorer)
    keep(given.out / "short.npz", lambda: short(scorer, given.data))
    for kind in given.kinds:
        texts = haystacks(given.data, scorer, kind, given.texts)
        keep(given.out / f"clean-{kind}.npz", lambda texts=texts: clean(scorer, texts))
        found = dict(np.load(given.out / f"clean-{kind}.npz"))
        keep(given.out / f"length-{kind}.npz", lambda found=found: by_length(found, frame))
        if kind == "mixed":
            keep(
                given.out / "needles.npz",
                lambda found=found, texts=texts: needles(scorer, found, texts, unsafe(given.data, given.needles)),
            )


def short(scorer: Family, data: Path, most: int = 12_000) -> dict[str, Any]:
    """Log-odds of single short clean texts, those of one window."""
    texts = list(short_texts(data))
    chosen = random.Random(3).sample(texts, min(most, len(texts)))
    scores = scorer.score(chosen, list(RULES))
    one = scores.windows[:, 0] == 1
    return {"log_odds": scores.log_odds[one], "tokens": scores.tokens[one]}


if __name__ == "__main__":
    main()
