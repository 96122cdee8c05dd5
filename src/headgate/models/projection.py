"""What late interaction puts behind an encoder: the linear layers of ColBERT models, in float32.

Sources: stanford-futuredata/ColBERT 0.2.22, ``modeling/base_colbert.py``; lightonai/pylate 1.6.0, ``models/Dense.py``.
"""

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from headgate.errors import CheckpointError
from headgate.models.checkpoint import Checkpoint, read_json, read_json_list

ACTIVATIONS = {"Identity": nn.Identity, "GELU": nn.GELU, "ReLU": nn.ReLU, "SiLU": nn.SiLU, "Tanh": nn.Tanh}


class _Dense(nn.Module):
    """One Dense module of PyLate: ``activation(linear(x))``, plus x, itself or projected, where it says so."""

    def __init__(self, linear: nn.Linear, activation: nn.Module, residual: nn.Module | None) -> None:
        super().__init__()
        self.linear, self.activation, self.residual = linear, activation, residual

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.activation(self.linear(x))
        return found if self.residual is None else found + self.residual(x)


def linear(checkpoint: Checkpoint) -> nn.Module:
    """Stanford's projection."""
    found = checkpoint.part("linear.")
    if set(found) != {"weight"}:
        raise CheckpointError(f"{checkpoint.folder} has {sorted(found)} under linear.; expected one weight.")
    return _affine(found["weight"], None)


def dense(checkpoint: Checkpoint) -> nn.Module:
    """PyLate's projections, one after another."""
    modules = read_json_list(checkpoint.folder / "modules.json")
    kinds = [str(m.get("type")).rsplit(".", 1)[-1] for m in modules]
    if kinds != ["Transformer"] + ["Dense"] * (len(kinds) - 1):
        raise CheckpointError(f"{checkpoint.folder} has modules {kinds}; headgate reads Transformer and Dense here.")
    layers = [_layer(checkpoint.folder / str(m["path"])) for m in modules[1:]]
    widths = [(layer.linear.in_features, layer.linear.out_features) for layer in layers]
    if any(a[1] != b[0] for a, b in pairwise(widths)):
        raise CheckpointError(f"{checkpoint.folder} has Dense modules of widths {widths}, which don't follow.")
    return nn.Sequential(*layers)


def _layer(folder: Path) -> _Dense:
    raw, path = read_json(folder / "config.json"), folder / "model.safetensors"
    name = str(raw.get("activation_function", "Identity")).rsplit(".", 1)[-1]
    if name not in ACTIVATIONS:
        raise CheckpointError(f"{folder} has activation_function {name!r}; expected one of {sorted(ACTIVATIONS)}.")
    if path.is_file():
        found = load_file(path)
    else:
        found = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    inner = _affine(found["linear.weight"], found.get("linear.bias"))
    residual: nn.Module | None = None
    if raw.get("use_residual"):
        residual = _affine(found["residual.weight"], None) if "residual.weight" in found else nn.Identity()
    return _Dense(inner, ACTIVATIONS[name](), residual)


def _affine(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    found = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    found.load_state_dict({"weight": weight.float()} | ({} if bias is None else {"bias": bias.float()}))
    return found.requires_grad_(False)
