"""LlamaIndex: retrieve with embeddings of headgate, guard and rerank; a selector says what is asked for."""

from corpus import POISONED, passages, read
from llama_index.core import VectorStoreIndex
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import TextNode
from llama_index.core.tools import ToolMetadata

from llama_index.embeddings.headgate import HeadgateEmbedding
from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank
from llama_index.selectors.headgate import HeadgateSelector

nodes = [TextNode(text=text, id_=str(i)) for i, text in enumerate([*passages(), POISONED])]
index = VectorStoreIndex(nodes, embed_model=HeadgateEmbedding(embed_batch_size=200))
retriever = index.as_retriever(similarity_top_k=20)
# With a language model: index.as_query_engine(llm=…, similarity_top_k=20, node_postprocessors=steps)
steps: list[BaseNodePostprocessor] = [HeadgateNodeGuard(forbid=["injection"]), HeadgateRerank(top_n=3)]
routes = read("routes")
tools = [ToolMetadata(name=r["name"], description=r["description"]) for r in routes]
selector = HeadgateSelector(threshold=0.25, default_index=0)  # the first tool, where none fits

for query in ("how long do I have to send it back?", "how do I cancel my subscription?"):
    choice = selector.select(tools, query).selections[0]
    print(f"{query}  ->  {routes[choice.index]['name']}")
    found = retriever.retrieve(query)
    for step in steps:
        found = step.postprocess_nodes(found, query_str=query)
    for node in found:
        title = node.node.get_content().split("\n")[0]
        print(f"  {node.score:.3f}  {title}")
