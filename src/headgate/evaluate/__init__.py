"""Measuring scorers, rerankers, routers and guards on labelled rows (needs the extra ``evaluate``).

Usage::

    report = route(Router(load("mini/route"), routes), "tickets.jsonl")
    report["in-scope accuracy"]
    report.save("report.json")
    report.html("report.html")
"""

from headgate.evaluate.classification import classify
from headgate.evaluate.fewshot import few_shot
from headgate.evaluate.guarding import guard
from headgate.evaluate.html import write_html
from headgate.evaluate.nli import pairs
from headgate.evaluate.report import Figure, Plot, Report, Table, compare, read_report
from headgate.evaluate.reranking import rerank
from headgate.evaluate.routing import route
from headgate.evaluate.rows import read_rows

__all__ = [
    "Figure",
    "Plot",
    "Report",
    "Table",
    "classify",
    "compare",
    "few_shot",
    "guard",
    "pairs",
    "read_report",
    "read_rows",
    "rerank",
    "route",
    "write_html",
]
