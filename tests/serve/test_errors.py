"""What goes wrong, told in each dialect's shape; who may come in, how much, and what is written down of it."""

import asyncio
import json
import logging
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi", reason='pip install "headgate[serve]"')

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from headgate.errors import CheckpointError
from headgate.serve import application, read_settings
from headgate.serve.middleware import Keys
from headgate.serve.settings import Limits
from headgate.testing import ToyScorer
from tests.serve.served import SETTINGS, served, toy

GOOD = {"query": "reset the hub", "documents": ["reset", "the hub"]}


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


def superset(reply):
    """Whether Cohere's, Jina's and OpenAI's clients all find what they look for."""
    said = reply.json()
    return said["message"] == said["detail"] == said["error"]["message"] and {"type", "param", "code"} <= set(
        said["error"]
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"query": "q", "documents": []}, "invalid request: list of documents must not be empty"),
        ({"query": "  ", "documents": ["a"]}, "invalid request: query must not be empty or be only whitespace"),
        ({"documents": ["a"]}, "query: Field required"),
        ({"query": "q", "documents": [1]}, "documents"),
        ({"query": "q", "documents": ["a"], "top_n": -1}, "top_n"),
        ({"query": "q", "documents": ["a"], "top_k": "many"}, "top_k"),
        ([], "no JSON object came"),
        ("text", "no JSON object came"),
    ],
)
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_bad_input_is_400_and_says_what_is_wrong(client, path, body, message):
    reply = client.post(path, json=body)
    assert reply.status_code == 400
    assert superset(reply)
    assert message in reply.json()["message"]


def test_tei_has_its_own_shape_and_statuses(client):
    for body, status, kind in (
        ({"query": "q", "texts": []}, 400, "Empty"),
        ({"query": "q", "texts": [1]}, 422, "Validation"),
        ({"query": " ", "texts": ["a"]}, 422, "Validation"),
    ):
        reply = client.post("/rerank", json=body)
        assert (reply.status_code, reply.json()["error_type"]) == (status, kind)
        assert isinstance(reply.json()["error"], str)
    with served(classifier=None) as client:
        reply = client.post("/predict", json={"inputs": "a"})
        assert (reply.status_code, set(reply.json())) == (404, {"error", "error_type"})
    open_ended = {"classifier": SETTINGS.zero_shot}
    with served(**open_ended) as client:
        reply = client.post("/predict", json={"inputs": "a"})
        assert (reply.status_code, reply.json()["error_type"]) == (424, "Backend")


@pytest.mark.parametrize("path", ["/v1/moderations", "/infinity/rerank"])
def test_openais_shape_is_an_error_alone(client, path):
    reply = client.post(path, json={})
    assert reply.status_code == 400
    assert set(reply.json()) == {"error"}


@pytest.mark.parametrize(
    "content", [b"{", b"", b"\xff\xfe", b'{"query": NaN}', b'{"query": 1e999}', b"[" * 10_000, b'{"query": "\\ud800"}']
)
def test_what_is_not_json_is_400(client, content):
    reply = client.post("/v1/rerank", content=content, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert superset(reply)


def test_a_body_of_another_type_is_told_which_one_to_send(client):
    reply = client.post("/v1/rerank", content=json.dumps(GOOD), headers={"content-type": "text/plain"})
    assert reply.status_code == 400
    assert "application/json" in reply.json()["message"]


def test_paths_and_methods_that_are_not_there(client):
    assert client.get("/v1/nowhere").status_code == 404
    reply = client.get("/v1/rerank")
    assert reply.status_code == 405
    assert superset(reply)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first"},
        {"authorization": "second"},
        {"x-api-key": "first"},
        {"authorization": "bearer  first "},
    ],
)
def test_any_of_the_keys_opens_however_it_is_sent(monkeypatch, headers):
    monkeypatch.setenv("HEADGATE_API_KEYS", "first, second")
    with served() as client:
        assert client.post("/v1/rerank", json=GOOD, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer firs"}, {"authorization": "Bearer"}, {"x-api-key": ""}]
)
def test_without_a_key_there_is_nothing_but_health_and_the_page(monkeypatch, headers):
    monkeypatch.setenv("HEADGATE_API_KEYS", "first")
    with served() as client:
        for path in ("/v1/rerank", "/v1/moderations", "/predict", "/v1/reload", "/v1/nowhere"):
            reply = client.post(path, json=GOOD, headers=headers)
            assert reply.status_code == 401
            assert reply.headers["www-authenticate"] == "Bearer"
        for path in ("/metrics", "/v1/tasks", "/v1/models", "/info", "/openapi.json"):
            assert client.get(path, headers=headers).status_code == 401
        for path in ("/health", "/ready", "/ping", "/"):
            assert client.get(path, headers=headers).status_code == 200
        with client.websocket_connect("/v1/guard/stream", headers=headers) as socket:
            socket.send_json({"text": "hello", "end": True})
            assert socket.receive_json()["error"]["type"] == "authentication_error"
        with client.websocket_connect("/v1/guard/stream") as socket:
            socket.send_json({"key": "first", "text": "hello", "end": True})
            assert socket.receive_json()["type"] == "piece"


def test_keys_are_compared_in_constant_time_and_all_of_them(monkeypatch):
    compared = []
    monkeypatch.setattr("hmac.compare_digest", lambda a, b: compared.append(a) or a == b)
    assert Keys([b"one", b"two", b"three"]).knows(b"one")
    assert compared == [b"one", b"two", b"three"]


def test_a_file_of_keys_that_holds_none_does_not_open_the_door(tmp_path):
    (tmp_path / "keys.txt").write_text("# none yet\n\n")
    (tmp_path / "serve.yaml").write_text("headgate: 1\nkeys: keys.txt\n")
    with pytest.raises(CheckpointError, match="holds none"):
        application(tmp_path / "serve.yaml", load=toy)
    (tmp_path / "keys.txt").write_text("# mine\nsecret\n")
    with served(read_settings(tmp_path / "serve.yaml")) as client:
        assert client.get("/v1/models", headers={"x-api-key": "secret"}).status_code == 200
        assert client.get("/v1/models", headers={"x-api-key": "# mine"}).status_code == 401


def test_pages_of_other_sites_may_not_ask_where_no_key_is_needed(monkeypatch):
    with served(origins=("https://friend.example",)) as client:
        for origin, status in (
            ("https://evil.example", 403),
            ("http://testserver", 200),
            ("https://friend.example", 200),
            ("null", 403),
        ):
            assert client.post("/v1/rerank", json=GOOD, headers={"origin": origin}).status_code == status, origin
        proxied = {"origin": "https://public.example", "x-forwarded-host": "public.example"}
        assert client.post("/v1/rerank", json=GOOD, headers=proxied).status_code == 200
        with (
            pytest.raises(WebSocketDisconnect) as left,
            client.websocket_connect("/v1/guard/stream", headers={"origin": "https://evil.example"}),
        ):
            pass
        assert left.value.code == 1008
        asked = {"origin": "https://friend.example", "access-control-request-method": "POST"}
        assert (
            client.options("/v1/rerank", headers=asked).headers["access-control-allow-origin"]
            == "https://friend.example"
        )
    with served() as client:
        assert "access-control-allow-origin" not in client.options("/v1/rerank", headers=asked).headers
    monkeypatch.setenv("HEADGATE_API_KEYS", "first")
    with served() as client:  # a key says enough
        headers = {"origin": "https://evil.example", "x-api-key": "first"}
        assert client.post("/v1/rerank", json=GOOD, headers=headers).status_code == 200


def test_bodies_and_documents_are_bounded():
    with served(limits=Limits(body=2000, documents=3)) as client:
        large = {"query": "q", "documents": ["a" * 3000]}
        assert client.post("/v2/rerank", json=large).status_code == 413
        pieces = (json.dumps(large).encode()[i : i + 100] for i in range(0, 4000, 100))
        reply = client.post("/rerank", content=pieces, headers={"content-type": "application/json"})
        assert reply.status_code == 413
        assert superset(reply)
        for path, body in (
            ("/v1/rerank", {"query": "q", "documents": ["a"] * 4}),
            ("/score", {"text_1": "q", "text_2": ["a"] * 4}),
            ("/classify", {"input": ["a"] * 4}),
            ("/v1/guard", {"inputs": ["a"] * 4}),
            ("/v1/ground", {"answer": "a", "passages": ["a"] * 4, "threshold": 0.5}),
        ):
            assert client.post(path, json=body).status_code == 400, path
        assert client.post("/v1/rerank", json=GOOD).status_code == 200


class Gate(ToyScorer):
    """Scores when it is let."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "begun", threading.Event())
        object.__setattr__(self, "go", threading.Event())

    def score(self, texts, labels):
        self.begun.set()
        assert self.go.wait(20)
        return super().score(texts, labels)


def gated(gate):
    return lambda origin, *, device: gate if origin.where == "mini/rerank" else toy(origin, device=device)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v2/rerank", GOOD),
        ("/rerank", {"query": "q", "texts": ["a"]}),
        ("/v1/moderations", {"input": "a"}),
        ("/v1/guard", {"input": "a"}),
    ],
)
def test_too_many_are_429_and_are_told_when_to_come_back(path, body):
    gate = Gate()
    with served(load=gated(gate), limits=Limits(requests=1)) as client:
        first = threading.Thread(target=lambda: client.post("/v1/rerank", json=GOOD))
        first.start()
        assert gate.begun.wait(20)
        reply = client.post(path, json=body)
        gate.go.set()
        first.join()
        assert reply.status_code == 429
        assert int(reply.headers["retry-after"]) >= 1
        assert client.post(path, json=body).status_code == 200


def test_late_answers_are_504():
    gate = Gate()
    with served(load=gated(gate), limits=Limits(deadline=0.2)) as client:
        reply = client.post("/v1/rerank", json=GOOD)
        gate.go.set()
        assert reply.status_code == 504
        assert superset(reply)


async def asgi(app, path, messages, method="POST", headers=()):
    """What an application sends for a request whose messages arrive one by one."""
    sent = []
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
    }
    scope |= {
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("x", 1),
        "scheme": "http",
        "root_path": "",
    }
    arriving = iter(messages)

    async def receive():
        try:
            delay, message = next(arriving)
        except StopIteration:
            return await asyncio.Event().wait()
        await asyncio.sleep(delay)
        return message

    async def send(message):
        sent.append(message)

    await asyncio.wait_for(app(scope, receive, send), 20)
    return sent


def part(body, more):
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_that_drips_is_408_and_one_that_pauses_within_the_time_is_answered():
    words = json.dumps(GOOD).encode()
    with served(limits=Limits(upload=0.5)) as client:
        drips = [(0.1, part(words[i : i + 1], True)) for i in range(40)]
        start, body = asyncio.run(asgi(client.app, "/v1/rerank", drips))
        assert start["status"] == 408
        assert "detail" in json.loads(body["body"])
        pauses = [(0.1, part(words[:9], True)), (0.1, part(words[9:], False))]
        start, _ = asyncio.run(asgi(client.app, "/v1/rerank", pauses))
        assert start["status"] == 200


def test_a_client_that_leaves_ends_its_request_and_counts_as_499():
    gate = Gate()
    with served(load=gated(gate)) as client:
        messages = [(0, part(json.dumps(GOOD).encode(), False)), (0.2, {"type": "http.disconnect"})]
        began = time.monotonic()
        asyncio.run(asgi(client.app, "/v1/rerank", messages))
        assert time.monotonic() - began < 5
        gate.go.set()
        assert client.service.desk.requests == 0
        assert 'headgate_requests_total{dialect="cohere",status="499"} 1.0' in client.get("/metrics").text


def test_bytes_that_are_held_are_bounded_for_all_together():
    with served(limits=Limits(bodies=100, body=90)) as client:

        async def both():
            slow = asgi(client.app, "/v1/rerank", [(0, part(b"x" * 80, True)), (1.0, part(b"", False))])
            task = asyncio.ensure_future(slow)
            await asyncio.sleep(0.2)
            start, _ = await asgi(client.app, "/v1/rerank", [(0, part(b"x" * 80, False))])
            await task
            return start["status"]

        assert asyncio.run(both()) == 429
        assert client.post("/v1/rerank", json={"query": "q", "documents": ["a"]}).status_code == 200


@pytest.mark.parametrize("broken", ["nan", "raises"])
def test_a_broken_model_is_500_and_its_words_are_nowhere(caplog, broken):
    class Broken(ToyScorer):
        def score(self, texts, labels):
            if broken == "raises":
                raise RuntimeError(f"can't read {texts[0]}")
            found = super().score(texts, labels)
            return type(found).of(np.full((len(texts), len(labels)), np.nan), texts)

    with caplog.at_level(logging.DEBUG), served(load=gated(Broken())) as client:
        reply = client.post("/v1/rerank", json={"query": "q", "documents": ["my secret words"]})
    assert reply.status_code == 500
    assert superset(reply)
    assert "secret" not in reply.text
    assert "secret" not in caplog.text
    assert reply.headers["x-request-id"] in caplog.text
    assert "test_errors.py" in caplog.text or "scores.py" in caplog.text  # where it happened


def test_texts_are_logged_only_where_that_is_wanted(caplog):
    body = {"query": "my secret", "documents": ["words"]}
    caplog.set_level(logging.INFO, "headgate.serve")
    with served() as client:
        client.post("/v1/rerank", json=body, headers={"x-request-id": "mine-1"})
    (line,) = (json.loads(r.getMessage()) for r in caplog.records if r.getMessage().startswith("{"))
    assert line["id"] == "mine-1"
    assert (line["status"], line["dialect"], line["documents"], line["model"]) == (200, "cohere", 1, "default")
    assert "secret" not in caplog.text
    caplog.clear()
    with served(log_texts=True) as client:
        client.post("/v1/rerank", json=body)
    assert "my secret" in caplog.text


def test_ids_come_back_and_odd_ones_are_replaced(client):
    assert client.get("/health", headers={"x-request-id": "abc-1.2:3"}).headers["x-request-id"] == "abc-1.2:3"
    for odd in ("a b", "x" * 200, "a\tb"):
        assert len(client.get("/health", headers={"x-request-id": odd}).headers["x-request-id"]) == 32


def test_metrics_can_be_parsed_and_hold_no_text():
    with served() as client:
        client.post("/v1/guard", json={"inputs": ["an attack", "hello"]})
        client.post("/v1/guard", json={"input": "secret", "forbid": ["my secret rule"], "threshold": 0.5})
        client.post("/v1/rerank", json={"query": "q", "documents": ["a b", "c"]})
        client.post("/v1/rerank", json={})
        text = client.get("/metrics").text
    found = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["headgate_verdicts_total", ("guard", "default"), ("rule", "attack")] == 1
    assert found["headgate_verdicts_total", ("guard", "default"), ("rule", "(none)")] == 1
    assert found["headgate_requests_total", ("dialect", "cohere"), ("status", "400")] == 1
    assert found["headgate_requests_total", ("dialect", "cohere"), ("status", "200")] == 1
    assert found["headgate_texts_total", ("model", "default")] == 2
    assert found["headgate_windows_total", ("model", "default")] == 2
    assert found["headgate_request_seconds_count", ("dialect", "cohere")] == 2
    assert ("headgate_queue_tokens",) in found
    assert ("headgate_batch_room_tokens_total",) in found
    assert "secret" not in text


def test_while_models_are_loaded_it_lives_and_is_not_ready():
    go = threading.Event()

    def slow(origin, *, device):
        assert go.wait(20)
        return toy(origin, device=device)

    app = application(SETTINGS, load=slow)
    with TestClient(app) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503
        reply = client.post("/v1/rerank", json=GOOD)
        assert reply.status_code == 503
        assert reply.headers["retry-after"]
        go.set()
        until = time.monotonic() + 20
        while client.get("/ready").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert client.post("/v1/rerank", json=GOOD).status_code == 200
        app.state.service.draining = True
        assert client.get("/ready").json() == {"status": "draining"}
        assert client.post("/v1/rerank", json=GOOD).status_code == 200


def test_a_reload_serves_the_new_file_and_a_broken_one_changes_nothing(tmp_path):
    file = tmp_path / "serve.yaml"
    file.write_text("headgate: 1\nembedder: null\n")
    gate = Gate()
    gate.go.set()
    with served(read_settings(file), gated(gate)) as client:
        gate.begun.clear()
        gate.go.clear()
        replies = []
        old = threading.Thread(target=lambda: replies.append(client.post("/v1/rerank", json=GOOD)))
        old.start()
        assert gate.begun.wait(20)
        file.write_text("headgate: 1\nembedder: null\nrerankers: {other: mini/route}\n")
        assert client.post("/v1/reload").status_code == 200
        assert client.post("/v1/rerank", json=GOOD).json()["model"] == "other"
        gate.go.set()
        old.join()
        assert replies[0].json()["model"] == "default"  # as it began
        file.write_text("headgate: 1\nrerankerz: {}\n")
        reply = client.post("/v1/reload")
        assert reply.status_code == 400
        assert "Did you mean 'rerankers'?" in reply.json()["message"]
        assert client.post("/v1/rerank", json=GOOD).json()["model"] == "other"
        metrics = client.get("/metrics").text
        assert 'headgate_reloads_total{outcome="ok"} 1.0' in metrics
        assert 'headgate_reloads_total{outcome="failed"} 1.0' in metrics
    with served() as client:
        assert "--config" in client.post("/v1/reload").json()["message"]
