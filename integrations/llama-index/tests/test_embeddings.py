import copy
import pickle

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent, EmbeddingStartEvent
from llama_index.core.schema import TextNode
from tests.embedders import Bags

import headgate
from headgate.testing import ToyScorer
from llama_index.embeddings.headgate import HeadgateEmbedding

TEXTS = ["a dog barks", "fish swim", "cats purr"]


async def test_roles_and_batches() -> None:
    bags = Bags()
    model = HeadgateEmbedding(embedder=bags, embed_batch_size=2)
    query = model.get_query_embedding("fish")
    assert query == await model.aget_query_embedding("fish")
    assert query == pytest.approx(Bags().embed(["fish"], role="query")[0].tolist())
    one = model.get_text_embedding(TEXTS[0])
    assert one == await model.aget_text_embedding(TEXTS[0])
    assert bags.seen == [("query", ["fish"])] * 2 + [("document", TEXTS[:1])] * 2
    bags.seen.clear()
    many = model.get_text_embedding_batch(TEXTS)
    assert many == await model.aget_text_embedding_batch(TEXTS)
    assert many[0] == one
    assert sorted(bags.seen) == sorted([("document", TEXTS[:2]), ("document", TEXTS[2:])] * 2)
    assert [type(x) for x in query] == [float] * len(query)


def test_in_an_index() -> None:
    index = VectorStoreIndex([TextNode(text=t) for t in TEXTS], embed_model=HeadgateEmbedding(embedder=Bags()))
    assert index.as_retriever(similarity_top_k=1).retrieve("the fish")[0].node.text == "fish swim"


def test_scalars(monkeypatch) -> None:
    seen = []
    monkeypatch.setitem(vars(headgate), "load", lambda where, **a: seen.append((where, a)) or Bags())
    model = HeadgateEmbedding(model="some/model", device="cpu")
    assert seen == []
    assert model.model_name == "some/model"
    twin = HeadgateEmbedding.from_dict(model.to_dict())
    assert (twin.model, twin.device, twin.model_name) == ("some/model", "cpu", "some/model")
    for one in (model, copy.deepcopy(model), twin, pickle.loads(pickle.dumps(model))):
        assert len(one.get_query_embedding("a")) == 64
    assert seen == [("some/model", {"device": "cpu"})] * 3
    assert HeadgateEmbedding().model_name == "mini/embed"
    assert HeadgateEmbedding(embedder=Bags()).model_name == "bags"
    assert HeadgateEmbedding(model_name="mine").model_name == "mine"


def test_what_embeds_nothing_is_refused(loads) -> None:
    with pytest.raises(TypeError, match="mini/route is a CountingScorer, which embeds nothing"):
        HeadgateEmbedding(model="mini/route").get_query_embedding("a")
    with pytest.raises(ValueError, match="embedder"):
        HeadgateEmbedding(embedder=ToyScorer())
    with pytest.raises(ValueError, match="embedder came together with model"):
        HeadgateEmbedding(embedder=Bags(), model="some/model")
    with pytest.raises(ValueError, match="embed_batch_size"):
        HeadgateEmbedding(embed_batch_size=0)
    with pytest.raises(ValueError, match="Extra inputs"):
        HeadgateEmbedding(top_k=1)


def test_events_and_spans(events, spans) -> None:
    HeadgateEmbedding(embedder=Bags()).get_text_embedding("a")
    start, end = events
    assert isinstance(start, EmbeddingStartEvent)
    assert start.model_dict["model_name"] == "bags"
    assert isinstance(end, EmbeddingEndEvent)
    assert end.chunks == ["a"]
    assert "HeadgateEmbedding.get_text_embedding" in {s.id_.split("-")[0] for s in spans.completed_spans}


async def test_with_mini() -> None:
    model = HeadgateEmbedding()
    assert isinstance(model, BaseEmbedding)
    expected = headgate.load("mini/embed").embed(["how do I reset it?"], role="query")[0]
    assert np.allclose(model.get_query_embedding("how do I reset it?"), expected, atol=1e-5)
    assert np.allclose(await model.aget_query_embedding("how do I reset it?"), expected, atol=1e-5)
    assert np.linalg.norm(model.get_text_embedding("a text")) == pytest.approx(1, abs=1e-5)
