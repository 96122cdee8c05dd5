"""GLiClass on encoder-decoders equals the ``gliclass`` package run one text at a time, whatever the budget."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from headgate import Ask, CheckpointError, LabelTooLongError, load
from headgate.testing import check_scorer
from tests import tiny
from tests.gliclass_models import assert_counts
from tests.parity.test_gliclass import ASKS, TEXTS, gliclass, published

BOTH = ("encoder-decoder", "encoder-decoder-cls")
LABELS = ["password reset", "a refund of the invoice", "soil"]


def made(folder: Path, kind: str, body: str = "t5", **settings: Any) -> torch.nn.Module:
    model = published(folder, body, architecture_type=kind, **{"initializer_range": 0.15} | settings)
    if model.calibrator is not None:
        for parameter in model.calibrator.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        model.save_pretrained(folder)
    return model


def reference(model: torch.nn.Module, folder: Path, ask: Ask) -> np.ndarray:
    """(n, m) logits of the published code, one text at a time: it pools the padding of a batch."""
    fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    fast.model_input_names = ["input_ids", "attention_mask"]
    kind = gliclass.pipeline.EncoderDecoderZeroShotClassificationPipeline
    run = kind(model, fast, device="cpu", progress_bar=False)
    out = []
    for text in ask.texts:
        inputs = run.prepare_inputs([text], list(ask.labels), same_labels=True)
        with torch.inference_mode():
            out.append(model(**inputs).logits[0, : len(ask.labels)].numpy())
    return np.array(out)


def compare(folder: Path, model: torch.nn.Module) -> None:
    expected = [reference(model, folder, ask) for ask in ASKS]
    assert np.median(np.ptp(expected[0], axis=0)) > 0.005, "the reference must tell the texts apart"
    assert np.median(np.ptp(expected[0], axis=1)) > 0.005, "the reference must tell the labels apart"
    scorer = load(folder, device="cpu")
    for budget in (1, 150, 100_000):  # rows alone, a few together, all together
        scorer._core.forward.max_tokens = budget
        for found, z in zip(scorer.score_many(ASKS), expected, strict=True):
            np.testing.assert_allclose(found.log_odds, z, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("body", ["t5", "umt5", "bart"])
def test_bodies(tmp_path: Path, body: str, kind: str) -> None:
    compare(tmp_path, made(tmp_path, kind, body, scorer_type="mlp"))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("labels", ["first", "average"])
@pytest.mark.parametrize("scorer", ["simple", "weighted-dot", "hopfield"])
def test_scorers(tmp_path: Path, scorer: str, labels: str, kind: str) -> None:
    compare(tmp_path, made(tmp_path, kind, scorer_type=scorer, class_token_pooling=labels, max_num_classes=6))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "more",
    [
        {"embed_class_token": False},
        {"extract_text_features": True, "class_token_pooling": "average"},
        {"normalize_features": True},
        {"use_calibrator": True, "calibrator_hidden_size": 16},
        {"use_calibrator": True, "calibrator_hidden_size": 16, "scorer_type": "hopfield"},
    ],
    ids=str,
)
def test_options(tmp_path: Path, more: dict[str, Any], kind: str) -> None:
    compare(tmp_path, made(tmp_path, kind, **{"scorer_type": "mlp"} | more))


@pytest.mark.parametrize(
    "more",
    [{"pooling_strategy": p} for p in ("avg", "last", "max", "rms")]
    + [{"use_lstm": True}, {"scorer_type": "cross-attn", "pooling_strategy": "pass", "initializer_range": 0.2}],
    ids=str,
)
def test_text_pooling(tmp_path: Path, more: dict[str, Any]) -> None:
    compare(tmp_path, made(tmp_path, "encoder-decoder", **{"scorer_type": "mlp"} | more))


@pytest.mark.parametrize("kind", BOTH)
def test_more_labels_than_slots_are_dealt_out(tmp_path: Path, kind: str) -> None:
    model = made(tmp_path, kind, scorer_type="mlp", max_num_classes=4)
    scorer = load(tmp_path, device="cpu")
    labels = [f"{LABELS[i % 3]} {'abcdefghij'[i]}" for i in range(10)]
    groups = scorer._prompts(Ask(TEXTS, labels), _read(scorer, labels))
    assert sorted(map(len, groups)) == [3, 3, 4]
    found = scorer.score(TEXTS, labels).log_odds
    for group in groups:
        expected = reference(model, tmp_path, Ask(TEXTS, labels[group.start : group.stop]))
        np.testing.assert_allclose(found[:, group], expected, rtol=0, atol=1e-4)


def _read(scorer: Any, labels: list[str]) -> dict[str, Any]:
    return dict(zip(labels, scorer._labels.encode(labels), strict=True))


@pytest.mark.parametrize("kind", BOTH)
def test_long_texts_and_labels(tmp_path: Path, kind: str) -> None:
    made(tmp_path, kind, scorer_type="mlp")
    scorer = load(tmp_path, device="cpu", max_length=48)
    long = "the hub lost its password. " * 40
    found = scorer.score([long, "a"], LABELS)
    assert found.windows[0].min() > 3
    assert found.windows[1].max() == 1
    piece = long[slice(*found.spans[0, 0])]
    assert scorer.score([piece], LABELS).windows.max() == 1  # a text has the whole length for itself
    said = _read(scorer, [("hub " * i).strip() for i in range(1, 20)])
    many = [next(label for label, read in said.items() if len(read.ids) == 11)] * 8  # 4 x 12 tokens would be 48
    told = _read(scorer, many)
    for group in scorer._prompts(Ask([], many), told):
        row = scorer._frame([told[many[j]].ids for j in group])[0](np.zeros(0, np.int32))
        assert 1 <= (row.types == 1).sum() <= 48
    with pytest.raises(LabelTooLongError, match="of 48"):
        scorer.score(["a"], ["hub " * 40])


@pytest.mark.parametrize("kind", BOTH)
def test_contract(tmp_path: Path, kind: str) -> None:
    made(tmp_path, kind, scorer_type="mlp")
    scorer = load(tmp_path, device="cpu")
    assert scorer.joint
    check_scorer(scorer, labels=["password reset", "billing", "soil"])


@pytest.mark.parametrize("kind", BOTH)
def test_half_precision_stops_at_the_encoder_and_decoder(tmp_path: Path, kind: str) -> None:
    made(tmp_path, kind, scorer_type="mlp", initializer_range=0.1)
    exact = load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds
    half = load(tmp_path, device="cpu", dtype="bfloat16").score(TEXTS, LABELS).log_odds
    np.testing.assert_allclose(half, exact, atol=0.1)
    assert (half != half.astype("float16")).any()


@pytest.mark.parametrize("kind", BOTH)
def test_every_weight_counts_and_none_may_be_missing(tmp_path: Path, kind: str) -> None:
    made(tmp_path, kind, scorer_type="mlp")
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    for half in ("encoder", "decoder"):
        key = f"model.encoder_decoder_model.{half}.block.1.layer.0.SelfAttention.v.weight"
        assert_counts(tmp_path, key, TEXTS, LABELS, missing="lacks 1 weights")
        save_file({k: v for k, v in tensors.items() if f"model.{half}." not in k}, path)
        with pytest.raises(CheckpointError, match=r"expected an encoder-decoder such as t5, and both"):
            load(tmp_path, device="cpu")
        save_file(tensors, path)


def test_an_encoder_alone_is_refused(tmp_path: Path) -> None:
    published(tmp_path, "bert")
    tiny.change(tmp_path / "config.json", architecture_type="encoder-decoder")
    with pytest.raises(CheckpointError, match="on a bert"):
        load(tmp_path, device="cpu")
