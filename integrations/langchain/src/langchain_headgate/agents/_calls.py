"""The words of a tool call."""

import json
from collections.abc import Iterator
from typing import Any

from langchain_core.messages import AIMessage

from langchain_headgate._parts import blocks_of_calls

_ARGUMENTS = ("args", "input", "arguments", "partial_json")


def call_words(name: str, arguments: Any, description: str | None = None) -> str:
    """What is judged of a call: what the tool is, and an argument a line, as the model gave them."""
    head = f"{name}: {description}" if description else name
    lines = arguments.items() if isinstance(arguments, dict) else [("arguments", arguments)]
    return "\n".join([head, *(f"{key}: {_said(value)}" for key, value in lines)])


def calls_of(message: AIMessage) -> Iterator[tuple[str | None, str]]:
    """The id and the words of every call in a message, of those that can't be parsed too."""
    for call in (*message.tool_calls, *message.invalid_tool_calls):
        yield call.get("id"), call_words(call.get("name") or "", call.get("args"))
    known = {call["id"] for call in (*message.tool_calls, *message.invalid_tool_calls) if call.get("id")}
    for block in blocks_of_calls(message):  # some models' content is all that tells of one
        if not known & {block.get("id"), block.get("call_id")}:
            given = {key: block[key] for key in _ARGUMENTS if block.get(key)}
            yield block.get("id"), call_words(str(block.get("name", "")), given)
    old = message.additional_kwargs.get("function_call")  # how models called one function, before there were tools
    if isinstance(old, dict):
        yield None, call_words(str(old.get("name", "")), old.get("arguments"))


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
