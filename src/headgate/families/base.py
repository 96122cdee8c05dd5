"""What all families share: their parts, rendering labels, room for windows."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from headgate.calibration import Calibration
from headgate.errors import CheckpointError, LabelError, LabelTooLongError
from headgate.families.origin import Origin
from headgate.families.portions import CHARACTERS, calibrated, joined, portions
from headgate.models.checkpoint import Checkpoint
from headgate.runtime.batching import Forward, Work, packed, work
from headgate.runtime.cache import CachedForward
from headgate.runtime.device import Run
from headgate.runtime.shared import SharedForward
from headgate.runtime.spread import SpreadForward
from headgate.runtime.state_cache import StateCache
from headgate.runtime.states import Memo
from headgate.runtime.tokenizer import Encoded, Tokenizer
from headgate.runtime.windows import characters, windows
from headgate.runtime.worker import Worker
from headgate.scores import Ask, Label, Scores, as_label

LEAST_ROOM = 4
"""A label must leave at least one part in four of the model's length to the text."""


@dataclass(frozen=True, eq=False)
class Core:
    """The parts that every family is made of.

    Attributes:
        tokenizer: Text to ids.
        forward: Rows to numbers.
        template: Hypothesis template with one ``{}``.
        max_length: Tokens of the longest row, special tokens included.
        types: True if rows carry token types.
        fingerprint: Of weights, template and classes.
        calibration: Applied to every score; None leaves the model's own numbers.
        run: How the model runs; None where nobody said.
        origin: How it was loaded; None where it was made of its parts.
    """

    tokenizer: Tokenizer
    forward: Forward
    template: str
    max_length: int
    types: bool
    fingerprint: str
    calibration: Calibration | None = None
    run: Run | None = None
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if self.template.count("{}") != 1:
            raise ValueError(f'template is {self.template!r}; expected one "{{}}" where the label goes.')


@dataclass(eq=False)
class Encoder:
    """Tokens of every text and label of a call, each encoded once."""

    tokenizer: Tokenizer
    known: dict[str, Encoded] = field(default_factory=dict)

    def add(self, texts: Sequence[str]) -> None:
        """Encode what is new, in one go."""
        new = [t for t in dict.fromkeys(texts) if t not in self.known]
        self.known.update(zip(new, self.tokenizer.encode(new), strict=True))

    def __getitem__(self, text: str) -> Encoded:
        return self.known[text]


class Family(ABC):
    """A :class:`headgate.Scorer` over token rows; families fill in :meth:`_score_many`."""

    joint = False

    def __init__(self, core: Core) -> None:
        self._core = core

    @classmethod
    @abstractmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """The family in a model folder."""

    @property
    def labels(self) -> tuple[str, ...] | None:
        """None: any label can be judged."""
        return None

    @property
    def fingerprint(self) -> str:
        """Changes with weights, template, classes, length and calibration."""
        c = self._core
        more = f"{c.template}|{c.max_length}|{c.calibration}"
        return f"{c.fingerprint}-{hashlib.sha256(more.encode()).hexdigest()[:8]}"

    @property
    def template(self) -> str:
        """What labels are put into, with one ``{}``."""
        return self._core.template

    @property
    def max_length(self) -> int:
        """Tokens of the longest row, label and special tokens included; a longer text is read in windows."""
        return self._core.max_length

    @property
    def calibration(self) -> Calibration | None:
        """What every score went through; None leaves the model's own numbers."""
        return self._core.calibration

    @property
    def run(self) -> Run | None:
        """Backend, device and dtype of the model, and why these."""
        return self._core.run

    @property
    def origin(self) -> Origin | None:
        """How it was loaded; None where it was made of its parts. Caches, workers and copies are no part of that."""
        return self._core.origin

    @property
    def work(self) -> Work:
        """What its model has run so far, for whoever asked: rows, tokens, padding, seconds."""
        return work(self._core.forward)

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        """Log-odds that ``labels[j]`` is true of ``texts[i]``; see :class:`headgate.Scorer`."""
        return self.score_many([Ask(texts, labels)])[0]

    def score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """Scores of several cross products, in one batch plan; see :class:`headgate.Scorer`.

        Calls of millions of characters are read in portions, a plan each, so that memory does not grow with them.
        """
        parts: list[list[Scores]] = [[] for _ in asks]
        for portion in portions(asks, CHARACTERS):
            for (number, _), scores in zip(portion, self._score_many([ask for _, ask in portion]), strict=True):
                parts[number].append(scores)
        found, calibration = [joined(part) for part in parts], self._core.calibration
        return found if calibration is None else [calibrated(s, calibration) for s in found]

    @abstractmethod
    def _score_many(self, asks: Sequence[Ask]) -> list[Scores]:
        """The model's own numbers."""

    def cached(self, megabytes: int = 256) -> Self:
        """The same scorer that remembers what its model said of a row, least recently used out first.

        Worth it where the same texts come again: late interaction keeps a document's token states.
        """
        if not isinstance(megabytes, int) or megabytes < 1:
            raise ValueError(f"megabytes is {megabytes!r}; expected a whole number, at least 1.")
        return self._through(CachedForward(self._core.forward, megabytes << 20))

    def remembering(self, memo: Memo | StateCache) -> Self:
        """The same scorer, which runs no row that another with this memo, on its encoder, has run.

        Args:
            memo: A :class:`headgate.StateCache`, the same for every scorer that may read the same texts. Or, for one
                call, an empty dict, the same for every scorer of it; all take it before the first is asked.
        """
        remember = getattr(self._core.forward, "remembering", None)
        return self if remember is None else self._through(remember(memo))

    def shared(self, worker: Worker | None = None) -> Self:
        """The same scorer for many callers, as of a server: what they ask at the same time shares batches.

        A lone caller waits longer, by ``wait`` seconds. Calibrations go around it: ``calibration.on(scorer.shared())``.

        Args:
            worker: Whose thread runs the model; give the same one to every scorer on a device. None makes one.
        """
        return self._through(SharedForward(self._core.forward, worker))

    def spread(self, copies: Sequence[Self]) -> Self:
        """The same scorer on several devices at once: rows are dealt out among this one and its copies.

        Args:
            copies: The same model, loaded on other devices.
        """
        if isinstance(copies, Family) or not all(isinstance(copy, Family) for copy in copies):
            raise TypeError(f"copies is {copies!r}; expected a list of scorers: spread([load(…, device=…)]).")
        kinds = [(c.fingerprint, c.run and (c.run.backend, c.run.dtype)) for c in (self, *copies)]
        if len(kinds) < 2 or len(set(kinds)) > 1:
            raise ValueError(
                f"this scorer and its copies are {kinds}; expected copies of one model in one dtype: load it once for "
                'every device, with the same arguments, and say dtype="…" where devices differ.'
            )
        return self._through(SpreadForward([self._core.forward, *(c._core.forward for c in copies)]))

    def loaded_as(self, origin: Origin) -> Self:
        """The same scorer, which says so."""
        return self._with(replace(self._core, origin=origin))

    def _through(self, forward: Forward) -> Self:
        return self._with(replace(self._core, forward=forward))

    def _with(self, core: Core) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, _core=core)
        return twin

    def split_label(self, label: str) -> list[str]:
        """The parts of a long query that each fit the model beside a text, in order."""
        (encoded,) = self._core.tokenizer.encode([label])
        extra = len(self._core.tokenizer.encode([self._core.template.replace("{}", "")])[0].ids)
        room = self._core.max_length // 2 - extra - self._core.tokenizer.pair.size
        spans = [characters(encoded.offsets, a, b, encoded.length) for a, b in windows(len(encoded.ids), room, 0)]
        return [label[a:b] for a, b in spans]

    def beginning(self, texts: Sequence[str], tokens: int) -> list[str]:
        """Each text up to its first so many tokens, for a caller that wants no more of it read."""
        cuts = zip(texts, self._core.tokenizer.encode(list(texts)), strict=True)
        return [t if len(e.ids) <= tokens else t[: int(e.offsets[tokens - 1, 1])] for t, e in cuts]

    def close(self) -> None:
        """Release the model; later calls raise ClosedError."""
        getattr(self._core.forward, "close", lambda: None)()

    def __deepcopy__(self, memo: object = None) -> Self:
        return self  # it never changes, and holds a model

    __copy__ = __deepcopy__

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a scorer holds a model and can't be pickled; call load(…) in the other process.")

    def __repr__(self) -> str:
        c = self._core
        what = f"template={c.template!r}, max_length={c.max_length}, fingerprint={c.fingerprint!r}"
        return f"{type(self).__name__}({what})"

    def _render(self, label: str | Label) -> str:
        label = as_label(label)
        # Not str.format: other braces, of a template or of a label, stay as they are.
        return label.text if label.verbatim else self._core.template.replace("{}", label.text)

    def _entailment_only(self, labels: Sequence[str | Label]) -> None:
        for label in labels:
            if as_label(label).relation != "entailment":
                raise LabelError(
                    f"label {as_label(label).text!r} asks for {as_label(label).relation}, which "
                    f"{type(self).__name__} does not know; only NLI cross-encoders read contradiction."
                )

    def _room(self, taken: int, label: str) -> int:
        """Tokens left to the text beside a label that takes ``taken`` with all special tokens."""
        room = self._core.max_length - taken
        if room * LEAST_ROOM < self._core.max_length:
            raise LabelTooLongError(
                f"label {label[:60]!r}… takes {taken} tokens of {self._core.max_length}; expected at most "
                f"{self._core.max_length * (LEAST_ROOM - 1) // LEAST_ROOM}, so that a text fits beside it. "
                'Shorten it; a reranker may split a long query: long_query="windows".'
            )
        return room

    def _encoder(self, asks: Sequence[Ask]) -> Encoder:
        encoder = Encoder(self._core.tokenizer)
        encoder.add([t for ask in asks for t in ask.texts])
        return encoder


def core(checkpoint: Checkpoint, forward: Forward, *, template: str | None = None, identity: object = "") -> Core:
    """The parts of a family from its folder.

    Args:
        checkpoint: The folder, and how the caller wants it.
        forward: The model.
        template: For families where "{}" is meant unless somebody says otherwise; None asks.
        identity: What else makes the numbers what they are: class order, scorer weights.
    """
    chosen = checkpoint.template or checkpoint.settings.get("template") or template
    if chosen is None:
        raise CheckpointError(
            f"{checkpoint.folder} does not say which hypothesis template its model learned; pass load(…, "
            'template="This text is about {}.") or "This example is {}.", as its model card says.'
        )
    numbers = checkpoint.settings.get("calibration")
    # A calibration belongs to one template; with another it would mean nothing.
    own = checkpoint.template in (None, checkpoint.settings.get("template"))
    return Core(
        tokenizer=checkpoint.tokenizer,
        forward=forward,
        template=chosen,
        max_length=checkpoint.length,
        types=checkpoint.has_types,
        fingerprint=checkpoint.digest(identity),
        calibration=Calibration(**numbers) if numbers and own else None,
        run=checkpoint.run(packed=packed(forward)),
    )
