"""The tasks that are served, by name, each on its model; all models share one worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol, TypeVar, get_args

from headgate.config import Saved
from headgate.families.origin import Origin
from headgate.ground import Grounding
from headgate.guard import Guard, brought
from headgate.hosting import shared
from headgate.rerank import Reranker
from headgate.route import Router
from headgate.runtime.state_cache import StateCache
from headgate.runtime.worker import Worker
from headgate.scores import Embedder, Scorer
from headgate.sentences import sentences
from headgate.serve.faults import Fault
from headgate.serve.settings import Entry, Grounds, Settings

T = TypeVar("T")

Part = Literal["zero_shot", "questions", "classifier", "embedder"]


class Loader(Protocol):
    """Where scorers come from: :func:`headgate.loading.load_again`, or something that stands in for it."""

    def __call__(self, origin: Origin, *, device: str) -> Any:  # noqa: ANN401  scorers of others have other types
        """The scorer that was loaded so."""
        ...


@dataclass(frozen=True)
class Served:
    """A task under its name.

    Attributes:
        kind: "reranker", "router", "guard", "grounding", or what a model alone is for.
        name: As requests ask for it.
        model: Where its model was loaded from.
        task: The task, or the scorer.
    """

    kind: str
    name: str
    model: str
    task: Any


@dataclass(frozen=True)
class Catalog:
    """Everything that is served; a reload makes another one, and requests under way keep theirs.

    Attributes:
        served: All of it, by kind and name.
        aliases: As in :class:`Settings`.
        categories: As there.
    """

    served: Mapping[tuple[str, str], Served]
    aliases: Mapping[str, str]
    categories: Mapping[str, tuple[str, ...]]

    def named(self, kind: str, name: str | None) -> Served:
        """What serves this name; None asks for the default, or for the only one there is.

        Raises:
            Fault: There is none: 404.
        """
        names = [known for of, known in self.served if of == kind]
        wanted = name or ("default" if "default" in names or len(names) != 1 else names[0])
        found = self.served.get((kind, wanted)) or self.served.get((kind, self._meant(wanted)))
        if found is None:
            there = f"expected one of {names}" if names else f"this server has no {kind}: name one in its file"
            raise Fault("not_found", f"there is no {kind} {wanted!r}; {there}.", param="model")
        return found

    def part(self, part: Part) -> Served:
        """The model that serves this part, or a Fault: 404."""
        return self.named(part, part)

    def classifier(self, name: str) -> Served:
        """The classifier, by the name of its model, or one that means the default."""
        found = self.part("classifier")
        if name not in (found.model, "classifier", "default") and self._meant(name) != "default":
            raise Fault("not_found", f"there is no classifier {name!r}; expected {found.model!r}.", param="model")
        return found

    def reranker(self, name: str | None) -> tuple[str, Reranker]:
        """Its name, and the reranker."""
        found = self.named("reranker", name)
        return found.name, found.task

    def guard(self, name: str | None) -> tuple[str, Guard]:
        """Its name, and the guard."""
        found = self.named("guard", name)
        return found.name, found.task

    def _meant(self, name: str) -> str:
        return next((to for pattern, to in self.aliases.items() if fnmatchcase(name, pattern)), name)


class Shelf:
    """Loads each model once, and gives all of them one worker and one cache of states.

    Args:
        load: Where scorers come from.
        worker: Whose thread runs them.
        device: Of all.
    """

    def __init__(self, load: Loader, worker: Worker, device: str) -> None:
        self._load, self._worker, self._device = load, worker, device
        self._states = StateCache()
        self._scorers: dict[str, Any] = {}

    def scorer(self, origin: Origin) -> Any:  # noqa: ANN401
        """The scorer that was loaded so."""
        key = repr(origin)
        if key not in self._scorers:
            self._scorers[key] = shared(self._load(origin, device=self._device), self._worker, self._states)
        return self._scorers[key]

    def task(self, saved: Saved) -> Any:  # noqa: ANN401
        """A saved task, on its scorer."""
        return saved.on(saved.calibrated(self.scorer(saved.origin)))


def stocked(settings: Settings, load: Loader, worker: Worker) -> Catalog:
    """Load everything that is to be served; takes seconds, and raises what loading raises."""
    shelf = Shelf(load, worker, settings.device)
    found = [
        *(_entry("reranker", name, one, shelf, _reranker) for name, one in settings.rerankers.items()),
        *(_entry("router", name, one, shelf, _refused) for name, one in settings.routers.items()),
        *(_entry("guard", name, one, shelf, _guard) for name, one in settings.guards.items()),
        *(_grounding(name, one, shelf) for name, one in settings.groundings.items()),
    ]
    for part in get_args(Part):
        origin: Origin | None = getattr(settings, part)
        if origin is not None:
            found.append(Served(part, part, origin.where, shelf.scorer(origin)))
    return Catalog({(one.kind, one.name): one for one in found}, settings.aliases, settings.categories)


def _entry(kind: str, name: str, one: Entry, shelf: Shelf, plain: Callable[[Any, str], Any]) -> Served:
    if isinstance(one, Saved):
        return Served(kind, name, one.origin.where, _generous(shelf.task(one)))
    return Served(kind, name, one.where, plain(shelf.scorer(one), one.where))


def _reranker(scorer: Scorer, where: str) -> Reranker:
    return Reranker(scorer, long_query="windows" if hasattr(scorer, "split_label") else "error")


def _generous(task: T) -> T:
    """A reranker takes queries of any length: who calls over HTTP can't know the model's."""
    if isinstance(task, Reranker) and hasattr(task.scorer, "split_label"):
        return replace(task, long_query="windows")
    return task


def _guard(scorer: Scorer, where: str) -> Guard:
    return Guard(scorer, brought(scorer, where))


def _refused(scorer: Scorer, where: str) -> Router:
    raise ValueError(f"a router of {where} has no routes; expected a file that headgate.save wrote.")


def _grounding(name: str, one: Grounds, shelf: Shelf) -> Served:
    # Without a threshold a request must bring its own; what has none yet is told so when it is asked.
    task = Grounding(
        shelf.scorer(one.scorer),
        sentences(one.language),
        threshold=one.threshold,
        contradiction=one.contradiction,
        cite=one.cite,
        pairs=one.pairs,
        literals=one.literals,
        unreadable=one.unreadable,
    )
    return Served("grounding", name, one.scorer.where, task)


def embedder(catalog: Catalog) -> Embedder:
    """What makes examples comparable, or a Fault: 404."""
    found: Embedder = catalog.part("embedder").task
    return found
