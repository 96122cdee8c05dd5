"""What a file may say of a server, and how the command starts one."""

import subprocess
import sys
import warnings

import pytest

pytest.importorskip("fastapi", reason='pip install "headgate[serve]"')

from typer.testing import CliRunner

from headgate import Guard, Reranker, Router, save
from headgate.cli import app as cli
from headgate.errors import CheckpointError
from headgate.families.origin import Origin
from headgate.serve import Settings, read_settings
from headgate.serve.settings import Grounds, Limits
from headgate.testing import ToyScorer
from tests.serve.served import served, toy


def read(tmp_path, words):
    file = tmp_path / "serve.yaml"
    file.write_text("headgate: 1\n" + words)
    return read_settings(file)


def test_a_file_that_says_nothing_serves_what_no_file_does(tmp_path):
    found = read(tmp_path, "")
    assert found.path == tmp_path / "serve.yaml"
    for name in ("rerankers", "guards", "groundings", "routers", "zero_shot", "limits", "aliases"):
        assert getattr(found, name) == getattr(Settings(), name)


def test_all_that_it_may_say(tmp_path):
    save(Reranker(ToyScorer(), top_k=3), tmp_path / "careful.yaml")
    found = read(
        tmp_path,
        """
rerankers: {default: mini/rerank, careful: careful.yaml, own: {where: a/model, template: "It is {}."}}
routers: {desk: {scorer: mini/route, routes: {billing: invoices, shipping: parcels}, threshold: 0.3}}
guards: {inbox: {scorer: {where: mini/guard}, forbid: {injection: {label: injection, threshold: 0.9}}}}
groundings: {default: {scorer: mini/nli, threshold: 0.5, cite: windows}, plain: mini/nli}
zero_shot: null
questions: other/model
categories: {violence: [attack], hate: insult}
aliases: {"x-*": careful}
limits: {requests: 7, linger: 0}
keys: keys.txt
origins: ["https://a.example"]
device: cpu
log_texts: true
""",
    )
    assert found.rerankers["default"] == Origin("mini/rerank")
    assert found.rerankers["careful"].settings["top_k"] == 3
    assert found.rerankers["own"] == Origin("a/model", template="It is {}.")
    assert found.routers["desk"].settings["threshold"] == 0.3
    assert found.groundings["default"] == Grounds(Origin("mini/nli"), threshold=0.5, cite="windows")
    assert found.groundings["plain"] == Grounds(Origin("mini/nli"))
    assert found.zero_shot is None
    assert found.questions == Origin("other/model")
    assert found.categories == {"violence": ("attack",), "hate": ("insult",)}
    assert found.limits == Limits(requests=7)
    assert (found.device, found.log_texts, found.origins) == ("cpu", True, ("https://a.example",))
    assert found.beside(found.keys) == tmp_path / "keys.txt"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rerankerz: {}", "'rerankers'"),
        ("limits: {request: 3}", "limits.request is unknown.*'requests'"),
        ("limits: {requests: many}", "limits.requests"),
        ("limits: {deadline: 0}", "deadline is 0"),
        ("rerankers: [mini/rerank]", "rerankers is list"),
        ("rerankers: {a: 3}", "rerankers.a is 3"),
        ("rerankers: {a: missing.yaml}", "missing.yaml"),
        ("rerankers: {a: {scorer: mini/rerank, top_q: 3}}", "rerankers.a.*top_q.*'top_k'"),
        ("rerankers: {' ': mini/rerank}", "a reranker is called ' '"),
        ("routers: {a: mini/route}", "routers.a is 'mini/route'; expected a file"),
        ("groundings: {a: {scorer: mini/nli, threshold: 2}}", "threshold is 2"),
        ("zero_shot: [a]", "zero_shot"),
        ("keys: [a]", "keys"),
        ("a: 1\na: 2", "came twice"),
        ("[", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, words, message):
    with pytest.raises(CheckpointError, match=message) as found:
        read(tmp_path, words)
    assert "serve.yaml" in str(found.value) or "missing.yaml" in str(found.value)


def test_a_file_of_another_format_or_task_is_refused(tmp_path):
    (tmp_path / "other.yaml").write_text("headgate: 2\n")
    with pytest.raises(CheckpointError, match="headgate is 2"):
        read_settings(tmp_path / "other.yaml")
    save(Guard(ToyScorer(), ["a"], threshold=0.5), tmp_path / "guard.yaml")
    with pytest.raises(CheckpointError, match=r"routers\.desk is a guard .* expected a router"):
        read(tmp_path, "routers: {desk: guard.yaml}")


def test_what_fit_saved_is_served_with_its_certificate(tmp_path):
    texts = [f"parcels {i}" for i in range(60)] + [f"invoices {i}" for i in range(60)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = Router(ToyScorer(), ["parcels", "invoices"]).fit(
            texts, ["parcels"] * 60 + ["invoices"] * 60, max_error=0.2
        )
    save(fitted, tmp_path / "router.json")
    saved = (tmp_path / "router.json").read_text().replace('"scorer": {', '"scorer": {"where": "a/model",', 1)
    (tmp_path / "router.json").write_text(saved)
    with served(read(tmp_path, "routers: {desk: router.json}\nembedder: null\n")) as client:
        (task,) = (one for one in client.get("/v1/tasks").json()["data"] if one["kind"] == "router")
        assert task["certificate"]["id"] == fitted.certificate.id
        assert task["certificate"]["promise"] == "max_error"
        assert "texts" not in task["certificate"]
        (result,) = client.post("/v1/route", json={"input": "parcels"}).json()["results"]
        assert result["certificate"] == fitted.certificate.id
        assert result["choice"] == fitted("parcels").choice


def test_what_cannot_be_loaded_is_said_and_nothing_is_served(tmp_path):
    from starlette.testclient import TestClient

    from headgate.serve import application

    def load(origin, *, device):
        raise CheckpointError(f"there is no {origin.where}")

    app = application(Settings(), load=load)
    with TestClient(app, raise_server_exceptions=False) as client:
        while not app.state.loading.done():
            client.get("/health")
        reply = client.post("/v1/rerank", json={"query": "q", "documents": ["a"]})
        assert reply.status_code == 503
        assert "there is no mini/rerank" in reply.json()["message"]
        assert client.get("/ready").status_code == 503
        assert isinstance(app.state.loading.exception(), CheckpointError)


def test_importing_the_server_imports_no_torch():
    code = "import sys, headgate.serve.app as a; a.application(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_beyond_this_machine_keys_are_asked_for(monkeypatch):
    monkeypatch.delenv("HEADGATE_API_KEYS", raising=False)
    found = CliRunner().invoke(cli, ["serve", "--host", "0.0.0.0"])
    assert found.exit_code == 2
    assert "there are no keys" in found.output


def test_check_loads_everything_and_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("headgate.loading.load_again", toy)
    (tmp_path / "serve.yaml").write_text("headgate: 1\nembedder: null\n")
    found = CliRunner().invoke(cli, ["serve", "--check", "--config", str(tmp_path / "serve.yaml")])
    assert found.exit_code == 0, found.output
    assert "everything can be served" in found.output
    (tmp_path / "serve.yaml").write_text("headgate: 1\nguards: {a: nowhere.yaml}\n")
    found = CliRunner().invoke(cli, ["serve", "--check", "--config", str(tmp_path / "serve.yaml")])
    assert found.exit_code == 2
    assert "nowhere.yaml" in found.output


def test_a_port_that_is_taken_is_said():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = CliRunner().invoke(cli, ["serve", "--port", str(taken.getsockname()[1])])
    assert found.exit_code == 2
    assert "expected a free port" in found.output
