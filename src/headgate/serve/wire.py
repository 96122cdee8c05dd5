"""What all dialects share on the wire: JSON in and out, and documentation from what is there."""

import re
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, get_type_hints
from uuid import uuid4

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic_core import from_json, to_json

from headgate.plain import plain
from headgate.serve.faults import Dialect, Fault

_ENTRY = re.compile(r"^    (?:    )?(\w+): (.+)$")


class Wire(BaseModel):
    """A body: unknown keys are other versions' and pass, and every optional key may be null."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=(), allow_inf_nan=False)


class Reply(BaseModel):
    """A reply, for its documentation: what is sent is made as plain data."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class _JSONRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401
        body = await self.body()
        try:
            # As fast as bytes allow, no deeper than the parser's own limit, and NaN is none of JSON's.
            return from_json(body, allow_inf_nan=False, cache_strings="keys")
        except (ValueError, RecursionError) as e:
            raise Fault("invalid", f"the body is not JSON: {e}; expected one object, in UTF-8.") from e


class JSONRoute(APIRoute):
    """A route whose bodies are read by a parser that refuses what isn't JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, around another kind of request."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JSONRequest(request.scope, request.receive))

        return handle


def speaks(request: Request, dialect: Dialect) -> None:
    """From here on, errors of this request are told in this dialect."""
    request.scope["headgate.dialect"] = dialect


def reply(body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Plain data as JSON; NaN would be a bug, and raises."""
    return Response(to_json(body, inf_nan_mode="constants"), status, dict(headers or {}), media_type="application/json")


def new_id(kind: str) -> str:
    """Of a reply."""
    return f"{kind}-{uuid4().hex}"


def now() -> int:
    """Seconds since 1970, as OpenAI's ``created``."""
    return int(time.time())


def facts(result: object) -> dict[str, Any]:
    """A result of headgate as plain data."""
    found: dict[str, Any] = plain(result)
    return found


@cache
def documented(kind: type) -> type[BaseModel]:
    """A frozen result as a model for OpenAPI: its fields, with what its docstring says of each."""
    said, types = _attributes(kind.__doc__ or ""), get_type_hints(kind)
    wanted: dict[str, Any] = {
        f.name: (_shape(types[f.name]), Field(default=None, description=said.get(f.name)))
        for f in fields(kind)
        if f.init
    }
    summary = (kind.__doc__ or "").partition("\n")[0]
    return create_model(kind.__name__, __base__=Reply, __doc__=summary, **wanted)


def _shape(kind: Any) -> Any:  # noqa: ANN401
    """A type that OpenAPI can say: results within results are documented too."""
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
        return documented(kind) | None
    inner = getattr(kind, "__args__", ())
    if any(isinstance(one, type) and hasattr(one, "__dataclass_fields__") for one in inner):
        return list[next(_shape(one) for one in inner if one is not ...)]  # type: ignore[misc]
    return kind | None


def _attributes(doc: str) -> dict[str, str]:
    """What a docstring in Google style says of each attribute, each in one line."""
    section = re.split(r"^ +(?:Attributes|Args):\n", doc, maxsplit=1, flags=re.MULTILINE)[-1]
    found: dict[str, str] = {}
    last = ""
    for line in section.splitlines():
        entry = _ENTRY.match(line)
        if entry and not line.startswith("            "):
            last, found[entry[1]] = entry[1], entry[2].strip()
        elif line.startswith("            ") and last:
            found[last] += " " + line.strip()
        elif line.strip():
            break
    return found
