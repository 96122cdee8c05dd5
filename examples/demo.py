"""The whole product on one corpus: how good the order is, then both hosts at work.

Run by ``make demo``. Every number is computed here, now, on the corpus beside this file.
"""

import logging
import runpy
import time
from pathlib import Path

import bm25s
import ir_measures
from corpus import passages, read
from ir_measures import nDCG
from rich.console import Console
from rich.table import Table

from headgate import Guard, Reranker, Router, load
from headgate.index import Index

Run = dict[str, dict[str, float]]
console = Console(width=100)


def runs() -> dict[str, Run]:
    """Every question's documents by BM25, by FAISS, and by FAISS reranked: query -> doc -> score."""
    texts, ids, questions = passages(), [p["id"] for p in read("passages")], read("questions")
    queries = [q["query"] for q in questions]
    bm25 = bm25s.BM25()
    bm25.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    tokens = bm25s.tokenize(queries, stopwords="en", show_progress=False)
    best, scores = bm25.retrieve(tokens, k=20, show_progress=False)
    found = Index(load("mini/embed"), texts).search_many(queries, k=20)
    rerank = Reranker(load("mini/rank"))
    hits = rerank.many(queries, [[texts[f.index] for f in near] for near in found])
    out: dict[str, Run] = {"BM25": {}, "FAISS": {}, "FAISS, reranked": {}}
    for n, q in enumerate(questions):
        out["BM25"][q["id"]] = {ids[d]: float(s) for d, s in zip(best[n], scores[n], strict=True)}
        out["FAISS"][q["id"]] = {ids[f.index]: f.cosine for f in found[n]}
        out["FAISS, reranked"][q["id"]] = {ids[found[n][h.index].index]: h.log_odds for h in hits[n]}
    return out


def ranking() -> None:
    """Print nDCG@10 of the three orders."""
    qrels = {q["id"]: q["relevant"] for q in read("questions")}
    table = Table("order of the passages", "nDCG@10", title=f"{len(qrels)} questions, 116 passages")
    for name, run in runs().items():
        table.add_row(name, f"{ir_measures.calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10]:.3f}")
    console.print(table)


def deciding() -> None:
    """Print how often the router and the guard are right."""
    routes = read("routes")
    route = Router(load("mini/route"), {r["name"]: r["description"] for r in routes}, threshold=0.0)
    asked = [(u, r["name"]) for r in routes for u in r["utterances"]]
    decisions = route.many([u for u, _ in asked])
    right = sum(d.choice == name for d, (_, name) in zip(decisions, asked, strict=True))
    guard = Guard(load("mini/heads"), ["injection", "toxic"])
    items = read("guard")
    blocked = [not v.allowed for v in guard.many([i["text"] for i in items])]
    unsafe = [b for b, i in zip(blocked, items, strict=True) if i["unsafe"]]
    safe = [b for b, i in zip(blocked, items, strict=True) if not i["unsafe"]]
    table = Table("decision", "right", title="Zero-shot routes; the guard's own rules and thresholds")
    table.add_row(f"{len(asked)} queries to {len(routes)} routes, by description", f"{right / len(asked):.0%}")
    table.add_row(f"{len(unsafe)} unsafe texts blocked", f"{sum(unsafe) / len(unsafe):.0%}")
    table.add_row(f"{len(safe)} safe texts passed, hard look-alikes among them", f"{1 - sum(safe) / len(safe):.0%}")
    console.print(table)


def main() -> None:
    """Run all of it."""
    started = time.perf_counter()
    ranking()
    deciding()
    for host in ("rag_citations", "llama_index_rag"):
        console.rule(host)
        runpy.run_path(str(Path(__file__).with_name(f"{host}.py")))
    console.print(f"[dim]{time.perf_counter() - started:.0f} s[/dim]")


if __name__ == "__main__":
    logging.getLogger("bm25s").setLevel(logging.ERROR)
    main()
