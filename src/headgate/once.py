"""One of a thing for all threads of a process."""

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

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
