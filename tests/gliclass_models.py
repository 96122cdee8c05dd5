"""What tests of GLiClass do to the models that they make."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from headgate import CheckpointError, load


def without_zeros(model: Any) -> Any:
    """The model in evaluation, with random biases: they start at zero, where a missing one wouldn't show."""
    for parameter in model.eval().parameters():
        if parameter.dim() == 1 and parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.2)
    if getattr(model, "calibrator", None) is not None:
        for parameter in model.calibrator.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def assert_counts(folder: Path, key: str, texts: Sequence[str], labels: Sequence[str], *, missing: str) -> None:
    """Another sign of a weight changes the scores, and without it the folder is refused; the file stays as it was."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    before = load(folder, device="cpu").score(texts, labels).log_odds
    save_file({**tensors, key: -tensors[key]}, path)
    assert np.abs(load(folder, device="cpu").score(texts, labels).log_odds - before).max() > 1e-3
    save_file({k: v for k, v in tensors.items() if k != key}, path)
    with pytest.raises(CheckpointError, match=missing):
        load(folder, device="cpu")
    save_file(tensors, path)
