"""Measure a router and a reranker on labelled rows, and write one HTML report about both."""

import tempfile
from pathlib import Path

from corpus import passages, read

from headgate import Reranker, Router, load
from headgate.evaluate import rerank, route, write_html
from headgate.index import Index

# Rows as a JSON lines file has them; null is none of the routes.
routes = {r["name"]: r["description"] for r in read("routes")}
rows = [{"text": text, "label": r["name"]} for r in read("routes") for text in r["utterances"]]
rows += [{"text": r["text"], "label": None} for r in read("off_topic")]
routing = route(Router(load("mini/route"), routes, threshold=0.03), rows, name="mini/route")

# Candidates in the order of the first stage, so that the report can say what reranking gains.
ids, texts, questions = [p["id"] for p in read("passages")], passages(), read("questions")[:40]
found = Index(load("mini/embed"), texts).search_many([q["query"] for q in questions], k=10)
asked = [
    {
        "query": q["query"],
        "documents": [{"text": texts[f.index], "relevance": q["relevant"].get(ids[f.index], 0)} for f in near],
    }
    for q, near in zip(questions, found, strict=True)
]
reranking = rerank(Reranker(load("mini/rank")), asked, name="mini/rank")

for report in (routing, reranking):
    for figure in report.figures[:3]:
        interval = "" if figure.low is None else f"[{figure.low:.3f}, {figure.high:.3f}]"
        print(f"{report.name:<12} {figure.name:<24} {figure.value:.3f} {interval}")
    for note in report.notes:
        print(f"{report.name:<12} {note}")
page = Path(tempfile.gettempdir()) / "headgate-report.html"
write_html([routing, reranking], page)
print(f"the report is {page}")
