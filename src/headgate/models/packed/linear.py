"""Linear layers for inference: weights laid out once, as the kernels want them.

On a CPU oneDNN multiplies in its own layout; torch would bring every weight into it at every call, and its float32 goes
through another library, 10% slower on the CPUs we measured (``benchmarks/LOG.md``).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["none", "gelu", "tanh", "relu"]
"""What follows the product: "gelu" is the exact one, "tanh" the GELU by tanh."""

ROWS = 1024
"""How many tokens the layout of weights is made for; others work as well."""
PART = 512
"""Tokens that int8 rounds at once: it goes over them again and again, so they should stay in the CPU's cache."""


class Linear:
    """``act(x W' + b)`` for x (tokens, in), in float32 or ``dtype``, to (tokens, out).

    Args:
        layers: Stacked upon one another: their outputs side by side.
        dtype: Of product and result; int8 rounds each weight row and each token by itself (a score does not depend on
            its batch mates) and gives float32.
    """

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype) -> None:
        weight = torch.cat([layer.weight.detach() for layer in layers]).contiguous()
        biases = [torch.zeros(x.out_features).to(x.weight) if x.bias is None else x.bias.detach() for x in layers]
        self._dtype = dtype
        self._onednn = weight.device.type == "cpu" and _multiplies(dtype)
        if dtype == torch.int8:
            self._bias = torch.cat(biases).float()
            self._scale = weight.float().abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
            whole = (weight.float() / self._scale[:, None]).round().to(torch.int8)
            self._weight = torch.ops.onednn.qlinear_prepack(whole, [ROWS, weight.shape[1]])
            self._zeros = torch.zeros(len(weight), dtype=torch.int64)
            return
        self._bias, self._weight = torch.cat(biases).to(dtype), weight.to(dtype)
        if self._onednn:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, ROWS)

    def __call__(self, x: Tensor, act: Activation = "none") -> Tensor:
        """See the class."""
        if self._dtype == torch.int8:
            return self._rounded(x.float(), act)
        x = x.to(self._dtype)
        if not self._onednn:
            return _activated(nn.functional.linear(x, self._weight, self._bias), act)
        name, how = ("gelu", act) if act == "tanh" else (act, "none" if act == "gelu" else "")
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, name, [], how)  # type: ignore[no-any-return]

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """``x W' + b + other``."""
        if not self._onednn or self._dtype != other.dtype:
            return other + self(x)
        fused = torch.ops.mkldnn._linear_pointwise.binary
        return fused(x, other.contiguous(), self._weight, self._bias, "add")  # type: ignore[no-any-return]

    def _rounded(self, x: Tensor, act: Activation) -> Tensor:
        """Each token by its own scale, symmetric around 128, since CPUs multiply unsigned by signed bytes."""
        whole, scale = torch.empty(x.shape, dtype=torch.uint8), x.new_empty(len(x), 1)
        for given, out, by in zip(x.split(PART), whole.split(PART), scale.split(PART), strict=True):
            torch.maximum(given.amax(1, keepdim=True), given.amin(1, keepdim=True).neg_(), out=by)
            by.clamp_(min=torch.finfo(torch.float32).tiny).div_(127)
            out.copy_((given / by).add_(128.5))  # which cuts off what is behind the point
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, 128, self._weight, self._scale, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        for part, by in zip(product.split(PART), scale.split(PART), strict=True):
            _activated(part.mul_(by).add_(self._bias), act)
        return product


def bfloat16_units() -> list[str]:
    """What this CPU multiplies bfloat16 with, as it calls it; [] where it would have to pretend."""
    can: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    there = torch.backends.mkldnn.is_available()
    return [name for name in ("avx512_bf16", "amx_bf16", "arm_bf16") if there and can.get(name)]


def attention_dtype(dtype: torch.dtype) -> torch.dtype:
    """What attention computes in beside products of ``dtype``: the same, but for int8."""
    if dtype != torch.int8:
        return dtype
    return torch.bfloat16 if bfloat16_units() else torch.float32


def _multiplies(dtype: torch.dtype) -> bool:
    """True if oneDNN has kernels for the dtype on this CPU; int8 apart."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _activated(x: Tensor, act: Activation) -> Tensor:
    """In place."""
    if act == "none":
        return x
    if act == "relu":
        return x.relu_()
    return torch.ops.aten.gelu_(x, approximate="tanh" if act == "tanh" else "none")  # type: ignore[no-any-return]
