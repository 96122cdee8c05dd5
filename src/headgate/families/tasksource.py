"""Heads of a checkpoint with many tasks, as classifiers or as pair models.

A head that reads one text becomes a part of a :class:`MultiHeadClassifier`, labels ``"task:class"``: a softmax of
which one class is true, or the order of a one-logit head, ``"task:value"``. A head that reads two becomes a
:class:`CrossEncoder`. The files do not say which of the two texts comes first, so the caller does.

Checkpoints trained before April 2023 kept the pooler of one task for all, with which other heads say nothing; not every
such file can be told from a later one. Check a head on a few labelled examples before relying on it.

Source: sileod/tasksource ``tasks.py`` (the input order of each task), sileod/deberta-v3-base-tasksource-adapters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from headgate.arguments import listed, named
from headgate.errors import CheckpointError
from headgate.families.base import Family, core
from headgate.families.cross_encoder import RELEVANCE, Classes, CrossEncoder
from headgate.families.multi_head import Head, MultiHeadClassifier
from headgate.models.checkpoint import Checkpoint
from headgate.models.tasksource import TaskHead, same_encoder, task_heads, task_model

VALUE = "value"
"""What the number of a one-logit head is called."""


@dataclass(frozen=True)
class TaskHeads:
    """Which heads of a folder with many to load, and how they read.

    Args:
        names: Of the tasks, as config.json lists them.
        task_embedding: Add each task's embedding, as in training: more exact, and one encoder pass for each head
            instead of one for all.
        first: Of a head that reads pairs, what it read first. "label": glue/qnli and wiki_qa (the question before the
            answer), vitaminc (the claim before its evidence); "text": NLI (premise before hypothesis). None is for
            heads that read one text, and for one logit called "relevance", which reads the label first.
    """

    names: Sequence[str]
    task_embedding: bool = False
    first: Literal["text", "label"] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(listed("heads", self.names)))
        named("head", self.names)
        if self.first not in ("text", "label", None):
            raise ValueError(
                f"first is {self.first!r}; expected 'text' or 'label', what the head read first of a pair."
            )


def task_scorer(folder: Checkpoint, backbone: Checkpoint | None, wanted: TaskHeads, family: str | None) -> Family:
    """A scorer of some heads.

    Args:
        folder: Holds the heads; the caller's template and classes are with it.
        backbone: Holds encoder, pooler and tokenizer; None if ``folder`` does.
        wanted: Which heads.
        family: "multi_head" or "cross_encoder"; None lets the class names say it: entailment is about pairs.

    Raises:
        CheckpointError: Something is missing, doesn't fit, or is left open.
    """
    heads = task_heads(folder, wanted.names, embedded=wanted.task_embedding)
    names = _names(folder, heads)
    pairs = wanted.first is not None or any(map(_about_pairs, names.values()))
    family = family or ("cross_encoder" if pairs else "multi_head")
    if family not in ("multi_head", "cross_encoder"):
        raise CheckpointError(f"family is {family!r}; task heads are read as 'multi_head' or as 'cross_encoder'.")
    classes = _pair_classes(names, wanted) if family == "cross_encoder" else None
    kinds = _kinds(heads, names, wanted) if classes is None else {}
    if backbone is not None:
        same_encoder(folder, backbone)
    # What scorer.json says of the backbone, it says of another head.
    base = replace(backbone or folder, settings={}, template=folder.template, classes=folder.classes)
    model = task_model(base, heads)
    forward = base.forward(model, model)
    identity = (folder.digest(), wanted, names)
    if classes is None:
        return MultiHeadClassifier(core(base, forward, template="{}", identity=identity), kinds)
    label_first = wanted.first == "label" or (wanted.first is None and classes.ranker)
    # A question or a claim is read as it is; what a hypothesis looked like, the caller must say.
    parts = core(base, forward, template="{}" if label_first else None, identity=identity)
    return CrossEncoder(parts, classes, label_first=label_first)


def _names(folder: Checkpoint, heads: Mapping[str, TaskHead]) -> dict[str, tuple[str, ...]]:
    """The class names of every head, the caller's before the files'; () where nobody says."""
    said = folder.classes or {}
    if not isinstance(said, Mapping):
        said = dict.fromkeys(heads, said)
        if len(said) > 1:
            raise CheckpointError(
                f"classes is one list and the heads are {list(heads)}; expected names for each: "
                f"load(…, classes={{{min(heads)!r}: […]}})."
            )
    if not set(said) <= set(heads):
        raise CheckpointError(f"classes names heads {sorted(said)}; expected some of those wanted: {list(heads)}.")
    names = {task: tuple(said.get(task, head.labels)) for task, head in heads.items()}
    for task, head in heads.items():
        if names[task] and len(names[task]) != len(head.bias):
            raise CheckpointError(
                f"task {task!r} has {len(head.bias)} logits, and the classes are {list(names[task])}; expected as "
                "many, in the order of the logits."
            )
    return names


def _about_pairs(names: tuple[str, ...]) -> bool:
    return names == (RELEVANCE,) or any(name.lower().startswith("entail") for name in names)


def _pair_classes(names: Mapping[str, tuple[str, ...]], wanted: TaskHeads) -> Classes:
    task, *more = names
    if more:
        raise CheckpointError(
            f"heads {list(names)} are wanted as a pair model; expected one, whose classes name entailment. Load each "
            'by itself, or say family="multi_head" if they all read one text.'
        )
    if not names[task]:
        raise CheckpointError(
            f"config.json names no classes of task {task!r}, or not as many as its logits; say which logit is what, in "
            'order: load(…, classes=["entailment", "not_entailment"]), or ["relevance"] for one logit.'
        )
    classes = Classes(names[task])
    if wanted.first is None and not classes.ranker:
        raise CheckpointError(
            f"nothing says whether task {task!r} read the label or the text first; pass heads=TaskHeads([{task!r}], "
            'first="label") if a question or claim (the label) came before its evidence, as in glue/qnli, wiki_qa and '
            'vitaminc, or first="text" for premise before hypothesis.'
        )
    return classes


def _kinds(heads: Mapping[str, TaskHead], names: Mapping[str, tuple[str, ...]], wanted: TaskHeads) -> dict[str, Head]:
    if wanted.first is not None:
        raise ValueError(
            f"first is {wanted.first!r}, and family 'multi_head' reads one text; expected one of the two. Leave first "
            'out, or pass family="cross_encoder".'
        )
    unnamed = [task for task, head in heads.items() if not names[task] and len(head.bias) > 1]
    if unnamed:
        raise CheckpointError(
            f"config.json names no classes of {unnamed}, or not as many as their "
            f"{[len(heads[t].bias) for t in unnamed]} logits; pass them in the order of the logits: "
            f"load(…, classes={{{unnamed[0]!r}: […]}})."
        )
    return {
        task: Head(names[task] or (VALUE,), "regression" if len(head.bias) == 1 else "single")
        for task, head in heads.items()
    }
