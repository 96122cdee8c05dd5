import copy
import json
import pickle
import threading
import warnings

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd, load
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

import headgate
from headgate.testing import ToyScorer
from langchain_headgate import HeadgateEmbeddings, HeadgateReranker


class Letters:
    """An embedder that counts letters, and notes how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def embed(self, texts, *, role):
        self.asked.append((role, list(texts)))
        self.thread = threading.current_thread()
        counts = np.array([[1 + t.count(c) for c in "abc"] for t in texts], dtype=np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


@pytest.fixture
def embedder(monkeypatch) -> Letters:
    made = Letters()
    monkeypatch.setitem(vars(headgate), "load", lambda where, **arguments: made)
    return made


async def test_queries_and_documents(embedder) -> None:
    adapter = HeadgateEmbeddings()
    for query, vectors in (
        (adapter.embed_query("ab"), adapter.embed_documents(["a", "b"])),
        (await adapter.aembed_query("ab"), await adapter.aembed_documents(["a", "b"])),
    ):
        np.testing.assert_allclose(query, Letters().embed(["ab"], role="query")[0])
        np.testing.assert_allclose(vectors, Letters().embed(["a", "b"], role="document"))
        assert {type(x) for row in (query, *vectors) for x in row} == {float}
    assert embedder.asked == [("query", ["ab"]), ("document", ["a", "b"])] * 2
    assert embedder.thread.name.startswith("headgate-caller")


async def test_no_documents_need_no_model(embedder) -> None:
    assert HeadgateEmbeddings().embed_documents([]) == await HeadgateEmbeddings().aembed_documents([]) == []
    assert embedder.asked == []


def test_a_ready_embedder_and_scalars(embedder) -> None:
    ready = HeadgateEmbeddings(embedder=Letters())
    assert ready.embed_query("abc") == HeadgateEmbeddings().embed_query("abc")
    assert copy.deepcopy(ready).embedder is ready.embedder
    with pytest.raises(ValueError, match="embedder came together with model"):
        HeadgateEmbeddings(embedder=Letters(), model="other")
    with pytest.raises(ValueError, match="Embedder"):
        HeadgateEmbeddings(embedder=ToyScorer())
    with pytest.raises(ValueError, match="Extra inputs"):
        HeadgateEmbeddings(batch_size=3)
    with pytest.raises(ValueError, match="a ready Letters can't be written"):
        ready.model_dump()


def test_a_model_without_vectors_is_named(loads) -> None:
    with pytest.raises(ValueError, match=r"model 'mini/rank' is a CountingScorer.*expected a sentence encoder"):
        HeadgateEmbeddings(model="mini/rank").embed_query("a")


def test_persistence(embedder) -> None:
    adapter = HeadgateEmbeddings(model="some/model", family="bi_encoder", max_length=128)
    data = json.loads(json.dumps(dumpd(adapter)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # load is in beta
        assert load(data, allowed_objects=[HeadgateEmbeddings], valid_namespaces=["langchain_headgate"]) == adapter
    for twin in (copy.deepcopy(adapter), pickle.loads(pickle.dumps(adapter)), adapter.model_copy()):
        assert twin == adapter
    assert embedder.asked == []


def test_wrong_texts_of_mini_are_named() -> None:
    adapter = HeadgateEmbeddings()
    with pytest.raises(TypeError, match="text 1 is int; expected str"):
        adapter.embed_documents(["a", 7])
    with pytest.raises(TypeError, match="texts is a str"):
        adapter.embed_documents("a text")
    with pytest.raises(TypeError, match="text 0 is NoneType"):
        adapter.embed_query(None)


def test_one_pass_for_embedding_and_ranking_a_query_of_mini(monkeypatch) -> None:
    from headgate import StateCache, hosting

    states = StateCache()
    monkeypatch.setattr(hosting, "_states", lambda: states)
    embeddings, reranker = HeadgateEmbeddings(), HeadgateReranker()
    ranks = reranker._noun().scorer  # who is there before a query comes has its tokens kept too
    texts = [f"Passage {n} is about passwords and logins." for n in range(20)]
    store = InMemoryVectorStore.from_documents([Document(t) for t in texts], embeddings)
    query = "How do I change my password?"
    plain = headgate.load("mini/rank").score(texts, [query])
    before = embeddings._noun().work.rows
    found = store.as_retriever(search_kwargs={"k": 20}).invoke(query)
    assert embeddings._noun().work.rows == before + 1
    best = reranker.compress_documents(found, query)
    assert ranks.work.rows == len(texts)  # and not the query's
    expected = {t: float(p) for t, p in zip(texts, plain.probabilities[:, 0], strict=True)}
    assert {d.page_content: d.metadata["relevance_score"] for d in best} == pytest.approx(expected, abs=1e-4)


class TestUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return HeadgateEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "mini/embed"}


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return HeadgateEmbeddings

    @property
    def embedding_model_params(self):
        return {"model": "mini/embed"}
