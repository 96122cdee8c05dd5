"""Ray Data and the runner, on a Ray of this machine: the rows of one process, each once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import tiny

from headgate import DataError, Guard, Reranker, Router, load, save
from headgate.label import Here, Reads, Settings, begun, in_turn, label, stage
from headgate_ray import Actors, guard, label_files, rerank, route
from headgate_ray import label as labelled
from headgate_ray.runner import run

pytestmark = pytest.mark.slow
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ROOT = Path(__file__).parents[3]
TEXTS = [f"{tiny.TEXTS[i % 3]} {i}" for i in range(60)]
TWO = Actors(concurrency=2, num_cpus=0.5, batch_size=16)  # and a CPU for Ray Data's own tasks, which read


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


def same(found, expected):
    """Equal but for the last digits of numbers, which the number of threads may move."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            same(found[name], value)
        elif isinstance(value[0] if isinstance(value, list) and value else value, float):
            assert found[name] == pytest.approx(value, abs=1e-5), name
        else:
            assert found[name] == value, name


def rows_of(dataset):
    return sorted(dataset.take_all(), key=lambda row: row["id"])


def compared(dataset, files, stages, on_error="stop"):
    found = rows_of(dataset)
    table = pq.read_table(files[0] / "c.parquet")
    expected = label(stages, table.to_pydict(), on_error=on_error)
    for i, row in enumerate(found):
        same(row, {**table.slice(i, 1).to_pylist()[0], **{name: values[i] for name, values in expected.items()}})


@pytest.fixture
def dataset(ray, files):
    from ray import data

    return data.read_parquet(str(files[0] / "c.parquet"))


def test_datasets_get_the_columns_of_one_process(dataset, files):
    folder, tasks = files
    reads = Reads(query="the password", passages="docs")
    compared(route(dataset, folder / "route.yaml", actors=TWO), files, [stage(tasks["route"])])
    compared(guard(dataset, folder / "guard.yaml", name="inbox", actors=TWO), files, [stage(tasks["guard"], "inbox")])
    compared(rerank(dataset, folder / "rerank.yaml", reads=reads), files, [stage(tasks["rerank"], "rerank", reads)])
    both = labelled(dataset, {n: folder / f"{n}.yaml" for n in ("route", "guard")}, on_error="null", actors=TWO)
    compared(both, files, [stage(tasks["route"]), stage(tasks["guard"])], "null")


def test_bad_rows_of_a_dataset(ray, files):
    from ray import data

    bad = data.from_items([{"id": 0, "text": "the hub"}, {"id": 1, "text": None}])
    found = rows_of(route(bad, files[0] / "route.yaml", on_error="null"))
    assert found[0]["error"] is None
    assert (found[1]["route_choice"], "is null" in found[1]["error"]) == (None, True)
    with pytest.raises(Exception, match="'text' is null"):
        route(bad, files[0] / "route.yaml").take_all()


def in_one_process(files, out, settings):
    folder, tasks = files
    job = begun({"route": tasks["route"]}, [folder / "c.parquet"], out, settings)
    list(in_turn(job, job.missing(), Here([stage(tasks["route"])])))
    return [row for part in job.parts for row in pq.read_table(job.path(part)).to_pylist()]


def test_parts_of_files_are_those_of_one_process(ray, files, tmp_path):
    folder, _ = files
    settings = Settings(part_rows=7)
    expected = in_one_process(files, tmp_path / "here", settings)
    paths = label_files(
        {"route": folder / "route.yaml"}, [folder / "c.parquet"], tmp_path / "ray", settings=settings, actors=TWO
    )
    found = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert [p.name for p in paths] == sorted(p.name for p in (tmp_path / "here").glob("0*"))
    assert [row["id"] for row in found] == list(range(60))
    for row, other in zip(found, expected, strict=True):
        same(row, other)
    paths[3].unlink()
    again = in_one_process(files, tmp_path / "ray", settings)  # either goes on with the other's
    assert [row["id"] for row in again] == list(range(60))
    assert paths[3].exists()


def test_errors_come_as_they_are_in_one_process(ray, files, tmp_path):
    folder, tasks = files
    job = begun({"route": tasks["route"]}, [folder / "c.parquet"], tmp_path / "out", Settings(part_rows=7))
    task = tmp_path / "out" / "_tasks" / "route.json"
    task.write_text(task.read_text().replace(tasks["route"].scorer.fingerprint, "other"))
    with pytest.raises(DataError, match="fingerprint is other"):
        list(run(job, job.missing(), Here([])))
    assert len(job.missing()) == len(job.parts)


CODE = """
import os, sys
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
from headgate.label import Settings
from headgate_ray import Actors, label_files
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
folder, out = sys.argv[1:]
configs, inputs = {"route": f"{folder}/route.yaml"}, [f"{folder}/c.parquet"]
label_files(configs, inputs, out, settings=Settings(part_rows=1), actors=Actors(concurrency=2))
ray.shutdown()
"""


def test_killed_on_ray_it_goes_on_and_every_row_comes_once(files, tmp_path):
    folder, _ = files
    out = tmp_path / "out"
    own = subprocess.Popen([sys.executable, "-c", CODE, str(folder), str(out)], cwd=ROOT, start_new_session=True)
    for _ in range(1200):
        if len(list(out.glob("0*"))) >= 3 or own.poll() is not None:
            break
        time.sleep(0.05)
    os.killpg(own.pid, signal.SIGKILL)  # the driver, and Ray's processes that it started
    own.wait()
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("0*")}
    assert 3 <= len(there) < 60
    time.sleep(3)  # workers that outlive their driver end by themselves, and may write what they had begun
    found = in_one_process(files, out, Settings(part_rows=1))
    assert [row["id"] for row in found] == list(range(60))
    assert {name: (out / name).stat().st_mtime_ns for name in there} == there
    assert not list(out.glob(".*"))
