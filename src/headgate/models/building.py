"""A module of transformers from a configuration and weights; what is missing raises: it would be filled with noise."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from headgate.errors import CheckpointError

_ORIGINS = {"_name_or_path", "architectures", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version"}


def settings_of(config: Mapping[str, Any], where: Path) -> transformers.PreTrainedConfig:
    """The configuration as an object, or CheckpointError for a model that transformers doesn't have."""
    try:
        return transformers.AutoConfig.for_model(**config)
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(
            f"{where} has model_type {config.get('model_type')!r}, which transformers {transformers.__version__} "
            "does not have; headgate never runs code from a checkpoint."
        ) from e


def built(
    settings: transformers.PreTrainedConfig, weights: Mapping[str, Tensor], *, auto: str, pooler: bool,
    dtype: torch.dtype, where: Path,
) -> nn.Module:  # fmt: skip
    """The module, frozen, on the CPU.

    Args:
        settings: Its configuration.
        weights: By their names in the module.
        auto: Which of transformers' Auto classes chooses it.
        pooler: Whether it has a pooling layer, where it can do without.
        dtype: Of its weights.
        where: The folder, for errors.

    Raises:
        CheckpointError: Weights are missing or don't fit.
    """
    cls = _class(settings, auto, where)
    spared = not pooler and "add_pooling_layer" in cls.__init__.__code__.co_varnames
    misfit = f"the weights in {where} don't fit its config.json"
    how = {"config": settings, "dtype": dtype, **({"add_pooling_layer": False} if spared else {})}
    found: nn.Module = filled(partial(cls.from_pretrained, None, **how), weights, where=where, misfit=misfit)
    return found


def filled(make: Callable[..., Any], weights: Mapping[str, Tensor], *, where: Path, misfit: str) -> Any:  # noqa: ANN401
    """What ``from_pretrained`` gives with its other arguments filled in: a module, frozen, on the CPU.

    Args:
        make: Takes ``state_dict`` and ``output_loading_info``.
        weights: By their names in the module.
        where: The folder, for errors.
        misfit: What is to be said where it fails.

    Raises:
        CheckpointError: Weights are missing or don't fit.
    """
    try:
        with quietly():
            model, info = make(state_dict=dict(weights), output_loading_info=True)
    except (RuntimeError, ValueError, KeyError) as e:
        raise CheckpointError(f"{misfit}: {e}") from e
    missing = sorted(info["missing_keys"]) + sorted(str(k) for k in info["mismatched_keys"])
    if missing:
        raise CheckpointError(
            f"{where} lacks {len(missing)} weights of {type(model).__name__}, such as {missing[:3]}; "
            "expected all of them, since the rest would be random. Is it the right family and folder?"
        )
    return model.eval().requires_grad_(False)


def contents(module: nn.Module) -> str:
    """A digest of a module of transformers: all its weights, and its configuration but for where it came from."""
    settings = {k: v for k, v in module.config.to_dict().items() if k not in _ORIGINS}  # type: ignore[operator, union-attr]
    sha = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, value in sorted(module.state_dict().items()):
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()


@contextmanager
def quietly() -> Iterator[None]:
    """Without bars, and without a report of weights that a family leaves aside: what is missing raises."""
    say = transformers.utils.logging
    bars, level = say.is_progress_bar_enabled(), say.get_verbosity()
    say.disable_progress_bar()
    say.set_verbosity_error()
    try:
        yield
    finally:
        say.set_verbosity(level)
        if bars:
            say.enable_progress_bar()


def _class(settings: transformers.PreTrainedConfig, auto: str, where: Path) -> Any:  # noqa: ANN401
    try:
        return getattr(transformers, auto)._model_mapping[type(settings)]
    except KeyError as e:
        raise CheckpointError(f"{where} has model_type {settings.model_type!r}, for which there is no {auto}.") from e
