"""Task heads equal transformers with the head put in as classifier, in every edition's layout, with and without Z."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from headgate import TaskHeads, load
from headgate.families.base import Family
from headgate.families.cross_encoder import CrossEncoder
from headgate.families.multi_head import MultiHeadClassifier
from headgate.models.tasksource import TaskModel
from headgate.scores import Label, class_log_odds
from headgate.testing import check_scorer
from tests import tasksource, tiny

TEXTS = [t for t in tiny.TEXTS if len(t) < 100 and "[SEP]" not in t]
HEADS = ["banking77", "tweet_eval/hate", "civil_comments/toxicity"]
CLASSES = {task: tasksource.LABELS[task] for task in HEADS[:2]}
PAIRS = [(label, text) for text in TEXTS for label in tiny.LABELS]


def read(where: Path, edition: tasksource.Edition = "labelled", **arguments: Any) -> Family:
    files = {k: arguments.pop(k) for k in ("bin", "z") if k in arguments}
    heads, backbone = tasksource.save(where, edition, **files)
    if heads != backbone:
        arguments["backbone"] = backbone
    return load(heads, device="cpu", **arguments)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.ptp(expected) > 0.5  # the reference must tell the texts apart
    np.testing.assert_allclose(found, expected, atol=1e-4)


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Of every class; one logit is its own."""
    classes = range(logits.shape[1])
    return logits if len(classes) == 1 else np.stack([class_log_odds(logits, k) for k in classes], 1)


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("bin", [False, True])
@pytest.mark.parametrize("edition", tasksource.EDITIONS)
def test_every_edition_equals_transformers(
    tmp_path: Path, edition: tasksource.Edition, bin: bool, embedded: bool
) -> None:
    scorer = read(
        tmp_path / "ours",
        edition,
        bin=bin,
        z="Z.weight" if edition == "inside" else "Z",
        heads=TaskHeads(HEADS, task_embedding=embedded),
        classes=None if edition == "labelled" else CLASSES,
    )
    assert isinstance(scorer, MultiHeadClassifier)
    assert scorer.labels == (
        *(f"banking77:{name}" for name in CLASSES["banking77"] or []),
        *("tweet_eval/hate:not-hate", "tweet_eval/hate:hate", "civil_comments/toxicity:value"),
    )
    expected = [tasksource.reference(tmp_path / task, task, TEXTS, embedded=embedded) for task in HEADS]
    same(scorer.score(TEXTS, scorer.labels).log_odds, np.concatenate([log_odds(z) for z in expected], 1))


@pytest.mark.parametrize("budget", [1, 40, 100_000])
@pytest.mark.parametrize("embedded", [False, True])
def test_batches_and_company_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int, embedded: bool
) -> None:
    monkeypatch.setattr("headgate.runtime.torch_forward.token_budget", lambda _: budget)
    heads = TaskHeads([*reversed(HEADS)], task_embedding=embedded)
    found = read(tmp_path / "ours", heads=heads).score([*reversed(TEXTS)], ["hate"]).log_odds[::-1]
    expected = tasksource.reference(tmp_path / "theirs", "tweet_eval/hate", TEXTS, embedded=embedded)
    same(found[:, 0], log_odds(expected)[:, 1])


def test_task_embeddings_change_the_scores(tmp_path: Path) -> None:
    with_z, without = (
        tasksource.reference(tmp_path / str(embedded), "banking77", TEXTS, embedded=embedded)
        for embedded in (True, False)
    )
    assert np.abs(with_z - without).max() > 0.1


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize(
    ("task", "first", "classes", "entailment"),
    [
        ("glue/qnli", "label", None, 0),  # question, sentence
        ("wiki_qa", "label", ["not_entailment", "entailment"], 1),  # question, answer
        ("anli/a1", "text", None, 0),  # premise, hypothesis
    ],
)
def test_pair_heads_read_what_the_caller_says_first(
    tmp_path: Path, task: str, first: Any, classes: list[str] | None, entailment: int, embedded: bool
) -> None:
    heads = TaskHeads([task], task_embedding=embedded, first=first)
    template = "{}" if first == "text" else None
    scorer = read(tmp_path / "ours", heads=heads, classes=classes, template=template)
    assert isinstance(scorer, CrossEncoder)
    scores = scorer.score(TEXTS, tiny.LABELS)
    pairs = [(label, text) if first == "label" else (text, label) for label, text in PAIRS]
    logits = tasksource.reference(tmp_path / "theirs", task, pairs, embedded=embedded)
    assert scores.meaning == "probability"
    same(scores.log_odds.ravel(), log_odds(logits)[:, entailment])
    against = [Label(label, relation="contradiction") for label in tiny.LABELS]
    other = 2 if task == "anli/a1" else 1 - entailment
    same(scorer.score(TEXTS, against).log_odds.ravel(), log_odds(logits)[:, other])


@pytest.mark.parametrize("first", [None, "label", "text"])
def test_a_choice_head_ranks(tmp_path: Path, first: Any) -> None:
    """Question first, choice second, unless somebody says otherwise."""
    scorer = read(tmp_path / "ours", heads=TaskHeads(["hh-rlhf"], first=first), classes=["relevance"], template="{}")
    scores = scorer.score(TEXTS, tiny.LABELS)
    pairs = [(text, label) if first == "text" else (label, text) for label, text in PAIRS]
    assert scores.meaning == "order"
    same(scores.log_odds.ravel(), tasksource.reference(tmp_path / "theirs", "hh-rlhf", pairs, embedded=False)[:, 0])


@pytest.mark.parametrize(("embedded", "passes"), [(False, 1), (True, len(HEADS))])
def test_one_pass_for_all_heads_or_one_for_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: bool, passes: int
) -> None:
    calls: list[int] = []
    real = TaskModel.__init__

    def counting(self: TaskModel, encoder: torch.nn.Module, *rest: Any) -> None:
        real(self, encoder, *rest)
        encoder.register_forward_hook(lambda *_: calls.append(1))

    monkeypatch.setattr(TaskModel, "__init__", counting)
    scorer = read(tmp_path, heads=TaskHeads(HEADS, task_embedding=embedded))
    scorer.score(TEXTS, scorer.labels or ())
    assert len(calls) == passes


@pytest.mark.parametrize("embedded", [False, True])
def test_contract(tmp_path: Path, embedded: bool) -> None:
    check_scorer(read(tmp_path / "many", heads=TaskHeads(HEADS[:2], task_embedding=embedded)))
    check_scorer(read(tmp_path / "pair", heads=TaskHeads(["glue/qnli"], task_embedding=embedded, first="label")))


def test_the_last_layers_stay_in_float32(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []
    scorer = read(tmp_path, heads=TaskHeads(HEADS, task_embedding=True), dtype="bfloat16", backend="transformers")
    model = scorer._core.forward._module  # type: ignore[attr-defined]
    model.encoder.register_forward_hook(lambda *a: seen.append(a[2].last_hidden_state.dtype))
    model.pooler.register_forward_hook(lambda *a: seen.extend((a[1][0].dtype, a[2].dtype)))
    assert np.isfinite(scorer.score(TEXTS, scorer.labels or ()).log_odds).all()
    assert seen[:3] == [torch.bfloat16, torch.float32, torch.float32]
