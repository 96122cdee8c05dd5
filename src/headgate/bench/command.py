"""``headgate bench``: what this machine makes of a model, beside other libraries."""

import json as json_format
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headgate.bench.report import Line, Report


def command(  # noqa: PLR0913  a command's options are its arguments
    where: Annotated[str, typer.Argument(help="A folder, a Hub id, or a part of the default model.")],
    texts: Annotated[int | None, typer.Option(min=1, help="How many; else 100 to rerank, 64 to classify.")] = None,
    labels: Annotated[int, typer.Option(min=1, help="How many, where the model leaves them open.")] = 16,
    length: Annotated[int, typer.Option(min=1, help="Mean tokens of a text.")] = 166,
    repeat: Annotated[int, typer.Option(min=1, help="Turns.")] = 5,
    mode: Annotated[
        list[str] | None, typer.Option(help="exact, auto, int8, transformers or onnx; repeat it. Else the first two.")
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="Another library, where it is installed; repeat it. all: those that fit.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = "auto",
    family: Annotated[str | None, typer.Option(help="What the folder holds, where its files leave that open.")] = None,
    template: Annotated[str | None, typer.Option(help='Hypothesis template with one "{}".')] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="Names of the logits in order.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub id.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Tokens of a row, in place of the model's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, as one JSON object.")] = False,
) -> None:
    """Measure a model on this machine: seconds, padding, memory, precision, beside other libraries."""
    from headgate.bench.report import Options, bench  # here, because it brings torch
    from headgate.bench.workloads import Size

    how: dict[str, Any] = {"family": family, "template": template, "revision": revision, "max_length": max_length}
    options = Options(
        modes=tuple(mode or Options.modes),
        against=tuple(against or ()),
        size=Size(texts=texts, labels=labels, length=length),
        repeat=repeat,
        device=device,
        how={**how, "classes": classes or None},
    )
    report = bench(where, options)
    for name, why in report.skipped.items():
        typer.echo(f"headgate: without {name}: {why}.", err=True)
    if as_json:
        typer.echo(json_format.dumps(asdict(report)))
    else:
        show(report)


def show(report: "Report") -> None:
    """A table and what to read it by."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    plain = report.lines[0]
    table = Table(box=None, pad_edge=False)
    table.add_column("who", no_wrap=True)
    for name in ("seconds", "ratio", "of turns", "pairs/s", "useful", "memory", "max |Δ|", "rank", "ceiling"):
        table.add_column(name, justify="right")
    for line in report.lines:
        table.add_row(Text(line.name), *_cells(line, str(plain.mode)))
    console = Console()
    console.width = max(console.width, 120)
    console.print(
        f"{report.model} ({report.kind}): {report.texts} texts x {report.labels} labels, {report.mean_tokens:.0f} "
        f"tokens a text, {report.longest_tokens} at most; {report.device}, {report.threads} threads",
        markup=False, highlight=False,
    )  # fmt: skip
    console.print(table)
    console.print(_explained(report), markup=False, highlight=False)


def _explained(report: "Report") -> str:
    plain = report.lines[0]
    rates = ", ".join(f"{name} {rate:,.0f}" for name, rate in report.ceiling.items())
    beside = "" if plain.overhead is None else f" {plain.name} took {plain.overhead:.1%} more than its model."
    return (
        f"Ratio: times as long as {plain.name}, quotient of medians; least to largest of {len(plain.seconds)} turns. "
        f"Useful: tokens that are no padding. Memory: peak beyond what was held ({report.memory}). Δ and Spearman's "
        f"rank agreement: from {plain.name}. Ceiling: linear layers beside bare products in GFLOP/s ({rates}).{beside}"
    )


def _cells(line: "Line", plain: str) -> list[str]:
    times = line.ratios[plain]
    return [
        f"{line.median:.3f}",
        f"{times.value:.2f}",
        f"{times.low:.2f}-{times.high:.2f}",
        f"{line.pairs_per_second:,.1f}",
        f"{line.useful:.1%}",
        f"{line.peak_bytes / 1e6:,.0f} MB",
        f"{line.max_difference:.1e}",
        f"{line.spearman:.4f}",
        "" if line.share is None else f"{line.share:.0%}",
    ]
