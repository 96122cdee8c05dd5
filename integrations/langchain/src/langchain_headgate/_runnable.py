"""A Runnable that judges texts and conversations, many of them in one call of the core."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.messages import BaseMessage, MessageLikeRepresentation, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import RunnableConfig, RunnableSerializable

from headgate.hosting import away

Judged = str | BaseMessage | PromptValue | Sequence[MessageLikeRepresentation] | Mapping[str, Any]
"""A text, a message, a prompt, a conversation; or a mapping, of which ``input_key`` names one."""
Read = str | Sequence[BaseMessage]
"""What the core is given of it."""


In = TypeVar("In")
Out = TypeVar("Out")


class Batched(RunnableSerializable[In, Out]):
    """Base of all that judges inputs: real batches, async off the event loop, one traced run an input."""

    @abstractmethod
    def _read(self, value: In) -> Any:
        """What the core is given of an input; may raise."""

    @abstractmethod
    def _judge(self, read: list[Any]) -> list[Any]:
        """One result for each, in one call of the core."""

    @abstractmethod
    def _answer(self, value: In, result: Any) -> Out:
        """What comes out for this input and its result; may raise."""

    def invoke(self, input: In, config: RunnableConfig | None = None, **kwargs: Any) -> Out:
        """Judge one input; further keyword arguments are refused."""
        return self._call_with_config(self._one, input, config, **kwargs)

    async def ainvoke(self, input: In, config: RunnableConfig | None = None, **kwargs: Any) -> Out:
        """As :meth:`invoke`, off the event loop."""
        return await self._acall_with_config(self._aone, input, config, **kwargs)

    def batch(
        self,
        inputs: list[In],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Out]:
        """Judge all inputs in one call of the core, whatever ``max_concurrency`` says."""
        return self._batch_with_config(self._many, inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[In],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Out]:
        """As :meth:`batch`, off the event loop."""
        return await self._abatch_with_config(
            self._amany, inputs, config, return_exceptions=return_exceptions, **kwargs
        )

    def _many(self, inputs: list[In]) -> list[Any]:
        """An answer or an exception for each input: one that can't be read spoils no other."""
        read = [_attempt(self._read, value) for value in inputs]
        good = [r for r in read if not isinstance(r, Exception)]
        results = iter(self._judge(good) if good else [])
        return [
            r if isinstance(r, Exception) else _attempt(self._answer, value, next(results))
            for value, r in zip(inputs, read, strict=True)
        ]

    def _one(self, value: In) -> Any:
        (answer,) = self._many([value])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _aone(self, value: In) -> Any:
        return await away(self._one, value)

    async def _amany(self, inputs: list[In]) -> list[Any]:
        return await away(self._many, inputs)


class Judge(Batched[Judged, Any]):
    """Base of the router and the guard, which read texts and conversations."""

    input_key: str | None = None

    def _read(self, value: Judged) -> Read:
        return conversation(value, self.input_key)


def conversation(value: Judged, key: str | None) -> Read:
    """What the core reads of an input: a text, or a list of messages.

    Raises:
        TypeError: None of :data:`Judged`, or a mapping without ``key``.
        ValueError: ``key`` is missing, or a message is not one.
    """
    if key is not None:
        value = entry(value, key)
    if isinstance(value, str):
        return value
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, PromptValue):
        return value.to_messages()
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        try:
            return convert_to_messages(value)
        except NotImplementedError as e:  # what the host raises for a type that is no message
            kinds = sorted({type(one).__name__ for one in value})
            raise ValueError(f"input is a list of {', '.join(kinds)}; expected messages, or one text.") from e
    hint = ' Pass input_key="…" to say which entry is judged.' if isinstance(value, Mapping) else ""
    raise TypeError(f"input is {type(value).__name__}; expected a text, a message, or a list of messages.{hint}")


def entry(value: Judged, key: str) -> Any:
    """``value[key]``, or an error that says what there is."""
    if not isinstance(value, Mapping):
        raise TypeError(f"input is {type(value).__name__}; expected a mapping, because input_key is {key!r}.")
    if key not in value:
        raise ValueError(f"input has no {key!r}, which input_key names; it has {sorted(map(str, value))}.")
    return value[key]


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except Exception as error:  # becomes this input's answer; the host raises or returns it
        return error
