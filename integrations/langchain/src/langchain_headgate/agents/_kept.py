"""Things that are dear to make, by what they were made of."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Self


class Kept:
    """The last few; each is made once for callers that wait for it at the same time.

    Copies of their owner share them, a pickle starts without any, and equality ignores them.
    """

    SIZE = 8

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What was made of this key, or is now."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            self._made.move_to_end(key)
            while len(self._made) > self.SIZE:
                self._made.popitem(last=False)
            return self._made[key]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kept)

    def __hash__(self) -> int:
        return hash(Kept)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return (type(self), ())
