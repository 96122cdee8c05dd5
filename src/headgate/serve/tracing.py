"""Spans of OpenTelemetry, where they are wanted; without it nothing is made and nothing is imported."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from fastapi import Request

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
    def span(self, request: Request, size: int) -> Iterator[None]:
        """Around the work of a request.

        Args:
            request: Whose path names the span.
            size: Characters that it asks to read.
        """
        if self._tracer is None:
            yield
            return
        above = import_module("opentelemetry.propagate").extract(dict(request.headers))
        facts = {
            "http.request.method": request.method,
            "url.path": request.url.path,
            "headgate.id": request.scope.get("headgate.id", ""),
            "headgate.dialect": request.scope["headgate.dialect"].name,
            "headgate.characters": size,
        }
        with self._tracer.start_as_current_span(
            f"headgate {request.url.path}", context=above, attributes=facts
        ) as span:
            yield
            span.set_attributes(
                {f"headgate.{key}": value for key, value in request.scope.get("headgate.log", {}).items()}
            )
