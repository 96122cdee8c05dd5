"""Copies of one model: the same scores as one of them, an even deal, and errors that come through."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import load
from headgate.runtime.batching import Row, Work
from headgate.runtime.spread import SpreadForward, deal
from headgate.testing import check_scorer
from tests import tiny


def test_the_same_scores_and_both_work(tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path, "bert", {0: "entailment", 1: "not_entailment"})
    first, second, alone = (load(tmp_path, template="{}", device="cpu") for _ in range(3))
    both = first.spread([second])
    expected = alone.score(tiny.TEXTS, tiny.LABELS).log_odds
    np.testing.assert_allclose(both.score(tiny.TEXTS, tiny.LABELS).log_odds, expected, atol=1e-5)
    assert both.fingerprint == alone.fingerprint
    assert min(first.work.rows, second.work.rows) > 0
    assert both.work.rows >= alone.work.rows  # equal rows run once on each
    check_scorer(both)
    both.close()
    with pytest.raises(Exception, match="closed"):
        second.score(["a"], ["b"])


def test_others_than_copies_are_refused(tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path, "bert", {0: "entailment", 1: "not_entailment"})
    one = load(tmp_path, template="{}", device="cpu")
    with pytest.raises(ValueError, match="expected copies of one model"):
        one.spread([load(tmp_path, template="This is {}.", device="cpu")])
    with pytest.raises(ValueError, match="expected copies of one model"):
        one.spread([])
    with pytest.raises(ValueError, match="in one dtype"):
        one.spread([load(tmp_path, template="{}", device="cpu", dtype="int8")])
    with pytest.raises(TypeError, match="expected a list of scorers"):
        one.spread(one)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a list of scorers"):
        one.spread(["cuda:1"])  # type: ignore[list-item]


def test_an_error_comes_through() -> None:
    def broken(rows: object) -> list[np.ndarray]:
        raise RuntimeError("this device is gone")

    rows = [Row(np.arange(n, dtype=np.int32)) for n in (3, 2)]
    both = SpreadForward([lambda rows: [np.zeros(1, np.float32)] * len(rows), broken])
    with pytest.raises(RuntimeError, match="gone"):
        both(rows)
    assert both([]) == []
    assert both.work == Work()


@given(st.lists(st.integers(1, 500), max_size=60), st.integers(1, 5))
def test_every_row_once_and_even(lengths: list[int], hands: int) -> None:
    found = deal(lengths, hands)
    assert sorted(i for hand in found for i in hand) == list(range(len(lengths)))
    held = [sum(lengths[i] for i in hand) for hand in found]
    assert max(held) - min(held) <= max(lengths, default=0)
