"""What was promised of a threshold, on which data, and of which model: kept with it, and refused for any other."""

import base64
import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headgate.arguments import listed, share, whole
from headgate.bounds import upper_bound
from headgate.errors import StaleError
from headgate.labelled import Halves
from headgate.scores import Label, Scorer, as_label
from headgate.thresholds import Proof

Promise = Literal["max_error", "max_false_positive_rate", "min_recall"]

ALL, OTHERS = "all", "(others)"
"""What proofs are called that hold for all routes or rules, or for those that share a threshold."""

_METHODS = {
    "max_error": "Platt calibration; Learn-then-Test, fixed sequence, Clopper-Pearson",
    "max_false_positive_rate": "Platt calibration; order statistic of safe texts",
    "min_recall": "Platt calibration; order statistic of unsafe texts",
}
_DECILES = np.linspace(0, 1, 11)[1:-1]


@dataclass(frozen=True)
class Goal:
    """What is to be promised.

    Attributes:
        promise: As in :class:`Certificate`.
        target: Above 0, below 1.
        confidence: Above 0, below 1.
        seed: Deals the texts into halves.
    """

    promise: Promise
    target: float
    confidence: float
    seed: int

    def __post_init__(self) -> None:
        for what, value in ((self.promise, self.target), ("confidence", self.confidence)):
            share(what, value)
        whole("seed", self.seed, least=0)


@dataclass(frozen=True)
class Certificate:
    """What is promised of later texts, if they are like those it was fitted on.

    Attributes:
        promise: "max_error": P(wrong | routed) is at most ``target``, and a text out of scope that is routed is wrong;
            "max_false_positive_rate": P(blocked | safe) is at most ``target``; "min_recall": P(blocked | unsafe) is at
            least ``target``.
        target: 0 to 1.
        confidence: Probability, over the data that one might have drawn, that the promise holds.
        guaranteed: Every proof holds; False where one threshold is only a good guess.
        method: How the thresholds were found.
        fitted: Texts that fitted calibration and walk.
        certified: Texts that were used for nothing but the proofs.
        proofs: For "all", or for each route or rule with a threshold of its own; "(others)" share one.
        seed: Of the halves.
        made: Date, as 2026-01-31.
        pins: Digests of everything the promise hangs on: scorer, backend, dtype, labels, thresholds, …
        deciles: Of the texts' highest log-odds in the certifying half: what later texts should look like.
        texts: 32-bit digests of the texts, packed: they say whether a text was seen, and nothing else.
    """

    promise: Promise
    target: float
    confidence: float
    guaranteed: bool
    method: str
    fitted: int
    certified: int
    proofs: Mapping[str, Proof]
    seed: int
    made: str
    pins: Mapping[str, str]
    deciles: tuple[float, ...]
    texts: str

    def __post_init__(self) -> None:
        if self.promise not in get_args(Promise):
            raise ValueError(f"promise is {self.promise!r}; expected one of {list(get_args(Promise))}.")
        shown = bool(self.proofs) and all(self._shows(proof) for proof in self.proofs.values())
        if self.guaranteed != shown:
            raise ValueError(f"guaranteed is {self.guaranteed}, and its proofs say {shown}; expected the same.")

    @cached_property
    def id(self) -> str:
        """12 hex digits that change with anything in it."""
        return digest(asdict(self))

    @property
    def needed(self) -> int | None:
        """About how many more labelled texts would prove what is not; 0 if all is, None if no number would."""
        lacks = [proof.needed for proof in self.proofs.values()]
        return None if None in lacks else max((n for n in lacks if n is not None), default=0)

    def _shows(self, proof: Proof) -> bool:
        """The proof says that it holds, and its counts do too."""
        rate = 1 - self.target if self.promise == "min_recall" else self.target
        confidence = 1 - (1 - self.confidence) / len(self.proofs)  # all hold at once
        return proof.guaranteed and proof.n > 0 and upper_bound(proof.errors, proof.n, confidence) <= rate + 1e-9

    def of(self, scorer: Scorer) -> None:
        """Raise StaleError unless it was made for this scorer; cheap enough to ask at every call."""
        if scorer.fingerprint != self.pins["scorer"]:
            self.check({**self.pins, "scorer": scorer.fingerprint})

    def check(self, pins: Mapping[str, str]) -> None:
        """Raise StaleError, naming what changed, unless these are the pins it was made for."""
        changed = sorted(name for name in {*pins, *self.pins} if pins.get(name) != self.pins.get(name))
        if changed:
            raise StaleError(
                f"the certificate of {self.made} is stale: {', '.join(changed)} changed since, and what it promises "
                "holds for the old ones only. Fit again on labelled texts, or drop it: "
                "dataclasses.replace(…, certificate=None)."
            )

    def seen(self, texts: Sequence[str]) -> list[int]:
        """Indices of the texts that it was fitted or certified on: figures on these flatter."""
        texts = listed("texts", texts)
        known = np.frombuffer(base64.b64decode(self.texts), dtype="<u4")
        return np.flatnonzero(np.isin(_marks(texts), known)).tolist()

    def warn(self, texts: Sequence[str]) -> None:
        """Warn where texts to evaluate on are among those it was made on."""
        seen = self.seen(texts)
        if seen:
            warnings.warn(
                f"{len(seen)} of {len(texts)} texts, the first at {seen[0]}, are among those that the certificate was "
                "made on; what is measured on them flatters. Evaluate on others.",
                UserWarning,
                stacklevel=3,
            )


def made(
    halves: Halves, goal: Goal, proofs: Mapping[str, Proof], *, top: ArrayLike, pins: Mapping[str, str]
) -> Certificate:
    """A certificate of today; warns where something is not guaranteed.

    Args:
        halves: The texts.
        goal: What is promised.
        proofs: By route or rule, or for "all".
        top: (n,) highest log-odds of each text.
        pins: What it is for.
    """
    held = np.asarray(top, dtype=np.float64)[~halves.fit]
    marks = np.unique(_marks(halves.texts)).astype("<u4")
    certificate = Certificate(
        promise=goal.promise,
        target=float(goal.target),
        confidence=float(goal.confidence),
        guaranteed=all(proof.guaranteed for proof in proofs.values()),
        method=_METHODS[goal.promise],
        fitted=int(halves.fit.sum()),
        certified=int((~halves.fit).sum()),
        proofs=dict(proofs),
        seed=int(goal.seed),
        made=date.today().isoformat(),
        pins=dict(pins),
        deciles=tuple(np.quantile(held, _DECILES).tolist()),
        texts=base64.b64encode(marks.tobytes()).decode(),
    )
    _say(certificate)
    return certificate


def pins(scorer: Scorer, **settings: object) -> dict[str, str]:
    """What a promise hangs on: the scorer and how it runs as they are, the settings as digests."""
    run = getattr(scorer, "run", None)
    runs = {} if run is None else {"backend": str(run.backend), "dtype": str(run.dtype)}
    return {"scorer": scorer.fingerprint, **runs, **{name: digest(value) for name, value in settings.items()}}


def digest(value: object) -> str:
    """12 hex digits of what can be written as JSON, or is a label."""
    return hashlib.sha256(json.dumps(_plain(value), sort_keys=True).encode()).hexdigest()[:12]


def _plain(value: object) -> object:
    if isinstance(value, Label):
        label = as_label(value)
        if label == Label(label.text):
            return label.text  # as a plain str says it
        return [label.text, label.verbatim, label.relation]
    if isinstance(value, Mapping):
        return {"mapping": [[str(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)  # who edits a file may write 1 for 1.0
    if isinstance(value, str | float | bool) or value is None:
        return value
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}  # type: ignore[arg-type]  # a dataclass


def _marks(texts: Sequence[str]) -> NDArray[np.uint32]:
    """32 bits of each text; white space around it says nothing."""
    sums = [hashlib.blake2b(t.strip().encode("utf-8", "surrogatepass"), digest_size=4).digest() for t in texts]
    return np.frombuffer(b"".join(sums), dtype="<u4")


def _say(certificate: Certificate) -> None:
    if certificate.guaranteed:
        return
    lacking = ", ".join(name for name, proof in certificate.proofs.items() if not proof.guaranteed)
    needed = certificate.needed
    more = "these err too often for any number of labels" if needed is None else f"about {needed} more would"
    warnings.warn(
        f"{certificate.promise} {certificate.target} is not guaranteed for {lacking}: {certificate.certified} texts "
        f"don't prove it ({more}). The threshold is the calibrated one, a good guess.",
        UserWarning,
        stacklevel=4,
    )
