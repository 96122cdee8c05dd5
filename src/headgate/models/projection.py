"""What late interaction puts behind an encoder: the linear layers of ColBERT models, in float32.

Sources: stanford-futuredata/ColBERT 0.2.22, ``modeling/base_colbert.py``; lightonai/pylate 1.6.0, ``models/Dense.py``.
"""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from headgate.errors import CheckpointError
from headgate.models.checkpoint import Checkpoint, module_kinds, read_json, read_json_list
from headgate.models.storage import read_tensors

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
    """Stanford's projection.

    Raises:
        CheckpointError: It is missing, or doesn't fit the encoder.
    """
    found = checkpoint.part("linear.")
    if set(found) != {"weight"}:
        raise CheckpointError(f"{checkpoint.folder} has {sorted(found)} under linear.; expected one weight.")
    layer = _affine(found["weight"], None, checkpoint.folder)
    _fits([layer.in_features], [int(checkpoint.body.hidden_size)], checkpoint.folder)
    return layer


def dense(checkpoint: Checkpoint) -> nn.Module:
    """PyLate's projections, one after another.

    Raises:
        CheckpointError: Their files are missing or damaged, say something else than the weights, or don't fit.
    """
    modules, kinds = read_json_list(checkpoint.folder / "modules.json"), module_kinds(checkpoint.folder)
    if kinds != ["Transformer"] + ["Dense"] * (len(kinds) - 1):
        raise CheckpointError(f"{checkpoint.folder} has modules {kinds}; headgate reads Transformer and Dense here.")
    paths = [m.get("path") for m in modules[1:]]
    if not all(isinstance(path, str) and path for path in paths):
        raise CheckpointError(f"{checkpoint.folder / 'modules.json'} has paths {paths}; expected a folder for each.")
    layers = [_layer(checkpoint.folder / str(path)) for path in paths]
    widths = [int(checkpoint.body.hidden_size), *(layer.linear.out_features for layer in layers)]
    _fits([layer.linear.in_features for layer in layers], widths[:-1], checkpoint.folder)
    return nn.Sequential(*layers)


def _layer(folder: Path) -> _Dense:
    raw, found = read_json(folder / "config.json"), read_tensors(folder)
    name = str(raw.get("activation_function", "Identity")).rsplit(".", 1)[-1]
    if name not in ACTIVATIONS:
        raise CheckpointError(f"{folder} has activation_function {name!r}; expected one of {sorted(ACTIVATIONS)}.")
    if not isinstance(found, dict) or "linear.weight" not in found:
        raise CheckpointError(f"{folder} has no linear.weight; expected that of a Dense module.")
    inner = _affine(found["linear.weight"], found.get("linear.bias"), folder)
    here = {"in_features": inner.in_features, "out_features": inner.out_features, "bias": inner.bias is not None}
    said = {key: raw.get(key, value) for key, value in here.items()}
    if said != here:
        raise CheckpointError(f"{folder} says {said} and its weights are of {here}; download the model again.")
    return _Dense(inner, ACTIVATIONS[name](), _residual(raw, found, inner, folder))


def _residual(raw: dict[str, Any], found: dict[str, Tensor], inner: nn.Linear, folder: Path) -> nn.Module | None:
    if not raw.get("use_residual"):
        return None
    shape = tuple(inner.weight.shape)
    if "residual.weight" not in found and shape[0] == shape[1]:
        return nn.Identity()
    weight = found.get("residual.weight")
    if weight is None or tuple(weight.shape) != shape:
        there = "none" if weight is None else tuple(weight.shape)
        raise CheckpointError(f"{folder} uses a residual and has {there}; expected residual.weight of {shape}.")
    return _affine(weight, None, folder)


def _affine(weight: Tensor, bias: Tensor | None, where: Path) -> nn.Linear:
    shapes = [tuple(t.shape) for t in (weight, bias) if t is not None]
    floating = all(t.is_floating_point() for t in (weight, bias) if t is not None)
    if not floating or weight.ndim != 2 or not weight.numel() or shapes[1:] not in ([], [(weight.shape[0],)]):
        raise CheckpointError(f"{where} has a linear layer of {shapes}, {weight.dtype}; expected (out, in) and (out,).")
    found = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    found.load_state_dict({"weight": weight.float()} | ({} if bias is None else {"bias": bias.float()}))
    return found.requires_grad_(False)


def _fits(taken: list[int], given: list[int], where: Path) -> None:
    if taken != given:
        raise CheckpointError(
            f"{where} has projections of widths {taken} behind states of {given}, which don't follow."
        )
