"""LangChain: retrieve, guard and rerank, answer, and check each sentence of the answer against what was retrieved.

Needs the extra "sentences".
"""

from corpus import POISONED, passages
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from headgate import load
from headgate.index import Index
from langchain_headgate import HeadgateDocumentGuard, HeadgateGrounding, HeadgateReranker

texts = [*passages(), POISONED]
index = Index(load("mini/embed"), texts)  # any retriever would do
guard = HeadgateDocumentGuard(forbid=["injection"])
reranker = HeadgateReranker(top_n=3)


def retrieve(chain: dict[str, str]) -> list[Document]:
    """The best three of the 20 nearest passages, without those that give orders."""
    query = chain["question"]
    hits = index.search(query, k=20)
    found = [
        Document(texts[h.index].split("\n", 1)[1], metadata={"source": texts[h.index].split("\n")[0]}) for h in hits
    ]
    return list(reranker.compress_documents(guard.compress_documents(found, query), query))


# Stands for a language model, which gets some things right and makes up others.
model = FakeListChatModel(
    responses=[
        "Amber means that it is cut off from the cloud. A blue ring plays music.",
        "The hub has a lithium backup cell. The backup cell lasts four years. A replacement costs £41.",
    ]
)
prompt = ChatPromptTemplate.from_template("Answer from these passages only: {context}\n\n{question}")
chain = (
    RunnablePassthrough.assign(context=retrieve)
    | RunnablePassthrough.assign(answer=prompt | model | StrOutputParser())
    | HeadgateGrounding(threshold=0.5)
)

for question in ("what do the colours of the ring on the hub mean?", "how long does the hub run in a power cut?"):
    out = chain.invoke({"question": question})
    print(f"{question}  ->  {'supported' if out['supported'] else 'check this'}")
    for document in out["context"]:
        print(f"  {document.metadata['relevance_score']:.3f}  {document.metadata['source']}")
    for claim in out["claims"]:
        print(f"  {claim['verdict']:<12} {claim['sentence']}")
        for cited in claim["citations"][:1]:
            print(f"{'':15}{cited['source']}: “{cited['quote']}”")
        if claim["missing"]:
            print(f"{'':15}nowhere in the documents: {', '.join(claim['missing'])}")
