"""Train GLiClass, on ``transformers.Trainer``: from a published model, from mini, or from a bare encoder.

    scorer = train_gliclass("mini/gliclass", "tickets.jsonl", "my-model", few_shot=8)
    scorer.score(["Where is my parcel?"], ["delivery", "refund"])

Without any labelled text, descriptions of the labels stand in for texts (weak supervision):
``examples/train_gliclass.py`` prints what that gains on the routes of the example handbook.

Source: Stepanov et al., "GLiClass: Generalist Lightweight Model for Sequence Classification Tasks"
(arXiv 2508.07662); Knowledgator/GLiClass@40baa67, ``training.py`` and ``data_processing.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from headgate.errors import CheckpointError, MissingExtraError
from headgate.evaluate.rows import Source, read_rows
from headgate.families import gliclass as families
from headgate.families.gliclass import GLiClassScorer
from headgate.loading import load
from headgate.models.checkpoint import Checkpoint
from headgate.models.gliclass import GLiClass, GLiClassConfig
from headgate.train import common
from headgate.train.gliclass_data import Descriptions, Item, exactly_one, gather, learnable, read_items
from headgate.train.gliclass_folder import save
from headgate.train.gliclass_losses import Kind, Objective, figures
from headgate.train.gliclass_prompts import Drawing, Prompts, collate

F = nn.functional
MEASURED = 5
"""How often held-out rows are measured in a run."""


@dataclass(frozen=True)
class Lora:
    """Train small matrices beside frozen ones (Hu et al., arXiv 2106.09685), and add them up in the end.

    Args:
        rank: Of the matrices.
        alpha: Their product counts alpha / rank times.
        dropout: Of their input.
        layers: Ends of the names of the linear layers that get them, such as ("query", "value"); None: all, those of
            projectors and scorer too.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    layers: tuple[str, ...] | None = None


def train_gliclass(  # noqa: PLR0913  one call, everything by name
    base: str | Path,
    rows: Source | None,
    out: str | Path,
    *,
    labels: Sequence[str] | None = None,
    evaluation: Source | None = None,
    patience: int | None = None,
    descriptions: Descriptions | None = None,
    few_shot: int | None = None,
    loss: Kind = "bce",
    focal_gamma: float = 2.0,
    focal_alpha: float | None = None,
    contrastive: float = 0.0,
    shuffle: bool = True,
    drop: float = 0.1,
    negatives: int = 0,
    max_labels: int | None = None,
    lora: Lora | None = None,
    resume: bool | str = False,
    arguments: TrainingArguments | None = None,
    max_length: int | None = None,
    revision: str | None = None,
    seed: int = 0,
) -> GLiClassScorer:
    """Train on labelled rows, and save a folder that headgate and the ``gliclass`` package read.

    Args:
        base: A GLiClass folder, Hub id, or ``"mini/gliclass"``; :func:`new_gliclass` makes one of any encoder.
        rows: A file of JSON lines or mappings in a layout of :mod:`headgate.train.gliclass_data`; None with
            `descriptions` alone.
        out: The folder of the trained model, and of checkpoints where `arguments` doesn't name another.
        labels: What rows without ``all_labels`` choose among; None: all labels that they and `descriptions` name.
        evaluation: Rows for eval_loss, eval_f1 and eval_accuracy (:func:`~headgate.train.gliclass_losses.figures`)
            five times in a run; their labels are neither shuffled nor dropped. The weights with the least loss are
            kept, unless `arguments` say otherwise.
        patience: Stop after so many measurements without a better one.
        descriptions: Label -> what it means, in one text or several; each is one more row of which only its label
            is true.
        few_shot: Take about so many rows of every label, at random.
        loss: "bce", any number of labels is true, scores may be soft; "focal", the same with little weight on easy
            labels; "cross_entropy", exactly one is true. What cross-entropy learns is which label is truest: put a
            threshold on it only after :meth:`headgate.Calibration.fit`.
        focal_gamma: See :class:`~headgate.train.gliclass_losses.Objective`.
        focal_alpha: See there.
        contrastive: Weight of a loss that keeps the labels of a prompt apart; see there.
        shuffle: Labels in another order in every epoch.
        drop: Probability with which a label is left out of a prompt; true ones too, unless exactly one is true.
        negatives: Random labels of other rows, put into every prompt as false ones.
        max_labels: The most labels of a prompt, true ones first; None: as many as fit.
        lora: Train adapters alone; they are merged into the weights before these are saved.
        resume: True goes on from the last checkpoint in `arguments.output_dir`; a folder from that one.
        arguments: Of the Trainer: epochs, rates, mixed precision, checkpoints, logging. None: 3 epochs, or as many as
            make 100 steps of 16 rows, at a rate of 1e-4.
        max_length: Tokens of the longest row, here and in the trained model; None: as `base` has it.
        revision: Commit, tag or branch of a Hub id.
        seed: Of every draw, and of the Trainer unless `arguments` has its own.

    Returns:
        The trained scorer, loaded from `out`. Several GPUs: every process loads it.

    Raises:
        DataError: A row is wrong (the message says which), or nothing can be learned from them all.
        CheckpointError: `base` can't be read.
        MissingExtraError: accelerate, or for `lora` peft, is not installed.
        ValueError: `out` is `base`, or a setting makes no sense.
    """
    checkpoint = common.start(base, revision=revision, max_length=max_length)
    common.different(out, checkpoint)
    objective = Objective(loss, focal_gamma, focal_alpha, contrastive)
    drawing = Drawing(shuffle, drop, negatives, max_labels, keep_true=loss == "cross_entropy")
    items, names = gather(rows, labels, descriptions, few_shot, seed)
    learnable(items, negatives)
    unseen = None if evaluation is None else read_items(read_rows(evaluation), names)
    if loss == "cross_entropy":
        exactly_one([*items, *(unseen or ())])

    start = Start.of(checkpoint)
    plain = Drawing(shuffle=False, drop=0.0, max_labels=max_labels)
    args = common.arguments(
        out,
        arguments,
        metric=None if unseen is None else "loss",
        patience=patience,
        seed=seed,
        num_train_epochs=max(3, math.ceil(100 / math.ceil(len(items) / 16))),
        # Of few rows there are many short epochs.
        **({} if unseen is None else dict.fromkeys(("eval_strategy", "save_strategy"), "steps")),
        **({} if unseen is None else dict.fromkeys(("eval_steps", "save_steps"), 1 / MEASURED)),
    )
    learned_from = start.prompts(items, drawing, seed)
    with common.contained():
        set_seed(args.seed)
        model = start.module if lora is None else adapted(start.module, lora)
        trainer = Trainer(
            Learner(model, objective),
            args,
            data_collator=partial(collate, fill=start.fill),
            train_dataset=learned_from,
            eval_dataset=None if unseen is None else start.prompts(unseen, plain, seed),
            compute_metrics=figures,
            callbacks=[_Epochs(learned_from), *([] if patience is None else [EarlyStoppingCallback(patience)])],
        )
        trainer.train(resume_from_checkpoint=resume or args.resume_from_checkpoint)
    if trainer.is_world_process_zero():
        save(merged(model), checkpoint, start.scorer, out)
        trainer.state.save_to_json(str(Path(out) / "trainer_state.json"))
    trainer.accelerator.wait_for_everyone()
    return cast(GLiClassScorer, load(out))


class Start(NamedTuple):
    """Where training starts: the files, a scorer of them that builds rows, and a module of its own to be trained."""

    checkpoint: Checkpoint
    scorer: GLiClassScorer
    module: GLiClass

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Start:
        """Read them.

        Raises:
            CheckpointError: They are damaged, or of no GLiClass that can be trained.
        """
        own = checkpoint.settings.get("config")
        config = GLiClassConfig.from_dict(checkpoint.config if own is None else own)
        if config.use_calibrator:
            raise CheckpointError(
                f"{checkpoint.folder} has a calibrator, which would be wrong of a model that is trained on; expected "
                "one without. Take that which it was made for."
            )
        with torch.random.fork_rng(devices=[]):
            scorer = GLiClassScorer.from_checkpoint(checkpoint)
            module = families._model(checkpoint, config) if own is None else families._part(checkpoint, config)
        return cls(checkpoint, scorer, cast(GLiClass, common.trainable(module)))

    @property
    def fill(self) -> int:
        """The id that fills short rows up."""
        found = getattr(self.checkpoint.body, "pad_token_id", None)
        return found if isinstance(found, int) else 0

    def prompts(self, items: Sequence[Item], drawing: Drawing, seed: int) -> Prompts:
        """Rows for this model; see :class:`~headgate.train.gliclass_prompts.Prompts`."""
        return Prompts(items, self.scorer, drawing, seed, self.checkpoint.config.get("example_token_index"))


class Learner(nn.Module):
    """A model and its objective, as the Trainer wants them.

    Args:
        model: A GLiClass, with adapters or without.
        objective: What to make small.
    """

    def __init__(self, model: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self._objective = objective
        self._vectors: dict[torch.device, Tensor] = {}  # by device: copies on several GPUs share this object
        projector = model.get_submodule(
            "classes_projector" if isinstance(model, GLiClass) else "model.classes_projector"
        )
        projector.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], vectors: Tensor) -> None:
        self._vectors[vectors.device] = vectors

    def forward(self, input_ids: Tensor, mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Loss and logits of a batch.

        Args:
            input_ids: (rows, longest).
            mask: The same shape, True on tokens.
            labels: (rows, most labels) targets, see :mod:`headgate.train.gliclass_losses`.

        Returns:
            ``loss``, a number, and ``logits`` in the shape of `labels`.
        """
        ragged: list[Tensor] = self.model(input_ids, mask)
        vectors = self._vectors.pop(input_ids.device)
        with torch.autocast(input_ids.device.type, enabled=False):
            logits = torch.stack([F.pad(z, (0, labels.shape[1] - len(z))) for z in ragged])
            return {"loss": self._objective(logits, labels, vectors), "logits": logits}


def adapted(model: GLiClass, lora: Lora) -> nn.Module:
    """The model with adapters, of which alone gradients are taken.

    Raises:
        MissingExtraError: peft is not installed.
        ValueError: No linear layer has one of the names.
    """
    try:
        from peft import LoraConfig, LoraModel
    except ImportError as e:
        raise MissingExtraError("peft", "train") from e
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    chosen = [name for name in linear if lora.layers is None or name.endswith(lora.layers)]
    if not chosen:
        ends = sorted({name.rsplit(".", 1)[-1] for name in linear})
        raise ValueError(f"layers is {lora.layers}; expected ends of the names of linear layers: {ends}, or None.")
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=chosen)
    return LoraModel(model, config, "default")


def merged(model: nn.Module) -> GLiClass:
    """The model with its adapters, if it has any, added to its weights."""
    return model if isinstance(model, GLiClass) else cast(GLiClass, model.merge_and_unload())  # type: ignore[operator]


class _Epochs(TrainerCallback):
    """Tells prompts which epoch it is, so that they draw anew."""

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """See :class:`transformers.TrainerCallback`."""
        self._prompts.epoch.fill_(int((state.epoch or 0) + 1e-6))  # a resumed run begins in the midst of one
