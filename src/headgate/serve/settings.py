"""What is served, and how much of it: one YAML file, checked key by key before a model is read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from headgate.arguments import named, probability
from headgate.config import Saved, parse, read
from headgate.errors import CheckpointError, HeadgateError
from headgate.families.origin import Origin
from headgate.files import content
from headgate.plain import built, hints, parts

_FORMAT = 1
_TASKS = {"rerankers": "reranker", "routers": "router", "guards": "guard"}
_MINI = {
    "zero_shot": Origin("mini/route"),
    "questions": Origin("mini/gliclass"),
    "classifier": Origin("mini/heads"),
    "embedder": Origin("mini/embed"),
}
KEYS = "HEADGATE_API_KEYS"
"""Environment variable with the keys that callers may use, separated by commas or white space."""

VENDORS = (
    "rerank-*", "jina-*", "voyage-*", "nvidia/*", "nv-*", "BAAI/bge-*", "omni-moderation-*", "text-moderation-*",
    "embed-*", "default/not-specified",
)  # fmt: skip
"""Names that clients of other services ask for: each stands for the default, and the reply says which one ran."""


@dataclass(frozen=True)
class Limits:
    """How much a caller, and all of them together, may ask for.

    Attributes:
        body: Bytes of one request.
        bodies: Bytes of all requests that are being read or worked on.
        documents: Texts of one request.
        characters: Of one request, a query counted once for each document.
        requests: How many may be under way; more get 429.
        of_one: The share of these that one key, or one address where there are no keys, may hold, above 0 to 1.
        backlog: Characters under way, those of large requests left out, beyond which requests get 429.
        large: Characters from which a request is large: one of them is worked on at a time, ``large_waiting`` may wait.
        large_waiting: See ``large``.
        deadline: Seconds until a request is given up with 504; what it had waiting is taken out.
        upload: Seconds in which a body must have arrived.
        streams: Guarded streams that may be open.
        linger: Seconds after SIGTERM in which requests are still taken, while ``/ready`` sends them elsewhere.
        drain: Seconds that requests under way have then.
    """

    body: int = 32 * 1024 * 1024
    bodies: int = 256 * 1024 * 1024
    documents: int = 10_000
    characters: int = 200_000_000
    requests: int = 128
    of_one: float = 0.75
    backlog: int = 20_000_000
    large: int = 1_000_000
    large_waiting: int = 4
    deadline: float = 60.0
    upload: float = 30.0
    streams: int = 64
    linger: float = 0.0
    drain: float = 30.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not (value >= 0 if f.name == "linger" else value > 0):
                raise ValueError(f"{f.name} is {value}; expected more than 0.")
        if not self.of_one <= 1:
            raise ValueError(f"of_one is {self.of_one}; expected a share, above 0 to 1.")


@dataclass(frozen=True)
class Grounds:
    """A :class:`headgate.Grounding` to be made: its model, and its arguments.

    Attributes:
        scorer: How its scorer is loaded.
        threshold: As of Grounding; None takes the scorer's own, or the request's.
        contradiction: As there.
        cite: As there.
        pairs: As there.
        literals: As there.
        unreadable: As there.
        language: Of its sentences, as of ``headgate.sentences.sentences``.
    """

    scorer: Origin
    threshold: float | None = None
    contradiction: float | None = None
    cite: Literal["sentences", "windows"] = "sentences"
    pairs: int = 0
    literals: bool = True
    unreadable: float = 0.5
    language: str = "en"

    def __post_init__(self) -> None:
        for name in ("threshold", "contradiction", "unreadable"):
            if getattr(self, name) is not None:
                probability(name, getattr(self, name))


Entry = Saved | Origin
"""A task as it was saved, or the model that a plain one is made of."""


@dataclass(frozen=True)
class Settings:
    """What a server serves; without any, everything is ``mini``.

    Attributes:
        rerankers: By name; "default" serves requests that name none. A model, or a saved reranker.
        routers: By name; saved ones.
        guards: By name; a model with the rules it brings, or saved ones.
        groundings: By name.
        zero_shot: The model that judges routes and rules that come with a request; None serves none.
        questions: The model of /v1/decide; None serves none.
        classifier: A model with a closed vocabulary, of TEI's /predict and the others' /classify; None serves none.
        embedder: Makes examples of /v1/classify comparable; None refuses examples.
        categories: OpenAI's category -> rules of the default guard, which it is the highest of.
        aliases: Other names of models, with ``*``, -> the name of a task.
        limits: See :class:`Limits`.
        keys: A file with the keys that callers may use, one a line; more come from ``HEADGATE_API_KEYS``. None and no
            variable: everybody may.
        origins: Of pages that may call from another site (CORS); none by default.
        device: Of all models.
        log_texts: Write what is asked into the log too.
        tracing: Make OpenTelemetry spans, where it is installed.
        path: Of the file that says so; None where none does.
    """

    rerankers: Mapping[str, Entry] = field(default_factory=lambda: {"default": Origin("mini/rerank")})
    routers: Mapping[str, Entry] = field(default_factory=dict)
    guards: Mapping[str, Entry] = field(default_factory=lambda: {"default": Origin("mini/guard")})
    groundings: Mapping[str, Grounds] = field(default_factory=lambda: {"default": Grounds(Origin("mini/nli"))})
    zero_shot: Origin | None = _MINI["zero_shot"]
    questions: Origin | None = _MINI["questions"]
    classifier: Origin | None = _MINI["classifier"]
    embedder: Origin | None = _MINI["embedder"]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"harassment": ("toxicity:toxic",)})
    aliases: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(VENDORS, "default"))
    limits: Limits = field(default_factory=Limits)
    keys: str | None = None
    origins: tuple[str, ...] = ()
    device: str = "auto"
    log_texts: bool = False
    tracing: bool = False
    path: Path | None = None

    def __post_init__(self) -> None:
        for kind in (*_TASKS, "groundings"):
            named(kind.removesuffix("s"), list(getattr(self, kind)))

    def secrets(self) -> tuple[bytes, ...]:
        """The keys that callers may use, read now; none means that everybody may.

        Raises:
            CheckpointError: The file of keys can't be read, or holds none.
        """
        found = os.environ.get(KEYS, "").replace(",", " ").split()
        if self.keys is not None:
            path = self.beside(self.keys)
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as e:
                raise CheckpointError(f"keys names {path}, which can't be read ({e}); expected a key a line.") from e
            held = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            if not held:  # an empty file must not open the door
                raise CheckpointError(f"keys names {path}, which holds none; expected a key a line.")
            found += held
        return tuple(key.encode() for key in dict.fromkeys(found))

    def beside(self, name: str) -> Path:
        """A path of the file, which counts from its folder."""
        return Path(name) if self.path is None else self.path.parent / name


def read_settings(path: str | Path) -> Settings:
    """What a file says, with the files of tasks that it names.

    Raises:
        CheckpointError: It, or one of those, is damaged, or a key is unknown, missing or of another type; the message
            names it.
    """
    file = Path(path)
    try:
        return _settings(content(file), file)
    except HeadgateError:
        raise
    except (TypeError, ValueError) as e:
        raise CheckpointError(f"{file}: {e}") from e


def _settings(found: object, path: Path) -> Settings:
    body = _body(found)
    ready: dict[str, Any] = {"path": path}
    for kind, task in _TASKS.items():
        if kind in body:
            ready[kind] = {name: _entry(one, task, f"{kind}.{name}", path) for name, one in _named(kind, body)}
    if "groundings" in body:
        ready["groundings"] = {name: _grounds(one, f"groundings.{name}") for name, one in _named("groundings", body)}
    for part in _MINI:
        if part in body:
            one = body.pop(part)
            ready[part] = None if one is None else _origin(one, part)
    if "categories" in body:
        said = _named("categories", body)
        body["categories"] = {name: [one] if isinstance(one, str) else one for name, one in said}
    known = {name: of for name, of in hints(Settings).items() if name not in ready and name != "path"}
    return Settings(**ready, **parts(known, body))


def _body(found: object) -> dict[str, Any]:
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds {type(found).__name__}; expected a mapping with rerankers, routers, guards, ….")
    body = dict(found)
    version = body.pop("headgate", None)
    if version != _FORMAT or isinstance(version, bool):
        raise ValueError(f"headgate is {version!r}; expected {_FORMAT}, the format of these files.")
    return body


def _named(kind: str, body: dict[str, Any]) -> list[tuple[str, Any]]:
    found = body.pop(kind)
    if not isinstance(found, Mapping):
        raise ValueError(f"{kind} is {type(found).__name__}; expected names, each with what stands for it.")
    return [(str(name), one) for name, one in found.items()]


def _entry(one: object, task: str, at: str, path: Path) -> Entry:
    """A file, a model, or what a file would hold."""
    if isinstance(one, str) and one.endswith((".yaml", ".yml", ".json")):
        return _of(task, at, read(path.parent / one))
    if isinstance(one, Mapping) and "scorer" in one:
        words = {"headgate": 1, "task": task, **one, "scorer": _model(one["scorer"])}
        try:
            return _of(task, at, parse(words, path))
        except HeadgateError:
            raise
        except ValueError as e:
            raise ValueError(f"{at}: {e}") from e
    if task == "router":
        raise ValueError(f"{at} is {one!r}; expected a file that headgate.save wrote, or scorer and routes.")
    return _origin(one, at)


def _of(task: str, at: str, saved: Saved) -> Saved:
    if saved.kind.__name__.lower() != task:
        raise ValueError(f"{at} is a {saved.kind.__name__.lower()} ({saved.path}); expected a {task}.")
    return saved


def _model(one: object) -> object:
    return {"where": one} if isinstance(one, str) else one


def _origin(one: object, at: str) -> Origin:
    if not isinstance(one, str | Mapping):
        raise ValueError(f"{at} is {one!r}; expected a model: a folder, a Hub id, a part of mini, or where and how.")
    return built(Origin, _model(one), at)


def _grounds(one: object, at: str) -> Grounds:
    words = one if isinstance(one, Mapping) and "scorer" in one else {"scorer": one}
    return built(Grounds, {**words, "scorer": _model(words["scorer"])}, at)


def on_device(settings: Settings, device: str) -> Settings:
    """The same on another device."""
    return replace(settings, device=device)
