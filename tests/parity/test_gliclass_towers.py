"""GLiClass with two towers equals the ``gliclass`` package run one text at a time, whatever the budget."""

import json
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
from tests.gliclass_models import assert_counts, without_zeros
from tests.parity.test_gliclass import ASKS, MARKERS, TEXTS, gliclass, tokenizer

BOTH = ("bi-encoder", "bi-encoder-fused")
PAIRS = [("deberta-v2", "bert"), ("bert", "roberta"), ("modernbert", "deberta-v2"), ("roberta", "xlm-roberta")]
LABELS = ["password reset", "a refund of the invoice", "soil"]


def published(folder: Path, kind: str, bodies: tuple[str, str] = ("bert", "roberta"), **settings: Any) -> Any:
    """A random checkpoint, saved by the published code, and the tokenizer of its labels beside it."""
    texts, labels = tokenizer(bodies[0]), tiny.tokenizer(bodies[1])
    tiny.save_tokenizer(folder, texts)
    tiny.save_tokenizer(folder / "label_tokenizer", labels)
    ids = [texts.token_to_id(m) for m in MARKERS]
    torch.manual_seed(0)
    inner = tiny.config(bodies[1], labels)
    inner.hidden_size = 24
    config = gliclass.GLiClassModelConfig(
        encoder_config=tiny.config(bodies[0], texts),
        encoder_model="none",
        label_model_config=inner,
        label_model_name="someone/labels",
        class_token_index=ids[0],
        text_token_index=ids[1],
        architecture_type=kind,
        **{"initializer_range": 0.15, "prompt_first": True} | settings,  # large, so that logits spread
    )
    model = without_zeros(gliclass.GLiClassModel(config))
    model.save_pretrained(folder)
    return model


def reference(model: Any, folder: Path, ask: Ask) -> np.ndarray:
    """(n, m) logits of the published code, one text at a time, each label padded by nothing: it pools padding."""
    texts, labels = (
        PreTrainedTokenizerFast(tokenizer_file=str(place / "tokenizer.json"), pad_token=pad)
        for place, pad in ((folder, "[PAD]"), (folder / "label_tokenizer", "<pad>"))
    )
    out = []
    for text in ask.texts:
        row = text
        if model.config.architecture_type == "bi-encoder-fused":
            marks = "<<LABEL>>" * len(ask.labels) + "<<SEP>>"
            row = marks + text if model.config.prompt_first else text + marks
        ids = texts([row], return_tensors="pt")
        told = [labels([label], return_tensors="pt") for label in ask.labels]
        vectors = [_label(model, t) for t in told]
        out.append(_judged(model, ids, torch.cat(vectors, 1)))
    return np.array(out)


def _label(model: Any, told: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model.model.encode_classes(told["input_ids"][None], told["attention_mask"][None])


def _judged(model: Any, ids: Any, vectors: torch.Tensor) -> np.ndarray:
    """The published forward, with the labels' vectors in place of their tokens."""
    model.model.encode_classes = lambda *_: vectors
    some = torch.ones(1, vectors.shape[1], 1, dtype=torch.long)
    try:
        with torch.inference_mode():
            inputs = {"input_ids": ids["input_ids"], "attention_mask": ids["attention_mask"]}
            inputs |= {"class_input_ids": some, "class_attention_mask": some, "labels_mask": some[..., 0]}
            return model(**inputs, return_dict=True).logits[0].numpy()
    finally:
        del model.model.encode_classes


def compare(folder: Path, model: Any) -> None:
    expected = [reference(model, folder, ask) for ask in ASKS]
    assert np.median(np.ptp(expected[0], axis=0)) > 0.005, "the reference must tell the texts apart"
    assert np.median(np.ptp(expected[0], axis=1)) > 0.005, "the reference must tell the labels apart"
    scorer = load(folder, device="cpu")
    for budget in (1, 150, 100_000):  # rows alone, a few together, all together
        scorer._core.forward.max_tokens = budget
        for found, z in zip(scorer.score_many(ASKS), expected, strict=True):
            np.testing.assert_allclose(found.log_odds, z, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("bodies", PAIRS, ids="-".join)
def test_bodies(tmp_path: Path, bodies: tuple[str, str], kind: str) -> None:
    compare(tmp_path, published(tmp_path, kind, bodies))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("scorer", ["mlp", "weighted-dot", "hopfield"])
def test_scorers(tmp_path: Path, scorer: str, kind: str) -> None:
    compare(tmp_path, published(tmp_path, kind, scorer_type=scorer))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("pooling", ["last", "avg", "max", "rms", "abs_avg"])
def test_pooling(tmp_path: Path, pooling: str, kind: str) -> None:
    compare(tmp_path, published(tmp_path, kind, pooling_strategy=pooling))


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "more",
    [
        {"prompt_first": False},
        {"normalize_features": True},
        {"logit_scale_init_value": 0.3},
        {"projector_hidden_act": "relu"},
        {"use_calibrator": True, "calibrator_hidden_size": 16},
    ],
    ids=str,
)
def test_options(tmp_path: Path, more: dict[str, Any], kind: str) -> None:
    compare(tmp_path, published(tmp_path, kind, scorer_type="mlp", **more))


@pytest.mark.parametrize("kind", BOTH)
def test_batches_of_the_published_pipeline(tmp_path: Path, kind: str) -> None:
    """Where it pools no padding, all texts in one batch of its own pipeline give the same."""
    model = published(tmp_path, kind, ("bert", "deberta-v2"))
    model.config.label_model_name = str(tmp_path / "label_tokenizer")
    texts = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="[PAD]")
    texts.model_input_names = ["input_ids", "attention_mask"]
    pipeline = gliclass.pipeline.BiEncoderZeroShotClassificationPipeline(model, texts, device="cpu", progress_bar=False)
    pipeline.labels_tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "label_tokenizer" / "tokenizer.json"), pad_token="[PAD]"
    )
    with torch.inference_mode():
        expected = model(**pipeline.prepare_inputs(TEXTS, LABELS, same_labels=True), return_dict=True).logits.numpy()
    found = load(tmp_path, device="cpu").score(TEXTS, LABELS)
    np.testing.assert_allclose(found.log_odds, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("scorer", ["mlp", "hopfield"])
def test_contract(tmp_path: Path, scorer: str, kind: str) -> None:
    published(tmp_path, kind, ("deberta-v2", "bert"), scorer_type=scorer)
    found = load(tmp_path, device="cpu")
    assert found.joint == (kind == "bi-encoder-fused" or scorer == "hopfield")
    check_scorer(found, labels=["password reset", "billing", "soil"])
    check_scorer(found.cached(), labels=["password reset", "billing", "soil"])


@pytest.mark.parametrize("kind", BOTH)
def test_every_weight_counts_and_none_may_be_missing(tmp_path: Path, kind: str) -> None:
    published(tmp_path, kind, scorer_type="mlp")
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    for name in ("label_encoder.encoder.layer.1.output.dense.weight", "biencoder_projector.linear_1.weight"):
        key = f"model.{name}"
        assert_counts(tmp_path, key, TEXTS, LABELS, missing="lacks")
        save_file({**tensors, key: tensors[key][:5].clone()}, path)
        with pytest.raises(CheckpointError, match=r"lacks|don't fit"):
            load(tmp_path, device="cpu")
        save_file(tensors, path)


@pytest.mark.parametrize("kind", BOTH)
def test_where_the_tokenizer_of_labels_may_be(tmp_path: Path, kind: str) -> None:
    folder, place = tmp_path / "model", tmp_path / "elsewhere"
    published(folder, kind)
    expected = load(folder, device="cpu").score(TEXTS, LABELS).log_odds
    (folder / "label_tokenizer").rename(place)
    with pytest.raises(CheckpointError, match=r"'label_tokenizer' or 'someone/labels' there\. Fetch it: hf download"):
        load(folder, device="cpu")
    tiny.change(folder / "config.json", label_model_name=str(place))
    np.testing.assert_array_equal(load(folder, device="cpu").score(TEXTS, LABELS).log_odds, expected)
    tiny.change(folder / "config.json", label_model_name="someone/labels")
    (folder / "scorer.json").write_text(json.dumps({"label_tokenizer": "../elsewhere"}))
    np.testing.assert_array_equal(load(folder, device="cpu").score(TEXTS, LABELS).log_odds, expected)


@pytest.mark.parametrize("kind", BOTH)
def test_long_texts_many_labels_and_labels_that_do_not_fit(tmp_path: Path, kind: str) -> None:
    published(tmp_path, kind)
    scorer = load(tmp_path, device="cpu")
    long = "the hub lost its password. " * 30
    many = [f"{LABELS[i % 3]} {i}" for i in range(100)]
    found = scorer.score([long, "a"], many)
    assert found.windows[0].min() > 2
    assert found.windows[1].max() == 1
    assert np.isfinite(found.log_odds).all()
    if kind == "bi-encoder":  # each label by itself
        np.testing.assert_allclose(scorer.score(["a"], many[7:8]).log_odds[0], found.log_odds[1, 7:8], atol=1e-5)
    scorer.score(["a"], ["hub " * 15])
    with pytest.raises(LabelTooLongError, match="expected at most 64"):
        scorer.score(["a"], ["soil", "hub " * 80])
    parts = scorer.split_label("hub " * 80)
    assert len(parts) > 1
    assert "".join(parts).count("hub") >= 80
    assert np.isfinite(scorer.score(["a"], parts).log_odds).all()


def test_texts_may_be_longer_than_the_label_tower_reads(tmp_path: Path) -> None:
    model = published(tmp_path, "bi-encoder", ("deberta-v2", "bert"))
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 256}')
    ask = Ask(["the hub lost its password. " * 12, "a"], LABELS)
    scorer = load(tmp_path, device="cpu")
    scorer._core.forward.max_tokens = 100_000  # all in one batch
    found = scorer.score(ask.texts, ask.labels)
    assert found.tokens.max() > 64
    assert found.windows.max() == 1
    np.testing.assert_allclose(found.log_odds, reference(model, tmp_path, ask), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
def test_half_precision_stops_at_the_encoders(tmp_path: Path, kind: str) -> None:
    published(tmp_path, kind, scorer_type="mlp", initializer_range=0.08)
    exact = load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds
    half = load(tmp_path, device="cpu", dtype="bfloat16").score(TEXTS, LABELS).log_odds
    np.testing.assert_allclose(half, exact, atol=0.1)
    assert (half != half.astype("float16")).any()


def test_each_text_and_label_is_read_once(tmp_path: Path) -> None:
    published(tmp_path, "bi-encoder")
    scorer = load(tmp_path, device="cpu").cached()
    first = scorer.score(TEXTS, LABELS).log_odds
    asked: list[Any] = []
    scorer._core.forward._forward = lambda rows: asked.extend(rows) or []
    np.testing.assert_array_equal(scorer.score(TEXTS[::-1], LABELS[::-1]).log_odds, first[::-1, ::-1])
    assert not asked


@pytest.mark.parametrize("key", ["encoder_config", "label_model_config"])
def test_a_tower_without_a_configuration_is_refused(tmp_path: Path, key: str) -> None:
    published(tmp_path, "bi-encoder")
    tiny.change(tmp_path / "config.json", **{key: None})
    with pytest.raises(CheckpointError, match="expected encoder_config and label_model_config"):
        load(tmp_path, device="cpu")
