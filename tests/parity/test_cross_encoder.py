"""Cross-encoders equal transformers run one pair at a time, whatever the body, order and budget."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from headgate import load
from headgate.testing import check_scorer
from tests import tiny

SHORT = [t for t in tiny.TEXTS if len(t) < 100 and "[SEP]" not in t]
ORDERS = {
    "roberta": {0: "contradiction", 1: "neutral", 2: "entailment"},
    "bert": {0: "entailment", 1: "neutral", 2: "contradiction"},
    "deberta-v2": {0: "contradiction", 1: "entailment", 2: "neutral"},
    "xlm-roberta": {0: "entailment", 1: "not_entailment"},
    "modernbert": {0: "not_entailment", 1: "entailment"},
    "bart": {0: "contradiction", 1: "neutral", 2: "entailment"},
}


def reference(model: torch.nn.Module, folder: Path, pairs: list[tuple[str, str]]) -> np.ndarray:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    out = []
    for a, b in pairs:
        inputs = tokenizer(a, b, return_tensors="pt", return_token_type_ids=True)
        if not getattr(model.config, "type_vocab_size", 0) > 1:
            inputs.pop("token_type_ids", None)
        with torch.inference_mode():
            out.append(model(**inputs).logits[0].double().numpy())
    return np.array(out)


@pytest.mark.parametrize("body", tiny.BODIES)
@pytest.mark.parametrize("budget", [1, 70, 100_000])
def test_every_body_equals_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, budget: int
) -> None:
    monkeypatch.setattr("headgate.runtime.torch_forward.token_budget", lambda _: budget)
    assert_parity(tmp_path, body, ORDERS[body])


@pytest.mark.parametrize("order", ORDERS.values(), ids=lambda order: "-".join(order.values()))
def test_every_class_order_equals_transformers(tmp_path: Path, order: dict[int, str]) -> None:
    assert_parity(tmp_path, "bert", order)


def assert_parity(folder: Path, body: str, order: dict[int, str]) -> None:
    model = tiny.cross_encoder(folder, body, order)
    scorer = load(folder, template="This text is about {}.", device="cpu")
    found = scorer.score(SHORT, tiny.LABELS).log_odds
    pairs = [(t, f"This text is about {label}.") for t in SHORT for label in tiny.LABELS]
    z = reference(model, folder, pairs)
    at = next(i for i, name in order.items() if name == "entailment")
    p = np.exp(z - z.max(1, keepdims=True))
    p = p[:, at] / p.sum(1)
    expected = np.log(p) - np.log1p(-p)
    assert np.ptp(expected) > 0.5  # the reference must tell the pairs apart, or equality shows nothing
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-4)


@pytest.mark.parametrize("body", ["bert", "xlm-roberta"])
def test_ranker_reads_query_first(tmp_path: Path, body: str) -> None:
    model = tiny.cross_encoder(tmp_path, body, {0: "LABEL_0"})
    scorer = load(tmp_path, classes=["relevance"])
    scores = scorer.score(SHORT, tiny.LABELS)
    expected = reference(model, tmp_path, [(label, t) for t in SHORT for label in tiny.LABELS])
    np.testing.assert_allclose(scores.log_odds.ravel(), expected[:, 0], atol=1e-4)
    assert scores.meaning == "order"


@pytest.mark.parametrize("body", tiny.BODIES)
def test_contract(tmp_path: Path, body: str) -> None:
    tiny.cross_encoder(tmp_path, body, ORDERS[body])
    check_scorer(load(tmp_path, template="{}"))
