"""What goes wrong with a request, once, and the shapes in which each dialect's clients expect to be told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import HTTPException

from headgate.errors import ClosedError, HeadgateError, MissingExtraError, OverloadedError

Kind = Literal[
    "invalid", "empty", "unauthorized", "forbidden", "not_found", "not_allowed", "gone", "slow", "large",
    "unsupported", "busy", "internal", "not_ready", "late",
]  # fmt: skip
"""Why a request got no answer."""

_STATUS: dict[Kind, int] = {
    "invalid": 400,
    "empty": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "not_allowed": 405,
    "slow": 408,
    "large": 413,
    "unsupported": 400,
    "busy": 429,
    "gone": 499,
    "internal": 500,
    "not_ready": 503,
    "late": 504,
}
_OPENAI: dict[Kind, str] = {
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "not_found": "not_found_error",
    "busy": "rate_limit_error",
    "internal": "server_error",
    "not_ready": "server_error",
    "late": "server_error",
}
_TEI: dict[Kind, str] = {
    "busy": "Overloaded",
    "empty": "Empty",
    "not_ready": "Unhealthy",
    "internal": "Backend",
    "late": "Backend",
    "unsupported": "Backend",
}
_CODES: dict[Kind, str] = {"busy": "rate_limit_exceeded", "unauthorized": "invalid_api_key", "not_found": "not_found"}


class Fault(HTTPException):
    """A request that gets no answer.

    Args:
        kind: Why; the dialect says with which status.
        message: What came, what was expected, what to do.
        param: The key of the body that it is about.
        retry_after: Seconds after which asking again makes sense.
    """

    def __init__(self, kind: Kind, message: str, *, param: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(_STATUS[kind], message)
        self.kind, self.message, self.param, self.retry_after = kind, message, param, retry_after


def fault_of(error: Exception) -> Fault | None:
    """What a caller is told of an error of the library, None if it is nobody's but the server's."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, OverloadedError):
        return Fault("busy", str(error), retry_after=1)
    if isinstance(error, ClosedError):
        return Fault("not_ready", "the server is closing; ask again, and another one may answer.", retry_after=1)
    if isinstance(error, MissingExtraError):
        return Fault("unsupported", str(error))
    # Of its own errors those that are ValueErrors speak of what the caller passed; others of a model or a device.
    if isinstance(error, ValueError) or (isinstance(error, TypeError) and not isinstance(error, HeadgateError)):
        return Fault("invalid", str(error))
    return None


def _superset(fault: Fault) -> dict[str, Any]:
    """What clients of Cohere (message), Jina and Voyage (detail) and OpenAI or vLLM (error) each look for."""
    return {"message": fault.message, "detail": fault.message, **_openai(fault)}


def _openai(fault: Fault) -> dict[str, Any]:
    kind = _OPENAI.get(fault.kind, "invalid_request_error")
    return {"error": {"message": fault.message, "type": kind, "param": fault.param, "code": _CODES.get(fault.kind)}}


def _tei(fault: Fault) -> dict[str, Any]:
    return {"error": fault.message, "error_type": _TEI.get(fault.kind, "Validation")}


@dataclass(frozen=True)
class Dialect:
    """How one kind of client is told of faults.

    Attributes:
        name: In metrics and logs.
        body: Of an error.
        statuses: Where they differ from the usual ones.
    """

    name: str
    body: Callable[[Fault], dict[str, Any]] = _superset
    statuses: Mapping[Kind, int] = field(default_factory=dict)

    def status(self, fault: Fault) -> int:
        """Of the reply."""
        return self.statuses.get(fault.kind, fault.status_code)


COHERE, JINA, VLLM, VOYAGE, NIM, OWN = map(Dialect, ("cohere", "jina", "vllm", "voyage", "nim", "headgate"))
OPENAI, INFINITY = Dialect("openai", _openai), Dialect("infinity", _openai)
TEI = Dialect("tei", _tei, {"invalid": 422, "unsupported": 424})

_PREFIXES = {d.name: d for d in (COHERE, JINA, VLLM, VOYAGE, NIM, INFINITY, TEI)}
_PATHS = {
    "/predict": TEI, "/info": TEI, "/rerank": COHERE, "/v1/rerank": COHERE, "/v2/rerank": COHERE,
    "/v1/classify": COHERE, "/v1/ranking": NIM, "/v1/moderations": OPENAI, "/v1/models": OPENAI, "/score": VLLM,
    "/v1/score": VLLM, "/classify": VLLM,
}  # fmt: skip


def dialect_of(path: str) -> Dialect:
    """The dialect of a path, before its body is read; ``/rerank`` is Cohere's until the body says otherwise."""
    first = path.lstrip("/").partition("/")[0]
    return _PREFIXES.get(first) or _PATHS.get(path, OWN)
