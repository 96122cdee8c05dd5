"""``headgate replay`` and ``headgate drift``: what a log of receipts says, without a model."""

import json as json_format
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer  # noqa: TID253  the command line imports this file, and nothing else does
from rich.console import Console  # noqa: TID253
from rich.table import Table  # noqa: TID253

from headgate.documents import shown
from headgate.plain import plain
from headgate.receipts import Log, Receipt, Replayed
from headgate.receipts import replay as again
from headgate.watch import Drift
from headgate.watch import drift as drifted

Where = Annotated[Path, typer.Argument(help="A log of receipts, JSON lines.")]
Task = Annotated[str | None, typer.Option(help="Receipts of this task alone, by its name.")]
Probability = Annotated[float | None, typer.Option(min=0.0, max=1.0)]


@dataclass(frozen=True)
class _Line:
    number: int
    found: Replayed


def replay(  # noqa: PLR0913  a command's options are its arguments
    log: Where,
    threshold: Probability = None,
    rule: Annotated[list[str] | None, typer.Option(help="name=threshold, of a rule or route; repeat it.")] = None,
    gap: Annotated[float | None, typer.Option(min=0.0, help="Log-odds to the runner-up, of routers.")] = None,
    unreadable: Probability = None,
    task: Task = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Decide a log again under other thresholds, and say what changes; without a model."""
    if threshold is not None and rule:
        raise ValueError("--threshold and --rule came together; expected one: for all, or by name.")
    numbers, receipts = _read(log, task)
    wanted = _thresholds(rule) if rule else threshold
    found = again(receipts, threshold=wanted, gap=gap, unreadable=unreadable)
    lines = [_Line(number, one) for number, one in zip(numbers, found, strict=True) if one.changed]
    before, after = (Counter(name for one in found for name in getattr(one, when)) for when in ("before", "after"))
    if as_json:
        typer.echo(json_format.dumps(_report(found, lines, before, after)))
        return
    _counts(before, after)
    _changes(lines)
    typer.echo(f"{len(lines)} of {len(found)} decisions change.")


def drift(
    config: Annotated[Path, typer.Argument(help="A saved router or guard with a certificate, YAML or JSON.")],
    log: Where,
    task: Task = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare a log's texts with those a certificate was made on; status 1 if the calibration expired."""
    from headgate.config import read  # here, because few commands need it

    certificate = read(config).certificate
    if certificate is None:
        raise ValueError(f"{config} has no certificate; expected one, of Router.fit or Guard.fit.")
    _, receipts = _read(log, task)
    found = drifted(certificate, receipts)
    typer.echo(json_format.dumps(asdict(found)) if as_json else _said(found, len(receipts)))
    if found.expired:
        raise typer.Exit(1)


def _read(log: Path, task: str | None) -> tuple[list[int], list[Receipt]]:
    """Numbers of lines, and receipts."""
    every = list(Log(log).lines())
    found = [(number, receipt) for number, receipt in every if task in (None, receipt.task)]
    if not found:
        tasks = sorted({receipt.task for _, receipt in every})
        raise ValueError(f"{log} holds no receipts{f' of {task!r}; it has {tasks}' if tasks else ''}.")
    return [number for number, _ in found], [receipt for _, receipt in found]


def _thresholds(rules: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for rule in rules:
        name, _, number = rule.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            name = ""
        if not name or name in found:
            raise ValueError(f"--rule is {rule!r}; expected NAME=THRESHOLD, such as injection=0.9, each name once.")
        found[name] = value
    return found


def _report(found: Sequence[Replayed], lines: Sequence[_Line], before: Counter[str], after: Counter[str]) -> Any:  # noqa: ANN401
    changes = [
        {"line": n, "task": one.receipt.task, "at": one.receipt.at, "digest": one.receipt.digest}
        | {"before": one.before, "after": one.after, "result": plain(one.result)}
        for n, one in ((line.number, line.found) for line in lines)
    ]
    return {"receipts": len(found), "changed": len(lines), "before": before, "after": after, "lines": changes}


def _counts(before: Counter[str], after: Counter[str]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("decided", no_wrap=True)
    for name in ("before", "after"):
        table.add_column(name, justify="right")
    for name in sorted({*before, *after}):
        table.add_row(shown(name), str(before[name]), str(after[name]))
    Console().print(table)


def _changes(lines: Sequence[_Line]) -> None:
    if not lines:
        return
    table = Table(box=None, pad_edge=False)
    for name in ("line", "task", "at", "before", "after", "probability", "digest"):
        table.add_column(name, no_wrap=name != "after")
    for line in lines:
        one = line.found
        cells = (str(line.number), one.receipt.task, one.receipt.at, ", ".join(one.before), ", ".join(one.after))
        table.add_row(*map(shown, (*cells, _probability(one), one.receipt.digest or "")))
    Console().print(table)


def _probability(one: Replayed) -> str:
    """Of the route or rule that it turned on."""
    p = one.result.probabilities
    turned = [name for name in dict.fromkeys((*one.before, *one.after)) if name in p]
    return f"{max(p[name] for name in turned):.3f}" if turned else ""


def _said(found: Drift, receipts: int) -> str:
    others = f" ({receipts - found.n} receipts are of other certificates, or of none.)" if receipts > found.n else ""
    shares = ", ".join(f"{got:.0%} of {of:.0%}" for got, of in zip(found.bins, found.expected, strict=True))
    return f"{found}{others}\ntexts by log-odds, lowest first, of those that certified: {shares}"
