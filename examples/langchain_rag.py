"""LangChain: FAISS retrieves, headgate guards and reranks, and routes the query."""

from corpus import POISONED, passages, read
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict

from headgate import load
from headgate.index import Index
from langchain_headgate import HeadgateDocumentGuard, HeadgateReranker, HeadgateRouter


class FaissRetriever(BaseRetriever):
    """The 20 nearest passages; any other retriever would do."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    index: Index
    texts: list[str]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        hits = self.index.search(query, k=20)
        return [Document(self.texts[h.index], metadata={"cosine": h.cosine}) for h in hits]


texts = [*passages(), POISONED]
retriever = ContextualCompressionRetriever(
    base_retriever=FaissRetriever(index=Index(load("mini/embed"), texts), texts=texts),
    base_compressor=DocumentCompressorPipeline(
        transformers=[HeadgateDocumentGuard(forbid=["injection"]), HeadgateReranker(top_n=3)]
    ),
)
router = HeadgateRouter(
    routes={r["name"]: r["description"] for r in read("routes")}, threshold=0.25, fallback="a person"
)

for query in ("how long do I have to send it back?", "how do I cancel my subscription?", "who won the cup?"):
    print(f"{query}  ->  {router.invoke(query)['key']}")
    for document in retriever.invoke(query):
        title = document.page_content.split("\n")[0]
        print(f"  {document.metadata['relevance_score']:.3f}  {title}")
