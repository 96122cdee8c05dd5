"""What needs no Ray running: imports, arguments, and messages where it is missing."""

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import headgate_ray
from headgate import CheckpointError, Guard, MissingExtraError, Reranker, Router, save
from headgate.label import Here, Reads
from headgate.testing import ToyScorer
from headgate_ray import Actors, MissingRayError, Replicas
from headgate_ray.runner import _actors, run

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))


def test_importing_it_imports_neither_ray_nor_torch():
    code = "import sys, headgate_ray; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ray", "torch", "fastapi", "pyarrow"} & set(loaded)


def test_public_names():
    assert headgate_ray.__all__ == sorted(headgate_ray.__all__)
    assert all(hasattr(headgate_ray, name) for name in headgate_ray.__all__)


def test_headgate_finds_the_runner():
    ((name, value),) = PROJECT["project"]["entry-points"]["headgate.label"].items()
    assert name == "ray"
    assert EntryPoint(name, value, "headgate.label").load() is run


@pytest.fixture
def without_ray(monkeypatch):
    for name in ("ray", "ray.data", "ray.serve"):
        monkeypatch.setitem(sys.modules, name, None)


def test_a_missing_ray_says_what_to_install(without_ray, tmp_path):
    save(Router(ToyScorer(), ["a"]), tmp_path / "router.yaml")
    with pytest.raises(MissingRayError, match=r"ray\.data is not installed; run: pip install headgate-ray$"):
        run(None, [], Here([]))
    with pytest.raises(MissingExtraError):
        headgate_ray.route(None, tmp_path / "router.yaml")
    with pytest.raises(MissingRayError, match=r'run: pip install "headgate-ray\[serve\]"$'):
        headgate_ray.application()


def test_a_file_of_another_task_is_refused_before_ray_is_asked(without_ray, tmp_path):
    save(Guard(ToyScorer(), ["a"], threshold=0.5), tmp_path / "guard.yaml")
    save(Reranker(ToyScorer()), tmp_path / "reranker.yaml")
    with pytest.raises(CheckpointError, match="is a file of a Guard; expected one of a Router"):
        headgate_ray.route(None, tmp_path / "guard.yaml")
    with pytest.raises(CheckpointError, match="is a file of a Reranker; expected one of a Guard"):
        headgate_ray.guard(None, tmp_path / "reranker.yaml")
    with pytest.raises(ValueError, match="the reranker has no query"):
        headgate_ray.rerank(None, tmp_path / "reranker.yaml", reads=Reads())
    with pytest.raises(ValueError, match="there are no configs"):
        headgate_ray.label(None, {})


@pytest.mark.parametrize("given", [{"concurrency": 0}, {"concurrency": (3, 2)}, {"batch_size": 0}, {"num_gpus": -1}])
def test_actors_must_make_sense(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        Actors(**given)


@pytest.mark.parametrize("given", [{"num": 0}, {"num": (3, 2)}, {"num_cpus": -1}, {"ongoing": 0}])
def test_replicas_must_make_sense(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        Replicas(**given)


def test_batches_must_make_sense():
    for given, why in [({"batch": 0}, "batch is 0"), ({"wait": -1}, "wait -1"), ({"batch": 500}, "ongoing is 256")]:
        with pytest.raises(ValueError, match=why):
            headgate_ray.application(**given)


def test_options_of_the_runner_are_words():
    words = {"concurrency": "2-8", "num_gpus": "0.25", "num_cpus": "2"}
    assert _actors(words, "cpu") == Actors((2, 8), num_gpus=0.25, num_cpus=2, device="cpu")
    assert _actors({"concurrency": "3"}, "auto") == Actors(3)
    for wrong in ({"concurrency": "many"}, {"gpus": "1"}):
        with pytest.raises(ValueError, match="--set has"):
            _actors(wrong, "auto")
