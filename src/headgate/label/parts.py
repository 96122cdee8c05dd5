"""The input cut into parts: by file and row range, the same every time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from headgate.arguments import whole

PART_ROWS = 8192
"""Rows of a part: what a kill costs at most, and what one plan holds."""


@dataclass(frozen=True)
class Part:
    """Some rows of one input file.

    Attributes:
        source: Which file, from 0.
        start: Its first row, from 0.
        rows: How many.
        offset: JSON lines: the byte where the first of them begins.
        line: JSON lines: its number, from 1; blank lines are numbered and are no rows.
    """

    source: int
    start: int
    rows: int
    offset: int = 0
    line: int = 1

    def name(self, path: str, suffix: str) -> str:
        """Of the file it becomes: sorted by name, parts are in the order of the input.

        Args:
            path: Of the input file.
            suffix: With its dot.
        """
        return f"{self.source:05d}-{self.start:012d}-{PurePath(path).stem}{suffix}"


def cut(rows: int, size: int, source: int = 0) -> list[Part]:
    """Parts of ``size`` rows, the last one shorter; a file without rows is one part without rows.

    Args:
        rows: Of the file.
        size: Of a part, 1 or more.
        source: Which file it is.
    """
    whole("part_rows", size, least=1)
    return [Part(source, start, min(size, rows - start)) for start in range(0, max(rows, 1), size)]


def runs(parts: Sequence[Part], size: int) -> Iterator[list[Part]]:
    """Neighbours of one file, at most ``size`` together: who reads them in a row opens the file once."""
    run: list[Part] = []
    for part in parts:
        last = run[-1] if run else part
        if run and (len(run) == size or part.source != last.source or part.start != last.start + last.rows):
            yield run
            run = []
        run.append(part)
    if run:
        yield run
