"""A router, guard or reranker as a file: written for people to read, edit and compare, and read back as it was.

The file names the model and never holds it. With a certificate the backend and dtype are part of what is promised, so
they are written down and loaded again, whatever would be quicker here.
"""

from collections.abc import Mapping
from dataclasses import Field, dataclass, replace
from pathlib import Path
from typing import Any

from headgate.calibration import Calibrated, Calibration
from headgate.certificate import Certificate
from headgate.errors import CheckpointError, HeadgateError, StaleError
from headgate.families.origin import Origin
from headgate.files import content, write
from headgate.guard import Guard
from headgate.plain import hints, parts, plain
from headgate.rerank import Reranker
from headgate.route import Router
from headgate.scores import Scorer

Task = Router | Guard | Reranker

_KINDS: dict[str, type[Task]] = {"router": Router, "guard": Guard, "reranker": Reranker}
_FORMAT = 1


@dataclass(frozen=True)
class Model:
    """The scorer of a saved task.

    Attributes:
        fingerprint: It must have; None takes any.
        origin: How it was loaded; None for one that ``load`` didn't make.
        calibration: That it goes through: of a :class:`headgate.Calibrated`.
    """

    fingerprint: str | None = None
    origin: Origin | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Saved:
    """What a file says.

    Attributes:
        path: Of the file.
        kind: Router, Guard or Reranker.
        model: Its scorer.
        settings: Everything else, as the task takes it.
    """

    path: Path
    kind: type[Task]
    model: Model
    settings: dict[str, Any]

    @property
    def certificate(self) -> Certificate | None:
        """What is promised of the thresholds."""
        found: Certificate | None = self.settings.get("certificate")
        return found

    @property
    def origin(self) -> Origin:
        """How to load its scorer: with a certificate, in the backend and dtype that it is for.

        Raises:
            CheckpointError: It says no place to load from.
        """
        origin = self.model.origin
        if origin is None:
            raise CheckpointError(
                f"{self.path}: scorer says no where: headgate.load didn't make it. Expected restore(…, scorer=…) with "
                f"fingerprint {self.model.fingerprint}."
            )
        pins = {} if self.certificate is None else self.certificate.pins
        backend = pins.get("backend", "auto") if origin.backend == "auto" else origin.backend
        dtype = pins.get("dtype", "auto") if origin.dtype == "auto" else origin.dtype
        return replace(origin, backend=backend, dtype=dtype)

    def calibrated(self, scorer: Scorer) -> Scorer:
        """What :attr:`origin` loads, through the calibration that was saved with it, if one was."""
        return scorer if self.model.calibration is None else self.model.calibration.on(scorer)

    def on(self, scorer: Scorer) -> Task:
        """The task on this scorer, calibrated if it was.

        Raises:
            StaleError: The scorer is another, or settings were changed that the certificate is for.
            CheckpointError: The settings mean nothing together.
        """
        if self.model.fingerprint is not None and scorer.fingerprint != self.model.fingerprint:
            raise StaleError(
                f"{self.path}: scorer.fingerprint is {self.model.fingerprint}, and this scorer's is "
                f"{scorer.fingerprint}: other weights, template, classes or calibration, for which these settings mean "
                "nothing. Fit again, or load the scorer it was made with."
            )
        try:
            return self.kind(scorer, **self.settings)
        except StaleError as e:
            raise StaleError(
                f"{self.path}: {e} In the file: delete the block certificate, and what it promised."
            ) from e
        except (TypeError, ValueError) as e:
            raise CheckpointError(f"{self.path}: {e}") from e


def save(task: Task, path: str | Path) -> None:
    """Write a router, guard or reranker to a file, all or nothing.

    A worker, cache or copies that its scorer has are no part of it. A scorer that ``load`` didn't make is named by its
    fingerprint alone, and :func:`restore` is given it.

    Args:
        task: What to write.
        path: Ends in .json, .yaml or .yml.

    Raises:
        TypeError: It holds something that has no words: a function that reads documents, or two calibrations.
        ValueError: Another ending.
    """
    file = Path(path)
    names = [name for name, kind in _KINDS.items() if type(task) is kind]
    if not names:
        raise TypeError(f"a {type(task).__name__} came; expected a Router, Guard or Reranker.")
    settings = {name: getattr(task, name) for name in _known(type(task))}
    if isinstance(task, Guard):  # as they are now: what the scorer brings may change
        settings["forbid"] = task.rules
        del settings["threshold"]
    elif isinstance(task, Reranker) and task.text is not None:
        raise TypeError("text is a function, which can't be written down; expected a reranker of plain texts.")
    certificate = settings.get("certificate")
    body = {
        "headgate": _FORMAT,
        "task": names[0],
        "scorer": _model(task.scorer, pinned=certificate is not None),
        **{name: plain(value, name) for name, value in settings.items()},
    }
    write(file, body)


def restore(path: str | Path, *, scorer: Scorer | None = None, device: str = "auto") -> Task:
    """The router, guard or reranker of a file; what it needs is loaded.

    Args:
        path: As :func:`save` wrote it, or a person did.
        scorer: In place of loading one; needed where ``load`` didn't make it.
        device: Where to load it.

    Raises:
        CheckpointError: The file is damaged, or a key is unknown, missing, or of another type; the message names it.
        StaleError: The model is another, or settings were changed that the certificate is for.
        DeviceError: The backend or dtype that the certificate is for are not to be had here.
    """
    saved = read(path)
    if scorer is None:
        from headgate.loading import load_again  # here, because it brings torch, which takes a second or two

        scorer = saved.calibrated(load_again(saved.origin, device=device))
    return saved.on(scorer)


def read(path: str | Path) -> Saved:
    """What a file says, checked key by key; nothing is loaded.

    Raises:
        CheckpointError: As :func:`restore`.
    """
    found = content(path)
    try:
        return parse(found, Path(path))
    except ValueError as e:
        raise e if isinstance(e, HeadgateError) else CheckpointError(f"{path}: {e}") from e


def parse(found: object, path: Path) -> Saved:
    """What a file holds, as a task.

    Args:
        found: Its :func:`content`, or a part of another file's that says the same.
        path: What to call it in errors.

    Raises:
        ValueError: A key is unknown, missing, or of another type; the message names it.
    """
    if not isinstance(found, Mapping):
        raise ValueError(f"it holds {type(found).__name__}; expected a mapping with headgate, task, scorer, ….")
    if found.get("headgate") != _FORMAT or isinstance(found.get("headgate"), bool):
        raise ValueError(
            f"headgate is {found.get('headgate')!r}; expected {_FORMAT}, the format of these files: a later headgate "
            "may have written it."
        )
    kind = _KINDS.get(str(found.get("task")))
    if kind is None:
        raise ValueError(f"task is {found.get('task')!r}; expected one of {list(_KINDS)}.")
    body = {key: value for key, value in found.items() if key not in ("headgate", "task")}
    model = _read_model(body.pop("scorer", None))
    return Saved(path, kind, model, parts(_known(kind), body))


def _known(kind: type[Task]) -> dict[str, tuple[Field[Any], Any]]:
    """The fields that a file holds of a task."""
    return {name: field for name, field in hints(kind).items() if name not in ("scorer", "text")}


def _model(scorer: Scorer, *, pinned: bool) -> dict[str, Any]:
    """The words for a scorer, one flat mapping."""
    fingerprint, calibration = scorer.fingerprint, None
    inner: Scorer = scorer
    if isinstance(scorer, Calibrated):
        inner, calibration = scorer.scorer, scorer.calibration
        if isinstance(inner, Calibrated):
            raise TypeError("the scorer has two calibrations, one over the other; expected one at most: join them.")
    origin: Origin | None = getattr(inner, "origin", None)
    if origin is not None and pinned:
        run = getattr(inner, "run", None)
        origin = origin if run is None else replace(origin, backend=run.backend, dtype=run.dtype)
    words = {} if origin is None else plain(origin, "scorer")
    if calibration is not None:
        words["calibration"] = plain(calibration, "scorer.calibration")
    return {**words, "fingerprint": fingerprint}


def _read_model(words: object) -> Model:
    if words is None:
        return Model()
    if not isinstance(words, Mapping):
        raise ValueError(f"scorer is {type(words).__name__}; expected a mapping with where, fingerprint, ….")
    own = {name: field for name, field in hints(Model).items() if name != "origin"}
    origin = hints(Origin) if "where" in words else {}
    if not origin and set(words) - set(own):
        origin = hints(Origin)  # names "where" as missing, or a key as unknown
    found = parts({**origin, **own}, words, "scorer")
    made = Origin(**{name: found.pop(name) for name in list(found) if name in origin}) if origin else None
    return Model(origin=made, **found)
