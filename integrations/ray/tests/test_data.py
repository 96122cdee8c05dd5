"""Ray Data and the runner, on a Ray of this machine: the rows of one process, each once."""

import pytest

from headgate import DataError
from headgate.label import Here, Reads, Settings, begun, label, stage
from headgate_ray import Actors, guard, label_files, rerank, route
from headgate_ray import label as labelled
from headgate_ray.runner import run

pytestmark = pytest.mark.slow
pq = pytest.importorskip("pyarrow.parquet")
TWO = Actors(concurrency=2, num_cpus=0.5, batch_size=16)  # and a CPU for Ray Data's own tasks, which read


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


def test_parts_of_files_are_those_of_one_process(ray, files, in_one_process, tmp_path):
    folder, _ = files
    settings = Settings(part_rows=7)
    expected = in_one_process(tmp_path / "here", settings)
    paths = label_files(
        {"route": folder / "route.yaml"}, [folder / "c.parquet"], tmp_path / "ray", settings=settings, actors=TWO
    )
    found = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert [p.name for p in paths] == sorted(p.name for p in (tmp_path / "here").glob("0*"))
    assert [row["id"] for row in found] == list(range(60))
    for row, other in zip(found, expected, strict=True):
        same(row, other)
    paths[3].unlink()
    again = in_one_process(tmp_path / "ray", settings)  # either goes on with the other's
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
