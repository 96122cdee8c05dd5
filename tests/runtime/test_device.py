"""A device or dtype that is not there raises; "auto" never does."""

import pytest
import torch

from headgate import DeviceError
from headgate.runtime.device import resolve_device, resolve_dtype, token_budget


def machine(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False, bf16: bool = True) -> None:
    """Pretend to have these devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bf16)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(0, False, "cpu"), (0, True, "mps"), (1, False, "cuda"), (2, True, "cuda")]
)
def test_auto_takes_the_first_there_is(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, expected: str) -> None:
    machine(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto").type == expected


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps"])
def test_what_is_there_is_taken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch, cuda=2, mps=True)
    assert str(resolve_device(name)) == name


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "meta", "xpu", "gpu", "", "cpu:7", "Auto"])
def test_what_is_not_there_raises(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    machine(monkeypatch)
    with pytest.raises(DeviceError, match=r"device .*'" + name + r"'.*\['cpu'\]"):
        resolve_device(name)


def test_the_third_of_two_gpus_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cuda=2)
    with pytest.raises(DeviceError, match="cuda:2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    ("device", "bf16", "expected"),
    [
        ("cpu", True, torch.float32),
        ("mps", True, torch.float32),
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float16),
    ],
)
def test_auto_dtype(monkeypatch: pytest.MonkeyPatch, device: str, bf16: bool, expected: torch.dtype) -> None:
    machine(monkeypatch, cuda=1, bf16=bf16)
    assert resolve_dtype("auto", torch.device(device)) == expected


def test_named_dtypes() -> None:
    cpu = torch.device("cpu")
    named = [resolve_dtype(n, cpu) for n in ("float32", "float16", "bfloat16", "int8")]
    assert named == [torch.float32, torch.float16, torch.bfloat16, torch.int8]
    with pytest.raises(DeviceError, match=r"'int4'.*bfloat16"):
        resolve_dtype("int4", cpu)
    with pytest.raises(DeviceError, match=r"int8.*cuda.*expected a CPU"):
        resolve_dtype("int8", torch.device("cuda"))


def test_a_cpu_gets_small_batches() -> None:
    assert 1024 <= token_budget(torch.device("cpu")) <= 8192 < token_budget(torch.device("cuda"))
