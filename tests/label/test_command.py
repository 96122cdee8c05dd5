"""The command: which task, which options go together, and what it says."""

import json
import sys

import pytest
import typer
from typer.testing import CliRunner

import headgate
from headgate import Guard, Reranker, Router, save
from headgate.label import running
from headgate.label.command import command
from headgate.testing import ToyScorer
from tests.label.corpora import jsonl, parquet, router

OWN = {"injection": 0.5}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run it in a folder with ``c.parquet``, ``c.jsonl`` and saved tasks; models are toys."""
    monkeypatch.chdir(tmp_path)
    parquet(tmp_path / "c.parquet", 9)
    jsonl(tmp_path / "c.jsonl", 9)
    saved = {"router": router(), "guard": Guard(ToyScorer(), ["hub"], threshold=0.5), "reranker": Reranker(ToyScorer())}
    for name, task in saved.items():
        save(task, f"{name}.yaml")
    loaded = []
    restore = headgate.restore
    monkeypatch.setattr(headgate, "restore", lambda path, device: restore(path, scorer=ToyScorer()))
    toy = ToyScorer(thresholds=OWN)
    monkeypatch.setattr(headgate, "load", lambda where, **how: loaded.append((where, how)) or toy)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)

    def invoke(*arguments):
        result = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
        assert (result.exit_code, result.stdout) == (0, "")
        invoke.said = result.stderr
        return [
            json.loads(line) for path in sorted((tmp_path / "out").glob("0*")) for line in path.read_text().splitlines()
        ]

    invoke.loaded = loaded
    return invoke


def test_saved_tasks_add_columns_by_name(run):
    found = run("c.jsonl", "--out", "out", "--config", "router.yaml", "--config", "inbox=guard.yaml")
    new = [name for name in found[0] if name not in ("id", "text", "tags", "more")]
    assert {name.split("_")[0] for name in new} == {"router", "inbox"}
    assert "9 rows labelled" in run.said
    assert "9 in 1 parts in out" in run.said
    run("c.jsonl", "--out", "out", "--config", "router.yaml", "--config", "inbox=guard.yaml")
    assert "1 of 1 parts are there" in run.said
    assert "0 rows labelled" in run.said


def test_a_task_of_options_is_as_the_other_commands_make_it(run):
    found = run("c.jsonl", "--out", "out", "--task", "route", "--route", "a=invoice", "--route", "hub")
    assert list(found[0]["route_probabilities"]) == ["a", "hub"]
    assert run.loaded == [("mini/route", {"revision": None, "device": "auto", "max_length": None})]
    assert Router(ToyScorer(), {"a": "invoice", "hub": "hub"})(found[0]["text"]).choice == found[0]["route_choice"]


def test_a_guard_takes_the_model_s_own_rules(run):
    found = run("c.parquet", "--out", "out", "--task", "guard", "--format", "jsonl")
    assert list(found[0]["guard_probabilities"]) == ["injection"]
    assert run.loaded[0][0] == "mini/guard"


def test_a_reranker_ranks_for_a_query(run):
    found = run("c.jsonl", "--out", "out", "--config", "reranker.yaml", "--query", "invoice", "--part-rows", "2")
    assert [row["id"] for row in found] == list(range(9))
    assert all(isinstance(row["reranker_log_odds"], float) for row in found)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "there is no task"),
        (["--config", "router.yaml", "--threshold", "0.5"], "--config came with --threshold"),
        (["--config", "router.yaml", "--task", "guard"], "--config came with --task"),
        (["--config", "router.yaml", "--config", "router.yaml"], "two tasks are called 'router'"),
        (["--config", "none.yaml"], "none.yaml can't be read"),
        (["--config", "reranker.yaml"], "the reranker has no query"),
        (["--task", "route"], "there are no routes"),
        (["--task", "guard", "--route", "a"], "--task guard came with --route"),
        (["--task", "rerank", "--threshold", "0.5"], "--task rerank came with --threshold"),
        (["--task", "guard", "--set", "a=b"], "expected --with NAME beside them"),
        (["--task", "guard", "--with", "abacus"], "no runner 'abacus'.*pip install headgate-abacus"),
        (["--task", "guard", "--text", "words"], "'words' is null|no column 'words'"),
    ],
)
def test_what_makes_no_sense_is_refused(run, arguments, why):
    with pytest.raises(ValueError, match=why):
        run("c.jsonl", "--out", "out", *arguments)


def test_a_runner_is_found_by_its_entry_point(run, monkeypatch):
    class Point:
        name = "slow"

        def load(self):
            def slow(job, parts, here):
                assert dict(here.options) == {"n": "2"}
                yield from running.in_turn(job, parts, running.Here(here.stages))

            return slow

    monkeypatch.setattr(running, "entry_points", lambda group: [Point()] if group == "headgate.label" else [])
    assert len(run("c.jsonl", "--out", "out", "--task", "guard", "--with", "slow", "--set", "n=2")) == 9
    with pytest.raises(ValueError, match=r"no runner 'ray' \(installed are \['slow'\]\)"):
        run("c.jsonl", "--out", "out", "--task", "guard", "--with", "ray")


def test_a_runner_that_ends_early_is_no_success(run, monkeypatch):
    point = type("Point", (), {"name": "idle", "load": lambda self: lambda job, parts, here: iter(())})
    monkeypatch.setattr(running, "entry_points", lambda group: [point()])
    with pytest.raises(RuntimeError, match="1 parts are missing"):
        run("c.jsonl", "--out", "out", "--task", "guard", "--with", "idle")


def test_without_pyarrow_json_lines_go_on_and_parquet_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert len(run("c.jsonl", "--out", "out", "--task", "guard")) == 9
    with pytest.raises(headgate.MissingExtraError, match=r'pip install "headgate\[label\]"'):
        run("c.parquet", "--out", "out2", "--task", "guard")


def test_a_path_with_an_equals_sign_is_a_path(run, tmp_path):
    save(router(), tmp_path / "a=b.yaml")
    assert "a=b_choice" not in run("c.jsonl", "--out", "out", "--config", "r=a=b.yaml")[0]
