"""Train a cross-encoder: natural-language inference, labels as hypotheses, or relevance.

It runs on ``transformers.Trainer``, so resuming, mixed precision, several GPUs and logging are those of
``TrainingArguments``. The folder that comes out is one that :func:`headgate.load` reads, and transformers too,
unless it began as one of several heads such as mini.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

from headgate.errors import CheckpointError
from headgate.evaluate.rows import Source, read_rows
from headgate.families.cross_encoder import RELEVANCE, Classes, CrossEncoder
from headgate.loading import load
from headgate.models.checkpoint import Checkpoint
from headgate.runtime.torch_forward import Batch
from headgate.train.common import arguments as usual
from headgate.train.common import contained, different, start
from headgate.train.cross_encoder_data import Collate, Example, Item, Reading, is_ranked, items
from headgate.train.cross_encoder_goal import LOSSES, Goal, Loss
from headgate.train.distil import Teacher
from headgate.train.pair_model import PairModel, known_classes, named, pair_model, save

NLI = ("entailment", "neutral", "contradiction")
TEMPLATE = "This example is {}."
"""Of a new head; the default of transformers' zero-shot pipeline, so that both say the same."""


def train_cross_encoder(  # noqa: PLR0913  one call, everything by name
    base: str | Path,
    rows: Source,
    out: str | Path,
    *,
    classes: Sequence[str] | None = None,
    template: str | None = None,
    loss: Loss | None = None,
    teacher: Teacher | None = None,
    evaluation: Source | None = None,
    patience: int | None = None,
    list_size: int | None = None,
    wrong_labels: int = 3,
    revision: str | None = None,
    max_length: int | None = None,
    resume: bool | str = False,
    arguments: TrainingArguments | None = None,
    seed: int = 0,
) -> CrossEncoder:
    """Train, save to a folder, and load what was saved.

    Rows of one kind, as :mod:`headgate.evaluate.rows` has them: premise, hypothesis and label (a class, or
    "not_entailment" for any but entailment); text and label, where each true label is an entailed hypothesis and
    some of the others are not; or query and documents with their relevance.

    Args:
        base: A cross-encoder to train further, or an encoder that gets a new head: a folder, Hub id or part of mini.
        rows: A file of JSON lines, or the rows themselves.
        out: The folder for checkpoints and the result; not the base.
        classes: What the logits mean. None takes those of the base; a new head has ("relevance",) for queries, else
            entailment, neutral and contradiction. A classifier whose files don't name its classes keeps its head only
            if they are named here, as many as it has logits and in their order. An NLI model also learns rankings, by
            the log-odds of entailment.
        template: Turns a label or query into what the model reads. None takes the base's; a new NLI head has
            "This example is {}.", a ranker "{}".
        loss: Of rankings: "listwise" (the default), "pairwise" or "pointwise"; of the rest "cross_entropy".
        teacher: A scorer to learn from, beside the labels or in their place.
        evaluation: Held-out rows, measured after every epoch: nDCG@10 of rankings, accuracy of the rest. The best
            epoch is kept, unless `arguments` say otherwise.
        patience: Stop after so many measurements without a better one.
        list_size: The most documents of a list that are read: the most relevant, and the first of the others; one that
            is less relevant than the best is always among them.
        wrong_labels: How many labels that are not true are denied of a text.
        revision: Commit, tag or branch of a Hub id.
        max_length: Tokens of the longest row, in place of the base's.
        resume: True goes on from the last checkpoint in `arguments.output_dir`; a folder from that one.
        arguments: Everything else. A batch holds rows: a whole list, for rankings.
        seed: Of a new head, of the draw of wrong labels, and of the order where `arguments` is None.

    Raises:
        DataError: A row is wrong, or nothing can be learned from them; before anything is trained.
        CheckpointError: The base's files are missing, damaged or ambiguous.
        MissingExtraError: A package of the extra ``train`` is not installed.
    """
    checkpoint = start(base, revision=revision, max_length=max_length)
    different(out, checkpoint)
    checkpoint = named(checkpoint, classes)
    found = read_rows(rows)
    goal = _goal(checkpoint, is_ranked(found), classes, loss, teacher)
    reading = Reading(
        goal.classes,
        _template(checkpoint, goal.classes, template),
        unlabelled=teacher is not None and teacher.weight == 1,
        one_grade=goal.loss == "pointwise",
        list_size=list_size,
        wrong_labels=wrong_labels,
        seed=seed,
    )
    examples = reading.examples(found)
    held_out = _held_out(reading, evaluation, goal)
    args = usual(
        out,
        arguments,
        metric=None if held_out is None else goal.metric,
        patience=patience,
        seed=seed,
        learning_rate=3e-5,
        per_device_train_batch_size=8 if goal.lists else 32,
    )
    model = pair_model(checkpoint, goal.classes.names, seed)
    with contained():
        trainer = _PairTrainer(
            model,
            goal,
            args=args,
            train_dataset=_dataset(examples, checkpoint, goal),
            eval_dataset=None if held_out is None else items(held_out, checkpoint, goal.classes),
            callbacks=[] if patience is None else [EarlyStoppingCallback(patience)],
        )
        trainer.train(resume_from_checkpoint=resume or None)
    save(trainer, checkpoint, Path(out), _settings(reading, model, checkpoint))
    scorer = load(out, family="cross_encoder")
    assert isinstance(scorer, CrossEncoder)
    return scorer


class _PairTrainer(Trainer):
    """The trainer, for batches of :class:`Collate`."""

    def __init__(self, model: PairModel, goal: Goal, **parts: Any) -> None:  # noqa: ANN401
        super().__init__(model=model.network, data_collator=Collate(model.pad), compute_metrics=goal.measured, **parts)
        self._model, self._goal = model, goal
        self.label_names = ["labels"]  # which the trainer finds by itself in transformers' own models only
        self.model_accepts_loss_kwargs = False  # ours is a mean over the batch: accumulated batches are averaged

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:  # noqa: ANN401
        """The loss of one batch, and with `return_outputs` what :meth:`Goal.measured` reads."""
        lengths = inputs["mask"].sum(1).tolist()
        logits = self._model.read(model)(Batch(inputs["ids"], inputs["mask"], inputs.get("types"), lengths))
        assert isinstance(logits, Tensor)
        scores = self._goal.scores(logits.float(), inputs["labels"])
        loss = self._goal.objective(scores, inputs["labels"], inputs.get("teacher"))
        return (loss, {"logits": scores}) if return_outputs else loss


def _goal(
    checkpoint: Checkpoint, lists: bool, classes: Sequence[str] | None, loss: Loss | None, teacher: Teacher | None
) -> Goal:
    if isinstance(classes, str):
        raise TypeError(f"classes is a str; expected the names of the logits in order: [{classes!r}].")
    names = tuple(classes or known_classes(checkpoint) or ((RELEVANCE,) if lists else NLI))
    fitting = tuple(LOSSES) if lists else ("cross_entropy",)
    if loss is not None and loss not in fitting:
        said = "queries with documents" if lists else "pairs or labelled texts"
        raise ValueError(f"loss is {loss!r} and the rows are {said}; expected {' or '.join(fitting)}.")
    return Goal(Classes(names), lists, loss or ("listwise" if lists else "cross_entropy"), teacher)


def _template(checkpoint: Checkpoint, classes: Classes, given: str | None) -> str:
    kept = classes.names == known_classes(checkpoint)
    chosen = given or (checkpoint.settings.get("template") if kept else None)
    if chosen is None and kept and not classes.ranker:
        raise CheckpointError(
            f"{checkpoint.folder} does not say which hypothesis template its model learned; pass "
            'template="This text is about {}.", or what its model card says.'
        )
    chosen = chosen or ("{}" if classes.ranker else TEMPLATE)
    if chosen.count("{}") != 1:
        raise ValueError(f'template is {chosen!r}; expected one "{{}}" where the label goes.')
    return str(chosen)


def _held_out(reading: Reading, rows: Source | None, goal: Goal) -> list[Example] | None:
    if rows is None:
        return None
    found = read_rows(rows)
    if is_ranked(found) != goal.lists:
        raise ValueError(f"{found[0].place} of evaluation is of another kind than the rows to train on.")
    return replace(reading, unlabelled=False, one_grade=False).examples(found)


def _dataset(examples: Sequence[Example], checkpoint: Checkpoint, goal: Goal) -> list[Item]:
    found = items(examples, checkpoint, goal.classes)
    if goal.teacher is None:
        return found
    said = goal.teacher.judged(examples, pairs=not goal.lists, classes=len(goal.classes.names))
    return [item._replace(teacher=numbers) for item, numbers in zip(found, said, strict=True)]


def _settings(reading: Reading, model: PairModel, checkpoint: Checkpoint) -> dict[str, Any]:
    named = {} if model.head is None else {"head": model.head}
    return {
        "format": 1,
        "family": "cross_encoder",
        **named,
        "classes": list(reading.classes.names),
        "template": reading.template,
        "max_length": checkpoint.length,
    }
