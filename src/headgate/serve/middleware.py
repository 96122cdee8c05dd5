"""The outermost layer, in plain ASGI: who asks, how much arrives and how fast, and what is written down of it.

Whatever goes wrong below becomes a reply in the dialect of the path, and no traceback with a caller's text in it is
ever logged.
"""

import asyncio
import hmac
import json
import logging
import re
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic_core import to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.serve.desk import Desk
from headgate.serve.faults import Dialect, Fault, dialect_of
from headgate.serve.meter import Meter
from headgate.serve.tracing import Tracer

log = logging.getLogger("headgate.serve")

OPEN = frozenset({"/", "/health", "/ready", "/ping", "/favicon.ico"})
"""Paths that need no key; so do those of the page's own files."""
STREAMS = frozenset({"/v1/guard/stream"})
"""Paths whose bodies arrive while they are worked on."""
_ID = re.compile(r"[\w.:-]{1,128}")


class Keys:
    """Compares keys in a time that says nothing about them.

    Args:
        keys: Those that open; none opens to everybody.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = tuple(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def knows(self, key: bytes) -> bool:
        """Whether it is one of them; all are compared, to the end."""
        found = False
        for known in self._keys:
            found |= hmac.compare_digest(known, key)
        return found


class Front:
    """Around the whole application: ids, keys, sizes, faults, metrics, and one line of log a request.

    Args:
        app: Everything else.
        desk: Knows whether anybody can be let in.
        meter: Counts.
        tracer: Makes spans.
        keys: Who may come in.
        origins: Of pages of other sites that may call.
    """

    def __init__(
        self, app: ASGIApp, *, desk: Desk, meter: Meter, tracer: Tracer, keys: Keys, origins: Sequence[str]
    ) -> None:
        self._app, self._desk, self._meter, self._tracer = app, desk, meter, tracer
        self._keys, self._origins = keys, origins
        self._bodies = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; of other protocols nothing is known here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, receive, send)
        scope["headgate.dialect"], scope["headgate.id"] = dialect_of(scope["path"]), call.id
        self._meter.began()
        try:
            self._admit(call)
            async with asyncio.timeout(None) as clock:
                with self._tracer.span(scope):
                    await self._app(scope, partial(self._receive, call, clock), call.send)
        except TimeoutError:
            await call.fail(Fault("slow", "the body did not arrive in time; send it faster, or in smaller requests."))
        except asyncio.CancelledError:  # the server ends, and this took longer than it may drain
            await call.fail(Fault("not_ready", "the server is closing; ask again, and another one may answer."))
            raise
        except Exception as error:
            await call.fail(error if isinstance(error, Fault) else _unforeseen(call, error))
        finally:
            self._bodies -= call.held
            self._meter.ended(call.dialect.name, call.status, time.monotonic() - call.began)
            _write(call)

    def _admit(self, call: "_Call") -> None:
        scope = call.scope
        posts = scope["method"] == "POST"
        if posts and not self._keys:
            check_origin(call.headers, self._origins)
        if self._keys and scope["path"] not in OPEN and not scope["path"].startswith("/page/"):
            key = given(call.headers)
            if not self._keys.knows(key):
                raise Fault("unauthorized", "no valid key came; expected one as Authorization: Bearer KEY.")
            scope["headgate.client"] = f"key {hash(key)}"
        else:
            scope["headgate.client"] = (scope.get("client") or ("",))[0]
        size = call.headers.get(b"content-length", b"")
        if size.isdigit() and len(size) < 20:
            self._small(int(size))
        works = posts and scope["path"] != "/v1/reload"
        refusal = self._desk.refusal(scope["headgate.client"]) if works else None
        if refusal is not None:  # before its body is read
            raise refusal

    async def _receive(self, call: "_Call", clock: asyncio.Timeout) -> Message:
        """The next piece of the body, while all of them are not too large, and not too slow."""
        if call.whole:
            return await call.receive()
        # A guarded stream lasts as long as its text; of others the whole body must be there in time.
        since = asyncio.get_running_loop().time() if call.scope["path"] in STREAMS else call.arrived
        clock.reschedule(since + self._desk.limits.upload)
        message = await call.receive()
        clock.reschedule(None)
        size = len(message.get("body", b""))
        call.whole = not message.get("more_body", False)
        call.held += size
        self._bodies += size
        self._small(call.held)
        if self._bodies > self._desk.limits.bodies:
            raise self._desk.busy("bodies", f"{self._bodies} bytes of requests are being read.")
        return message

    def _small(self, size: int) -> None:
        most = self._desk.limits.body
        if size > most:
            raise Fault("large", f"the body has {size} bytes or more; expected at most {most}: send less at a time.")


class _Call:
    """One request on its way in and out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        came = self.headers.get(b"x-request-id", b"").decode("latin-1")
        self.id = came if _ID.fullmatch(came) else uuid4().hex
        self.began, self.arrived = time.monotonic(), asyncio.get_running_loop().time()
        self.held, self.whole = 0, False
        self.status, self.started = 499, False

    @property
    def dialect(self) -> Dialect:
        found: Dialect = self.scope["headgate.dialect"]
        return found

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.id.encode())]
        await self._send(message)

    async def fail(self, fault: Fault) -> None:
        """Say so, unless a reply has begun, which then just ends."""
        if self.started:
            return
        status, headers, body = told(self.dialect, fault)
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def told(dialect: Dialect, fault: Fault) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of a fault."""
    body = to_json(dialect.body(fault))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if fault.retry_after is not None:
        headers.append((b"retry-after", str(fault.retry_after).encode()))
    if fault.kind == "unauthorized":
        headers.append((b"www-authenticate", b"Bearer"))
    return dialect.status(fault), headers, body


def given(headers: dict[bytes, bytes]) -> bytes:
    """The key of a request: as a Bearer token, bare, or in a header of its own."""
    found = headers.get(b"authorization", b"").strip()
    scheme, _, rest = found.partition(b" ")
    return (rest.strip() if scheme.lower() == b"bearer" else found) or headers.get(b"x-api-key", b"").strip()


def check_origin(headers: Mapping[bytes, bytes], allowed: Sequence[str]) -> None:
    """Refuse what a page of another site sends: where no key is asked for, any page that a user opens could ask.

    Args:
        headers: Of the request; browsers say in ``origin`` whose page it is, and others say nothing.
        allowed: Origins that may.

    Raises:
        Fault: 403.
    """
    origin = headers.get(b"origin", b"").decode("latin-1")
    own = {headers[name].decode("latin-1") for name in (b"host", b"x-forwarded-host") if headers.get(name)}
    if origin and origin not in allowed and urlsplit(origin).netloc not in own:
        raise Fault("forbidden", f"a page of {origin[:100]} asks; expected one of this server: name it in origins.")


def _unforeseen(call: _Call, error: Exception) -> Fault:
    """A bug, or a broken model: where it happened is logged, and its words are not, which may quote a text."""
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("request %s: %s\n%s", call.id, type(error).__name__, where)
    return Fault("internal", "something is wrong with the server; its log says more under this id.")


def _write(call: _Call) -> None:
    if not log.isEnabledFor(logging.INFO) or (call.scope["path"] in OPEN):
        return
    line = {
        "id": call.id,
        "method": call.scope["method"],
        "path": call.scope["path"][:200],
        "dialect": call.dialect.name,
        "status": call.status,
        "ms": round(1000 * (time.monotonic() - call.began), 1),
        "bytes": call.held,
        **call.scope.get("headgate.log", {}),
    }
    log.info("%s", json.dumps(line))
