"""Guard a text while it is being written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import get_args

from headgate.arguments import listed, one_of
from headgate.guard import Guard
from headgate.holding import Action, GuardedStream, StreamEvent, Terms
from headgate.sentences import Splitter
from headgate.verdict import UNREADABLE, Verdict


@dataclass(frozen=True)
class StreamGuard(Terms):
    """A guard for texts that arrive in pieces: each sentence is held back until its verdict is in.

    A sentence is judged together with the ones before it that were let through, so that an attack in two sentences is
    seen when the second completes it; that one is then what broke the rule. After a broken sentence that was let
    through, the next one's verdict may therefore name the same rule again.

    Args:
        guard: Judges context and sentence as one text.
        splitter: Gives the spans of the sentences of a text.
        on_broken: What becomes of a sentence that breaks a rule. By rule: a rule without a policy halts, and
            of several broken rules the strictest policy counts.
        replacement: Stands for the words of a redacted sentence.
        context: How many sentences that were let through are judged with the next one, 1 or more.
        lookahead: The end of a sentence is final when so many further characters don't move it, 1 or more.
        max_held: A sentence without an end is cut at so many characters, more than twice ``lookahead``.
        budget: Seconds that a verdict may take; for hosts that drive :meth:`open` and call ``expire``.
        on_timeout: What becomes of a sentence then; needed with a budget. "hold" waits.
        now: The clock, in seconds.

    Raises:
        ValueError: A policy, number or rule name that means nothing; the message says which.
    """

    guard: Guard
    splitter: Splitter
    _: KW_ONLY
    on_broken: Action | Mapping[str, Action] = "halt"
    _policies: dict[str, Action] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.guard, Guard) or not callable(self.splitter):
            raise TypeError(
                f"guard is {type(self.guard).__name__} and splitter {type(self.splitter).__name__}; "
                "expected a Guard and a function from a text to the spans of its sentences."
            )
        rules = [*self.guard.forbid, UNREADABLE]
        given = self.on_broken
        policies = dict(given) if isinstance(given, Mapping) else dict.fromkeys(rules, given)
        for rule, policy in policies.items():
            if rule not in rules:
                raise ValueError(f"on_broken names rule {rule!r}; expected some of {rules}.")
            one_of(f"on_broken of rule {rule!r}", policy, get_args(Action))
        object.__setattr__(self, "_policies", policies)

    def open(self) -> GuardedStream:
        """The machine that holds back one text."""
        return GuardedStream(self.splitter, self.action, self)

    def action(self, verdict: Verdict) -> Action:
        """What becomes of a sentence with this verdict; pure, so a stored one can be replayed."""
        if verdict.allowed and not verdict.broken:
            return "release"
        found = [self._policies.get(rule, "halt") for rule in verdict.broken]
        return max(found, key=get_args(Action).index, default="halt")

    def run(self, chunks: Iterable[str]) -> Iterator[StreamEvent]:
        """Feed, judge and give the events, in this thread.

        If it ends before ``chunks`` does - halted, closed by its consumer, the guard raised - it calls
        ``chunks.close()`` where there is one, so that the model stops too.

        Raises:
            ValueError: There is a budget, which a call that blocks can't keep.
        """
        if isinstance(chunks, str):
            raise TypeError(f"chunks is a str; expected an iterable of them: pass [{chunks[:20]!r}].")
        if self.budget is not None:
            raise ValueError(
                f"budget is {self.budget} s, but run() can't stop waiting for the guard; "
                "drive open() with feed, take, resolve and expire, or leave the budget out."
            )
        return self._run(chunks)

    def many(self, texts: Sequence[str]) -> list[list[StreamEvent]]:
        """The events of each whole text, as :meth:`run` gives them; the sentences of all are judged together.

        A budget is not kept: who has the whole text shows nothing before its end.
        """
        texts = listed("texts", texts)
        streams = [self.open() for _ in texts]
        for stream, text in zip(streams, texts, strict=True):
            stream.feed(text)
            stream.close()
        events: list[list[StreamEvent]] = [[] for _ in streams]
        while taken := [(i, held) for i, stream in enumerate(streams) if (held := stream.take())]:
            verdicts = iter(self.guard.many([h.text for _, held in taken for h in held]))
            for i, held in taken:
                events[i] += streams[i].resolve(held, [next(verdicts) for _ in held])
        return events

    def _run(self, chunks: Iterable[str]) -> Iterator[StreamEvent]:
        stream = self.open()
        try:
            for chunk in chunks:
                stream.feed(chunk)
                yield from self._judged(stream)
                if stream.halted:
                    return
            stream.close()
            yield from self._judged(stream)
        finally:
            stop = getattr(chunks, "close", None)
            if stop is not None and not stream.closed:
                stop()

    def _judged(self, stream: GuardedStream) -> Iterator[StreamEvent]:
        while held := stream.take():
            yield from stream.resolve(held, self.guard.many([h.text for h in held]))
