"""A corpus to label: what it is made of, written down, and what of it is left to do.

The manifest says what the work is: inputs by their bytes, tasks, settings, parts. It is written before the first part
and never again. What is done is what is there: a part's file appears whole, so that a run after a kill does what is
missing, and every row comes once. A run with anything else is refused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, Literal

import headgate
from headgate.arguments import named, one_of, whole
from headgate.config import restore, save
from headgate.errors import DataError
from headgate.label.arrow import arrow, labelled_table
from headgate.label.batch import OnError, added, label
from headgate.label.columns import BadRowError, Reads, Stage, Task
from headgate.label.parts import PART_ROWS, Part
from headgate.label.sources import Format, Reader, Source, columns_of, place, survey
from headgate.label.stages import stage
from headgate.label.writing import as_lines, as_table, schema_of, swept, tabled, written
from headgate.plain import plain

MANIFEST = "_manifest.json"
TASKS = "_tasks"


@dataclass(frozen=True)
class Settings:
    """How a corpus is labelled.

    Args:
        reads: Where a row's words are.
        part_rows: Rows of a part, 1 or more: what a kill costs at most.
        format: Of the parts; "same" as the input's.
        on_error: What happens at a bad row: see :func:`headgate.label.label`.
    """

    reads: Reads = field(default_factory=Reads)
    part_rows: int = PART_ROWS
    format: Literal["same", "parquet", "jsonl"] = "same"
    on_error: OnError = "stop"

    def __post_init__(self) -> None:
        whole("part_rows", self.part_rows, least=1)
        one_of("format", self.format, ["same", "parquet", "jsonl"])
        one_of("on_error", self.on_error, ["stop", "null"])


@dataclass(frozen=True)
class Job:
    """A corpus to label; it can be sent to other processes.

    Attributes:
        folder: Where everything goes.
        settings: How.
        names: Of the tasks, in order.
        sources: The input files.
        parts: All of them, in order.
        runs: By task, the backend and dtype of its model: all rows get the same digits.
        schemas: By source, the Arrow schema of JSON lines that become Parquet; else "".
    """

    folder: Path
    settings: Settings
    names: tuple[str, ...]
    sources: tuple[Source, ...]
    parts: tuple[Part, ...]
    runs: Mapping[str, Mapping[str, str]]
    schemas: tuple[str, ...]

    def format(self, part: Part) -> Format:
        """Of the file it becomes."""
        return self.sources[part.source].format if self.settings.format == "same" else self.settings.format

    def path(self, part: Part) -> Path:
        """Of the file it becomes."""
        return self.folder / part.name(self.sources[part.source].path, f".{self.format(part)}")

    def absolute(self) -> "Job":
        """The same with whole paths, for processes that stand elsewhere."""
        sources = tuple(replace(source, path=str(Path(source.path).absolute())) for source in self.sources)
        return replace(self, folder=self.folder.absolute(), sources=sources)

    def missing(self) -> list[Part]:
        """The parts that aren't done, in order."""
        there = {path.name for path in self.folder.iterdir()}
        return [part for part in self.parts if self.path(part).name not in there]

    def stages(self, *, device: str = "auto") -> list[Stage]:
        """The tasks, loaded from where the job keeps them: for other processes than the one that began it.

        Raises:
            StaleError: A model here is another than the job's.
            DataError: A model runs with another backend or dtype here than the job's.
        """
        tasks = {name: restore(self.folder / TASKS / f"{name}.json", device=device) for name in self.names}
        found = {name: _run(task) for name, task in tasks.items()}
        if found != self.runs:
            raise DataError(
                f"the models run as {found} here, and the job was begun with {dict(self.runs)}; expected the same "
                "digits for all rows: write backend and dtype into the task's file, under scorer."
            )
        return [stage(task, name, self.settings.reads) for name, task in tasks.items()]


def begun(tasks: Mapping[str, Task], inputs: Sequence[str | Path], out: str | Path, settings: Settings) -> Job:
    """The job in a folder: the one that was begun there, or a new one.

    Args:
        tasks: By the name that their columns begin with.
        inputs: Parquet files and JSON lines.
        out: A folder, which is made; for several machines one that all of them see.
        settings: How.

    Raises:
        DataError: A row is bad; it says which. Or the folder holds other things, or another job: it says what differs.
        ValueError: No inputs or tasks, or the input has a column that would be added.
    """
    names = list(tasks)
    named("task", names)
    odd = [name for name in names if not name.replace("-", "_").isidentifier()]
    if odd:
        raise ValueError(f"a task is called {odd[0]!r}; expected letters, digits, - and _: columns begin with it.")
    if not inputs:
        raise ValueError("there are no inputs; expected at least one Parquet file, or one of JSON lines.")
    stages = [stage(task, name, settings.reads) for name, task in tasks.items()]
    added(stages, settings.on_error)
    folder = Path(out)
    sources = [Source.of(Path(path)) for path in inputs]
    runs = {name: _run(task) for name, task in tasks.items()}
    words = {name: _words(task) for name, task in tasks.items()}
    tasked = {name: _nowhere(own) for name, own in words.items()}
    what = {"headgate": headgate.__version__, "settings": plain(settings), "tasks": tasked, "runs": runs}
    what["inputs"] = [{**asdict(source), "path": PurePath(source.path).name} for source in sources]
    found = _found(folder)
    if found is None:
        made = _cut(sources, stages, settings)
        found = {**what, "fingerprint": _digest(what), **made}
        _write(folder, found, words)
    else:
        _refuse_other(folder, found, what)
        swept(folder)
    parts = tuple(Part(*numbers) for numbers in found["parts"])
    return Job(folder, settings, tuple(names), tuple(sources), parts, runs, tuple(found["schemas"]))


class Labeller:
    """Labels parts of a job, and writes each."""

    def __init__(self, job: Job, stages: Sequence[Stage]) -> None:
        self._job, self._stages = job, list(stages)
        self._reader: tuple[int, Reader] | None = None

    def __call__(self, part: Part) -> None:
        """One part, which is then there.

        Raises:
            DataError: A row is bad, or the input was changed.
        """
        job, source = self._job, self._job.sources[part.source]
        on_error = job.settings.on_error
        if self._reader is None or self._reader[0] != part.source:
            self._reader = part.source, Reader(source)
        reader, lines = self._reader[1], None
        try:
            if source.format == "jsonl":
                found = reader.records(part)
                lines = [line for line, _ in found]
                self._records(part, [record for _, record in found])
            else:
                table = labelled_table(self._stages, reader.table(part), on_error=on_error)
                self._table(part, table)
        except BadRowError as e:
            raise place(part, lines, e, source.path) from e

    def _records(self, part: Part, records: list[dict[str, Any]]) -> None:
        job = self._job
        if job.format(part) == "parquet":
            table = tabled(records, job.schemas[part.source])
            self._table(part, labelled_table(self._stages, table, on_error=job.settings.on_error))
            return
        columns = added(self._stages, job.settings.on_error)
        values = label(self._stages, columns_of(records, self._stages), on_error=job.settings.on_error)
        written(job.path(part), lambda path: as_lines(records, columns, values, path))

    def _table(self, part: Part, table: Any) -> None:  # noqa: ANN401
        if self._job.format(part) == "parquet":
            written(self._job.path(part), lambda path: as_table(table, path))
        else:
            records = table.to_pylist()
            written(self._job.path(part), lambda path: as_lines(records, [], {}, path))


def _found(folder: Path) -> dict[str, Any] | None:
    """The manifest in a folder; None where there is none, and nothing else either."""
    path = folder / MANIFEST
    if path.exists():
        try:
            found: dict[str, Any] = json.loads(path.read_text("utf-8"))
            return found
        except ValueError as e:
            raise DataError(f"{path} is damaged: {e}; expected it as it was written. Label into another folder.") from e
    others = [p.name for p in folder.iterdir() if p.name[0] not in "._"] if folder.exists() else []
    if others:
        raise DataError(f"{folder} holds {others[0]!r} and no {MANIFEST}; expected an empty folder, or a new one.")
    return None


def _cut(sources: Sequence[Source], stages: Sequence[Stage], settings: Settings) -> dict[str, Any]:
    """Parts and schemas of a new job, once all rows were looked at."""
    if any("parquet" in (source.format, settings.format) for source in sources):
        arrow()  # says now that it isn't installed
    parts: list[Part] = []
    for number, source in enumerate(sources):
        parts += survey(source, number, stages, settings.part_rows, settings.on_error)
    tables = [source.format == "jsonl" and settings.format == "parquet" for source in sources]
    schemas = [schema_of(source.path) if table else "" for source, table in zip(sources, tables, strict=True)]
    return {"schemas": schemas, "parts": [[*asdict(part).values()] for part in parts]}


def _write(folder: Path, manifest: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """The manifest comes last: without it nothing has begun."""
    (folder / TASKS).mkdir(parents=True, exist_ok=True)
    swept(folder)
    swept(folder / TASKS)
    files = {f"{TASKS}/{name}.json": words for name, words in tasks.items()}
    for path, words in {**files, MANIFEST: manifest}.items():
        written(folder / path, partial(_as_json, words))


def _as_json(words: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(words) + "\n", encoding="utf-8", newline="\n")


def _refuse_other(folder: Path, found: Mapping[str, Any], what: Mapping[str, Any]) -> None:
    """Raise DataError where a job is another than the one that was begun."""
    for name, now in what.items():
        then = found.get(name)
        if then != now:
            at, before, after = _difference(name, then, now)
            raise DataError(
                f"{folder} was begun with other {name}: {at} was {_short(before)}, and is {_short(after)} now; "
                "expected the same. Go on with those, or label into another folder."
            )


def _difference(at: str, then: object, now: object) -> tuple[str, object, object]:
    """The first place where two plain values differ."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in {**then, **now}:
            if then.get(key) != now.get(key):
                return _difference(f"{at}.{key}", then.get(key), now.get(key))
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for i, (a, b) in enumerate(zip(then, now, strict=True)):
            if a != b:
                return _difference(f"{at}[{i}]", a, b)
    return at, then, now


def _short(value: object) -> str:
    words = json.dumps(value)
    return words if len(words) <= 100 else f"{words[:100]}…"


def _digest(what: object) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _run(task: Task) -> dict[str, str]:
    run = getattr(task.scorer, "run", None)
    return {} if run is None else {"backend": str(run.backend), "dtype": str(run.dtype)}


def _words(task: Task) -> dict[str, Any]:
    """A task as its file says it; a model's folder by its whole path, as other processes may stand elsewhere."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        save(task, path)
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    where = found["scorer"].get("where")
    if where is not None and Path(where).is_dir():
        found["scorer"]["where"] = str(Path(where).absolute())
    return found


def _nowhere(words: Mapping[str, Any]) -> dict[str, Any]:
    """Without where the model lies: its fingerprint says which it is."""
    return {**words, "scorer": {key: value for key, value in words["scorer"].items() if key != "where"}}
