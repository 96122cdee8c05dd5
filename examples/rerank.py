"""Rerank what any retriever found, without a host framework."""

from corpus import passages

from headgate import Reranker, load
from headgate.index import Index

documents = passages()
index = Index(load("mini/embed"), documents)
rerank = Reranker(load("mini/rank"), top_k=3)

query = "how do I cancel my subscription?"
found = [documents[hit.index] for hit in index.search(query, k=20)]
for hit in rerank(query, found):
    title = found[hit.index].split("\n")[0]
    start, end = hit.span  # the characters that matched: a highlight for free
    print(f"{hit.probability:.3f}  {title:<28}  …{' '.join(found[hit.index][start:end].split())[:80]}…")
