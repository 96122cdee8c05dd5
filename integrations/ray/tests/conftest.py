"""Ray, local and quiet; what it warns about is ignored here, by name."""

import os
import socket

import pytest

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Workers start in a folder of their own; they must find the tests' modules.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Ray's own: of pytest, threads and sockets that it leaves, and of releases to come.
IGNORED = [
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::FutureWarning:ray",
    "ignore::DeprecationWarning:ray",
    "ignore::UserWarning:ray",
]


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow") and "integrations/ray" in str(item.path):
            for one in IGNORED:
                item.add_marker(pytest.mark.filterwarnings(one))


@pytest.fixture(scope="module")
def ray():
    """Two CPUs, no dashboard; shut down whatever happens."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    context = pytest.importorskip("ray.data").DataContext.get_current()
    context.enable_progress_bars = False
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
