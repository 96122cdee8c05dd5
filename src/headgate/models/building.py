"""A module of transformers from a configuration and weights; what is missing raises: it would be filled with noise."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from headgate.errors import CheckpointError


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
    try:
        with quietly():
            model, info = cls.from_pretrained(
                None,
                config=settings,
                state_dict=dict(weights),
                dtype=dtype,
                output_loading_info=True,
                **({"add_pooling_layer": False} if spared else {}),
            )
    except (RuntimeError, ValueError, KeyError) as e:
        raise CheckpointError(f"the weights in {where} don't fit its config.json: {e}") from e
    missing = sorted(info["missing_keys"]) + sorted(str(k) for k in info["mismatched_keys"])
    if missing:
        raise CheckpointError(
            f"{where} lacks {len(missing)} weights of {cls.__name__}, such as {missing[:3]}; "
            "expected all of them, since the rest would be random. Is it the right family and folder?"
        )
    found: nn.Module = model.eval().requires_grad_(False)
    return found


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
