"""Receipts of what was decided, and the same decisions taken again under other thresholds, without a model.

A receipt is one line of JSON. It carries every number that its decision was made of, on passes too, so a log of them
answers what another threshold would have done. It doesn't carry the text unless asked to: a digest finds the line of a
text that is known, and hides a long one that is not; short ones can be guessed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from headgate.arguments import probability
from headgate.decision import Cut, Decision
from headgate.errors import DataError
from headgate.plain import built, plain
from headgate.rerank import Hit
from headgate.verdict import UNREADABLE, Verdict

Result = Decision | Verdict | tuple[Hit, ...]

_FORMAT = 1


@dataclass(frozen=True)
class Receipt:
    """What was decided of a text, by which task, and when.

    Attributes:
        task: Its name: two tasks may share a log.
        at: Time, ISO 8601 in UTC.
        result: A decision, a verdict, or the hits of a ranking.
        digest: Of the text that was judged, see :func:`text_digest`; None where nobody said what it was.
        text: The text itself, where it was to be kept.
    """

    task: str
    at: str
    result: Result
    digest: str | None = None
    text: str | None = None

    @classmethod
    def of(
        cls,
        result: Decision | Verdict | Iterable[Hit],
        *,
        task: str,
        text: str | None = None,
        keep_text: bool = False,
        at: str | None = None,
    ) -> "Receipt":
        """A receipt of now.

        Args:
            result: What was decided.
            task: By whom.
            text: What was judged; its digest is kept.
            keep_text: Keep the text itself too.
            at: In place of now.
        """
        if not isinstance(task, str) or not task.strip():
            raise ValueError(f"task is {task!r}; expected a name, such as 'injection, live'.")
        return cls(
            task=task,
            at=datetime.now(UTC).isoformat(timespec="milliseconds") if at is None else at,
            result=result if isinstance(result, Decision | Verdict) else tuple(result),
            digest=None if text is None else text_digest(text),
            text=text if keep_text else None,
        )

    @classmethod
    def read(cls, line: str) -> "Receipt":
        """From a line of JSON.

        Raises:
            ValueError: The line is damaged; the message names the key.
        """
        found = json.loads(line)
        if not isinstance(found, dict) or found.get("v") != _FORMAT:
            shown = f"format {found.get('v')!r}" if isinstance(found, dict) else type(found).__name__
            raise ValueError(f"it is {shown}; expected a receipt of format {_FORMAT}, as this headgate writes them.")
        return built(cls, {key: item for key, item in found.items() if key != "v"})

    @property
    def line(self) -> str:
        """As one line of JSON, in ASCII."""
        return json.dumps({"v": _FORMAT, **plain(self)}, allow_nan=False)


def text_digest(text: str) -> str:
    """16 hex digits that receipts keep of a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@dataclass(frozen=True)
class Log:
    """A file of receipts, one a line; written by any number of threads and processes, and read by iterating.

    It holds nothing open: a log that was moved away is begun anew by the next line.

    Args:
        path: Of the file; its folder must be there.
        texts: Keep the texts themselves too, not only their digests.
    """

    path: Path | str
    texts: bool = False

    def __post_init__(self) -> None:
        folder = Path(self.path).parent
        if not folder.is_dir():  # now rather than at the first text
            raise FileNotFoundError(f"there is no folder {folder}; expected one for the log {self.path}: make it.")

    def write(self, *receipts: Receipt) -> None:
        """Append receipts; they are with the operating system when this returns.

        Raises:
            OSError: The file can't be written; what asked for a receipt must not go on without one.
        """
        if not receipts:
            return
        data = "".join(receipt.line + "\n" for receipt in receipts).encode("ascii")
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if _torn(file):  # a line that was cut off by a crash spoils no other
                data = b"\n" + data
            while data:  # in one go: appending is what the system keeps apart for us
                data = data[os.write(file, data) :]
        finally:
            os.close(file)

    def lines(self) -> Iterator[tuple[int, Receipt]]:
        """Every receipt with the number of its line, from 1.

        Raises:
            DataError: A line is damaged; the message names it.
        """
        with open(self.path, encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    yield number, Receipt.read(line)
                except (ValueError, RecursionError) as e:
                    raise DataError(f"{self.path}:{number} is no receipt: {e} Delete the line, or mend it.") from e

    def __iter__(self) -> Iterator[Receipt]:
        return (receipt for _, receipt in self.lines())


def _torn(file: int) -> bool:
    """Whether a file ends within a line."""
    if os.fstat(file).st_size == 0:
        return False
    os.lseek(file, -1, os.SEEK_END)
    return os.read(file, 1) != b"\n"


@dataclass(frozen=True)
class Replayed:
    """A decision taken again.

    Attributes:
        receipt: Of what was decided.
        result: What would have been; without a certificate where the thresholds are not those it was made for.
    """

    receipt: Receipt
    result: Decision | Verdict

    @property
    def before(self) -> tuple[str, ...]:
        """What was decided, in names; see :func:`said`."""
        return said(self.receipt.result)

    @property
    def after(self) -> tuple[str, ...]:
        """What would have been, in names."""
        return said(self.result)

    @property
    def changed(self) -> bool:
        """Whether the two differ."""
        return self.before != self.after


def replay(
    receipts: Iterable[Receipt],
    *,
    threshold: float | Mapping[str, float] | None = None,
    gap: float | None = None,
    unreadable: float | None = None,
) -> list[Replayed]:
    """Take logged decisions again, in order; no model is asked.

    Args:
        receipts: Of decisions and verdicts, such as ``Log("decisions.jsonl")``.
        threshold: For all routes and rules, or for those named; None leaves all as they were.
        gap: Of routers that choose one route; None leaves it as it was.
        unreadable: Of guards; None leaves it as it was.

    Raises:
        ValueError: A threshold is no probability or is for a name that no receipt knows; a receipt is of a ranking.
    """
    wanted = dict(threshold) if isinstance(threshold, Mapping) else {} if threshold is None else {"": threshold}
    for name, value in wanted.items():
        probability(f"the threshold of {name!r}" if name else "threshold", value)
    if unreadable is not None:
        probability("unreadable", unreadable)
    found, known = [], set()
    for receipt in receipts:
        result = receipt.result
        if isinstance(result, tuple):
            raise ValueError(f"the receipt of {receipt.task!r}, {receipt.at}, is of a ranking: no thresholds.")
        known |= set(result.probabilities)
        again = (
            _decide(result, threshold, gap) if isinstance(result, Decision) else _judge(result, threshold, unreadable)
        )
        found.append(Replayed(receipt, again))
    strange = sorted(set(wanted) - known - {""})
    if strange and found:
        raise ValueError(
            f"no receipt knows {strange}, which thresholds are for; expected some of {sorted(known)[:20]}."
        )
    return found


def said(result: Result) -> tuple[str, ...]:
    """A result in names: the routes or "(none)", the broken rules or "(allowed)", the order of the documents."""
    if isinstance(result, Decision):
        return result.choices or ("(none)",)
    if isinstance(result, Verdict):
        return result.broken or ("(allowed)",)
    return tuple(str(hit.index) for hit in result)


def _decide(decision: Decision, threshold: float | Mapping[str, float] | None, gap: float | None) -> Decision:
    names, p = list(decision.probabilities), np.array(list(decision.probabilities.values()), dtype=np.float64)
    cut = _cut(decision.cut, threshold, names, names[int(p.argmax())])
    cut = cut if gap is None else replace(cut, gap=gap)
    found = cut.choose(names, p, none=decision.none, null=decision.null, empty=decision.empty)
    return replace(
        decision,
        choice=found.choices[0] if found.choices else None,
        choices=found.choices,
        threshold=found.threshold,
        reason=found.reason,
        runner_up=found.runner_up,
        certificate=decision.certificate if cut == decision.cut else None,
        cut=cut,
    )


def _cut(cut: Cut, threshold: float | Mapping[str, float] | None, names: list[str], best: str) -> Cut:
    if threshold is None:
        return cut
    if not isinstance(threshold, Mapping):
        return replace(cut, threshold=threshold)
    if isinstance(cut.threshold, Mapping):
        return replace(cut, threshold={name: threshold.get(name, old) for name, old in cut.threshold.items()})
    old = cut.least(best)  # one for all
    if old is None:  # only the best route counts, and has to beat "none" unless it is named
        return replace(cut, threshold=threshold.get(best))
    return replace(cut, threshold={name: threshold.get(name, old) for name in names})


def _judge(verdict: Verdict, threshold: float | Mapping[str, float] | None, unreadable: float | None) -> Verdict:
    own = verdict.thresholds
    if threshold is not None:
        own = {n: threshold.get(n, t) if isinstance(threshold, Mapping) else threshold for n, t in own.items()}
    # As a guard does: a comparison with NaN must break the rule.
    broken = [name for name, p in verdict.probabilities.items() if not p < own[name]]
    lost = UNREADABLE in verdict.broken if unreadable is None else not verdict.unknown <= unreadable
    same = own == verdict.thresholds and lost == (UNREADABLE in verdict.broken)
    return replace(
        verdict,
        allowed=not broken and not lost,
        broken=(*broken, UNREADABLE) if lost else tuple(broken),
        thresholds=own,
        certificate=verdict.certificate if same else None,
    )
