import copy

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

import headgate
from headgate import NotCalibratedError, Reranker
from headgate.testing import ToyScorer
from langchain_headgate import HeadgateDocumentGuard, HeadgateReranker

classic = pytest.importorskip("langchain_classic.retrievers")


def documents() -> list[Document]:
    return [
        Document("fish swim", id="f", metadata={"source": "a", "score": 0.9}),
        Document("cats and dogs play", id="c", metadata={"source": "b", "score": 0.1}),
        Document("", id="e", metadata={"score": 0.8}),
        Document("a dog barks", id="d", metadata={"score": 0.2, "deep": {"k": [1]}}),
    ]


def toy(**arguments) -> HeadgateReranker:
    return HeadgateReranker(reranker=Reranker(ToyScorer(), **arguments))


def test_best_first_with_scores_in_copies() -> None:
    given = documents()
    before = copy.deepcopy(given)
    best = toy().compress_documents(given, "dogs cats")
    assert given == before
    assert [d.id for d in best] == ["c", "f", "d", "e"]
    hits = Reranker(ToyScorer())("dogs cats", [d.page_content for d in before])
    for rank, (document, hit) in enumerate(zip(best, hits, strict=True), start=1):
        assert document.page_content == before[hit.index].page_content
        assert document.metadata == {
            **before[hit.index].metadata,
            "relevance_score": hit.probability,
            "relevance_meaning": "probability",
            "relevance_rank": rank,
            "relevance_span": list(hit.span),
        }


def test_scores_of_an_earlier_reranker_are_replaced_all_of_them() -> None:
    old = {"relevance_score": 7.0, "relevance_meaning": "order", "relevance_rank": 9, "relevance_span": [3, 4, 5]}
    given = [Document(d.page_content, metadata={**d.metadata, **old}) for d in documents()]
    fresh = toy().compress_documents(documents(), "dogs cats")
    assert [d.metadata for d in toy().compress_documents(given, "dogs cats")] == [d.metadata for d in fresh]


def test_nothing_of_the_metadata_is_shared() -> None:
    given = documents()
    before = copy.deepcopy(given)
    for document in toy().compress_documents(given, "dogs cats"):
        document.metadata.get("deep", {"k": []})["k"].append(2)
    assert given == before


def test_an_order_gives_the_models_own_number() -> None:
    reranker = HeadgateReranker(reranker=Reranker(ToyScorer(meaning="order")))
    best = reranker.compress_documents(documents(), "dogs cats")
    assert best[0].metadata["relevance_score"] == 4.0
    assert {d.metadata["relevance_meaning"] for d in best} == {"order"}


def test_thresholds_on_an_order_are_refused(monkeypatch) -> None:
    monkeypatch.setitem(vars(headgate), "load", lambda where: ToyScorer(meaning="order"))
    with pytest.raises(NotCalibratedError, match="top_k"):
        HeadgateReranker(min_probability=0.5).compress_documents(documents(), "dog")


@pytest.mark.parametrize(
    "cut", [{"top_n": 2}, {"min_probability": 0.4}, {"top_p": 0.9}, {"max_gap": 2.0}, {"label": "fish"}]
)
def test_cut_offs_are_those_of_the_core(cut, loads) -> None:
    core = {("top_k" if k == "top_n" else k): v for k, v in cut.items()}
    hits = Reranker(ToyScorer(), **core)("a dog barks", [d.page_content for d in documents()])
    best = HeadgateReranker(**cut).compress_documents(documents(), "a dog barks")
    assert [d.page_content for d in best] == [documents()[h.index].page_content for h in hits]
    assert cut.get("label") or len(best) < 4


def test_long_query_in_windows(loads) -> None:
    query = "fish. a dog barks."
    hits = Reranker(ToyScorer(), long_query="windows")(query, [d.page_content for d in documents()])
    best = HeadgateReranker(long_query="windows").compress_documents(documents(), query)
    assert [d.metadata["relevance_score"] for d in best] == [h.probability for h in hits]
    whole = HeadgateReranker().compress_documents(documents(), query)
    assert whole[0].metadata["relevance_score"] != best[0].metadata["relevance_score"]


@pytest.mark.parametrize(("weight", "first"), [(0.5, "c"), (1.0, "f")])
def test_first_stage_scores_join(weight, first, loads) -> None:
    given = documents()
    hits = Reranker(ToyScorer(), prior_weight=weight)(
        "dogs cats", [d.page_content for d in given], prior=[d.metadata["score"] for d in given]
    )
    best = HeadgateReranker(prior_key="score", prior_weight=weight).compress_documents(given, "dogs cats")
    assert [d.id for d in best] == [given[h.index].id for h in hits]
    assert best[0].id == first  # the first stage outvotes the model, or not
    assert [d.metadata["relevance_score"] for d in best] == [h.probability for h in hits]  # the model's alone


@pytest.mark.parametrize("wrong", [None, "0.5"])
def test_a_missing_first_stage_score_is_refused(wrong, loads) -> None:
    given = documents()
    given[1].metadata["score"] = wrong
    with pytest.raises(ValueError, match=r"metadata\['score'\] of document 'cats and dogs play' is"):
        HeadgateReranker(prior_key="score").compress_documents(given, "dog")


def test_the_nouns_own_text_reads_the_document() -> None:
    reranker = toy(text=lambda d: f"{d.metadata.get('source', '')} {d.page_content}")
    assert reranker.compress_documents(documents(), "b")[0].id == "c"


def test_no_documents_need_no_model(loads) -> None:
    assert HeadgateReranker().compress_documents([], "q") == []
    assert HeadgateDocumentGuard(forbid=["spam"]).compress_documents([], "q") == []
    assert loads == []


def test_what_is_no_document_is_refused() -> None:
    for wrong in ("a text", ["a text"], [None]):
        with pytest.raises(TypeError, match="expected langchain_core Document"):
            toy().compress_documents(wrong, "q")


def test_empty_query_and_broken_model_raise(counting) -> None:
    with pytest.raises(ValueError, match="blank"):
        toy().compress_documents(documents(), " ")
    broken = HeadgateReranker(reranker=Reranker(counting(error=RuntimeError("out of memory"))))
    with pytest.raises(RuntimeError, match="out of memory"):
        broken.compress_documents(documents(), "q")


def retriever(compressor):
    base = RunnableLambda(lambda _: documents(), name="search")
    return classic.ContextualCompressionRetriever(base_compressor=compressor, base_retriever=base)


def check_tree(recorder, **expected) -> None:
    (root,) = recorder.roots
    assert root.name == "ContextualCompressionRetriever"
    search, run = root.child_runs
    assert (search.name, run.name, run.run_type) == ("search", "HeadgateReranker", "chain")
    assert run.inputs == {"query": "dogs cats", "documents": documents()}
    assert bool(run.error) == expected["error"]
    assert run.child_runs == []


def test_traced_as_a_child_of_the_retriever(recorder) -> None:
    best = retriever(toy(top_k=2)).invoke("dogs cats", {"callbacks": [recorder]})
    check_tree(recorder, error=False)
    outputs = recorder.roots[0].child_runs[1].outputs
    assert outputs["documents"] == best
    assert outputs["hits"][0]["log_odds"] == 4.0


async def test_traced_when_async(recorder) -> None:
    best = await retriever(toy(top_k=2)).ainvoke("dogs cats", {"callbacks": [recorder]})
    check_tree(recorder, error=False)
    assert recorder.roots[0].child_runs[1].outputs["documents"] == best


def test_errors_are_traced(recorder, counting) -> None:
    broken = HeadgateReranker(reranker=Reranker(counting(error=RuntimeError("out of memory"))))
    with pytest.raises(RuntimeError, match="out of memory"):
        retriever(broken).invoke("dogs cats", {"callbacks": [recorder]})
    check_tree(recorder, error=True)
    assert "out of memory" in recorder.roots[0].child_runs[1].error


async def test_errors_are_traced_when_async(recorder, counting) -> None:
    broken = HeadgateReranker(reranker=Reranker(counting(error=RuntimeError("out of memory"))))
    with pytest.raises(RuntimeError, match="out of memory"):
        await retriever(broken).ainvoke("dogs cats", {"callbacks": [recorder]})
    check_tree(recorder, error=True)


def test_traced_where_nobody_passes_callbacks_on(recorder) -> None:
    step = RunnableLambda(lambda q: toy().compress_documents(documents(), q), name="mine")
    step.invoke("dogs", {"callbacks": [recorder]})
    (root,) = recorder.roots
    assert [r.name for r in root.child_runs] == ["HeadgateReranker"]


async def test_events(recorder) -> None:
    events = retriever(toy()).astream_events("dogs", version="v2")
    names = [(e["event"], e["name"]) async for e in events if e["name"] == "HeadgateReranker"]
    assert names[0] == ("on_chain_start", "HeadgateReranker")
    assert names[-1] == ("on_chain_end", "HeadgateReranker")


async def test_the_event_loop_goes_on(ticks, counting) -> None:
    slow = HeadgateReranker(reranker=Reranker(counting(seconds=0.3)))
    best, count = await ticks(slow.acompress_documents(documents(), "dogs"))
    assert len(best) == 4
    assert count > 5


async def test_pipeline_of_guard_and_reranker(counting) -> None:
    from langchain_classic.retrievers.document_compressors import DocumentCompressorPipeline

    guard = HeadgateDocumentGuard(forbid={"fish": "fish"}, threshold=0.5)
    guard = HeadgateDocumentGuard(guard=guard._make(counting()))
    pipeline = retriever(DocumentCompressorPipeline(transformers=[guard, toy(top_k=1)]))
    for best in (pipeline.invoke("dogs cats"), await pipeline.ainvoke("dogs cats")):
        assert [d.id for d in best] == ["c"]
        assert {"guard_probabilities", "relevance_score"} < set(best[0].metadata)
