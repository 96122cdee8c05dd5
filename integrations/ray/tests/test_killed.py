"""kill -9 of a run on Ray: whoever goes on, every row comes once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headgate.label import Settings

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]

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


def test_killed_on_ray_it_goes_on_and_every_row_comes_once(files, in_one_process, tmp_path):
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
    found = in_one_process(out, Settings(part_rows=1))
    assert [row["id"] for row in found] == list(range(60))
    assert {name: (out / name).stat().st_mtime_ns for name in there} == there
    assert not list(out.glob(".*"))
