"""Judge a conversation by its last turns.

The whole history drowns the question, and the last message alone misses what "and that one?" is
about, so a conversation is read as its last few messages, oldest first.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Conversation = str | Sequence[Any]
"""A text, or messages: strings, ``{"role": …, "content": …}``, or objects with ``content``."""


def last_turns(conversation: Conversation, turns: int) -> str:
    """The words of the last ``turns`` messages that have any, joined by a newline, oldest first.

    Args:
        conversation: A text (returned as it is), or a list of messages. ``content`` may be a
            string or a list of blocks, of which the text blocks count.
        turns: How many messages to read, at least 1.

    Raises:
        TypeError: Neither text nor a list of messages.
    """
    if isinstance(conversation, str):
        return conversation
    if not isinstance(conversation, Sequence) or isinstance(conversation, bytes):
        raise TypeError(f"got {type(conversation).__name__}; expected a text or a list of messages.")
    words = [_words(message) for message in conversation]
    return "\n".join([w for w in words if w.strip()][-turns:])


def _words(message: Any) -> str:  # noqa: ANN401  messages of any host
    if isinstance(message, str):
        return message
    content = message.get("content") if isinstance(message, Mapping) else getattr(message, "content", None)
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence) and not isinstance(content, bytes):
        return "\n".join(_block(block) for block in content)
    if content is None and ((isinstance(message, Mapping) and "content" in message) or hasattr(message, "content")):
        return ""  # a message that only calls a tool
    raise TypeError(f"a message is {type(message).__name__} without content; expected a str or a role and content.")


def _block(block: Any) -> str:  # noqa: ANN401
    if isinstance(block, str):
        return block
    text = block.get("text") if isinstance(block, Mapping) else getattr(block, "text", None)
    return text if isinstance(text, str) else ""
