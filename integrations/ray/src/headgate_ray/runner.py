"""``headgate label --with ray``: the parts of a job, each written by an actor that has the models loaded."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import headgate
from headgate import DataError, HeadgateError
from headgate.label import Here, Job, Labeller, Part, Settings, begun, runs
from headgate_ray._ray import connected, imported
from headgate_ray.data import Actors

_TOGETHER = 8  # neighbours that one actor reads in a row, as one file's row groups hold several parts
_TURNS = 4  # at least so many turns an actor, so that they end at the same time


def label_files(
    configs: Mapping[str, str | Path],
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    settings: Settings | None = None,
    actors: Actors | None = None,
) -> list[Path]:
    """Label files, part by part, on a Ray that is running, or one of this process.

    As ``headgate label --with ray`` does: killed and called again with the same, it does what is missing, and every row
    comes once. Parts and manifest are the same that a run without Ray makes, and either goes on with the other's.

    Args:
        configs: By the name that their columns begin with, files that ``headgate.save`` wrote.
        inputs: Parquet files, or JSON lines; all machines see them under the same path.
        out: A folder that all machines see.
        settings: Where a row's words are, the rows of a part, and what happens at a bad one.
        actors: How many, on what; ``batch_size`` means nothing here: a part is one plan.

    Returns:
        The files, in the order of the rows.

    Raises:
        DataError: A row is bad, or the folder holds another job; see ``headgate.label.begun``.
    """
    actors = actors or Actors()
    tasks = {name: headgate.restore(path, device=actors.device) for name, path in configs.items()}
    job = begun(tasks, inputs, out, settings or Settings())
    for _ in _done(job, job.missing(), actors, None):
        pass
    return [job.path(part) for part in job.parts]


def run(job: Job, parts: Sequence[Part], here: Here) -> Iterator[Part]:
    """The runner "ray" of ``headgate label``.

    Its options: ``concurrency`` (2, or 1-8), ``num_gpus`` and ``num_cpus`` of an actor, and ``address`` of a cluster;
    without one, Ray is started here.
    """
    imported("ray.data")
    words = dict(here.options or {})
    address = words.pop("address", None)
    return _done(job, parts, _actors(words, here.device), address)


def _actors(words: Mapping[str, str], device: str) -> Actors:
    known: dict[str, Any] = {}
    for name, word in words.items():
        if name not in ("concurrency", "num_gpus", "num_cpus"):
            raise ValueError(f"--set has {name!r}; expected some of concurrency, num_gpus, num_cpus, address.")
        fewest, dash, most = word.partition("-")
        try:
            if name == "concurrency":
                known[name] = (int(fewest), int(most)) if dash else int(word)
            else:
                known[name] = float(word)
        except ValueError as e:
            raise ValueError(f"--set has {name}={word}; expected a number, or concurrency=1-8.") from e
    return Actors(device=device, **known)


def _done(job: Job, parts: Sequence[Part], actors: Actors, address: str | None) -> Iterator[Part]:
    """Each part once it is there."""
    if not parts:
        return
    size = max(1, min(_TOGETHER, len(parts) // (_TURNS * actors.ends[1])))
    sizes = [len(run) for run in runs(parts, size)]
    ends = list(accumulate(sizes))
    items = [{"start": end - count, "end": end} for end, count in zip(ends, sizes, strict=True)]
    with connected(address):
        data = imported("ray.data")
        data.DataContext.get_current().enable_progress_bars = False
        given = {"job": job.absolute(), "parts": list(parts), "device": actors.device}
        written = data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Writes, batch_size=1, batch_format="numpy", fn_constructor_kwargs=given, **actors.options()
        )
        for row in written.iter_rows():
            if row["error"]:
                raise DataError(str(row["error"]))
            yield parts[int(row["part"])]


class _Writes:
    """What an actor runs: it writes parts, and says which; its errors come as rows, since Ray hides what it wraps."""

    def __init__(self, job: Job, parts: Sequence[Part], device: str) -> None:
        self._parts, self._error = parts, ""
        try:
            self._labelled = Labeller(job, job.stages(device=device))
        except HeadgateError as e:
            self._error = str(e)

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """The parts of a run, one after the other."""
        for start, end in zip(batch["start"], batch["end"], strict=True):
            for number in range(int(start), int(end)):
                yield {"part": [number], "error": [self._error or self._write(number)]}

    def _write(self, number: int) -> str:
        try:
            self._labelled(self._parts[number])
        except HeadgateError as e:
            return str(e)
        return ""
