"""The network of a cross-encoder: begun from a folder, and saved as one."""

from __future__ import annotations

import copy
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, Trainer

from headgate.errors import CheckpointError
from headgate.families.cross_encoder import RELEVANCE, class_names
from headgate.models.building import quietly
from headgate.models.calls import class_logits, head_logits, multi_head
from headgate.models.checkpoint import Checkpoint
from headgate.runtime.torch_forward import Module
from headgate.train.common import copy_tokenizer, trainable

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class PairModel:
    """What is trained, and how it is asked.

    Attributes:
        network: A ``*ForSequenceClassification``, or a :class:`headgate.models.multi_head.MultiHead`.
        head: The head of a MultiHead that is trained; None for the other kind.
        pad: The id behind short rows.
    """

    network: nn.Module
    head: str | None
    pad: int

    def read(self, model: nn.Module) -> Module:
        """(pairs, classes) logits of the network, or of what the trainer wrapped it in."""
        return class_logits(model) if self.head is None else head_logits(model, [self.head])  # type: ignore[arg-type]


def known_classes(checkpoint: Checkpoint) -> tuple[str, ...]:
    """The classes of the cross-encoder that a folder holds; () where it holds none, or does not name them."""
    names = tuple(checkpoint.classes or checkpoint.settings.get("classes", ())) or class_names(checkpoint.config)
    return names if names == (RELEVANCE,) or any(n.lower().startswith("entail") for n in names) else ()


def named(checkpoint: Checkpoint, classes: Sequence[str] | None) -> Checkpoint:
    """With the caller's classes, where a classifier has as many logits and its files don't say what they mean."""
    silent = not checkpoint.settings.get("classes") and not class_names(checkpoint.config)
    if not silent or not _is_classifier(checkpoint) or checkpoint.body.num_labels != len(classes or ()):
        return checkpoint
    return replace(checkpoint, classes=tuple(classes or ()))


def _is_classifier(checkpoint: Checkpoint) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in checkpoint.config.get("architectures") or ())


def pair_model(checkpoint: Checkpoint, names: Sequence[str], seed: int) -> PairModel:
    """A network for these classes: with the folder's own head where that has the same ones, else with a new head.

    Args:
        checkpoint: A ``*ForSequenceClassification``, an encoder without a head, or a folder of ours with heads.
        names: The classes, in the order of the logits.
        seed: Of the new head's weights.

    Raises:
        CheckpointError: Weights of the encoder are missing.
    """
    kept = tuple(names) == known_classes(checkpoint)
    if not kept:
        level = logging.WARNING if _is_classifier(checkpoint) else logging.INFO
        log.log(level, "%s has no head for %s; it gets a new one", checkpoint.folder, list(names))
    pad = getattr(checkpoint.body, "pad_token_id", None)
    head = None
    with torch.random.fork_rng(devices=[]):  # the caller's draws stay theirs
        torch.manual_seed(seed)
        if checkpoint.has("backbone."):
            head = str(checkpoint.settings["head"]) if kept else RELEVANCE if len(names) == 1 else "nli"
            network = _several_heads(checkpoint, head, len(names), kept)
        elif kept:
            network = trainable(checkpoint.classifier(len(names)))
        else:
            network = _new_classifier(checkpoint, len(names))
    if head is None:
        config: Any = network.config
        config.id2label = dict(enumerate(names))
        config.label2id = {name: i for i, name in enumerate(names)}
    return PairModel(network, head, pad if isinstance(pad, int) else 0)


def _several_heads(checkpoint: Checkpoint, head: str, classes: int, kept: bool) -> nn.Module:
    model = multi_head(checkpoint, {head: classes} if kept else {})
    if not kept:
        model.heads[head] = nn.Linear(int(checkpoint.body.hidden_size), classes)
    return trainable(model)


def _new_classifier(checkpoint: Checkpoint, classes: int) -> nn.Module:
    settings = copy.deepcopy(checkpoint.body)
    settings.num_labels = classes
    with quietly():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            checkpoint.home,
            config=settings,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # of the last layer, whose classes were others
            output_loading_info=True,
            local_files_only=True,
        )
    body = f"{model.base_model_prefix}."
    missing = [k for k in sorted(info["missing_keys"]) if k.startswith(body) and ".pooler." not in k]
    if missing:
        raise CheckpointError(
            f"{checkpoint.folder} lacks {len(missing)} weights of its encoder, such as {missing[:3]}; expected all of "
            "them, since the rest would be random. Is it the right folder?"
        )
    last = [m for k, m in model.named_modules() if isinstance(m, nn.Linear) and not k.startswith(body)][-1]
    # Also where the sizes agree: three classes of another task are no classes of this one.
    nn.init.normal_(last.weight, std=float(getattr(settings, "initializer_range", 0.02)))
    if last.bias is not None:
        nn.init.zeros_(last.bias)
    network: nn.Module = model.train()
    return network


def save(trainer: Trainer, checkpoint: Checkpoint, out: Path, settings: dict[str, Any]) -> None:
    """Write the network, its tokenizer, scorer.json and the loss curve, once however many processes there are.

    Args:
        trainer: Which holds the network.
        checkpoint: Where it began.
        out: The folder.
        settings: Of scorer.json; with "head" it is a folder of heads.
    """
    trainer.save_model(str(out))
    if trainer.is_world_process_zero():
        (out / "training_args.bin").unlink(missing_ok=True)  # a pickle, which a model folder is better without
        copy_tokenizer(checkpoint, out)
        if "head" in settings:
            shutil.copyfile(checkpoint.home / "config.json", out / "config.json")
            settings = {**{k: v for k, v in checkpoint.settings.items() if k == "pooling"}, **settings}
        (out / "scorer.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        trainer.state.save_to_json(str(out / "trainer_state.json"))
    trainer.accelerator.wait_for_everyone()
