"""Spans of the server: one a request, within the caller's, without a text in it."""

import json
import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason='pip install "headgate[serve]"')
pytest.importorskip("opentelemetry.sdk", reason="pip install opentelemetry-sdk")

# In a process of its own: a provider can be set once.
SCRIPT = """
import json, time
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient
from headgate.serve import Settings, application
from headgate.testing import ToyScorer

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
parts = dict.fromkeys(("zero_shot", "questions", "classifier", "embedder"))
settings = Settings(guards={}, groundings={}, **parts, tracing=True)
with TestClient(application(settings, load=lambda origin, *, device: ToyScorer())) as client:
    while client.get("/ready").status_code != 200:
        time.sleep(0.01)
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    body = {"query": "secret words", "documents": ["more secret words", "others"]}
    reply = client.post("/v2/rerank", json=body, headers={"traceparent": parent, "x-request-id": "mine"})
    assert reply.status_code == 200, reply.text
(span,) = (s for s in exporter.get_finished_spans() if s.instrumentation_scope.name == "headgate.serve")
print(json.dumps({"name": span.name, "trace": f"{span.context.trace_id:032x}", "attributes": dict(span.attributes)}))
"""


def test_a_request_is_a_span_within_its_callers_and_holds_no_text():
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    span = json.loads(ran.stdout)
    assert span["name"] == "headgate /v2/rerank"
    assert span["trace"] == "0af7651916cd43dd8448eb211c80319c"
    assert span["attributes"]["headgate.id"] == "mine"
    assert span["attributes"]["headgate.dialect"] == "cohere"
    assert span["attributes"]["headgate.model"] == "default"
    assert "secret" not in ran.stdout
