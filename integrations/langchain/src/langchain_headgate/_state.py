"""The words of a state: what a decision model is shown, as text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

_SPEAKERS = {"human": "User", "user": "User", "ai": "Assistant", "assistant": "Assistant"}
_SPEAKERS |= {"system": "System", "tool": "Tool"}
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+[\w.+;=-]*;base64,[\w+/=-]*", re.ASCII)
_ENCODED = re.compile(r"[\w.+/=-]*", re.ASCII)
_MEDIA = {"image", "image_url", "input_image", "audio", "input_audio", "video", "file"}
_NO_WORDS = {"type", "base64", "data", "mime_type", "media_type", "source_type", "format", "detail", "id", "file_id"}

STOCK: dict[str, Any] = {"is_risky": {"true": "deletes, sends or pays", "false": "reads or searches"}}
"""Words for what LangChain's own middlewares ask in a paragraph: AutoModeMiddleware, whether a tool call is risky."""


def rendered(state: object) -> str:
    """A state as text, the same for the same state; nothing is cut.

    A text is itself, and a message its words. Of several messages each says who speaks; calls of tools and their
    results are shown. Mappings show their keys, a line each. Bytes of media are left out, and what else is said of
    them stays.

    Raises:
        TypeError: It holds something that is no text, number, message, sequence or mapping; the message says where.
    """
    if isinstance(state, BaseMessage):
        return "\n".join(_said(state, "state"))
    return "\n".join(_lines(state, "state"))


def words(value: object) -> str:
    """JSON of a question as a text: itself, or one line of names and values."""
    return "; ".join(_lines(value, "it"))


def _lines(value: object, where: str) -> Iterator[str]:
    if value is None or isinstance(value, str | int | float):
        yield from _scalar(value)
    elif isinstance(value, BaseMessage):
        yield from _turn(value, where)
    elif isinstance(value, Mapping):
        yield from _mapping(value, where)
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        for i, one in enumerate(value):
            yield from _lines(one, f"{where}[{i}]")
    else:
        raise TypeError(
            f"{where} is {type(value).__name__}; expected a text, a number, a message, or lists and mappings of them: "
            "write down what of it should be judged."
        )


def _scalar(value: str | float | None) -> Iterator[str]:
    if isinstance(value, bool):
        yield "yes" if value else "no"
    elif isinstance(value, str):
        if value.strip() and not _DATA_URI.fullmatch(value):
            yield value
    elif value is not None:
        yield str(value)


def _mapping(value: Mapping[Any, Any], where: str) -> Iterator[str]:
    kind = value.get("type")
    if kind == "text" and isinstance(value.get("text"), str):  # a block of a message
        yield from _scalar(value["text"])
        yield from _fields(_without(value, "type", "text"), where)
    elif isinstance(value.get("role"), str) and "content" in value:  # a message as a mapping
        yield from _spoken(value["role"], _lines(value["content"], f"{where}.content"))
        yield from _fields(_without(value, "role", "content"), where)
    elif kind in _MEDIA:
        yield from _fields({k: v for k, v in value.items() if not _encoded(k, v)}, where)
    else:
        yield from _fields(value, where)


def _fields(value: Mapping[Any, Any], where: str) -> Iterator[str]:
    for key, part in value.items():
        lines = list(_lines(part, f"{where}.{key}"))
        flat = isinstance(part, Sequence) and all(one is None or isinstance(one, str | int | float) for one in part)
        if flat or (len(lines) == 1 and not isinstance(part, BaseMessage)):
            yield from [f"{key}: {', '.join(lines)}"] if lines else []
        elif lines:
            yield f"{key}:"
            yield from lines


def _without(value: Mapping[Any, Any], *keys: str) -> dict[Any, Any]:
    return {k: v for k, v in value.items() if k not in keys}


def _encoded(key: object, value: object) -> bool:
    """The bytes of a medium and what kind they are; sentences in their place are read, so that nothing hides in one."""
    return key in _NO_WORDS and isinstance(value, str) and bool(_ENCODED.fullmatch(value))


def _turn(message: BaseMessage, where: str) -> Iterator[str]:
    """A message among others."""
    speaker = _SPEAKERS.get(message.type, message.type.capitalize())
    if isinstance(message, ToolMessage):
        speaker = f"Tool {message.name}" if message.name else "Tool"
    yield from _spoken(speaker, _lines(message.content, f"{where}.content"))
    yield from _calls(message, where)


def _said(message: BaseMessage, where: str) -> Iterator[str]:
    """A message by itself."""
    yield from _lines(message.content, f"{where}.content")
    yield from _calls(message, where)


def _spoken(speaker: str, lines: Iterator[str]) -> Iterator[str]:
    said = "\n".join(lines)
    if said:
        yield f"{_SPEAKERS.get(speaker, speaker)}: {said}"


def _calls(message: BaseMessage, where: str) -> Iterator[str]:
    if isinstance(message, AIMessage):
        for call in [*message.tool_calls, *message.invalid_tool_calls]:
            args = "; ".join(_lines(call["args"], f"{where}.tool_calls"))
            yield f"Assistant calls {call['name']}: {args}" if args else f"Assistant calls {call['name']}"
