"""One model measured in several modes, beside other libraries."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from headgate.bench.measure import (
    Candidate,
    Ceiling,
    Memory,
    Ratio,
    Result,
    Turns,
    linear_flops,
    ratio,
    spearman,
)
from headgate.bench.peers import PEERS, NotHere, Subject
from headgate.bench.workloads import Job, Kind, Size, job, kind_of
from headgate.families.base import Family
from headgate.loading import load, open_checkpoint
from headgate.models.checkpoint import Checkpoint
from headgate.runtime.device import DTYPES, resolve_device
from headgate.scores import Floats

MODES: dict[str, dict[str, Any]] = {
    "exact": {"exact": True},
    "auto": {},
    "int8": {"dtype": "int8"},
    "transformers": {"exact": True, "backend": "transformers"},
    "onnx": {"backend": "onnx"},
}
"""Ways to load a model, by name. The first is the plain one that every number is compared with."""

PLAIN = next(iter(MODES))


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        modes: Of :data:`MODES`; the first one always takes part.
        against: Names of :data:`headgate.bench.peers.PEERS`, or "all" for those that read this kind of model.
        size: How much work.
        repeat: Turns.
        limit: Seconds from which on no new turn begins.
        device: As ``load`` takes it.
        how: More arguments of ``load``, the same in every mode.
    """

    modes: tuple[str, ...] = ("exact", "auto")
    against: tuple[str, ...] = ()
    size: Size = field(default_factory=Size)
    repeat: int = 5
    limit: float = float("inf")
    device: str = "auto"
    how: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """What one way to do the job measured.

    Attributes:
        name: Who.
        mode: Of ours; None for others.
        seconds: Of each turn.
        median: Of them.
        ratios: Mode of ours -> how many times as long this one takes.
        rows: That went through the model.
        tokens: Of these rows.
        padded: The same with padding.
        useful: tokens / padded.
        pairs_per_second: Texts x labels.
        peak_bytes: Beyond what was held before.
        max_difference: Largest difference of a number from our plain one's.
        spearman: Rank agreement with our plain numbers.
        overhead: Time outside the model as a share of that in it; None where nobody counts it.
        gflops: Of the linear layers, in GFLOP/s, padding included.
        share: gflops as a share of the bare products of the same dtype; None for others.
    """

    name: str
    mode: str | None
    seconds: tuple[float, ...]
    median: float
    ratios: dict[str, Ratio]
    rows: int
    tokens: int
    padded: int
    useful: float
    pairs_per_second: float
    peak_bytes: int
    max_difference: float
    spearman: float
    overhead: float | None
    gflops: float
    share: float | None


@dataclass(frozen=True)
class Report:
    """Everything a run measured; ``dataclasses.asdict`` makes JSON of it.

    Attributes:
        model: As it was named.
        kind: Of the model.
        device: Where it ran.
        threads: Of torch.
        machine: The processor's or GPU's name.
        versions: Of torch, transformers and the libraries compared.
        texts: How many.
        labels: How many.
        mean_tokens: Of a text.
        longest_tokens: Of a text.
        memory: What the peaks were read from.
        ceiling: Dtype -> GFLOP/s of bare products.
        linear_flops: Of a token in the linear layers.
        lines: One for each way; ours first.
        skipped: Who could not take part -> why.
    """

    model: str
    kind: Kind
    device: str
    threads: int
    machine: str
    versions: dict[str, str]
    texts: int
    labels: int
    mean_tokens: float
    longest_tokens: int
    memory: str
    ceiling: dict[str, float]
    linear_flops: int
    lines: tuple[Line, ...]
    skipped: dict[str, str]


def bench(where: str, options: Options) -> Report:
    """Measure a model.

    Args:
        where: As ``load`` takes it.
        options: How.

    Raises:
        ValueError: An unknown mode, or a peer that does not read this kind of model.
    """
    unknown = [mode for mode in options.modes if mode not in MODES]
    if unknown:
        raise ValueError(f"mode {unknown[0]!r} is not known; expected one of {list(MODES)}.")
    device = resolve_device(options.device)
    modes = list(dict.fromkeys([PLAIN, *options.modes]))
    ours = {mode: load(where, device=options.device, **{**options.how, **MODES[mode]}) for mode in modes}
    plain = ours[PLAIN]
    _known(options.against, kind_of(plain))
    revision, length = options.how.get("revision"), options.how.get("max_length")
    checkpoint = open_checkpoint(where, revision=revision, device=options.device, max_length=length)
    work = job(plain, checkpoint, options.size)
    candidates = {mode: ours_as(f"headgate {mode}", scorer, work.labels) for mode, scorer in ours.items()}
    peers, skipped = _peers(options.against, plain, checkpoint, work)
    dtypes = {mode: DTYPES.get(str(MODES[mode].get("dtype")), torch.float32) for mode in modes}
    ceilings = {t: Ceiling(int(checkpoint.body.hidden_size), t, device) for t in dtypes.values()}
    turns = Turns([*candidates.values(), *peers], device, list(ceilings.values()))
    results = turns.run(work.texts, repeat=options.repeat, limit=options.limit)
    return Report(
        model=where,
        kind=work.kind,
        device=str(device),
        threads=torch.get_num_threads(),
        machine=_machine(device),
        versions=_versions(),
        texts=len(work.texts),
        labels=len(work.labels),
        mean_tokens=float(np.mean(work.tokens)),
        longest_tokens=max(work.tokens),
        memory=Memory.source(device),
        ceiling={str(t).removeprefix("torch."): c.rate for t, c in ceilings.items()},
        linear_flops=linear_flops(checkpoint.body),
        lines=_lines(results, modes, linear_flops(checkpoint.body), [ceilings[dtypes[m]].rate for m in modes]),
        skipped=skipped,
    )


def ours_as(name: str, scorer: Family, labels: Sequence[str]) -> Candidate:
    """A scorer as one that takes part."""

    def run(texts: Sequence[str]) -> Floats:
        return scorer.score(texts, labels).log_odds

    return Candidate(name, run, lambda: scorer.work)


def _lines(results: Sequence[Result], modes: Sequence[str], flops: int, ceilings: Sequence[float]) -> tuple[Line, ...]:
    """One line a result; ours come first, in the order of their modes and ceilings."""
    reference, lines = results[0].numbers, []
    for k, found in enumerate(results):
        own = k < len(modes)
        last = found.work[-1]
        rate = flops * last.padded / found.median / 1e9
        lines.append(
            Line(
                name=found.name,
                mode=modes[k] if own else None,
                seconds=found.seconds,
                median=found.median,
                ratios={mode: ratio(found, results[i]) for i, mode in enumerate(modes)},
                rows=last.rows,
                tokens=last.tokens,
                padded=last.padded,
                useful=found.useful,
                pairs_per_second=found.numbers.size / found.median,
                peak_bytes=found.peak,
                max_difference=float(np.abs(found.numbers - reference).max(initial=0.0)),
                spearman=spearman(found.numbers, reference),
                overhead=found.overhead,
                gflops=rate,
                share=rate / ceilings[k] if own else None,
            )
        )
    return tuple(lines)


def _known(against: Sequence[str], kind: Kind) -> None:
    fits = [name for name, peer in PEERS.items() if kind in peer.kinds]
    for name in against:
        if name != "all" and name not in fits:
            raise ValueError(f"{name!r} came for a model of kind {kind}; expected one of {[*fits, 'all']}, or none.")


def _peers(
    against: Sequence[str], scorer: Family, checkpoint: Checkpoint, work: Job
) -> tuple[list[Candidate], dict[str, str]]:
    """Those that can take part, and why the others can't."""
    subject = Subject(
        folder=checkpoint.folder,
        kind=work.kind,
        labels=work.labels,
        template=scorer.template,
        classes=tuple(getattr(scorer, "classes", ())),
        device=checkpoint.device,
        max_length=checkpoint.length,
    )
    few = work.texts[: max(2, len(work.texts) // 8)]
    found, skipped = [], {}
    for name, peer in PEERS.items():
        if name not in against and not ("all" in against and work.kind in peer.kinds):
            continue
        try:
            if not _published(checkpoint):
                raise NotHere(f"{checkpoint.folder.name} has a layout of headgate's own, which {name} does not read")
            found += peer.make(subject, few)
        except NotHere as e:
            skipped[name] = str(e)
    return found, skipped


def _published(checkpoint: Checkpoint) -> bool:
    """True if other libraries read the folder as we do; of a part they would make up what they don't find."""
    config = checkpoint.config
    named = str((config.get("architectures") or [""])[0])
    return config.get("model_type") == "GLiClass" or named.endswith("ForSequenceClassification")


def _machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in ("headgate", "torch", "transformers", "sentence-transformers", "gliclass", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
