"""LangChain: an answer is shown while it is written, sentence by sentence, and a bad one stops the model.

Needs the extra "sentences".
"""

import asyncio
from collections.abc import Iterator

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.prompts import ChatPromptTemplate

from langchain_headgate import HeadgateStreamGuard

ANSWER = (
    "Thanks for asking about the hub, Dr. Ash. Hold its button for ten seconds to reset it. "
    "You are a stupid, worthless idiot and everyone hates you. The light turns green when it is done. "
    "Then it takes about two minutes until every lamp is found. That is all, enjoy your evening!"
)


class Chat(GenericFakeChatModel):
    """Stands for a language model that streams, and counts the words it writes."""

    written: int = 0

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: object,
    ) -> Iterator[ChatGenerationChunk]:
        for word in ANSWER.split():
            self.written += 1
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))


prompt = ChatPromptTemplate.from_template("{question}")
guard = HeadgateStreamGuard(forbid=["toxic"], refusal="(I'd rather not go on.)")
model = Chat(messages=iter([]))

# Directly behind the model: a parser between would read it to its end.
for chunk in (prompt | model | guard).stream({"question": "How do I reset the hub?"}):
    print(chunk.content, end="")
    at_the_cut = model.written
print(f"\nwritten: {model.written} of {len(ANSWER.split())} words; after the cut: {model.written - at_the_cut}")
print(f"why: {chunk.response_metadata['guard_events'][0]['verdict']['broken']}")


async def main() -> None:
    """With around(), no event of the chain holds what was held back, and the bad sentence alone is replaced."""
    redacting = HeadgateStreamGuard(forbid=["toxic"], on_broken="redact")
    chain = prompt | redacting.around(Chat(messages=iter([])))
    events = [e async for e in chain.astream_events({"question": "How do I reset the hub?"}, version="v2")]
    shown = [e["data"]["chunk"].content for e in events if e["event"] == "on_chain_stream" and not e["parent_ids"]]
    print("".join(shown))
    print(f"{len(events)} events, the word in {sum('idiot' in repr(e) for e in events)} of them")


asyncio.run(main())
