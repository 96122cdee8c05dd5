"""``headgate serve`` under load, on loopback and bounded: ``python benchmarks/serve.py --seconds 60``.

* saturated: so many connections, each with the next request as soon as its reply is there; requests a second, beside
  the rate of plain batches of the same documents, measured while the same load hits an endpoint that does nothing:
  client and HTTP take their share of the cores in both.
* overload: ten times that many requests a second are offered; only 200 and 429, how late the accepted are, memory.
* one large: a client that sends a thousand documents of 100,000 characters, beside the others.

All texts differ, so that nothing is remembered. The ratio is what to read: machines are noisy.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

WORDS = ("hub", "password", "refund", "invoice", "paid", "twice", "when", "will", "my", "second", "parcel", "arrive")
DOCUMENTS = 16
NOTHING = """
import sys, uvicorn
async def app(scope, receive, send):
    if scope["type"] != "http": return
    while (await receive()).get("more_body"): pass
    body = b"x" * 1500
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1500")]})
    await send({"type": "http.response.body", "body": body})
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""
OFFLINE = """
import sys, time, json
sys.path.insert(0, "benchmarks")
from serve import asks
from headgate import Reranker, load
rerank = Reranker(load("mini/rerank"))
some = asks(64, seed=9)
rerank.many(*zip(*some))
print("ready", flush=True)
sys.stdin.readline()
done, start, until = 0, time.perf_counter(), time.perf_counter() + float(sys.argv[1])
seed = 10
while time.perf_counter() < until:
    some = asks(64, seed=seed); seed += 1
    rerank.many(*zip(*some)); done += 64
print(json.dumps(done / (time.perf_counter() - start)), flush=True)
"""


def asks(number: int, *, seed: int) -> list[tuple[str, list[str]]]:
    """Queries, each with documents of 8 to 120 words, log-normal, as passages are."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(3.3, 0.6, (number, DOCUMENTS)), 8, 120).astype(int)
    return [(" ".join(rng.choice(WORDS, 8)), [" ".join(rng.choice(WORDS, n)) for n in row]) for row in lengths]


def posts(number: int, *, seed: int) -> list[bytes]:
    """Whole requests, ready to be written to a socket."""
    bodies = [
        json.dumps({"query": query, "documents": documents}).encode() for query, documents in asks(number, seed=seed)
    ]
    return [post(body) for body in bodies]


def post(body: bytes) -> bytes:
    """One request."""
    head = (
        f"POST /v1/rerank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@dataclass
class Seen:
    """What a client saw."""

    status: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    errors: int = 0
    elapsed: float = 0.0

    def rate(self, status: int = 200) -> float:
        """Replies a second."""
        return self.status[status] / self.elapsed

    def quantile(self, q: float, status: int = 200) -> float:
        """Seconds that so large a share of the replies took at most."""
        return float(np.quantile(self.seconds.get(status) or [np.nan], q))


async def hit(port: int, requests: list[bytes], *, connections: int, seconds: float, rate: float | None = None) -> Seen:
    """Send requests over so many connections, as fast as replies come, or at a rate."""
    seen, start = Seen(), time.perf_counter()
    turn = iter(range(10**9))

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (now := time.perf_counter() - start) < seconds:
            n = next(turn)
            if rate is not None and (wait := n / rate - now) > 0:
                if n / rate > seconds:
                    return
                await asyncio.sleep(wait)
            began = time.perf_counter()
            writer.write(requests[n % len(requests)])
            status = await _status(reader)
            seen.status[status] += 1
            seen.seconds.setdefault(status, []).append(time.perf_counter() - began)

    async def connected() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.wait_for(one(reader, writer), seconds + 60)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            seen.errors += 1
        finally:
            writer.close()

    await asyncio.gather(*(connected() for _ in range(connections)))
    seen.elapsed = time.perf_counter() - start
    return seen


async def _status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(length)
    return int(head[9:12])


@contextmanager
def running(command: list[str], port: int) -> Iterator[subprocess.Popen[str]]:
    """A server, from when it answers to the end of the block."""
    process = subprocess.Popen(command, text=True, stderr=subprocess.DEVNULL)
    try:
        asyncio.run(_answers(port))
        yield process
    finally:
        process.terminate()
        process.wait(60)


async def _answers(port: int) -> None:
    for _ in range(600):
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /ready HTTP/1.1\r\nhost: x\r\n\r\n")
            status = await _status(reader)
            writer.close()
            if status == 200:
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise SystemExit("the server doesn't answer")


def memory(process: subprocess.Popen[str]) -> float:
    """Megabytes that a process holds."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def offline(port: int, rate: float, given: argparse.Namespace) -> float:
    """Requests' worth of documents a second in plain batches, beside a client of an endpoint that does nothing."""
    requests = posts(512, seed=3)
    with running([sys.executable, "-c", NOTHING, str(port)], port):
        plain = subprocess.Popen(
            [sys.executable, "-c", OFFLINE, str(given.seconds)],
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert plain.stdout
        assert plain.stdin
        plain.stdout.readline()
        plain.stdin.write("go\n")
        plain.stdin.flush()
        asyncio.run(hit(port, requests, connections=given.connections, seconds=given.seconds, rate=rate))
        return float(plain.stdout.readline())


async def beside_large(port: int, requests: list[bytes], given: argparse.Namespace) -> tuple[Seen, Counter[int]]:
    """What the others see while one client sends a thousand documents of 100,000 characters."""
    words = " ".join(np.random.default_rng(5).choice(WORDS, 18_000))[:100_000]
    large = post(json.dumps({"query": "refund", "documents": [f"{i} {words}"[:100_000] for i in range(1000)]}).encode())
    found: Counter[int] = Counter()

    async def send() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(large)
        try:
            found[await asyncio.wait_for(_status(reader), given.seconds)] += 1
        except TimeoutError:
            found[0] += 1
        writer.close()

    other = asyncio.ensure_future(send())
    await asyncio.sleep(2)
    seen = await hit(port, requests, connections=8, seconds=given.seconds)
    await other
    return seen, found


def main() -> None:
    """All three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--port", type=int, default=8571)
    given = parser.parse_args()
    console = Console()
    requests = posts(2048, seed=1)
    serve = [sys.executable, "-c", "from headgate.cli import app; app()", "serve", "--log-level", "warning"]
    with running([*serve, "--port", str(given.port)], given.port) as server:
        asyncio.run(hit(given.port, requests, connections=given.connections, seconds=5))
        load = asyncio.run(hit(given.port, requests, connections=given.connections, seconds=given.seconds))
        before = memory(server)
        over = asyncio.run(
            hit(given.port, requests, connections=10 * given.connections, seconds=given.seconds, rate=10 * load.rate())
        )
        after = memory(server)
    plain = offline(given.port + 1, load.rate(), given)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "serve.yaml"
        file.write_text("headgate: 1\nlimits: {body: 200000000, bodies: 400000000}\n")
        with running([*serve, "--port", str(given.port), "--config", str(file)], given.port) as server:
            few = asyncio.run(hit(given.port, requests, connections=8, seconds=min(20, given.seconds)))
            many, large = asyncio.run(beside_large(given.port, requests, given))
            held = memory(server)
    rows = {"saturated": load, "10x offered": over, "8 connections": few, "8 beside one large": many}
    console.print(shown(rows))
    console.print(f"plain batches beside an endpoint that does nothing: {plain:.1f} requests' worth a second")
    console.print(f"served / plain: {load.rate() / plain:.2f} (wanted 0.8)")
    console.print(f"p99 accepted, 10x / saturated: {over.quantile(0.99) / load.quantile(0.99):.2f} (wanted at most 3)")
    console.print(f"memory {before:.0f} MB after saturation, {after:.0f} after overload; {held:.0f} with the large one")
    console.print(
        f"beside one large (its status: {dict(large)}): {many.rate() / few.rate():.2f} of the rate without it"
    )


def shown(rows: dict[str, Seen]) -> Table:
    """A row for each load."""
    table = Table("what", "requests/s", "statuses", "errors", "p50 ms", "p99 ms")
    for name, seen in rows.items():
        p50, p99 = (f"{1000 * seen.quantile(q):.0f}" for q in (0.5, 0.99))
        table.add_row(name, f"{seen.rate():.1f}", str(dict(seen.status)), str(seen.errors), p50, p99)
    return table


if __name__ == "__main__":
    main()
