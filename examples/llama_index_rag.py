"""LlamaIndex: FAISS retrieves, headgate guards and reranks, and selects the engine."""

from corpus import POISONED, passages, read
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.tools import ToolMetadata

from headgate import load
from headgate.index import Index
from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank
from llama_index.selectors.headgate import HeadgateSelector


class FaissRetriever(BaseRetriever):
    """The 20 nearest passages; any other retriever would do."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__()
        self._nodes = [TextNode(text=t, id_=str(i)) for i, t in enumerate(texts)]
        self._index = Index(load("mini/embed"), texts)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self._index.search(query_bundle.query_str, k=20)
        return [NodeWithScore(node=self._nodes[h.index], score=h.cosine) for h in hits]


retriever = FaissRetriever([*passages(), POISONED])
steps: list[BaseNodePostprocessor] = [HeadgateNodeGuard(forbid=["injection"]), HeadgateRerank(top_n=3)]
routes = read("routes")
tools = [ToolMetadata(name=r["name"], description=r["description"]) for r in routes]
selector = HeadgateSelector(threshold=0.25, default_index=0)  # the first tool, where none fits

for query in ("how long do I have to send it back?", "how do I cancel my subscription?"):
    choice = selector.select(tools, query).selections[0]
    print(f"{query}  ->  {routes[choice.index]['name']}")
    nodes = retriever.retrieve(query)
    for step in steps:
        nodes = step.postprocess_nodes(nodes, query_str=query)
    for node in nodes:
        title = node.node.get_content().split("\n")[0]
        print(f"  {node.score:.3f}  {title}")
