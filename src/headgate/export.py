"""``headgate export``: a model's encoder as an ONNX graph, made once, so that nobody waits for it later."""

from pathlib import Path
from typing import Annotated

import typer  # noqa: TID253  the command line imports this file, and nothing else does


def command(
    where: Annotated[str, typer.Argument(help="A folder, a Hub id, or a part of the default model.")],
    int8: Annotated[bool, typer.Option("--int8", help="Quantized: smaller, faster, and rounded by batch.")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder, in place of onnx/ in the model's.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit, tag or branch of a Hub id.")] = None,
    name: Annotated[list[str] | None, typer.Option("--class", help="As load's classes, in order; repeat it.")] = None,
) -> None:
    """Export a model for ONNX Runtime: load(…, backend="onnx") finds it beside the model."""
    from headgate.loading import load  # here, because these bring torch, which takes a second or two
    from headgate.models.onnx_export import exporting

    with exporting(out) as found:
        dtype = "int8" if int8 else "float32"
        load(where, revision=revision, backend="onnx", dtype=dtype, classes=name or None, template="{}")
    for one in found:
        size = one.path.stat().st_size / 1e6
        typer.echo(f"{one.path} ({'reused' if one.reused else 'written'}, {size:.1f} MB)")
        typer.echo(f"largest difference from torch: {one.difference:.2g} of the largest state")
    if out is not None:
        typer.echo("load looks for it in onnx/ of the model's folder, and of $HEADGATE_CACHE: move it there.", err=True)
