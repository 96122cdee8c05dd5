"""What few uni-encoders have, layer-wise, recurrent, calibrated, of T5's family, equals the ``gliclass`` package."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headgate import CheckpointError, load
from tests.parity.test_gliclass import PUBLISHED, TEXTS, compare, gliclass, pipeline, published

LABELS = ["password reset", "a refund of the invoice", "soil"]
LAYERS = {"all": 3, "without embeddings": 2}
OPTIONS: dict[str, dict[str, Any]] = {
    "squeeze_layers": {"squeeze_layers": True},
    "use_lstm": {"use_lstm": True},
    "encoder_layer_id": {"encoder_layer_id": 1, "layer_wise": True},
    "use_calibrator": {"use_calibrator": True, "calibrator_hidden_size": 24, "calibrator_use_bias": True},
}
KEYS = ("layer_wise_attention.W1.weight", "lstm.lstm.weight_hh_l0_reverse", "calibrator.mlp.3.weight")


def spread(module: torch.nn.Module) -> None:
    """Random weights all over, so that a missing one shows."""
    torch.manual_seed(1)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)


def made(folder: Path, body: str = "bert", *, layers: int = 3, **settings: Any) -> torch.nn.Module:
    """A random checkpoint; the published code makes weights for one layer too few, and fails, unless it is mended."""
    model = published(folder, body, **settings)
    inner = model.model
    if settings.get("squeeze_layers"):
        inner.layer_wise_attention = gliclass.model.LayerwiseAttention(layers, 32)
        spread(inner.layer_wise_attention)
        inner.layer_wise_attention.register_forward_pre_hook(lambda _, args: (args[0][-layers:],))
    if settings.get("use_calibrator"):
        spread(model.calibrator)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("body", ["bert", "deberta-v2", "modernbert"])
@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS)
def test_layer_wise(tmp_path: Path, layers: int, body: str) -> None:
    compare(tmp_path, made(tmp_path, body, layers=layers, squeeze_layers=True, scorer_type="mlp"))


@pytest.mark.parametrize("prompt_first", [True, False])
@pytest.mark.parametrize("only_text", [False, True])
@pytest.mark.parametrize("pooling", ["first", "last", "avg", "max", "rms"])
def test_lstm(tmp_path: Path, pooling: str, only_text: bool, prompt_first: bool) -> None:
    more = {"pooling_strategy": pooling, "extract_text_features": only_text, "prompt_first": prompt_first}
    compare(tmp_path, made(tmp_path, use_lstm=True, scorer_type="mlp", **more))


def test_lstm_in_front_of_attention(tmp_path: Path) -> None:
    compare(tmp_path, made(tmp_path, use_lstm=True, scorer_type="cross-attn", pooling_strategy="pass"))


@pytest.mark.parametrize("layer", [0, 1, 2, -2])
@pytest.mark.parametrize("body", ["bert", "t5"])
def test_another_layer(tmp_path: Path, body: str, layer: int) -> None:
    means = {"pooling_strategy": "avg", "class_token_pooling": "average"}  # a marker is the same in every text at first
    compare(tmp_path, made(tmp_path, body, encoder_layer_id=layer, layer_wise=True, prompt_first=True, **means))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_calibrator(tmp_path: Path, normalize: bool, bias: bool) -> None:
    more = {"calibrator_hidden_size": 24, "calibrator_beta_max": 2.0, "calibrator_use_bias": bias}
    model = made(tmp_path, use_calibrator=True, normalize_features=normalize, scorer_type="mlp", **more)
    compare(tmp_path, model)


def test_empty_slots_compete_too(tmp_path: Path) -> None:
    model = made(tmp_path, scorer_type="hopfield", max_labels_alloc=8, prompt_first=True)
    run = pipeline(model, tmp_path)
    with torch.inference_mode():
        expected = [
            model(**run.prepare_inputs([text], LABELS, same_labels=True), max_num_classes=8).logits[0, :3].numpy()
            for text in TEXTS
        ]
    found = load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("shape", [*PUBLISHED, "multilang-ultra"])
@pytest.mark.parametrize("body", ["t5", "mt5", "umt5"])
def test_t5_encoders(tmp_path: Path, body: str, shape: str) -> None:
    settings = PUBLISHED.get(shape, {**PUBLISHED["multilang"], "use_segment_embeddings": True})
    compare(tmp_path, made(tmp_path, body, **settings))


@pytest.mark.parametrize("name", ["squeeze_layers", "use_lstm", "encoder_layer_id"])
def test_half_precision_stops_at_the_encoder(tmp_path: Path, name: str) -> None:
    made(tmp_path, scorer_type="mlp", **OPTIONS[name])
    exact = load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds
    half = load(tmp_path, device="cpu", dtype="bfloat16").score(TEXTS, LABELS).log_odds
    np.testing.assert_allclose(half, exact, atol=0.1)
    assert (half != half.astype("float16")).any()


@pytest.mark.parametrize("gone", ["shared.weight", "encoder.embed_tokens.weight"])
def test_either_name_of_t5s_embeddings_is_enough(tmp_path: Path, gone: str) -> None:
    model = made(tmp_path, "t5", prompt_first=True)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    words = model.get_input_embeddings().weight.detach().clone()
    both = tensors | {
        f"model.encoder_model.{k}": words.clone() for k in ("shared.weight", "encoder.embed_tokens.weight")
    }
    del both[f"model.encoder_model.{gone}"]
    save_file(both, path)
    compare(tmp_path, model)


@pytest.mark.parametrize("name", OPTIONS)
def test_weights_that_are_missing_or_do_not_fit_raise_and_others_change_the_scores(tmp_path: Path, name: str) -> None:
    made(tmp_path, scorer_type="mlp", **OPTIONS[name])
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    before = load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds
    for key in [k for k in tensors if k.removeprefix("model.") in KEYS]:
        save_file({**tensors, key: -tensors[key]}, path)
        assert np.abs(load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds - before).max() > 1e-3
        save_file({**tensors, key: tensors[key][:, :1].clone()}, path)
        with pytest.raises(CheckpointError, match=r"don't fit|weighs"):
            load(tmp_path, device="cpu")
        save_file({k: v for k, v in tensors.items() if k != key}, path)
        with pytest.raises(CheckpointError, match="lacks"):
            load(tmp_path, device="cpu")


def test_layers_that_the_encoder_does_not_have_raise(tmp_path: Path) -> None:
    made(tmp_path, squeeze_layers=True, layers=4)
    with pytest.raises(CheckpointError, match="weighs 4 states; expected 2 or 3"):
        load(tmp_path, device="cpu")
