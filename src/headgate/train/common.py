"""What the ways in share: where to start from, checked numbers of rows, padded batches, and the trainer's arguments."""

from __future__ import annotations

import copy
import random
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from headgate.errors import DataError, MissingExtraError
from headgate.loading import open_checkpoint
from headgate.models.checkpoint import Checkpoint

_COPIED = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "spm.model")


class Padded(NamedTuple):
    """Rows of one batch: ids, mask (True on tokens) and token types (or None), each (rows, longest)."""

    ids: Tensor
    mask: Tensor
    types: Tensor | None


def start(where: str | Path, *, revision: str | None = None, max_length: int | None = None) -> Checkpoint:
    """The model to start from, in float32 on the CPU; the trainer moves it.

    Args:
        where: A folder, a Hub id, or a part of the default model, as :func:`headgate.load` takes it.
        revision: Commit, tag or branch of a Hub id.
        max_length: Tokens of the longest row, in place of the folder's.

    Raises:
        CheckpointError: Files are missing, damaged or ambiguous.
    """
    found = open_checkpoint(where, revision=revision, device="cpu", dtype="float32", max_length=max_length)
    return replace(found, backend="transformers")  # gradients flow through its modules


def different(out: str | Path, checkpoint: Checkpoint) -> None:
    """Raise ValueError where the result would be written over the base."""
    if Path(out).resolve() == checkpoint.folder.resolve():
        raise ValueError(f"out is {out}, the folder of the base; expected another, so that the base survives.")


def trainable(module: nn.Module) -> nn.Module:
    """A copy that gradients flow through: what `load` returns is frozen and shared."""
    return copy.deepcopy(module).requires_grad_(True).train()


def padded(rows: Sequence[Sequence[int]], fill: int, types: Sequence[Sequence[int]] | None = None) -> Padded:
    """Rows of different lengths as one batch, `fill` behind the short ones."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), fill)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    second = None if types is None else torch.zeros((len(rows), width), dtype=torch.long)
    for at, row in enumerate(rows):
        ids[at, : len(row)] = torch.tensor(row)
        mask[at, : len(row)] = True
        if second is not None and types is not None:
            second[at, : len(row)] = torch.tensor(types[at])
    return Padded(ids, mask, second)


def arguments(
    out: str | Path,
    given: TrainingArguments | None,
    *,
    metric: str | None = None,
    patience: int | None = None,
    **defaults: Any,  # noqa: ANN401
) -> TrainingArguments:
    """The trainer's arguments: the user's as they are, else `defaults` over those that suit small encoders.

    Args:
        out: Where checkpoints and the trained model go.
        given: ``transformers.TrainingArguments``: mixed precision, several GPUs and logging are set there.
        metric: What held-out rows are measured by after every epoch, to keep the best; None: there are none.
        patience: After how many measurements without a better one to stop.
        **defaults: Of the way in; ignored where `given` is there.

    Raises:
        MissingExtraError: accelerate, on which the Trainer runs, is not installed.
        ValueError: `patience` without anything to wait for.
    """
    try:
        import accelerate  # noqa: F401
    except ImportError as e:
        raise MissingExtraError("accelerate", "train") from e
    if given is not None:
        # Our data sets hold texts, not the columns of a forward; the Trainer would throw them away.
        args = copy.copy(given)
        args.remove_unused_columns = False
        args.dataloader_pin_memory &= torch.accelerator.is_available()  # torch warns where there is none
    else:
        args = TrainingArguments(**{**_usual(out), **(_best(metric) if metric else {}), **defaults})
    if metric and args.eval_strategy == "no":
        raise ValueError('evaluation rows came, and arguments have eval_strategy="no"; expected "epoch" or "steps".')
    if patience is not None and not (metric and args.load_best_model_at_end):
        raise ValueError(
            f"patience is {patience}, and there is nothing to wait for; expected evaluation=rows, and where arguments "
            "are given, load_best_model_at_end=True with its strategies."
        )
    return args


def _usual(out: str | Path) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "learning_rate": 1e-4,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.1,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 32,
        "num_train_epochs": 3,
        "weight_decay": 0.01,
        "logging_steps": 0.02,  # 50 points of the loss curve, of a run of any length
        "save_strategy": "no",
        "report_to": "none",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.accelerator.is_available(),
    }


def _best(metric: str) -> dict[str, Any]:
    """Measure every epoch and keep the best."""
    return {
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": f"eval_{metric}",
    }


@contextmanager
def contained() -> Iterator[None]:
    """Give the caller's random numbers back as they were: a Trainer seeds Python, NumPy and torch for all."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  it is the legacy one that is seeded
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def normal(text: str) -> str:
    """The form in which texts are compared: NFKC, lower case, punctuation to space."""
    return " ".join(re.sub(r"[^\w]+", " ", unicodedata.normalize("NFKC", text).lower()).split())


def several(labels: Iterable[str | None], what: str) -> None:
    """Refuse data from which nothing can be learned.

    Raises:
        DataError: All rows are of one class.
    """
    counts = Counter(labels)
    if len(counts) < 2:
        only = next(iter(counts), None)
        raise DataError(f"{what}: all {counts[only]} rows are {only!r}; expected at least two classes.")


def copy_tokenizer(checkpoint: Checkpoint, out: Path) -> None:
    """Put the tokenizer's files beside the trained weights."""
    out.mkdir(parents=True, exist_ok=True)
    for name in _COPIED:
        if (checkpoint.home / name).is_file():
            shutil.copyfile(checkpoint.home / name, out / name)
