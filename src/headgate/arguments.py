"""Checks of what callers pass, with errors that say what came and what was expected."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def listed(name: str, values: Iterable[T]) -> list[T]:
    """``values`` as a new list; TypeError for a ``str``, whose characters would be scored, and for None."""
    if isinstance(values, str):
        raise TypeError(f"{name} is a str; expected a list: pass [{values[:20]!r}].")
    if not isinstance(values, Iterable) or isinstance(values, Mapping | Set):
        raise TypeError(f"{name} is {type(values).__name__}; expected a list, whose order is kept.")
    return list(values)


def named(what: str, names: Sequence[str]) -> None:
    """Raise ValueError unless every one is a string that says something, each once."""
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"a {what} is called {name!r}; expected a name.")
    if len(set(names)) < len(names):
        raise ValueError(f"{what}s {list(names)} name one twice; give every {what} its own name.")


def named_words(kind: str, pairs: Sequence[tuple[str, str]], given: Sequence[str] | None) -> dict[str, str]:
    """The pairs, and each ``name=words`` or words that are their own name.

    Raises:
        ValueError: A name is blank or comes twice.
    """
    named: dict[str, str] = {}
    parts = [item.partition("=") for item in given or []]
    for name, words in [*pairs, *((n.strip(), w.strip() or n.strip()) for n, _, w in parts)]:
        if not name or name in named:  # a dict would hide the first of two
            raise ValueError(f"{kind} {name!r} is blank or came twice; give every {kind} a name: NAME, or NAME=WORDS.")
        named[name] = words
    return named


def probability(name: str, value: float) -> float:
    """``value`` if it is a number from 0 to 1, or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; expected a probability, 0 to 1.")
    return float(value)


def one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise ValueError unless ``value`` is one of them."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {list(choices)}.")


def whole(name: str, value: int, *, least: int) -> None:
    """Raise ValueError unless it is a whole number, ``least`` or more."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} is {value!r}; expected a whole number, {least} or more.")


def share(name: str, value: float) -> None:
    """Raise ValueError unless it lies between 0 and 1, without the ends, which no data can prove."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < 1:
        raise ValueError(f"{name} is {value!r}; expected above 0 and below 1.")
