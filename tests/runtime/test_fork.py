"""A scorer that comes through a fork goes on, or says that it can't; it never hangs."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from headgate import ClosedError, load
from headgate.families.base import Family
from headgate.runtime.batching import Row
from headgate.runtime.cache import CachedForward
from headgate.runtime.torch_forward import TorchForward
from tests import tiny

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),  # that it may hang is what is tested
]
PATIENCE = 60.0
TEXTS = [f"{a} {b} the hub lost its password and the pump is broken " for a in tiny.CORPUS for b in tiny.CORPUS]


def in_child(check: Callable[[], bool]) -> str:
    """What became of ``check`` in a forked child: "yes", "no", "raised" or "hung"."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)  # without pytest's own clean-up
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return {0: "yes", 2: "no"}.get(os.waitstatus_to_exitcode(status), "raised")
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return "hung"


@pytest.fixture
def scorer(tmp_path: Path) -> Iterator[Family]:
    """A scorer whose parent process has a pool of threads."""
    tiny.cross_encoder(tmp_path, "bert", {0: "entailment", 1: "neutral", 2: "contradiction"})
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield load(tmp_path, template="{}", device="cpu")
    torch.set_num_threads(before)


def test_a_child_scores_the_same(scorer: Family) -> None:
    expected = scorer.score(TEXTS, tiny.LABELS).log_odds  # batches large enough for several threads

    def check() -> bool:
        same = np.allclose(scorer.score(TEXTS, tiny.LABELS).log_odds, expected, atol=1e-4)
        return bool(same and torch.get_num_threads() == 1)

    assert in_child(check) == "yes"
    assert torch.get_num_threads() == 2  # nothing of it reached the parent
    np.testing.assert_allclose(scorer.score(TEXTS, tiny.LABELS).log_odds, expected, atol=1e-4)


def test_a_lock_held_at_the_fork_stays_with_the_parent(scorer: Family) -> None:
    cached = scorer.cached()
    outer, inner = cached._core.forward, scorer._core.forward
    assert isinstance(outer, CachedForward)
    assert isinstance(inner, TorchForward)
    expected = cached.score(["the hub"], ["soil"]).log_odds

    def check() -> bool:
        again = cached.score(["the hub", "a fox"], ["soil"]).log_odds
        return bool(np.allclose(again[:1], expected, atol=1e-4))

    with outer._lock, inner._lock:  # as another thread of the parent might
        assert in_child(check) == "yes"


def test_a_child_of_a_child(scorer: Family) -> None:
    expected = scorer.score(TEXTS, ["soil"]).log_odds

    def same() -> bool:
        return bool(np.allclose(scorer.score(TEXTS, ["soil"]).log_odds, expected, atol=1e-4))

    assert in_child(lambda: same() and in_child(same) == "yes") == "yes"


def test_a_model_on_a_gpu_says_that_it_stays_behind() -> None:
    forward = TorchForward(lambda batch: batch.ids.float(), torch.device("cuda"), pad=0, max_tokens=10)

    def check() -> bool:
        try:
            forward([Row(np.array([1], dtype=np.int32))])
        except ClosedError as e:
            return "cuda" in str(e) and "spawn" in str(e)
        return False

    assert in_child(check) == "yes"


def test_closed_stays_closed(scorer: Family) -> None:
    scorer.close()

    def check() -> bool:
        try:
            scorer.score(["a"], ["b"])
        except ClosedError:
            return True
        return False

    assert in_child(check) == "yes"
