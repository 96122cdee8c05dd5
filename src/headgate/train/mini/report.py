"""Measure a finished ``mini`` on held-out rows: ``python -m headgate.train.mini.report``, or ``make mini-report``.

Writes figures.json, one HTML report with every plot, and the model card.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import torch

from headgate.evaluate import Report, write_html
from headgate.train.mini import heldout
from headgate.train.mini.card import card
from headgate.train.mini.heldout import SUITES, Parts

log = logging.getLogger(__name__)

Json = dict[str, Any]
OUTSIDE = {
    "AUROC of out-of-scope": "AUROC, in scope against out",
    "recall at 95 % retention": "out-of-scope recall at 95% in-scope retention",
}
"""What a table shows of rows that fit no route, and what the report calls it."""
GUARDED = ("recall at 1 % false positives", "recall at its threshold", "false positives at its threshold")


def measure(parts: Parts, suites: list[str]) -> tuple[Json, list[Report]]:
    """The figures of the named suites as tables (suite -> row -> column -> value), and the reports behind them."""
    found: Json = {}
    reports: list[Report] = []
    for suite in suites:
        table: dict[str, Json] = {}
        for title, report in SUITES[suite](parts):
            row, _, column = title.partition(", ")
            cells = table.setdefault(title if report.task == "guard" else row, {"rows": report.n})
            cells |= _cells(report, column)
            reports.append(report)
            log.info("%s, %s: %s", suite, title, cells)
        found[suite] = table
    return found, reports


def _cells(report: Report, column: str) -> Json:
    """What a table shows of a report, by column."""
    values = {figure.name: round(figure.value, 4) for figure in report.figures}
    if report.task == "guard":
        of = {name.split(": ", 1)[-1]: value for name, value in reversed(values.items())}
        return {name: of[name] for name in (*GUARDED, "false positives on look-alikes", "AUROC") if name in of}
    main = report.figures[0]
    cells: Json = {column or main.name: round(main.value, 4)}
    if report.task == "rerank":
        cells = {"first stage": values[f"{main.name} (first stage)"], **cells}
        gain = next(f for f in report.figures if f.name == f"{main.name} (gain)")
        cells[f"{column}: gain, 95 %"] = f"{gain.low:+.3f} to {gain.high:+.3f}"
    if report.task == "route":
        cells |= {name: values[figure] for name, figure in OUTSIDE.items() if figure in values}
    if report.task == "pairs" or column in ("", "route"):
        cells |= {f"{column} accuracy".strip(): values["accuracy"]} if "accuracy" in values else {}
    return cells


def _measured(parts: Parts, suites: list[str], found: Json, path: Path) -> list[Report]:
    """Put the figures of each suite into `found` and the file, one by one: the last suite can't lose the first ones."""
    reports: list[Report] = []
    for suite in suites:
        if suite in SUITES:
            figures, some = measure(parts, [suite])
            found |= figures
            reports += some
        else:
            found[suite] = {"grounding": heldout.grounding, "label_order": heldout.label_order}[suite](parts)
            log.info("%s: %s", suite, found[suite])
        path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return reports


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m headgate.train.mini.report", description="Measure mini.")
    parser.add_argument("--folder", type=Path, required=True, help="the finished folder")
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a data set")
    parser.add_argument("--figures", type=Path, required=True, help="JSON file to write; suites in it are replaced")
    parser.add_argument("--html", type=Path, help="report to write")
    parser.add_argument("--card", type=Path, help="model card to write")
    parser.add_argument("--only", nargs="+", choices=[*SUITES, "grounding", "label_order"], help="these suites alone")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the usual numbers of rows")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of the encoders")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(given.threads)
    begun, parts = time.monotonic(), Parts(given.folder, given.data, given.scale, given.dtype)
    wanted = given.only or [*SUITES, "grounding", "label_order"]
    found: Json = json.loads(given.figures.read_text(encoding="utf-8")) if given.figures.exists() else {}
    reports = _measured(parts, wanted, found, given.figures)
    if given.html:
        write_html(reports, given.html, texts=False)
    if given.card:
        chosen = given.folder / "chosen.json"
        said = json.loads(chosen.read_text(encoding="utf-8")) if chosen.is_file() else {}
        given.card.write_text(card(found, said), encoding="utf-8")
    log.info("measured in %.0f s", time.monotonic() - begun)


if __name__ == "__main__":
    main()
