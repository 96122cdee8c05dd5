"""Where the tests of ONNX Runtime keep their graphs, and what they score."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from headgate import load
from headgate.models import onnx_export
from tests import tiny

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
TEXTS = ["the hub lost its password", "a", "naïve café 東京 ☕", "is the pump broken or was the invoice paid twice?"]
LABELS = ["password reset", "a refund of the invoice", "soil"]


def scores(folder: Path, **how: Any) -> np.ndarray:
    return load(folder, template="{}", **how).score(TEXTS, LABELS).log_odds


def agree(folder: Path, **how: Any) -> None:
    """Scores equal torch's, together and alone."""
    expected = load(folder, device="cpu", **how).score(TEXTS, LABELS).log_odds
    scorer = load(folder, backend="onnx", **how)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(scorer.score(TEXTS, LABELS).log_odds, expected, atol=1e-4)
    alone = np.concatenate([scorer.score([text], LABELS).log_odds for text in TEXTS])
    np.testing.assert_allclose(alone, expected, atol=1e-4)


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of all tests here, since an export takes seconds."""
    monkeypatch.setenv("HEADGATE_CACHE", str(shared_cache))
    return shared_cache


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADGATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.cross_encoder(tmp_path / "model", "bert", NLI)
    return tmp_path / "model"


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The encoders that were exported."""
    found: list[nn.Module] = []
    graph = onnx_export._graph

    def noted(encoder: nn.Module, source: onnx_export.Source) -> Any:
        found.append(encoder)
        return graph(encoder, source)

    monkeypatch.setattr(onnx_export, "_graph", noted)
    return found
