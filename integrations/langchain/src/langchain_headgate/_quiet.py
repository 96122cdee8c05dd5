"""Call a model so that nobody but the caller hears of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.tracers import context as tracers
from langsmith.run_helpers import tracing_context

from headgate.hosting import ending

T = TypeVar("T")
U = TypeVar("U")

NOT_STREAMED = "nostream"
"""The tag by which LangGraph leaves a model's tokens out of its message stream."""

QUIET: RunnableConfig = {"callbacks": [], "tags": [NOT_STREAMED]}


@contextmanager
def unheard() -> Iterator[None]:
    """Leave out the handlers that contexts bring: usage would be counted twice, traces hold what was held back."""
    hooks: list[ContextVar[Any]] = [tracers.tracing_v2_callback_var, *(hook[0] for hook in tracers._configure_hooks)]
    with ExitStack() as back, tracing_context(enabled=False):
        for var in hooks:
            back.callback(var.reset, var.set(None))
        yield


def quiet(chunks: Iterator[T]) -> Iterator[T]:
    """The same chunks; a model gathers its handlers when the first is asked for."""
    with closing(chunks):  # type: ignore[type-var]  # a generator, as every Runnable's stream is
        with unheard():
            first = next(chunks, None)
        if first is not None:
            yield first
        yield from chunks


async def aquiet(chunks: AsyncIterator[T]) -> AsyncIterator[T]:
    """As :func:`quiet`."""
    async with ending(chunks):
        with unheard():
            first = await anext(chunks, None)
        if first is not None:
            yield first
        async for chunk in chunks:
            yield chunk


def each(change: Callable[[T], U], chunks: Iterator[T]) -> Iterator[U]:
    """The chunks changed; closing these closes those."""
    with closing(chunks):  # type: ignore[type-var]
        yield from map(change, chunks)


async def aeach(change: Callable[[T], U], chunks: AsyncIterator[T]) -> AsyncIterator[U]:
    """As :func:`each`."""
    async with ending(chunks):
        async for chunk in chunks:
            yield change(chunk)


def handlers(model: Runnable[Any, Any]) -> bool:
    """Whether a model, or one in a chain, brings handlers of its own, as far as chains can be looked into."""
    if isinstance(model, BaseLanguageModel):
        return bool(model.callbacks)
    if isinstance(model, RunnableBindingBase):
        return bool(model.config.get("callbacks") or model.config_factories) or handlers(model.bound)
    if isinstance(model, RunnableSequence):
        return any(map(handlers, model.steps))
    if isinstance(model, RunnableWithFallbacks):
        return any(map(handlers, model.runnables))
    return False
