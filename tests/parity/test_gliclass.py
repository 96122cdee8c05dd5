"""Our GLiClass equals the ``gliclass`` package run one text at a time, whatever the budget."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from headgate import Ask, load
from tests import tiny
from tests.gliclass_models import without_zeros

gliclass = pytest.importorskip("gliclass")
from gliclass.pipeline import UniEncoderZeroShotClassificationPipeline  # noqa: E402

MARKERS = ("<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>")
TEXTS = [
    "the hub lost its password",
    "Refunds reach the customer,  within five days",
    "naïve café 東京 ☕",
    "a",
    "is the invoice wrong or was the pump paid twice?",
]
ASKS = [
    Ask(TEXTS, ["password reset", "a refund of the invoice", "soil"]),
    Ask(TEXTS[:3], ["soil"]),
    Ask(TEXTS[1:], ["Soil", "the fox", "password reset", "hub", "Wie geht es"]),
]
ORDERS = {"labels-first": True, "text-first": False}


@cache
def tokenizer(body: str) -> Tokenizer:
    tok = tiny.tokenizer(body)
    tok.add_special_tokens([AddedToken(m, special=True) for m in MARKERS])
    return tok


def published(folder: Path, body: str, **settings: Any) -> torch.nn.Module:
    """A random checkpoint, made and saved by the published code."""
    tok = tokenizer(body)
    tiny.save_tokenizer(folder, tok)
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 128}')  # for five labels and a text
    ids = [tok.token_to_id(m) for m in MARKERS]
    encoder = tiny.config(body, tok)
    encoder.max_position_embeddings = 130
    torch.manual_seed(0)
    config = gliclass.GLiClassModelConfig(
        encoder_config=encoder,
        encoder_model="none",
        class_token_index=ids[0],
        text_token_index=ids[1],
        example_token_index=ids[2],
        scorer_num_heads=4,
        scorer_mlp_hidden_size=48,
        **{"initializer_range": 0.15} | settings,  # large, so that logits spread
    )
    model = without_zeros(gliclass.GLiClassModel(config))
    model.save_pretrained(folder)
    return model


def pipeline(model: torch.nn.Module, folder: Path) -> Any:
    fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]")
    fast.model_input_names = ["input_ids", "attention_mask"]
    return UniEncoderZeroShotClassificationPipeline(model, fast, device="cpu", progress_bar=False)


def reference(model: torch.nn.Module, folder: Path, ask: Ask) -> np.ndarray:
    """(n, m) logits of the published code, one text at a time: it pools the padding of a batch."""
    run = pipeline(model, folder)
    out = []
    for text in ask.texts:
        inputs = run.prepare_inputs([text], list(ask.labels), same_labels=True)
        with torch.inference_mode():
            out.append(model(**inputs, max_num_classes=len(ask.labels)).logits[0].numpy())
    return np.array(out)


def agree(folder: Path, body: str, **settings: Any) -> float:
    """The largest difference of logits at three token budgets."""
    return compare(folder, published(folder, body, **settings))


def compare(folder: Path, model: torch.nn.Module) -> float:
    """The same, of a folder and the model that was saved there."""
    expected = [reference(model, folder, ask) for ask in ASKS]
    assert np.median(np.ptp(expected[0], axis=0)) > 0.005, "the reference must tell the texts apart"
    assert np.median(np.ptp(expected[0], axis=1)) > 0.005, "the reference must tell the labels apart"
    scorer = load(folder, device="cpu")
    worst = 0.0
    for budget in (1, 150, 100_000):  # rows alone, a few together, all together
        scorer._core.forward.max_tokens = budget
        for found, z in zip(scorer.score_many(ASKS), expected, strict=True):
            np.testing.assert_allclose(found.log_odds, z, rtol=0, atol=1e-4)
            worst = max(worst, float(np.abs(found.log_odds - z).max()))
    return worst


@pytest.mark.parametrize("prompt_first", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("labels", ["first", "average"])
@pytest.mark.parametrize("kind", ["simple", "mlp", "weighted-dot", "hopfield", "cross-attn"])
def test_scorers(tmp_path: Path, kind: str, labels: str, prompt_first: bool) -> None:
    pooling = "pass" if kind == "cross-attn" else "first"
    settings = {"scorer_type": kind, "pooling_strategy": pooling, "class_token_pooling": labels}
    agree(tmp_path, "bert", prompt_first=prompt_first, **settings)


@pytest.mark.parametrize("only_text", [False, True])
@pytest.mark.parametrize("pooling", ["first", "last", "avg", "sum", "max", "rms", "abs_max", "abs_avg"])
def test_text_pooling(tmp_path: Path, pooling: str, only_text: bool) -> None:
    settings = {"pooling_strategy": pooling, "extract_text_features": only_text}
    if pooling == "sum":  # of 60 states: without this, logits of 100, whose float32 is no finer than 1e-5
        settings["initializer_range"] = 0.1
    agree(tmp_path, "bert", scorer_type="mlp", prompt_first=True, **settings)


PUBLISHED: dict[str, dict[str, Any]] = {
    "v1": {"scorer_type": "simple"},
    "modern-v3": {"prompt_first": True, "scorer_type": "simple"},
    "base-v3": {"prompt_first": True, "scorer_type": "mlp", "hidden_size": 32},
    "instruct": {
        "prompt_first": True,
        "scorer_type": "mlp",
        "class_token_pooling": "average",
        "use_segment_embeddings": True,
    },
    "multilang": {
        "prompt_first": True,
        "scorer_type": "cross-attn",
        "pooling_strategy": "pass",
        "class_token_pooling": "average",
        "extract_text_features": True,
    },
}


@pytest.mark.parametrize("body", ["bert", "xlm-roberta", "deberta-v2", "modernbert"])
@pytest.mark.parametrize("shape", PUBLISHED)
def test_published_shapes(tmp_path: Path, shape: str, body: str) -> None:
    agree(tmp_path, body, **PUBLISHED[shape])


@pytest.mark.parametrize("prompt_first", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(
    "more",
    [
        {"embed_class_token": False},
        {"embed_class_token": False, "class_token_pooling": "average"},
        {"extract_text_features": True, "class_token_pooling": "average"},
        {"normalize_features": True},
        {"use_segment_embeddings": True},
        {"projector_hidden_act": "relu"},
    ],
    ids=str,
)
def test_options(tmp_path: Path, more: dict[str, Any], prompt_first: bool) -> None:
    agree(tmp_path, "bert", scorer_type="mlp", prompt_first=prompt_first, **more)
