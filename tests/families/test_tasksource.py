"""Task heads: which there are, what the files must hold, and what the caller must say."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from headgate import CheckpointError, TaskHeads, UnknownLabelError, load
from headgate.families.cross_encoder import CrossEncoder
from headgate.families.multi_head import MultiHeadClassifier
from tests import tasksource, tiny

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("tasksource")
    tasksource.save(where)
    return where


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """Adapters and their backbone, to damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def edit(where: Path, change: Callable[[Weights], object]) -> None:
    weights = load_file(where / "model.safetensors")
    change(weights)
    save_file(weights, where / "model.safetensors")


def refused(folder: Path, said: str, **arguments: Any) -> None:
    arguments = {"heads": ["tweet_eval/hate"], "backbone": folder / "nli", "device": "cpu"} | arguments
    with pytest.raises(CheckpointError, match=said):
        load(folder / "adapters", **arguments)


# ------------------------------------------------------------------------------------ which heads


def test_the_heads_must_be_said(folder: Path) -> None:
    """Never all of hundreds; how many there are and where their names are stands in the error."""
    said = r"heads of 7 tasks, such as \['anli/a1'.*heads=\['anli/a1'\].*config\.json lists all"
    refused(folder, said, heads=None)
    refused(folder, said, heads=[])
    refused(folder, said, heads=None, backbone=None)
    refused(folder, said, heads=None, backbone=None, family="multi_head")


def test_an_unknown_task_names_the_nearest(folder: Path) -> None:
    refused(
        folder,
        r"no task 'tweet_eval/hat'; expected one of its 7, such as \['tweet_eval/hate'",
        heads=["tweet_eval/hat"],
    )
    refused(folder, r"no task '東京'; expected one of its 7\. ", heads=["東京"])


def test_a_task_named_twice(folder: Path) -> None:
    tiny.change(folder / "adapters" / "config.json", tasks=["tweet_eval/hate", *tasksource.TASKS[1:]])
    refused(folder, "names task 'tweet_eval/hate' 2 times")


@pytest.mark.parametrize(
    ("heads", "error"),
    [("banking77", TypeError), (["banking77", "banking77"], ValueError), ([" "], ValueError), ({"a": 1}, TypeError)],
)
def test_heads_is_a_list_of_names(folder: Path, heads: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="head"):
        load(folder / "adapters", backbone=folder / "nli", heads=heads)


def test_an_nli_model_stays_one(saved: Path, tmp_path: Path) -> None:
    """Its config.json names all tasks in every edition, and in the first its weights hold their heads."""
    assert isinstance(load(saved / "nli", template="{}", device="cpu"), CrossEncoder)
    heads, _ = tasksource.save(tmp_path, "inside")
    assert isinstance(load(heads, template="{}", device="cpu"), CrossEncoder)
    assert isinstance(load(heads, heads=["tweet_eval/hate"], classes=["no", "yes"], device="cpu"), MultiHeadClassifier)


def test_heads_are_asked_of_a_folder_that_has_none(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has tasks None.*tasksource adapters"):
        load(folder / "nli", heads=["banking77"])
    tiny.change(folder / "nli" / "config.json", tasks=tasksource.TASKS)
    with pytest.raises(CheckpointError, match=r"names 7 tasks and holds no weights classifiers.*backbone=this one"):
        load(folder / "nli", heads=["banking77"])


# ------------------------------------------------------------------------------------ what the files hold


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("classifiers.1.bias"), r"'tweet_eval/hate' \(classifiers\.1\).*\(2, 32\)\}.*random"),
        (lambda w: w.pop("classifiers.1.weight"), r"\{'bias': \(2,\)\}; expected weight \(classes, hidden\)"),
        (lambda w: w.update({"classifiers.1.bias": torch.zeros(3)}), r"'bias': \(3,\)"),
        (lambda w: [w.pop(f"classifiers.6.{k}") for k in ("weight", "bias")], r"7 tasks and holds 6 heads.*\[6\]"),
        (lambda w: w.update({"classifiers.9.bias": torch.zeros(3)}), r"7 tasks and holds 8 heads.*\[9\]"),
        (lambda w: w.update({"classifiers.1.weight": torch.zeros(2, 16)}), "reads 16 states and .* has 32"),
        (lambda w: w.update({"classifiers.1.weight": torch.zeros(32, 2)}), r"'weight': \(32, 2\)"),
    ],
)  # fmt: skip
def test_a_head_that_is_missing_or_misshapen(folder: Path, change: Callable[[Weights], object], said: str) -> None:
    edit(folder / "adapters", change)
    refused(folder, said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("Z"), r"holds no task embeddings \(Z\); expected them, or load\(…, heads="),
        (lambda w: w.update(Z=torch.zeros(6, 32)), r"are \(6, 32\); expected \(7, width\)"),
        (lambda w: w.update(Z=torch.zeros(7)), r"are \(7,\); expected \(7, width\)"),
        (lambda w: w.update(Z=torch.zeros(7, 16)), "its task embedding 16 of 32"),
    ],
)
def test_task_embeddings_that_do_not_fit(folder: Path, change: Callable[[Weights], object], said: str) -> None:
    edit(folder / "adapters", change)
    refused(folder, said, heads=TaskHeads(["tweet_eval/hate"], task_embedding=True))
    load(folder / "adapters", backbone=folder / "nli", heads=["tweet_eval/hate"], device="cpu")  # goes without


@pytest.mark.parametrize(("key", "value"), [("tasks", "banking77"), ("tasks", [1, 2]), ("labels_list", [["a", "b"]])])
def test_a_configuration_that_does_not_fit(folder: Path, key: str, value: Any) -> None:
    tiny.change(folder / "adapters" / "config.json", **{key: value})
    refused(folder, "has tasks|has class names of 1 tasks and names 7")


# ------------------------------------------------------------------------------------ the backbone


def test_the_backbone_must_be_said(folder: Path) -> None:
    refused(folder, r"holds no encoder \(deberta\.\*\).*load\(…, backbone=", backbone=None)


@pytest.mark.parametrize("name", ["pooler.dense.weight", "pooler.dense.bias"])
def test_a_backbone_without_a_pooler(folder: Path, name: str) -> None:
    edit(folder / "nli", lambda w: w.pop(name))
    refused(folder, r"has pooler\.dense\.\*.*expected weight \(32, 32\) and bias")


@pytest.mark.parametrize(("key", "value"), [("hidden_size", 16), ("num_hidden_layers", 6), ("model_type", "deberta")])
def test_another_encoder_than_the_heads_were_trained_on(folder: Path, key: str, value: Any) -> None:
    """Small and base DeBERTa-v3 have the same width."""
    tiny.change(folder / "adapters" / "config.json", **{key: value})
    refused(folder, f"has heads for {key} {value!r}, and .*nli has")


def test_another_kind_of_encoder(folder: Path, tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path / "bert", "bert", tasksource.NLI)
    tiny.change(folder / "adapters" / "config.json", model_type="")
    refused(folder, "is a bert; task heads are read on DeBERTa only", backbone=tmp_path / "bert")


def test_a_backbone_from_the_hub_may_be_pinned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Any]] = []

    def give(where: str, **arguments: Any) -> str:
        asked.append((where, arguments["revision"]))
        return str(folder / "nli")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", give)
    for backbone in ("owner/nli", "owner/nli@1234abc"):
        load(folder / "adapters", backbone=backbone, heads=["banking77"], device="cpu")
    assert asked == [("owner/nli", None), ("owner/nli", "1234abc")]
    shutil.move(folder / "nli", folder / "n@li")
    load(folder / "adapters", backbone=folder / "n@li", heads=["banking77"], device="cpu")


# ------------------------------------------------------------------------------------ what the caller says


def test_labels_of_several_heads(folder: Path) -> None:
    scorer = load(folder / "adapters", backbone=folder / "nli", heads=["banking77", "tweet_eval/hate"], device="cpu")
    assert scorer.score(["the hub"], ["hate", "tweet_eval/hate:not-hate"]).exclusive
    assert scorer.score(["the hub"], ["refund", "hate"]).meaning == "probability"
    with pytest.raises(UnknownLabelError, match=r"'hat'.*nearest is 'hate'"):
        scorer.score(["the hub"], ["hat"])


def test_one_logit_is_an_order(folder: Path) -> None:
    heads = ["civil_comments/toxicity"]
    scorer = load(folder / "adapters", backbone=folder / "nli", heads=heads, device="cpu")
    assert scorer.score(["the hub"], ["civil_comments/toxicity:value"]).meaning == "order"
    named = load(folder / "adapters", backbone=folder / "nli", heads=heads, classes=["toxicity"], device="cpu")
    assert named.labels == ("civil_comments/toxicity:toxicity",)


@pytest.mark.parametrize(
    ("heads", "more", "said"),
    [
        (["wiki_qa"], {}, r"names no classes of \['wiki_qa'\].*classes=\{'wiki_qa'"),
        (["wiki_qa"], {"classes": ["a", "b", "c"]}, r"has 2 logits, and the classes are \['a', 'b', 'c'\]"),
        (["wiki_qa", "banking77"], {"classes": ["a", "b"]}, r"one list and the heads are.*classes=\{"),
        (["wiki_qa"], {"classes": {"wikiqa": ["a", "b"]}}, r"names heads \['wikiqa'\].*\['wiki_qa'\]"),
        (["glue/qnli"], {}, r"TaskHeads\(\['glue/qnli'\], first=\"label\"\)"),
        (["glue/qnli", "anli/a1"], {}, r"as a pair model; expected one.*multi_head"),
        (["hh-rlhf"], {"family": "cross_encoder"}, r"no classes of task 'hh-rlhf'.*\[\"relevance\"\]"),
        (TaskHeads(["wiki_qa"], first="label"), {"classes": ["no", "yes"]}, "starts with 'entail'"),
        (TaskHeads(["anli/a1"], first="text"), {}, "hypothesis template"),
        (["banking77"], {"family": "gliclass"}, "'multi_head' or as 'cross_encoder'"),
    ],
)
def test_what_the_files_leave_open(folder: Path, heads: Any, more: dict[str, Any], said: str) -> None:
    refused(folder, said, heads=heads, **more)


def test_first_is_about_pairs(folder: Path) -> None:
    with pytest.raises(ValueError, match="first is 'question'; expected 'text' or 'label'"):
        TaskHeads(["glue/qnli"], first="question")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="first is 'label', and family 'multi_head' reads one text"):
        load(
            folder / "adapters", backbone=folder / "nli", heads=TaskHeads(["banking77"], first="label"),
            family="multi_head",
        )  # fmt: skip


def test_a_family_that_is_said_wins(folder: Path) -> None:
    scorer = load(folder / "adapters", backbone=folder / "nli", heads=["anli/a1"], family="multi_head", device="cpu")
    assert scorer.labels == ("anli/a1:entailment", "anli/a1:neutral", "anli/a1:contradiction")


def test_the_early_layout_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its folder kept the pooler of one task only."""
    for edition, warned in (("inside", True), ("apart", False)):
        heads, backbone = tasksource.save(tmp_path / edition, edition)  # type: ignore[arg-type]
        caplog.clear()
        load(heads, backbone=None if warned else backbone, heads=["hh-rlhf"], device="cpu")
        assert ("check every head" in caplog.text) == warned


def test_the_fingerprint_tells_heads_apart(folder: Path) -> None:
    def fingerprint(heads: TaskHeads) -> str:
        return load(folder / "adapters", backbone=folder / "nli", heads=heads, device="cpu").fingerprint

    found = [fingerprint(TaskHeads([t], z)) for t in ("banking77", "tweet_eval/hate") for z in (False, True)]
    edit(folder / "adapters", lambda w: w["classifiers.3.bias"].add_(1))
    assert len({*found, fingerprint(TaskHeads(["banking77"]))}) == 5


def test_heads_share_an_encoder_and_leave_settings_of_the_backbone_aside(folder: Path) -> None:
    """A calibration of the NLI classifier means nothing for another head."""
    settings = {"family": "cross_encoder", "template": "about {}", "calibration": {"scale": 4.0, "shift": -1.0}}
    (folder / "nli" / "scorer.json").write_text(json.dumps(settings))
    a, b = (
        load(folder / "adapters", backbone=folder / "nli", heads=TaskHeads([task], z), device="cpu")
        for task, z in (("banking77", False), ("tweet_eval/hate", True))
    )
    assert a.calibration is None
    assert a.template == "{}"
    encoders = [s._core.forward._module.encoder for s in (a, b)]  # type: ignore[attr-defined]
    assert encoders[0].layers is encoders[1].layers
