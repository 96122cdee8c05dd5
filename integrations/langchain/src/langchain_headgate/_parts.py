"""What a chunk of a chat model holds: words to judge, words that can't be divided, and everything else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import BaseModel

Chunk = str | AIMessage
"""A piece of an answer or all of it: text, an ``AIMessageChunk``, an ``AIMessage``."""
Reasoning = Literal["judge", "drop"]
Block = str | dict[str, Any]

_REASONS = frozenset({"reasoning", "thinking", "redacted_thinking", "reasoning_content"})
_CALLS = frozenset({"tool_call", "tool_call_chunk", "tool_use", "function_call", "invalid_tool_call"})
_MEDIA = frozenset({"image", "image_url", "audio", "video", "file"})
_MEDIA_WORDS = ("text", "transcript")
_PROVIDERS = ("_call", "_use", "_result", "server_tool_call_chunk")  # ends of names: tools that a provider runs
_NOT_WORDS = frozenset({"type", "id", "index", "format", "status", "data", "url", "encrypted_content"})
_NOT_WORDS |= {"mime_type", "signature", "thought_signature"}
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
_BESIDE = (*_THOUGHTS, "refusal", "audio", "parsed")  # additional_kwargs that hold words a reader may be shown
_COPIES = ("parsed",)  # say the text once more
_BESIDE_CALLS = ("function_call", "tool_calls")


@dataclass
class Part:
    """Some words of a chunk.

    Attributes:
        block: Of the content; None: all that a message holds beside its content.
        words: To judge; may be none.
        whole: Shown as it is or not at all, because the words can't be divided.
        start: Where in the stream the words begin.
        shown: Those of them that may be shown, and weren't yet.
        begun: Some were shown.
        changed: Some were withheld.
    """

    block: Block | None
    words: str
    whole: bool
    start: int = 0
    shown: str = ""
    begun: bool = False
    changed: bool = False

    @property
    def end(self) -> int:
        """Where in the stream the words end."""
        return self.start + len(self.words)


def parts_of(chunk: Chunk, reasoning: Reasoning) -> list[Part]:
    """All parts of a chunk in its order; a message's first is what it holds beside its content.

    Raises:
        TypeError: Neither text nor a message of a model.
    """
    if isinstance(chunk, str):
        return [Part(chunk, chunk, whole=False)]
    if not isinstance(chunk, AIMessage):
        raise TypeError(
            f"a chunk is {type(chunk).__name__}; expected what a model writes, str or AIMessageChunk: put the guard "
            "directly behind the model."
        )
    drop = reasoning == "drop"
    beside = [w for key in _BESIDE for w in _strings(chunk.additional_kwargs.get(key))]
    head = Part(None, "".join(beside), whole=True)
    blocks = [chunk.content] if isinstance(chunk.content, str) else chunk.content
    return [head, *(_part(block, drop) for block in blocks if block)]


def _part(block: Block, drop: bool) -> Part:
    if isinstance(block, str) or (block.get("type") == "text" and isinstance(block.get("text"), str)):
        return Part(block, block if isinstance(block, str) else block["text"], whole=False)
    if drop and block.get("type") in _REASONS:
        return Part(block, "", whole=True, changed=True)
    return Part(block, "".join(_said(block)), whole=True)


def _said(block: Mapping[str, Any]) -> Iterator[str]:
    """The words of a block that is not text, at any depth: a "thinking" has its "thinking", others have lists."""
    kind = str(block.get("type"))
    if kind in _MEDIA:
        yield from (words for key in _MEDIA_WORDS for words in _strings(block.get(key)))
    elif kind in _CALLS or kind.endswith(_PROVIDERS):  # of these what they say to the reader
        for key in ("text", "summary", "content"):
            value = block.get(key)
            for one in value if isinstance(value, list) else [value]:
                words = one.get("text") if isinstance(one, Mapping) else one
                if isinstance(words, str):
                    yield words
    else:
        yield from _strings(block)


def _strings(value: Any) -> Iterator[str]:
    """Every string inside but names and bytes."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseModel):
        yield from _strings(value.model_dump())
    elif isinstance(value, Mapping):
        for key, one in value.items():
            if key not in _NOT_WORDS:
                yield from _strings(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)


def divided(part: Part, *, last: bool) -> Block:
    """The block with the words that may be shown; its pieces add nothing twice, since hosts join them.

    What else it holds, such as citations and "logprobs", is about all of its words, and so comes with the last.
    """
    block = part.block
    if not isinstance(block, dict):
        return part.shown
    once = {"id"} if part.begun else set()
    late = set() if last and not part.changed else block.keys() - {"type", "index", "id"}
    return {k: v for k, v in block.items() if k not in once | late} | {"text": part.shown}


def without_thoughts(chunk: Chunk) -> Chunk:
    """The chunk, or a copy without the reasoning that a message holds beside its content."""
    if isinstance(chunk, str) or not any(key in chunk.additional_kwargs for key in _THOUGHTS):
        return chunk
    kept = {k: v for k, v in chunk.additional_kwargs.items() if k not in _THOUGHTS}
    return chunk.model_copy(update={"additional_kwargs": kept})


def without_copies(chunk: Chunk) -> Chunk:
    """The chunk, or a copy without what says the words of its message once more."""
    if isinstance(chunk, str) or not any(key in chunk.additional_kwargs for key in _COPIES):
        return chunk
    kept = {k: v for k, v in chunk.additional_kwargs.items() if k not in _COPIES}
    return chunk.model_copy(update={"additional_kwargs": kept})


def aside(message: AIMessage) -> list[str]:
    """What a whole message says beside its content, but for copies of it."""
    kept = {k: message.additional_kwargs.get(k) for k in _BESIDE if k not in _COPIES}
    old = message.additional_kwargs.get("function_call")  # how models called one function, before there were tools
    return [*_strings(kept), *(_strings(old) if isinstance(old, dict) else ())]


def calls(chunk: Chunk) -> bool:
    """Whether tools are called, in any of the ways that models have."""
    if isinstance(chunk, str):
        return False
    return bool(
        chunk.tool_calls
        or chunk.invalid_tool_calls
        or getattr(chunk, "tool_call_chunks", None)
        or any(key in chunk.additional_kwargs for key in _BESIDE_CALLS)
        or blocks_of_calls(chunk)
    )


def blocks_of_calls(message: AIMessage) -> list[dict[str, Any]]:
    """The blocks of the content in which tools are called."""
    blocks = [] if isinstance(message.content, str) else message.content
    return [block for block in blocks if isinstance(block, dict) and block.get("type") in _CALLS]


def without_calls(chunk: Chunk) -> Chunk:
    """A copy in which no tool is called."""
    if isinstance(chunk, str) or not calls(chunk):
        return chunk
    blocks = chunk.content
    if not isinstance(blocks, str):
        blocks = [b for b in blocks if not (isinstance(b, dict) and b.get("type") in _CALLS)]
    none: dict[str, Any] = {"tool_calls": [], "invalid_tool_calls": []}
    if isinstance(chunk, AIMessageChunk):
        none["tool_call_chunks"] = []
    others = {k: v for k, v in chunk.additional_kwargs.items() if k not in _BESIDE_CALLS}
    return chunk.model_copy(update={**none, "content": blocks, "additional_kwargs": others})


def as_chunk(message: AIMessage) -> AIMessageChunk:
    """A message of its own, or a chunk of one, as a chunk; pieces of a message must be some."""
    if isinstance(message, AIMessageChunk):
        return message
    return AIMessageChunk(**message.model_dump(exclude={"type"}))


def with_content(message: AIMessage, blocks: list[Block], *, beside: bool) -> AIMessage:
    """A copy with this content.

    Args:
        message: A message, or a chunk.
        blocks: To show; texts alone become one text where the message has one.
        beside: Also what holds words beside the content.
    """
    content: Any = "".join(map(str, blocks)) if isinstance(message.content, str) else blocks
    kept = {k: v for k, v in message.additional_kwargs.items() if beside or k not in _BESIDE}
    said = {k: v for k, v in message.response_metadata.items() if k != "logprobs"}  # of all words, shown or not
    return message.model_copy(update={"content": content, "additional_kwargs": kept, "response_metadata": said})


def bare(message: AIMessage, blocks: list[Block]) -> AIMessageChunk:
    """A chunk of the same message that adds this content, and nothing else."""
    content: Any = "".join(map(str, blocks)) if isinstance(message.content, str) else blocks
    return AIMessageChunk(content=content, id=message.id)


def says_nothing(message: AIMessage) -> bool:
    """Whether a chunk adds nothing to its message."""
    return message == bare(message, []) or message == AIMessageChunk(content="", id=message.id)
