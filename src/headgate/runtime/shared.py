"""A scorer's rows, run by a worker together with those of other callers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from headgate.runtime.batching import Around, Array, Forward, Row, Via
from headgate.runtime.request import wait
from headgate.runtime.state_cache import StateCache, remembering
from headgate.runtime.states import FromStates, Memo
from headgate.runtime.worker import Worker

if TYPE_CHECKING:
    from headgate.runtime.torch_forward import Module


class SharedForward(Around):
    """A Forward whose rows a worker runs, together with those of other callers.

    Args:
        forward: What is asked.
        worker: Whose thread asks it; None takes one of its own, which is closed with it.
    """

    def __init__(self, forward: Forward, worker: Worker | None = None) -> None:
        if not isinstance(worker, Worker | None):
            raise TypeError(f"worker is {worker!r}; expected a headgate.Worker, or None for one of its own.")
        super().__init__(forward)
        self._worker, self._own = worker or Worker(), worker is None
        self._parts: dict[Module, Forward] = {}

    @property
    def reads(self) -> FromStates | None:
        """As the forward inside, where it shares states."""
        return getattr(self._forward, "reads", None)

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One float32 array a row, in order; raises as :meth:`Worker.submit` and the forward do."""
        return self.through(rows)

    def through(self, rows: Sequence[Row], module: Module | None = None) -> list[Array]:
        """The same through another module of the model; callers that want the same one share batches."""
        forward = self._forward if module is None else self._part(module)
        if self._worker.here:  # shared twice
            return forward(rows)
        answer = self._worker.submit(forward, rows, max_tokens=self.max_tokens)
        try:
            return wait(answer)
        except BaseException:
            answer.cancel()  # interrupted: nobody wants the rest
            raise

    def remembering(self, memo: Memo | StateCache) -> Forward:
        """See :func:`headgate.runtime.state_cache.remembering`; what it looks up waits for no worker."""
        return remembering(self, memo)

    def close(self) -> None:
        """Release the model."""
        if self._own:
            self._worker.close()
        super().close()

    def _part(self, module: Module) -> Forward:
        """The forward inside, through this module: one for all callers, by which the worker knows whose rows match."""
        inside = self._forward
        assert hasattr(inside, "through")  # it shares states
        found = self._parts.get(module)
        return found or self._parts.setdefault(module, Via(inside, partial(inside.through, module=module)))
