"""Heads of many tasks on the pooled state of one encoder, with or without an embedding of the task.

    logits_i = W_i pooler(encoder(x)) + b_i

Without task embeddings the encoder's pass is the same for all heads: one pass serves them all (training left the
embedding out in a tenth of the steps, which is what makes that legitimate). With them Z_i is added to the word
embedding of the first token, so every head needs a pass of its own.

The layout: config.json has ``tasks``, whose order is that of the weights ``classifiers.{i}.weight``, (classes, hidden),
and ``classifiers.{i}.bias``; ``Z`` or ``Z.weight`` is (tasks, width of the word embeddings). ``classifiers_size`` holds
ints, [out, in] or [in, out], by age, so sizes are read off the weights. Encoder and pooler are ``deberta.*`` and
``pooler.dense.*``, in the same folder or in another.

Source: sileod/tasknet ``models.py`` (Adapter, CLSEmbedding, Model.factorize, load_pipeline).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from headgate.errors import CheckpointError
from headgate.models.checkpoint import Checkpoint
from headgate.models.packed.encoder import PackedEncoder, mask_for
from headgate.runtime.torch_forward import Batch

_WEIGHT = re.compile(r"classifiers\.(\d+)\.(?:weight|bias)")
_SAME = ("model_type", "hidden_size", "num_hidden_layers")
"""What the folder of the heads says of the encoder; small and base DeBERTa differ in layers only."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TaskHead:
    """The head of one task.

    Attributes:
        weight: (classes, hidden) float32.
        bias: (classes,) float32.
        labels: Class names in the order of the logits; () where the files name none.
        embedding: (width of the word embeddings,) float32, or None to go without.
    """

    weight: Tensor
    bias: Tensor
    labels: tuple[str, ...]
    embedding: Tensor | None = None


def holds_tasks(checkpoint: Checkpoint) -> bool:
    """True if the folder holds heads of tasks and is nothing without them: no encoder, or no other classifier."""
    return "tasks" in checkpoint.config and checkpoint.has("classifiers.") and not checkpoint.has("classifier.")


def task_heads(folder: Checkpoint, names: Sequence[str], *, embedded: bool) -> dict[str, TaskHead]:
    """The heads of some tasks, by name.

    Args:
        folder: Holds the heads, and maybe the encoder.
        names: Of the tasks.
        embedded: With their task embeddings.

    Raises:
        CheckpointError: A task is unknown or named by nobody; a head or an embedding is missing or misshapen.
    """
    tasks = _tasks(folder)
    if not names:
        raise CheckpointError(
            f"{folder.folder} holds the heads of {len(tasks)} tasks, such as {tasks[:5]}; say which to load: "
            f'load(…, heads=[{tasks[0]!r}]). Its config.json lists all under "tasks".'
        )
    if isinstance((folder.config.get("classifiers_size") or [0])[0], list):
        log.warning(
            "%s is of a layout that kept one task's pooler for all heads: check every head on labelled examples, "
            "or take the heads of the later edition",
            folder.folder,
        )
    embeddings = _embeddings(folder, len(tasks)) if embedded else None
    found = {}
    for name in names:
        at = _index(folder, tasks, name)
        weights = folder.part(f"classifiers.{at}.")
        weight, bias = weights.get("weight"), weights.get("bias")
        if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
            shapes = {k: tuple(v.shape) for k, v in weights.items()}
            raise CheckpointError(
                f"head {name!r} (classifiers.{at}) in {folder.folder} has {shapes}; expected weight (classes, hidden) "
                "and bias (classes,), since the rest would be random. Download the model again."
            )
        labels = _labels(folder, tasks, at, len(bias))
        embedding = None if embeddings is None else embeddings[at].float().to(folder.device)
        found[name] = TaskHead(weight.float().to(folder.device), bias.float().to(folder.device), labels, embedding)
    return found


def _tasks(folder: Checkpoint) -> list[str]:
    """The names of the tasks, one for every head that the folder holds."""
    tasks = folder.config.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(t, str) for t in tasks):
        raise CheckpointError(
            f"config.json of {folder.folder} has tasks {tasks!r}; expected the names of its heads, as a folder of "
            "tasksource adapters has them. heads=… and backbone=… are for those."
        )
    held = {int(found[1]) for k in folder.tensors if (found := _WEIGHT.fullmatch(k))}
    if not held:
        raise CheckpointError(
            f"{folder.folder} names {len(tasks)} tasks and holds no weights classifiers.*; expected a head for each. "
            "They are in a folder of their own: load(its folder or Hub id, backbone=this one, heads=[…])."
        )
    if held != set(range(len(tasks))):
        odd = sorted(held ^ set(range(len(tasks))))
        raise CheckpointError(
            f"{folder.folder} names {len(tasks)} tasks and holds {len(held)} heads; expected one for each, and "
            f"classifiers {odd[:5]} are too many or missing. Download the model again."
        )
    return tasks


def _index(folder: Checkpoint, tasks: list[str], name: str) -> int:
    if tasks.count(name) == 1:
        return tasks.index(name)
    if name in tasks:
        raise CheckpointError(f"{folder.folder} names task {name!r} {tasks.count(name)} times; expected once.")
    near = get_close_matches(name, tasks, n=3, cutoff=0.4)
    raise CheckpointError(
        f"{folder.folder} has no task {name!r}; expected one of its {len(tasks)}"
        f'{f", such as {near}" if near else ""}. Its config.json lists all under "tasks".'
    )


def _labels(folder: Checkpoint, tasks: list[str], at: int, size: int) -> tuple[str, ...]:
    """The class names of a head; () where they are missing, mere numbers, or not those of its logits (choices)."""
    listed = folder.config.get("labels_list") or [None] * len(tasks)
    if len(listed) != len(tasks):
        raise CheckpointError(
            f"config.json of {folder.folder} has class names of {len(listed)} tasks and names {len(tasks)}; expected "
            "as many. Download the model again."
        )
    labels = listed[at]
    if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
        return ()
    return tuple(labels) if len(labels) == size > 1 else ()


def _embeddings(folder: Checkpoint, tasks: int) -> Tensor:
    """Z, (tasks, width)."""
    found = next((folder.tensors[k] for k in ("Z", "Z.weight") if k in folder.tensors), None)
    if found is None:
        raise CheckpointError(
            f"{folder.folder} holds no task embeddings (Z); expected them, or load(…, heads=[…]), which goes without."
        )
    if found.ndim != 2 or len(found) != tasks:
        raise CheckpointError(
            f"the task embeddings in {folder.folder} are {tuple(found.shape)}; expected ({tasks}, width), one for "
            "each task. Download the model again."
        )
    return found


class TaskModel(nn.Module):
    """An encoder, its pooler, and heads on the pooled state.

    Args:
        encoder: Takes ``input_ids`` or ``inputs_embeds``; its output has ``last_hidden_state`` (B, S, D).
        pooler: State (B, D) to pooled state (B, D), in float32.
        heads: In the order in which their logits are wanted; with task embeddings all of them, or none.
    """

    def __init__(self, encoder: nn.Module, pooler: nn.Module, heads: Sequence[TaskHead]) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooler = pooler
        self.heads = tuple(heads)

    def forward(self, batch: Batch) -> Tensor:
        """(rows, all classes) logits, the heads' side by side, in float32."""
        shared = None if any(h.embedding is not None for h in self.heads) else self._pooled(batch, None)
        pooled = [self._pooled(batch, h.embedding) if shared is None else shared for h in self.heads]
        with torch.autocast(batch.ids.device.type, enabled=False):
            logits = [nn.functional.linear(p, h.weight, h.bias) for p, h in zip(pooled, self.heads, strict=True)]
        return torch.cat(logits, dim=-1)

    def _pooled(self, batch: Batch, embedding: Tensor | None) -> Tensor:
        """(B, D) from a pass of the encoder; the embedding of a task goes onto the first token of every row."""
        inputs = {"attention_mask": mask_for(self.encoder, batch).long()}
        if batch.types is not None:
            inputs["token_type_ids"] = batch.types
        if embedding is None:
            inputs["input_ids"] = batch.ids
        else:
            words: Tensor = self.encoder.get_input_embeddings()(batch.ids).clone()  # type: ignore[operator]
            words[:, 0] += embedding.to(words.dtype)
            inputs["inputs_embeds"] = words
        with torch.autocast(batch.ids.device.type, enabled=False):
            pooled: Tensor = self.pooler(self.encoder(**inputs).last_hidden_state[:, 0].float())
        return pooled


def task_model(backbone: Checkpoint, heads: dict[str, TaskHead]) -> TaskModel:
    """The heads on the encoder and the pooler of a folder; the encoder is shared in memory.

    Raises:
        CheckpointError: It has no encoder, no pooler, or the heads are for another width.
    """
    body = backbone.body
    if body.model_type not in ("deberta", "deberta-v2"):
        raise CheckpointError(f"{backbone.folder} is a {body.model_type}; task heads are read on DeBERTa only.")
    if not backbone.has("deberta."):
        raise CheckpointError(
            f"{backbone.folder} holds no encoder (deberta.*); say where the one is that its heads were trained on: "
            "load(…, backbone=its folder or Hub id)."
        )
    hidden = int(body.hidden_size)
    width = int(getattr(body, "embedding_size", hidden))
    for name, head in heads.items():
        if head.weight.shape[1] != hidden or (head.embedding is not None and len(head.embedding) != width):
            embedded = "" if head.embedding is None else f", and its task embedding {len(head.embedding)} of {width}"
            raise CheckpointError(
                f"head {name!r} reads {head.weight.shape[1]} states and {backbone.folder} has {hidden}{embedded}; "
                "expected the same. Is this the backbone that the heads were trained on?"
            )
    encoder = backbone.encoder(backbone.config, "deberta.")
    encoder = encoder.reading_first() if isinstance(encoder, PackedEncoder) else encoder
    model = TaskModel(encoder, _pooler(backbone, hidden), list(heads.values()))
    return model.eval().requires_grad_(False)


def same_encoder(heads: Checkpoint, backbone: Checkpoint) -> None:
    """Raise CheckpointError where config.json of the heads tells of another encoder than the backbone's."""
    for key in _SAME:
        said, found = heads.config.get(key), getattr(backbone.body, key, None)
        if said and said != found:
            raise CheckpointError(
                f"{heads.folder} has heads for {key} {said!r}, and {backbone.folder} has {found!r}; expected the same. "
                "Pass as backbone the model that the heads were trained on."
            )


def _pooler(backbone: Checkpoint, hidden: int) -> nn.Module:
    """DeBERTa's ContextPooler: a linear layer and an activation on the first state."""
    weights = backbone.part("pooler.dense.")
    shapes = {k: tuple(v.shape) for k, v in weights.items()}
    if shapes != {"weight": (hidden, hidden), "bias": (hidden,)}:
        raise CheckpointError(
            f"{backbone.folder} has pooler.dense.* {shapes or 'nowhere'}; expected weight ({hidden}, {hidden}) and "
            "bias, which the heads were trained on. Pass as backbone a sequence classifier, not its bare encoder."
        )
    dense = nn.Linear(hidden, hidden)
    dense.load_state_dict({k: v.float() for k, v in weights.items()})
    act = str(getattr(backbone.body, "pooler_hidden_act", "gelu"))
    return nn.Sequential(dense, ACT2FN[act]).to(backbone.device)
