"""The weights of a model folder, and matrices kept in int8: half of fp16 on disk, float32 before anything computes.

Only the weights are rounded, each row with a scale of its own, and activations stay as they are, so a score does not
depend on its batch mates (symmetric quantization by row: Jacob et al. 2018, arXiv:1712.05877).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from headgate.errors import CheckpointError

SCALE = ".scale"
"""What the name of a matrix is followed by in that of its scales."""
LARGE = 1 << 16
"""Numbers in the smallest matrix that is worth rounding."""


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights with every large matrix (rows, columns) in int8, and its scales (rows,) in float32 beside it."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if value.ndim == 2 and value.numel() >= LARGE and value.is_floating_point():
            scale = value.float().abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
            found[name] = (value.float() / scale[:, None]).round().to(torch.int8)
            found[name + SCALE] = scale
        else:
            found[name] = value
    return found


class Unpacked(Mapping[str, Tensor]):
    """What `packed` was given, each number within half a step (the scale of its row); other tensors as they are.

    A matrix is computed when it is asked for: of a folder with many parts, a part pays for its own.

    Args:
        tensors: As `packed` returns them.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._scales = {k: s for k, v in tensors.items() if v.dtype == torch.int8 and (s := k + SCALE) in tensors}

    def __getitem__(self, name: str) -> Tensor:
        value = self._tensors[name]
        scale = self._scales.get(name)
        return value if scale is None else value.float() * self._tensors[scale][:, None]

    def __iter__(self) -> Iterator[str]:
        scales = set(self._scales.values())
        return (name for name in self._tensors if name not in scales)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors and name not in self._scales.values()

    def __len__(self) -> int:
        return len(self._tensors) - len(self._scales)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights: safetensors if there are any, else .bin, else .pth."""
    for names in ("model*.safetensors", "pytorch_model*.bin", "*model*.pth"):
        found = sorted(folder.glob(names))
        if found:
            return found
    raise CheckpointError(f"{folder} holds no weights; expected model.safetensors (or pytorch_model.bin).")


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All weights of a folder as they are stored, by name, without running any code in it."""
    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            if path.suffix == ".safetensors":
                tensors.update(load_file(path))
            else:
                tensors.update(torch.load(path, map_location="cpu", weights_only=True))
        except SafetensorError as e:
            raise CheckpointError(f"{path} is damaged ({e}); download the model again.") from e
        except Exception as e:  # torch.load raises many kinds for damaged files and for pickled code
            raise CheckpointError(
                f"{path} is damaged or holds more than tensors; headgate runs no code from a "
                "checkpoint. Use a safetensors file of this model."
            ) from e
    return tensors


def samples(path: Path) -> Iterator[bytes]:
    """Size, head and 64 evenly spread pieces: all of a small file, enough of a large one."""
    if not path.is_file():
        return
    size = path.stat().st_size
    yield str(size).encode()
    with path.open("rb") as file:
        yield file.read(1 << 20)
        for k in range(64):
            file.seek(k * size // 64)
            yield file.read(4096)
