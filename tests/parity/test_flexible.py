"""DeBERTa by one kernel, as on a GPU, gives the states of transformers' own; here torch runs its steps apart."""

import logging
import shutil
from collections.abc import Callable

import pytest
import torch
from torch.nn.attention import flex_attention
from torch.nn.attention.flex_attention import create_block_mask

from headgate.models.packed import flexible
from headgate.models.packed.encoder import PackedEncoder
from headgate.models.packed.rows import Rows
from tests.parity.test_packed import CONFIGS, LENGTHS, made

CPU = torch.device("cpu")
DEBERTAS = [name for name in CONFIGS if name.startswith("deberta")]


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., flexible.Attention]], flexible.Compiled]:
    """Any batch goes the way that large ones go on a GPU, by what a compiler makes of it."""

    def set_up(compiler: Callable[..., flexible.Attention]) -> flexible.Compiled:
        made = flexible.Compiled(compiler)
        monkeypatch.setattr(made, "worth", lambda tokens: not made._failed)
        monkeypatch.setattr(flexible, "compiled", made)
        return made

    return set_up


@pytest.fixture
def apart(through: Callable[..., flexible.Compiled], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Without compiling; the tokens of each call."""
    monkeypatch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    seen: list[int] = []

    def plain(function: flexible.Attention) -> flexible.Attention:
        def call(qkv: torch.Tensor, *others: object) -> torch.Tensor:
            seen.append(qkv.shape[2])
            return function(qkv, *others)

        return call

    through(plain)
    return seen


@pytest.mark.parametrize("name", DEBERTAS)
@torch.inference_mode()
def test_states_equal_transformers(name: str, apart: list[int]) -> None:
    model, ids, mask = made(name)
    expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state * mask[..., None]
    packed = PackedEncoder(model, torch.float32)
    found = packed(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert apart == [sum(LENGTHS)] * 3
    for i, length in enumerate(LENGTHS):
        alone = packed(input_ids=ids[i : i + 1, :length]).last_hidden_state
        torch.testing.assert_close(alone[0], expected[i, :length], atol=1e-4, rtol=1e-4)
    apart.clear()
    first = packed.reading_first()(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(first, expected[:, :1], atol=1e-4, rtol=1e-4)
    assert len(apart) == 2  # in the last layer a query a row asks, and there is little to keep


@torch.inference_mode()
def test_tokens_that_none_attends_to(apart: list[int]) -> None:
    model, ids, mask = made("deberta-v3")
    attended = mask & (torch.arange(mask.shape[1]) < 20)
    expected = model(input_ids=ids, attention_mask=attended.long()).last_hidden_state
    found = PackedEncoder(model, torch.float32)(input_ids=ids, attention_mask=attended, lengths=LENGTHS)
    # transformers masks queries as well as keys, so only what is attended to can be compared with it.
    torch.testing.assert_close(found.last_hidden_state[attended], expected[attended], atol=1e-4, rtol=1e-4)
    assert apart


@torch.inference_mode()
def test_fewer_digits_stay_near(apart: list[int]) -> None:
    model, ids, mask = made("deberta-v3")
    exact = PackedEncoder(model, torch.float32)(input_ids=ids, attention_mask=mask).last_hidden_state
    found = PackedEncoder(model, torch.bfloat16)(input_ids=ids, attention_mask=mask).last_hidden_state
    assert 0 < (found - exact).abs().max() < 0.1 * exact.abs().max()
    assert len(apart) == 6


@pytest.mark.parametrize("lengths", [LENGTHS, [1], [128], [128, 128, 1], [300, 5, 5, 250], [7] * 60])
def test_blocks_are_those_that_torch_would_find(lengths: list[int]) -> None:
    attended = [max(1, n - 3) for n in lengths]
    for rows in (Rows(lengths, CPU), Rows(lengths, CPU, attended)):
        found = flexible.layout(rows, torch.zeros(2 * max(lengths) - 1)).blocks
        total = sum(lengths)
        torchs = create_block_mask(found.mask_mod, 1, 1, total, total, device="cpu")
        missing = torchs.to_dense().bool() & ~found.to_dense().bool()
        assert not missing.any()
        if rows.attended is None:
            assert torch.equal(torchs.to_dense(), found.to_dense())
        pairs = flex_attention.create_mask(found.mask_mod, 1, 1, total, total, device="cpu")[0, 0]
        row = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        seen = torch.cat([torch.arange(n) < a for n, a in zip(lengths, rows.attended or lengths, strict=True)])
        assert torch.equal(pairs, (row[:, None] == row) & seen)


@torch.inference_mode()
def test_without_a_compiler_rows_go_group_by_group(
    through: Callable[..., flexible.Compiled], caplog: pytest.LogCaptureFixture
) -> None:
    def none(function: flexible.Attention) -> flexible.Attention:
        raise RuntimeError("no compiler here")

    through(none)
    model, ids, mask = made("deberta-v3")
    expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state * mask[..., None]
    with caplog.at_level(logging.WARNING):
        found = PackedEncoder(model, torch.float32)(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    (said,) = caplog.messages
    assert "no compiler here" in said


@torch.inference_mode()
def test_out_of_memory_is_not_a_missing_compiler(through: Callable[..., flexible.Compiled]) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    compiled = through(lambda function: full)
    model, ids, mask = made("deberta-v3")
    with pytest.raises(torch.OutOfMemoryError):
        PackedEncoder(model, torch.float32)(input_ids=ids, attention_mask=mask)
    assert not compiled._failed


def test_only_large_batches_on_a_gpu_go_this_way() -> None:
    assert not flexible.compiled.worth(torch.zeros(2 * flexible.LEAST, 1))
    assert not flexible.compiled.worth(torch.zeros(1))


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs g++")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # of what torch itself still calls
@torch.inference_mode()
def test_compiled(through: Callable[..., flexible.Compiled]) -> None:
    """Blocks count in compiled code alone. For fixed sizes: torch 2.13's C++ for sizes left open has an error."""
    compiled = through(lambda function: torch.compile(function, dynamic=False, fullgraph=True))
    model, ids, mask = made("deberta-v3")
    expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state * mask[..., None]
    found = PackedEncoder(model, torch.float32)(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not compiled._failed
