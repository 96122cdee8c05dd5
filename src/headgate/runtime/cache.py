"""Remember what a model said of a row."""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import numpy as np

from headgate.runtime.batching import Around, Array, Forward, Row, Via
from headgate.runtime.state_cache import StateCache
from headgate.runtime.states import Memo


class CachedForward(Around):
    """A Forward that asks the one inside only for rows it has not seen; safe across threads.

    Args:
        forward: What is asked.
        max_bytes: Of answers kept, least recently used out first.
    """

    def __init__(self, forward: Forward, max_bytes: int) -> None:
        super().__init__(forward)
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[bytes, bytes, int], Array] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One array a row, in order."""
        return self._asking(self._forward, rows)

    def remembering(self, memo: Memo | StateCache) -> Forward:
        """The same memory, over the forward inside as :mod:`headgate.runtime.states` has it."""
        inside = getattr(self._forward, "remembering", None)
        return self if inside is None else Via(self, partial(self._asking, inside(memo)))

    def _asking(self, forward: Forward, rows: Sequence[Row]) -> list[Array]:
        if os.getpid() != self._process:  # another thread of the parent may have held the lock
            self._lock, self._process = threading.Lock(), os.getpid()
            self._bytes = sum(array.nbytes for array in self._kept.values())
        keys = [row.key for row in rows]
        found: dict[tuple[bytes, bytes, int], Array] = {}
        with self._lock:
            for key in keys:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    found[key] = self._kept[key]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in found}
        for key, array in zip(new, forward(list(new.values())), strict=True):
            own = np.array(array)  # a row of a batch would keep the whole batch in memory
            own.flags.writeable = False  # it is handed out again and again
            found[key] = own
            self._keep(key, own)
        return [found[key] for key in keys]

    def close(self) -> None:
        """Forget everything and release the model."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0
        super().close()

    def _keep(self, key: tuple[bytes, bytes, int], array: Array) -> None:
        with self._lock:
            if key in self._kept or array.nbytes > self._max_bytes:
                return
            self._kept[key] = array
            self._bytes += array.nbytes
            while self._bytes > self._max_bytes:
                _, old = self._kept.popitem(last=False)
                self._bytes -= old.nbytes
