"""kill -9, at any moment: a second run does what is missing, and every row comes once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from headgate.label.job import MANIFEST
from tests.label.corpora import jsonl, labelled, parquet, rows, texts

ROOT = Path(__file__).parents[2]


def killed(corpus, out, at):
    command = [sys.executable, "-m", "tests.label.killed", str(corpus), str(out), str(at)]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode


@pytest.mark.parametrize("at", [0, 3, 4, 5, 7, 8, 9, 10, 11, 13, 22, 31])
def test_nothing_is_lost_or_doubled(at, tmp_path):
    make, name = (parquet, "c.parquet") if at % 2 else (jsonl, "c.jsonl")
    corpus, out = make(tmp_path / name, 23), tmp_path / "out"
    assert killed(corpus, out, at) == -signal.SIGKILL
    there = {p.name: p.stat().st_mtime_ns for p in out.glob("0*")}
    files = at // 4  # four moments each, of the third of which on it has its name; two more come before
    assert len(there) == max(0, files - 2)  # the first are the task and the manifest
    assert (out / MANIFEST).exists() == (files >= 2)
    job = labelled([corpus], out)
    assert [row["id"] for row in rows(job)] == list(range(23))
    assert [row["text"] for row in rows(job)] == texts(23)
    assert {name: (out / name).stat().st_mtime_ns for name in there} == there
    whole = labelled([corpus], tmp_path / "whole")
    assert [job.path(p).read_bytes() for p in job.parts] == [whole.path(p).read_bytes() for p in whole.parts]
    assert {p.name for p in out.iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}


def test_killed_again_and_again_it_ends(tmp_path):
    corpus, out = parquet(tmp_path / "c.parquet", 23), tmp_path / "out"
    assert killed(corpus, out, 9) == killed(corpus, out, 6) == killed(corpus, out, 4) == -signal.SIGKILL
    assert killed(corpus, out, 99) == 0
    assert [row["id"] for row in rows(labelled([corpus], out))] == list(range(23))
