"""Packed encoders give the states of transformers' own, row by row, whatever the rows beside them."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, BertConfig, DebertaV2Config, ModernBertConfig, PreTrainedConfig, RobertaConfig

from headgate import load
from headgate.errors import DeviceError
from headgate.models import fastest
from headgate.models.packed import attention, linear
from headgate.models.packed.encoder import PackedEncoder, can_pack
from headgate.models.packed.rows import Rows
from headgate.runtime.cache_folder import cache_folder
from headgate.runtime.device import Run
from tests import tiny

SIZES: dict[str, Any] = {
    "vocab_size": 90,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.2,
}
V3: dict[str, Any] = {
    "relative_attention": True,
    "position_buckets": 8,
    "max_relative_positions": 40,
    "pos_att_type": ["c2p", "p2c"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
}
MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "bert": lambda: BertConfig(**SIZES),
    "bert-relu": lambda: BertConfig(**SIZES, hidden_act="relu"),
    "bert-gelu-new": lambda: BertConfig(**SIZES, hidden_act="gelu_new"),
    "roberta": lambda: RobertaConfig(**SIZES),
    "deberta-v3": lambda: DebertaV2Config(**SIZES, **V3),
    "deberta-v3-far": lambda: DebertaV2Config(**SIZES, **V3 | {"max_relative_positions": -1}),
    "deberta-v2-p2c": lambda: DebertaV2Config(
        **SIZES, relative_attention=True, pos_att_type=["p2c"], type_vocab_size=2, max_position_embeddings=200
    ),
    "deberta-v2-c2p": lambda: DebertaV2Config(
        **SIZES, relative_attention=True, pos_att_type=["c2p"], type_vocab_size=0, max_relative_positions=20
    ),
    "modernbert": lambda: ModernBertConfig(**SIZES, **MARKS, local_attention=16, global_attn_every_n_layers=2),
}
LENGTHS = [140, 139, 139, 60, 52, 33, 33, 7, 1]
"""Alone, alike, near, and filled up to the longest; some beyond the local window and the buckets' near half."""


def made(name: str) -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A random encoder, padded ids and their mask."""
    torch.manual_seed(1)
    model = AutoModel.from_config(CONFIGS[name]()).eval().requires_grad_(False)
    ids = torch.randint(5, 90, (len(LENGTHS), max(LENGTHS)))
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return model, ids.masked_fill(~mask, model.config.pad_token_id), mask


@pytest.mark.parametrize("name", CONFIGS)
@torch.inference_mode()
def test_states_equal_transformers(name: str) -> None:
    model, ids, mask = made(name)
    assert can_pack(model)
    packed = PackedEncoder(model, torch.float32)
    expected = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state * mask[..., None]
    found = packed(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    words = packed.get_input_embeddings()(ids)
    torch.testing.assert_close(packed(inputs_embeds=words, attention_mask=mask).last_hidden_state, found)
    first = packed.reading_first()(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(first, expected[:, :1], atol=1e-4, rtol=1e-4)
    assert packed(input_ids=ids, attention_mask=mask).last_hidden_state.shape[1] == max(LENGTHS)  # the twin is another


@pytest.mark.parametrize("name", ["bert", "deberta-v2-p2c"])
@torch.inference_mode()
def test_token_types(name: str) -> None:
    model, ids, mask = made(name)
    types = (torch.arange(ids.shape[1]) > 3).long().expand_as(ids)
    inputs = {"input_ids": ids, "attention_mask": mask.long(), "token_type_ids": types}
    found = PackedEncoder(model, torch.float32)(**inputs).last_hidden_state
    torch.testing.assert_close(found, model(**inputs).last_hidden_state * mask[..., None], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["bert", "deberta-v3", "modernbert"])
@pytest.mark.parametrize(("dtype", "far"), [(torch.bfloat16, 0.1), (torch.float16, 0.02), (torch.int8, 0.2)])
@torch.inference_mode()
def test_fewer_digits_stay_near_and_stay_by_row(name: str, dtype: torch.dtype, far: float) -> None:
    model, ids, mask = made(name)
    exact = PackedEncoder(model, torch.float32)(input_ids=ids, attention_mask=mask).last_hidden_state
    packed = PackedEncoder(model, dtype)
    found = packed(input_ids=ids, attention_mask=mask).last_hidden_state
    assert 0 < (found - exact).abs().max() < far * exact.abs().max()
    for i, length in enumerate(LENGTHS):
        alone = packed(input_ids=ids[i : i + 1, :length]).last_hidden_state[0]
        assert (alone - found[i, :length]).abs().max() < far / 4


@torch.inference_mode()
def test_tokens_that_none_attends_to() -> None:
    model, ids, mask = made("bert")
    attended = mask & (torch.arange(mask.shape[1]) < 20)
    expected = model(input_ids=ids, attention_mask=attended.long()).last_hidden_state
    packed = PackedEncoder(model, torch.float32)
    found = packed(input_ids=ids, attention_mask=attended, lengths=LENGTHS).last_hidden_state
    torch.testing.assert_close(found, expected * mask[..., None], atol=1e-4, rtol=1e-4)


def test_groups_cover_every_row_once() -> None:
    rows = Rows(LENGTHS, torch.device("cpu"))
    assert [(g.count, g.length) for g in rows.groups] == [(1, 140), (2, 139), (2, 60), (2, 33), (2, 7)]
    assert [g.start for g in rows.groups[1:]] == [g.stop for g in rows.groups[:-1]]
    assert rows.groups[-1].stop == sum(LENGTHS) == rows.bounds[-1]
    assert rows.positions[rows.starts].tolist() == [0] * len(LENGTHS)


@pytest.mark.parametrize("window", [None, 4])
@torch.inference_mode()
def test_one_kernel_for_all_lengths_is_asked_for_the_same(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    """What a GPU runs in place of a call for each group; here a plain loop answers for it."""

    def varlen_attn(q: Any, k: Any, v: Any, bounds: Any, keys: Any, *longest: int, window_size: tuple[int, int]) -> Any:
        assert bounds.dtype == torch.int32
        assert set(longest) == {max(LENGTHS)}
        found = []
        for a, b in zip(bounds.tolist(), keys.tolist()[1:], strict=False):
            places = torch.arange(b - a)
            near = (places[:, None] - places).abs() <= (window_size[0] if window_size[0] >= 0 else b - a)
            assert window_size[0] == window_size[1]
            parts = (x[a:b].transpose(0, 1) for x in (q, k, v))
            found.append(torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=near).transpose(0, 1))
        return torch.cat(found)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    torch.manual_seed(0)
    rows = Rows(LENGTHS, torch.device("cpu"))
    tokens = torch.randn(sum(LENGTHS), 3, 2, 8)
    expected = attention.attend(tokens, rows, window=window)
    torch.testing.assert_close(attention._variable(tokens, rows, window), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_int8_rounds_each_token_by_itself() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(24, 16)
    x = torch.randn(5, 24)
    found = linear.Linear([layer], torch.int8)(x)
    scale, weights = x.abs().amax(1, keepdim=True) / 127, layer.weight.abs().amax(1, keepdim=True) / 127
    whole = (x / scale).round() @ (layer.weight / weights).round().T
    torch.testing.assert_close(found, whole * scale * weights.T + layer.bias)
    x[0] *= 1000
    torch.testing.assert_close(linear.Linear([layer], torch.int8)(x)[1:], found[1:])


@pytest.mark.parametrize(
    "config",
    [
        BertConfig(**SIZES, hidden_act="silu"),
        BertConfig(**SIZES, is_decoder=True),
        DebertaV2Config(**SIZES, **V3, conv_kernel_size=3),
        DebertaV2Config(**SIZES, relative_attention=False),
    ],
    ids=lambda c: f"{c.model_type}",
)
def test_others_are_left_to_transformers(config: PreTrainedConfig) -> None:
    assert not can_pack(AutoModel.from_config(config))


@pytest.mark.parametrize("body", ["bert", "deberta-v2", "modernbert"])
def test_backends_agree(tmp_path: Path, body: str) -> None:
    tiny.cross_encoder(tmp_path, body, {0: "entailment", 1: "not_entailment"})
    asked = (tiny.TEXTS, tiny.LABELS)
    ours, theirs, whole = (
        load(tmp_path, template="{}", device="cpu", **more).score(*asked).log_odds
        for more in ({"exact": True}, {"backend": "transformers"}, {"dtype": "int8"})
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert (whole != ours).any()
    assert np.corrcoef(whole.ravel(), ours.ravel())[0, 1] > 0.97


def test_a_scorer_says_how_it_runs(tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path, "bert", {0: "entailment", 1: "not_entailment"})
    run = load(tmp_path, template="{}", device="cpu").run
    assert run is not None
    assert (run.backend, run.dtype, run.device) == ("torch", "float32", "cpu")
    assert "width 32" in run.why
    asked = load(tmp_path, template="{}", device="cpu", dtype="bfloat16").run
    assert asked is not None
    assert (asked.dtype, asked.why) == ("bfloat16", "it was asked for")
    with pytest.raises(ValueError, match="exact is set, and dtype is 'int8'"):
        load(tmp_path, template="{}", exact=True, dtype="int8")
    with pytest.raises(ValueError, match="backend is 'tf'"):
        load(tmp_path, template="{}", backend="tf")  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=r"int8.*the bert encoder, without int8"):
        load(tmp_path, template="{}", device="cpu", backend="transformers", dtype="int8")


def said(count: int) -> str:
    words = ["the", "invoice", "was", "paid", "twice", "by", "my", "bank", "and", "i", "want", "a", "refund"]
    return " ".join(words[i % len(words)] for i in range(count))


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("part", ["rank", "gliclass"])
def test_mates_of_near_lengths_do_not_count_in_few_digits(part: str, dtype: str) -> None:
    scorer = load(f"mini/{part}", device="cpu", dtype=dtype)
    texts = [said(n) for n in (23, 25, 47, 51, 62, 64, 86, 90)]
    alone = np.concatenate([scorer.score([text], ["billing"]).log_odds for text in texts])
    np.testing.assert_allclose(scorer.score(texts, ["billing"]).log_odds, alone, atol=1e-4)


def test_what_transformers_runs_keeps_float32_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.loading.fastest", lambda width: fastest.Choice(torch.bfloat16, "it is faster"))
    tiny.cross_encoder(tmp_path / "own", "bert", {0: "entailment", 1: "not_entailment"})
    tiny.cross_encoder(tmp_path / "theirs", "bart", {0: "entailment", 1: "not_entailment"})
    own, theirs = (load(tmp_path / name, template="{}", device="cpu") for name in ("own", "theirs"))
    assert own.run == Run("torch", "cpu", "bfloat16", "it is faster")
    assert theirs.run is not None
    assert (theirs.run.backend, theirs.run.dtype) == ("transformers", "float32")
    exact = load(tmp_path / "theirs", template="{}", device="cpu", exact=True)
    found, expected = (s.score(tiny.TEXTS[:3], ["a"]).log_odds for s in (theirs, exact))
    np.testing.assert_array_equal(found, expected)
    asked = load(tmp_path / "theirs", template="{}", device="cpu", dtype="bfloat16")
    assert np.abs(asked.score(tiny.TEXTS[:3], ["a"]).log_odds - expected).max() > 0


@pytest.mark.parametrize("body", ["deberta-v2", "modernbert"])
def test_autocast_around_loading_and_calling_changes_nothing(tmp_path: Path, body: str) -> None:
    tiny.cross_encoder(tmp_path, body, {0: "entailment", 1: "not_entailment"})
    expected = load(tmp_path, template="{}", device="cpu", exact=True).score(tiny.TEXTS, tiny.LABELS).log_odds
    with torch.autocast("cpu", torch.bfloat16):
        within = load(tmp_path, template="{}", device="cpu", exact=True)
        found = within.score(tiny.TEXTS, tiny.LABELS).log_odds
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(within.score(tiny.TEXTS, tiny.LABELS).log_odds, expected, atol=1e-5)


def test_torchs_default_dtype_does_not_matter() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        found = load("mini/gliclass", device="cpu", exact=True).score(["a b"], ["a"])
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_allclose(
        found.log_odds, load("mini/gliclass", device="cpu", exact=True).score(["a b"], ["a"]).log_odds, atol=1e-5
    )


def test_a_cache_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_CACHE", "~nobody-of-this-name/cache")
    assert cache_folder() == Path(tempfile.gettempdir()) / "headgate"
    monkeypatch.setenv("HEADGATE_CACHE", "here")
    assert cache_folder() == Path("here")


def test_what_is_fastest_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "cpu_name": "toy"}, raising=False)
    gains = iter([2.0, 1.1])
    monkeypatch.setattr(fastest, "_gain", lambda width: next(gains))
    assert fastest.fastest(384).dtype == torch.bfloat16
    assert fastest.fastest(384).dtype == torch.bfloat16
    assert "2.0 times" in fastest.fastest(384).why
    assert fastest.fastest(768).dtype == torch.float32
    (tmp_path / "fastest.json").write_text("[", encoding="utf-8")
    with pytest.raises(StopIteration):
        fastest.fastest(384)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert fastest.fastest(384) == (torch.float32, "this CPU does not multiply bfloat16 itself")


def test_the_measurement_gives_a_ratio() -> None:
    assert 0 < fastest._gain(64) < 100
