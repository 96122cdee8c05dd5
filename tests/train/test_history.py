"""Every training leaves its loss curves where ``headgate eval --history`` reads them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel

from headgate.evaluate.history import loss_plot
from headgate.train.cross_encoder import train_cross_encoder
from headgate.train.gliclass import train_gliclass
from headgate.train.gliclass_folder import new_gliclass
from headgate.train.multi_head import train_heads
from tests import tiny

ROWS = [{"text": "the pump is broken", "label": "soil"}, {"text": "reset the hub", "label": "password reset"}]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tok = tiny.tokenizer("bert")
    AutoModel.from_config(tiny.config("bert", tok)).save_pretrained(folder / "encoder")
    tiny.save_tokenizer(folder / "encoder", tok)
    new_gliclass(folder / "encoder", folder / "gliclass")
    return folder


@pytest.mark.parametrize("evaluation", [None, ROWS], ids=["alone", "held out"])
@pytest.mark.parametrize(
    ("train", "start"), [(train_heads, "encoder"), (train_cross_encoder, "encoder"), (train_gliclass, "gliclass")]
)
def test_loss_curves(base: Path, tmp_path: Path, train: Callable[..., Any], start: str, evaluation: Any) -> None:
    train(base / start, ROWS, tmp_path / "out", evaluation=evaluation)
    curves = loss_plot(tmp_path / "out" / "trainer_state.json").data
    assert len(curves["training"]["loss"]) > 1  # though the run is short
    assert (len(curves["held out"]["loss"]) > 1) == (evaluation is not None)
    assert json.loads((tmp_path / "out" / "trainer_state.json").read_text())["global_step"] > 1
