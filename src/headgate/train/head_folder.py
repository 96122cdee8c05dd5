"""The folder of a multi-head classifier: what it holds, how heads are put on it, how it is written."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from headgate.families.bi_encoder import pooling_and_prompts
from headgate.families.multi_head import Head, MultiHeadClassifier, named_heads
from headgate.loading import load
from headgate.models.calls import multi_head
from headgate.models.checkpoint import Checkpoint
from headgate.models.multi_head import MultiHead, Pooling
from headgate.train.common import copy_tokenizer
from headgate.train.head_data import Heads


def heads_of(checkpoint: Checkpoint, given: Heads | None) -> dict[str, Head]:
    """The heads of a folder, by name; {} for an encoder.

    Args:
        checkpoint: The folder.
        given: Names the classes of a folder whose files don't, as philipp-zettl's.

    Raises:
        CheckpointError: Nobody says what the classes of the heads are called.
    """
    trained = {k.split(".")[1] for k in checkpoint.tensors if k.startswith("heads.")}
    if not trained or checkpoint.settings.get("family", "multi_head") != "multi_head":
        return {}
    if "heads" not in {**checkpoint.config, **checkpoint.settings} and trained <= set(given or {}):
        names = {k: tuple(v.labels if isinstance(v, Head) else v) for k, v in (given or {}).items() if k in trained}
        checkpoint = replace(checkpoint, classes=names)
    return named_heads(checkpoint)


def grown(
    checkpoint: Checkpoint, known: Mapping[str, Head], every: Mapping[str, Head], pooling: Pooling | None
) -> MultiHead:
    """A frozen model of its own with the heads of the folder, and a new one, at zero, for every other.

    A head at zero gives all its classes the same log-odds; its first step doesn't depend on chance.

    Args:
        checkpoint: The folder.
        known: Its heads.
        every: All heads wanted, those of the folder first.
        pooling: In place of what the files say.
    """
    sizes = {name: len(head.labels) for name, head in known.items()}
    model = copy.deepcopy(multi_head(checkpoint, sizes, _pooling(checkpoint, pooling)))  # the encoder is shared
    hidden = int(checkpoint.body.hidden_size)
    for name in every:
        if name not in known:
            new = nn.Linear(hidden, len(every[name].labels))
            nn.init.zeros_(new.weight)
            nn.init.zeros_(new.bias)
            try:
                model.heads[name] = new
            except KeyError as e:  # torch refuses names that its modules use themselves, such as "type"
                raise ValueError(f"a head can't be called {name!r} ({e}); expected another name.") from e
    return model.requires_grad_(False).to(checkpoint.device)


def _pooling(checkpoint: Checkpoint, given: Pooling | None) -> Pooling | None:
    said = {**checkpoint.config, **checkpoint.settings}
    if given or "pooling" in said or checkpoint.has("backbone."):
        return given
    return pooling_and_prompts(checkpoint)[0] if (checkpoint.folder / "modules.json").is_file() else "mean"


def save(
    out: Path, checkpoint: Checkpoint, model: MultiHead, heads: Mapping[str, Head], changed: Sequence[str]
) -> None:
    """Write what :func:`headgate.load` reads.

    Args:
        out: The folder.
        checkpoint: The base: its encoder's configuration, tokenizer, length and thresholds.
        model: Weights.
        heads: In the order of the logits.
        changed: Heads whose numbers moved: a threshold of the base means nothing to them.
    """
    copy_tokenizer(checkpoint, out)
    backbone = checkpoint.config.get("backbone", checkpoint.config)
    config = {
        "model_type": "multi-head",
        "backbone": {k: v for k, v in backbone.items() if k not in ("heads", "pooling", "normalize")},
        "pooling": model.pooling,
        "normalize": model.normalize,
        "heads": {name: {"labels": list(head.labels), "type": head.kind} for name, head in heads.items()},
    }
    _write(out / "config.json", config)
    settings = {
        "format": 1,
        "family": "multi_head",
        "max_length": checkpoint.length,
        "thresholds": thresholds(checkpoint, heads, changed),
    }
    _write(out / "scorer.json", settings)
    tensors = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, out / "model.safetensors.tmp", metadata={"format": "pt"})
    os.replace(out / "model.safetensors.tmp", out / "model.safetensors")  # another process may have the old one mapped


def thresholds(checkpoint: Checkpoint, heads: Iterable[str], changed: Iterable[str]) -> dict[str, float]:
    """The base's thresholds of the heads whose numbers are still the same, by the full name of the label."""
    kept = set(heads) - set(changed)
    return {k: v for k, v in checkpoint.settings.get("thresholds", {}).items() if k.split(":")[0] in kept}


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def loaded(out: str | Path) -> MultiHeadClassifier:
    """The classifier in a folder just written."""
    scorer = load(out, family="multi_head")
    assert isinstance(scorer, MultiHeadClassifier)
    return scorer
