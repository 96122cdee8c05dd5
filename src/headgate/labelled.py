"""Labelled texts to fit a threshold on: dealt into halves, their truths read."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed
from headgate.errors import DataError

Bools = NDArray[np.bool_]
Known = Callable[[Sequence[str]], list[int]]

LEAST = 20
"""Texts to fit on: fewer say nothing."""


@dataclass(frozen=True)
class Halves:
    """Labelled texts, dealt into one half that fits and one that certifies.

    Attributes:
        texts: In the order they came in; a text that came twice stays twice, as it would in use.
        truths: As they came in.
        fit: (n,) True in the half that fits.
    """

    texts: list[str]
    truths: list[object]
    fit: Bools

    @classmethod
    def of(cls, texts: Sequence[str], truths: Sequence[object], *, seed: int, known: Known | None = None) -> "Halves":
        """Deal texts out at random.

        Args:
            texts: Drawn as later texts will be.
            truths: One for each.
            seed: Of the draw.
            known: Indices of the texts that a scorer holds already, such as example utterances: they prove nothing, and
                go to the half that fits, with a warning.

        Raises:
            DataError: Fewer than 20 texts, or not as many truths; no text where one belongs.
        """
        said, true = listed("texts", texts), listed("truths", truths)
        if len(said) != len(true):
            raise DataError(f"{len(said)} texts and {len(true)} truths; expected one truth for each text.")
        for i, text in enumerate(said):
            if not isinstance(text, str):
                raise DataError(f"row {i}: the text is {type(text).__name__}; expected str.")
        if len(said) < LEAST:
            raise DataError(f"there are {len(said)} texts; expected {LEAST} or more, and hundreds to prove much.")
        fit = np.random.default_rng(seed).permutation(len(said)) < len(said) // 2
        seen = known(said) if known is not None else []
        if seen:
            fit[seen] = True
            warnings.warn(
                f"{len(seen)} of {len(said)} texts, the first at {seen[0]}, are examples that the scorer holds: they "
                "fit, and prove nothing. Label others.",
                UserWarning,
                stacklevel=4,
            )
        return cls(said, true, fit)


def truth_matrix(truths: Sequence[object], names: Sequence[str], what: str) -> Bools:
    """(n, m) whether each name is true of each text, from a name, several, or none: None or [].

    Raises:
        DataError: A truth is no name of a route or rule; the message says which row.
    """
    at = {name: j for j, name in enumerate(names)}
    found = np.zeros((len(truths), len(names)), dtype=np.bool_)
    for i, truth in enumerate(truths):
        several = [] if truth is None else [truth] if isinstance(truth, str) else truth
        if not isinstance(several, Collection) or isinstance(several, Mapping | bytes):
            raise DataError(f"row {i}: the truth is {truth!r}; expected a {what}, several, or None.")
        for name in several:
            if name not in at:
                raise DataError(f"row {i}: the truth {name!r} is no {what}; expected one of {list(names)[:20]}.")
            found[i, at[name]] = True
    return found
