"""Training of heads: it learns, leaves alone what it is asked to, and is the Trainer's in all the rest."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import TrainingArguments

from headgate import DataError, load
from headgate.families.multi_head import Head, MultiHeadClassifier
from headgate.train import multi_head
from headgate.train.head_loss import HeadLoss
from headgate.train.multi_head import add_head, train_heads
from tests import tiny

OWN = {
    "mood": {"labels": ["good", "bad", "so-so"], "type": "single"},
    "flags": {"labels": ["spam", "toxic"], "type": "multi"},
}
SIZES = {"mood": 3, "flags": 2}
TEXTS = ["the pump is broken", "refunds reach the customer", "the hub lost its password", "the quick brown fox"]
MOODS = ["bad", "good", "bad", "so-so"]
ROWS = [{"text": f"{t} {w}", "heads": {"mood": m}} for t, m in zip(TEXTS, MOODS, strict=True) for w in ("a", "café")]
TEAMS = [{"text": r["text"], "label": "tech" if i < 4 else "shop"} for i, r in enumerate(ROWS)]


def quick(out: Path, **more: Any) -> TrainingArguments:
    usual: dict[str, Any] = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "learning_rate": 1e-3}
    quiet: dict[str, Any] = {"report_to": "none", "disable_tqdm": True, "logging_strategy": "no", "save_strategy": "no"}
    quiet["dataloader_pin_memory"] = False
    return TrainingArguments(**{"output_dir": str(out), **quiet, **usual, **more})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    tiny.multi_head(tmp_path / "base", SIZES, heads=OWN, pooling="mean")
    settings = {"max_length": 32, "thresholds": {"flags:toxic": 0.7, "mood:bad": 0.6}}
    (tmp_path / "base" / "scorer.json").write_text(json.dumps(settings))
    return tmp_path / "base"


def moved(before: Path, after: Path) -> set[str]:
    """Names of the tensors that are not bit for bit the same."""
    old, new = load_file(before / "model.safetensors"), load_file(after / "model.safetensors")
    return {k for k in new if k not in old or not torch.equal(old[k].view(torch.int32), new[k].view(torch.int32))}


def test_an_encoder_learns_heads_that_rows_label_in_part(tmp_path: Path) -> None:
    tiny.sentence_encoder(tmp_path / "base", pooling="cls")
    rows = [{"text": r["text"], "heads": {**r["heads"], "team": None}} for r in ROWS]
    rows += [{"text": r["text"], "heads": {"team": ["shop", "new"] if r["label"] == "shop" else []}} for r in TEAMS]
    arguments = quick(tmp_path / "run", num_train_epochs=30, per_device_train_batch_size=8)
    scorer = train_heads(
        tmp_path / "base",
        rows,
        tmp_path / "out",
        dropout=0.0,
        freeze_backbone=True,
        head_rate=0.1,
        arguments=arguments,
    )
    assert scorer.labels == ("mood:bad", "mood:good", "mood:so-so", "team:new", "team:shop")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pooling"] == "cls"  # as the base says
    texts = [r["text"] for r in ROWS]
    found = scorer.score(texts, scorer.labels).log_odds
    assert [scorer.labels[k] for k in found[:, :3].argmax(1)] == [f"mood:{r['heads']['mood']}" for r in ROWS]
    assert (found[:, 4] > 0).tolist() == [r["label"] == "shop" for r in TEAMS]


@pytest.mark.parametrize("only", [["mood"], ["team"], None])
def test_everything_else_stays_bit_for_bit(base: Path, tmp_path: Path, only: list[str] | None) -> None:
    rows = ROWS if only == ["mood"] else TEAMS
    arguments = quick(tmp_path / "run", weight_decay=0.1)
    new = {"team": ["shop", "tech"]}
    scorer = train_heads(
        base,
        rows,
        tmp_path / "out",
        heads=new,
        only=only or ["team"],
        freeze_backbone=only is None,
        arguments=arguments,
    )
    changed = {"heads.mood.weight", "heads.mood.bias"} if only == ["mood"] else set()
    assert moved(base, tmp_path / "out") == changed | {"heads.team.weight", "heads.team.bias"}
    label = "mood:bad" if only == ["mood"] else "team:shop"
    assert np.ptp(scorer.score(TEXTS, [label]).log_odds) > 0
    kept = {"flags:toxic": 0.7, "toxic": 0.7} | ({} if only == ["mood"] else {"mood:bad": 0.6, "bad": 0.6})
    assert scorer.thresholds == kept  # a threshold belongs to the numbers it was chosen on


def test_all_is_trained_and_the_base_is_not(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before, loaded = load_file(base / "model.safetensors"), load(base)
    said = loaded.score(TEXTS, ["mood:bad"]).log_odds
    train_heads(base, ROWS, tmp_path / "out", arguments=quick(tmp_path / "run"))
    assert "backbone.encoder.layer.0.output.dense.weight" in moved(base, tmp_path / "out")
    assert "['flags']" in caplog.text  # its rows didn't come, the backbone under it moved
    assert all(torch.equal(v, before[k]) for k, v in load_file(base / "model.safetensors").items())
    np.testing.assert_array_equal(loaded.score(TEXTS, ["mood:bad"]).log_odds, said)  # though both share the encoder
    assert load(tmp_path / "out").thresholds == {}
    with pytest.raises(ValueError, match="the folder of the base"):
        train_heads(base, ROWS, base)


class Stop(Exception):
    """Ends a call where training would begin."""


def test_options_of_the_loss_reach_it(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[HeadLoss] = []

    def stop(network: HeadLoss, *_: object, **__: object) -> None:
        found.append(network)
        raise Stop

    monkeypatch.setattr(multi_head, "_Trainer", stop)
    for more in ({"l2": 0.3}, {"dropout": 0.25, "label_smoothing": 0.2}):
        with pytest.raises(Stop):
            train_heads(base, ROWS, tmp_path / "out", arguments=quick(tmp_path / "run"), **more)  # type: ignore[arg-type]
    assert [(n.l2, n.dropout.p, n.label_smoothing) for n in found] == [(0.3, 0.1, 0.0), (0.0, 0.25, 0.2)]


def test_two_heads_of_the_same_labels_answer_by_their_full_names(tmp_path: Path) -> None:
    tiny.sentence_encoder(tmp_path / "base")
    intents = {"user_intent": ["ask", "ask", "thank", "thank"], "bot_intent": ["ask", "thank", "ask", "thank"]}
    rows = [{"text": t, "heads": {head: said[i] for head, said in intents.items()}} for i, t in enumerate(TEXTS)]
    arguments = quick(tmp_path / "run", num_train_epochs=40)
    train_heads(
        tmp_path / "base", rows, tmp_path / "out", freeze_backbone=True, dropout=0.0, head_rate=0.1, arguments=arguments
    )
    scorer = load(tmp_path / "out")
    for head, said in intents.items():
        ask, thank = scorer.score(TEXTS, [f"{head}:ask", f"{head}:thank"]).log_odds.T
        assert (ask > thank).tolist() == [x == "ask" for x in said]


def test_the_schedule_moves_both_learning_rates_in_proportion(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *a: Any, **k: Any) -> Any:
        rates.append([float(group["lr"]) for group in self.param_groups if group["params"]])
        return step(self, *a, **k)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    arguments = quick(tmp_path / "run", learning_rate=1e-4, lr_scheduler_type="linear", use_cpu=True)
    train_heads(base, ROWS, tmp_path / "out", head_rate=1e-2, arguments=arguments)
    assert len(rates) == 4  # steps
    for k, found in enumerate(rates):
        assert sorted(found) == pytest.approx([1e-4 * (1 - k / 4)] * 2 + [1e-2 * (1 - k / 4)] * 2)


def test_add_head(base: Path, tmp_path: Path) -> None:
    old = load(base)
    scorer = add_head(base, "team", ["shop", "tech"], tmp_path / "out")
    assert moved(base, tmp_path / "out") == {"heads.team.weight", "heads.team.bias"}
    assert scorer.score(TEXTS, ["team:shop", "team:tech"]).log_odds.tolist() == [[0, 0]] * 4
    np.testing.assert_array_equal(scorer.score(TEXTS, old.labels).log_odds, old.score(TEXTS, old.labels).log_odds)
    assert scorer.thresholds == old.thresholds
    trained = train_heads(tmp_path / "out", TEAMS, tmp_path / "two", only=["team"], arguments=quick(tmp_path / "run"))
    assert np.ptp(trained.score(TEXTS, ["shop"]).log_odds) > 0
    with pytest.raises(ValueError, match="has a head 'mood'"):
        add_head(base, "mood", ["a", "b"], tmp_path / "three")
    for name in ("a:b", "type"):
        with pytest.raises(ValueError, match=r"another name|without colon"):
            add_head(base, name, ["a", "b"], tmp_path / "three")


def test_class_weights_reach_the_training(base: Path, tmp_path: Path) -> None:
    """Seven of eight rows are of one class and all texts are alike: weights decide what is said of them."""
    rows = [{"text": "the pump", "label": "b" if i == 3 else "a"} for i in range(8)]
    found = {}
    for weights in ("balanced", None, {"team": {"b": 50.0}}):
        scorer = train_heads(
            base,
            rows,
            tmp_path / f"{weights}"[:8],
            heads={"team": ["a", "b"]},
            only=["team"],
            class_weights=weights,  # type: ignore[arg-type]
            dropout=0.0,
            head_rate=0.05,
            arguments=quick(tmp_path / "run", num_train_epochs=25, per_device_train_batch_size=8),
        )
        found[str(weights)[:8]] = float(scorer.score(["the pump"], ["team:b"]).log_odds[0, 0])
    assert found["None"] == pytest.approx(np.log(1 / 7), abs=0.15)
    assert found["balanced"] == pytest.approx(0, abs=0.15)
    assert found["{'team':"] > 1


def test_resuming_ends_where_one_run_does(base: Path, tmp_path: Path) -> None:
    same: dict[str, Any] = {"lr_scheduler_type": "constant", "save_strategy": "epoch", "seed": 3}
    whole, first = quick(tmp_path / "a", **same), quick(tmp_path / "b", **same, num_train_epochs=1)
    train_heads(base, ROWS, tmp_path / "whole", arguments=whole)
    train_heads(base, ROWS, tmp_path / "half", arguments=first)
    assert moved(tmp_path / "half", tmp_path / "whole")
    # From weights that two more epochs would take elsewhere: what counts is what the checkpoint holds.
    train_heads(tmp_path / "half", ROWS, tmp_path / "rest", resume=True, arguments=quick(tmp_path / "b", **same))
    assert moved(tmp_path / "rest", tmp_path / "whole") == set()


def test_mixed_precision(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The body runs in bfloat16, the last layer and what is saved in float32."""
    seen: dict[str, set[torch.dtype]] = {"states": set(), "logits": set()}
    forward = HeadLoss.forward

    def watched(self: HeadLoss, *a: Any, **k: Any) -> dict[str, Tensor]:
        dense = self.model.backbone.encoder.layer[0].output.dense
        hook = dense.register_forward_hook(lambda _, __, out: seen["states"].add(out.dtype))
        found = forward(self, *a, **k)
        hook.remove()
        seen["logits"].add(found["logits"].dtype)
        return found

    monkeypatch.setattr(HeadLoss, "forward", watched)
    train_heads(base, ROWS, tmp_path / "out", arguments=quick(tmp_path / "run", bf16=True, use_cpu=True))
    assert seen == {"states": {torch.bfloat16}, "logits": {torch.float32}}
    assert {t.dtype for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float32}


def test_early_stopping_keeps_the_best(base: Path, tmp_path: Path) -> None:
    """Held-out rows say the opposite, so the first epoch is the best, and the third is the last."""
    wrong = [{**r, "label": "shop" if r["label"] == "tech" else "tech"} for r in TEAMS]
    common: dict[str, Any] = {"heads": {"team": ["shop", "tech"]}, "only": ["team"], "dropout": 0.0, "head_rate": 0.05}
    arguments = quick(tmp_path / "run", num_train_epochs=30, eval_strategy="epoch", save_strategy="epoch")
    arguments.load_best_model_at_end, arguments.metric_for_best_model = True, "eval_loss"
    arguments.greater_is_better = False
    scorer = train_heads(base, TEAMS, tmp_path / "two", evaluation=wrong, patience=2, arguments=arguments, **common)
    state = json.loads((tmp_path / "two" / "trainer_state.json").read_text())
    losses = [r["eval_loss"] for r in state["log_history"] if "eval_loss" in r]
    assert len(losses) == 3
    assert losses[0] == min(losses)
    z = scorer.score([r["text"] for r in wrong], ["team:shop"]).log_odds[:, 0]
    truth = np.array([r["label"] == "shop" for r in wrong])
    assert np.logaddexp(0, np.where(truth, -z, z)).mean() == pytest.approx(losses[0], abs=1e-4)
    with pytest.raises(ValueError, match="nothing to wait for"):
        train_heads(base, TEAMS, tmp_path / "three", patience=2, **common)


def test_the_rates_fall_when_the_loss_on_held_out_rows_stands(base: Path, tmp_path: Path) -> None:
    """With SGD, as philipp-zettl's trainer has it: held-out rows say the opposite, so nothing gets better."""
    wrong = [{**r, "label": "shop" if r["label"] == "tech" else "tech"} for r in TEAMS]
    arguments = quick(
        tmp_path / "run",
        optim="sgd",
        num_train_epochs=4,
        lr_scheduler_type="reduce_lr_on_plateau",
        lr_scheduler_kwargs={"factor": 0.2, "patience": 1},
        eval_strategy="epoch",
        logging_strategy="epoch",
        metric_for_best_model="eval_loss",
    )
    train_heads(
        base,
        TEAMS,
        tmp_path / "out",
        only=["team"],
        heads={"team": ["shop", "tech"]},
        head_rate=0.5,
        evaluation=wrong,
        arguments=arguments,
    )
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    rates = [r["learning_rate"] for r in state["log_history"] if "learning_rate" in r]
    assert rates[0] == max(rates)
    assert rates[-1] == pytest.approx(0.2 * rates[0])


def test_a_frozen_backbone_runs_without_dropout(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    forward = HeadLoss.forward

    def watched(self: HeadLoss, *a: Any, **k: Any) -> dict[str, Tensor]:
        modes.append((self.model.backbone.training, self.dropout.training))
        return forward(self, *a, **k)

    monkeypatch.setattr(HeadLoss, "forward", watched)
    arguments = quick(tmp_path / "run", max_steps=1)
    train_heads(base, ROWS, tmp_path / "one", freeze_backbone=True, arguments=arguments)
    train_heads(base, ROWS, tmp_path / "two", arguments=arguments)
    assert modes == [(False, True), (True, True)]


def test_long_texts_are_cut_and_counted(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [{**r, "text": r["text"] + " pump" * (100 if i < 3 else 0)} for i, r in enumerate(TEAMS)]
    common: dict[str, Any] = {"heads": {"team": ["shop", "tech"]}, "only": ["team"]}
    with caplog.at_level(logging.WARNING):
        train_heads(base, rows, tmp_path / "out", **common, arguments=quick(tmp_path / "run", max_steps=1))
    assert "3 of 8 texts are longer than 30 tokens" in caplog.text


def labelled(*heads: object) -> list[dict[str, object]]:
    return [*ROWS, *({"text": "the fox", "heads": h} for h in heads)]


Wrong = Callable[[], list[Any]]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lambda: labelled({"mood": "bed"}), r"^row 9: head 'mood' has no label 'bed'; the nearest is 'bad'"),
        (lambda: labelled({"mod": "bad"}), r"^row 9: there is no head 'mod', only \['mood', 'flags'\]"),
        (lambda: labelled({"mood": ["bad", "good"]}), r"^row 9: head 'mood' has labels .* expected one"),
        (lambda: labelled({"mood": []}), r"^row 9: head 'mood' has labels \[\]"),
        (lambda: labelled({"mood": 3}), r"^row 9: 'mood' is 3"),
        (lambda: labelled(["bad"]), r'^row 9: "heads" is list'),
        (lambda: [*ROWS, {"text": " ", "heads": {"mood": "bad"}}], r"^row 9: 'text' is ' '; expected a text"),
        (lambda: [*ROWS, {"text": "a", "label": "bad"}], r'^row 9: "label" does not say of which head'),
        (lambda: [{"text": "a"}], r"^row 1: there is no 'label'"),
        (lambda: ROWS[:2], r"^head 'mood': all 2 rows are 'bad'"),
        (lambda: labelled(*[{"flags": []}] * 3), r"^head 'flags': all 3 rows are"),
    ],
)
def test_wrong_rows_stop_before_the_first_step(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Wrong, said: str
) -> None:
    monkeypatch.setattr(multi_head, "_Trainer", None)
    with pytest.raises(DataError, match=said):
        train_heads(base, rows(), tmp_path / "out")
    with pytest.raises(DataError, match="^evaluation, " + said.lstrip("^") if "row 9" in said else said):
        train_heads(base, ROWS if "row 9" in said else rows(), tmp_path / "out", evaluation=rows())


def test_wrong_heads(base: Path, tmp_path: Path) -> None:
    tiny.change(base / "config.json", heads={**OWN, "flags": {"labels": ["spam", "toxic"], "type": "regression"}})
    rows = labelled({"flags": ["spam"]}, {"flags": ["toxic"]})
    with pytest.raises(ValueError, match="'flags' is a regression"):
        train_heads(base, rows, tmp_path / "out")
    with pytest.raises(ValueError, match=r"only is \['mud'\]"):
        train_heads(base, ROWS, tmp_path / "out", only=["mud"])
    with pytest.raises(ValueError, match=r"'mood' is .* in the base"):
        train_heads(base, ROWS, tmp_path / "out", heads={"mood": ["bad", "good"]})
    with pytest.raises(DataError, match="'team': no row labels it"):
        train_heads(base, ROWS, tmp_path / "out", heads={"team": ["a", "b"]})


def test_labels_without_rows_are_told(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    new = {"team": ["shop", "tech", "sales"]}
    train_heads(base, TEAMS, tmp_path / "o", heads=new, only=["team"], arguments=quick(tmp_path / "run", max_steps=1))
    assert "no row is of 1 of its labels, which it will hardly predict: ['sales']" in caplog.text


def test_a_published_folder_whose_classes_the_caller_names(tmp_path: Path) -> None:
    tiny.multi_head(tmp_path / "base", SIZES, body="xlm-roberta", layout="published-pth")
    named = {"mood": ("good", "bad", "so-so"), "flags": Head(("spam", "toxic"))}
    scorer = train_heads(
        tmp_path / "base", ROWS, tmp_path / "out", heads=named, only=["mood"], arguments=quick(tmp_path / "run")
    )
    old = load(
        tmp_path / "base", family="multi_head", classes={k: tuple(getattr(v, "labels", v)) for k, v in named.items()}
    )
    assert isinstance(scorer, MultiHeadClassifier)
    np.testing.assert_allclose(scorer.score(TEXTS, ["spam"]).log_odds, old.score(TEXTS, ["spam"]).log_odds, atol=1e-5)
    assert np.abs(scorer.score(TEXTS, ["bad"]).log_odds - old.score(TEXTS, ["bad"]).log_odds).max() > 1e-3
