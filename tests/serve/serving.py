"""A real server of mini, as a process of its own on loopback, and bare requests to it."""

import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

START = [sys.executable, "-c", "from headgate.cli import app; app()", "serve", "--port", "0"]


class Server:
    """A process, its port, and what it wrote."""

    def __init__(self, process, log):
        self.process, self.log, self.port = process, log, 0

    def ask(self, method, path, body=b"", headers=(), timeout=20.0):
        """Status and body of one request on a connection of its own."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "host: localhost",
            f"content-length: {len(body)}",
            "connection: close",
            *headers,
        ]
        return self.raw(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body, timeout)

    def post(self, path, body, headers=("content-type: application/json",), timeout=20.0):
        """As ``ask``, with JSON."""
        return self.ask("POST", path, body, headers, timeout)

    def raw(self, sent, timeout=20.0):
        """What comes back for these bytes until the server ends it: status (0: none), and body."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as link:
            link.sendall(sent)
            return self.reply(link)

    @staticmethod
    def reply(link):
        """Read to the end."""
        found = b""
        try:
            while piece := link.recv(1 << 16):
                found += piece
        except ConnectionError:
            pass
        head, _, body = found.partition(b"\r\n\r\n")
        return (int(head[9:12]) if head.startswith(b"HTTP/1.") else 0), body

    def words(self):
        """All that it wrote so far."""
        return Path(self.log).read_text("utf-8", "replace")


def begun(folder, *options, environment=None):
    """A server that is starting."""
    log = Path(folder) / f"log-{time.monotonic_ns()}"
    with log.open("wb") as out:
        return Server(subprocess.Popen([*START, *options], stdout=out, stderr=out, env=environment), log)


def wait_ready(server, seconds=120):
    """Until it takes requests."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert server.process.poll() is None, server.words()
        said = re.search(r"headgate serves http://127\.0\.0\.1:(\d+)", server.words())
        if said:
            server.port = int(said[1])
            try:
                if server.ask("GET", "/ready")[0] == 200:
                    return server
            except OSError:
                pass
        time.sleep(0.1)
    raise AssertionError(server.words())


@contextmanager
def serving(folder, *options):
    """A server, which ends with the block."""
    server = begun(folder, *options)
    try:
        yield wait_ready(server)
    finally:
        if server.process.poll() is None:
            server.process.terminate()
            try:
                server.process.wait(60)
            except subprocess.TimeoutExpired:
                server.process.kill()
        server.process.wait()
