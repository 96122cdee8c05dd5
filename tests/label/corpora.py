"""Small corpora as files, and the rows of labelled ones."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from headgate import Router
from headgate.label import Here, Settings, begun, in_turn, stage
from headgate.testing import ToyScorer

WORDS = ("invoice", "parcel", "password", "hub", "refund", "towel")


def router():
    """Needs no model."""
    return Router(ToyScorer(), {"billing": "invoice refund", "access": "password"})


def texts(count):
    return [" ".join(WORDS[(i * k + k) % 6] for k in range(1, 2 + i % 5)) for i in range(count)]


def parquet(path: Path, count: int, *, group: int = 7, **more) -> Path:
    columns = {"id": list(range(count)), "text": texts(count), "none": pa.nulls(count, pa.int8()), **more}
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def jsonl(path: Path, count: int) -> Path:
    """With blank lines, other line ends, and keys in no order."""
    lines = []
    for i, text in enumerate(texts(count)):
        record = {"id": i, "text": text} if i % 2 else {"text": text, "id": i, "tags": ["ü", None], "more": {"a": 1.0}}
        lines.append(json.dumps(record, ensure_ascii=False) + ("\r\n" if i % 3 else "\n\n"))
    path.write_bytes("".join(lines).encode())
    return path


def labelled(inputs, out, settings=None, task=None):
    """Label files in this process; the job."""
    task = task or router()
    settings = settings or Settings(part_rows=4)
    job = begun({"route": task}, inputs, out, settings)
    missing = job.missing()
    done = list(in_turn(job, missing, Here([stage(task, "route", settings.reads)])))
    assert done == missing
    return job


def rows(job):
    """Of all parts, in order; what is half-written counts for nothing."""
    found = []
    for part in job.parts:
        path = job.path(part)
        if path.suffix == ".parquet":
            found += pq.read_table(path).to_pylist()
        else:
            found += [json.loads(line) for line in path.read_text("ascii").splitlines()]
    return found
