"""Loading: what the files leave open or get wrong is one clear error, and nothing else is touched."""

import gc
import hashlib
import json
import os
import shutil
import time
import weakref
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled
from safetensors.torch import load_file, save_file

from headgate import CheckpointError, load
from headgate.families.base import Family
from headgate.models import checkpoint
from tests import tiny

NLI = {0: "entailment", 1: "neutral", 2: "contradiction"}
PARTS: dict[str, Any] = {
    "max_length": 32,
    "pooling": "mean",
    "parts": {
        "nli": {"family": "cross_encoder", "head": "nli", "classes": list(NLI.values()), "template": "about {}."},
        "rank": {"family": "late_interaction", "maxsim": 2.0, "cosine": 0.5, "max_length": 48},
        "heads": {"family": "multi_head", "heads": {"mood": {"labels": ["good", "bad"]}}, "thresholds": {"bad": 0.7}},
        "embed": {"family": "bi_encoder", "calibration": {"scale": 4.0, "shift": -1.0}},
    },
    "defaults": {"rerank": "rank", "guard": "heads"},
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("nli")
    tiny.cross_encoder(where, "bert", NLI)
    return where


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A cross-encoder to damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("parts")
    tiny.multi_head(where, {"nli": 3, "mood": 2}, layout="published")
    (where / "scorer.json").write_text(json.dumps(PARTS))
    return where


def refused(where: str | Path, said: str, **arguments: Any) -> None:
    with pytest.raises(CheckpointError, match=said):
        load(where, **{"template": "{}", "device": "cpu", **arguments})


# ------------------------------------------------------------------------------------ where it is


def test_a_missing_folder(tmp_path: Path) -> None:
    for where in (tmp_path / "nowhere", "./nowhere", "~/nowhere/at/all", "a/b/c"):
        refused(where, "there is no folder .*nowhere|there is no folder a/b/c")


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    refused(folder / "model.safetensors", "is a file; expected the folder")


def test_parts(parts: Path) -> None:
    nli, rank, heads, embed = (load(parts / p, device="cpu") for p in PARTS["parts"])
    assert [type(s).__name__ for s in (nli, rank, heads, embed)] == [
        *("CrossEncoder", "LateInteraction", "MultiHeadClassifier", "BiEncoder")
    ]
    assert [s._core.max_length for s in (nli, rank, heads, embed)] == [32, 48, 32, 32]
    assert type(load(parts / "rerank", device="cpu")) is type(rank)
    assert load(parts / "guard", device="cpu").thresholds["mood:bad"] == 0.7  # type: ignore[attr-defined]
    assert embed.score(["the hub"], ["soil"]).meaning == "probability"
    # A calibration belongs to one template; the length of a window leaves it in place.
    assert load(parts / "embed", device="cpu", template="about {}").score(["the hub"], ["soil"]).meaning == "order"
    assert load(parts / "embed", device="cpu", max_length=48).score(["the hub"], ["soil"]).meaning == "probability"
    assert load(f"{parts}/rank", device="cpu").fingerprint == rank.fingerprint != embed.fingerprint


def test_parts_must_be_named_and_known(parts: Path) -> None:
    refused(parts, rf"holds the parts \['embed', 'heads', 'nli', 'rank'\].*load\('{parts.name}/embed'\)")
    refused(parts / "ranks", r"no part 'ranks'; it holds \['embed'")
    refused("mini", r"holds the parts.*load\('mini/")
    refused("mini/nothing", "no part 'nothing'")


# ------------------------------------------------------------------------------------ the Hub


def test_offline_says_so_at_once() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"  # of conftest.py
    start = time.monotonic()
    refused("nobody/no-such-model-7f3a", "neither a folder here nor a model of the Hub.*mini/rank")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("where", ["no such model", "a--b/c", "bert base/x"])
def test_what_is_no_hub_id(where: str) -> None:
    refused(where, "neither a folder here nor a model of the Hub")


@pytest.mark.parametrize(
    "error",
    [LocalEntryNotFoundError("no"), OfflineModeIsEnabled("no"), ConnectionError("no"), RuntimeError("no")],  # a proxy's
)
def test_a_hub_that_fails(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    refused("owner/name", "'owner/name'.*(no)")


def test_the_revision_reaches_the_hub(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    asked: list[dict[str, Any]] = []

    def give(where: str, **arguments: Any) -> str:
        asked.append({"where": where, **arguments})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    found = load("owner/name", revision="1234abc", template="{}", device="cpu")
    assert found.fingerprint == load(folder, template="{}", device="cpu").fingerprint
    assert [(a["where"], a["revision"]) for a in asked] == [("owner/name", "1234abc")]
    assert not any(p in a["allow_patterns"] for a in asked for p in ("*.bin", "*.py", "*"))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    load("owner/name", revision="1234abc", template="{}", device="cpu")  # pickles only where there is nothing else
    assert "*.bin" in asked[-1]["allow_patterns"]
    assert {a["revision"] for a in asked} == {"1234abc"}


def test_a_revision_of_a_folder_means_nothing(folder: Path) -> None:
    with pytest.raises(ValueError, match="revision is 'main'"):
        load(folder, revision="main", template="{}")


# ------------------------------------------------------------------------------------ side effects


def backbones(folder: Path) -> list[torch.nn.Module]:
    return [m for key, m in dict(checkpoint._SHARED).items() if key[0] == str(folder.resolve())]


def test_parts_share_one_backbone_and_free_it(parts: Path) -> None:
    gc.collect()
    assert backbones(parts) == []  # nothing that earlier tests loaded is left
    found: list[Family] = [load(parts / p, device="cpu") for p in PARTS["parts"]]
    (backbone,) = backbones(parts)
    passes: list[int] = []
    hook = backbone.register_forward_hook(lambda *_: passes.append(1))
    for k, scorer in enumerate(found, start=1):
        scorer.score(["the hub"], (scorer.labels or tiny.LABELS)[:1])
        assert len(passes) >= k
    hook.remove()
    half = load(parts / "embed", dtype="bfloat16", device="cpu")
    assert len(backbones(parts)) == 2  # another dtype is another backbone
    half.close()
    alive = weakref.ref(backbone)
    del backbone
    for scorer in found:
        gc.collect()
        assert alive() is not None
        scorer.close()
    gc.collect()
    assert alive() is None
    assert backbones(parts) == []


def test_new_weights_are_not_the_old_ones(folder: Path) -> None:
    tiny.sentence_encoder(folder / "st")
    old = load(folder / "st", device="cpu")
    tensors = load_file(folder / "st" / "model.safetensors")
    save_file({k: v * 1.5 for k, v in tensors.items()}, folder / "st" / "model.safetensors")
    new = load(folder / "st", device="cpu")
    assert new.fingerprint != old.fingerprint
    assert np.abs(new.score(tiny.TEXTS, ["soil"]).log_odds - old.score(tiny.TEXTS, ["soil"]).log_odds).max() > 1e-3


def test_loading_is_quiet_and_touches_nothing(
    folder: Path, parts: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "extra.weight": torch.zeros(3)}, folder / "model.safetensors")  # transformers reports it
    classes = {"mood": ["good", "bad"]}

    def world() -> list[Any]:
        files = sorted(p for where in (folder, parts) for p in where.rglob("*") if p.is_file())
        logging = transformers.utils.logging
        return [
            [(p, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files],
            [torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), dict(classes)],
            [logging.is_progress_bar_enabled(), logging.get_verbosity(), dict(os.environ)],
            [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()],  # type: ignore[index, union-attr] # noqa: NPY002
        ]

    transformers.utils.logging.set_verbosity_warning()  # as transformers begins
    transformers.utils.logging.enable_progress_bar()
    before = world()
    capfd.readouterr()
    load(folder, template="{}", device="cpu").score(["a"], ["b"])
    for part in PARTS["parts"]:
        load(parts / part, device="cpu", classes=classes if part == "heads" else None)
    assert tuple(capfd.readouterr()) == ("", "")
    assert world() == before
    assert len(recwarn) == 0
