import copy

import pytest
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, EventPayload, LlamaDebugHandler
from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

import headgate
from headgate import Guard, Log, Logged, NotCalibratedError, Reranker
from headgate.testing import ToyScorer
from llama_index.postprocessor.headgate import HeadgateNodeGuard, HeadgateRerank, NodeGuardEvent

TEXTS = {"f": "fish swim", "c": "cats and dogs play", "e": "", "d": "a dog barks"}
SCORES = {"f": 0.9, "c": 0.1, "e": 0.8, "d": 0.2}


def nodes() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=t, id_=i), score=SCORES[i]) for i, t in TEXTS.items()]


def ids(found: list[NodeWithScore]) -> list[str]:
    return [n.node.node_id for n in found]


def toy(scorer=None, **arguments) -> HeadgateRerank:
    return HeadgateRerank(reranker=Reranker(scorer or ToyScorer(), **arguments))


def guard(scorer=None) -> HeadgateNodeGuard:
    return HeadgateNodeGuard(guard=Guard(scorer or ToyScorer(), ["fish"], 0.5))


def test_best_first_in_new_nodes_with_scores() -> None:
    given = nodes()
    before = copy.deepcopy(given)
    best = toy().postprocess_nodes(given, query_str="dogs cats")
    assert given == before
    assert ids(best) == ["c", "f", "d", "e"]
    hits = Reranker(ToyScorer())("dogs cats", list(TEXTS.values()))
    assert [n.score for n in best] == [h.probability for h in hits]
    assert not {id(n) for n in best} & {id(n) for n in given}
    assert {id(n.node) for n in best} == {id(n.node) for n in given}  # only the wrapper is new


def test_an_order_gives_the_models_own_number(monkeypatch) -> None:
    assert toy(ToyScorer(meaning="order")).postprocess_nodes(nodes(), query_str="cats")[0].score == 4.0
    monkeypatch.setitem(vars(headgate), "load", lambda where: ToyScorer(meaning="order"))
    with pytest.raises(NotCalibratedError, match="top_k"):
        HeadgateRerank(min_probability=0.5).postprocess_nodes(nodes(), query_str="dog")


@pytest.mark.parametrize(
    "cut", [{"top_n": 2}, {"min_probability": 0.4}, {"top_p": 0.9}, {"max_gap": 2.0}, {"label": "fish"}]
)
def test_cut_offs_are_those_of_the_core(cut, loads) -> None:
    core = {("top_k" if k == "top_n" else k): v for k, v in cut.items()}
    hits = Reranker(ToyScorer(), **core)("a dog barks", list(TEXTS.values()))
    best = HeadgateRerank(**cut).postprocess_nodes(nodes(), query_str="a dog barks")
    assert ids(best) == [list(TEXTS)[h.index] for h in hits]
    assert cut.get("label") or len(best) < 4


@pytest.mark.parametrize(("weight", "first"), [(0.5, "c"), (1.0, "f")])
def test_retrieval_scores_join(weight, first, loads) -> None:
    core = Reranker(ToyScorer(), prior_weight=weight)
    hits = core("dogs cats", list(TEXTS.values()), prior=list(SCORES.values()))
    fused = HeadgateRerank(fuse_retrieval_score=True, prior_weight=weight)
    best = fused.postprocess_nodes(nodes(), query_str="dogs cats")
    assert ids(best) == [list(TEXTS)[h.index] for h in hits]
    assert best[0].node.node_id == first  # the retriever outvotes the model, or not
    assert [n.score for n in best] == [h.probability for h in hits]  # the model's alone
    given = nodes()
    given[2].score = None
    with pytest.raises(ValueError, match="node e has no score"):
        fused.postprocess_nodes(given, query_str="dog")


def test_long_query_in_windows(loads) -> None:
    query = "fish. a dog barks."
    hits = Reranker(ToyScorer(), long_query="windows")(query, list(TEXTS.values()))
    best = HeadgateRerank(long_query="windows").postprocess_nodes(nodes(), query_str=query)
    assert [n.score for n in best] == [h.probability for h in hits]
    assert HeadgateRerank().postprocess_nodes(nodes(), query_str=query)[0].score != best[0].score


def test_the_query_is_needed_to_rank() -> None:
    with pytest.raises(ValueError, match=r"no query came; expected one .*: pass query_str"):
        toy().postprocess_nodes(nodes())
    with pytest.raises(ValueError, match="blank"):
        toy().postprocess_nodes(nodes(), query_str=" ")
    assert ids(guard().postprocess_nodes(nodes())) == ["c", "e", "d"]


def test_a_label_needs_no_query() -> None:
    nodes = [NodeWithScore(node=TextNode(text=text, id_=text)) for text in ("eggs", "a spam")]
    rerank = HeadgateRerank(reranker=Reranker(ToyScorer(), label="spam"))
    assert [n.node.node_id for n in rerank.postprocess_nodes(nodes)] == ["a spam", "eggs"]
    assert [n.node.node_id for n in rerank.postprocess_nodes(nodes, query_str=" ")] == ["a spam", "eggs"]


def test_no_nodes_need_no_model(loads) -> None:
    assert HeadgateRerank().postprocess_nodes([], query_str="q") == []
    assert HeadgateNodeGuard(forbid=["spam"]).postprocess_nodes([]) == []
    assert loads == []


def test_metadata_shown_to_each_side_is_read() -> None:
    shown = {"title": "fish", "path": "bomb"}
    node = TextNode(text="text", metadata=shown, excluded_embed_metadata_keys=["path"])
    seen = NodeWithScore(node=node)
    rerank = toy()
    assert rerank.postprocess_nodes([seen], query_str="fish")[0].score > 0.9
    assert rerank.postprocess_nodes([seen], query_str="bomb")[0].score < 0.1
    rules = Guard(ToyScorer(), ["bomb"], 0.5)
    assert HeadgateNodeGuard(guard=rules).postprocess_nodes([seen]) == []  # an LLM would read it
    node.excluded_llm_metadata_keys = ["path"]
    assert len(HeadgateNodeGuard(guard=rules).postprocess_nodes([seen])) == 1


def test_another_metadata_mode() -> None:
    node = NodeWithScore(node=TextNode(text="text", metadata={"title": "fish"}, excluded_embed_metadata_keys=["title"]))
    assert toy().postprocess_nodes([node], query_str="fish")[0].score < 0.1
    shown = HeadgateRerank(reranker=Reranker(ToyScorer()), metadata_mode="all")
    assert shown.postprocess_nodes([node], query_str="fish")[0].score > 0.9
    rules = Guard(ToyScorer(), ["fish"], 0.5)
    assert HeadgateNodeGuard(guard=rules).postprocess_nodes([node]) == []
    assert len(HeadgateNodeGuard(guard=rules, metadata_mode=MetadataMode.EMBED).postprocess_nodes([node])) == 1
    with pytest.raises(ValueError, match="metadata_mode"):
        HeadgateRerank(metadata_mode="some")
    twin = HeadgateRerank.from_dict(HeadgateRerank(metadata_mode="all").to_dict())
    assert twin.metadata_mode is MetadataMode.ALL


async def test_async_keeps_the_span_parent_and_the_callbacks(events, spans) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    query = engine(guard(), toy(top_k=1))
    for postprocessor in query._node_postprocessors:
        postprocessor.callback_manager = CallbackManager([debug])  # the engine has overwritten it with its own
    await query.aquery("dogs cats")
    ((begun, done),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert len(begun.payload[EventPayload.NODES]) == 2  # what the guard left
    assert [n.node.node_id for n in done.payload[EventPayload.NODES]] == ["c"]
    by_id = {s.id_: s for s in spans.completed_spans}
    for name in ("HeadgateNodeGuard", "HeadgateRerank"):
        span = next(s for s in by_id.values() if s.id_.startswith(f"{name}._postprocess_nodes"))
        chain = []
        while span is not None:
            chain.append(span.id_.split("-")[0])
            span = by_id.get(span.parent_id)
        assert chain[:2] == [f"{name}._postprocess_nodes", f"{name}._apostprocess_nodes"]
        assert chain[-1] == "RetrieverQueryEngine.aquery"
        inside = [e for e in events if e.span_id is not None and e.span_id.startswith(f"{name}._postprocess")]
        assert [e.class_name() for e in inside] == (
            ["NodeGuardEvent"] if name == "HeadgateNodeGuard" else ["ReRankStartEvent", "ReRankEndEvent"]
        )


def test_ids_and_ties_stay() -> None:
    same = [NodeWithScore(node=TextNode(text="a dog", id_=str(i)), score=i / 10) for i in range(5)]
    assert ids(toy().postprocess_nodes(same, query_str="dog")) == [str(i) for i in range(5)]


def test_the_nouns_own_text_reads_the_node() -> None:
    rerank = toy(text=lambda n: n.node.node_id)
    assert ids(rerank.postprocess_nodes(nodes(), query_str="d"))[0] == "d"


def test_events_and_callbacks(events) -> None:
    given, debug = nodes(), LlamaDebugHandler(print_trace_on_end=False)
    rerank = toy(top_k=2)
    rerank.callback_manager = CallbackManager([debug])
    best = rerank.postprocess_nodes(given, query_bundle=QueryBundle("dogs cats"))
    start, end = events
    assert isinstance(start, ReRankStartEvent)
    assert (start.query.query_str, start.nodes, start.top_n, start.model_name) == ("dogs cats", given, 2, "toy")
    assert isinstance(end, ReRankEndEvent)
    assert (end.class_name(), end.nodes) == ("ReRankEndEvent", best)
    assert [h["index"] for h in end.hits] == [1, 0]
    assert end.hits[0]["span"] == (0, len(TEXTS["c"]))
    ((begun, done),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert begun.payload[EventPayload.NODES] == given
    assert begun.payload[EventPayload.QUERY_STR] == "dogs cats"
    assert (begun.payload[EventPayload.TOP_K], begun.payload[EventPayload.MODEL_NAME]) == (2, "toy")
    assert done.payload[EventPayload.NODES] == best


def test_events_of_a_lazy_model(events, loads) -> None:
    HeadgateRerank().postprocess_nodes(nodes(), query_str="dog")
    assert (events[0].top_n, events[0].model_name) == (4, "mini/rank")


def test_errors_reach_the_caller_and_the_callbacks(events, spans, counting) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    rerank = toy(counting(error=RuntimeError("out of memory")))
    rerank.callback_manager = CallbackManager([debug])
    with pytest.raises(RuntimeError, match="out of memory"):
        rerank.postprocess_nodes(nodes(), query_str="dog")
    assert [e.class_name() for e in events if "ReRank" in e.class_name()] == ["ReRankStartEvent"]
    ((_, done),) = debug.get_event_pairs(CBEventType.RERANKING)
    assert "out of memory" in str(done.payload[EventPayload.EXCEPTION])
    assert [s.id_.split("-")[0] for s in spans.dropped_spans] == ["HeadgateRerank._postprocess_nodes"]


def test_guard_drops_and_tells(events, counting) -> None:
    given = nodes()
    before = copy.deepcopy(given)
    kept = guard(scorer := counting()).postprocess_nodes(given, query_str="q")
    assert given == before
    assert [(n.node.node_id, n.score) for n in kept] == [("c", 0.1), ("e", 0.8), ("d", 0.2)]
    assert not {id(n) for n in kept} & {id(n) for n in given}
    assert scorer.calls == [4]
    (event,) = events
    assert isinstance(event, NodeGuardEvent)
    assert event.nodes == given
    assert [v["broken"] for v in event.verdicts] == [("fish",), (), (), ()]


def test_a_broken_model_keeps_no_node(counting) -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        guard(counting(error=RuntimeError("out of memory"))).postprocess_nodes(nodes())


def test_one_call_for_all_nodes(counting) -> None:
    toy(scorer := counting()).postprocess_nodes(nodes(), query_str="dog")
    assert scorer.calls == [4]


async def test_the_event_loop_goes_on(ticks, counting) -> None:
    rerank, keep = toy(counting(seconds=0.3)), guard(counting(seconds=0.3))
    best, count = await ticks(rerank.apostprocess_nodes(nodes(), query_str="dogs cats"))
    assert ids(best) == ["c", "f", "d", "e"]
    assert count > 5
    kept, count = await ticks(keep.apostprocess_nodes(nodes()))
    assert len(kept) == 3
    assert count > 5


def engine(*postprocessors) -> RetrieverQueryEngine:
    index = VectorStoreIndex([n.node for n in nodes() if n.node.text], embed_model=MockEmbedding(embed_dim=4))
    retriever = index.as_retriever(similarity_top_k=4)
    return RetrieverQueryEngine.from_args(retriever, llm=MockLLM(), node_postprocessors=list(postprocessors))


async def test_in_a_query_engine(events, spans) -> None:
    query = engine(guard(), toy(top_k=1))
    for response in (query.query("dogs cats"), await query.aquery("dogs cats")):
        assert ids(response.source_nodes) == ["c"]
        assert response.source_nodes[0].score == pytest.approx(0.98, abs=0.01)
    names = [e.class_name() for e in events]
    one = ["RetrievalEndEvent", "NodeGuardEvent", "ReRankStartEvent", "ReRankEndEvent", "SynthesizeStartEvent"]
    assert [n for n in names if n in one] == one * 2
    by_id = {s.id_: s for s in spans.completed_spans}
    for span in [s for s in spans.completed_spans if s.id_.startswith("HeadgateRerank._postprocess")]:
        chain = []
        while span is not None:
            chain.append(span.id_.split("-")[0])
            span = by_id.get(span.parent_id)
        assert chain[-1] in ("RetrieverQueryEngine.query", "RetrieverQueryEngine.aquery")


def test_text_of_a_node_is_what_the_host_uses() -> None:
    node = TextNode(text="a", metadata={"k": "v"})
    assert node.get_content(metadata_mode=MetadataMode.EMBED) == "k: v\n\na"


def test_a_shadow_guard_drops_nothing_and_logs_what_it_found(tmp_path) -> None:
    log = Log(tmp_path / "log.jsonl")
    guard = Guard(ToyScorer(), ["fish"], 0.5)
    seen = [NodeWithScore(node=TextNode(text=text)) for text in ("a fish", "a cake")]
    shadow = HeadgateNodeGuard(guard=Logged(guard, log, "shadow", enforce=False))
    assert len(shadow.postprocess_nodes(seen)) == 2
    assert len(HeadgateNodeGuard(guard=Logged(guard, log, "live")).postprocess_nodes(seen)) == 1
    assert [(r.task, r.result.allowed) for r in log] == [
        ("shadow", False), ("shadow", True), ("live", False), ("live", True),
    ]  # fmt: skip
