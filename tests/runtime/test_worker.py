"""A worker merges callers into common batches, and mixes up nothing: answers, errors, cancellations, ends."""

import asyncio
import copy
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import Future, wait
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate import ClosedError, OverloadedError, ScorerError, Worker
from headgate.families.base import Family
from headgate.runtime.batching import Array, Row
from headgate.runtime.shared import SharedForward
from tests.runtime.test_fork import in_child
from tests.runtime.test_threads import CALLS, CASES, THREADS, late, nli, together

PATIENCE = 30.0
"""Seconds until a test that hangs fails."""


def row(value: int, length: int = 4) -> Row:
    return Row(np.full(length, value, dtype=np.int32))


class Model:
    """Says of a row its first id; keeps the batches it was given, and can be held."""

    def __init__(self, max_tokens: int = 64) -> None:
        self.max_tokens = max_tokens
        self.batches: list[list[int]] = []
        self.padded: list[int] = []
        self.threads: set[str] = set()
        self.at_once = 0
        self.begun, self.go = threading.Semaphore(0), threading.Event()
        self.go.set()

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        self.at_once += 1
        assert self.at_once == 1, "two threads run the model"
        values = [int(r.ids[0]) for r in rows]
        self.batches.append(values)
        self.padded.append(len(rows) * max(len(r.ids) for r in rows))
        self.threads.add(threading.current_thread().name)
        self.begun.release()
        assert self.go.wait(PATIENCE)
        self.at_once -= 1
        if 13 in values:
            raise RuntimeError("unlucky")
        return [np.array([v], np.float32) for v in values[: None if 99 not in values else -1]]

    def hold(self) -> None:
        self.go.clear()

    def wait(self) -> None:
        """Until a batch has begun."""
        assert self.begun.acquire(timeout=PATIENCE)


def ask(worker: Worker, model: Model, *values: int, length: int = 4) -> "Future[list[Array]]":
    return worker.submit(model, [row(v, length) for v in values], max_tokens=model.max_tokens)


def said(answer: "Future[list[Array]]") -> list[int]:
    return [int(a[0]) for a in answer.result(PATIENCE)]


@pytest.fixture
def busy() -> tuple[Worker, Model]:
    """A worker whose model is held in its first batch."""
    worker, model = Worker(wait=0), Model()
    model.hold()
    ask(worker, model, 0)
    model.wait()
    return worker, model


# ---------------------------------------------------------------------------------- what is merged


@pytest.mark.parametrize("family", [nli, late])
def test_a_thousand_calls_give_what_they_give_alone(tmp_path: Path, family: object) -> None:
    scorer: Family = family(tmp_path)  # type: ignore[operator]
    alone = [scorer.score(texts, labels).log_odds for texts, labels in CASES]
    shared = scorer.shared()
    worst = np.full(THREADS, np.inf)

    def work(k: int) -> None:
        order = np.random.default_rng(k).integers(0, len(CASES), size=CALLS)
        worst[k] = max(np.abs(shared.score(*CASES[i]).log_odds - alone[i]).max() for i in order)

    together(work)
    assert worst.max() < 1e-4
    shared.close()
    with pytest.raises(ClosedError):
        shared.score(*CASES[0])


def test_what_waits_shares_a_batch(busy: tuple[Worker, Model]) -> None:
    worker, model = busy
    answers = [ask(worker, model, v, v + 20) for v in range(1, 6)]
    model.go.set()
    assert [said(a) for a in answers] == [[v, v + 20] for v in range(1, 6)]
    assert len(model.batches) == 2
    assert model.threads == {"headgate-worker"}


def test_models_share_the_thread_and_no_batch(busy: tuple[Worker, Model]) -> None:
    worker, one = busy
    two = Model()
    answers = [ask(worker, model, v) for v in range(1, 5) for model in (one, two)]
    one.go.set()
    assert [said(a)[0] for a in answers] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert one.batches == [[0], [1, 2, 3, 4]]
    assert two.batches == [[1, 2, 3, 4]]


def test_a_request_waits_for_company_until_a_batch_is_full() -> None:
    worker, model = Worker(wait=3600), Model(max_tokens=16)
    first = ask(worker, model, 1, 2)
    second = ask(worker, model, 3, 4)
    assert said(first) == [1, 2]
    assert said(second) == [3, 4]
    assert len(model.batches) == 1
    third = ask(worker, model, 5)
    time.sleep(0.05)
    assert not third.done()
    worker.close()


def test_a_lone_request_waits_no_longer_than_told() -> None:
    worker, model = Worker(wait=0.001), Model()
    assert said(ask(worker, model, 5)) == [5]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 40), max_size=12), min_size=1, max_size=8),
    st.integers(1, 100),
)
def test_every_row_is_answered_once_within_the_budget(requests: list[list[int]], most: int) -> None:
    worker, model = Worker(wait=0), Model(most)
    model.hold()
    values = iter(range(100, 10_000))
    asked = [[(next(values), length) for length in lengths] for lengths in requests]
    answers = [worker.submit(model, [row(*r) for r in some], max_tokens=most) for some in asked]
    model.go.set()
    assert [said(a) for a in answers] == [[v for v, _ in some] for some in asked]
    assert sorted(v for batch in model.batches for v in batch) == [v for some in asked for v, _ in some]
    lengths = dict(r for some in asked for r in some)
    for batch, padded in zip(model.batches, model.padded, strict=True):
        assert padded <= max(most, max(lengths[v] for v in batch))
    worker.close()


def test_nobody_waits_behind_somebodys_million_rows(busy: tuple[Worker, Model]) -> None:
    worker, model = busy
    huge = worker.submit(model, [row(v, 60) for v in range(100, 400)], max_tokens=64)  # a row a batch
    small = [ask(worker, model, v, length=5) for v in range(1, 4)]
    model.go.set()
    assert [said(a) for a in small] == [[1], [2], [3]]
    assert next(k for k, batch in enumerate(model.batches) if 1 in batch) <= 2
    assert len(said(huge)) == 300


def test_rows_of_like_length_are_batched_together(busy: tuple[Worker, Model]) -> None:
    worker, model = busy
    answers = [worker.submit(model, [row(v, n) for v, n in ((k, 4), (k + 50, 32))], max_tokens=64) for k in range(1, 5)]
    model.go.set()
    for answer in answers:
        answer.result(PATIENCE)
    assert sorted(map(sorted, model.batches[1:])) == [[1, 2, 3, 4], [51, 52], [53, 54]]


def test_asyncio_waits_without_a_thread() -> None:
    worker, model = Worker(), Model()

    async def every() -> list[list[Array]]:
        return await asyncio.gather(*(asyncio.wrap_future(ask(worker, model, v)) for v in range(8)))

    assert [int(a[0]) for (a,) in asyncio.run(every())] == list(range(8))


# ------------------------------------------------------------------------------------ what goes wrong


def test_an_error_reaches_only_the_caller_whose_it_is(busy: tuple[Worker, Model]) -> None:
    worker, model = busy
    answers = [ask(worker, model, v) for v in (1, 13, 2)]
    model.go.set()
    assert said(answers[0]) == [1]
    assert said(answers[2]) == [2]
    with pytest.raises(RuntimeError, match="unlucky"):
        answers[1].result(PATIENCE)
    assert said(ask(worker, model, 3)) == [3]


def test_a_failed_request_takes_its_other_rows_along() -> None:
    worker, model = Worker(wait=0), Model(max_tokens=4)
    with pytest.raises(RuntimeError, match="unlucky"):
        ask(worker, model, 1, 2, 13).result(PATIENCE)
    assert said(ask(worker, model, 3)) == [3]
    assert [1] not in model.batches


def test_a_model_that_gives_too_few_answers_is_found_out() -> None:
    worker, model = Worker(wait=0), Model()
    with pytest.raises(ScorerError, match="1 answers to 2 rows"):
        ask(worker, model, 1, 99).result(PATIENCE)
    assert said(ask(worker, model, 3)) == [3]


def test_what_was_cancelled_before_it_began_is_never_run(busy: tuple[Worker, Model]) -> None:
    worker, model = busy
    one, two = ask(worker, model, 1), ask(worker, model, 2)
    assert one.cancel()
    model.go.set()
    assert said(two) == [2]
    assert model.batches == [[0], [2]]


def test_what_was_cancelled_while_it_ran_disturbs_nobody() -> None:
    worker, model = Worker(wait=0), Model(max_tokens=8)
    model.hold()
    one = ask(worker, model, 1, 2, 3, 4)  # two batches
    model.wait()
    two = ask(worker, model, 5)
    assert one.cancel()
    model.go.set()
    assert said(two) == [5]
    assert model.batches == [[3, 4], [5]]


def test_an_interrupted_caller_takes_its_rows_out(busy: tuple[Worker, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    worker, model = busy
    with monkeypatch.context() as patched:
        patched.setattr(Future, "result", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            SharedForward(model, worker)([row(7)])
    model.go.set()
    assert said(ask(worker, model, 1)) == [1]
    assert [7] not in model.batches


def test_too_much_at_once_is_refused() -> None:
    worker, model = Worker(wait=0, max_waiting=40), Model()
    model.hold()
    ask(worker, model, 0)
    model.wait()
    first = worker.submit(model, [row(1, 100)], max_tokens=64)  # alone it may wait, however long
    with pytest.raises(OverloadedError, match=r"100 tokens are waiting .* and 4 more came; expected at most 40"):
        ask(worker, model, 2)
    assert first.cancel()
    second = ask(worker, model, 3)
    model.go.set()
    assert said(second) == [3]


@pytest.mark.parametrize(
    "wrong", [{"wait": -1}, {"wait": float("nan")}, {"wait": float("inf")}, {"wait": 1e10}, {"max_waiting": 0}], ids=str
)
def test_settings_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 to"):
        Worker(**wrong)  # type: ignore[arg-type]


def test_a_wrong_request_harms_no_other() -> None:
    worker, model = Worker(wait=0), Model()
    with pytest.raises(TypeError):
        worker.submit(model, [row(1)], max_tokens=2.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="NoneType"):
        worker.submit(lambda _: None, [row(1)], max_tokens=8).result(PATIENCE)  # type: ignore[arg-type, return-value]
    assert said(ask(worker, model, 3)) == [3]


def test_a_callback_that_breaks_harms_no_other(busy: tuple[Worker, Model]) -> None:
    worker, model = busy
    one, two = ask(worker, model, 1), ask(worker, model, 2)
    one.add_done_callback(lambda _: (_ for _ in ()).throw(SystemExit))
    model.go.set()
    with pytest.raises(SystemExit):
        two.result(PATIENCE)
    assert said(ask(worker, model, 3)) == [3]


def test_those_who_wait_for_several_futures_hear_of_a_cancelled_one(busy: tuple[Worker, Model]) -> None:
    worker, model = busy
    one, two = ask(worker, model, 1), ask(worker, model, 2)
    assert one.cancel()
    model.go.set()
    assert wait([one, two], timeout=PATIENCE).not_done == set()


def test_shared_twice_is_shared_once(tmp_path: Path) -> None:
    worker, scorer = Worker(), nli(tmp_path)
    expected = scorer.score(*CASES[0]).log_odds
    for twice in (scorer.shared(worker).shared(worker), scorer.shared(worker).cached().shared(worker)):
        found: list[np.ndarray] = []
        caller = threading.Thread(target=lambda s=twice, f=found: f.append(s.score(*CASES[0]).log_odds), daemon=True)
        caller.start()
        caller.join(PATIENCE)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_a_copy_is_the_scorer_itself(tmp_path: Path) -> None:
    scorer = nli(tmp_path).shared()
    assert copy.copy(scorer) is copy.deepcopy(scorer) is scorer


def test_what_is_no_worker(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"expected a headgate\.Worker"):
        nli(tmp_path).shared(5)  # type: ignore[arg-type]


def test_no_rows() -> None:
    model = Model()
    assert SharedForward(model, Worker())([]) == []
    assert model.batches == []


# ------------------------------------------------------------------------------------------- the end


def test_closing_fails_what_waits_and_lets_the_batch_end(busy: tuple[Worker, Model]) -> None:
    worker, model = busy
    waiting = ask(worker, model, 1)
    closing = threading.Thread(target=worker.close)
    closing.start()
    with pytest.raises(ClosedError):
        waiting.result(PATIENCE)
    assert closing.is_alive()  # until the batch ends
    model.go.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    with pytest.raises(ClosedError, match="share another"):
        ask(worker, model, 2)
    worker.close()


def test_a_scorer_closes_its_own_worker_and_no_other(tmp_path: Path) -> None:
    worker, scorer = Worker(), nli(tmp_path)
    one, two = scorer.shared(worker), scorer.shared()
    one.close()  # the model, which all three share
    with pytest.raises(ClosedError, match="load it again"):
        two.score(*CASES[0])
    two.close()
    with pytest.raises(ClosedError, match="worker was closed"):
        two.score(*CASES[0])
    model = Model()
    assert said(ask(worker, model, 1)) == [1]


def test_an_idle_worker_holds_no_model() -> None:
    worker, model = Worker(wait=0), Model()
    assert said(ask(worker, model, 1)) == [1]
    held = weakref.ref(model)
    del model
    end = time.monotonic() + PATIENCE
    while held() is not None and time.monotonic() < end:  # the thread lets go just after it has answered
        gc.collect()
        time.sleep(0.01)
    assert held() is None
    worker.close()


def test_a_forgotten_worker_answers_and_ends_its_thread() -> None:
    worker, model = Worker(wait=3600), Model()
    answer = ask(worker, model, 1)
    thread = worker._queue.thread
    del worker
    gc.collect()
    assert said(answer) == [1]
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_has_a_thread_of_its_own(busy: tuple[Worker, Model]) -> None:
    worker, model = busy  # held in the parent, with a row of the parent's waiting
    left = ask(worker, model, 1)
    assert in_child(lambda: said(ask(worker, Model(), 2)) == [2]) == "yes"
    model.go.set()
    assert said(left) == [1]
    worker.close()

    def refused() -> bool:
        with pytest.raises(ClosedError):
            ask(worker, Model(), 2)
        return True

    assert in_child(refused) == "yes"


def test_the_interpreter_ends_after_the_batch_that_runs() -> None:
    code = """
import threading, time, numpy as np
from headgate import Worker
from headgate.runtime.batching import Row
begun = threading.Semaphore(0)
def slow(rows):
    begun.release()
    time.sleep(0.3)
    print("ended", flush=True)
    return [np.zeros(1, np.float32) for _ in rows]
worker = Worker(wait=0)
worker.submit(slow, [Row(np.ones(2, np.int32))], max_tokens=8)
begun.acquire()
worker.submit(slow, [Row(np.ones(2, np.int32))], max_tokens=8)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ended\n"
    assert done.stderr == ""
