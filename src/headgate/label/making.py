"""The tasks of ``headgate label``: saved ones, or one made of options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import headgate
from headgate.arguments import named_words, one_of
from headgate.documents import routes_in
from headgate.guard import Guard, brought
from headgate.label.columns import Task
from headgate.rerank import Reranker
from headgate.route import Router

Kind = Literal["route", "guard", "rerank"]


@dataclass(frozen=True)
class Options:
    """A task as options say it.

    Attributes:
        task: Which; None: there are none of these options.
        model: As ``load`` takes it; None: the part of ``mini`` for the task.
        revision: Of a Hub id.
        max_length: Tokens of a row.
        routes: A JSON file of routes.
        route: Routes, as ``name`` or ``name=description``.
        forbid: Rules, as ``label`` or ``name=label``; none: the model's own.
        threshold: Of the router, or of the guard's rules.
        multi: Several routes may be true.
        unreadable: Share of unknown tokens; None: the guard's default.
    """

    task: Kind | None = None
    model: str | None = None
    revision: str | None = None
    max_length: int | None = None
    routes: Path | None = None
    route: Sequence[str] = ()
    forbid: Sequence[str] = ()
    threshold: float | None = None
    multi: bool = False
    unreadable: float | None = None


_OF: Mapping[str, tuple[str, ...]] = {
    "route": ("routes", "route", "threshold", "multi"),
    "guard": ("forbid", "threshold", "unreadable"),
    "rerank": (),
}


def tasks(configs: Sequence[str], options: Options, *, device: str) -> dict[str, Task]:
    """Tasks by name: those of files, or the one of options.

    Args:
        configs: Files that ``headgate.save`` wrote, as ``FILE`` or ``NAME=FILE``; without a name the file's stem.
        options: Instead.
        device: Where to load models.

    Raises:
        ValueError: Neither or both came, options that aren't the task's, or two tasks of one name.
    """
    given = [name for name in Options.__dataclass_fields__ if getattr(options, name) not in (None, (), False)]
    if configs:
        if given:
            raise ValueError(f"--config came with {_said(given)}, which it holds; expected one or the other.")
        pairs = [(name or Path(path).stem, path) for name, path in map(_pair, configs)]
        repeated = {name for name, _ in pairs if [n for n, _ in pairs].count(name) > 1}
        if repeated:
            raise ValueError(f"two tasks are called {min(repeated)!r}; expected --config NAME=FILE, each its own name.")
        return {name: headgate.restore(path, device=device) for name, path in pairs}
    if options.task is None:
        raise ValueError("there is no task; expected --config FILE, or --task route, guard or rerank.")
    one_of("task", options.task, get_args(Kind))
    strange = [name for name in given if name in sum(_OF.values(), ()) and name not in _OF[options.task]]
    if strange:
        raise ValueError(f"--task {options.task} came with {_said(strange)}, which are of another task.")
    return {options.task: _made(options, device)}


def _made(options: Options, device: str) -> Task:
    model = options.model or f"mini/{options.task}"
    routes = named_words("route", routes_in(options.routes), options.route)
    rules = named_words("rule", [], options.forbid)
    if options.task == "route" and not routes:
        raise ValueError("there are no routes; expected --route name=description, or --routes FILE.json.")
    scorer = headgate.load(model, revision=options.revision, device=device, max_length=options.max_length)
    if options.task == "rerank":
        return Reranker(scorer)
    if options.task == "route":
        return Router(scorer, routes, threshold=options.threshold, multi=options.multi)
    unreadable = 0.5 if options.unreadable is None else options.unreadable
    return Guard(scorer, rules or brought(scorer, model), threshold=options.threshold, unreadable=unreadable)


def _pair(config: str) -> tuple[str, str]:
    """Name and file; a path may hold a "=" of its own."""
    name, equals, path = config.partition("=")
    return (name, path) if equals and not Path(config).exists() else ("", config)


def _said(names: Sequence[str]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in names)
