"""The messages inside what a tool call came to: a ToolMessage, a Command, or a list of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_messages
from langgraph.types import Command, Overwrite


def messages_of(result: Any) -> list[BaseMessage]:
    """All messages that this result adds to the conversation, in order.

    Raises:
        TypeError: Something else came, or a Command whose update can't be read.
    """
    found: list[BaseMessage] = []

    def keep(message: BaseMessage) -> BaseMessage:
        found.append(message)
        return message

    _mapped(result, keep)
    return found


def with_messages(result: Any, messages: Sequence[BaseMessage]) -> Any:
    """The same result with these messages in the place of :func:`messages_of` it, in the same order."""
    new: Iterator[BaseMessage] = iter(messages)
    return _mapped(result, lambda _: next(new))


def _mapped(result: Any, change: Callable[[BaseMessage], BaseMessage]) -> Any:
    if isinstance(result, BaseMessage):
        return change(result)
    if isinstance(result, list):
        return [_mapped(one, change) for one in result]
    if isinstance(result, Command):
        return replace(result, update=_update(result.update, change))
    raise TypeError(
        f"a tool call came to {type(result).__name__}; expected a ToolMessage, a Command or a list of them, "
        "which is what can be judged."
    )


def _update(update: Any, change: Callable[[BaseMessage], BaseMessage]) -> Any:
    """A Command's update with its messages changed; what else it holds stays."""
    if update is None:
        return None
    if isinstance(update, dict):
        return {k: _said(v, change) if k == "messages" else v for k, v in update.items()}
    if isinstance(update, list | tuple) and all(isinstance(u, tuple) and len(u) == 2 for u in update):
        return [(k, _said(v, change)) if k == "messages" else (k, v) for k, v in update]
    if isinstance(update, list):
        return _said(update, change)
    raise TypeError(
        f"a Command's update is {type(update).__name__}; expected a dict, whose messages can be judged: "
        "return Command(update={…}) from the tool."
    )


def _said(value: Any, change: Callable[[BaseMessage], BaseMessage]) -> Any:
    if isinstance(value, Overwrite):
        return Overwrite(_said(value.value, change))
    messages = convert_to_messages(value if isinstance(value, list | tuple) else [value])
    return [change(m) for m in messages]
