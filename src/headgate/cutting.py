"""Cut a stream of text into sentences that are the same whatever chunks it came in.

A splitter changes its mind as text is added: "Dr." ends a sentence until " Smith" follows. So where a chunk
happens to end may decide nothing. The splitter is asked at fixed places of the stream, and a cut is final once every
answer over ``lookahead`` further characters had it: both depend on the characters alone.
"""

from collections.abc import Sequence

from headgate.errors import ClosedError
from headgate.sentences import Splitter, spans_of


class Cutter:
    """The finished sentences of one stream; joined they are the stream, white space and all.

    A sentence goes from its first character to the first of the next, so what stands between two spans of the splitter
    belongs to the sentence before it: nothing of the stream is in no sentence. The splitter sees the text from the last
    cut on, never the stream again, so the work grows with the stream's length and not with its square.

    Args:
        splitter: Gives the spans of the sentences of a text.
        lookahead: Characters that must not move a cut before it is final, 1 or more; the splitter is asked every
            quarter of it.
        max_held: A sentence of so many characters is cut after its last white space, or right there if its
            second half has none.
    """

    def __init__(self, splitter: Splitter, *, lookahead: int, max_held: int) -> None:
        self._splitter = splitter
        self._lookahead = lookahead
        self._max_held = max_held
        self._stride = max(1, lookahead // 4)
        self._tail = ""  # what no final cut has taken yet
        self._read = 0  # characters of the stream so far, the tail's end
        self._seen: dict[int, int] = {}  # cut -> how much was read when it was first there, and since without a break
        self.closed = False

    def __len__(self) -> int:
        """Characters that are in no finished sentence yet; below ``max_held`` plus a stride."""
        return len(self._tail)

    def feed(self, text: str) -> list[str]:
        """The sentences that this finishes.

        Raises:
            ClosedError: After :meth:`close`.
            TypeError, ValueError: The splitter's spans make no sense; see ``spans_of``.
        """
        if self.closed:
            raise ClosedError("the stream was fed after close(); open a new one for another text.")
        done: list[str] = []
        at = 0
        while at < len(text):
            part = text[at : at + self._stride - self._read % self._stride]
            at += len(part)
            self._read += len(part)
            self._tail += part
            if self._read % self._stride == 0:  # a place of the stream, wherever this chunk began or ends
                done += self._settle()
        return done

    def close(self) -> list[str]:
        """The last sentences: nothing can move a cut any more."""
        self.closed = True
        done = self._cut(self._cuts())
        return done + self._cut([self._read] if self._tail else [])

    def _settle(self) -> list[str]:
        self._seen = {cut: self._seen.get(cut, self._read) for cut in self._cuts()}
        done = self._cut([cut for cut, since in self._seen.items() if self._read - since >= self._lookahead])
        if len(self._tail) >= self._max_held:  # and what is left is less: a stride is shorter than a half
            half = self._max_held // 2
            spaces = [i + 1 for i in range(half, self._max_held) if self._tail[i].isspace()]
            done += self._cut([self._read - len(self._tail) + (spaces[-1] if spaces else self._max_held)])
        return done

    def _cut(self, cuts: Sequence[int]) -> list[str]:
        done = []
        for cut in cuts:
            length = cut - (self._read - len(self._tail))
            done.append(self._tail[:length])
            self._tail = self._tail[length:]
        return done

    def _cuts(self) -> list[int]:
        """Where the splitter would cut the tail now, in characters of the stream."""
        begin = self._read - len(self._tail)
        return [begin + start for start, _ in spans_of(self._splitter, self._tail)[1:]]
