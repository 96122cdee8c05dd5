"""``headgate eval``, with scorers that say what a test tells them."""

import json

import pytest
from typer.testing import CliRunner

from headgate.cli import app
from headgate.evaluate import read_report
from tests.evaluate.fixed import ROWS, Embeds, Says

PAIRS = [{"premise": "p", "hypothesis": "h", "label": "entailment"}]
NULL = [*ROWS, {"text": "none", "label": None}]


@pytest.fixture
def loaded(monkeypatch):
    """(name, template) of every model that was loaded."""
    seen = []

    def load(where, *, template=None, **_):
        seen.append((where, template))
        if where == "mini/embed":
            return Embeds()
        right = 4.0 if where == "good" else -4.0
        return Says({r["text"]: {n: right * (n == r["label"]) - 1 for n in ("red", "green", "blue")} for r in ROWS})

    monkeypatch.setattr("headgate.loading.load", load)
    return seen


@pytest.fixture
def run(tmp_path, loaded):
    def ask(rows, *options):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
        return CliRunner().invoke(app, ["eval", str(path), *options], env={"COLUMNS": "200"})

    return ask


def test_figures_page_and_json(run, loaded, tmp_path):
    out, kept = tmp_path / "report.html", tmp_path / "report.json"
    done = run(ROWS, "--model", "good", "--template", "So {}.", "--out", str(out), "--json", str(kept))
    assert done.exit_code == 0, done.output
    assert "macro F1" in done.stdout
    assert "1.000" in done.stdout
    assert str(out) in done.stderr
    assert "Classification: good" in out.read_text("utf-8")
    assert read_report(kept)["accuracy"] == 1.0
    assert loaded == [("good", "So {}.")]


def test_several_models_stand_side_by_side(run, tmp_path):
    out, kept = tmp_path / "report.html", tmp_path / "report.json"
    done = run(ROWS, "--model", "good", "--model", "bad", "--out", str(out), "--json", str(kept), "--no-texts")
    assert done.exit_code == 0, done.output
    assert "bad - good" in out.read_text("utf-8")
    assert "Worst errors" not in out.read_text("utf-8")
    reports = [read_report(tmp_path / f"report-{n}.json") for n in (1, 2)]
    assert [r.name for r in reports] == ["good", "bad"]
    assert not any(table.texts for report in reports for table in report.tables)


@pytest.mark.parametrize(
    ("rows", "options", "task", "model"),
    [
        (ROWS, [], "classify", "mini/route"),
        (NULL, ["--task", "route", "--threshold", "0.3"], "route", "mini/route"),
        ([*NULL, {"text": "like", "label": None, "lookalike": True}], ["--threshold", "0.5"], "guard", "mini/guard"),
        ([{"query": "red", "documents": [{"text": "red 1", "relevance": 1}]}], [], "rerank", "mini/rerank"),
        (PAIRS, [], "pairs", "mini/nli"),
        (ROWS, ["--shots", "2"], "few-shot", "mini/embed"),
        (NULL, ["--task", "classify", "--multi", "--threshold", "0.2"], "classify", "mini/route"),
    ],
)
def test_the_task_is_read_from_the_rows(run, loaded, tmp_path, rows, options, task, model):
    kept = tmp_path / "report.json"
    done = run(rows, *options, "--json", str(kept))
    assert done.exit_code == 0, done.output
    assert read_report(kept).task == task
    assert loaded == [(model, None)]


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (NULL, [], "say --task route or --task guard"),
        ([*ROWS, {"text": " ", "label": "red"}], [], "row 37: 'text' is ' '"),
        ([*ROWS, {"text": "x", "label": "pink"}], ["--label", "red", "--label", "green", "--label", "blue"], "row 37"),
        ([*ROWS, *PAIRS], [], "row 37 has"),
        (PAIRS, ["--task", "route"], "laid out for pairs"),
        (ROWS, ["--task", "rerank"], "no documents"),
        (PAIRS, ["--label", "red"], "--label came with the task pairs"),
        (ROWS, ["--shots", "2", "--template", "So {}."], "--shots came with"),
        (ROWS, ["--lookalikes", "x.jsonl"], "--lookalikes came with the task classify"),
        (ROWS, ["--label", "red", "--label", "red=a"], "came twice"),
        (ROWS, ["--out", "no/such/folder/report.html"], "there is no folder"),
        (ROWS, ["--shots", "2", "--model", "good"], "makes no embeddings"),
        (ROWS, ["--shots", "2", "--seed", "0"], "--shots came with"),
        (ROWS, ["--threshold", "0.3"], "--threshold came with the task classify; expected it with --multi"),
        (ROWS, ["--history", "x.json"], "--history came without --out; expected a page"),
    ],
)
def test_what_does_not_fit_is_one_line_and_status_two(run, rows, options, says):
    done = run(rows, *options)
    assert done.exit_code == 2, done.output
    assert says in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_missing_file_is_said(loaded):
    done = CliRunner().invoke(app, ["eval", "nothing.jsonl"])
    assert done.exit_code == 2
    assert "nothing.jsonl: No such file" in done.stderr
    assert loaded == []


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        (NULL, ["--task", "route", "--threshold", "0.3"], {"threshold": 0.3, "multi": False, "seed": 0}),
        (NULL, ["--task", "route", "--multi", "--seed", "7"], {"threshold": None, "multi": True, "seed": 7}),
        (ROWS, ["--multi", "--threshold", "0.3"], {"threshold": 0.3, "multi": True}),
        (ROWS, ["--multi"], {"threshold": 0.5, "multi": True}),
        (ROWS, ["--label", "red", "--label", "green=a green", "--label", "blue"], {"labels": ["red", "green", "blue"]}),
        (ROWS, ["--shots", "2"], {"shots": 2}),
    ],
)
def test_options_reach_the_settings(run, tmp_path, rows, options, expected):
    done = run(rows, *options, "--json", str(tmp_path / "report.json"))
    assert done.exit_code == 0, done.output
    settings = read_report(tmp_path / "report.json").settings
    assert {key: settings[key] for key in expected} == expected


def test_lookalikes_and_their_threshold_reach_the_report(run, tmp_path):
    kept, alike = tmp_path / "report.json", tmp_path / "alike.jsonl"
    alike.write_text('{"text": "like 1"}\n{"text": "red 0"}\n')
    options = ["--task", "guard", "--threshold", "0.3", "--label", "red", "--model", "good", "--json", str(kept)]
    rows = [*ROWS[::3], {"text": "none", "label": None}]
    done = run(rows, *options, "--lookalikes", str(alike))
    assert done.exit_code == 0, done.output
    report = read_report(kept)
    assert report.settings["thresholds"] == {"red": 0.3}
    assert report.n == len(rows) + 2
    assert report["red: false positives on look-alikes"] == 0.5  # "red 0" is called red
    assert run(rows, *options).exit_code == 0
    assert read_report(kept).n == len(rows)


def test_loss_curves_reach_the_page(run, loaded, tmp_path):
    out, history = tmp_path / "report.html", tmp_path / "state.json"
    history.write_text(json.dumps({"log_history": [{"loss": 2.0, "step": 1}, {"loss": 0.5, "step": 2}]}))
    done = run(ROWS, "--history", str(history), "--out", str(out))
    assert done.exit_code == 0, done.output
    assert "Loss training from 2.000 to 0.500." in out.read_text("utf-8")
    loaded.clear()
    history.write_text("{}")
    done = run(ROWS, "--history", str(history), "--out", str(out))
    assert done.exit_code == 2
    assert "has no log_history" in done.stderr
    assert loaded == []  # nothing was scored for it
