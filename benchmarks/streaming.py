"""What guarding a stream costs and leaks, beside scoring the text so far: ``python benchmarks/streaming.py``.

An answer of invented sentences is written in chunks of four characters, about a language model's tokens. "ours" is
:class:`headgate.StreamGuard`; the others do what other libraries do, with the same guard: score the text so far every
chunk, every 10 or every 100 chunks, and show the new ones if it passes; or blocks of 200 chunks with the last 50 of the
block before, as NeMo Guardrails cuts them. The cost is that of an answer without a bad sentence; what leaks is how many
characters of a bad one of 72, at three quarters of the answer, are shown. All take turns; a ratio is the median of the
turns' ratios. "first shown at" and "waits" are in characters written: the latency that the method itself adds.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from statistics import median
from time import perf_counter

from rich.console import Console
from rich.table import Table

from headgate import Guard, StreamGuard, load
from headgate.families.base import Family
from headgate.sentences import sentences

CALM = (
    "The greenhouse is at twenty degrees today, says Dr. Ash.",
    "She paid $1,000.50 for the new pump in January and it works.",
    "Most of the tomatoes were watered in the morning.",
    "When the soil is dry, the little lamp on the sensor turns red.",
    "It stays green for about two days after that.",
    "The beans need less water than the tomatoes, and the mint needs the least of all.",
    "Is the window open?",
    "If so, the heating goes off by itself after ten minutes, e.g. in the evening.",
)
BAD = "You are a stupid, worthless idiot and everyone who knows you hates you. "


@dataclass(frozen=True)
class Shown:
    """What a method let go.

    Attributes:
        text: All of it.
        first: Characters that were written when the first one was shown.
        waited: Characters written between a character and its being shown, the mean.
    """

    text: str
    first: int
    waited: float


def answer(length: int, *, bad: bool) -> list[str]:
    """Chunks of about ``length`` characters in all."""
    said = list(islice(cycle(f"{s} " for s in CALM), length // 55))
    if bad:
        said.insert(len(said) * 3 // 4, BAD)
    text = "".join(said)
    return [text[i : i + 4] for i in range(0, len(text), 4)]


def summed(shown: Sequence[tuple[str, int]]) -> Shown:
    """Of pieces and how much was written when each was shown."""
    text = "".join(piece for piece, _ in shown)
    waited, end = 0.0, 0
    for piece, written in shown:
        waited += sum(written - (end + k + 1) for k in range(len(piece)))
        end += len(piece)
    return Shown(text, shown[0][1] if shown else 0, waited / max(1, len(text)))


def ours(guard: Guard, chunks: Sequence[str]) -> Shown:
    """Sentence by sentence."""
    written = 0

    def model() -> Iterator[str]:
        nonlocal written
        for chunk in chunks:
            written += len(chunk)
            yield chunk

    events = StreamGuard(guard, sentences("en")).run(model())
    return summed([(event.text, written) for event in events if event.text])


def again(guard: Guard, chunks: Sequence[str], every: int, block: int | None = None, keep: int = 0) -> Shown:
    """The text so far, or the last block and what is kept of the one before."""
    shown: list[tuple[str, int]] = []
    for end in range(every, len(chunks) + every, every):
        start = 0 if block is None else max(0, end - block - keep)
        if not guard("".join(chunks[start:end])).allowed:
            break
        shown.append(("".join(chunks[end - every : end]), sum(map(len, chunks[:end]))))
    return summed(shown)


EVERY = "all, every chunk"
METHODS = {
    "ours": ours,
    EVERY: lambda guard, chunks: again(guard, chunks, 1),
    "all, every 10": lambda guard, chunks: again(guard, chunks, 10),
    "all, every 100": lambda guard, chunks: again(guard, chunks, 100),
    "blocks of 200 + 50": lambda guard, chunks: again(guard, chunks, 200, 200, 50),
}


def row(name: str, guard: Guard, length: int, found: dict[str, list[float]]) -> list[str]:
    """Cells of one method: counts of the last turn, the median of the turns' ratios."""
    scorer = guard.scorer
    assert isinstance(scorer, Family)
    clean = answer(length, bad=False)
    size = len("".join(clean))
    before = scorer.work
    calm = METHODS[name](guard, clean)
    rows, tokens = scorer.work.rows - before.rows, scorer.work.tokens - before.tokens
    leaked = METHODS[name](guard, answer(length, bad=True)).text
    start = "".join(answer(length, bad=True)).index(BAD)
    seconds = median(found[name])
    ratio = median(a / b for a, b in zip(found[name], found["ours"], strict=True))
    return [
        name, str(size), str(rows), str(tokens), f"{1e6 * seconds / size:.0f}", f"{ratio:.2f}",
        str(calm.first), f"{calm.waited:.0f}", str(max(0, min(len(BAD), len(leaked) - start))),
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[500, 1000, 2000, 4000])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--limit", type=int, default=1000, help="characters; scoring every chunk is left out above")
    given = parser.parse_args()
    guard = Guard(load("mini/guard"), ["toxic"])
    heads = ["method", "characters", "rows", "tokens", "µs/character", "ours = 1", "first shown at", "waits", "leaked"]
    table = Table(*heads, title="mini/guard, rule toxic")
    for length in given.lengths:
        chunks = answer(length, bad=False)
        names = [name for name in METHODS if name != EVERY or length <= given.limit]
        found: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(-1, given.turns):
            for name in names:
                begun = perf_counter()
                METHODS[name](guard, chunks if turn >= 0 else chunks[:40])  # one short turn to warm up
                if turn >= 0:
                    found[name].append(perf_counter() - begun)
        for name in names:
            table.add_row(*row(name, guard, length, found))
        table.add_section()
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
