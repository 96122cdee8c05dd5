"""``headgate replay`` and ``headgate drift``, and a saved task in place of options: no model is asked but theirs."""

import json

import pytest
from typer.testing import CliRunner

import headgate
from headgate import Guard, Log, Logged, Router, cli, restore, save
from headgate.testing import ToyScorer
from tests.core.test_watch import ROUTES, Given, routed, written
from tests.test_cli import complaint

GUARD = Guard(ToyScorer(), ["injection", "toxic words"], 0.5)
ROUTER = Router(ToyScorer(), {"login": "password", "money": "invoice paid"})
TEXTS = ["calm", "an injection", "toxic", "toxic injection"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def invoke(*arguments, stdin=None):
        return CliRunner().invoke(cli.app, [*map(str, arguments)], input=stdin, catch_exceptions=False)

    return invoke


@pytest.fixture
def log(run):
    log = Log("log.jsonl")
    Logged(GUARD, log, "guard").many(TEXTS)
    Logged(ROUTER, log, "router").many(["my password", "the invoice"])
    return log


def test_replay_counts_and_names_the_lines_that_change(run, log):
    result = run("replay", "log.jsonl", "--task", "guard", "--rule", "injection=1.0")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[:4] == [
        ["decided", "before", "after"],
        ["(allowed)", "1", "2"],
        ["injection", "2", "0"],
        ["toxic", "words", "2", "2"],
    ]
    assert rows[4] == ["line", "task", "at", "before", "after", "probability", "digest"]
    assert (rows[5][0], rows[5][1], rows[5][3:6]) == ("2", "guard", ["injection", "(allowed)", "0.982"])
    assert rows[6][0] == "4"
    assert rows[7] == ["2", "of", "4", "decisions", "change."]


def test_replay_of_both_tasks_as_json(run, log):
    found = json.loads(run("replay", "log.jsonl", "--threshold", "0.99", "--json").stdout)
    assert (found["receipts"], found["changed"]) == (6, 4)
    assert found["before"] == {"(allowed)": 1, "injection": 2, "toxic words": 2, "login": 1, "(none)": 1}
    assert found["after"] == {"(allowed)": 4, "(none)": 2}
    assert [one["line"] for one in found["lines"]] == [2, 3, 4, 5]
    assert found["lines"][0]["result"]["thresholds"] == {"injection": 0.99, "toxic words": 0.99}
    assert set(found["lines"][0]) == {"line", "task", "at", "digest", "before", "after", "result"}


def test_replay_without_changes_says_so(run, log):
    result = run("replay", "log.jsonl")
    assert "0 of 6 decisions change." in result.stdout
    assert "digest" not in result.stdout


def test_replay_takes_a_gap_and_unreadable(run, log):
    assert "login" in run("replay", "log.jsonl", "--gap", "9", "--task", "router").stdout
    assert json.loads(run("replay", "log.jsonl", "--gap", "9", "--json").stdout)["changed"] == 1
    assert json.loads(run("replay", "log.jsonl", "--unreadable", "0", "--json").stdout)["changed"] == 0


def test_names_in_a_log_don_t_steer_the_terminal(run):
    Logged(Guard(ToyScorer(), {"[bold]\x1b[31mx": "calm"}, 0.5), Log("log.jsonl"), "a\x1b[31m").many(["calm"])
    shown = run("replay", "log.jsonl", "--threshold", "1").stdout
    assert "\x1b" not in shown
    assert "[bold]" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "0.5", "--rule", "injection=1"], "--threshold and --rule came together"),
        (["--rule", "injection"], "--rule is 'injection'; expected NAME=THRESHOLD"),
        (["--rule", "injection=x"], "--rule is 'injection=x'; expected"),
        (["--rule", "injection=1", "--rule", "injection=0.5"], "each name once"),
        (["--rule", "injektion=1"], "no receipt knows ['injektion']"),
        (["--rule", "injection=7"], "threshold of 'injection' is 7.0"),
        (["--task", "other"], "holds no receipts of 'other'; it has ['guard', 'router']"),
    ],
)
def test_replay_explains_what_is_wrong_in_a_line(run, log, arguments, message):
    assert message in complaint(run("replay", "log.jsonl", *arguments))


def test_a_damaged_or_missing_log_is_named(run, log):
    with open("log.jsonl", "a") as file:
        file.write("{}\n")
    assert complaint(run("replay", "log.jsonl")).startswith("log.jsonl:7 is no receipt: ")
    assert complaint(run("replay", "none.jsonl")) == "none.jsonl: No such file or directory."
    open("empty.jsonl", "w").close()
    assert complaint(run("replay", "empty.jsonl")) == "empty.jsonl holds no receipts."


# ----------------------------------------------------------------------------------- drift


@pytest.fixture(scope="module")
def certified():
    z, truths = routed(0, 600)
    return Router(Given(), ROUTES).fit(written(z), truths, max_error=0.2)


def test_drift_says_expired_with_status_1(run, certified):
    save(certified, "router.yaml")
    Logged(certified, Log("same.jsonl"), "a").many(written(routed(1, 400)[0]))
    Logged(certified, Log("other.jsonl"), "a").many(written(routed(2, 400, shift=-2)[0]))
    Logged(GUARD, Log("other.jsonl"), "b").many(TEXTS)
    result = run("drift", "router.yaml", "same.jsonl")
    assert (result.exit_code, result.stdout.startswith("no drift seen: PSI ")) == (0, True)
    result = run("drift", "router.yaml", "other.jsonl")
    assert result.exit_code == 1
    assert result.stdout.startswith("calibration expired: PSI ")
    assert "(4 receipts are of other certificates, or of none.)" in result.stdout
    found = run("drift", "router.yaml", "other.jsonl", "--json", "--task", "a")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["expired"] is True
    assert json.loads(found.stdout)["n"] == 400


def test_drift_wants_a_certificate_and_receipts_under_it(run, log, certified):
    save(ROUTER, "plain.json")
    assert "plain.json has no certificate" in complaint(run("drift", "plain.json", "log.jsonl"))
    save(certified, "router.yaml")
    assert "none of 6 receipts was made under certificate" in complaint(run("drift", "router.yaml", "log.jsonl"))
    save(headgate.Reranker(ToyScorer()), "rerank.json")
    assert "rerank.json has no certificate" in complaint(run("drift", "rerank.json", "log.jsonl"))


# ------------------------------------------------------------------- a saved one, not options


@pytest.fixture
def restored(monkeypatch):
    """``restore`` as the command calls it, with a toy for a model."""
    calls = []

    def toy(path, *, device):
        calls.append(device)
        return restore(path, scorer=ToyScorer())

    monkeypatch.setattr(headgate, "restore", toy)
    return calls


def test_route_and_guard_take_a_saved_one(run, restored):
    save(Router(ToyScorer(), {"login": "password"}, 0.97, turns=1), "router.yaml")
    save(GUARD, "guard.json")
    found = run("route", "--config", "router.yaml", "--device", "cpu", "--json", stdin="my password\nhello\n")
    assert [json.loads(line)["decision"]["choice"] for line in found.stdout.splitlines()] == ["login", None]
    found = run("guard", "--config", "guard.json", "--json", stdin="an injection\n")
    assert found.exit_code == 1
    assert json.loads(found.stdout)["verdict"]["broken"] == ["injection"]
    assert restored == ["cpu", "auto"]


def test_a_saved_one_of_another_kind_or_with_options_is_refused(run, restored):
    save(ROUTER, "router.yaml")
    save(GUARD, "guard.json")
    wrong = run("route", "--config", "guard.json", stdin="a")
    assert complaint(wrong) == "guard.json holds a Guard; expected a Router."
    for options in (["--route", "a"], ["--threshold", "0"], ["--multi"], ["--model", "x"], ["--max-length", "64"]):
        assert "came with options" in complaint(run("route", "--config", "router.yaml", *options, stdin="a"))
    for options in (["--forbid", "a"], ["--threshold", "0.9"], ["--unreadable", "0.1"], ["--revision", "x"]):
        assert "came with options" in complaint(run("guard", "--config", "guard.json", *options, stdin="a"))
    assert "can't be read" in complaint(run("route", "--config", "none.yaml", stdin="a"))
