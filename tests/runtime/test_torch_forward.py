"""A torch Forward: nobody's answer depends on who shares the batch, and closed means closed."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from headgate import ClosedError, DeviceError, load
from headgate.families.base import Family
from headgate.runtime import torch_forward
from headgate.runtime.batching import Array, Row
from headgate.runtime.torch_forward import Batch, TorchForward
from tests import tiny

CPU = torch.device("cpu")
NLI = {0: "entailment", 1: "neutral", 2: "contradiction"}
BF16_BOUND = 0.25
"""What a bfloat16 body may change a log-odds by, as a share of the spread: random models are the worst case."""


def rows(*lengths: int, types: bool = False) -> list[Row]:
    rng = np.random.default_rng(0)
    ids = [rng.integers(5, 90, size=n).astype(np.int32) for n in lengths]
    return [Row(i, (np.arange(len(i)) > 3).astype(np.int32) if types else None) for i in ids]


def total(batch: Batch) -> torch.Tensor:
    """Sums over the tokens that the mask lets through."""
    return (batch.ids * batch.mask).sum(1, keepdim=True)


def test_a_batch_is_padded_and_masked() -> None:
    seen: list[Batch] = []

    def look(batch: Batch) -> torch.Tensor:
        seen.append(batch)
        return total(batch)

    given = rows(3, 5, 2, types=True)
    found = TorchForward(look, CPU, pad=7, max_tokens=1000)(given)
    (batch,) = seen
    assert batch.types is not None
    assert batch.ids.shape == batch.mask.shape == batch.types.shape == (3, 5)
    assert batch.mask.sum(1).tolist() == [5, 3, 2]
    assert set(batch.ids[~batch.mask].tolist()) == {7}
    assert set(batch.types[~batch.mask].tolist()) == {0}
    assert batch.types[0].tolist() == [0, 0, 0, 0, 1]  # the longest first
    assert [f.tolist() for f in found] == [[float(r.ids.sum())] for r in given]
    assert {f.dtype for f in found} == {np.dtype(np.float32)}


def test_no_types_where_the_model_has_none() -> None:
    def look(batch: Batch) -> torch.Tensor:
        assert batch.types is None
        return total(batch)

    TorchForward(look, CPU, pad=0)(rows(2, 3))


def test_answers_may_differ_in_size() -> None:
    def states(batch: Batch) -> Sequence[torch.Tensor]:
        return [ids[mask].to(torch.bfloat16) for ids, mask in zip(batch.ids, batch.mask, strict=True)]

    given = rows(4, 1, 3)
    found = TorchForward(states, CPU, pad=0)(given)
    assert [f.tolist() for f in found] == [r.ids.tolist() for r in given]


@pytest.mark.parametrize("budget", [1, 9, 20, 10_000])
def test_no_batch_is_over_budget(budget: int) -> None:
    shapes: list[tuple[int, int]] = []

    def look(batch: Batch) -> torch.Tensor:
        shapes.append((batch.ids.shape[0], batch.ids.shape[1]))
        return total(batch)

    given = rows(3, 9, 9, 1, 4, 5)
    found = TorchForward(look, CPU, pad=0, max_tokens=budget)(given)
    assert all(n * width <= budget or n == 1 for n, width in shapes)
    assert [f[0] for f in found] == [r.ids.sum() for r in given]


def test_no_gradients_and_no_rows() -> None:
    layer = nn.Linear(1, 1)
    forward = TorchForward(lambda b: layer(b.mask.sum(1, keepdim=True).float()), CPU, pad=0)
    assert forward([]) == []
    forward(rows(3))
    assert layer.weight.grad is None
    assert torch.is_grad_enabled()


def test_closed() -> None:
    forward = TorchForward(total, CPU, pad=0)
    forward(rows(3))
    forward.close()
    forward.close()
    with pytest.raises(ClosedError, match="load it again"):
        forward(rows(3))
    with pytest.raises(ClosedError):
        forward([])


def test_closed_between_two_batches() -> None:
    ran: list[int] = []

    def closing(batch: Batch) -> torch.Tensor:
        ran.append(len(batch.ids))
        forward._module = None  # what close() does, from another thread, once this batch is done
        return total(batch)

    forward = TorchForward(closing, CPU, pad=0, max_tokens=1)
    with pytest.raises(ClosedError, match="while a call was running"):
        forward(rows(3, 4))
    assert ran == [1]


def test_the_device_gets_a_batch_before_the_answers_of_the_last_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    def fetched(tensor: torch.Tensor) -> Callable[[], Array]:
        number = len(happened)
        happened.append(f"launched {number}")

        def wait() -> Array:
            happened.append(f"read {number}")
            return tensor.numpy()

        return wait

    monkeypatch.setattr(torch_forward, "fetched", fetched)
    given = rows(9, 5, 7)
    forward = TorchForward(total, CPU, pad=0, max_tokens=1)
    assert [f[0] for f in forward(given)] == [r.ids.sum() for r in given]
    assert happened == ["launched 0", "launched 1", "read 0", "launched 3", "read 1", "read 3"]
    assert forward.work.rows == 3
    assert forward.work.tokens == 21


def test_out_of_memory_with_answers_under_way() -> None:
    def small(batch: Batch) -> torch.Tensor:
        if len(batch.ids) > 2:
            raise torch.OutOfMemoryError("no room")
        return total(batch)

    given = rows(9, 8, 8, 8, 8, 2, 1, 1)
    forward = TorchForward(small, CPU, pad=0, max_tokens=32)
    assert [f[0] for f in forward(given)] == [r.ids.sum() for r in given]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("bert")
    tiny.cross_encoder(where, "bert", NLI)
    return where


def forward_of(scorer: Family) -> TorchForward:
    assert isinstance(scorer._core.forward, TorchForward)
    return scorer._core.forward


def pairs(scorer: Family) -> list[Row]:
    """Rows of very different lengths."""
    frame, types = scorer._core.tokenizer.pair, scorer._core.types
    texts = [e.ids for e in scorer._core.tokenizer.encode([tiny.CORPUS[0], "a", "the hub", tiny.CORPUS[2]])]
    return [frame.row(t, texts[1], types=types) for t in texts]


@pytest.mark.parametrize("body", tiny.BODIES)
def test_padding_changes_nothing(tmp_path: Path, body: str) -> None:
    tiny.cross_encoder(tmp_path, body, NLI)
    scorer = load(tmp_path, template="{}", device="cpu")
    forward, given = forward_of(scorer), pairs(scorer)
    together = np.stack(forward(given))
    alone = np.stack([forward([row])[0] for row in given])
    assert np.ptp(alone, axis=0).min() > 0.05
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("body", tiny.BODIES)
def test_a_bfloat16_body_ends_in_float32(tmp_path: Path, body: str) -> None:
    tiny.cross_encoder(tmp_path, body, NLI)
    half = load(tmp_path, template="{}", dtype="bfloat16", device="cpu")
    full = load(tmp_path, template="{}", dtype="float32", device="cpu")
    texts = [t for t in tiny.TEXTS if t.strip()]
    a, b = (s.score(texts, tiny.LABELS).log_odds for s in (half, full))
    worst = np.abs(a - b).max()
    assert 0 < worst < BF16_BOUND * np.ptp(b)  # 0 would mean that the body ran in float32
    logits = np.stack(forward_of(half)(pairs(half)))
    rounded = torch.from_numpy(logits).to(torch.bfloat16).float().numpy()
    assert (logits != rounded).mean() > 0.5  # a bfloat16 layer would leave nothing to round


def test_wrong_device_or_dtype(folder: Path) -> None:
    with pytest.raises(DeviceError, match="'cuda:31'"):
        load(folder, template="{}", device="cuda:31")
    with pytest.raises(DeviceError, match="'float8'"):
        load(folder, template="{}", dtype="float8")


def test_a_closed_scorer_says_so(folder: Path) -> None:
    scorer = load(folder, template="{}", device="cpu")
    cached = scorer.cached()
    assert np.isfinite(cached.score(["a"], ["b"]).log_odds).all()
    scorer.close()
    for closed in (scorer, cached):
        with pytest.raises(ClosedError, match="load it again"):
            closed.score(["a"], ["b"])


def test_out_of_memory_halves_the_batch_down_to_one_row() -> None:
    sizes: list[int] = []

    def small(batch: Batch) -> torch.Tensor:
        sizes.append(batch.ids.numel())
        if batch.ids.numel() > 20:
            raise torch.OutOfMemoryError("no room")
        return total(batch)

    forward = TorchForward(small, CPU, pad=0, max_tokens=80)
    given = rows(*[8] * 10)
    assert [float(f[0]) for f in forward(given)] == [float(r.ids.sum()) for r in given]
    assert forward.max_tokens <= 20
    sizes.clear()
    forward(given)
    assert max(sizes) <= 20  # it has learned
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        forward(rows(21))
    assert [float(f[0]) for f in forward(given)] == [float(r.ids.sum()) for r in given]
