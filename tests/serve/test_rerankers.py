"""Every rerank dialect: what comes in, what goes out, and the numbers of the reranker behind it."""

import numpy as np
import pytest

pytest.importorskip("fastapi", reason='pip install "headgate[serve]"')

from headgate import Reranker
from headgate.families.origin import Origin
from headgate.scores import Scores, logistic
from headgate.testing import ToyScorer
from tests.serve.served import post, served, toy

QUERY = "reset the hub"
DOCUMENTS = ["a warranty of two years", "hold it to reset the hub", "the hub", ""]
HITS = Reranker(ToyScorer())(QUERY, DOCUMENTS)
ORDER = [hit.index for hit in HITS]
SCORES = logistic([hit.log_odds for hit in HITS]).tolist()
LOGITS = [hit.log_odds for hit in HITS]
SUPERSET = ["/rerank", "/v1/rerank", "/v2/rerank", "/cohere/v2/rerank", "/jina/v1/rerank", "/vllm/rerank"]


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


@pytest.mark.parametrize("path", SUPERSET)
def test_one_reply_holds_what_cohere_jina_and_vllm_look_for(client, path):
    found = post(client, path, query=QUERY, documents=DOCUMENTS)
    assert [one["index"] for one in found["results"]] == ORDER
    np.testing.assert_allclose([one["relevance_score"] for one in found["results"]], SCORES, rtol=1e-6)
    assert found["model"] == "default"
    assert found["object"] == "rerank"
    assert found["id"]
    assert found["created"] > 1.7e9
    assert set(found["usage"]) == {"prompt_tokens", "total_tokens"}
    assert found["meta"]["api_version"]["version"] == ("2" if "/v2/" in path else "1")
    assert found["meta"]["billed_units"] == {"search_units": 1}
    assert found["meta"]["tokens"]["output_tokens"] == 0


def test_null_stands_for_every_optional_key_and_unknown_ones_pass(client):
    names = (
        "model top_n return_documents rank_fields max_tokens_per_doc max_chunks_per_doc overlap_tokens relevant_spans"
    )
    body = dict.fromkeys(names.split())
    found = post(client, "/v2/rerank", query=QUERY, documents=DOCUMENTS, priority=3, nonsense={"a": [1]}, **body)
    assert [one["index"] for one in found["results"]] == ORDER
    assert "document" not in found["results"][0]


@pytest.mark.parametrize(("top_n", "count"), [(0, 4), (1, 1), (3, 3), (99, 4), (10**30, 4)])
def test_top_n_cuts_and_0_is_all(client, top_n, count):
    assert len(post(client, "/v1/rerank", query=QUERY, documents=DOCUMENTS, top_n=top_n)["results"]) == count


def test_documents_are_strings_or_objects_whose_fields_come_back(client):
    documents = [
        "reset the hub",
        {"title": "reset", "body": "the hub", "text": "nothing"},
    ]
    found = post(
        client, "/v1/rerank", query=QUERY, documents=documents, return_documents=True, rank_fields=["title", "body"]
    )
    shown = {one["index"]: one for one in found["results"]}
    assert shown[0]["document"] == {"text": "reset the hub"}
    assert shown[1]["document"] == documents[1]
    assert shown[1]["relevance_score"] == pytest.approx(shown[0]["relevance_score"])  # title and body hold the query


def test_a_document_without_the_fields_that_are_read_is_named(client):
    said = post(client, "/v1/rerank", 400, query=QUERY, documents=[{"title": "reset"}])
    assert "rank_fields" in said["message"]


@pytest.mark.parametrize(
    ("path", "default"), [("/v1/rerank", False), ("/jina/v1/rerank", True), ("/vllm/rerank", True)]
)
def test_documents_come_back_as_each_service_does(client, path, default):
    for said, there in ((None, default), (True, True), (False, False)):
        found = post(client, path, query=QUERY, documents=DOCUMENTS, return_documents=said)
        assert ("document" in found["results"][0]) is there


def test_relevant_spans_count_code_points_and_come_best_first(client):
    text = "🙂 It is new. Reset the hub. The hub."
    asked = {"mode": "enabled", "threshold": 0.05, "max_spans": 2}
    (one,) = post(client, "/v2/rerank", query=QUERY, documents=[text], relevant_spans=asked)["results"]
    spans = one["relevant_spans"]
    assert [text[span["start"] : span["end"]] for span in spans] == ["Reset the hub.", "The hub."]
    whole, part = (
        logistic(ToyScorer().score([words], [QUERY]).log_odds[0, 0]) for words in ("Reset the hub.", "The hub.")
    )
    np.testing.assert_allclose([span["score"] for span in spans], [whole, part], rtol=1e-6)
    asked["max_spans"] = 1
    (one,) = post(client, "/v2/rerank", query=QUERY, documents=[text], relevant_spans=asked)["results"]
    assert len(one["relevant_spans"]) == 1
    (one,) = post(client, "/v2/rerank", query=QUERY, documents=[text], relevant_spans={"mode": "disabled"})["results"]
    assert "relevant_spans" not in one


@pytest.mark.parametrize("path", ["/rerank", "/tei/rerank"])
def test_tei_gets_a_bare_list(client, path):
    found = post(client, path, query=QUERY, texts=DOCUMENTS, return_text=True)
    assert [one["index"] for one in found] == ORDER
    assert [one["text"] for one in found] == [DOCUMENTS[i] for i in ORDER]
    np.testing.assert_allclose([one["score"] for one in found], SCORES, rtol=1e-6)
    raw = post(client, path, query=QUERY, texts=DOCUMENTS, raw_scores=True, truncate=None, truncation_direction="left")
    np.testing.assert_allclose([one["score"] for one in raw], LOGITS, rtol=1e-6)
    assert "text" not in raw[0]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/rerank", {"top_k": 2}), ("/v1/rerank", {"truncation": True}), ("/voyage/v1/rerank", {})]
)
def test_voyage_is_known_by_its_keys_or_its_prefix(client, path, body):
    found = post(client, path, query=QUERY, documents=DOCUMENTS, return_documents=True, **body)
    assert found["object"] == "list"
    assert [one["index"] for one in found["data"]] == ORDER[: body.get("top_k", 4)]
    assert found["data"][0]["document"] == DOCUMENTS[ORDER[0]]
    assert set(found["usage"]) == {"total_tokens"}


def test_infinity_sends_documents_as_strings_and_logits_where_asked(client):
    found = post(client, "/infinity/rerank", query=QUERY, documents=DOCUMENTS, top_n=2, return_documents=True)
    assert [one["document"] for one in found["results"]] == [DOCUMENTS[i] for i in ORDER[:2]]
    assert found["object"] == "rerank"
    assert set(found) == {"object", "results", "model", "usage", "id", "created"}
    raw = post(client, "/infinity/rerank", query=QUERY, documents=DOCUMENTS, raw_scores=True)
    np.testing.assert_allclose([one["relevance_score"] for one in raw["results"]], LOGITS, rtol=1e-6)
    assert raw["results"][0]["document"] is None


def test_nim_gets_logits(client):
    passages = [{"text": text, "image": None} for text in DOCUMENTS]
    found = post(client, "/v1/ranking", query={"text": QUERY}, passages=passages, truncate="END", model="nvidia/any")
    assert [one["index"] for one in found["rankings"]] == ORDER
    np.testing.assert_allclose([one["logit"] for one in found["rankings"]], LOGITS, rtol=1e-6)


@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
)
def test_vllm_scores_pairs_in_the_order_they_came_in(client, names):
    one, other = names
    found = post(client, "/v1/score", **{one: QUERY, other: DOCUMENTS})
    expected = logistic(ToyScorer().score(DOCUMENTS[:3], [QUERY]).log_odds[:, 0]).tolist()
    np.testing.assert_allclose([d["score"] for d in found["data"][:3]], expected, rtol=1e-6)
    assert [d["index"] for d in found["data"]] == [0, 1, 2, 3]
    queries = ["the hub", "reset", "the hub"]
    texts = ["hub", "a reset", "the hub"]
    found = post(client, "/score", **{one: queries, other: texts}, use_activation=False)
    pairs = [float(ToyScorer().score([t], [q]).log_odds[0, 0]) for q, t in zip(queries, texts, strict=True)]
    np.testing.assert_allclose([d["score"] for d in found["data"]], pairs, rtol=1e-6)


def test_vllm_refuses_sides_that_do_not_go_together(client):
    assert "2 and 3 texts" in post(client, "/score", 400, text_1=["a", "b"], text_2=["a", "b", "c"])["error"]["message"]
    post(client, "/score", 400, text_1="a")
    post(client, "/score", 400, text_1=" ", text_2="b")


def test_scores_are_sorted_where_a_float_would_tie():
    class Sure(ToyScorer):
        def score(self, texts, labels):
            return Scores.of(np.array([[60.0 + len(t)] for t in texts], dtype=np.float32), texts)

    with served(
        load=lambda origin, *, device: Sure() if origin.where == "mini/rerank" else toy(origin, device=device)
    ) as c:
        found = post(c, "/v1/rerank", query="q", documents=["a", "abc", "ab"])["results"]
    assert [one["index"] for one in found] == [1, 2, 0]
    assert {one["relevance_score"] for one in found} == {1.0}


def test_an_order_says_so_in_a_header():
    with served(rerankers={"default": Origin("an/order")}) as client:
        for path, body in (("/v1/rerank", {"documents": DOCUMENTS}), ("/rerank", {"texts": DOCUMENTS})):
            reply = client.post(path, json={"query": QUERY, **body})
            assert reply.headers["x-headgate-meaning"] == "order"


def test_names_of_other_services_mean_the_default_and_unknown_ones_are_told_what_there_is():
    with served(rerankers={"default": Origin("mini/rerank"), "careful": Origin("mini/rerank")}) as client:
        for name, ran in (
            ("rerank-v3.5", "default"),
            ("jina-reranker-v2", "default"),
            ("careful", "careful"),
            (None, "default"),
        ):
            assert post(client, "/v1/rerank", query="q", documents=["a"], model=name)["model"] == ran
        said = post(client, "/v1/rerank", 404, query="q", documents=["a"], model="carefull")
        assert "['default', 'careful']" in said["message"]


def test_mini_says_over_http_what_it_says_in_python():
    from headgate import load
    from headgate.serve import Settings

    text = "The hub is new. " * 60 + "Hold the button to reset the hub."
    documents = ["A warranty of two years.", text, "Hold the button for ten seconds to reset it."]
    hits = Reranker(load("mini/rerank"), long_query="windows")("how do I reset the hub?", documents)
    only = dict.fromkeys(("zero_shot", "questions", "classifier", "embedder"))
    from headgate.loading import load_again

    with served(Settings(guards={}, groundings={}, **only), load_again) as client:
        body = {"query": "how do I reset the hub?", "documents": documents}
        found = post(client, "/v2/rerank", **body)
        assert [one["index"] for one in found["results"]] == [hit.index for hit in hits]
        expected = [hit.probability for hit in hits]
        np.testing.assert_allclose([one["relevance_score"] for one in found["results"]], expected, atol=1e-4)
        assert found["usage"]["total_tokens"] > 250
        cut = post(client, "/v2/rerank", **body, max_tokens_per_doc=20)
        assert "of 1 documents (1) only the beginning was read" in cut["meta"]["warnings"][0]
        assert cut["usage"]["total_tokens"] < 60
        chunks = post(client, "/v1/rerank", **body, max_chunks_per_doc=1)
        assert chunks["usage"]["total_tokens"] < found["usage"]["total_tokens"]
