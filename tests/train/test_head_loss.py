"""The loss of several heads, its class weights, and what is measured: torch's and scikit-learn's numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from transformers import EvalPrediction

from headgate.families.multi_head import Head
from headgate.train.head_data import Labelled
from headgate.train.head_loss import HeadLoss, balanced, loss_weights, measured

TWO = {"mood": Head(("a", "b", "c")), "flags": Head(("x", "y"), "multi")}
NAN = float("nan")


def loss_of(heads: Mapping[str, Head], **more: Any) -> tuple[HeadLoss, Tensor]:
    """A loss over 6 made-up pooled states."""

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.heads = nn.ModuleDict({n: nn.Linear(5, len(h.labels)) for n, h in heads.items()})
            self.backbone, self.states = nn.Identity(), torch.randn(6, 5)

        def encode(self, *_: Tensor | None) -> Tensor:
            return self.states

        def pool(self, states: Tensor, _: Tensor) -> Tensor:
            return states

    torch.manual_seed(0)
    usual: dict[str, Any] = {"frozen": False, "weights": {}, "dropout": 0.0, "label_smoothing": 0.0, "l2": 0.0}
    model = Fixed()
    return HeadLoss(model, heads, **{**usual, **more}), model.states  # type: ignore[arg-type]


def test_the_loss_is_the_mean_over_labelled_rows() -> None:
    weights = {"mood": torch.tensor([1.0, 2.0, 0.5]), "flags": torch.tensor([3.0, 1.0])}
    network, states = loss_of(TWO, weights=weights, label_smoothing=0.1, l2=0.3)
    target = torch.tensor(
        [[1, 0, 0, NAN, NAN], [0, 1, 0, 1, 0], [NAN, NAN, NAN, 0, 0], [0, 0, 1, 1, 1], [NAN] * 5, [0, 1, 0, NAN, NAN]]
    )
    found = network(torch.zeros(6, 1), torch.ones(6, 1), target)["loss"]
    mood, flags = network.model.heads["mood"], network.model.heads["flags"]
    criterion = nn.CrossEntropyLoss(weight=weights["mood"], label_smoothing=0.1)
    expected = criterion(mood(states[[0, 1, 3, 5]]), torch.tensor([0, 1, 2, 1]))
    soft = torch.tensor([[0.95, 0.05], [0.05, 0.05], [0.95, 0.95]])
    expected = expected + nn.BCEWithLogitsLoss(pos_weight=weights["flags"])(flags(states[1:4]), soft)
    expected = expected + 0.15 * (mood.weight.square().sum() + flags.weight.square().sum())
    torch.testing.assert_close(found, expected)


def test_a_batch_that_says_nothing_of_a_head() -> None:
    network, _ = loss_of(TWO)
    target = torch.tensor([[NAN, NAN, NAN, 1.0, 0.0]] * 6)
    found = network(torch.zeros(6, 1), torch.ones(6, 1), target)["loss"]
    found.backward()
    assert found > 0
    for name, moves in (("mood", False), ("flags", True)):
        gradient = network.model.heads[name].weight.grad
        assert gradient is not None  # several GPUs wait for it
        assert gradient.isfinite().all()
        assert gradient.any() == moves


def test_balanced_weights() -> None:
    single = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 1, 2, 0, 0]]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=single.argmax(1))
    np.testing.assert_allclose(balanced(Head(("a", "b", "c")), single), expected)
    multi = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]], dtype=np.float32)
    assert balanced(Head(("a", "b", "c"), "multi"), multi).tolist() == [3, 1, 1]  # one-sided labels have no balance
    data = Labelled(("t",) * 8, {"mood": single})
    heads = {"mood": TWO["mood"]}
    assert loss_weights(data, heads, ["mood"], {"mood": {"b": 4}})["mood"].tolist() == [1, 4, 1]
    for bad in ({"mood": {"z": 1.0}}, {"mud": {"a": 1.0}}, {"mood": {"a": 0.0}}, {"a": 1.0}):
        with pytest.raises(ValueError, match="expected"):
            loss_weights(data, heads, ["mood"], bad)  # type: ignore[arg-type]


def test_held_out_figures() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(30, 5)), np.zeros((30, 5), np.float32)
    truth[np.arange(30), rng.integers(0, 3, 30)] = 1
    truth[:, 3:] = rng.integers(0, 2, (30, 2))
    truth[::3, :3] = truth[1::3, 3:] = np.nan
    found = measured(TWO)(EvalPrediction(logits, truth))
    single, multi = ~np.isnan(truth[:, 0]), ~np.isnan(truth[:, 3])
    right = logits[single, :3].argmax(1) == truth[single, :3].argmax(1)
    assert found["accuracy_mood"] == pytest.approx(right.mean())
    one = measured({"only": Head(("x",), "multi")})(EvalPrediction(logits[multi, 3:4], truth[multi, 3:4]))
    assert one["macro_f1_only"] == pytest.approx(f1_score(truth[multi, 3], logits[multi, 3] > 0))  # of the true rows
    assert found["macro_f1_flags"] == pytest.approx(f1_score(truth[multi, 3:], logits[multi, 3:] > 0, average="macro"))
