"""A logged task leaves a receipt of all it decides; a shadow decides and changes nothing."""

import json
from dataclasses import asdict, replace

import pytest

from headgate import Guard, Log, Logged, Router, drift, replay
from headgate.receipts import text_digest
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed

TEXTS = ["calm", "an injection", "", "toxic"]
GUARD = Guard(ToyScorer(), ["injection", "toxic"], 0.5)
ROUTER = Router(ToyScorer(), {"login": "password", "money": "invoice"})


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "log.jsonl")


def test_every_result_is_written_passes_too(log):
    found = Logged(GUARD, log, "live").many(TEXTS)
    assert found == GUARD.many(TEXTS)
    receipts = list(log)
    assert [r.result for r in receipts] == found
    assert [r.result.allowed for r in receipts] == [True, False, True, False]
    assert {r.task for r in receipts} == {"live"}
    assert [r.digest for r in receipts] == [text_digest(t) for t in TEXTS]
    assert not any(r.text for r in receipts)
    assert "injection" not in receipts[0].line.replace('"injection":', "")


def test_texts_are_kept_where_the_log_says_so(tmp_path):
    log = Log(tmp_path / "log.jsonl", texts=True)
    Logged(ROUTER, log, "live")([{"role": "user", "content": "my password"}, {"role": "user", "content": "please"}])
    assert [r.text for r in log] == ["my password\nplease"]


def test_a_shadow_finds_the_same_and_blocks_nothing(log):
    shadow = Logged(GUARD, log, "shadow", enforce=False)
    found = shadow.many(TEXTS)
    assert [replace(v, enforced=True) for v in found] == GUARD.many(TEXTS)
    assert [v.allowed for v in found] == [True, False, True, False]  # what was found
    assert not any(v.blocks for v in found)
    assert [v.blocks for v in GUARD.many(TEXTS)] == [False, True, False, True]
    assert [(r.result.allowed, r.result.enforced) for r in log] == [(v.allowed, False) for v in found]


def test_a_router_in_shadow_sends_all_to_the_default(log):
    found = Logged(ROUTER, log, "shadow", enforce=False, default="a person")("my password")
    assert (found.choice, found.route, found.enforced) == ("login", "a person", False)
    assert json.loads(next(iter(log)).line)["result"]["default"] == "a person"
    assert Logged(ROUTER, log, "shadow", enforce=False)("my password").route is None
    live = Logged(ROUTER, log, "live")
    assert [d.route for d in live.many(["my password", "hello"])] == ["login", None]
    assert [r.result.route for r in log] == ["a person", None, "login", None]


def test_live_and_shadow_share_a_log_told_apart_by_name(log):
    strict = replace(GUARD, threshold=0.01, forbid=["injection", "toxic", "calm"])
    live, shadow = Logged(GUARD, log, "live"), Logged(strict, log, "strict", enforce=False)
    for text in TEXTS:
        assert not shadow(text).blocks
        live(text)
    blocked = {name: sum(not r.result.allowed for r in log if r.task == name) for name in ("live", "strict")}
    assert blocked == {"live": 2, "strict": 3}


def test_a_shadow_s_log_says_what_other_thresholds_would_do(log):
    Logged(GUARD, log, "shadow", enforce=False).many(TEXTS)
    assert [r.changed for r in replay(log, threshold=1.0)] == [False, True, False, True]
    assert not any(r.result.enforced for r in replay(log, threshold=1.0))


def test_a_certificate_s_drift_shows_in_a_shadow_s_log_too(log):
    texts = [f"{word} {i}" for i in range(60) for word in ("password", "invoice", "hello")]
    truths = [{"password": "login", "invoice": "money"}.get(t.split()[0]) for t in texts]
    with pytest.warns(UserWarning, match="not guaranteed"):
        router = ROUTER.fit(texts, truths, max_error=0.001)
    Logged(router, log, "shadow", enforce=False).many(texts)
    assert drift(router.certificate, log).n == 180


def test_what_can_t_be_written_is_not_given_out(log):
    shadow = Logged(GUARD, log, "live")
    (log.path).mkdir()
    with pytest.raises(OSError, match=r"[Ii]s a directory|Permission"):
        shadow("calm")


def test_no_texts_write_nothing(log):
    assert Logged(GUARD, log, "live").many([]) == []
    assert not log.path.exists()


def test_one_call_scores_once(log):
    scorer = Fixed([[1.0], [2.0]])
    Logged(Guard(scorer, ["a"], 0.5), log, "live").many(["x", "y"])
    assert len(scorer.asked) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": " "}, "name is ' '"),
        ({"name": "a", "default": "b"}, "default is 'b', and enforce is set"),
    ],
)
def test_settings_that_mean_nothing_are_refused(log, settings, message):
    with pytest.raises(ValueError, match=message):
        Logged(ROUTER, log, **settings)


def test_results_stay_json(log):
    for task in (GUARD, ROUTER):
        for result in Logged(task, log, "a", enforce=False).many(TEXTS):
            json.dumps(asdict(result), allow_nan=False)
