"""A large call is read in portions: the same numbers, and memory that does not grow with the documents."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headgate import Ask, Reranker, load
from headgate.families.base import Family
from headgate.families.portions import portions
from headgate.runtime.torch_forward import TorchForward
from tests import tiny

TEXTS = st.lists(st.text("ab", max_size=6), max_size=5)
BUDGET = 512


@given(st.lists(st.tuples(TEXTS, st.lists(st.just("l"), max_size=2)), max_size=4), st.integers(1, 12))
def test_portions_are_the_asks_in_order_and_within_the_limit(
    given: list[tuple[list[str], list[str]]], limit: int
) -> None:
    asks = [Ask(texts, labels) for texts, labels in given]
    found = portions(asks, limit)
    for number, ask in enumerate(asks):
        own = [part for portion in found for k, part in portion if k == number]
        assert [text for part in own for text in part.texts] == ask.texts
        assert all(part.labels == ask.labels for part in own)
        assert all(part.texts for part in own) or not ask.texts
        assert own
    for portion in found:
        sizes = [len(text) * max(1, len(ask.labels)) for _, ask in portion for text in ask.texts]
        assert sum(sizes) <= limit or sum(size > 0 for size in sizes) == 1


@pytest.mark.parametrize("part", ["nli", "rank", "route", "gliclass", "guard"])
def test_portions_change_no_number(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = load(f"mini/{part}", device="cpu", exact=True)
    labels = list(scorer.labels or ["billing", "an angry customer"])
    asks = [Ask(["refund me", "", "the hub " * 400], labels), Ask([], labels), Ask(["hello"], labels[:1])]
    expected = scorer.score_many(asks)
    monkeypatch.setattr("headgate.families.base.CHARACTERS", 1)
    for a, b in zip(scorer.score_many(asks), expected, strict=True):
        np.testing.assert_allclose(a.log_odds, b.log_odds, atol=1e-4)
        for name in ("windows", "spans", "tokens", "unknown", "empty"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (a.meaning, a.exclusive) == (b.meaning, b.exclusive)


def documents(count: int) -> list[str]:
    """Different ones, of 3,000 characters."""
    rng = np.random.default_rng(count)
    words = " ".join(tiny.CORPUS).split()
    return [" ".join(rng.choice(words, 600))[:3000] for _ in range(count)]


def watched(folder: Path, sizes: list[tuple[int, int]]) -> Family:
    """A tiny BERT with a small budget; rows and tokens of every batch go into ``sizes``."""
    tiny.cross_encoder(folder, "bert", {0: "entailment", 1: "not_entailment"})
    scorer = load(folder, template="{}", device="cpu", exact=True)
    inner = scorer._core.forward
    assert isinstance(inner, TorchForward)
    module = inner._module
    assert module is not None

    def recorded(batch: object) -> object:
        sizes.append((len(batch.ids), batch.ids.numel()))  # type: ignore[attr-defined]
        return module(batch)  # type: ignore[arg-type]

    forward = TorchForward(recorded, torch.device("cpu"), pad=0, max_tokens=BUDGET, packed=True)  # type: ignore[arg-type]
    return scorer._through(forward)


def test_memory_does_not_grow_with_the_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's and numpy's memory; torch's is that of a batch, which is never over the budget."""
    sizes: list[tuple[int, int]] = []
    ranker = Reranker(watched(tmp_path, sizes))
    monkeypatch.setattr("headgate.families.base.CHARACTERS", 30_000)  # ten documents
    peaks = []
    for count in (20, 80):
        given = documents(count)
        ranker("password reset", given[:12])
        tracemalloc.start()
        hits = ranker("password reset", given)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(hits) == count
    assert sum(rows for rows, _ in sizes) > 80 * 10  # many windows each
    assert all(tokens <= BUDGET or rows == 1 for rows, tokens in sizes)
    own = 4 * 1000  # of a document: what it leaves behind is its Hit and its line of Scores, and these are small
    assert peaks[1] < peaks[0] + 60 * own
