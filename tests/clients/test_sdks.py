"""Vendors' own libraries, by base URL alone."""

import asyncio
import inspect
import os
import subprocess
import sys

import cohere
import infinity_client
import litellm
import pytest
import voyageai
from asked import DOCUMENTS, QUERY, RIGHT, ranked
from infinity_client.api.default import classify as infinity_classify
from infinity_client.api.default import rerank as infinity_rerank
from infinity_client.models import ClassifyInput, RerankInput
from rerankers import Reranker


def test_cohere_v2(root, key):
    found = cohere.ClientV2(key, base_url=root).rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS)
    ranked([one.index for one in found.results], [one.relevance_score for one in found.results])
    assert found.id
    assert found.meta.api_version.version == "2"
    assert found.meta.billed_units.search_units == 1
    assert found.meta.tokens.input_tokens > 0


def test_cohere_v2_top_n(root, key):
    ask = {"model": "rerank-v3.5", "query": QUERY, "documents": DOCUMENTS}
    found = cohere.ClientV2(key, base_url=root).rerank(**ask, top_n=2, max_tokens_per_doc=64)
    ranked([one.index for one in found.results], [one.relevance_score for one in found.results], expected=2)


def test_cohere_v2_async(root, key):
    async def ask():
        async with cohere.AsyncClientV2(key, base_url=root) as client:
            return await client.rerank(model="rerank-v3.5", query=QUERY, documents=DOCUMENTS)

    found = asyncio.run(ask())
    ranked([one.index for one in found.results], [one.relevance_score for one in found.results])


@pytest.mark.skipif(
    "relevant_spans" not in inspect.signature(cohere.ClientV2.rerank).parameters, reason="cohere is older than 7"
)
def test_cohere_points_out_what_is_relevant(root, key):
    long = f"{DOCUMENTS[0]} {DOCUMENTS[RIGHT]} {DOCUMENTS[3]}"
    ask = {"model": "rerank-v3.5", "query": QUERY, "documents": [DOCUMENTS[1], long]}
    found = cohere.ClientV2(key, base_url=root).rerank(**ask, relevant_spans={"mode": "enabled", "threshold": 0.0})
    assert found.results[0].index == 1
    best = found.results[0].relevant_spans[0]
    assert long[best.start : best.end].strip() == DOCUMENTS[RIGHT]
    assert 0 <= best.score <= 1


def test_cohere_by_environment(root, key):  # which it reads when it is imported
    ask = f"rerank(model='rerank-v3.5', query={QUERY!r}, documents={DOCUMENTS!r})"
    said = subprocess.run(
        [sys.executable, "-c", f"import cohere; print([one.index for one in cohere.ClientV2().{ask}.results])"],
        env={**os.environ, "CO_API_URL": root, "CO_API_KEY": key}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout.startswith(f"[{RIGHT}, "), said.stderr


def test_cohere_v1(root, key):
    client = cohere.Client(key, base_url=root)
    documents = [{"text": text, "id": str(n)} for n, text in enumerate(DOCUMENTS)]
    found = client.rerank(model="rerank-english-v3.0", query=QUERY, documents=documents, return_documents=True)
    ranked([one.index for one in found.results], [one.relevance_score for one in found.results])
    assert [one.document.text for one in found.results] == [DOCUMENTS[one.index] for one in found.results]
    assert found.meta.api_version.version == "1"
    bare = client.rerank(query=QUERY, documents=DOCUMENTS, top_n=1)
    assert bare.results[0].index == RIGHT
    assert bare.results[0].document is None


def test_cohere_v1_rank_fields(root, key):
    documents = [{"title": text, "text": "The same words in all."} for text in DOCUMENTS]
    client = cohere.Client(key, base_url=root)
    found = client.rerank(query=QUERY, documents=documents, rank_fields=["title"], max_chunks_per_doc=2)
    ranked([one.index for one in found.results], [one.relevance_score for one in found.results])


def test_voyage(root, key):
    found = voyageai.Client(api_key=key, base_url=f"{root}/v1").rerank(QUERY, DOCUMENTS, model="rerank-2.5", top_k=3)
    ranked([one.index for one in found.results], [one.relevance_score for one in found.results], expected=3)
    assert [one.document for one in found.results] == [DOCUMENTS[one.index] for one in found.results]
    assert found.total_tokens > 0


def test_voyage_async(root, key):
    client = voyageai.AsyncClient(api_key=key, base_url=f"{root}/v1")
    found = asyncio.run(client.rerank(QUERY, DOCUMENTS, model="rerank-2.5"))
    ranked([one.index for one in found.results], [one.relevance_score for one in found.results])


LITELLM = {
    "cohere": ("cohere/rerank-v3.5", ""),
    "jina": ("jina_ai/jina-reranker-v2-base-multilingual", ""),
    "vllm": ("hosted_vllm/default", ""),
    "huggingface": ("huggingface/BAAI/bge-reranker-base", ""),
    "voyage": ("voyage/rerank-2.5", "/voyage/v1"),  # it need not send what tells Voyage from Jina
    "infinity": ("infinity/default", "/infinity"),
}


@pytest.mark.parametrize(("model", "path"), LITELLM.values(), ids=list(LITELLM))
def test_litellm(root, key, model, path):
    ask = {"model": model, "query": QUERY, "api_key": key, "api_base": root + path}
    found = litellm.rerank(**ask, documents=DOCUMENTS, top_n=3, return_documents=True)
    few = 4 if model.startswith("huggingface/") else 3  # TEI knows no top_n
    ranked([one["index"] for one in found.results], [one["relevance_score"] for one in found.results], expected=few)
    assert found.results[0]["document"]["text"] == DOCUMENTS[RIGHT]


@pytest.mark.parametrize(("model", "path"), LITELLM.values(), ids=list(LITELLM))
def test_litellm_async_without_documents(root, key, model, path):
    ask = {"model": model, "query": QUERY, "api_key": key, "api_base": root + path}
    found = asyncio.run(litellm.arerank(**ask, documents=DOCUMENTS, return_documents=False))
    ranked([one["index"] for one in found.results], [one["relevance_score"] for one in found.results])


def test_litellm_bills_what_was_read(root, key):
    ask = {"query": QUERY, "documents": DOCUMENTS, "api_key": key, "api_base": root}
    found = litellm.rerank(model="cohere/rerank-v3.5", **ask)
    assert found.meta["tokens"]["input_tokens"] > 0
    assert found.meta["billed_units"]["search_units"] == 1


RERANKERS = {
    "cohere": "/v1/rerank",
    "jina": "/v1/rerank",
    "voyage": "/v1/rerank",
    "text-embeddings-inference": "/rerank",
}


@pytest.mark.parametrize(("kind", "path"), RERANKERS.items(), ids=list(RERANKERS))
def test_rerankers(root, key, kind, path):
    ranker = Reranker("default", model_type=kind, api_key=key, url=root + path, verbose=0)
    found = ranker.rank(query=QUERY, docs=DOCUMENTS)
    ranked([one.doc_id for one in found.results], [one.score for one in found.results])
    assert found.top_k(1)[0].text == DOCUMENTS[RIGHT]


def test_infinity_client(root, key):
    client = infinity_client.Client(base_url=root, headers={"Authorization": f"Bearer {key}"})
    body = RerankInput(query=QUERY, documents=DOCUMENTS, top_n=3)
    found = infinity_rerank.sync(client=client, body=body)
    ranked([one.index for one in found.results], [one.relevance_score for one in found.results], expected=3)
    assert found.usage.total_tokens > 0
    assert found.model == "default"


def test_infinity_client_gets_documents_under_its_prefix(root, key):
    client = infinity_client.AuthenticatedClient(base_url=f"{root}/infinity", token=key)
    body = RerankInput(query=QUERY, documents=DOCUMENTS, return_documents=True)
    found = infinity_rerank.sync(client=client, body=body)
    assert found.results[0].document == DOCUMENTS[RIGHT]


def test_infinity_client_classifies(root, key):
    client = infinity_client.AuthenticatedClient(base_url=f"{root}/infinity", token=key)
    found = infinity_classify.sync(client=client, body=ClassifyInput(input_=DOCUMENTS[:2], model="default"))
    assert [len(row) > 1 for row in found.data] == [True, True]
    assert all(0 <= one.score <= 1 and one.label for row in found.data for one in row)
    assert found.usage.total_tokens > 0
