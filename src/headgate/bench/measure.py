"""Timing in turns, counting tokens, comparing numbers, and what the machine could do at best."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig

from headgate.runtime.batching import Work
from headgate.scores import Floats


@dataclass(frozen=True, eq=False)
class Candidate:
    """Somebody who does the job.

    Attributes:
        name: As it is printed.
        run: Texts to (texts, labels) numbers: log-odds, or an order.
        work: What its model has run so far.
    """

    name: str
    run: Callable[[Sequence[str]], Floats]
    work: Callable[[], Work]


@dataclass(frozen=True, eq=False)
class Result:
    """What one of them did.

    Attributes:
        name: As it is printed.
        seconds: Of each turn; turn k of all of them lay side by side.
        work: Of each turn.
        peak: Most bytes in use beyond what was held before a turn.
        numbers: (texts, labels) of the last turn.
    """

    name: str
    seconds: tuple[float, ...]
    work: tuple[Work, ...]
    peak: int
    numbers: Floats

    @property
    def median(self) -> float:
        """Seconds of the middle turn."""
        return median(self.seconds)

    @property
    def useful(self) -> float:
        """Share of the tokens that went through the model that are no padding."""
        return self.work[-1].tokens / max(1, self.work[-1].padded)

    @property
    def overhead(self) -> float | None:
        """Time outside the model, as a share of the time in it, each turn by itself; None where nobody counts it."""
        if not all(w.seconds for w in self.work):
            return None
        return median(s / w.seconds - 1 for s, w in zip(self.seconds, self.work, strict=True))


@dataclass(frozen=True)
class Ratio:
    """How many times as long one takes as another.

    Attributes:
        value: Quotient of the medians.
        low: Least quotient of a turn's two times.
        high: Largest one.
    """

    value: float
    low: float
    high: float


def ratio(slow: Result, fast: Result) -> Ratio:
    """How many times as long ``slow`` takes as ``fast``, turn by turn."""
    pairs = [a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)]
    return Ratio(slow.median / fast.median, min(pairs), max(pairs))


class Turns:
    """Runs candidates in turns, A B C A B C …, after a few texts each to warm up.

    Args:
        candidates: Who takes turns.
        device: Whose memory counts.
        beside: Run once a turn too, as the measure of what the machine gives at that time.
    """

    def __init__(
        self, candidates: Sequence[Candidate], device: torch.device, beside: Sequence[Callable[[], object]] = ()
    ) -> None:
        self._candidates, self._device, self._beside = candidates, device, beside

    def run(self, texts: Sequence[str], *, repeat: int, limit: float = float("inf")) -> list[Result]:
        """One result each, in order.

        Args:
            texts: What they are asked.
            repeat: Turns, at least 1.
            limit: Seconds from which on no new turn begins; the first always ends.
        """
        for candidate in self._candidates:
            candidate.run(texts[:2])
        begun, found = perf_counter(), []
        for _ in range(repeat):
            for call in self._beside:
                call()
            found.append([self._turn(c, texts) for c in self._candidates])
            if (perf_counter() - begun) * (1 + 1 / len(found)) > limit:
                break
        return [
            Result(c.name, tuple(t.seconds[0] for t in own), tuple(t.work[0] for t in own),
                   max(t.peak for t in own), own[-1].numbers)
            for c, own in zip(self._candidates, zip(*found, strict=True), strict=True)
        ]  # fmt: skip

    def _turn(self, candidate: Candidate, texts: Sequence[str]) -> Result:
        before, memory = candidate.work(), Memory(self._device)
        begun = perf_counter()
        numbers = candidate.run(texts)
        seconds = perf_counter() - begun
        peak = memory.peak()
        return Result(candidate.name, (seconds,), (candidate.work() - before,), peak, numbers)


class Memory:
    """The peak of memory from now on, beyond what is held now.

    Args:
        device: cuda: torch's allocator; elsewhere the resident set of the process.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
        else:
            with suppress(OSError):  # Linux: the high-water mark begins anew
                Path("/proc/self/clear_refs").write_text("5")
        self._held = self._now()

    @staticmethod
    def source(device: torch.device) -> str:
        """What :meth:`peak` reads, in words."""
        if device.type == "cuda":
            return "torch.cuda.max_memory_allocated"
        return "resident set" if Path("/proc/self/clear_refs").exists() else "ru_maxrss, which only ever grows"

    def peak(self) -> int:
        """Bytes."""
        if self._cuda is not None:
            return max(0, torch.cuda.max_memory_allocated(self._cuda) - self._held)
        return max(0, _maxrss() - self._held)

    def _now(self) -> int:
        if self._cuda is not None:
            return torch.cuda.memory_allocated(self._cuda)
        return _maxrss()


def _maxrss() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo


class Meter:
    """Counts what goes through a torch module of another library, by its attention masks.

    Args:
        module: Called with ``attention_mask`` (rows, longest), as a keyword or in a mapping.
    """

    def __init__(self, module: nn.Module) -> None:
        self._masks: list[torch.Tensor] = []
        self._work = Work()
        module.register_forward_pre_hook(self._seen, with_kwargs=True)

    def _seen(
        self, _: nn.Module, args: tuple[Mapping[str, torch.Tensor], ...], named: Mapping[str, torch.Tensor]
    ) -> None:
        inputs = named if "attention_mask" in named else args[0]
        self._masks.append(inputs["attention_mask"])  # summed later: here it would wait for the device

    def work(self) -> Work:
        """What it has run so far; its seconds are not known."""
        masks, self._masks = self._masks, []
        for mask in masks:
            self._work += Work(len(mask), int(mask.sum()), mask.numel())
        return self._work


class Ceiling:
    """The rate of bare matrix products of a model's shape, in the same run: what its linear layers could reach.

    Args:
        hidden: Width of the states; products are (tokens, hidden) x (hidden, 4 hidden).
        dtype: Of the products.
        device: Where.
    """

    def __init__(self, hidden: int, dtype: torch.dtype, device: torch.device) -> None:
        self._a = torch.rand(2048, hidden, device=device).to(dtype)
        self._b = torch.rand(hidden, 4 * hidden, device=device).to(dtype)
        self._cuda = device.type == "cuda"
        self._rates: list[float] = []

    def __call__(self, seconds: float = 0.2) -> None:
        """Multiply for a while."""
        flops = 2 * self._a.shape[0] * self._b.numel()
        count, begun = 0, perf_counter()
        with torch.inference_mode():
            while count < 2 or perf_counter() - begun < seconds:
                torch.matmul(self._a, self._b)
                if self._cuda:
                    torch.cuda.synchronize()
                count += 1
        self._rates.append(count * flops / (perf_counter() - begun) / 1e9)

    @property
    def rate(self) -> float:
        """GFLOP/s: the median of the turns."""
        return median(self._rates)


def linear_flops(config: PreTrainedConfig) -> int:
    """Floating-point operations of a token in the linear layers of an encoder's blocks, without attention itself."""
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    layers = {
        id(linear): linear.weight.numel()
        for blocks in model.modules()
        if isinstance(blocks, nn.ModuleList)
        for linear in blocks.modules()
        if isinstance(linear, nn.Linear)
    }
    return 2 * sum(layers.values())


def spearman(a: Floats, b: Floats) -> float:
    """Rank agreement of two (texts, labels) tables: over the texts, the mean of the labels; of one text over labels."""
    if len(a) == 1:
        a, b = a.T, b.T
    return float(np.mean([_spearman(x, y) for x, y in zip(a.T, b.T, strict=True)]))


def _spearman(a: Floats, b: Floats) -> float:
    x, y = _ranks(a), _ranks(b)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float(np.array_equal(x, y))
    return float(np.corrcoef(x, y)[0, 1])


def _ranks(x: Floats) -> Floats:
    """Ranks from 1; those that tie share their mean."""
    _, at, count = np.unique(x, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[at], dtype=np.float32)
