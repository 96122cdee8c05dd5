"""Many threads, different texts and lengths: the scores of one thread."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headgate import ClosedError, load
from headgate.families.base import Family
from tests import tiny

THREADS, CALLS = 8, 125
LABELS = ["password reset", "soil", "a refund of the invoice"]
TEXTS = ["a", "the hub " * 5, "refunds reach the customer within five days", "naïve café", "the pump is broken. " * 5]
CASES = [([TEXTS[i], TEXTS[j]], LABELS[k : k + 1]) for i in range(5) for j in range(5) for k in range(3)]


def nli(folder: Path) -> Family:
    tiny.cross_encoder(folder, "bert", {0: "entailment", 1: "neutral", 2: "contradiction"})
    return load(folder, template="{}", device="cpu")


def late(folder: Path) -> Family:
    tiny.sentence_encoder(folder)
    return load(folder, family="late_interaction", device="cpu").cached()


def together(work: Callable[[int], None]) -> None:
    """Run ``work(k)`` on every thread at once."""
    start = threading.Barrier(THREADS)

    def begin(k: int) -> None:
        start.wait()
        work(k)

    threads = [threading.Thread(target=begin, args=(k,)) for k in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


@pytest.mark.parametrize("family", [nli, late])
def test_a_thousand_calls(tmp_path: Path, family: Callable[[Path], Family]) -> None:
    scorer = family(tmp_path)
    alone = [scorer.score(texts, labels).log_odds for texts, labels in CASES]
    assert np.ptp(np.concatenate([z.ravel() for z in alone])) > 0.5
    worst = np.full(THREADS, np.inf)

    def work(k: int) -> None:
        order = np.random.default_rng(k).integers(0, len(CASES), size=CALLS)
        off = [np.abs(scorer.score(*CASES[i]).log_odds - alone[i]).max() for i in order]
        worst[k] = max(off)

    together(work)
    assert THREADS * CALLS == 1000
    assert worst.max() <= 1e-4, worst


def test_close_while_others_call(tmp_path: Path) -> None:
    scorer = nli(tmp_path)
    expected = scorer.score(TEXTS, LABELS).log_odds
    outcomes: list[object] = []
    called = threading.Event()

    def work(k: int) -> None:
        if k == 0:
            called.wait(timeout=60)
            scorer.close()
            return
        try:
            while True:
                np.testing.assert_allclose(scorer.score(TEXTS, LABELS).log_odds, expected, atol=1e-4)
                called.set()
        except Exception as e:
            outcomes.append(e)

    together(work)
    assert len(outcomes) == THREADS - 1
    assert all(isinstance(e, ClosedError) for e in outcomes), outcomes


def test_loading_on_many_threads(tmp_path: Path) -> None:
    """transformers sets torch's default dtype while it loads; another thread must not see it."""
    nli(tmp_path / "nli").close()
    late(tmp_path / "late").close()
    kinds: dict[str, dict[str, Any]] = {"nli": {"template": "{}"}, "late": {"family": "late_interaction"}}
    cases = [(where, dtype) for where in kinds for dtype in ("float32", "bfloat16")]

    def scores(where: str, dtype: str) -> np.ndarray:
        return load(tmp_path / where, dtype=dtype, device="cpu", **kinds[where]).score(TEXTS, LABELS).log_odds

    alone = {case: scores(*case) for case in cases}
    wrong: list[object] = []

    def work(k: int) -> None:
        for case in cases[k % 4 :] + cases[: k % 4]:
            try:
                np.testing.assert_allclose(scores(*case), alone[case], atol=1e-4 if case[1] == "float32" else 0.05)
            except Exception as e:
                wrong.append((case, e))

    together(work)
    assert wrong == []
    assert torch.get_default_dtype() == torch.float32
