"""Guard an answer while a model writes it: a sentence is shown once it is judged, and a bad one stops the model."""

import asyncio
import re
from collections.abc import Iterator

from headgate import Guard, StreamGuard, load
from headgate.sentences import sentences

ANSWER = (
    "Thanks for asking about the hub, Dr. Ash. Hold its button for ten seconds to reset it. "
    "You are a stupid, worthless idiot and everyone hates you. The light turns green when it is done. "
    "Then it takes about two minutes until every lamp is found. That is all, enjoy your evening!"
)
guard = Guard(load("mini/guard"), ["toxic"])
split = sentences("en")


def model() -> Iterator[str]:
    """Stands for a language model: a word at a time."""
    number = 0
    try:
        for word in re.findall(r"\S+\s*", ANSWER):
            number += 1
            yield word
    finally:
        print(f"the model wrote {number} of {len(ANSWER.split())} words")


# A broken rule halts the stream, unless you say otherwise.
for event in StreamGuard(guard, split).run(model()):
    print(f"{event.action}: {event.text or f'characters {event.span}, {event.verdict.broken}'}")

redacting = StreamGuard(guard, split, on_broken={"toxic": "redact"})


async def host() -> str:
    """An asynchronous host drives the machine itself and judges where it likes."""
    stream, words, shown = redacting.open(), model(), ""
    while not stream.done:
        word = next(words, None)
        if word is None:
            stream.close()
        else:
            stream.feed(word)
        while held := stream.take():
            verdicts = await asyncio.to_thread(guard.many, [h.text for h in held])
            shown += "".join(event.text for event in stream.resolve(held, verdicts))
    return shown


print(asyncio.run(host()))
