"""Things that are made once: for all threads of a process, or for an object and its copies."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class One(Generic[T]):
    """What the first call makes, for all; ``functools.cache`` lets two threads make two.

    Args:
        make: Makes it.
        forks: The child of a fork may go on with the parent's.
    """

    def __init__(self, make: Callable[[], T], *, forks: bool = True) -> None:
        self._make, self._forks = make, forks
        self._lock, self._made = Lock(), list[T]()

    def __call__(self) -> T:
        """The thing."""
        with self._lock:
            if not self._made:
                self._made.append(self._make())
            return self._made[0]

    def forked(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self._lock = Lock()
        if not self._forks:
            self._made.clear()


class Common:
    """What an object and its copies have in common: a pickle starts without any, and equality ignores it."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return (type(self), ())


class Kept(Common):
    """The last few things that are dear to make; each is made once for callers that wait for it at the same time."""

    SIZE = 8

    def __init__(self) -> None:
        self._lock = Lock()
        self._made: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:  # noqa: ANN401
        """What was made of this key, or is now; the key says all that it is made of, for copies may differ."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            self._made.move_to_end(key)
            while len(self._made) > self.SIZE:
                self._made.popitem(last=False)
            return self._made[key]
