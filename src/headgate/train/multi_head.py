"""Train a multi-head classifier: a backbone and any number of linear heads, all of it or one head alone.

It runs on ``transformers.Trainer``, so resuming, mixed precision, several GPUs, the schedule and logging are those of
``TrainingArguments``. What it is asked to leave alone stays bit for bit.

What the ``MultiHeadClassificationTrainer`` of philipp-zettl's model offers has these names here: one head at a time is
`only`, its L2 term `l2`, its share for validation `evaluation`; of ``TrainingArguments``, its SGD is ``optim="sgd"``,
its plateaus ``lr_scheduler_type="reduce_lr_on_plateau"``, its automatic batch size ``auto_find_batch_size=True``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

from headgate.errors import DataError
from headgate.evaluate.rows import Source
from headgate.families.multi_head import Head, MultiHeadClassifier
from headgate.models.checkpoint import Checkpoint
from headgate.models.multi_head import Pooling
from headgate.train.common import arguments as usual
from headgate.train.common import contained, different, start
from headgate.train.head_data import Heads, Labelled, alone, answers, declared, labelled, labels_of, lesson
from headgate.train.head_folder import grown, heads_of, loaded, save
from headgate.train.head_loss import ClassWeights, Collate, HeadLoss, Item, loss_weights, measured

log = logging.getLogger(__name__)


def train_heads(  # noqa: PLR0913  one call, everything by name
    base: str | Path,
    rows: Source,
    out: str | Path,
    *,
    heads: Heads | None = None,
    only: Sequence[str] | None = None,
    freeze_backbone: bool = False,
    class_weights: Literal["balanced"] | ClassWeights | None = None,
    dropout: float = 0.1,
    label_smoothing: float = 0.0,
    l2: float = 0.0,
    head_rate: float = 1e-3,
    evaluation: Source | None = None,
    patience: int | None = None,
    pooling: Pooling | None = None,
    revision: str | None = None,
    max_length: int | None = None,
    resume: bool | str = False,
    arguments: TrainingArguments | None = None,
    seed: int = 0,
) -> MultiHeadClassifier:
    """Train, save to a folder, and load what was saved.

    The loss is, summed over heads, the mean over the rows of a batch that label the head: cross-entropy of a softmax
    head, binary cross-entropy of a multi head. A text longer than the model reads is cut to its beginning, and how
    many were is logged; scoring reads all of it, in windows.

    Args:
        base: A multi-head folder, or an encoder to put heads on: a folder, Hub id or part of mini.
        rows: A file of JSON lines, or the rows themselves, as :mod:`headgate.train.head_data` has them.
        out: The folder for checkpoints and the result; not the base.
        heads: Heads to add: their labels in order, or a :class:`Head`. None takes those of the base, or else of the
            rows.
        only: Train these heads; the backbone and the other heads stay bit for bit. None trains all that rows label.
        freeze_backbone: Train heads alone. :func:`headgate.train.heads.fit_heads` does it in seconds.
        class_weights: "balanced" weighs a class of a softmax head by n / (classes * its rows), and the true rows of a
            label of a multi head by the untrue over the true ones; or head -> label -> weight, 1 where none is named.
        dropout: Share of the pooled state that is dropped in front of the heads; the backbone keeps its own.
        label_smoothing: Share of the truth that is spread over all classes.
        l2: Adds l2/2 times the squared weights of the heads in training to the loss; ``arguments.weight_decay``
            decays all that is trained.
        head_rate: Learning rate of the heads; ``arguments.learning_rate`` is the backbone's.
        evaluation: Held-out rows, measured after every epoch: the loss, and the accuracy or, of multi heads, the
            macro F1 of every head. The epoch with the least loss is kept, unless `arguments` say otherwise.
        patience: Stop after so many measurements without a better one.
        pooling: "cls" or "mean", in place of what the base's files say; where they say nothing, "mean".
        revision: Commit, tag or branch of a Hub id.
        max_length: Tokens of the longest row, in place of the base's.
        resume: True goes on from the last checkpoint in `arguments.output_dir`; a folder from that one.
        arguments: Everything else.
        seed: Of dropout and of the order of rows, where `arguments` is None.

    Raises:
        DataError: A row is wrong, or nothing can be learned from them; before anything is trained.
        CheckpointError: The base's files are missing, damaged or ambiguous.
        MissingExtraError: A package of the extra ``train`` is not installed.
    """
    checkpoint = start(base, revision=revision, max_length=max_length)
    different(out, checkpoint)
    known = heads_of(checkpoint, heads)
    every, data, trained = lesson(rows, heads, known, only)
    metric = None if evaluation is None else "loss"
    args = usual(out, arguments, metric=metric, patience=patience, seed=seed, learning_rate=3e-5)
    model = grown(checkpoint, known, every, pooling)
    network = HeadLoss(
        model,
        {name: every[name] for name in trained},
        frozen=freeze_backbone or only is not None,
        weights=loss_weights(data, every, trained, class_weights),
        dropout=dropout,
        label_smoothing=label_smoothing,
        l2=l2,
    )
    held_out = None if evaluation is None else _held_out(evaluation, alone(heads, known, only), every, trained)
    _tell_what_moves([] if network.frozen else [name for name in known if name not in trained])
    with contained():
        trainer = _Trainer(
            network,
            head_rate,
            args=args,
            train_dataset=items(checkpoint, data, trained),
            eval_dataset=None if held_out is None else items(checkpoint, held_out, trained),
            data_collator=Collate(getattr(checkpoint.body, "pad_token_id", None) or 0),
            compute_metrics=measured(network.heads),
            callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
        )
        trainer.train(resume_from_checkpoint=resume or None)
    if trainer.is_world_process_zero():
        save(Path(out), checkpoint, model, every, changed=list(every) if not network.frozen else trained)
        trainer.state.save_to_json(str(Path(out) / "trainer_state.json"))
    trainer.accelerator.wait_for_everyone()
    return loaded(out)


def add_head(
    base: str | Path,
    name: str,
    labels: Head | Sequence[str],
    out: str | Path,
    *,
    revision: str | None = None,
) -> MultiHeadClassifier:
    """Put one more head on a classifier or an encoder, save it to a folder, and load that.

    All other numbers stay as they are. The new head gives every label the same log-odds until it is trained:
    ``train_heads(out, rows, trained, only=[name])``, or :func:`headgate.train.heads.fit_heads`. Both also add a head
    that their argument `heads` names, so that this is needed only to have the head before there is data.

    Args:
        base: A multi-head folder, or an encoder: a folder, Hub id or part of mini.
        name: Of the head.
        labels: Its classes, of which one is true; a :class:`Head` of kind "multi" for labels that may be true together.
        out: The folder for the result; not the base.
        revision: Commit, tag or branch of a Hub id.

    Raises:
        ValueError: The base has a head of this name with other labels, or `out` is the base.
        CheckpointError: The base's files are missing, damaged or ambiguous.
    """
    checkpoint = start(base, revision=revision)
    different(out, checkpoint)
    known = heads_of(checkpoint, None)
    if name in known:
        raise ValueError(f"{base} has a head {name!r}; expected a new name, since its weights would be lost.")
    every = declared([], {name: labels}, known)
    save(Path(out), checkpoint, grown(checkpoint, known, every, None), every, changed=[name])
    return loaded(out)


class _Trainer(Trainer):
    """The trainer, with a learning rate of its own for the heads."""

    def __init__(self, network: HeadLoss, head_rate: float, **parts: Any) -> None:  # noqa: ANN401
        super().__init__(model=network, **parts)
        self._own = {id(p) for p in network.model.heads.parameters()}
        self._head_rate = head_rate
        self.model_accepts_loss_kwargs = False  # ours is a mean over the batch: accumulated batches are averaged

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Every group of the trainer in two: what is in the heads, and the rest."""
        new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        for group in list(optimizer.param_groups) if new else []:
            own = [p for p in group["params"] if id(p) in self._own]
            group["params"] = [p for p in group["params"] if id(p) not in self._own]
            optimizer.add_param_group({**group, "params": own, "lr": self._head_rate})
        return optimizer


def items(checkpoint: Checkpoint, data: Labelled, heads: Sequence[str]) -> list[Item]:
    """What the trainer shuffles: ids, types and targets of every row that labels one of the heads.

    Args:
        checkpoint: Whose tokenizer and length.
        data: Texts and what is true of them.
        heads: In the order of the columns.
    """
    targets = torch.cat([torch.from_numpy(data.targets[name]) for name in heads], dim=1)
    frame, cut, made = checkpoint.tokenizer.single, 0, []
    room = checkpoint.length - frame.size
    for encoded, target in zip(checkpoint.tokenizer.encode(data.texts), targets, strict=True):
        if not target.isnan().all():
            row = frame.row(encoded.ids[:room], types=checkpoint.has_types)
            types = None if row.types is None else row.types.tolist()
            made.append(Item(input_ids=row.ids.tolist(), types=types, target=target))
            cut += len(encoded.ids) > room
    if cut:
        log.warning("%d of %d texts are longer than %d tokens and are cut to their beginning", cut, len(made), room)
    return made


def _tell_what_moves(heads: Sequence[str]) -> None:
    if heads:
        log.warning("the backbone is trained under heads that no row labels; what they say will change: %s", heads)


def _held_out(rows: Source, label: str | None, heads: Mapping[str, Head], trained: Sequence[str]) -> Labelled:
    try:
        data = labelled(answers(rows, label), heads)
    except DataError as e:
        raise DataError(f"evaluation, {e}") from e
    if not any(len(labels_of(data, name)) for name in trained):
        raise DataError(f"evaluation: no row labels one of the heads in training, {list(trained)}; expected some.")
    return data
