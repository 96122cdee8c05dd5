"""What operators and the page ask: health, what is served, metrics, a reload; and the page itself."""

from importlib.resources import files
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from headgate.certificate import Certificate
from headgate.serve.catalog import Served
from headgate.serve.service import Service
from headgate.serve.wire import JSONRoute, Reply, facts, reply

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SAFE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class Task(Reply):
    """Something that is served."""

    kind: str = Field(
        description="reranker, router, guard, grounding, or what a model alone is for.", examples=["guard"]
    )
    name: str = Field(description="As requests ask for it.", examples=["default"])
    model: str = Field(description="Where its model was loaded from.", examples=["mini/guard"])
    fingerprint: str = Field(description="Of the model, template and calibration.", examples=["5c1f-77ab"])
    labels: list[str] | None = Field(
        description="Routes, rules or classes; null where any will do.", examples=[["toxic"]]
    )
    threshold: float | dict[str, float] | None = Field(description="One, or one for each label.", examples=[0.5])
    certificate: dict[str, Any] | None = Field(
        description="What is promised of the thresholds.", examples=[{"promise": "max_error", "target": 0.05}]
    )


class Tasks(Reply):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Task] = Field(description="Rerankers first, models alone last.")


class State(Reply):
    """How the server is."""

    status: str = Field(examples=["ok"])


def routes(service: Service) -> APIRouter:
    """``/health``, ``/ready``, ``/metrics``, ``/v1/tasks``, ``/v1/reload``, and the page."""
    router = APIRouter(route_class=JSONRoute, tags=["operation"])

    @router.get("/health", response_model=State)
    @router.get("/ping", response_model=State, include_in_schema=False)
    async def health() -> Response:
        """The process lives; restart it where this doesn't answer."""
        return reply({"status": "ok"})

    @router.get("/ready", response_model=State, responses={503: {"model": State}})
    async def ready() -> Response:
        """Requests are welcome: 503 while models are loaded, and once the server is told to stop."""
        status = "ok" if service.ready else "draining" if service.draining else "loading"
        return reply({"status": status}, status=200 if service.ready else 503)

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """What was counted, for Prometheus."""
        return Response(service.meter.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/v1/tasks", response_model=Tasks)
    async def tasks() -> Response:
        """Everything that is served, with thresholds and certificates."""
        return reply({"object": "list", "data": [_task(one) for one in service.catalog.served.values()]})

    @router.post("/v1/reload", response_model=State)
    async def reload() -> Response:
        """Read the file again; requests under way end with what they began with. If it is wrong, nothing changes."""
        await service.reload()
        return reply({"status": "ok"})

    _page(router)
    return router


def _page(router: APIRouter) -> None:
    folder = files("headgate.serve") / "page"
    there = {one.name: one for one in folder.iterdir() if one.is_file()} if folder.is_dir() else {}

    def shown(name: str) -> Response:
        one, ending = there.get(name), name[name.rfind(".") :]
        if one is None or ending not in _TYPES:
            return reply({"message": "there is no such file"}, status=404)
        return Response(one.read_bytes(), media_type=_TYPES[ending], headers=_SAFE)

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        return shown("index.html")

    @router.get("/page/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        return shown(name)


def _task(one: Served) -> dict[str, Any]:
    task = one.task
    scorer = getattr(task, "scorer", task)
    labels, threshold = _cut(one)
    certificate: Certificate | None = getattr(task, "certificate", None)
    return {
        "kind": one.kind,
        "name": one.name,
        "model": one.model,
        "fingerprint": scorer.fingerprint,
        "labels": labels,
        "threshold": threshold,
        "certificate": None if certificate is None else _promise(certificate),
    }


def _cut(one: Served) -> tuple[list[str] | None, float | dict[str, float] | None]:
    """The labels, and what they are compared with."""
    task = one.task
    if one.kind == "router":
        return list(task.routes), task.cut.threshold
    if one.kind == "guard":
        return list(task.rules), {name: rule.threshold for name, rule in task.rules.items()}
    if one.kind == "grounding":
        return None, task.threshold
    labels = None if one.kind == "reranker" else getattr(task, "labels", None)
    return None if labels is None else list(labels), None


def _promise(certificate: Certificate) -> dict[str, Any]:
    """All but the digests of the texts, which are long and say nothing to a reader."""
    said = facts(certificate)
    del said["texts"], said["pins"]
    return {"id": certificate.id, "needed": certificate.needed, **said}
