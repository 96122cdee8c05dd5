"""Who labels the parts of a job: this process, or a runner that another distribution brings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

from headgate.label.columns import Stage
from headgate.label.job import Job, Labeller
from headgate.label.parts import Part

GROUP = "headgate.label"
"""The entry points that name runners."""


@dataclass(frozen=True)
class Here:
    """How a run was asked for.

    Attributes:
        stages: The tasks, as this process loaded them.
        device: As ``load`` takes it, for processes that load them anew.
        options: Of the runner, as words.
    """

    stages: Sequence[Stage]
    device: str = "auto"
    options: Mapping[str, str] | None = None


class Runner(Protocol):
    """What an entry point of the group ``headgate.label`` names."""

    def __call__(self, job: Job, parts: Sequence[Part], here: Here) -> Iterator[Part]:
        """Label the parts with :class:`Labeller`; gives each once it is there, in any order."""
        ...


def in_turn(job: Job, parts: Sequence[Part], here: Here) -> Iterator[Part]:
    """In this process, one after the other."""
    if here.options:
        raise ValueError(f"the options {sorted(here.options)} are of a runner; expected --with NAME beside them.")
    labelled = Labeller(job, here.stages)
    for part in parts:
        labelled(part)
        yield part


def runner(name: str | None) -> Runner:
    """The runner of that name; None labels here.

    Raises:
        ValueError: None such is installed.
    """
    if name is None:
        return in_turn
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        there = f"installed are {sorted(found)}" if found else "none is installed"
        raise ValueError(f"there is no runner {name!r} ({there}); run: pip install headgate-{name}")
    loaded: Runner = found[name].load()
    return loaded
