"""Settings and results as plain data, and back: what JSON and YAML can hold, checked key by key.

What comes back has the types that the dataclass says, or an error names the key that hasn't. Nothing is guessed, and
nothing is run: the types are those of the code, never of the file.
"""

import difflib
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

T = TypeVar("T")

_SIMPLE = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", types.NoneType: "null"}


def plain(value: object, at: str = "value") -> Any:  # noqa: ANN401  anything that JSON can hold
    """``value`` as dicts with keys in order, lists, texts, numbers, true, false and null.

    Args:
        value: Of these, or a dataclass of them.
        at: What it is called in an error.

    Raises:
        TypeError: Something that has no words, such as a function or a model.
        ValueError: NaN or infinity.
    """
    if isinstance(value, np.generic):
        return plain(value.item(), at)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return _finite(value, at)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{at}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(item, f"{at}[{i}]") for i, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name), f"{at}.{f.name}") for f in fields(value) if f.init}
    raise TypeError(f"{at} is {type(value).__name__}, which can't be written down; expected words, numbers or lists.")


def built(kind: type[T], value: object, at: str = "") -> T:
    """A ``kind`` of plain data.

    Args:
        kind: A dataclass whose fields are made of texts, numbers, lists, mappings and other dataclasses.
        value: As :func:`plain` gave it, or a person wrote it.
        at: Where it stood.

    Raises:
        ValueError: A key is unknown or missing, or what stands under it has another type; the message names it.
    """
    found: T = _built(kind, value, at)
    return found


def hints(kind: Any) -> dict[str, tuple[Field[Any], Any]]:  # noqa: ANN401  a dataclass
    """The fields that make a dataclass, in order, each with its type."""
    return dict(_hints(kind))


@cache
def _hints(kind: Any) -> tuple[tuple[str, tuple[Field[Any], Any]], ...]:  # noqa: ANN401
    found = get_type_hints(kind)
    return tuple((f.name, (f, found[f.name])) for f in fields(kind) if f.init)


def parts(known: Mapping[str, tuple[Field[Any], Any]], value: Mapping[Any, object], at: str = "") -> dict[str, Any]:
    """What stands under each of these fields, checked; those with a default may be left out.

    Raises:
        ValueError: As :func:`built`.
    """
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{_key(at, key)} is unknown; expected some of {list(known)}.{meant}")
    for key, (one, _) in known.items():
        if key not in value and one.default is MISSING and one.default_factory is MISSING:
            raise ValueError(f"{_key(at, key)} is missing; expected {_said(known[key][1])}.")
    return {key: _built(known[key][1], item, _key(at, key)) for key, item in value.items()}


def _built(kind: Any, value: object, at: str) -> Any:  # noqa: ANN401
    if kind in _SIMPLE:
        return _simple(kind, value, at)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _built(_fitting(inner, value, at), value, at)
    if not _fits(kind, value):
        raise _wrong(kind, value, at)
    if origin is Literal:
        return value
    if is_dataclass(kind):
        return _made(kind, value, at)  # type: ignore[arg-type]  # it fits, so it is a mapping
    if isinstance(value, Mapping):
        return {_simple(str, k, f"a key of {at}"): _built(inner[1], v, _key(at, k)) for k, v in value.items()}
    return _row(origin, inner, value, at)  # type: ignore[arg-type]  # a list


def _made(kind: Any, value: Mapping[Any, object], at: str) -> Any:  # noqa: ANN401
    found = parts(hints(kind), value, at)
    try:
        return kind(**found)
    except (TypeError, ValueError) as e:  # the dataclass's own checks don't know where it stood
        raise ValueError(f"{at}: {e}" if at else str(e)) from e


def _row(origin: Any, inner: tuple[Any, ...], value: Sequence[object], at: str) -> Any:  # noqa: ANN401
    if origin is not tuple or inner[1:] == (...,):
        found = [_built(inner[0], item, f"{at}[{i}]") for i, item in enumerate(value)]
        return found if origin is not tuple else tuple(found)
    if len(value) != len(inner):
        raise ValueError(f"{at} has {len(value)} parts; expected {len(inner)}.")
    return tuple(_built(k, item, f"{at}[{i}]") for i, (k, item) in enumerate(zip(inner, value, strict=True)))


def _simple(kind: Any, value: object, at: str) -> Any:  # noqa: ANN401
    if not _fits(kind, value):
        raise _wrong(kind, value, at)
    return _finite(value, at) if kind is float else value


def _finite(value: Any, at: str) -> float:  # noqa: ANN401
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{at} is {number}; expected a finite number.")
    return number


def _fits(kind: Any, value: object) -> bool:  # noqa: ANN401
    """Whether a value has the outward shape of a type; what is inside is looked at later."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind in _SIMPLE:
        return isinstance(value, kind)
    origin = get_origin(kind)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(kind))
    mapped = is_dataclass(kind) or (isinstance(origin, type) and issubclass(origin, Mapping))
    return isinstance(value, Mapping if mapped else list | tuple)


def _fitting(kinds: tuple[Any, ...], value: object, at: str) -> Any:  # noqa: ANN401
    """The one of several types that a value is meant to be."""
    found = [kind for kind in kinds if _fits(kind, value)]
    if not found:
        raise _wrong(Union[kinds], value, at)  # noqa: UP007  of a tuple
    if len(found) > 1 and isinstance(value, Mapping):  # several dataclasses: the one whose keys these are
        found.sort(key=lambda kind: -len(set(hints(kind)) & set(value)) if is_dataclass(kind) else 1)
    return found[0]


def _wrong(kind: Any, value: object, at: str) -> ValueError:  # noqa: ANN401
    shown = f"{str(value)[:60]!r}, {type(value).__name__}" if value is not None else "null"
    return ValueError(f"{at or 'it'} is {shown}; expected {_said(kind)}.")


def _said(kind: Any) -> str:  # noqa: ANN401
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_said, get_args(kind))))
    if origin is Literal:
        return f"one of {list(get_args(kind))}"
    if is_dataclass(kind):
        return f"a mapping with {', '.join(hints(kind))}"
    return "a mapping" if isinstance(origin, type) and issubclass(origin, Mapping) else "a list"


def _key(at: str, key: object) -> str:
    return f"{at}.{key}" if at else str(key)
