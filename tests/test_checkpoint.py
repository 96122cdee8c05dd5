"""A checkpoint's files: damaged, missing or misleading ones are one clear error, and none is ever run."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from headgate import CheckpointError, load
from headgate.loading import open_checkpoint
from headgate.models import storage
from headgate.models.checkpoint import Checkpoint
from headgate.models.storage import Unpacked, packed
from tests import tiny


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("nli")
    tiny.cross_encoder(where, "bert", {0: "entailment", 1: "neutral", 2: "contradiction"})
    return where


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A cross-encoder to damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def refused(where: Path, said: str, **arguments: Any) -> None:
    with pytest.raises(CheckpointError, match=said):
        load(where, **{"template": "{}", "device": "cpu", **arguments})


# ------------------------------------------------------------------------------------ the weights


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused(folder, "holds no weights; expected model.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"not a tensor"])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights(folder: Path, name: str, content: bytes) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    refused(folder, rf"{name} is damaged")


def test_half_a_download(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-500])
    refused(folder, "is damaged .*download the model again")


class Trap:
    """Leaves a file behind if its pickle is run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "some-model.pth"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_code_is_refused_and_not_run(folder: Path, tmp_path: Path, name: str, zipped: bool) -> None:
    mark = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    if zipped:
        torch.save({"classifier.weight": Trap(mark)}, folder / name)
    else:
        (folder / name).write_bytes(pickle.dumps({"classifier.weight": Trap(mark)}))
    refused(folder, "headgate runs no code from a checkpoint")
    assert not mark.exists()


def test_safetensors_come_first(folder: Path, tmp_path: Path) -> None:
    torch.save({"x": Trap(tmp_path / "ran")}, folder / "pytorch_model.bin")
    load(folder, template="{}", device="cpu")
    assert not (tmp_path / "ran").exists()


def test_a_plain_bin_gives_the_same_scores(folder: Path, saved: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    a, b = (load(f, template="{}", device="cpu").score(tiny.TEXTS, tiny.LABELS) for f in (folder, saved))
    np.testing.assert_array_equal(a.log_odds, b.log_odds)


def test_matrices_in_int8_are_within_half_a_step(folder: Path) -> None:
    rows = torch.randn(64, 1024, generator=torch.Generator().manual_seed(0)) * torch.logspace(-6, 3, 64)[:, None]
    rows[7] = 0
    given = {"large": rows, "small": rows[:2], "bias": rows[0], "counts": torch.ones(300, 300, dtype=torch.int64)}
    kept = packed(given)
    assert kept["large"].dtype == torch.int8
    assert set(kept) == {*given, "large.scale"}
    found = Unpacked(kept)
    assert set(found) == set(given)
    step = rows.abs().amax(1, keepdim=True) / 127
    assert ((found["large"] - rows).abs() <= 0.501 * step).all()
    assert (found["large"].amax(1) - rows.amax(1)).abs().max() <= 0.501 * step.max()
    for name in ("small", "bias", "counts"):
        assert torch.equal(found[name], given[name])


def test_a_scale_of_somebody_elses_is_left_alone() -> None:
    theirs = {"logit.scale": torch.ones(1), "logit": torch.ones(3, 3), "codes": torch.ones(2, 2, dtype=torch.int8)}
    assert dict(Unpacked(theirs)) == theirs


def test_a_folder_in_int8_scores_nearly_the_same(folder: Path, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "LARGE", 1)
    path = folder / "model.safetensors"
    kept = packed(load_file(path))
    assert torch.int8 in {w.dtype for w in kept.values()}
    save_file(kept, path, metadata={"format": "pt"})
    texts, labels = ["a pump lost its password", "reset"], ["soil", "the hub"]
    found, expected = (load(f, template="{}", device="cpu").score(texts, labels).log_odds for f in (folder, saved))
    np.testing.assert_allclose(found, expected, atol=0.15)
    assert (found != expected).any()


@pytest.mark.parametrize("missing", ["classifier.weight", "bert.encoder.layer.1.output.dense.bias", "bert.pooler."])
def test_missing_weights_are_not_made_up(folder: Path, missing: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in tensors.items() if not k.startswith(missing)}, folder / "model.safetensors")
    refused(folder, rf"lacks [12] weights of Bert.*{missing.rstrip('.')}")


def test_weights_of_another_shape(folder: Path) -> None:
    tiny.change(folder / "config.json", intermediate_size=44)
    refused(folder, "don't fit its config.json")


# ------------------------------------------------------------------------------------ the configuration


@pytest.mark.parametrize("name", ["config.json", "scorer.json", "tokenizer_config.json"])
def test_bad_json(folder: Path, name: str) -> None:
    (folder / name).write_text('{"model_type": ')
    refused(folder, rf"{name} is not JSON.*download")
    (folder / name).write_text("[1, 2]")
    refused(folder, rf"{name} holds list; expected a JSON object")
    (folder / name).write_bytes(b"\xff\xfe\x00")
    refused(folder, rf"{name} is not JSON")


def test_no_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused(folder, "config.json is missing")


@pytest.mark.parametrize(
    ("keys", "arguments", "said"),
    [
        ({"model_type": "gpt-brand-new"}, {}, "'gpt-brand-new', which transformers .* does not have"),
        ({"model_type": None}, {}, "model_type None"),
        ({"model_type": "vit"}, {}, "model_type 'vit'|don't fit"),
        ({"architectures": ["BertModel"]}, {}, r"says neither.*family="),
        ({"architectures": None}, {}, r"says neither.*family="),
        ({}, {"max_length": 65}, "max_length is 65; expected 16 to 64"),
        ({}, {"max_length": 15}, "max_length is 15; expected 16 to 64"),
        ({}, {"max_length": 0}, "max_length is 0"),
        ({}, {"classes": ["entailment", "other"]}, "don't fit"),
        ({}, {"classes": {"nli": ["a", "b", "c"]}}, "classes="),
    ],
)
def test_configurations(folder: Path, keys: dict[str, Any], arguments: dict[str, Any], said: str) -> None:
    tiny.change(folder / "config.json", **keys)
    refused(folder, said, **arguments)


def test_a_family_nobody_knows(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"family is 'nli'; expected one of \['cross_encoder'"):
        load(folder, family="nli")  # type: ignore[arg-type]
    (folder / "scorer.json").write_text('{"family": "nli"}')
    refused(folder, "scorer.json names family 'nli'")
    with pytest.raises(TypeError, match=r"classes is a str.*\['entailment'\]"):
        load(folder, classes="entailment")


@pytest.mark.parametrize("body", ["bert", "roberta", "xlm-roberta", "deberta-v2", "modernbert", "bart"])
def test_the_positions_are_the_length(tmp_path: Path, body: str) -> None:
    """64 in each; RoBERTa and XLM-R have 66 and count from behind the padding id."""
    tiny.cross_encoder(tmp_path, body, {0: "entailment", 1: "other"})
    (tmp_path / "tokenizer_config.json").write_text("{}")
    scorer = load(tmp_path, template="{}", device="cpu")
    assert scorer._core.max_length == 64
    assert np.isfinite(scorer.score(["the pump is broken. " * 30], ["soil"]).log_odds).all()
    refused(tmp_path, "max_length is 65; expected 16 to 64", max_length=65)


def test_no_length_anywhere(folder: Path) -> None:
    tiny.change(folder / "config.json", max_position_embeddings=-1, position_embedding_type="relative")
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    with pytest.raises(CheckpointError, match=r"how long a text may be.*max_length="):
        _ = Checkpoint(folder, {}, torch.device("cpu"), torch.float32).length


def test_a_plain_encoder_is_its_own(tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path, "bert", {0: "entailment", 1: "not_entailment"})
    checkpoint = open_checkpoint(tmp_path, device="cpu")
    encoder, plain = (checkpoint.encoder(checkpoint.config, "bert.", plain=plain) for plain in (False, True))
    assert checkpoint.encoder(checkpoint.config, "bert.", plain=True) is plain
    assert checkpoint.encoder(checkpoint.config, "bert.") is encoder
    assert encoder is not plain
    assert isinstance(plain, PreTrainedModel)
