"""Ray Data: a dataset's rows with more columns, from actors that load each model once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from headgate import Guard, Reranker, Router, restore
from headgate.hosting import unread
from headgate.label import OnError, Reads, labelled_table, stage
from headgate_ray._ray import imported

if TYPE_CHECKING:
    from ray.data import Dataset

File = str | Path


@dataclass(frozen=True)
class Actors:
    """The processes that judge; each loads the models once.

    Args:
        concurrency: How many, or the fewest and the most.
        num_gpus: Of each; 0.25 lets four share one.
        num_cpus: Of each; also how many threads its model takes. Leave a CPU for Ray Data's tasks that read: with none
            left, both wait for ever.
        batch_size: Rows of one plan.
        device: As ``headgate.load`` takes it: "auto" is the GPU that Ray gave the actor, if it gave one.
    """

    concurrency: int | tuple[int, int] = 1
    num_gpus: float = 0
    num_cpus: float = 1
    batch_size: int = 1024
    device: str = "auto"

    def __post_init__(self) -> None:
        ends = self.ends
        if not all(isinstance(end, int) for end in ends) or not 1 <= ends[0] <= ends[1]:
            raise ValueError(f"concurrency is {self.concurrency!r}; expected 1 or more, or the fewest and the most.")
        if self.batch_size < 1 or self.num_gpus < 0 or self.num_cpus < 0:
            raise ValueError(
                f"batch_size is {self.batch_size}, num_gpus {self.num_gpus} and num_cpus {self.num_cpus}; expected 1 "
                "row or more, and no less than nothing of the others."
            )

    @property
    def ends(self) -> tuple[int, int]:
        """The fewest and the most."""
        fewest, most = self.concurrency if isinstance(self.concurrency, tuple) else (self.concurrency,) * 2
        return fewest, most

    def options(self) -> dict[str, Any]:
        """As ``Dataset.map_batches`` takes them."""
        fewest, most = self.ends
        pool = imported("ray.data").ActorPoolStrategy(min_size=fewest, max_size=most)
        return {"compute": pool, "num_cpus": self.num_cpus, "num_gpus": self.num_gpus or None}


def route(
    dataset: "Dataset",
    config: File,
    *,
    text: str = "text",
    name: str = "route",
    on_error: OnError = "stop",
    actors: Actors | None = None,
) -> "Dataset":
    """The rows with the columns of a saved router: ``route_choice``, ``route_probability``, …, as ``headgate label``.

        headgate_ray.route(ray.data.read_parquet("corpus/"), "router.yaml", actors=Actors(concurrency=4, num_gpus=0.25))

    Args:
        dataset: Any; rows keep their columns.
        config: As ``headgate.save`` wrote it; the actors don't need the file.
        text: Column with the text.
        name: What new columns begin with.
        on_error: At a row without a text: "stop" raises, "null" adds nulls and a column "error".
        actors: How many, on what.

    Raises:
        CheckpointError: The file is damaged, or of another task.
        MissingRayError: Ray is not installed.
    """
    unread(str(config), Router)
    return label(dataset, {name: config}, reads=Reads(text), on_error=on_error, actors=actors)


def guard(
    dataset: "Dataset",
    config: File,
    *,
    text: str = "text",
    name: str = "guard",
    on_error: OnError = "stop",
    actors: Actors | None = None,
) -> "Dataset":
    """The rows with the columns of a saved guard: ``guard_allowed``, ``guard_broken``, ``guard_probabilities``.

    Arguments and errors are those of :func:`route`.
    """
    unread(str(config), Guard)
    return label(dataset, {name: config}, reads=Reads(text), on_error=on_error, actors=actors)


def rerank(
    dataset: "Dataset",
    config: File,
    *,
    reads: Reads,
    name: str = "rerank",
    on_error: OnError = "stop",
    actors: Actors | None = None,
) -> "Dataset":
    """The rows with the columns of a saved reranker: of each row's passages, or of its one passage.

    Args:
        dataset: As :func:`route`; so are the others.
        config: A reranker's.
        reads: Where queries and passages are, such as ``Reads(query_in="query", passages="passages")``.
        name: What new columns begin with.
        on_error: What happens at a bad row.
        actors: How many, on what.
    """
    stage(unread(str(config), Reranker), name, reads)  # says now whether it has a query
    return label(dataset, {name: config}, reads=reads, on_error=on_error, actors=actors)


def label(
    dataset: "Dataset",
    configs: Mapping[str, File],
    *,
    reads: Reads | None = None,
    on_error: OnError = "stop",
    actors: Actors | None = None,
) -> "Dataset":
    """The rows with the columns of several saved tasks, whose models share what they read of a text.

    Args:
        dataset: As :func:`route`; so are the others.
        configs: By the name that their columns begin with.
        reads: Where a row's words are.
        on_error: What happens at a bad row.
        actors: How many, on what.
    """
    if not configs:
        raise ValueError("there are no configs; expected a file of a router, guard or reranker by name.")
    actors = actors or Actors()
    options = actors.options()  # first, as it says that Ray is missing
    given = {
        "tasks": [(name, Path(path).suffix, Path(path).read_bytes()) for name, path in configs.items()],
        "reads": reads or Reads(),
        "on_error": on_error,
        "device": actors.device,
    }
    return dataset.map_batches(
        Labels,
        batch_size=actors.batch_size,
        batch_format="pyarrow",
        fn_constructor_kwargs=given,
        **options,
    )


class Labels:
    """What an actor runs: tasks that are loaded once, and then batch after batch."""

    def __init__(self, tasks: Sequence[tuple[str, str, bytes]], reads: Reads, on_error: OnError, device: str) -> None:
        self._on_error, self._stages = on_error, []
        with TemporaryDirectory() as folder:
            for name, suffix, words in tasks:
                path = Path(folder) / f"task{suffix}"
                path.write_bytes(words)
                self._stages.append(stage(restore(path, device=device), name, reads))

    def __call__(self, table: Any) -> Any:
        """An Arrow table with more columns."""
        return labelled_table(self._stages, table, on_error=self._on_error)
