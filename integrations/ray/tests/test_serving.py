"""Ray Serve: the same answers over HTTP as the same application in one process, and batches across callers."""

import json
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests import tiny

from headgate import Guard, Router, load, save
from headgate_ray import Replicas, application

pytestmark = pytest.mark.slow
pytest.importorskip("fastapi")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    from headgate.serve import read_settings

    folder = tmp_path_factory.mktemp("serve")
    tiny.cross_encoder(folder / "nli", "bert", {0: "entailment", 1: "neutral", 2: "contradiction"})
    scorer = load(folder / "nli", dtype="float32", device="cpu", template="{}")
    save(Router(scorer, {"hub": "the hub", "refund": "a refund"}), folder / "router.yaml")
    save(Guard(scorer, ["soil", "password"], threshold=0.4), folder / "guard.yaml")
    path = folder / "serve.yaml"
    path.write_text(f"""headgate: 1
routers: {{default: {folder}/router.yaml}}
guards: {{default: {folder}/guard.yaml}}
rerankers: {{default: {{scorer: {{where: {folder}/nli, dtype: float32, template: "{{}}"}}}}}}
groundings: {{}}
zero_shot: null
questions: null
classifier: null
embedder: null
categories: {{}}
""")
    return read_settings(path)


REQUESTS = [
    ("/v1/route", {"inputs": tiny.TEXTS}),
    ("/v1/guard", {"inputs": tiny.TEXTS}),
    ("/v1/rerank", {"query": "the hub lost its password", "documents": tiny.TEXTS}),
    ("/v1/rerank", {"query": "a very long query about pumps. " * 30, "documents": tiny.TEXTS[:2]}),
    ("/v1/route", {"inputs": []}),
    ("/v1/route", {"input": "x", "router": "nobody"}),
]


def plain(body):
    """What an answer says, without ids and times."""
    return {k: v for k, v in body.items() if k not in ("id", "created", "request_id")}


@pytest.fixture(scope="module")
def expected(settings):
    from fastapi.testclient import TestClient

    from headgate.serve import application as served

    with TestClient(served(settings)) as client:
        for _ in range(300):
            if client.get("/ready").status_code == 200:
                break
            time.sleep(0.1)
        found = [client.post(path, json=body) for path, body in REQUESTS]
        return [(one.status_code, plain(one.json())) for one in found]


@pytest.fixture(scope="module")
def ask(ray, settings, port):
    from ray import serve

    serve.start(http_options={"host": "127.0.0.1", "port": port})
    small = Replicas(num_cpus=0.5)
    serve.run(application(settings, front=small, scoring=Replicas(num_cpus=1), wait=0.05), route_prefix="/")

    def post(path, body=None):
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                words = answer.read()
                return answer.status, json.loads(words) if words[:1] in (b"{", b"[") else words
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    for _ in range(600):
        if post("/ready")[0] == 200:
            break
        time.sleep(0.1)
    yield post
    serve.shutdown()


def near(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name in expected:
            near(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            near(a, b)
    else:
        assert found == (pytest.approx(expected, abs=1e-4) if isinstance(expected, float) else expected)


def test_answers_are_those_of_one_process(ask, expected):
    for (path, body), (status, words) in zip(REQUESTS, expected, strict=True):
        found = ask(path, body)
        assert found[0] == status, found
        near(plain(found[1]), words)


def test_many_callers_get_their_own_answers(ask):
    texts = [f"{tiny.TEXTS[i % 3]} {i}" for i in range(24)]
    _, together = ask("/v1/route", {"inputs": texts})
    with ThreadPoolExecutor(12) as pool:
        alone = list(pool.map(lambda text: ask("/v1/route", {"input": text})[1]["results"][0], texts))
    near(alone, together["results"])
