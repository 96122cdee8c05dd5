"""Labelled texts to fit a threshold on: dealt into halves, their truths read."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headgate.arguments import listed
from headgate.errors import DataError

Bools = NDArray[np.bool_]

LEAST = 20
"""Texts to fit on: fewer say nothing."""


@dataclass(frozen=True)
class Halves:
    """Labelled texts, dealt into one half that fits and one that certifies.

    Attributes:
        texts: Each once.
        rows: (n,) where each stood in what came in.
        fit: (n,) True in the half that fits.
    """

    texts: list[str]
    rows: NDArray[np.int64]
    fit: Bools

    @classmethod
    def of(cls, texts: Sequence[str], truths: Sequence[object], *, seed: int) -> "Halves":
        """Deal texts out at random; a text that came before is left out, with a warning.

        A copy proves nothing that the first did not, and one in each half would prove what was fitted.

        Raises:
            DataError: Fewer than 20 texts, or not as many truths; no text where one belongs.
        """
        said = listed("texts", texts)
        if len(said) != len(listed("truths", truths)):
            raise DataError(f"{len(said)} texts and {len(truths)} truths; expected one truth for each text.")
        for i, text in enumerate(said):
            if not isinstance(text, str):
                raise DataError(f"row {i}: the text is {type(text).__name__}; expected str.")
        rows = np.array(sorted({text: i for i, text in reversed(list(enumerate(said)))}.values()), dtype=np.int64)
        if len(rows) < len(said):
            again = len(said) - len(rows)
            warnings.warn(f"{again} of {len(said)} texts came before and are left out.", UserWarning, stacklevel=4)
        if len(rows) < LEAST:
            raise DataError(
                f"there are {len(rows)} different texts; expected {LEAST} or more, and hundreds to prove much."
            )
        dealt = np.random.default_rng(seed).permutation(len(rows))
        return cls([said[i] for i in rows], rows, dealt < len(rows) // 2)


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
