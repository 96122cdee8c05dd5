"""GLiClass on decoders: what the ``gliclass`` package's own pipeline gives one text at a time, whatever the budget."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, processors
from transformers import PreTrainedTokenizerFast, Qwen3Config

from headgate import Ask, CheckpointError, LabelTooLongError, MissingExtraError, load
from headgate.testing import check_scorer
from tests import tiny
from tests.gliclass_models import without_zeros
from tests.parity.test_gliclass import ASKS, MARKERS, TEXTS, gliclass

LABELS = ["password reset", "a refund of the invoice", "soil"]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "normalized": {"normalize_features": True},
    "calibrated": {"use_calibrator": True, "calibrator_hidden_size": 16},
    "recurrent": {"recurrent_steps": 3},
    "recurrent, reads the text": {"recurrent_steps": 3, "recurrent_read_text": True, "recurrent_halt_threshold": 0.05},
}


def tokenizer() -> Tokenizer:
    tok = tiny.tokenizer("modernbert")
    tok.post_processor = processors.ByteLevel(trim_offsets=False)  # no special tokens
    tok.add_special_tokens([AddedToken(m, special=True) for m in MARKERS])
    return tok


def published(folder: Path, **settings: Any) -> Any:
    tok = tokenizer()
    tiny.save_tokenizer(folder, tok)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 128}')
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    shape |= {"head_dim": 8, "intermediate_size": 48, "vocab_size": tok.get_vocab_size(), "pad_token_id": 1}
    ids = [tok.token_to_id(m) for m in MARKERS]
    torch.manual_seed(0)
    config = gliclass.GLiClassModelConfig(
        encoder_config=Qwen3Config(**shape),
        encoder_model="none",
        class_token_index=ids[0],
        text_token_index=ids[1],
        sep_token_index=ids[1],
        example_token_index=ids[2],
        architecture_type="decoder-kv",
        scorer_type="decoder-kv",
        scorer_mlp_hidden_size=48,
        problem_type="multi_label_classification",
        **{"initializer_range": 0.3} | settings,
    )
    model = without_zeros(gliclass.GLiClassModel(config))
    model.save_pretrained(folder)
    return model


def reference(model: Any, folder: Path, ask: Ask) -> np.ndarray:
    fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]")
    kind = gliclass.pipeline.DecoderKVZeroShotClassificationPipeline
    run = kind(model, fast, device="cpu", progress_bar=False)
    out = []
    for text in ask.texts:
        with torch.inference_mode():
            inputs = run.prepare_inputs([text], list(ask.labels), same_labels=True)
            out.append(model(**inputs, return_dict=True).logits[0].numpy())
    return np.array(out)


@pytest.mark.parametrize("name", OPTIONS)
def test_logits(tmp_path: Path, name: str) -> None:
    model = published(tmp_path, **OPTIONS[name])
    expected = [reference(model, tmp_path, ask) for ask in ASKS]
    assert np.median(np.ptp(expected[0], axis=0)) > 0.005, "the reference must tell the texts apart"
    assert np.median(np.ptp(expected[0], axis=1)) > 0.005, "the reference must tell the labels apart"
    scorer = load(tmp_path, device="cpu")
    for budget in (1, 150, 100_000):  # rows alone, a few together, all together
        scorer._core.forward.max_tokens = budget
        for found, z in zip(scorer.score_many(ASKS), expected, strict=True):
            np.testing.assert_allclose(found.log_odds, z, rtol=0, atol=1e-4)


def test_contract(tmp_path: Path) -> None:
    published(tmp_path)
    scorer = load(tmp_path, device="cpu")
    assert scorer.joint
    check_scorer(scorer, labels=["password reset", "billing", "soil"])


def test_half_precision_stops_at_the_decoder(tmp_path: Path) -> None:
    published(tmp_path, initializer_range=0.1)
    exact = load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds
    half = load(tmp_path, device="cpu", dtype="bfloat16").score(TEXTS, LABELS).log_odds
    np.testing.assert_allclose(half, exact, atol=0.1)
    assert (half != half.astype("float16")).any()


def test_long_texts_many_labels_and_labels_that_do_not_fit(tmp_path: Path) -> None:
    model = published(tmp_path)
    scorer = load(tmp_path, device="cpu", max_length=64)
    rows: list[int] = []
    inner = scorer._core.forward

    def forward(asked: Any) -> Any:
        rows.extend(len(row.ids) for row in asked)
        return inner(asked)

    object.__setattr__(scorer._core, "forward", forward)
    many = [f"{LABELS[i % 3]} {i}" for i in range(12)]
    long = "the hub lost its password. " * 20
    found = scorer.score([long, "a"], many)
    assert max(rows) <= 64
    assert found.windows[0].min() > 2
    assert found.windows[1].max() == 1
    told = dict(zip(many, scorer._labels.encode(many), strict=True))
    first, *others = scorer._prompts(Ask([], many), told)
    assert others
    for group in (first, *others):
        assert scorer._frame([told[many[j]].ids for j in group])[1] >= 16  # a quarter is left to the text
    expected = reference(model, tmp_path, Ask(["a"], many[: first.stop]))
    np.testing.assert_allclose(found.log_odds[1:, : first.stop], expected, rtol=0, atol=1e-4)
    with pytest.raises(LabelTooLongError, match="of 64"):
        scorer.score(["a"], ["hub " * 60])


def test_every_weight_counts_and_none_may_be_missing(tmp_path: Path) -> None:
    published(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    before = load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds
    for key in ("model.decoder_model.layers.1.mlp.up_proj.weight", "model.scorer.label_projector.weight"):
        save_file({**tensors, key: -tensors[key]}, path)
        assert np.abs(load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds - before).max() > 1e-3
        for wrong in ({k: v for k, v in tensors.items() if k != key}, {**tensors, key: tensors[key][:5].clone()}):
            save_file(wrong, path)
            with pytest.raises(CheckpointError, match=r"lacks 1 weights|gliclass runs"):
                load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sep_token_index": None}, "sep_token_index"),
        ({"class_token_index": 9999}, "expected an id of"),
        ({"encoder_config": {"model_type": "bert"}}, "on bert: decoder-kv"),
        ({"encoder_config": {"model_type": "made-up", "auto_map": {}}}, "never runs code"),
    ],
    ids=str,
)
def test_what_the_package_does_not_run_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    published(tmp_path)
    tiny.change(tmp_path / "config.json", **changes)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, device="cpu")


def test_without_the_package_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(tmp_path)
    monkeypatch.setitem(sys.modules, "gliclass", None)
    with pytest.raises(MissingExtraError, match=r'pip install "headgate\[gliclass\]"'):
        load(tmp_path, device="cpu")
