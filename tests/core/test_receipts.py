"""Receipts: one line each, and enough on it to decide again."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import DataError, Guard, Log, Receipt, Reranker, Router, Rule, Verdict, replay
from headgate.receipts import said, text_digest
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed, logit, scores

NAMES = [f"route {k}" for k in range(4)]
z = st.floats(-30, 30, width=32)
row = st.lists(z, min_size=4, max_size=4)
p = st.floats(0, 1)
thresholds = st.none() | p | st.fixed_dictionaries(dict.fromkeys(NAMES, p))
DECISION = Router(ToyScorer(), ["password", "invoice"])("my password")
VERDICT = Guard(ToyScorer(), ["injection", "toxic words"], 0.5)("an injection")


def receipt(result, **more):
    return Receipt.of(result, task="a task", at="2026-01-31T12:00:00+00:00", **more)


def through(result):
    return Receipt.read(receipt(result).line).result


def router(threshold, *, multi=False, gap=0.0, top_k=None):
    return Router(
        ToyScorer(),
        NAMES,
        threshold,
        multi=multi,
        gap=0.0 if multi else gap,
        nulls=["a null", "another"],
        top_k=top_k if multi else None,
    )


# -------------------------------------------------------------------------------- one line


@given(row, row, thresholds, st.booleans(), st.floats(0, 5), st.none() | st.integers(1, 3))
def test_a_decision_is_the_same_after_its_line(z, more, threshold, multi, gap, top_k):
    task = router(threshold, multi=multi, gap=gap, top_k=top_k)
    (found,) = task.decide([scores([[*z, *more[:2]]])])
    assert through(found) == found
    assert "\n" not in receipt(found).line


@given(row, p, p, st.floats(0, 1, width=32))
def test_a_verdict_is_the_same_after_its_line(z, low, high, unknown):
    guard = Guard(ToyScorer(), {"a": Rule("x", low), "b": Rule("y", high)})
    (found,) = guard.decide([scores([z[:2]], unknown=[unknown])])
    assert through(found) == found


def test_a_ranking_is_the_same_after_its_line():
    hits = Reranker(ToyScorer())("password", ["reset the password", "an invoice"], prior=[0.5, 1.0])
    assert through(hits) == tuple(hits)
    assert said(tuple(hits)) == ("0", "1")


def test_a_line_holds_no_text_unless_asked():
    secret = "a secret naïve \ud800 text\n東京"
    line = receipt(VERDICT, text=secret).line
    assert "secret" not in line
    found = Receipt.read(line)
    assert found.digest == text_digest(secret)
    assert found.text is None
    assert Receipt.read(receipt(VERDICT, text=secret, keep_text=True).line).text == secret
    assert line.isascii()


def test_a_pass_and_a_block_carry_all_numbers():
    for text in ("calm", "an injection"):
        data = json.loads(receipt(Guard(ToyScorer(), ["injection", "toxic"], 0.5)(text)).line)
        assert set(data["result"]["probabilities"]) == set(data["result"]["thresholds"]) == {"injection", "toxic"}
        assert data["result"]["coverage"] == {"windows": 1, "read": 0, "total": 0}
    data = json.loads(receipt(DECISION).line)["result"]
    assert (data["choice"], data["runner_up"]) == ("password", "invoice")
    assert data["cut"] == {"threshold": None, "multi": False, "gap": 0.0, "top_k": None}


def test_now_is_in_utc():
    assert Receipt.of(VERDICT, task="a").at.endswith("+00:00")


@pytest.mark.parametrize("task", ["", " ", None, 7])
def test_a_task_has_a_name(task):
    with pytest.raises(ValueError, match="expected a name"):
        Receipt.of(VERDICT, task=task)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", "it is list; expected a receipt"),
        ("{}", "it is format None; expected a receipt of format 1"),
        (receipt(VERDICT).line.replace('"v": 1', '"v": 2'), "it is format 2"),
        (receipt(VERDICT).line.replace('"at"', '"when"'), "when is unknown"),
        (receipt(VERDICT).line.replace('"allowed": false', '"allowed": 0'), "result.allowed is '0', int"),
        (receipt(VERDICT).line.replace('"unknown": 0.0', '"unknown": NaN'), "result.unknown is nan"),
        (receipt(VERDICT).line.replace('"broken"', '"brocken"'), r"result.brocken is unknown; .*'broken'"),
        (receipt(DECISION).line.replace('"reason": "chosen"', '"reason": "why"'), "result.reason is 'why'"),
        (receipt(DECISION).line.replace('"none":', '"null":', 1), "result.none is missing|came twice"),
        (receipt(DECISION).line.replace('"gap": 0.0', '"gap": -1.0'), "result.cut: gap is -1.0"),
    ],
)
def test_a_damaged_line_names_the_key(line, message):
    with pytest.raises(ValueError, match=message):
        Receipt.read(line)


# ---------------------------------------------------------------------------------- a file


def test_a_log_reads_what_was_written_in_order(tmp_path):
    log = Log(tmp_path / "a.jsonl")
    first, second = receipt(DECISION), receipt(VERDICT, text="a")
    log.write(first)
    log.write()
    log.write(second, first)
    assert list(log) == [first, second, first]
    assert [n for n, _ in Log(str(tmp_path / "a.jsonl")).lines()] == [1, 2, 3]


def test_threads_and_processes_share_a_log(tmp_path):
    path = tmp_path / "a.jsonl"
    log = Log(path)
    long = [replace(receipt(VERDICT), text="x" * 20_000 + str(i)) for i in range(200)]
    code = (
        "import sys; from headgate import Log, Receipt; log = Log(sys.argv[1]); one = next(iter(Log(sys.argv[2])));"
        "[log.write(one) for _ in range(200)]"
    )
    Log(tmp_path / "one.jsonl").write(receipt(DECISION))
    other = subprocess.Popen([sys.executable, "-c", code, str(path), str(tmp_path / "one.jsonl")])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(log.write, long))
    assert other.wait(60) == 0
    found = list(log)
    assert len(found) == 400
    assert {r.text for r in found if r.text} == {r.text for r in long}


def test_a_torn_line_spoils_no_other_and_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    log = Log(path)
    log.write(receipt(VERDICT))
    with path.open("a") as file:
        file.write(receipt(VERDICT).line[:50])
    log.write(receipt(DECISION))
    lines = path.read_text().splitlines()
    assert Receipt.read(lines[2]) == receipt(DECISION)
    with pytest.raises(DataError, match=r"a\.jsonl:2 is no receipt: .*Delete the line"):
        list(log)
    path.write_text("\n".join([lines[0], "", "  ", lines[2]]))
    assert [n for n, _ in log.lines()] == [1, 4]


def test_a_deep_line_is_damaged_not_a_crash(tmp_path):
    (tmp_path / "a.jsonl").write_text("[" * 100_000)
    with pytest.raises(DataError, match=":1 is no receipt"):
        list(Log(tmp_path / "a.jsonl"))


def test_a_log_that_was_moved_is_begun_anew(tmp_path):
    log = Log(tmp_path / "a.jsonl")
    log.write(receipt(VERDICT))
    (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
    log.write(receipt(DECISION))
    assert list(log) == [receipt(DECISION)]


def test_a_log_wants_its_folder_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        Log(tmp_path / "nowhere" / "a.jsonl")
    with pytest.raises(FileNotFoundError):
        list(Log(tmp_path / "a.jsonl"))


# ---------------------------------------------------------------------------------- replay


@given(row, row, thresholds, st.booleans(), st.floats(0, 5), st.none() | st.integers(1, 3))
def test_replay_without_changes_changes_nothing(z, more, threshold, multi, gap, top_k):
    (found,) = router(threshold, multi=multi, gap=gap, top_k=top_k).decide([scores([[*z, *more[:2]]])])
    found = replace(found, certificate="abc")
    (again,) = replay([receipt(through(found))])
    assert again.result == found
    assert not again.changed


@given(row, row, thresholds, p | st.dictionaries(st.sampled_from(NAMES), p, min_size=1), st.booleans(), st.floats(0, 5))
def test_replay_decides_as_the_router_would_have(z, more, old, new, multi, gap):
    judged = [scores([[*z, *more[:2]]])]
    (before,) = router(old, multi=multi).decide(judged)
    (again,) = replay([receipt(through(before))], threshold=new, gap=None if multi else gap)
    best = max(before.probabilities, key=before.probabilities.__getitem__)
    if isinstance(new, dict) and old is None and not multi:
        want = new.get(best)  # the others had to beat "none", and nothing else is chosen
    elif isinstance(new, dict):
        base = old if isinstance(old, dict) else dict.fromkeys(NAMES, 0.5 if old is None else old)
        want = {**base, **new}
    else:
        want = new
    (after,) = router(want, multi=multi, gap=gap).decide(judged)
    assert replace(again.result, cut=after.cut) == after
    assert again.result.cut.least(best) == after.cut.least(best)
    assert again.changed == (before.choices != after.choices)
    assert (again.before, again.after) == (before.choices or ("(none)",), after.choices or ("(none)",))


@given(row, st.tuples(p, p), p | st.dictionaries(st.sampled_from("ab"), p, min_size=1), st.none() | p, p)
def test_replay_judges_as_the_guard_would_have(z, old, new, unreadable, unknown):
    def guard(low, high, share=0.5):
        return Guard(ToyScorer(), {"a": Rule("x", low), "b": Rule("y", high)}, unreadable=share)

    judged = [scores([z[:2]], unknown=[unknown])]
    (before,) = guard(*old).decide(judged)
    (again,) = replay([receipt(through(before))], threshold=new, unreadable=unreadable)
    own = new if isinstance(new, dict) else {"a": new, "b": new}
    (after,) = guard(own.get("a", old[0]), own.get("b", old[1]), 0.5 if unreadable is None else unreadable).decide(
        judged
    )
    assert again.result == after
    assert again.changed == (before.broken != after.broken)


def test_other_thresholds_have_no_certificate_and_the_same_keep_it():
    for result in (replace(DECISION, certificate="abc"), replace(VERDICT, certificate="abc")):
        assert replay([receipt(result)])[0].result.certificate == "abc"
        assert replay([receipt(result)], threshold=0.123)[0].result.certificate is None
    assert replay([receipt(replace(VERDICT, certificate="a"))], threshold=0.5)[0].result.certificate == "a"


def test_replay_works_a_log_off_and_keeps_its_order(tmp_path):
    log = Log(tmp_path / "a.jsonl")
    guard = Guard(ToyScorer(), ["injection", "toxic"], 0.5)
    texts = ["calm", "an injection", "toxic", "toxic injection"]
    log.write(*(Receipt.of(v, task="g") for v in guard.many(texts)))
    found = replay(log, threshold={"toxic": 1.0})
    assert [r.changed for r in found] == [False, False, True, True]
    assert [r.after for r in found] == [("(allowed)",), ("injection",), ("(allowed)",), ("injection",)]
    assert found[2].before == ("toxic",)


def test_nan_breaks_the_rule_in_a_replay_too():
    odd = Verdict(False, ("a",), {"a": float("nan")}, {"a": 0.5}, {"a": (0, 1)})
    assert replay([receipt(odd)], threshold=0.9)[0].result.broken == ("a",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.5}, r"threshold is 1.5; expected a probability"),
        ({"threshold": {"toxic words": -1}}, "threshold of 'toxic words' is -1"),
        ({"threshold": {"toxik": 0.5}}, r"no receipt knows \['toxik'\], .*\['injection', 'toxic words'\]"),
        ({"unreadable": 2}, "unreadable is 2"),
    ],
)
def test_replay_refuses_what_means_nothing(settings, message):
    with pytest.raises(ValueError, match=message):
        replay([receipt(VERDICT)], **settings)


def test_replay_refuses_a_gap_for_several_routes_and_rankings():
    several = Router(Fixed([logit([0.9, 0.8])]), ["a", "b"], multi=True)("x")
    with pytest.raises(ValueError, match=r"gap is 1.* and multi is set"):
        replay([receipt(several)], gap=1)
    with pytest.raises(ValueError, match="is of a ranking"):
        replay([receipt(Reranker(ToyScorer())("a", ["a"]))])


def test_of_equal_routes_the_first_is_best_in_a_replay_too():
    (tie,) = Router(Fixed([np.array([2.0, 2.0])]), ["a", "b"]).many(["x"])
    assert replay([receipt(tie)], threshold=0.4)[0].result.choice == "a"
    assert replay([receipt(tie)], threshold={"b": 0.99})[0].result.choice == tie.choice
