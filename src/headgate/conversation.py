"""Judge a conversation by its last turns.

The whole history drowns the question, and the last message alone misses what "and that one?" is
about, so a conversation is read as its last few messages, oldest first.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_MEDIA = {"image", "image_url", "input_image", "audio", "input_audio", "video", "file"}
_MEDIA_WORDS = ("text", "transcript", "title", "context")  # of a file that is a text, of what is said in a sound
_CALLS = {"tool_call", "tool_use", "function_call", "invalid_tool_call"}
_NOT_WORDS = {"type", "id", "index", "role", "tool_use_id", "tool_call_id", "cache_control", "mime_type", "media_type"}

Conversation = str | Sequence[Any]
"""A text, or messages: strings, ``{"role": …, "content": …}``, or objects with ``content``."""


def last_turns(conversation: Conversation, turns: int | None) -> str:
    """The words of the last ``turns`` messages that have any, joined by a newline, oldest first.

    Args:
        conversation: A text (returned as it is), or a list of messages. ``content`` may be a
            string or blocks at any depth; the words of tool calls and tool results count, media don't.
        turns: How many messages to read, at least 1; None reads them all.

    Raises:
        TypeError: Neither text nor a list of messages.
    """
    if isinstance(conversation, str):
        return conversation
    if not isinstance(conversation, Sequence) or isinstance(conversation, bytes):
        raise TypeError(f"got {type(conversation).__name__}; expected a text or a list of messages.")
    words = [w for w in map(_words, conversation) if w.strip()]
    return "\n".join(words if turns is None else words[-turns:])


def _words(message: Any) -> str:  # noqa: ANN401  messages of any host
    if isinstance(message, str):
        return message
    known = (isinstance(message, Mapping) and "content" in message) or hasattr(message, "content")
    content, calls = _part(message, "content"), _part(message, "tool_calls")
    if (
        not known
        or not (content is None or isinstance(content, str | Sequence | Mapping))
        or isinstance(content, bytes)
    ):
        raise TypeError(f"a message is {type(message).__name__} without content; expected a str or a role and content.")
    broken = _part(message, "invalid_tool_calls")  # of which a model's words are shown and kept all the same
    called = [words for some in (calls, broken) for one in _each(some) for words in _called(one)]
    return "\n".join([*_strings(content), *called])


def _part(value: Any, name: str) -> Any:  # noqa: ANN401
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _strings(value: Any) -> Iterator[str]:  # noqa: ANN401
    """Every string inside, at any depth, but names, ids and media: what is hidden in a block is read too."""
    if isinstance(value, str):
        yield value
        return
    inner: Iterable[Any] = ()
    if isinstance(value, Mapping) and value.get("type") in _CALLS:
        inner = [*_called(value)]
    elif isinstance(value, Mapping) and value.get("type") in _MEDIA:
        inner = [v for key in _MEDIA_WORDS if isinstance(v := value.get(key), str)]
    elif isinstance(value, Mapping):
        inner = [v for key, v in value.items() if key not in _NOT_WORDS]
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        inner = value
    elif hasattr(value, "text"):  # a block of a host that has classes for them
        inner = [value.text]
    for one in inner:
        yield from _strings(one)


def _each(value: Any) -> Iterable[Any]:  # noqa: ANN401
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]


def _called(call: Any) -> Iterator[str]:  # noqa: ANN401
    """The words of a call: all of its arguments, whose names are the tool's own and may be "id" or "type"."""
    if not isinstance(call, Mapping):
        yield from _strings(call)
        return
    for key, value in call.items():
        if key in ("args", "arguments", "input"):
            yield from _leaves(value)
        elif key == "function":
            yield from _called(value)
        elif key not in _NOT_WORDS:
            yield from _strings(value)


def _leaves(value: Any) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | Sequence) and not isinstance(value, bytes):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(one)
