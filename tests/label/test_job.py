"""Files: every row once with all it had, and a folder that knows what it was begun with."""

import datetime
import json
import os
from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import headgate
from headgate import DataError, Guard, Reranker, Router
from headgate.label import Here, Labeller, Reads, Settings, begun, in_turn, stage
from headgate.label import sources as reading
from headgate.label.job import MANIFEST
from headgate.testing import ToyScorer
from tests.label.corpora import jsonl, labelled, parquet, router, rows, texts

FOUR = Settings(part_rows=4)


@pytest.fixture(params=["parquet", "jsonl"])
def corpus(request, tmp_path):
    return (parquet if request.param == "parquet" else jsonl)(tmp_path / f"c.{request.param}", 23)


def test_every_row_comes_once_in_order_with_all_it_had(corpus, tmp_path):
    job = labelled([corpus], tmp_path / "out")
    found = rows(job)
    assert [row["id"] for row in found] == list(range(23))
    assert [row["text"] for row in found] == texts(23)
    assert [row["route_choice"] for row in found] == [d.choice for d in router().many(texts(23))]
    assert [part.rows for part in job.parts] == [4, 4, 4, 4, 4, 3]
    before = pq.read_table(corpus).to_pylist() if corpus.suffix == ".parquet" else None
    if before is None:
        before = [json.loads(line) for line in corpus.read_text("utf-8").splitlines() if line]
    new = ["route_choice", "route_probability", "route_none", "route_reason", "route_probabilities"]
    for row, old in zip(found, before, strict=True):
        assert list(row) == [*old, *new]
        assert {name: row[name] for name in old} == old


def test_parquet_keeps_types_and_parts_have_one_schema(tmp_path):
    when = pa.array([datetime.datetime(2026, 1, 1)] * 23, pa.timestamp("us"))
    corpus = parquet(tmp_path / "c.parquet", 23, when=when, cost=pa.array([Decimal("1.50")] * 23))
    job = labelled([corpus], tmp_path / "out")
    schemas = {str(pq.read_schema(job.path(part))) for part in job.parts}
    assert len(schemas) == 1
    schema = pq.read_schema(job.path(job.parts[0]))
    assert [schema.field(name).type for name in ("none", "when", "cost")] == [
        pa.int8(), pa.timestamp("us"), pa.decimal128(3, 2),
    ]  # fmt: skip
    assert pq.read_table(tmp_path / "out").num_rows == 23  # whoever reads the folder sees the parts alone


def test_several_files_are_labelled_in_their_order(tmp_path):
    inputs = [parquet(tmp_path / "b.parquet", 5), jsonl(tmp_path / "a.jsonl", 6), parquet(tmp_path / "e.parquet", 0)]
    job = labelled(inputs, tmp_path / "out")
    assert [row["id"] for row in rows(job)] == [*range(5), *range(6)]
    assert sorted(job.path(part).name for part in job.parts) == [job.path(part).name for part in job.parts]


@pytest.mark.parametrize(("kind", "to"), [("parquet", "jsonl"), ("jsonl", "parquet")])
def test_another_format_holds_the_same(kind, to, tmp_path):
    corpus = (parquet if kind == "parquet" else jsonl)(tmp_path / f"c.{kind}", 23)
    same, other = labelled([corpus], tmp_path / "a"), labelled([corpus], tmp_path / "b", replace(FOUR, format=to))
    keys = ("id", "text", "route_choice", "route_none", "route_probabilities")
    assert [[row[k] for k in keys] for row in rows(other)] == [[row[k] for k in keys] for row in rows(same)]
    assert {other.path(part).suffix for part in other.parts} == {f".{to}"}


def test_what_json_can_t_hold_says_so(tmp_path):
    corpus = parquet(tmp_path / "c.parquet", 2, raw=[b"a", b"b"])
    with pytest.raises(DataError, match=r"a value is bytes.*--format parquet"):
        labelled([corpus], tmp_path / "out", replace(FOUR, format="jsonl"))
    mixed = tmp_path / "m.jsonl"
    mixed.write_text('{"text": "a", "n": 1}\n{"text": "b", "n": "one"}\n')
    with pytest.raises(DataError, match=r"m\.jsonl fits no table.*--format jsonl"):
        labelled([mixed], tmp_path / "out2", replace(FOUR, format="parquet"))


def test_a_second_run_does_what_is_missing_and_leaves_the_rest(corpus, tmp_path):
    job = labelled([corpus], tmp_path / "out")
    before = {job.path(part).name: job.path(part).read_bytes() for part in job.parts}
    times = {job.path(part).name: job.path(part).stat().st_mtime_ns for part in job.parts}
    gone = [job.path(job.parts[k]) for k in (0, 3, 4)]
    for path in gone:
        path.unlink()
    (tmp_path / "out" / ".left.half").write_bytes(b"half")
    again = labelled([os.path.relpath(corpus)], tmp_path / "out")
    assert again.parts == job.parts
    assert {job.path(part).name: job.path(part).read_bytes() for part in job.parts} == before
    kept = {n: t for n, t in times.items() if tmp_path / "out" / n not in gone}
    assert {n: (tmp_path / "out" / n).stat().st_mtime_ns for n in kept} == kept
    assert not (tmp_path / "out" / ".left.half").exists()
    assert not again.missing()


def other_text(corpus):
    whole = corpus.read_bytes()
    corpus.write_bytes(whole.replace(b"towel", b"trowl", 1))


CHANGES = {
    "inputs": (lambda c: other_text(c), {}, r"other inputs: inputs\[0\]\.digest was"),
    "another input": (lambda c: None, {"more": True}, "other inputs"),
    "settings": (lambda c: None, {"settings": Settings(part_rows=5)}, r"settings\.part_rows was 4, and is 5"),
    "on_error": (lambda c: None, {"settings": replace(FOUR, on_error="null")}, 'on_error was "stop", and is "null"'),
    "threshold": (lambda c: None, {"task": replace(router(), threshold=0.9)}, r"tasks\.route\.threshold was null"),
    "model": (lambda c: None, {"task": replace(router(), scorer=ToyScorer(fingerprint="new"))}, "fingerprint"),
    "another task": (lambda c: None, {"task": Guard(ToyScorer(), ["hub"], threshold=0.5)}, "tasks.route.task was"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_anything_else_is_refused_and_says_why(name, tmp_path):
    corpus = jsonl(tmp_path / "c.jsonl", 23)
    job = labelled([corpus], tmp_path / "out")
    job.path(job.parts[2]).unlink()
    change, given, why = CHANGES[name]
    change(corpus)
    inputs = [corpus, parquet(tmp_path / "d.parquet", 3)] if given.pop("more", False) else [corpus]
    with pytest.raises(DataError, match=why):
        labelled(inputs, tmp_path / "out", **given)
    assert job.missing() == [job.parts[2]]


def test_another_version_is_refused(corpus, tmp_path, monkeypatch):
    labelled([corpus], tmp_path / "out")
    monkeypatch.setattr(headgate, "__version__", "0.9")
    with pytest.raises(DataError, match="other headgate"):
        labelled([corpus], tmp_path / "out")


def test_a_strange_folder_is_refused(corpus, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("dear")
    with pytest.raises(DataError, match=r"holds 'diary\.txt' and no _manifest"):
        labelled([corpus], tmp_path / "out")
    (tmp_path / "out" / MANIFEST).write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        labelled([corpus], tmp_path / "out")


def test_an_input_that_changes_under_way_is_noticed(tmp_path):
    corpus = jsonl(tmp_path / "c.jsonl", 23)
    job = begun({"route": router()}, [corpus], tmp_path / "out", FOUR)
    corpus.write_bytes(corpus.read_bytes()[:300])
    with pytest.raises(DataError):
        list(in_turn(job, job.missing(), Here([stage(router())])))


# --- bad rows


def test_bad_rows_stop_before_anything_is_labelled(tmp_path):
    corpus = jsonl(tmp_path / "c.jsonl", 9)
    with corpus.open("a") as file:
        file.write('{"id": 9, "words": "a"}\n')
    number = corpus.read_text().count("\n")
    with pytest.raises(DataError, match=rf"c\.jsonl:{number}: 'text' is null.*It has \['id', 'words'\]"):
        labelled([corpus], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    table = parquet(tmp_path / "c.parquet", 5)
    pq.write_table(pa.concat_tables([pq.read_table(table), pa.table({"text": [None]}, pa.schema([("text", "string")]))],
                                    promote_options="default"), table)  # fmt: skip
    with pytest.raises(DataError, match=r"c\.parquet, row 6: 'text' is null"):
        labelled([table], tmp_path / "out")


def test_bad_rows_go_on_with_an_error(tmp_path):
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"text": "invoice refund"}\n{"text": null, "id": 1}\n{"id": 2}\n{"text": ["a"]}\n')
    job = labelled([corpus], tmp_path / "out", Settings(part_rows=3, on_error="null"))
    found = rows(job)
    assert [row["route_choice"] for row in found] == ["billing", None, None, None]
    assert [bool(row["error"]) for row in found] == [False, True, True, True]
    assert "text" not in found[2]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("{", r"c\.jsonl:2 is not JSON"),
        ("[1]", r"c\.jsonl:2 is list; expected an object"),
        ('{"text": "a", "text": "b"}', "a key comes twice"),
        ('{"text": "a", "route_choice": 1}', r"c\.jsonl:2: the input has the columns \['route_choice'\]"),
        ('{"text": "\udcff"}', "holds byte 0xff; expected UTF-8"),
    ],
)
def test_lines_that_can_t_be_kept_stop_whatever_is_said(words, why, tmp_path):
    corpus = tmp_path / "c.jsonl"
    corpus.write_bytes(f'{{"text": "a"}}\n{words}\n'.encode("utf-8", "surrogateescape"))
    for on_error in ("stop", "null"):
        with pytest.raises(ValueError, match=why):
            labelled([corpus], tmp_path / "out", Settings(on_error=on_error))


def test_a_table_must_have_the_columns_and_no_new_ones(tmp_path):
    corpus = parquet(tmp_path / "c.parquet", 3, n=[1, 2, 3])
    for reads, why in [(Reads("words"), "no column 'words'"), (Reads("n"), "'n' is int64; expected texts")]:
        for on_error in ("stop", "null"):
            with pytest.raises(DataError, match=why):
                labelled([corpus], tmp_path / "out", Settings(reads, on_error=on_error))
    taken = parquet(tmp_path / "d.parquet", 3, route_none=[1, 2, 3])
    with pytest.raises(ValueError, match="route_none"):
        labelled([taken], tmp_path / "out")
    for name in ("c.csv", "no.parquet"):
        (tmp_path / name).write_bytes(b"a")
        with pytest.raises(ValueError, match=r"ends in '\.csv'|no Parquet file"):
            labelled([tmp_path / name], tmp_path / "out")


def test_texts_of_other_arrow_types_are_read(tmp_path):
    table = pa.table({
        "text": pa.array(["invoice", "hub", "hub"]).dictionary_encode(),
        "docs": pa.array([["a"], [], ["b", "invoice"]], pa.large_list(pa.large_string())),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "c.parquet")
    assert len(rows(labelled([tmp_path / "c.parquet"], tmp_path / "a"))) == 3
    settings = Settings(Reads(query="invoice", passages="docs"))
    found = rows(labelled([tmp_path / "c.parquet"], tmp_path / "b", settings, Reranker(ToyScorer())))
    assert [row["route_order"] for row in found] == [[0], [], [1, 0]]


# --- memory, places


def test_no_more_than_a_part_and_a_portion_is_held(tmp_path, monkeypatch):
    corpus = parquet(tmp_path / "c.parquet", 5000, group=5000)
    job = begun({"route": router()}, [corpus], tmp_path / "out", Settings(part_rows=100))
    seen = []
    table = reading.Reader.table
    monkeypatch.setattr(reading.Reader, "table", lambda self, part: seen.append(self) or table(self, part))
    opened = []
    original = reading.opened
    monkeypatch.setattr(reading, "opened", lambda path: opened.append(path) or original(path))
    labelled = Labeller(job, [stage(router())])
    for part in job.parts:
        labelled(part)
        held = seen[-1]._table
        assert held.num_rows <= reading._PORTION
    assert len(opened) == 1  # neighbours are read on
    for k in (30, 3, 12):
        before = job.path(job.parts[k]).read_bytes()
        labelled(job.parts[k])
        assert job.path(job.parts[k]).read_bytes() == before


def test_a_job_is_the_same_from_elsewhere(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = begun({"route": router()}, [corpus.name], "out", FOUR).absolute()
    monkeypatch.chdir(tmp_path.parent)
    labeller = Labeller(job, [stage(router())])
    for part in job.parts:
        labeller(part)
    assert [row["id"] for row in rows(job)] == list(range(23))


def test_names_and_inputs_must_make_sense(corpus, tmp_path):
    for tasks, inputs, why in [
        ({"a b": router()}, [corpus], "a task is called 'a b'"),
        ({}, [corpus], "there are no stages"),
        ({"route": router()}, [], "there are no inputs"),
    ]:
        with pytest.raises(ValueError, match=why):
            begun(tasks, inputs, tmp_path / "out", FOUR)
    for wrong in ({"part_rows": 0}, {"format": "csv"}, {"on_error": "skip"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Settings(**wrong)


def test_a_router_of_tasks_with_models_comes_back_from_the_folder(corpus, tmp_path):
    task = Router(headgate.load("mini/route", dtype="float32"), ["billing", "access"])
    job = begun({"route": task}, [corpus], tmp_path / "out", FOUR)
    (again,) = job.stages(device="cpu")
    assert again.task.scorer.fingerprint == task.scorer.fingerprint
    other = replace(job, runs={"route": {"backend": "torch", "dtype": "bfloat16"}})
    with pytest.raises(DataError, match="expected the same digits"):
        other.stages(device="cpu")
