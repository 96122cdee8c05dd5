"""A graph is made once, checked, and never mistaken for another; what can't be made one says why."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from headgate import CheckpointError, DeviceError, MissingExtraError, cli, load
from headgate.loading import open_checkpoint
from headgate.models import onnx_export
from headgate.runtime import device
from headgate.runtime.cache_folder import cache_folder
from tests import tiny
from tests.families import test_gliclass, test_isolated
from tests.models.conftest import NLI, agree, scores


def test_a_graph_is_made_once(folder: Path, own_cache: Path, exports: list[nn.Module]) -> None:
    first = scores(folder, backend="onnx")
    (file,) = own_cache.iterdir()
    np.testing.assert_array_equal(scores(folder, backend="onnx"), first)
    assert len(exports) == 1
    assert [*own_cache.iterdir()] == [file]


def test_other_weights_have_a_graph_of_their_own(folder: Path, own_cache: Path, exports: list[nn.Module]) -> None:
    with onnx_export.exporting(None):
        scores(folder, backend="onnx")
    beside = [*(folder / "onnx").iterdir()]
    tiny.cross_encoder(folder, "bert", NLI, hidden_act="relu")
    agree(folder, template="{}")
    assert len(exports) == 2
    assert [*(folder / "onnx").iterdir()] == beside
    assert len([*own_cache.iterdir()]) == 1


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    return content[:-5000] + bytes([content[-5000] ^ 1]) + content[-4999:]


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_damaged_graph_is_made_anew(
    folder: Path, cache: Path, own_cache: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    with onnx_export.exporting(cache / "onnx") as found:
        expected = scores(folder, backend="onnx")
    own_cache.mkdir(parents=True)
    file = own_cache / found[0].path.name
    file.write_bytes(damage(found[0].path.read_bytes()))
    for said in (True, False):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            np.testing.assert_allclose(scores(folder, backend="onnx"), expected, atol=1e-5)
        assert ("damaged" in caplog.text) == said


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    monkeypatch.delenv("HEADGATE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert cache_folder() == Path("/shared/headgate")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "headgate"


# --- headgate export


def export(*arguments: object) -> list[str]:
    """What it says on stdout."""
    result = CliRunner().invoke(cli.app, ["export", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_the_command_writes_beside_the_model(
    folder: Path, own_cache: Path, exports: list[nn.Module], kind: str
) -> None:
    options = ["--int8"] if kind == "int8" else []
    first = export(folder, *options)
    (file,) = (folder / "onnx").iterdir()
    assert file.name.startswith(kind)
    assert first[0].startswith(f"{file} (written, ")
    assert "difference" in first[1]
    assert export(folder, *options) == [first[0].replace("written", "reused"), first[1]]
    scores(folder, backend="onnx", dtype=kind)
    assert len(exports) == 1
    assert not own_cache.exists()


def test_the_command_writes_elsewhere(folder: Path, own_cache: Path, exports: list[nn.Module]) -> None:
    export(folder, "--out", own_cache)  # which is where load looks
    assert not (folder / "onnx").exists()
    scores(folder, backend="onnx")
    assert len(exports) == 1


def test_the_command_takes_names_of_classes(tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path, "bert", {0: "LABEL_0"})
    assert "written" in export(tmp_path, "--class", "relevance")[0]


# --- what is refused


def perturbed(encoder: nn.Module) -> None:
    """Other weights than the caller's."""
    for parameter in encoder.parameters():
        parameter.data.mul_(1.001)


def test_a_graph_that_computes_something_else(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = onnx_export._graph

    def wrong(encoder: nn.Module, source: onnx_export.Source) -> Any:
        found = graph(encoder, source)
        perturbed(encoder)
        return found

    monkeypatch.setattr(onnx_export, "_graph", wrong)
    with pytest.raises(CheckpointError, match=r"differ from torch's by .*backend=\"torch\""):
        scores(folder, backend="onnx")
    assert [*own_cache.iterdir()] == []


def test_an_encoder_with_a_decoder(tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path, "bart", NLI)
    with pytest.raises(CheckpointError, match="is a bart, an encoder with a decoder"):
        scores(tmp_path, backend="onnx")


def test_isolated_labels(tmp_path: Path, exports: list[nn.Module]) -> None:
    test_gliclass.save(tmp_path, tiny.tokenizer("bert"), **test_isolated.APART)
    with pytest.raises(CheckpointError, match="isolates its labels"):
        load(tmp_path, backend="onnx")
    assert exports == []


def test_more_than_a_file_holds(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_export, "MOST_BYTES", 1000)
    with pytest.raises(CheckpointError, match="GB; expected at most"):
        scores(folder, backend="onnx")


def test_an_encoder_that_can_not_be_traced(folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("data-dependent control flow\nand more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(CheckpointError, match=r"can't be exported to ONNX \(data-dependent control flow\)"):
        scores(folder, backend="onnx")


def test_a_cache_that_can_not_be_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADGATE_CACHE", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match="Set HEADGATE_CACHE"):
        scores(folder, backend="onnx")


@pytest.mark.parametrize("asked", [{"output_hidden_states": True}, {"position_ids": torch.zeros(1, 3).long()}])
def test_what_only_torch_gives(folder: Path, asked: dict[str, Any]) -> None:
    model = open_checkpoint(folder, backend="onnx").classifier(3)
    with pytest.raises(ValueError, match="expected ids or embeddings"):
        model.bert(torch.ones(1, 3).long(), **asked)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"backend": "onnx", "dtype": "bfloat16"}, 'dtype .bfloat16.; expected the CPU, and "float32"'),
        ({"backend": "onnx", "device": "cuda"}, "device .cuda.*expected the CPU"),
    ],
)
def test_devices_and_dtypes_it_does_not_have(folder: Path, how: dict[str, Any], words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        load(folder, **how)


def test_an_unknown_backend(folder: Path) -> None:
    with pytest.raises(ValueError, match="backend is 'tensorrt'; expected one of"):
        load(folder, backend="tensorrt")  # type: ignore[arg-type]


@pytest.mark.parametrize(("module", "missing"), [(device, "onnxruntime"), (onnx_export, "onnxscript")])
def test_a_missing_extra(
    folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, module: Any, missing: str
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(MissingExtraError, match=rf"{missing}.*headgate\[onnx\]"):
        scores(folder, backend="onnx")
