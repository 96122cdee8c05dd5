"""Servers of ``mini`` for other people's clients: ``make test-clients``.

The tests run in a venv of clients; the server is a process of another Python, which ``HEADGATE_PYTHON`` names.
"""

import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

# Elsewhere there is nothing to collect: the test modules import the clients.
collect_ignore_glob = [] if find_spec("voyageai") else ["test_*.py"]

# Before they are imported: nothing is fetched, reported or traced.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LANGSMITH_TRACING="false")

PYTHON = os.environ.get("HEADGATE_PYTHON", str(Path(__file__).parents[2] / ".venv/bin/python"))
START = "from headgate.cli import app; app()"
KEY = "a-key-of-the-tests"


@contextmanager
def _serving(folder: Path, **environment: str) -> Iterator[str]:
    """The address of a server, which is stopped at the end, and must stop in good order."""
    log = folder / "log"
    inherited = {name: value for name, value in os.environ.items() if name not in ("HEADGATE_API_KEYS", "PYTHONPATH")}
    with log.open("wb") as out:
        server = subprocess.Popen(
            [PYTHON, "-c", START, "serve", "--port", "0"],
            stdout=out, stderr=out, env={**inherited, "HEADGATE_CACHE": str(folder), **environment},
        )  # fmt: skip
    try:
        yield _ready(server, log)
        server.terminate()
        assert server.wait(timeout=60) in (0, -15), log.read_text()[-2000:]
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def _ready(server: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + 180
    while time.monotonic() < until and server.poll() is None:
        said = re.search(r"headgate serves (http://\S+)", log.read_text())
        if said:
            try:
                with urllib.request.urlopen(f"{said[1]}/ready", timeout=5):
                    return said[1]
            except urllib.error.URLError:
                pass
        time.sleep(0.2)
    raise AssertionError(f"the server did not get ready:\n{log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks for a key."""
    with _serving(tmp_path_factory.mktemp("keyed"), HEADGATE_API_KEYS=KEY) as address:
        yield address


@pytest.fixture(scope="session")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without keys, for clients that can send none."""
    with _serving(tmp_path_factory.mktemp("open")) as address:
        yield address


@pytest.fixture
def key() -> str:
    """What ``root`` lets in."""
    return KEY


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them are slow: two servers start."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)
