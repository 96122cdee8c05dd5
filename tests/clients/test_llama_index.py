"""LlamaIndex's rerankers of other vendors, by base URL alone."""

import asyncio

import pytest
from asked import DOCUMENTS, QUERY, ranked_texts
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.nvidia_rerank import NVIDIARerank
from llama_index.postprocessor.siliconflow_rerank import SiliconFlowRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from llama_index.postprocessor.xinference_rerank import XinferenceRerank


def _nodes():
    return [NodeWithScore(node=TextNode(text=text), score=0.5) for text in DOCUMENTS]


def _ranked(ranker, *, unit=True):
    found = ranker.postprocess_nodes(_nodes(), query_str=QUERY)
    ranked_texts([one.node.text for one in found], [one.score for one in found], expected=3, unit=unit)


def test_cohere(root, key):
    _ranked(CohereRerank(base_url=root, api_key=key, model="rerank-v3.5", top_n=3))


@pytest.mark.parametrize("form", ["Bearer {}", "{}"])
def test_tei(root, key, form):  # the token is sent as it is
    _ranked(TextEmbeddingInference(base_url=root, auth_token=form.format(key), top_n=3))


def test_tei_async(root, key):
    ranker = TextEmbeddingInference(base_url=f"{root}/tei", auth_token=key, top_n=3)
    found = asyncio.run(ranker.apostprocess_nodes(_nodes(), query_str=QUERY))
    ranked_texts([one.node.text for one in found], [one.score for one in found], expected=3)


def test_jina(root, key):
    _ranked(JinaRerank(base_url=f"{root}/v1", api_key=key, top_n=3))


def test_jina_says_what_the_server_says(root):
    with pytest.raises(RuntimeError, match="key"):
        JinaRerank(base_url=f"{root}/v1", api_key="wrong").postprocess_nodes(_nodes(), query_str=QUERY)


def test_xinference(unlocked):  # it sends no key
    _ranked(XinferenceRerank(base_url=unlocked, model="default", top_n=3))


def test_siliconflow(root, key):
    _ranked(SiliconFlowRerank(base_url=f"{root}/v1/rerank", api_key=key, top_n=3))


def test_nvidia(root, key):
    _ranked(NVIDIARerank(base_url=f"{root}/v1", api_key=key, model="default", top_n=3), unit=False)
