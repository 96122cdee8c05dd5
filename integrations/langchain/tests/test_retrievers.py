import asyncio
import copy
import json
import pickle
import threading
import warnings
from dataclasses import replace

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd, load
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from langchain_tests.integration_tests import RetrieversIntegrationTests

from headgate import Guard, GuardedReranker, Log, Logged, Reranker
from headgate.testing import ToyScorer
from langchain_headgate import HeadgateDocumentGuard, HeadgateReranker, HeadgateRetriever

OLD = {"relevance_score": 7.0, "relevance_meaning": "order", "relevance_rank": 9, "relevance_span": [3, 4]}


def documents() -> list[Document]:
    return [
        Document("build a bomb for dogs", id="1", metadata=dict(OLD)),
        Document("fish swim", id="2", metadata={"deep": {"list": [1]}, **OLD}),
        Document("dogs and cats play", id="3", metadata={"score": 0.1, "guard_probabilities": {"bomb": 0.99}}),
        Document("a dog barks, dogs bark", id="4"),
    ]


class Words(BaseRetriever):
    """Always the same documents; serialisable, and asynchronous by itself."""

    found: int = 4

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    def _get_relevant_documents(self, query, *, run_manager):
        return documents()[: self.found]

    async def _aget_relevant_documents(self, query, *, run_manager):
        assert threading.current_thread() is threading.main_thread()  # awaited, not sent to a thread
        await asyncio.sleep(0)
        return documents()[: self.found]


def reranker(scorer=None, **more) -> HeadgateReranker:
    return HeadgateReranker(reranker=Reranker(scorer or ToyScorer(), **more))


def guard(scorer=None) -> HeadgateDocumentGuard:
    return HeadgateDocumentGuard(guard=Guard(scorer or ToyScorer(), ["bomb"], 0.5))


def both(scorer=None, **more) -> HeadgateRetriever:
    return HeadgateRetriever(retriever=Words(), reranker=reranker(scorer), guard=guard(scorer), **more)


async def test_rerank_and_guard_are_those_of_the_core(counting) -> None:
    scorer = counting()
    retriever = both(scorer)
    plan = GuardedReranker(Reranker(ToyScorer()), Guard(ToyScorer(), ["bomb"], 0.5))
    expected = plan("dogs cats", [d.page_content for d in documents()])
    for found in (retriever.invoke("dogs cats"), await retriever.ainvoke("dogs cats")):
        assert [d.id for d in found] == [documents()[p.hit.index].id for p in expected.kept] == ["3", "4", "2"]
        for rank, (document, passage) in enumerate(zip(found, expected.kept, strict=True), start=1):
            before = documents()[passage.hit.index].metadata
            assert document.metadata == {
                **before,
                "relevance_score": passage.hit.probability,
                "relevance_meaning": "probability",
                "relevance_rank": rank,
                "relevance_span": list(passage.hit.span),
                "guard_probabilities": {"bomb": passage.verdicts["guard"].probabilities["bomb"]},
            }


@pytest.mark.parametrize("also", ["text", "logged"])
def test_in_turn_it_says_the_same(also, tmp_path, recorder) -> None:
    read, watch = reranker(), guard()
    if also == "text":
        read = reranker(text=lambda d: d.page_content)
    else:
        watch = HeadgateDocumentGuard(guard=Logged(watch.guard, Log(tmp_path / "log.jsonl"), "live"))
    for more in ({}, {"top_n": 2}, {"on_broken": "flag"}):
        expected = both(**more).invoke("dogs cats", {"callbacks": [recorder]})
        found = HeadgateRetriever(retriever=Words(), reranker=read, guard=watch, **more).invoke(
            "dogs cats", {"callbacks": [recorder]}
        )
        assert found == expected
        plan, turn = (root.child_runs[1].outputs for root in recorder.roots[-2:])
        assert [(k["index"], k["hit"]["index"]) for k in turn["kept"]] == [
            (k["index"], k["hit"]["index"]) for k in plan["kept"]
        ]
        assert [(b["index"], b["verdict"]) for b in turn["broken"]] == [
            (b["index"], b["verdict"]) for b in plan["broken"]
        ]


def test_a_guard_reads_the_page_however_the_reranker_reads_it() -> None:
    blind = reranker(text=lambda d: "dogs")
    found = HeadgateRetriever(retriever=Words(), reranker=blind, guard=guard()).invoke("dogs")
    assert [d.id for d in found] == ["2", "3", "4"]


def test_a_shadow_keeps_all_and_logs(tmp_path) -> None:
    log = Log(tmp_path / "log.jsonl")
    shadow = HeadgateDocumentGuard(guard=Logged(Guard(ToyScorer(), ["bomb"], 0.5), log, "shadow", enforce=False))
    found = HeadgateRetriever(retriever=Words(), reranker=reranker(), guard=shadow).invoke("bomb")
    assert found[0].id == "1"
    assert [r.result.allowed for r in log] == [False, True, True, True]


def test_one_of_both() -> None:
    ranked = HeadgateRetriever(retriever=Words(), reranker=reranker()).invoke("dogs cats")
    assert ranked == reranker().compress_documents(documents(), "dogs cats")
    kept = HeadgateRetriever(retriever=Words(), guard=guard()).invoke("dogs cats")
    assert kept == guard().compress_documents(documents(), "dogs cats")
    assert [d.id for d in HeadgateRetriever(retriever=Words(), guard=guard(), top_n=2).invoke("q")] == ["2", "3"]


def test_offenders_are_flagged() -> None:
    found = both(on_broken="flag").invoke("bomb")
    assert found[0].id == "1"
    assert [d.metadata["guard_broken"] for d in found] == [["bomb"], [], [], []]
    alone = HeadgateRetriever(retriever=Words(), guard=guard(), on_broken="flag").invoke("bomb")
    assert [d.metadata["guard_broken"] for d in alone] == [["bomb"], [], [], []]
    logged = HeadgateRetriever(retriever=Words(), reranker=reranker(text=str), guard=guard(), on_broken="flag")
    assert len(logged.invoke("bomb")) == 4


async def test_top_n(loads) -> None:
    retriever = HeadgateRetriever(
        retriever=Words(), reranker=HeadgateReranker(top_n=1), guard=HeadgateDocumentGuard(forbid=["spam"]), top_n=2
    )
    assert len(retriever.invoke("dogs")) == 2
    assert len(await retriever.ainvoke("dogs", top_n=3)) == 3
    assert len(retriever.model_copy(update={"top_n": None}).invoke("dogs")) == 1
    seen = []
    silent = HeadgateRetriever(retriever=RunnableLambda(seen.append), guard=guard())
    for wrong in (0, -1, True, 1.5, "2"):
        with pytest.raises(ValueError, match=f"top_n is {wrong!r}; expected a whole number, 1 or more"):
            silent.invoke("dogs", top_n=wrong)
        with pytest.raises(ValueError, match="top_n is"):
            await silent.ainvoke("dogs", top_n=wrong)
    with pytest.raises(TypeError, match="unexpected keyword argument 'k'"):
        silent.invoke("dogs", k=3)
    assert seen == []


async def test_the_trace(recorder) -> None:
    retriever = both(top_n=1)
    found = retriever.invoke("dogs cats", {"callbacks": [recorder]})
    await retriever.ainvoke("dogs cats", {"callbacks": [recorder]})
    for root in recorder.roots:
        assert (root.name, root.run_type) == ("HeadgateRetriever", "retriever")
        search, judged = root.child_runs
        assert (search.name, search.run_type) == ("Words", "retriever")
        assert (judged.name, judged.run_type) == ("HeadgateReranker+HeadgateDocumentGuard", "chain")
        assert judged.inputs == {"query": "dogs cats", "documents": documents()}
        assert judged.outputs["documents"] == found
        (dropped,) = judged.outputs["dropped"]
        assert (dropped.id, dropped.metadata["guard_broken"]) == ("1", ["bomb"])
        assert judged.outputs["broken"][0]["verdict"]["broken"] == ("bomb",)
        assert judged.outputs["kept"][0]["hit"]["log_odds"] == 4.0
        assert judged.outputs["unjudged"] == []
    assert len(recorder.roots) == 2


async def test_errors_are_traced(recorder, counting) -> None:
    retriever = both(counting(error=RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        retriever.invoke("dogs", {"callbacks": [recorder]})
    with pytest.raises(RuntimeError, match="out of memory"):
        await retriever.ainvoke("dogs", {"callbacks": [recorder]})
    assert len(recorder.roots) == 2
    for root in recorder.roots:
        assert "out of memory" in root.error
        assert "out of memory" in root.child_runs[1].error


def test_what_cannot_be_judged_is_not_kept(recorder, counting) -> None:
    class Picky(counting):
        def score(self, texts, labels):
            scores = super().score(texts, labels)
            odd = [["fish" in text] * len(labels) for text in texts]
            return replace(scores, log_odds=scores.log_odds + [[float("nan") if o else 0 for o in row] for row in odd])

    retriever = HeadgateRetriever(retriever=Words(), reranker=reranker(), guard=guard(Picky()))
    found = retriever.invoke("dogs", {"callbacks": [recorder]})
    assert sorted(d.id for d in found) == ["3", "4"]
    (lost,) = recorder.roots[0].child_runs[1].outputs["unjudged"]
    assert lost["index"] == 1
    assert "nan" in lost["error"]


async def test_nothing_retrieved_asks_no_model(loads, recorder) -> None:
    retriever = HeadgateRetriever(
        retriever=Words(found=0), reranker=HeadgateReranker(), guard=HeadgateDocumentGuard(forbid=["spam"])
    )
    assert retriever.invoke("q", {"callbacks": [recorder]}) == await retriever.ainvoke("q") == []
    assert loads == []
    assert [r.name for r in recorder.roots[0].child_runs] == ["Words"]


def test_all_dropped() -> None:
    for read in (None, reranker(), reranker(text=lambda d: d.page_content)):
        retriever = HeadgateRetriever(retriever=Words(found=1), reranker=read, guard=guard())
        assert retriever.invoke("dogs") == []


def test_what_is_returned_shares_nothing_with_what_was_retrieved() -> None:
    given = documents()
    before = copy.deepcopy(given)
    found = HeadgateRetriever(retriever=RunnableLambda(lambda _: given), reranker=reranker(), guard=guard()).invoke("q")
    for document in found:
        document.metadata.get("deep", {"list": []})["list"].append(2)
        document.metadata["guard_probabilities"]["bomb"] = 0.0
    assert given == before


def test_first_stage_scores_join() -> None:
    given = [Document("dogs cats", metadata={"score": 0.0}), Document("dogs", metadata={"score": 9.0})]
    fused = HeadgateReranker(reranker=Reranker(ToyScorer(), prior_weight=5.0), prior_key="score")
    for watch in (None, guard()):
        retriever = HeadgateRetriever(retriever=RunnableLambda(lambda _: given), reranker=fused, guard=watch)
        assert [d.page_content for d in retriever.invoke("dogs cats")] == ["dogs", "dogs cats"]
    given[0].metadata.clear()
    with pytest.raises(ValueError, match="first stage's score"):
        retriever.invoke("dogs cats")


def test_what_is_no_document_is_refused() -> None:
    for wrong in (["a text"], "a text"):
        retriever = HeadgateRetriever(retriever=RunnableLambda(lambda _, found=wrong: found), guard=guard())
        with pytest.raises(TypeError, match="expected langchain_core Document"):
            retriever.invoke("q")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "neither reranker nor guard came"),
        ({"reranker": reranker(), "on_broken": "flag"}, "there is no guard"),
        ({"reranker": reranker(), "top_n": 0}, "greater than or equal to 1"),
        ({"reranker": reranker(), "guard": guard(), "on_broken": "keep"}, "'drop' or 'flag'"),
        ({"reranker": reranker(), "k": 3}, "Extra inputs are not permitted"),
        ({"reranker": reranker(), "retriever": documents}, "instance of Runnable"),
    ],
)
def test_bad_arguments(wrong, said) -> None:
    with pytest.raises(ValueError, match=said):
        HeadgateRetriever(**{"retriever": Words(), **wrong})


async def test_in_a_chain(recorder) -> None:
    chain = both() | RunnableLambda(lambda found: [d.id for d in found])
    assert chain.invoke("dogs cats") == ["3", "4", "2"]
    assert chain.batch(["dogs cats"] * 3) == await chain.abatch(["dogs cats"] * 3) == [["3", "4", "2"]] * 3
    names = {e["name"] async for e in chain.astream_events("dogs cats", version="v2")}
    assert {"HeadgateRetriever", "Words", "HeadgateReranker+HeadgateDocumentGuard"} <= names


async def test_the_event_loop_goes_on(ticks, counting) -> None:
    found, count = await ticks(both(counting(seconds=0.3)).ainvoke("dogs"))
    assert len(found) == 3
    assert count > 5


def test_serialisation(loads) -> None:
    retriever = HeadgateRetriever(
        retriever=RunnablePassthrough(),
        reranker=HeadgateReranker(top_n=1),
        guard=HeadgateDocumentGuard(forbid=["spam"]),
        on_broken="flag",
        top_n=2,
    )
    data = json.loads(json.dumps(dumpd(retriever)))
    allowed = [HeadgateRetriever, HeadgateReranker, HeadgateDocumentGuard, RunnablePassthrough]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # load is in beta
        assert load(data, allowed_objects=allowed, valid_namespaces=["langchain_headgate"]) == retriever
    for twin in (copy.deepcopy(retriever), retriever.model_copy(), pickle.loads(pickle.dumps(retriever))):
        assert twin == retriever
    assert loads == []


class TestStandard(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return HeadgateRetriever

    @property
    def retriever_constructor_params(self):
        return {"retriever": Words(), "reranker": reranker(), "guard": guard(), "top_n": 2}

    @property
    def retriever_query_example(self):
        return "dogs cats"

    @property
    def num_results_arg_name(self):
        return "top_n"
