"""Plots of a report as inline SVG: the same bytes for the same arrays, and legible on light and on dark.

Text stays text and takes the page's colour; every other colour is readable on both grounds.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from headgate.evaluate.metrics import extra
from headgate.evaluate.report import Plot

Axes = Any
_INK = "#010203"  # stands for the page's own text colour, and is replaced by it
SERIES = ("#2f7fd1", "#d9822b", "#3a9d5d", "#b0558f", "#8a7bd8", "#b59a2a")
_GOOD, _BAD, _QUIET = "#3a9d5d", "#d6524a", "#8a8f98"
_MOST_LABELS = 30  # more do not fit a page; the table of the most confused says it better


def svg(plot: Plot) -> str | None:
    """The plot as one ``<svg>`` element, or None where there is too much to draw.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if plot.kind == "confusion" and len(plot.data["labels"]) > _MOST_LABELS:
        return None
    matplotlib = extra("matplotlib", "matplotlib")
    with matplotlib.rc_context(style(_INK)):
        figure = extra("matplotlib.figure", "matplotlib").Figure(figsize=_size(plot), layout="constrained")
        _DRAWN[plot.kind](figure, plot.data)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(out.getvalue(), plot)


def style(ink: str) -> dict[str, Any]:
    """The house style, as matplotlib's ``rc_context`` takes it.

    Args:
        ink: Colour of text.
    """
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": "headgate",
        "font.family": "sans-serif",
        "font.size": 10.5,
        "text.parse_math": False,  # a label may hold "$"
        "text.color": ink,
        "axes.edgecolor": _QUIET,
        "axes.labelcolor": ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": _QUIET,
        "ytick.color": _QUIET,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "legend.frameon": False,
    }


def _size(plot: Plot) -> tuple[float, float]:
    if plot.kind != "confusion":
        return 4.6, 3.6
    side = 2.4 + 0.34 * len(plot.data["labels"])
    return max(4.6, side + 0.4), max(3.6, side)


def _inline(drawn: str, plot: Plot) -> str:
    """Without what a page must not hold twice: prologue, metadata, ids that count from 1."""
    body = drawn[drawn.index("<svg") :]
    body = re.sub(r"\s*<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", body)
    body = re.sub(r' (?:width|height)="[\d.]+pt"', "", body)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1; font-family: inherit", body)
    body = body.replace(_INK, "currentColor")
    said = escape(f"{plot.title}. {plot.says}")
    return body.replace("<svg", f'<svg role="img" aria-label="{said}"', 1).strip()


def _confusion(figure: Any, data: Mapping[str, Any]) -> None:  # noqa: ANN401  a matplotlib Figure
    counts = np.asarray(data["counts"], dtype=float)
    names = [_short(name) for name in data["labels"]]
    n = len(names)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes = figure.subplots()
    for i, j in np.argwhere(counts > 0):
        colour = SERIES[0] if i == j else _BAD
        # A translucent square rather than a colour map, whose light end would glare on a dark page.
        axes.add_patch(_square(j, i, colour, 0.12 + 0.68 * float(share[i, j])))
        axes.text(j, i, f"{int(counts[i, j])}", ha="center", va="center", fontsize=9)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="equal", xlabel="said", ylabel="true")
    axes.set_xticks(range(n), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n), names)
    axes.tick_params(length=0)


def _square(x: float, y: float, colour: str, alpha: float) -> Any:  # noqa: ANN401
    patches = extra("matplotlib.patches", "matplotlib")
    return patches.Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, facecolor=colour, alpha=alpha, linewidth=0)


def _reliability(figure: Any, data: Mapping[str, Any]) -> None:  # noqa: ANN401
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    p, y, n = (np.asarray(data[key], dtype=float) for key in ("probability", "frequency", "rows"))
    top.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle="--")
    top.vlines(p, np.minimum(p, y), np.maximum(p, y), color=_BAD, linewidth=2, alpha=0.5)
    top.plot(p, y, color=SERIES[0], marker="o", markersize=4, linewidth=1.4)
    top.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that was true")
    bottom.vlines(p, 0, n, color=SERIES[0], linewidth=3, alpha=0.6)
    bottom.set(xlabel="probability", ylabel="count", ylim=(0, None))


def _roc(figure: Any, data: Mapping[str, Any]) -> None:  # noqa: ANN401
    axes = figure.subplots()
    least = data.get("least")
    for (name, curve), colour in zip(data["curves"].items(), _cycle(len(data["curves"])), strict=True):
        rate = np.asarray(curve["rate"]) if least is None else np.maximum(curve["rate"], least / 2)
        axes.plot(rate, curve["recall"], color=colour, linewidth=1.8, label=_short(name), drawstyle="steps-post")
    if least is None:
        axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle="--")
    else:  # below one false positive there is nothing to see, and all of it is at the left
        axes.set_xscale("log")
        axes.set_xlim(least / 2, 1)
        ticks = [tick for tick in (0.0001, 0.001, 0.01, 0.1, 1.0) if tick >= least / 2]
        axes.set_xticks(ticks, [f"{tick:.4%}".rstrip("0%").rstrip(".") + " %" for tick in ticks])
        axes.minorticks_off()
        axes.axvline(data["mark"], color=_BAD, linewidth=1, linestyle=":")
    axes.set(ylim=(-0.02, 1.02), xlabel="false-positive rate", ylabel="recall")
    if len(data["curves"]) > 1:
        axes.legend(loc="lower right")


def _risk_coverage(figure: Any, data: Mapping[str, Any]) -> None:  # noqa: ANN401
    axes = figure.subplots()
    coverage, risk = data["coverage"], data["risk"]
    axes.fill_between(coverage, risk, color=SERIES[0], alpha=0.15, linewidth=0)
    axes.plot(coverage, risk, color=SERIES[0], linewidth=1.8)
    axes.axhline(risk[-1], color=_QUIET, linewidth=1, linestyle="--")
    axes.text(0, risk[-1], " all answered", va="bottom", fontsize=9)
    highest = max([*risk, 0.05])
    axes.set(xlim=(0, 1), ylim=(0, highest * 1.12), xlabel="share answered, surest first", ylabel="share wrong")


def _differences(figure: Any, data: Mapping[str, Any]) -> None:  # noqa: ANN401
    axes = figure.subplots()
    change = np.asarray(data["change"])
    at = np.arange(1, change.size + 1)
    axes.fill_between(at, change, where=change >= 0, step="mid", color=_GOOD, alpha=0.8, linewidth=0)
    axes.fill_between(at, change, where=change <= 0, step="mid", color=_BAD, alpha=0.8, linewidth=0)
    axes.axhline(0, color=_QUIET, linewidth=1)
    far = max(0.1, float(np.abs(change).max()) * 1.1)
    axes.set(ylim=(-far, far), xlabel="queries, biggest gain first", ylabel="change")


def _loss(figure: Any, data: Mapping[str, Any]) -> None:  # noqa: ANN401
    axes = figure.subplots()
    curves = {name: curve for name, curve in data.items() if curve["step"]}
    for (name, curve), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
        mark = "o" if len(curve["step"]) < 30 else None
        axes.plot(curve["step"], curve["loss"], color=colour, linewidth=1.6, marker=mark, markersize=3, label=name)
    axes.set(xlabel="step", ylabel="loss")
    axes.legend(loc="upper right")


def _cycle(n: int) -> Sequence[str]:
    return [SERIES[k % len(SERIES)] for k in range(n)]


def _short(name: str) -> str:
    words = " ".join(name.encode("utf-8", "replace").decode("utf-8").split())  # matplotlib can't set half a pair
    return words if len(words) <= 24 else f"{words[:23]}…"


_DRAWN: dict[str, Callable[[Any, Mapping[str, Any]], None]] = {
    "confusion": _confusion,
    "reliability": _reliability,
    "roc": _roc,
    "risk_coverage": _risk_coverage,
    "differences": _differences,
    "loss": _loss,
}
