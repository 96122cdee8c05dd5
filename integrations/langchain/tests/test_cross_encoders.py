import copy
import json
import pickle
import warnings

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd, load

from headgate import Calibration, LabelTooLongError, Reranker
from headgate.testing import ToyScorer
from langchain_headgate import HeadgateCrossEncoder

PAIRS = [("dogs cats", "dogs and cats"), ("fish", "fish swim"), ("dogs cats", "a dog"), ("fish", ""), ("fish", "a")]


class Asked(ToyScorer):
    """Notes what is asked in each call."""

    def score_many(self, asks):
        CALLS.append([(list(a.texts), list(a.labels)) for a in asks])
        return [self.score(a.texts, a.labels) for a in asks]


CALLS: list = []


def test_a_number_for_each_pair_in_one_plan() -> None:
    CALLS.clear()
    found = HeadgateCrossEncoder(scorer=Asked()).score(PAIRS)
    assert CALLS == [[(["dogs and cats", "a dog"], ["dogs cats"]), (["fish swim", "", "a"], ["fish"])]]
    alone = [Reranker(ToyScorer())(query, [text])[0].probability for query, text in PAIRS]
    assert found == alone
    assert all(type(score) is float for score in found)


def test_twice_the_same_pair_and_none() -> None:
    pairs = [PAIRS[0], PAIRS[2], PAIRS[0]]
    found = HeadgateCrossEncoder(scorer=ToyScorer()).score(pairs)
    assert found[0] == found[2] != found[1]
    assert HeadgateCrossEncoder().score([]) == []


def test_lists_do_as_pairs(loads) -> None:
    assert HeadgateCrossEncoder().score([list(p) for p in PAIRS]) == HeadgateCrossEncoder().score(PAIRS)


def test_an_order_gives_the_models_own_number_and_says_so() -> None:
    order = HeadgateCrossEncoder(scorer=ToyScorer(meaning="order"))
    assert order.meaning == "order"
    assert order.score(PAIRS[:1]) == [Reranker(ToyScorer())(PAIRS[0][0], [PAIRS[0][1]])[0].log_odds]
    assert HeadgateCrossEncoder(scorer=ToyScorer()).meaning == "probability"
    fitted = HeadgateCrossEncoder(scorer=Calibration(scale=2.0).on(ToyScorer(meaning="order")))
    assert fitted.meaning == "probability"
    assert 0 <= fitted.score(PAIRS[:1])[0] <= 1


async def test_off_the_event_loop(ticks, counting) -> None:
    scores, count = await ticks(HeadgateCrossEncoder(scorer=counting(seconds=0.3)).ascore(PAIRS[:1]))
    assert scores == HeadgateCrossEncoder(scorer=ToyScorer()).score(PAIRS[:1])
    assert count > 5


@pytest.mark.parametrize("wrong", ["ab", ("a",), ("a", "b", "c"), ("a", None), 7, ("a", Document("b"))])
def test_what_is_no_pair_is_refused(wrong, loads) -> None:
    with pytest.raises(TypeError, match=r"pair 1 is .*expected a query and a document, both str"):
        HeadgateCrossEncoder().score([("a", "b"), wrong])
    assert loads == []
    with pytest.raises(ValueError, match="blank"):
        HeadgateCrossEncoder().score([(" ", "a")])


def test_scalars_and_a_ready_scorer(loads) -> None:
    lazy = HeadgateCrossEncoder(model="some/model", device="cpu")
    assert loads == []
    assert lazy.score(PAIRS) == HeadgateCrossEncoder(scorer=ToyScorer()).score(PAIRS)
    lazy.score(PAIRS)
    assert loads == [("some/model", {"device": "cpu"})]
    with pytest.raises(ValueError, match="scorer came together with device"):
        HeadgateCrossEncoder(scorer=ToyScorer(), device="cpu")
    with pytest.raises(ValueError, match="Scorer"):
        HeadgateCrossEncoder(scorer="mini/rank")
    with pytest.raises(ValueError, match="Extra inputs"):
        HeadgateCrossEncoder(top_n=3)
    with pytest.raises(ValueError, match="long_query"):
        HeadgateCrossEncoder(long_query="cut")


def test_persistence(loads) -> None:
    adapter = HeadgateCrossEncoder(model="mini/nli", template="It says {}.", long_query="windows")
    data = json.loads(json.dumps(dumpd(adapter)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # load is in beta
        assert load(data, allowed_objects=[HeadgateCrossEncoder], valid_namespaces=["langchain_headgate"]) == adapter
    assert HeadgateCrossEncoder.model_validate_json(adapter.model_dump_json()) == adapter
    for twin in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter))):
        assert twin == adapter
    assert loads == []
    ready = HeadgateCrossEncoder(scorer=ToyScorer())
    assert copy.deepcopy(ready).scorer is ready.scorer
    with pytest.raises(ValueError, match="a ready ToyScorer can't be written"):
        ready.model_dump()


def test_in_the_stock_reranker(loads) -> None:
    compressors = pytest.importorskip("langchain_classic.retrievers.document_compressors")
    rerank = compressors.CrossEncoderReranker(model=HeadgateCrossEncoder(), top_n=1)
    best = rerank.compress_documents([Document("fish swim"), Document("dogs and cats")], "dogs cats")
    assert [d.page_content for d in best] == ["dogs and cats"]


def test_the_entailment_class_of_mini() -> None:
    nli = HeadgateCrossEncoder(model="mini/nli")
    scores = nli.score([("sport", "Our team won the match."), ("cooking", "Our team won the match.")])
    assert scores[0] > 0.5 > scores[1]
    assert nli.meaning == "probability"


def test_long_queries_of_mini() -> None:
    query = "How do I reset the password of my account? " * 60
    with pytest.raises(LabelTooLongError, match="long_query"):
        HeadgateCrossEncoder().score([(query, "Open Settings to reset it.")])
    (score,) = HeadgateCrossEncoder(long_query="windows").score([(query, "Open Settings to reset it.")])
    assert 0 <= score <= 1
