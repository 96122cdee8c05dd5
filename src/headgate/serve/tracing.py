"""Spans of OpenTelemetry, where they are wanted; without it nothing is made and nothing is imported."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from starlette.types import Scope

from headgate.errors import MissingExtraError


class Tracer:
    """Makes one span a request, within the caller's where it sends ``traceparent``; no attribute holds a text.

    Args:
        wanted: Make any.

    Raises:
        MissingExtraError: They are wanted, and opentelemetry is not installed.
    """

    def __init__(self, wanted: bool) -> None:
        self._tracer: Any = None
        if wanted:
            try:
                self._tracer = import_module("opentelemetry.trace").get_tracer("headgate.serve")
            except ImportError:
                raise MissingExtraError("opentelemetry-api", "tracing") from None

    @contextmanager
    def span(self, scope: Scope) -> Iterator[None]:
        """Around a request that asks a model; what its line of log says of it is said here too."""
        if self._tracer is None or scope["method"] != "POST":
            yield
            return
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        above = import_module("opentelemetry.propagate").extract(headers)
        facts = {"http.request.method": scope["method"], "url.path": scope["path"], "headgate.id": scope["headgate.id"]}
        name = f"headgate {scope['path']}"
        with self._tracer.start_as_current_span(name, context=above, attributes=facts) as span:
            yield
            span.set_attribute("headgate.dialect", scope["headgate.dialect"].name)
            said = scope.get("headgate.log", {})
            span.set_attributes({f"headgate.{key}": value for key, value in said.items() if key != "texts"})
