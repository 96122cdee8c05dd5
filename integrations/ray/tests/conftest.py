"""Ray, local and quiet; what it warns about is ignored here, by name."""

import os
import socket

import pytest
from tests import tiny

from headgate import Guard, Reranker, Router, load, save
from headgate.label import Here, begun, in_turn, stage

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
TEXTS = [f"{tiny.TEXTS[i % 3]} {i}" for i in range(60)]

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
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


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A corpus, and tasks on a tiny model, by name."""
    folder = tmp_path_factory.mktemp("ray")
    tiny.cross_encoder(folder / "nli", "bert", {0: "entailment", 1: "neutral", 2: "contradiction"})
    scorer = load(folder / "nli", dtype="float32", device="cpu", template="{}")
    tasks = {
        "route": Router(scorer, {"hub": "the hub", "refund": "a refund"}),
        "guard": Guard(scorer, ["soil", "password"], threshold=0.4),
        "rerank": Reranker(scorer, top_k=2),
    }
    for name, task in tasks.items():
        save(task, folder / f"{name}.yaml")
    columns = {"id": list(range(60)), "text": TEXTS, "docs": [[t, "a refund", "the hub"] for t in TEXTS]}
    pq.write_table(pa.table(columns), folder / "c.parquet", row_group_size=25)
    return folder, tasks


@pytest.fixture
def in_one_process(files):
    """Label the corpus without Ray; all rows."""

    def rows(out, settings):
        folder, tasks = files
        job = begun({"route": tasks["route"]}, [folder / "c.parquet"], out, settings)
        list(in_turn(job, job.missing(), Here([stage(tasks["route"])])))
        return [row for part in job.parts for row in pq.read_table(job.path(part)).to_pylist()]

    return rows
