import copy
import pickle

import pytest
from llama_index.core.base.response.schema import Response
from llama_index.core.evaluation import BaseEvaluator, BatchEvalRunner
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import NodeWithScore, TextNode

from headgate import Grounding, NotCalibratedError, Reranker, hosting
from headgate.sentences import sentences
from headgate.testing import ToyScorer
from llama_index.evaluation.headgate import (
    FaithfulnessEvent,
    HeadgateFaithfulnessEvaluator,
    HeadgateRelevancyEvaluator,
    RelevancyEvent,
)

pytest.importorskip("sentencex")
CONTEXTS = ["The fish swims in the cold sea. It eats worms.", "Dogs bark at 3 cats."]
FAITHFUL = "The fish swims. Dogs bark at 3 cats."
INVENTED = "The fish swims. Dogs bark at 4 cats. Horses can talk."


def faithful(scorer=None, **arguments) -> HeadgateFaithfulnessEvaluator:
    grounding = Grounding(scorer or ToyScorer(), sentences(), threshold=0.5, **arguments)
    return HeadgateFaithfulnessEvaluator(grounding=grounding)


def relevant(scorer=None, **arguments) -> HeadgateRelevancyEvaluator:
    return HeadgateRelevancyEvaluator(reranker=Reranker(scorer or ToyScorer()), **arguments)


@pytest.mark.parametrize("make", [faithful, relevant])
async def test_contexts_that_are_one_text_are_refused(make) -> None:
    given = {"query": "fish?", "response": "The fish swims.", "contexts": "The fish swims."}
    with pytest.raises(TypeError, match=r"contexts is a str; expected a list of them: pass \['The fish"):
        make().evaluate(**given)
    with pytest.raises(TypeError, match="contexts is a str"):
        await make().aevaluate(**given)


async def test_faithful_answers_pass() -> None:
    for result in (
        faithful().evaluate(query="q", response=FAITHFUL, contexts=CONTEXTS),
        await faithful().aevaluate(query="q", response=FAITHFUL, contexts=CONTEXTS),
        faithful().evaluate(query="q", response=FAITHFUL, contexts=CONTEXTS),  # in a running loop too
    ):
        assert (result.passing, result.score, result.invalid_result) == (True, 1.0, False)
        assert (result.query, result.response, result.contexts) == ("q", FAITHFUL, CONTEXTS)


def test_feedback_says_which_sentence_and_why(events) -> None:
    result = faithful().evaluate(response=INVENTED, contexts=CONTEXTS)
    assert (result.passing, result.score) == (False, 1 / 3)
    claims = Grounding(ToyScorer(), sentences(), threshold=0.5)(INVENTED, CONTEXTS)
    p = [f"{claim.probability:.2f}" for claim in claims]
    assert result.feedback.splitlines() == [
        f'supported ({p[0]}): The fish swims. | [0] "The fish swims in the cold sea."',
        f"no evidence ({p[1]}): Dogs bark at 4 cats. | nowhere in the contexts: 4",
        f"no evidence ({p[2]}): Horses can talk.",
    ]
    (event,) = [e for e in events if isinstance(e, FaithfulnessEvent)]
    assert [c["supported"] for c in event.claims] == [True, False, False]
    assert event.claims[0]["citations"][0]["passage"] == 0
    assert (event.response, event.contexts, event.class_name()) == (INVENTED, CONTEXTS, "FaithfulnessEvent")


def test_an_answer_that_claims_nothing_is_invalid() -> None:
    for nothing in ("", " ", "…"):
        result = faithful().evaluate(response=nothing, contexts=CONTEXTS)
        assert (result.passing, result.score, result.invalid_result) == (False, None, True)
        assert "no sentence" in result.invalid_reason
    result = faithful().evaluate(response=FAITHFUL, contexts=[])
    assert (result.passing, result.score) == (False, 0.0)


def test_relevancy_is_the_lower_of_answer_and_best_context(events) -> None:
    answer, other = "the fish swims", "a cake is baked"
    contexts = ["cats sleep", "fish swims here"]
    hits = {h.index: h.probability for h in Reranker(ToyScorer())("fish swims", [answer, *contexts])}
    result = relevant().evaluate(query="fish swims", response=answer, contexts=contexts)
    assert (result.passing, result.score) == (True, min(hits[0], hits[2]))
    assert result.feedback.splitlines() == [
        f"relevant ({hits[0]:.2f}): response",
        f"not relevant ({hits[1]:.2f}): context 0",
        f"relevant ({hits[2]:.2f}): context 1",
    ]
    assert relevant(threshold=1.0).evaluate(query="fish swims", response=answer, contexts=contexts).passing is False
    off = relevant().evaluate(query="fish swims", response=other, contexts=contexts)
    assert (off.passing, off.score < 0.5) == (False, True)
    astray = relevant().evaluate(query="fish swims", response=answer, contexts=contexts[:1])
    assert (astray.passing, astray.score) == (False, hits[1])
    assert relevant().evaluate(query="fish swims", response=answer, contexts=[]).score == 0.0
    event = next(e for e in events if isinstance(e, RelevancyEvent))
    assert (event.query, event.texts, event.class_name()) == ("fish swims", [answer, *contexts], "RelevancyEvent")
    assert [h["index"] for h in event.hits] == [0, 2, 1]


def test_a_ready_rerankers_cut_offs_hide_no_text() -> None:
    cut = HeadgateRelevancyEvaluator(reranker=Reranker(ToyScorer(), top_k=1, max_gap=0.1))
    assert len(cut.evaluate(query="fish", response="a", contexts=["b", "c"]).feedback.splitlines()) == 3


def test_a_ready_rerankers_label_stands_for_the_query() -> None:
    fixed = HeadgateRelevancyEvaluator(reranker=Reranker(ToyScorer(), label="fish"))
    assert fixed.evaluate(query="dogs", response="fish", contexts=["fish"]).passing


def test_an_order_is_refused() -> None:
    with pytest.raises(NotCalibratedError):
        relevant(ToyScorer(meaning="order")).evaluate(query="q", response="a", contexts=["b"])


@pytest.mark.parametrize("evaluator", [faithful(), relevant()])
async def test_what_is_missing_is_named(evaluator) -> None:
    for missing in ("response", "contexts"):
        given = {"query": "q", "response": "a", "contexts": ["b"]} | {missing: None}
        with pytest.raises(ValueError, match=f"{missing} .*None.*expected"):
            await evaluator.aevaluate(**given)
    if isinstance(evaluator, HeadgateRelevancyEvaluator):
        with pytest.raises(ValueError, match="query is None"):
            evaluator.evaluate(response="a", contexts=["b"])


class Engine(CustomQueryEngine):
    def custom_query(self, query_str: str) -> Response:
        nodes = [NodeWithScore(node=TextNode(text=text)) for text in CONTEXTS]
        return Response(response=INVENTED if "invent" in query_str else FAITHFUL, source_nodes=nodes)


@pytest.mark.filterwarnings("ignore:asyncio_module:DeprecationWarning")  # BatchEvalRunner itself calls it
async def test_responses_and_batches() -> None:
    response = Engine().query("fish")
    assert faithful().evaluate_response(response=response).passing
    runner = BatchEvalRunner({"faithful": faithful(), "relevant": relevant()}, workers=8)
    found = await runner.aevaluate_queries(Engine(), queries=["fish swims", "invent dogs"])
    assert [r.passing for r in found["faithful"]] == [True, False]
    assert [r.query for r in found["relevant"]] == ["fish swims", "invent dogs"]
    strs = await runner.aevaluate_response_strs(["fish"], [FAITHFUL], [CONTEXTS])
    assert strs["faithful"][0].score == 1.0


def test_scalars(loads) -> None:
    evaluator = HeadgateFaithfulnessEvaluator(threshold=0.5, model="some/model", max_length=64)
    assert loads == []
    twin = HeadgateFaithfulnessEvaluator.from_dict(evaluator.to_dict())
    for one in (evaluator, copy.deepcopy(evaluator), pickle.loads(pickle.dumps(evaluator)), twin):
        assert one.evaluate(response=FAITHFUL, contexts=CONTEXTS).passing
    assert loads == [("some/model", {"max_length": 64})] * 3  # copies share it
    same = HeadgateRelevancyEvaluator(threshold=0.4).evaluate(query="fish", response="fish", contexts=["fish"])
    assert same == relevant(threshold=0.4).evaluate(query="fish", response="fish", contexts=["fish"])


@pytest.mark.parametrize(
    ("cls", "wrong", "message"),
    [
        (HeadgateFaithfulnessEvaluator, {"threshold": 2}, "threshold"),
        (HeadgateFaithfulnessEvaluator, {"cite": "words"}, "cite"),
        (HeadgateFaithfulnessEvaluator, {"language": " "}, "language"),
        (HeadgateFaithfulnessEvaluator, {"pairs": -1}, "pairs"),
        (HeadgateRelevancyEvaluator, {"threshold": 2}, "threshold"),
        (HeadgateRelevancyEvaluator, {"long_query": "cut"}, "long_query"),
        (HeadgateRelevancyEvaluator, {"reranker": Reranker(ToyScorer()), "model": "x"}, "reranker came together"),
        (HeadgateFaithfulnessEvaluator, {"grounding": Grounding(ToyScorer()), "pairs": 1}, "grounding came together"),
        (HeadgateFaithfulnessEvaluator, {"llm": None}, "Extra inputs"),
    ],
)
def test_bad_arguments_raise_before_any_model_is_loaded(cls, wrong, message, loads) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**wrong)
    assert loads == []


def test_no_threshold_raises(monkeypatch) -> None:
    monkeypatch.setattr(hosting.Models, "get", lambda *_: ToyScorer())
    with pytest.raises(ValueError, match="there is no threshold"):
        HeadgateFaithfulnessEvaluator().evaluate(response="a", contexts=["b"])


@pytest.mark.parametrize("evaluator", [faithful(), relevant()])
async def test_prompts_and_spans(evaluator, spans) -> None:
    assert isinstance(evaluator, BaseEvaluator)
    assert evaluator.get_prompts() == {}
    evaluator.evaluate(query="fish", response="A fish.", contexts=["A fish."])
    await evaluator.aevaluate(query="fish", response="A fish.", contexts=["A fish."])
    name = type(evaluator).__name__
    assert [s.id_.split("-")[0] for s in spans.completed_spans] == [f"{name}.evaluate", f"{name}.aevaluate"]


async def test_the_event_loop_goes_on(ticks, counting) -> None:
    slow = faithful(counting(seconds=0.2))
    result, count = await ticks(slow.aevaluate(response=FAITHFUL, contexts=CONTEXTS))
    assert result.passing
    assert count > 5
