"""GLiClass with isolated labels: a label's score depends on neither the order nor the company of the labels."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertModel

from headgate import CheckpointError, LabelTooLongError, load
from headgate.models.gliclass import ISOLATED, GLiClass, GLiClassConfig
from headgate.models.isolated import isolated_states
from headgate.testing import check_scorer
from tests import tiny
from tests.families.test_gliclass import save

APART: dict[str, Any] = {
    "architecture_type": ISOLATED,
    "prompt_first": True,
    "pooling_strategy": "avg",
    "class_token_pooling": "average",
    "extract_text_features": True,
}
LABELS = ["password reset", "soil", "a refund of the invoice", "the fox"]
TEXTS = ["the hub lost its password", "x", "is the invoice wrong or was the pump paid twice? " * 5]
LAYERS = 2  # of the tiny BERT


@pytest.fixture
def model(tmp_path: Path) -> GLiClass:
    return save(tmp_path, tiny.tokenizer("bert"), **APART)


def row(model: GLiClass, labels: list[list[int]], text: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (1, S) of a prompt, and whose each of them is."""
    mark, sep = model.config.class_token_index, model.config.text_token_index
    prompt = [i for label in labels for i in (mark, *label)]
    owner = [0, *(k for k, label in enumerate(labels, 1) for _ in range(len(label) + 1)), *[0] * (len(text) + 2)]
    return torch.tensor([[2, *prompt, sep, *text, 3]]), torch.tensor([owner])


def test_contract(tmp_path: Path, model: GLiClass) -> None:
    scorer = load(tmp_path, device="cpu")
    assert not scorer.joint
    check_scorer(scorer, labels=["password reset", "billing", "soil"])


def test_neither_order_nor_company_of_the_labels_counts(tmp_path: Path, model: GLiClass) -> None:
    scorer = load(tmp_path, device="cpu")
    alone = np.concatenate([scorer.score(TEXTS, [label]).log_odds for label in LABELS], axis=1)
    assert np.ptp(alone, axis=1).min() > 1e-3  # they can be told apart
    for order in itertools.permutations(range(len(LABELS))):
        found = scorer.score(TEXTS, [LABELS[j] for j in order]).log_odds
        np.testing.assert_allclose(found, alone[:, order], atol=1e-5)
    crowd = [f"{label} {other}" for label in LABELS for other in LABELS]  # more than one prompt holds
    found = scorer.score(TEXTS, [*crowd, *LABELS, *crowd]).log_odds
    np.testing.assert_allclose(found[:, len(crowd) : len(crowd) + len(LABELS)], alone, atol=1e-5)


def test_labels_take_no_room_from_the_text(tmp_path: Path, model: GLiClass) -> None:
    scorer = load(tmp_path, device="cpu")
    few, many = (scorer.score(TEXTS, labels) for labels in (LABELS[:1], LABELS * 5))
    assert few.windows[2, 0] > 1
    assert (many.windows == few.windows[:, :1]).all()
    assert (many.spans[:, 0] == few.spans[:, 0]).all()
    with pytest.raises(LabelTooLongError):
        scorer.score(TEXTS, ["soil " * 60])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_below_the_crossing_texts_and_labels_are_read_as_if_alone(model: GLiClass, attention: str) -> None:
    encoder = model.encoder_model
    assert isinstance(encoder, BertModel)
    encoder.set_attn_implementation(attention)
    labels, text = [[7, 8], [9], [10, 11, 12]], [20, 21, 22, 23]
    ids, owner = row(model, labels, text)
    full = torch.ones_like(ids, dtype=torch.bool)
    never = isolated_states(encoder, ids, full, owner, crossing=LAYERS)[0]
    faint = isolated_states(encoder, ids, full, owner, bias=-1e4)[0]
    read = isolated_states(encoder, ids, full, owner, crossing=LAYERS - 1)[0]
    for k in range(len(labels) + 1):
        own = owner[0] == k
        expected = encoder(ids[:, own]).last_hidden_state[0]
        torch.testing.assert_close(never[own], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(faint[own], expected, atol=1e-5, rtol=0)
        assert (k == 0) == torch.allclose(read[own], expected, atol=1e-3)  # the text reads no label


def test_labels_read_the_text_that_they_stand_with(model: GLiClass) -> None:
    ids, owner = row(model, [[7, 8]], [20, 21])
    other, _ = row(model, [[7, 8]], [22, 23])
    full = torch.ones_like(ids, dtype=torch.bool)
    found, changed = (isolated_states(model.encoder_model, i, full, owner)[0, 1:4] for i in (ids, other))
    assert (found - changed).abs().max() > 1e-3


def test_rows_of_a_batch_do_not_meet(model: GLiClass) -> None:
    mark, sep = model.config.class_token_index, model.config.text_token_index
    short = torch.tensor([2, mark, 7, sep, 9, 3])
    long = torch.tensor([2, *[mark, 8] * 60, sep, *range(5, 55), 3])  # padding beyond the 64 positions
    ids = torch.nn.utils.rnn.pad_sequence([short, long], batch_first=True)
    mask = torch.arange(ids.shape[1]) < torch.tensor([[len(short)], [len(long)]])
    both = model(ids, mask)
    torch.testing.assert_close(both[0], model(short[None], torch.ones(1, len(short)).bool())[0], atol=1e-5, rtol=0)
    assert [len(z) for z in both] == [1, 60]
    torch.testing.assert_close(both[1], both[1][:1].expand(60), atol=1e-5, rtol=0)  # of one label, sixty times


def test_half_precision_stays_close(tmp_path: Path, model: GLiClass) -> None:
    exact, half = (load(tmp_path, device="cpu", dtype=d).score(TEXTS, LABELS).log_odds for d in ("float32", "bfloat16"))
    np.testing.assert_allclose(half, exact, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt_first": False}, "prompt_first False"),
        ({"extract_text_features": False}, "extract_text_features False"),
        ({"use_segment_embeddings": True}, "use_segment_embeddings True"),
        ({"scorer_type": "hopfield"}, "hopfield"),
        ({"crossing_bias": "x"}, "crossing_bias is 'x'"),
        ({"crossing_bias": float("nan")}, "crossing_bias is nan"),
        ({"text_token_index": 1}, "are both 1"),
    ],
)
def test_settings_by_which_labels_would_meet_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        GLiClassConfig.from_dict({"class_token_index": 1, "text_token_index": 2, **APART, **changes})


def test_labels_that_would_never_read_the_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="crossing_layer is 2 of 2"):
        save(tmp_path, tiny.tokenizer("bert"), **APART, crossing_layer=LAYERS)


def test_other_encoders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="modernbert encoder; expected bert"):
        save(tmp_path, tiny.tokenizer("modernbert"), "modernbert", **APART)
