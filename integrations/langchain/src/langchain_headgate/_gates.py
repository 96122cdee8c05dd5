"""Streams that can be ended: LangChain reads what is left of an input after a step has ended, for its trace."""

from collections.abc import AsyncIterator, Iterator
from typing import Generic, Self, TypeVar

from headgate.hosting import ended

T = TypeVar("T")


class Gate(Generic[T]):
    """An iterator that ends once it was closed, and closes what it reads from.

    Args:
        chunks: Is closed too, where it can be.
    """

    def __init__(self, chunks: Iterator[T]) -> None:
        self._chunks = iter(chunks)
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        return next(self._chunks)

    def close(self) -> None:
        """End it; a second time does nothing."""
        if not self._closed:
            self._closed = True
            stop = getattr(self._chunks, "close", None)
            if stop is not None:
                stop()

    def behind(self, chunks: Iterator[T]) -> "Gate[T]":
        """The same chunks as the host hands them on; closing these closes this gate."""
        return _Behind(chunks, self)


class _Behind(Gate[T]):
    def __init__(self, chunks: Iterator[T], gate: Gate[T]) -> None:
        super().__init__(chunks)
        self._gate = gate

    def close(self) -> None:
        self._closed = True  # not the host's copy, which its own helper reads too
        self._gate.close()


class AsyncGate(Generic[T]):
    """As :class:`Gate`, for what arrives asynchronously."""

    def __init__(self, chunks: AsyncIterator[T]) -> None:
        self._chunks = aiter(chunks)
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._closed:
            raise StopAsyncIteration
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """End it; a second time does nothing."""
        if not self._closed:
            self._closed = True
            await ended(self._chunks)

    def behind(self, chunks: AsyncIterator[T]) -> "AsyncGate[T]":
        """The same chunks as the host hands them on; closing these closes this gate."""
        return _AsyncBehind(chunks, self)


class _AsyncBehind(AsyncGate[T]):
    def __init__(self, chunks: AsyncIterator[T], gate: AsyncGate[T]) -> None:
        super().__init__(chunks)
        self._gate = gate

    async def aclose(self) -> None:
        self._closed = True  # not the host's copy, which its own helper reads too
        await self._gate.aclose()
