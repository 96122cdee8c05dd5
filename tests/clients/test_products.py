"""Products that can't be started here: the requests that they send, and what they read of the answers."""

import asyncio
import json
import re
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import litellm
import pytest
import yaml
from asked import DOCUMENTS, QUERY, RIGHT, ranked


def _post(url, key, body):
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=30) as found:
        return json.load(found)


def test_open_webui(root, key):  # engine "external": every document's score, by its index
    body = {"model": "default", "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)}
    found = _post(f"{root}/v1/rerank", key, body)["results"]
    scores = [one["relevance_score"] for one in sorted(found, key=lambda one: one["index"])]
    assert scores.index(max(scores)) == RIGHT


def test_dify_and_ragflow(root, key):  # OpenAI-API-compatible: the base URL with /rerank behind it
    body = {"model": "default", "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)}
    found = _post(f"{root}/v1" + "/rerank", key, body)["results"]
    ranked([one["index"] for one in found], [one["relevance_score"] for one in found])


def test_xinference_providers(root, key):  # words where Jina has booleans, and keys of Xinference alone
    body = {
        "model": "default",
        "query": QUERY,
        "documents": DOCUMENTS,
        "return_documents": "true",
        "return_len": "true",
    }
    found = _post(f"{root}/v1/rerank", key, body)["results"]
    ranked([one["index"] for one in found], [one["relevance_score"] for one in found])


def test_litellm_router_as_the_page_says(root, key):
    page = (Path(__file__).parents[2] / "docs/serve/front.md").read_text("utf-8")
    (said,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "model_list" in block]
    said = said.replace("http://headgate:8080", root).replace("api_key: KEY", f"api_key: {key}")
    router = litellm.Router(model_list=yaml.safe_load(said)["model_list"])
    found = asyncio.run(router.arerank(model="rerank", query=QUERY, documents=DOCUMENTS, top_n=3)).results
    ranked([one["index"] for one in found], [one["relevance_score"] for one in found], expected=3)


def test_librechat(root, key):  # Jina, with the documents: an object with text, or a string
    model = "jina-reranker-v2-base-multilingual"
    body = {"model": model, "query": QUERY, "documents": DOCUMENTS, "top_n": 3, "return_documents": True}
    found = _post(f"{root}/v1/rerank", key, body)
    ranked([one["index"] for one in found["results"]], [one["relevance_score"] for one in found["results"]], expected=3)
    assert found["results"][0]["document"]["text"] == DOCUMENTS[RIGHT]
    assert found["usage"]["total_tokens"] > 0


def test_librechat_is_told_in_its_words(root):
    with pytest.raises(HTTPError) as caught:
        _post(f"{root}/v1/rerank", "wrong", {"model": "jina-reranker-m0", "query": QUERY, "documents": DOCUMENTS})
    assert caught.value.code == 401
    assert json.load(caught.value)["detail"]
