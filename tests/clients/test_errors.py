"""What goes wrong arrives as the client's own error, at once: a bad request is not asked again."""

import time

import cohere
import huggingface_hub
import infinity_client
import litellm
import openai
import pytest
import voyageai
from asked import DOCUMENTS, GREETING, QUERY
from infinity_client.api.default import rerank as infinity_rerank
from infinity_client.models import RerankInput
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference


def _cohere(root, key, **ask):
    ask = {"model": "rerank-v3.5", "query": QUERY, "documents": DOCUMENTS, **ask}
    return cohere.ClientV2(key, base_url=root).rerank(**ask)


def _cohere_v1(root, key, **ask):
    return cohere.Client(key, base_url=root).rerank(**{"query": QUERY, "documents": DOCUMENTS, **ask})


def _voyage(root, key, **ask):
    ask = {"query": QUERY, "documents": DOCUMENTS, "model": "rerank-2.5", **ask}
    return voyageai.Client(api_key=key, base_url=f"{root}/v1", max_retries=0).rerank(**ask)


def _litellm(root, key, **ask):
    ask = {"model": "default", "query": QUERY, "documents": DOCUMENTS, **ask}
    ask["model"] = f"hosted_vllm/{ask['model']}"
    return litellm.rerank(**ask, api_key=key, api_base=root)


def _openai(root, key, **ask):
    client = openai.OpenAI(base_url=f"{root}/v1", api_key=key)
    words = ask.get("documents", [GREETING])
    return client.moderations.create(input=words, model=ask.get("model", "omni-moderation-latest"))


# Of every status that a reranker sends, LiteLLM makes a lost connection in some versions; what was said stays.
LOST = litellm.APIConnectionError

CLIENTS = {
    "cohere v2": (_cohere, cohere.UnauthorizedError, cohere.BadRequestError, cohere.NotFoundError),
    "cohere v1": (_cohere_v1, cohere.UnauthorizedError, cohere.BadRequestError, cohere.NotFoundError),
    "voyage": (
        _voyage,
        voyageai.error.AuthenticationError,
        voyageai.error.InvalidRequestError,
        voyageai.error.VoyageError,
    ),
    "litellm": (
        _litellm,
        (litellm.AuthenticationError, LOST),
        (litellm.BadRequestError, LOST),
        (litellm.NotFoundError, LOST),
    ),
    "openai": (_openai, openai.AuthenticationError, openai.BadRequestError, openai.NotFoundError),
}
EACH = pytest.mark.parametrize("client", CLIENTS.values(), ids=list(CLIENTS))


def _at_once(error, call, *args, **ask):
    begun = time.monotonic()
    with pytest.raises(error) as caught:
        call(*args, **ask)
    assert time.monotonic() - begun < 2, "it was asked again and again"
    return str(caught.value)


@EACH
def test_a_wrong_key(root, client):
    call, unauthorized, _, _ = client
    assert "key" in _at_once(unauthorized, call, root, "wrong").lower()


@EACH
def test_no_documents(root, key, client):
    call, _, bad, _ = client
    assert "empty" in _at_once(bad, call, root, key, documents=[])


@EACH
def test_an_unknown_model(root, key, client):
    call, _, _, missing = client
    assert "nobody-serves-this" in _at_once(missing, call, root, key, model="nobody-serves-this")


def test_a_blank_query(root, key):
    assert "query" in _at_once(cohere.BadRequestError, _cohere, root, key, query=" ")


def test_llama_index_does_not_retry_what_is_wrong(root, key):
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in DOCUMENTS]
    ranker = CohereRerank(base_url=root, api_key=key, model="nobody-serves-this")
    _at_once(cohere.NotFoundError, ranker.postprocess_nodes, nodes, query_str=QUERY)


def test_tei_client_with_a_wrong_key(root):
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in DOCUMENTS]
    ranker = TextEmbeddingInference(base_url=root, auth_token="wrong")
    _at_once(Exception, ranker.postprocess_nodes, nodes, query_str=QUERY)


def test_infinity_client_with_a_wrong_key(root):
    client = infinity_client.AuthenticatedClient(base_url=root, token="wrong", raise_on_unexpected_status=True)
    body = RerankInput(query=QUERY, documents=DOCUMENTS)
    said = _at_once(infinity_client.errors.UnexpectedStatus, infinity_rerank.sync, client=client, body=body)
    assert "401" in said


def test_hugging_face_with_a_wrong_key(root):
    client = huggingface_hub.InferenceClient(f"{root}/predict", token="wrong")
    assert "401" in _at_once(huggingface_hub.errors.HfHubHTTPError, client.text_classification, GREETING)
