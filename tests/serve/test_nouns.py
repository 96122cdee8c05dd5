"""Routes, guards, grounding, questions and classes over HTTP: the same as in Python."""

import json

import numpy as np
import pytest

pytest.importorskip("fastapi", reason='pip install "headgate[serve]"')

from headgate import Grounding, Guard, Label, Router, StreamGuard, WithExamples, YesNo, save
from headgate.plain import plain
from headgate.scores import logistic
from headgate.sentences import sentences
from headgate.serve import read_settings
from headgate.serve.dialects.openai import CATEGORIES
from headgate.testing import ToyScorer
from tests.serve.served import CLASSES, RULES, post, served, toy

ROUTES = {"billing": "charges and invoices", "shipping": "delivery of parcels"}
TEXTS = ["delivery of parcels please", "an attack", "hello"]


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


def same(found, results):
    assert found == json.loads(json.dumps([plain(one) for one in results]))


def test_routes_that_come_along_decide_as_a_router_does(client):
    found = post(client, "/v1/route", inputs=TEXTS, routes=ROUTES, threshold=0.4)
    same(found["results"], Router(ToyScorer(), ROUTES, threshold=0.4).many(TEXTS))
    assert found["router"] is None
    assert found["results"][0]["choice"] == "shipping"
    assert found["results"][2]["choice"] is None
    multi = post(
        client, "/v1/route", input=TEXTS[0], routes=["delivery", "parcels", "x"], multi=True, threshold=0.5, top_k=1
    )
    assert multi["results"][0]["choices"] == ["delivery"]
    nulls = post(client, "/v1/route", input="hello", routes=ROUTES, nulls=["hello"])
    assert nulls["results"][0]["null"] > 0.5


def test_a_conversation_is_one_input(client):
    messages = [
        {"role": "user", "content": "delivery"},
        {"role": "user", "content": [{"type": "text", "text": "of parcels"}]},
    ]
    found = post(client, "/v1/route", input=messages, routes=ROUTES)
    same(found["results"], [Router(ToyScorer(), ROUTES)(messages)])
    assert found["results"][0]["choice"] == "shipping"


def test_what_is_served_has_its_settings_and_refuses_others(tmp_path):
    save(Router(ToyScorer(), ROUTES, threshold=0.3), tmp_path / "desk.json")
    words = json.loads((tmp_path / "desk.json").read_text())
    words["scorer"] = {"where": "a/model"}
    (tmp_path / "desk.json").write_text(json.dumps(words))
    (tmp_path / "serve.yaml").write_text("headgate: 1\nrouters: {desk: desk.json}\nembedder: null\n")
    with served(read_settings(tmp_path / "serve.yaml")) as client:
        found = post(client, "/v1/route", input=TEXTS[0])
        assert found["router"] == "desk"
        same(found["results"], [Router(ToyScorer(), ROUTES, threshold=0.3)(TEXTS[0])])
        post(client, "/v1/route", 404, input="x", router="other")
        post(client, "/v1/route", 400, input="x", threshold=0.5)
        post(client, "/v1/route", 400, input="x", router="desk", routes=["a"])
        classes = post(client, "/v1/classify", inputs=TEXTS, model="desk")["classifications"]
        assert [one["prediction"] for one in classes] == ["shipping", None, None]
        assert 'headgate_decisions_total{route="shipping",router="desk"} 2.0' in client.get("/metrics").text


def test_the_default_guard_has_the_rules_its_model_brings(client):
    found = post(client, "/v1/guard", inputs=TEXTS)
    same(found["results"], Guard(ToyScorer(thresholds=RULES), list(RULES)).many(TEXTS))
    assert [one["allowed"] for one in found["results"]] == [True, False, True]
    assert found["allowed"] is False
    assert post(client, "/v1/guard", input="hello")["allowed"] is True


def test_rules_that_come_along_need_a_threshold_unless_the_model_brings_one(client):
    assert post(client, "/v1/guard", input="an attack", forbid=["attack"])["model"] == "mini/guard"
    other = post(client, "/v1/guard", input="medical advice", forbid={"medicine": "medical advice"}, threshold=0.5)
    assert other["model"] == "mini/route"
    assert other["results"][0]["broken"] == ["medicine"]
    assert "no threshold" in post(client, "/v1/guard", 400, input="x", forbid=["medicine"])["message"]
    post(client, "/v1/guard", 400, input="x", threshold=0.5)
    post(client, "/v1/guard", 400, input="x", forbid=[])


def test_inputs_are_one_or_several_and_never_both(client):
    post(client, "/v1/guard", 400)
    post(client, "/v1/guard", 400, input="a", inputs=["a"])
    post(client, "/v1/guard", 400, inputs=[])


def test_claims_are_those_of_grounding(client):
    answer, passages = "The hub is new. It has 3 lamps! Ok.", ["The hub is new.", {"text": "It has 4 lamps."}]
    found = post(client, "/v1/ground", answer=answer, passages=passages, threshold=0.6)
    task = Grounding(ToyScorer(), sentences("en"), threshold=0.6)
    same(found["claims"], task(answer, ["The hub is new.", "It has 4 lamps."]))
    assert found["claims"][0]["supported"] is True
    assert found["claims"][1]["missing"] == ["3"]
    assert found["supported"] is False
    assert post(client, "/v1/ground", answer="The hub is new.", passages=passages, threshold=0.6)["supported"] is True
    assert post(client, "/v1/ground", answer="", passages=passages, threshold=0.6)["supported"] is False
    assert "no threshold" in post(client, "/v1/ground", 400, answer=answer, passages=passages)["message"]


def test_typed_questions_are_answered_in_one_plan(client):
    questions = {
        "angry": {"type": "yes_no", "yes": ["complaint", "anger"], "no": "calm"},
        "team": {"type": "choice", "options": ROUTES},
        "praise": {"type": "score", "levels": {"1": "complaint", "3": "neutral words", "5": "praise"}},
    }
    text = "praise for the delivery of parcels"
    answers = post(client, "/v1/decide", input=text, questions=questions)["answers"]
    yes = YesNo(ToyScorer(), yes=["complaint", "anger"], no="calm")(text)
    assert answers["angry"]["probability"] == pytest.approx(yes.probability, abs=1e-6)
    assert answers["team"]["choice"] == "shipping"
    odds = np.exp(ToyScorer().score([text], ["complaint", "neutral words", "praise"]).log_odds[0].astype(float))
    assert answers["praise"]["score"] == pytest.approx(float(odds @ [1, 3, 5] / odds.sum()), abs=1e-4)
    assert answers["praise"]["level"] == "5"
    assert sum(answers["praise"]["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    "question",
    [
        {"type": "score", "levels": {"low": "bad", "2": "good"}},
        {"type": "score", "levels": {"nan": "bad", "2": "good"}},
        {"type": "score", "levels": {"1": "bad"}},
        {"type": "yes_no", "yes": []},
        {"type": "box"},
    ],
)
def test_a_question_that_means_nothing_is_named(client, question):
    said = post(client, "/v1/decide", 400, input="x", questions={"mine": question})
    assert "mine" in said["message"]


def test_moderations_hold_openais_categories_and_the_guards_rules(client):
    (one,) = post(client, "/v1/moderations", input="an attack", model="omni-moderation-latest")["results"]
    assert one["flagged"] is True
    assert set(CATEGORIES) | set(RULES) | {"unreadable"} == set(one["categories"]) == set(one["category_scores"])
    assert one["categories"]["violence"] is True
    assert one["categories"]["attack"] is True
    assert one["categories"]["sexual"] is False
    p = Guard(ToyScorer(thresholds=RULES), list(RULES))("an attack").probabilities
    assert one["category_scores"]["hate"] == pytest.approx(max(p.values()))
    assert one["category_applied_input_types"]["violence"] == ["text"]
    assert one["category_applied_input_types"]["sexual"] == []


def test_a_list_is_several_texts_and_parts_are_one(client):
    assert [r["flagged"] for r in post(client, "/v1/moderations", input=TEXTS)["results"]] == [False, True, False]
    parts = [{"type": "text", "text": "hello"}, {"type": "text", "text": "an attack"}]
    assert [r["flagged"] for r in post(client, "/v1/moderations", input=parts)["results"]] == [True]
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    assert "image_url" in post(client, "/v1/moderations", 400, input=[image])["error"]["message"]
    post(client, "/v1/moderations", 400, input=[])
    post(client, "/v1/moderations", 400, input=["a", parts[0]])


def test_classes_of_tei_vllm_and_infinity(client):
    z = ToyScorer().score(["a complaint", "greeting"], list(CLASSES)).log_odds
    p = logistic(z)
    one = post(client, "/predict", inputs="a complaint")
    assert [c["label"] for c in one] == ["complaint", "greeting"]
    np.testing.assert_allclose([c["score"] for c in one], [p[0, 1], p[0, 0]], rtol=1e-6)
    many = post(client, "/predict", inputs=[["a complaint"], ["greeting"]], raw_scores=True)
    np.testing.assert_allclose(many[1][0]["score"], z[1, 0], rtol=1e-6)
    vllm = post(client, "/classify", input=["a complaint", "greeting"])["data"]
    assert [(c["label"], c["num_classes"]) for c in vllm] == [("complaint", 2), ("greeting", 2)]
    np.testing.assert_allclose([c["probs"] for c in vllm], p, rtol=1e-6)
    for path in ("/classify", "/infinity/classify"):
        infinity = post(client, path, input=["greeting"], raw_scores=False)
        assert infinity["object"] == "classify"
        assert infinity["data"][0][0]["label"] == "greeting"


def test_two_strings_are_one_pair(client):
    premise, hypothesis = "the hub is new", "the hub"
    found = post(client, "/predict", inputs=[premise, hypothesis])
    z = ToyScorer().score([premise], [Label(hypothesis, verbatim=True)]).log_odds[0, 0]
    assert found == [{"label": "entailment", "score": pytest.approx(float(logistic(z)))}]
    batch = post(client, "/predict", inputs=[[premise, hypothesis], [premise, "old"]])
    assert [len(one) for one in batch] == [1, 1]
    post(client, "/predict", 422, inputs=[["a"], ["a", "b"]])
    post(client, "/predict", 422, inputs=["a", "b", "c"])
    post(client, "/predict", 400, inputs=[])


def test_examples_make_a_classifier_of_the_nearest():
    class Letters:
        fingerprint = "letters"

        def embed(self, texts, *, role):
            rows = np.array([[t.count(c) + 1e-3 for c in "abc"] for t in texts], dtype=np.float32)
            return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    from headgate.families.origin import Origin

    def load(origin, *, device):
        return Letters() if origin.where == "mini/embed" else toy(origin, device=device)

    examples = [{"text": "aaa", "label": "A"}, {"text": "bbb", "label": "B"}, {"text": "bbc", "label": "B"}]
    with served(load=load, embedder=Origin("mini/embed")) as client:
        rows = post(client, "/v1/classify", inputs=["aab", "bcb"], examples=examples)["classifications"]
        assert [row["prediction"] for row in rows] == ["A", "B"]
        scorer = WithExamples(None, Letters(), {"A": ["aaa"], "B": ["bbb", "bbc"]}, nearest=3)
        z = np.exp(scorer.score(["aab"], ["A", "B"]).log_odds[0].astype(float))
        assert rows[0]["confidence"] == pytest.approx(float(z[0] / z.sum()), abs=1e-6)
        assert rows[0]["labels"]["B"]["confidence"] == pytest.approx(float(z[1] / z.sum()), abs=1e-6)
        post(client, "/v1/classify", 400, inputs=["a"], examples=examples[:1])
        post(client, "/v1/classify", 400, inputs=[], examples=examples)
    with served() as client:  # which has no embedder
        post(client, "/v1/classify", 404, inputs=["a"], examples=examples)


STREAM = "Hello there, you. How are you? This is an attack. And an insult. Goodbye now."


def events(reply):
    found = []
    for block in reply.text.strip().split("\n\n"):
        kind, data = block.split("\n", 1)
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


@pytest.mark.parametrize("policy", ["halt", "redact", "annotate", "release"])
@pytest.mark.parametrize("way", ["json", "chunks", "text", "socket"])
def test_a_stream_is_guarded_as_in_one_piece(client, policy, way):
    guard = StreamGuard(Guard(ToyScorer(thresholds=RULES), list(RULES)), sentences(), on_broken=policy)
    expected = [json.loads(json.dumps(plain(event))) for event in guard.run([STREAM])]
    halted = policy == "halt"
    pieces = [STREAM[i : i + 7] for i in range(0, len(STREAM), 7)]
    if way == "socket":
        with client.websocket_connect("/v1/guard/stream") as socket:
            socket.send_json({"on_broken": policy, "guard": "default"})
            for piece in pieces:
                socket.send_json({"text": piece})
            socket.send_json({"end": True})
            found = []
            while not found or found[-1]["type"] == "piece":
                found.append(socket.receive_json())
        assert found.pop() == {"type": "done", "halted": halted}
        assert [{k: v for k, v in one.items() if k != "type"} for one in found] == expected
        return
    if way == "text":
        query = f"/v1/guard/stream?on_broken={policy}"
        reply = client.post(query, content=(p.encode() for p in pieces), headers={"content-type": "text/plain"})
    else:
        body = {"text": STREAM} if way == "json" else {"chunks": pieces}
        reply = client.post("/v1/guard/stream", json={**body, "on_broken": policy})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *found, last = events(reply)
    assert last == ("done", {"halted": halted})
    assert [kind for kind, _ in found] == ["piece"] * len(expected)
    assert [words for _, words in found] == expected


def test_a_letter_that_is_cut_between_two_packets_stays_whole(client):
    words = "Grüße an alle hier. Schöne Füße, liebe Leute."
    pieces = (bytes([byte]) for byte in words.encode())
    reply = client.post("/v1/guard/stream", content=pieces, headers={"content-type": "text/plain"})
    assert "".join(words["text"] for kind, words in events(reply) if kind == "piece") == words


def test_terms_of_a_stream_that_mean_nothing_are_refused_before_it_begins(client):
    post(client, "/v1/guard/stream", 400, text="a", on_broken="explode")
    post(client, "/v1/guard/stream", 400, text="a", on_broken={"no such rule": "halt"})
    post(client, "/v1/guard/stream", 400)
    post(client, "/v1/guard/stream", 404, text="a", guard="nobody")
    with client.websocket_connect("/v1/guard/stream") as socket:
        socket.send_json({"guard": "nobody"})
        said = socket.receive_json()
    assert said["type"] == "error"
    assert "nobody" in said["error"]["message"]


def test_tasks_say_what_is_served(client):
    tasks = {(one["kind"], one["name"]): one for one in client.get("/v1/tasks").json()["data"]}
    assert tasks["guard", "default"]["threshold"] == RULES
    assert tasks["classifier", "classifier"]["labels"] == list(CLASSES)
    assert tasks["grounding", "default"]["threshold"] is None
    assert ("embedder", "embedder") not in tasks
    names = [one["id"] for one in client.get("/v1/models").json()["data"]]
    assert "default" in names
