"""The server against its own description: what OpenAPI says of it is true, and says enough."""

import pytest

pytest.importorskip("fastapi", reason='pip install "headgate[serve]"')

from pydantic import TypeAdapter

from headgate.serve import application
from headgate.serve.wire import Wire
from tests.serve.served import SETTINGS, served, toy


def models(kind):
    """All models of a kind, those beneath them too."""
    found = kind.__subclasses__()
    return [one for sub in found for one in (sub, *models(sub))]


@pytest.fixture(scope="module")
def openapi():
    return application(SETTINGS, load=toy).openapi()


def test_every_field_of_every_model_is_described_or_shown(openapi):
    silent = [
        f"{name}.{key}"
        for name, schema in openapi["components"]["schemas"].items()
        for key, field in schema.get("properties", {}).items()
        if not {"description", "examples", "const", "$ref", "default"} & set(field)
    ]
    assert not [name for name in silent if not name.startswith(("HTTPValidationError", "ValidationError"))]
    assert len(openapi["components"]["schemas"]) > 40


@pytest.mark.parametrize("model", models(Wire), ids=lambda model: f"{model.__module__}.{model.__name__}")
def test_examples_are_what_they_are_examples_of(model):
    for field in model.model_fields.values():
        for example in field.examples or ():
            TypeAdapter(field.annotation).validate_python(example)


def test_every_path_has_a_summary_and_a_reply(openapi):
    for path, methods in openapi["paths"].items():
        for method, said in methods.items():
            assert said["description"], (method, path)
            assert "200" in said["responses"], (method, path)
    assert openapi["openapi"].startswith("3.1")


BODIES = {
    "/rerank": {"query": "reset the hub", "texts": ["a", "the hub"], "return_text": True},
    "/v1/rerank": {"query": "reset the hub", "documents": ["a", "the hub"], "top_k": 1, "return_documents": True},
    "/v2/rerank": {
        "query": "the hub",
        "documents": ["a. the hub."],
        "relevant_spans": {"mode": "enabled", "threshold": 0},
    },
    "/infinity/rerank": {"query": "reset the hub", "documents": ["a"], "return_documents": True},
    "/voyage/v1/rerank": {"query": "reset the hub", "documents": ["a"], "return_documents": True},
    "/tei/rerank": {"query": "reset the hub", "texts": ["a"]},
    "/v1/ranking": {"query": {"text": "reset"}, "passages": [{"text": "a"}]},
    "/v1/score": {"text_1": "reset", "text_2": ["a", "b"]},
    "/classify": {"input": ["hello"]},
    "/infinity/classify": {"input": ["hello"]},
    "/predict": {"inputs": "greeting"},
    "/v1/moderations": {"input": ["an attack"]},
    "/v1/route": {"input": "parcels", "routes": ["parcels", "invoices"]},
    "/v1/guard": {"inputs": ["an attack", "hello"]},
    "/v1/ground": {"answer": "It is new.", "passages": ["It is new."], "threshold": 0.5},
    "/v1/decide": {"input": "joy", "questions": {"a": {"type": "yes_no", "yes": "joy"}}},
}


@pytest.fixture(scope="module")
def client():
    with served() as client:
        yield client


@pytest.mark.parametrize("path", [*BODIES, "/v1/tasks", "/v1/models", "/health", "/ready"])
def test_replies_are_what_the_description_says(client, path):
    reply = client.post(path, json=BODIES[path]) if path in BODIES else client.get(path)
    assert reply.status_code == 200, reply.text
    (model,) = (route.response_model for route in _routes(client.app) if route.path == path and route.response_model)
    TypeAdapter(model).validate_json(reply.content, strict=True)


def _routes(app):
    """All routes, of whatever router they came from."""
    found = list(app.routes)
    while found:
        one = found.pop()
        if hasattr(one, "response_model"):
            yield one
        found += getattr(one, "routes", None) or getattr(getattr(one, "original_router", None), "routes", [])


@pytest.mark.slow
def test_what_schemathesis_makes_of_the_description_is_answered_as_it_says(client):
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.strategies import one_of
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    # Of what it might check besides, a server of dialects does some otherwise on purpose: unknown keys pass, and null
    # stands for what is absent.
    wanted = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    failures, seen = [], 0
    for result in schemathesis.openapi.from_asgi("/openapi.json", client.app).get_all_operations():
        operation = result.ok()
        if operation.path in ("/v1/guard/stream", "/metrics"):  # their replies are no JSON
            continue

        @settings(
            max_examples=25,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=one_of([operation.as_strategy(generation_mode=mode) for mode in modes]))
        def check(case):
            case.call_and_validate(checks=wanted)

        seen += 1
        try:
            check()
        except Exception as error:
            failures.append(f"{operation.label}: {error}"[:1500])
    assert seen > 20
    assert not failures, "\n\n".join(failures)
