"""Rows through a torch model."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from headgate.errors import ClosedError
from headgate.runtime.batching import Answers, Array, Forward, Row, Work, run
from headgate.runtime.device import fetched, there, token_budget
from headgate.runtime.state_cache import StateCache, remembering
from headgate.runtime.states import FromStates, Memo

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Padded rows on the model's device.

    ids: (rows, longest) int64 · mask: (rows, longest) bool, True on tokens that others attend to: all, unless a row
    says otherwise · types: as ids, or None · lengths: tokens of each row · here: the mask on the CPU, where it is read
    without waiting for the device.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    types: torch.Tensor | None
    lengths: list[int]
    here: torch.Tensor | None = None


Module = Callable[[Batch], torch.Tensor | Sequence[torch.Tensor]]
"""A batch to one tensor a row: a (rows, …) tensor, or a list where rows differ in size."""


class TorchForward:
    """A :data:`headgate.runtime.batching.Forward` over torch; safe to call from many threads.

    A device runs one batch after another, so that memory stays bounded by the token budget; where that is too much all
    the same, the budget is halved, down to one row. On CUDA a call launches a batch before it reads the answers of the
    one before, so padding the next one costs no time; its texts were tokenized before, and other callers tokenize
    theirs meanwhile. In a forked child a CPU model goes on with one thread (the parent's thread pool did not come
    along), a GPU model raises.

    Args:
        module: What runs a batch.
        device: Where its weights are.
        pad: The id that fills short rows up.
        max_tokens: Padded tokens of a batch; None takes a budget for the device.
        packed: The module takes padding out before it computes.

    Attributes:
        work: What it has run so far.
    """

    def __init__(
        self, module: Module, device: torch.device, *, pad: int, max_tokens: int | None = None, packed: bool = False
    ) -> None:
        self._module: Module | None = module
        self._device = device
        self._pad = pad
        self.max_tokens = token_budget(device) if max_tokens is None else max_tokens
        self.packed = packed
        self.work = Work()
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One float32 array a row, in order.

        Raises:
            ClosedError: After :meth:`close`, or in the child of a fork with a model on a GPU.
        """
        return self.through(rows)

    def through(self, rows: Sequence[Row], module: Module | None = None) -> list[Array]:
        """The same through another module of the same model, which counts as this one's work."""
        if os.getpid() != self._process:
            self._adopt()
        if self._module is None:
            raise ClosedError("this scorer was closed; load it again to go on.")
        return run(rows, self.max_tokens, partial(self._launch, module=module), packed=self.packed)

    @property
    def reads(self) -> FromStates | None:
        """What it reads off which states; None where its module shares none, or is closed."""
        return self._module if isinstance(self._module, FromStates) else None

    def remembering(self, memo: Memo | StateCache) -> Forward:
        """The same, which runs no row that another reader of the same states has left in the memo."""
        return remembering(self, memo)

    def close(self) -> None:
        """Let go of the model; its memory is free once no other scorer shares it."""
        with self._lock:
            self._module = None

    def _launch(self, rows: list[Row], module: Module | None) -> Answers:
        try:
            return self._begin(rows, module)
        except torch.OutOfMemoryError:
            if len(rows) == 1:
                raise
            self.max_tokens = max(1, len(rows) * max(len(row.ids) for row in rows) // 2)
            log.warning("out of memory on %s: batches hold %d tokens from now on", self._device, self.max_tokens)
        # Not in the except clause, where the traceback keeps the tensors of the batch that failed.
        half = len(rows) // 2
        first, second = self._launch(rows[:half], module), self._launch(rows[half:], module)
        return lambda: [*first(), *second()]

    def _begin(self, rows: list[Row], module: Module | None) -> Answers:
        with self._lock, torch.inference_mode(), torch.autocast(self._device.type, enabled=False):
            if self._module is None:
                raise ClosedError("this scorer was closed while a call was running.")
            batch = self._padded(rows)
            begun = perf_counter()
            answers = _answers((module or self._module)(batch))
            tokens = sum(batch.lengths)
            processed = tokens if self.packed else batch.ids.numel()
            self.work += Work(len(rows), tokens, processed, perf_counter() - begun)

        def read() -> list[Array]:
            begun = perf_counter()
            found = answers()
            with self._lock:
                self.work += Work(seconds=perf_counter() - begun)
            return found

        return read

    def _padded(self, rows: list[Row]) -> Batch:
        width = max(len(row.ids) for row in rows)
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(rows), width), dtype=np.bool_)
        types = None if rows[0].types is None else np.zeros((len(rows), width), dtype=np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = row.ids
            mask[i, : len(row.ids) if row.attended is None else row.attended] = True
            if types is not None and row.types is not None:
                types[i, : len(row.ids)] = row.types
        here = torch.from_numpy(mask)
        on = there(torch.from_numpy(ids), self._device), there(here, self._device)
        kinds = None if types is None else there(torch.from_numpy(types), self._device)
        return Batch(*on, kinds, [len(row.ids) for row in rows], here)

    def _adopt(self) -> None:
        """Make the model usable in the child that a fork made."""
        if self._device.type != "cpu":
            raise ClosedError(
                f"this scorer's model is on {self._device} in the process that forked this one; "
                'load it in the child, or start processes with the "spawn" method.'
            )
        torch.set_num_threads(1)
        self._lock = threading.Lock()  # another thread of the parent may have held the old one
        self._process = os.getpid()
        log.warning("a scorer came through a fork; it goes on with one thread in this process")


def _answers(out: torch.Tensor | Sequence[torch.Tensor]) -> Callable[[], list[Array]]:
    """What a module gave, as float32 arrays, one a row; a GPU sends them in one piece."""
    if isinstance(out, torch.Tensor):
        whole = fetched(out.float())
        return lambda: list(whole())
    shapes = [tuple(t.shape) for t in out]
    flat = fetched(torch.cat([t.float().flatten() for t in out]))
    ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
    return lambda: [part.reshape(shape) for part, shape in zip(np.split(flat(), ends[:-1]), shapes, strict=True)]
