"""What a guarded chat model shows: its tool calls judged in the end, and the verdict on all of it in the last chunk."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, get_args

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.utils._merge import merge_dicts
from langchain_core.utils.utils import LC_ID_PREFIX

from headgate import StreamGuard, Verdict
from langchain_headgate._parts import Chunk, as_chunk, calls, without_calls
from langchain_headgate._stream_rules import Action
from langchain_headgate.agents._calls import calls_of
from langchain_headgate.agents._middleware import VERDICTS, plain

MARKS = "guard_events"


class Shown:
    """The chunks of one message around a stream guard; for one thread at a time.

    A host repeats: ``before`` a chunk of the model, the stream guard, ``after`` each that it lets go. At the end it
    judges ``calls`` and calls ``close``.

    Args:
        key: The name of the verdict.
        guard: Whose policies decide what becomes of a call.
    """

    def __init__(self, key: str, guard: StreamGuard) -> None:
        self._key, self._guard = key, guard
        self._late: list[AIMessageChunk] = []  # from the first tool call on
        self._logprobs: dict[str, Any] = {}  # they spell the words out, so they wait until all were let through
        self._marks: list[dict[str, Any]] = []
        self._id: str | None = None

    @property
    def action(self) -> str:
        """The strictest so far."""
        return max((mark["action"] for mark in self._marks), key=get_args(Action).index, default="release")

    def before(self, message: Any) -> AIMessageChunk:
        """A chunk, or a whole message, as the guard should get it.

        Raises:
            TypeError: Something that is no message of a model.
        """
        if not isinstance(message, AIMessage):
            raise TypeError(
                f"the inner model gave {type(message).__name__}; expected AIMessage or AIMessageChunk: guard the chat "
                "model itself, and put parsers behind it."
            )
        chunk = as_chunk(message)
        if chunk.id is not None and not chunk.id.startswith(LC_ID_PREFIX):
            self._id = chunk.id  # the provider's; the others name a run that nobody hears of
        metadata = dict(chunk.response_metadata)
        self._logprobs = merge_dicts(self._logprobs, {k: metadata.pop(k) for k in ("logprobs",) if k in metadata})
        verdicts = {k: v for k, v in metadata.pop(VERDICTS, {}).items() if k != self._key}
        metadata |= {VERDICTS: verdicts} if verdicts else {}
        return chunk.model_copy(update={"response_metadata": metadata, "id": self._id})

    def after(self, chunk: Chunk) -> list[AIMessageChunk]:
        """What may be shown of what the guard let go."""
        assert isinstance(chunk, AIMessage)  # as it was given
        metadata = dict(chunk.response_metadata)
        self._marks += metadata.pop(MARKS, [])
        one = as_chunk(chunk).model_copy(update={"response_metadata": metadata, "chunk_position": None})
        if self._late or calls(one):
            self._late.append(one)
            return []
        return [one]

    @property
    def calls(self) -> list[str]:
        """The words of the tool calls, to be judged."""
        return [words for _, words in calls_of(self._whole())] if self._late else []

    def close(self, verdicts: Sequence[Verdict], refusal: str | None) -> list[AIMessageChunk]:
        """The end: the tool calls, or what is said in their place; and the verdict.

        Args:
            verdicts: One for each of ``calls``.
            refusal: What is said.
        """
        late, whole = self._late, self._whole()
        for (call, _), verdict in zip(calls_of(whole), verdicts, strict=True):
            if (action := self._guard.action(verdict)) != "release":
                action = "halt" if action == "redact" else action  # a call can't be said in other words
                self._marks.append({"action": action, "tool_call": call, "verdict": asdict(verdict)})
        if late and self.action == "halt":
            late = [_silenced(whole), AIMessageChunk(content=refusal or "", id=self._id)]
        last: dict[str, Any] = {VERDICTS: {self._key: plain({"action": self.action, "events": self._marks})}}
        if self._logprobs and self.action in ("release", "annotate"):
            last |= self._logprobs
        empty: Any = [] if late and not isinstance(late[-1].content, str) else ""
        return [*late, AIMessageChunk(content=empty, id=self._id, response_metadata=last, chunk_position="last")]

    def _whole(self) -> AIMessageChunk:
        return sum(self._late[1:], self._late[0]) if self._late else AIMessageChunk(content="")


def _silenced(chunk: AIMessageChunk) -> AIMessageChunk:
    made = without_calls(chunk)
    assert isinstance(made, AIMessageChunk)
    return made
