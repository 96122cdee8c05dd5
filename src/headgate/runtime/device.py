"""Which device, dtype and backend a model runs on."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal, get_args

import numpy as np
import torch

from headgate.errors import DeviceError, MissingExtraError
from headgate.runtime.batching import Array

Backend = Literal["auto", "torch", "transformers", "onnx"]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}


@dataclass(frozen=True)
class Run:
    """How a scorer's model runs.

    Attributes:
        backend: "torch" (headgate's own modules, where it has them), "transformers" (that library's) or "onnx".
        device: As torch names it.
        dtype: Of the encoder's products; the last linear layer runs in float32.
        why: One sentence.
    """

    backend: str
    device: str
    dtype: str
    why: str


def resolve_device(device: str) -> torch.device:
    """``"auto"`` is the first of cuda, mps and cpu that is there; anything else must be there.

    Raises:
        DeviceError: The device is unknown or not on this machine; nothing falls back in silence.
    """
    present = _present()
    if device == "auto":
        return torch.device(present[0])
    try:
        found = torch.device(device)
    except RuntimeError as e:
        raise DeviceError(f'device is {device!r}; expected "auto", or one of {present}.') from e
    count = torch.cuda.device_count() if found.type == "cuda" else 1
    if found.type not in present or (found.index or 0) >= count:
        raise DeviceError(f'device {device!r} is not on this machine; here are {present}. "auto" takes the first.')
    return found


def resolve_dtype(dtype: str, device: torch.device, backend: Backend = "torch") -> torch.dtype:
    """``"auto"`` is float32 on a CPU and on mps, bfloat16 or else float16 on cuda.

    Raises:
        DeviceError: An unknown name, or int8 on another device than a CPU that has it.
    """
    if dtype == "int8" and backend == "onnx":
        return torch.int8
    if dtype == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if dtype not in DTYPES:
        raise DeviceError(f'dtype is {dtype!r}; expected "auto" or one of {sorted(DTYPES)}.')
    if dtype == "int8" and not (device.type == "cpu" and torch.backends.mkldnn.is_available()):
        raise DeviceError(f'dtype is "int8" on {device}; expected a CPU whose PyTorch has oneDNN. Take another dtype.')
    return DTYPES[dtype]


def resolve_backend(backend: str, device: str, dtype: str) -> Literal["torch", "transformers", "onnx"]:
    """What runs the encoder; ``"auto"`` is torch.

    Raises:
        ValueError: Another name.
        DeviceError: A device or dtype that the backend does not have.
        MissingExtraError: onnxruntime is not installed.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend is {backend!r}; expected one of {list(get_args(Backend))}.")
    if backend != "onnx":
        return "transformers" if backend == "transformers" else "torch"
    if device not in ("auto", "cpu") or dtype not in ("auto", "float32", "int8"):
        raise DeviceError(
            f'backend "onnx" stands with device {device!r} and dtype {dtype!r}; expected the CPU, and "float32" or '
            '"int8". Leave device and dtype out, or take backend="torch".'
        )
    if find_spec("onnxruntime") is None:
        raise MissingExtraError("onnxruntime", "onnx")
    return "onnx"


def token_budget(device: torch.device) -> int:
    """Padded tokens of a batch: small on a CPU, where batches should fit its caches."""
    if device.type == "cpu":
        return 1024 * min(torch.get_num_threads(), 8)
    return 16_384


def there(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on the device; a GPU fetches it from pinned memory while this thread goes on."""
    pinned = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
    return pinned.to(device, non_blocking=True)


def fetched(tensor: torch.Tensor) -> Callable[[], Array]:
    """Begin to bring a float32 tensor back; the call that is returned waits until it is here, and for no more."""
    if tensor.device.type != "cuda":
        found: Array = tensor.cpu().numpy()
        return lambda: found
    here = torch.empty(tensor.shape, pin_memory=True)
    here.copy_(tensor, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(tensor.device))

    def wait() -> Array:
        done.synchronize()
        return np.array(here.numpy())  # a copy: pinned memory is scarce, and answers may be kept

    return wait


def _present() -> list[str]:
    found = ["cuda"] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]
