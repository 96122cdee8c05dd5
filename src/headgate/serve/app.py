"""The application: every dialect on one service, in its layers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from headgate import __version__
from headgate.serve import operation
from headgate.serve.catalog import Loader
from headgate.serve.dialects import cohere_classify, nim, openai, rerank, vllm
from headgate.serve.faults import OWN, TEI, Dialect, Fault, fault_of
from headgate.serve.middleware import Front, Keys, told
from headgate.serve.nouns import decide, ground, guard, route, stream
from headgate.serve.service import Service
from headgate.serve.settings import Settings, read_settings
from headgate.serve.tracing import Tracer

_DESCRIPTION = """Rerank documents, route queries and guard text with small local models.

One port speaks the rerank dialects of Cohere, Jina, TEI, infinity, vLLM, Voyage and NIM, OpenAI's moderations, Cohere's
classify, and headgate's own route, guard, ground and decide. Unknown keys pass, optional ones may be null, nothing is
cut that the caller didn't ask to be cut. Offsets count Unicode code points, half-open. The header x-request-timeout
says how many seconds a caller waits; x-request-id comes back."""


def application(settings: Settings | str | Path | None = None, *, load: Loader | None = None) -> FastAPI:
    """What ``headgate serve`` runs: an ASGI application, for a server or a test of your own.

    Its models are loaded when it starts (its lifespan), in the background: ``/ready`` says when.

    Args:
        settings: What is served; a path is read by :func:`read_settings`, None is all of ``mini``.
        load: Where scorers come from, in place of ``headgate.load``.

    Raises:
        CheckpointError: The file is damaged.
    """
    if settings is None:
        settings = Settings()
    elif not isinstance(settings, Settings):
        settings = read_settings(settings)
    service = Service(settings, load or _load_again)
    keys = Keys(settings.secrets())
    app = FastAPI(
        title="headgate",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,  # they fetch their scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan,
        responses={"4XX": {"description": "In the dialect's own shape.", "content": {"application/json": {}}},
                   "5XX": {"description": "In the dialect's own shape.", "content": {"application/json": {}}}},
        separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.service = service
    for one in (rerank, vllm, nim, openai, cohere_classify, route, guard, ground, decide, operation):
        app.include_router(one.routes(service))
    app.include_router(stream.routes(service, keys))
    for kind in (HTTPException, RequestValidationError, ValueError, TypeError, RuntimeError):
        app.add_exception_handler(kind, _explain)
    tracer = Tracer(settings.tracing)
    app.add_middleware(
        Front, desk=service.desk, meter=service.meter, tracer=tracer, keys=keys, origins=settings.origins
    )
    if settings.origins:
        app.add_middleware(CORSMiddleware, allow_origins=settings.origins, allow_methods=["*"], allow_headers=["*"])
    return app


def _load_again(origin: Any, *, device: str) -> Any:  # noqa: ANN401  as Loader has it
    from headgate.loading import load_again  # here, because it brings torch, which takes a second or two

    return load_again(origin, device=device)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    import asyncio

    service: Service = app.state.service
    # In the background: a server that is loading is alive, and says so.
    loading = asyncio.create_task(service.start())
    app.state.loading = loading
    try:
        yield
    finally:
        loading.cancel()
        service.close()


async def _explain(request: Request, error: Exception) -> Response:
    """Any error of a request, in its dialect; bugs go on to the outermost layer."""
    dialect: Dialect = request.scope.get("headgate.dialect", OWN)
    if isinstance(error, RequestValidationError):
        body = error.body
        if dialect.name == "cohere" and isinstance(body, dict) and "texts" in body:
            dialect = TEI
        fault: Fault | None = _invalid(error)
    elif isinstance(error, HTTPException) and not isinstance(error, Fault):
        fault = _http(error)
    else:
        fault = fault_of(error)
    if fault is None:
        raise error
    request.scope["headgate.dialect"] = dialect
    status, headers, words = told(dialect, fault)
    return Response(words, status, {key.decode(): value.decode() for key, value in headers if key != b"content-length"})


def _http(error: HTTPException) -> Fault:
    if error.status_code == 404:
        return Fault("not_found", "there is no such path; /openapi.json lists them all.")
    if error.status_code == 405:
        return Fault("not_allowed", "this path takes another method; /openapi.json says which.")
    return Fault("invalid", str(error.detail))


def _invalid(error: RequestValidationError) -> Fault:
    """The first thing that is wrong with a body; what came is not repeated, since it may be long or no text at all."""
    if not isinstance(error.body, dict):
        return Fault("invalid", "no JSON object came; expected one, with the header content-type: application/json.")
    first = error.errors()[0]
    at = ".".join(str(part)[:60] for part in first["loc"][1:] if part not in ("cohere", "tei", "voyage", "vllm"))
    return Fault("invalid", f"{at or 'the body'}: {first['msg'][:200]}", param=at or None)
