"""LangChain's rerankers of other vendors, by base URL alone."""

import asyncio

import pytest
from asked import DOCUMENTS, QUERY, ranked_texts
from infinity_client import Client
from langchain_cohere import CohereRerank
from langchain_community.document_compressors import InfinityRerank, JinaRerank, jina_rerank
from langchain_core.documents import Document
from langchain_nvidia_ai_endpoints import NVIDIARerank
from langchain_voyageai import VoyageAIRerank

FOUND = [Document(text, metadata={"source": n}) for n, text in enumerate(DOCUMENTS)]


def _ranked(found, *, expected, unit=True):
    ranked_texts(
        [one.page_content for one in found],
        [one.metadata["relevance_score"] for one in found],
        expected=expected,
        unit=unit,
    )
    assert all(DOCUMENTS[one.metadata["source"]] == one.page_content for one in found)


def test_cohere(root, key):
    _ranked(
        CohereRerank(base_url=root, cohere_api_key=key, model="rerank-v3.5", top_n=3).compress_documents(FOUND, QUERY),
        expected=3,
    )


def test_infinity(root, key):
    client = Client(base_url=root, headers={"Authorization": f"Bearer {key}"})
    _ranked(InfinityRerank(client=client, model="default", top_n=2).compress_documents(FOUND, QUERY), expected=2)


def test_jina(root, key, monkeypatch):
    monkeypatch.setattr(jina_rerank, "JINA_API_URL", f"{root}/v1/rerank")  # it has no setting
    ranker = JinaRerank(jina_api_key=key, model="jina-reranker-v1-base-en", top_n=3)
    _ranked(ranker.compress_documents(FOUND, QUERY), expected=3)


def test_jina_says_what_the_server_says(root, monkeypatch):
    monkeypatch.setattr(jina_rerank, "JINA_API_URL", f"{root}/v1/rerank")
    ranker = JinaRerank(jina_api_key="wrong", model="jina-reranker-v1-base-en")
    with pytest.raises(RuntimeError, match="key"):
        ranker.compress_documents(FOUND, QUERY)


@pytest.fixture
def nvidia(root, key):
    return NVIDIARerank(base_url=f"{root}/v1", api_key=key, model="default", top_n=3, usage_telemetry_enabled=False)


def test_nvidia(nvidia):
    _ranked(nvidia.compress_documents(FOUND, QUERY), expected=3, unit=False)


def test_nvidia_in_batches(nvidia):
    nvidia.max_batch_size = 2
    _ranked(nvidia.compress_documents(FOUND, QUERY), expected=3, unit=False)


def test_nvidia_finds_the_model_itself(root, key):
    ranker = NVIDIARerank(base_url=f"{root}/v1", api_key=key, usage_telemetry_enabled=False)
    assert ranker.model == "default"


def test_nvidia_with_a_wrong_key(root):
    with pytest.raises(Exception, match="401"):
        NVIDIARerank(base_url=f"{root}/v1", api_key="wrong", model="default").compress_documents(FOUND, QUERY)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_voyage(root, key, how):
    ranker = VoyageAIRerank(base_url=f"{root}/v1", voyage_api_key=key, model="rerank-2.5", top_k=3)
    found = (
        ranker.compress_documents(FOUND, QUERY)
        if how == "sync"
        else asyncio.run(ranker.acompress_documents(FOUND, QUERY))
    )
    _ranked(found, expected=3)
