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


@pytest.mark.slow
def test_what_schemathesis_makes_of_the_description_is_answered_as_it_says():
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    from hypothesis import HealthCheck, Phase, settings

    with served() as client:
        schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
        failures = []
        for result in schema.get_all_operations():
            operation = result.ok()
            if operation.path in ("/v1/guard/stream", "/metrics"):  # of these the reply has no schema
                continue

            @settings(
                max_examples=25,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @_given(operation)
            def check(case):
                case.call_and_validate(excluded_checks=_excluded())

            try:
                check()
            except Exception as error:
                failures.append(f"{operation.label}: {error}"[:1500])
    assert not failures, "\n\n".join(failures)


def _given(operation):
    import schemathesis
    from hypothesis import given

    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    strategies = [operation.as_strategy(generation_mode=mode) for mode in modes]
    from hypothesis.strategies import one_of

    return given(case=one_of(strategies))


def _excluded():
    """What a server of dialects does otherwise on purpose: unknown keys pass, and null stands for what is absent."""
    from schemathesis import checks

    names = (
        "negative_data_rejection",
        "positive_data_acceptance",
        "unsupported_method",
        "missing_required_header",
        "ignored_auth",
    )
    return [check for check in checks.CHECKS.get_all() if check.__name__ in names]
