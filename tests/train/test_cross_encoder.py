"""A cross-encoder is trained on tiny made-up tasks: it learns, resumes, stops, and what it saves is read by all."""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification, BertConfig, BertModel, TrainingArguments

from headgate import Calibration, CheckpointError, DataError, Label, NotCalibratedError, Scores, load
from headgate.scores import as_label
from headgate.train.cross_encoder import train_cross_encoder
from headgate.train.cross_encoder_data import Example
from headgate.train.cross_encoder_goal import Goal
from headgate.train.distil import Teacher
from tests import tiny

COLOURS = ["red", "green", "blue"]
THINGS = ["fox", "dog", "hen"]
NLI = ("entailment", "neutral", "contradiction")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without a head, in which every word is one token."""
    folder = tmp_path_factory.mktemp("encoder")
    tok = tiny.words(*COLOURS, *THINGS, "it", "is", "not")
    tiny.save_tokenizer(folder, tok)
    torch.manual_seed(0)
    shape = {**tiny.SIZES, "initializer_range": 0.1}
    BertModel(BertConfig(**shape, vocab_size=tok.get_vocab_size(), pad_token_id=0)).save_pretrained(folder)
    return folder


def settings(out: Path, **more: Any) -> TrainingArguments:
    usual = {"learning_rate": 3e-3, "num_train_epochs": 3, "per_device_train_batch_size": 8}
    same = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
    return TrainingArguments(str(out), **{**usual, **same, **more})


def rankings(number: int, seed: int = 0) -> list[Json]:
    """Documents are the more relevant, the more of them is red."""
    rng = random.Random(seed)
    rows = []
    for _ in range(number):
        said = [(" ".join(["red"] * grade + rng.choices(THINGS, k=3 - grade)), grade) for grade in (0, 0, 1, 2)]
        documents = [{"text": text, "relevance": grade} for text, grade in rng.sample(said, 4)]
        rows.append({"query": rng.choice(THINGS), "documents": documents})
    return [{**row, "documents": list({d["text"]: d for d in row["documents"]}.values())} for row in rows]


def pairs(number: int, seed: int = 0) -> list[Json]:
    """It is so if the premise is red, not so if it is green, and who knows if it is blue."""
    rng = random.Random(seed)
    drawn = [rng.randrange(3) for _ in range(number)]
    return [
        {"premise": f"{rng.choice(THINGS)} {('red', 'blue', 'green')[k]}", "hypothesis": "it is", "label": NLI[k]}
        for k in drawn
    ]


def ordered(score: Callable[[Sequence[str], str], Any], rows: Sequence[Json]) -> float:
    """The share of documents of different grade that stand in the right order; 0.5 by chance."""
    right = []
    for row in rows:
        z = score([d["text"] for d in row["documents"]], row["query"])
        y = [d["relevance"] for d in row["documents"]]
        right += [z[i] > z[j] for i in range(len(y)) for j in range(len(y)) if y[i] > y[j]]
    return float(np.mean(right))


def column(scorer: Any) -> Callable[[Sequence[str], str], Any]:
    return lambda texts, query: scorer.score(texts, [query]).log_odds[:, 0]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = tensors(a), tensors(b)
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


class Counts:
    """A teacher by hand: the log-odds are how red the text is."""

    joint, labels, fingerprint = False, None, "counts"

    def __init__(self, *, order: bool = False) -> None:
        self.order = order

    def score(self, texts: Sequence[str], labels: Sequence[str | Label]) -> Scores:
        said = [as_label(label) for label in labels]
        sign = {"entailment": 1, "contradiction": -1}
        z = [[sign[s.relation] * (3 * t.split().count("red") - 2) for s in said] for t in texts]
        return Scores.of(z, texts, meaning="order" if self.order else "probability")


# It learns


@pytest.mark.parametrize("loss", ["listwise", "pairwise", "pointwise"])
def test_ranking_rises_from_chance(base: Path, tmp_path: Path, loss: Any) -> None:
    rows, held_out = rankings(48), rankings(30, seed=1)
    args = settings(tmp_path, max_steps=1, learning_rate=0.0)
    before = train_cross_encoder(base, rows, tmp_path / "0", loss=loss, arguments=args)
    after = train_cross_encoder(base, rows, tmp_path / "1", loss=loss, arguments=settings(tmp_path))
    assert ordered(column(before), held_out) < 0.75
    assert ordered(column(after), held_out) > 0.85
    assert after.score(["red fox"], ["red"]).meaning == "order"


def test_pairs_are_told_apart_and_the_measure_says_so(base: Path, tmp_path: Path) -> None:
    held_out = pairs(60, seed=1)
    args = settings(tmp_path, eval_strategy="epoch", save_strategy="epoch", learning_rate=1e-2)
    scorer = train_cross_encoder(base, pairs(64), tmp_path / "m", evaluation=held_out, arguments=args)
    right = []
    for row in held_out:
        said = [Label(row["hypothesis"], verbatim=True, relation=r) for r in ("entailment", "contradiction")]
        yes, no = scorer.score([row["premise"]], said).probabilities[0]
        right.append(NLI[int(np.argmax([yes, 1 - yes - no, no]))] == row["label"])
    assert np.mean(right) > 0.8  # a third by chance
    (*_, last) = [entry for entry in history(tmp_path) if "eval_accuracy" in entry]
    assert last["eval_accuracy"] == pytest.approx(np.mean(right))


def test_labels_as_hypotheses_are_affirmed_or_denied(base: Path, tmp_path: Path) -> None:
    # All but two texts are red: what is said of red is affirmed, and what is said of the others denied.
    rows = [{"text": THINGS[i % 3], "label": COLOURS[max(0, i - 37)]} for i in range(40)]
    scorer = train_cross_encoder(
        base, rows, tmp_path / "m", classes=["entailment", "not_entailment"], template="it is {}",
        arguments=settings(tmp_path, num_train_epochs=2, learning_rate=1e-2),
    )  # fmt: skip
    found = scorer.score(THINGS, COLOURS)
    assert ((found.probabilities > 0.5) == [True, False, False]).all()
    whole = scorer.score(["fox"], [Label("it is red", verbatim=True)]).log_odds[0, 0]
    assert whole == pytest.approx(found.log_odds[0, 0], abs=1e-5)  # the template it learned is the one it has


def test_nli_model_learns_rankings_through_entailment(base: Path, tmp_path: Path) -> None:
    scorer = train_cross_encoder(base, rankings(48), tmp_path / "m", classes=NLI, arguments=settings(tmp_path))
    assert ordered(column(scorer), rankings(30, seed=1)) > 0.85
    assert scorer.score(["red fox"], ["red"]).meaning == "probability"


def test_each_loss_of_rankings_takes_a_step_of_its_own(base: Path, tmp_path: Path) -> None:
    for loss in ("listwise", "pairwise", "pointwise"):
        args = settings(tmp_path, max_steps=1, optim="sgd", learning_rate=0.5)
        train_cross_encoder(base, rankings(8), tmp_path / loss, loss=loss, arguments=args)  # type: ignore[arg-type]
    assert not same(tmp_path / "listwise", tmp_path / "pairwise")
    assert not same(tmp_path / "listwise", tmp_path / "pointwise")
    assert not same(tmp_path / "pairwise", tmp_path / "pointwise")


# It learns from another scorer


@pytest.mark.parametrize("loss", ["divergence", "margin_mse"])
def test_teacher_alone_is_approached_without_labels(base: Path, tmp_path: Path, loss: Any) -> None:
    def far(scorer: Any) -> float:
        off = []
        for row in rankings(30, seed=1):
            texts = [d["text"] for d in row["documents"]]
            z, t = (column(s)(texts, row["query"]) for s in (scorer, Counts()))
            off.append(np.square((z - z.mean()) - (t - t.mean())).mean())
        return float(np.mean(off))

    rows = [{**row, "documents": [{"text": d["text"]} for d in row["documents"]]} for row in rankings(48)]
    found = [
        train_cross_encoder(
            base, rows, tmp_path / str(steps), teacher=Teacher(Counts(order=True), weight=1, loss=loss),
            arguments=settings(tmp_path, max_steps=steps),
        )
        for steps in (1, 18)
    ]  # fmt: skip
    assert far(found[1]) < far(found[0]) / 2
    assert ordered(column(found[1]), rankings(30, seed=1)) > 0.85


def test_teacher_of_pairs_is_approached_in_both_relations(base: Path, tmp_path: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "label"} for row in pairs(60)]
    asked = [Label("it is", verbatim=True, relation=r) for r in ("entailment", "contradiction")]
    texts = ["fox red", "dog blue"]
    far = []
    for steps in (1, 24):
        scorer = train_cross_encoder(
            base, rows, tmp_path / str(steps), teacher=Teacher(Counts(), weight=1),
            arguments=settings(tmp_path, max_steps=steps, learning_rate=1e-2),
        )  # fmt: skip
        far.append(np.abs(scorer.score(texts, asked).probabilities - Counts().score(texts, asked).probabilities).max(0))
    assert (far[1] < far[0] / 2).all()


def test_weight_mixes_labels_and_teacher(base: Path, tmp_path: Path) -> None:
    reversed_rows = [
        {**r, "documents": [{**d, "relevance": 2 - d["relevance"]} for d in r["documents"]]} for r in rankings(48)
    ]
    found = {
        weight: train_cross_encoder(
            base, reversed_rows, tmp_path / str(weight), teacher=Teacher(Counts(), weight=weight),
            arguments=settings(tmp_path),
        )
        for weight in (0.02, 0.98)
    }  # fmt: skip
    assert ordered(column(found[0.02]), rankings(30, seed=1)) < 0.3  # as the labels say, which were turned round
    assert ordered(column(found[0.98]), rankings(30, seed=1)) > 0.7  # as the teacher says


def test_teacher_of_pairs_must_give_probabilities(base: Path, tmp_path: Path) -> None:
    with pytest.raises(NotCalibratedError, match=r"Calibration\.fit"):
        train_cross_encoder(base, pairs(8), tmp_path / "m", teacher=Teacher(Counts(order=True)))


def test_teacher_of_two_classes_says_nothing_of_contradiction(tmp_path: Path) -> None:
    """What it doesn't find entailed may as well be neutral."""
    tiny.cross_encoder(tmp_path / "two", "bert", {0: "entailment", 1: "not_entailment"})
    tiny.cross_encoder(tmp_path / "three", "bert", dict(enumerate(NLI)))
    two, three = (load(tmp_path / name, template="It is {}.") for name in ("two", "three"))
    example = Example("row 1", "it is", "it is", ("the pump",), (0,))
    for scorer, relations in ((three, 2), (two, 1), (Calibration(2.0, 0.0).on(two), 1)):
        (said,) = Teacher(scorer).judged([example], pairs=True, classes=3)
        assert len(said) == relations


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"weight": 1.5}, {"temperature": 0}, {"loss": "kl"}])
def test_teacher_refuses_what_makes_no_loss(wrong: Json) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Teacher(Counts(), **wrong)


# What is saved


@pytest.mark.parametrize("body", tiny.BODIES)
def test_saved_folder_is_read_by_transformers_with_equal_logits(tmp_path: Path, body: str) -> None:
    tok = tiny.tokenizer(body)
    torch.manual_seed(0)
    AutoModel.from_config(tiny.config(body, tok)).save_pretrained(tmp_path / "base")
    tiny.save_tokenizer(tmp_path / "base", tok)
    args = settings(tmp_path, max_steps=1)
    rows = [
        {"premise": text, "hypothesis": "soil", "label": label} for text, label in zip(tiny.LABELS, NLI, strict=True)
    ]
    scorer = train_cross_encoder(tmp_path / "base", rows, tmp_path / "m", template="It is {}.", arguments=args)
    text, hypothesis = "refunds reach the customer", "It is a refund of the invoice."
    encoded = tok.encode(text, hypothesis)
    inputs = {"input_ids": torch.tensor([encoded.ids])}
    if body == "bert":
        inputs["token_type_ids"] = torch.tensor([encoded.type_ids])
    reference = AutoModelForSequenceClassification.from_pretrained(tmp_path / "m").eval()
    assert reference.config.id2label == dict(enumerate(NLI))
    with torch.inference_mode():
        expected = torch.softmax(reference(**inputs).logits[0].double(), 0).numpy()
    asked = [Label("a refund of the invoice", relation=r) for r in ("entailment", "contradiction")]
    np.testing.assert_allclose(scorer.score([text], asked).probabilities[0], expected[[0, 2]], atol=1e-5)
    assert sorted(path.suffix for path in (tmp_path / "m").glob("*.*")) == [".json"] * 5 + [".safetensors"]


def test_head_of_the_same_classes_is_kept_and_another_is_new(tmp_path: Path) -> None:
    classes = dict(enumerate(("contradiction", "entailment", "neutral")))
    tiny.cross_encoder(tmp_path / "base", "bert", classes)
    still = settings(tmp_path, max_steps=1, learning_rate=0.0)
    rows = [{"premise": "soil", "hypothesis": "a valve", "label": label} for label in NLI]
    kept = train_cross_encoder(tmp_path / "base", rows, tmp_path / "1", template="{}", arguments=still)
    before = load(tmp_path / "base", template="{}").score(tiny.TEXTS, tiny.LABELS).log_odds
    np.testing.assert_allclose(kept.score(tiny.TEXTS, tiny.LABELS).log_odds, before, atol=1e-5)
    train_cross_encoder(tmp_path / "base", rows, tmp_path / "2", classes=NLI, arguments=still)
    old, new = tensors(tmp_path / "base"), tensors(tmp_path / "2")
    assert {k for k in old if not torch.equal(old[k], new[k])} == {"classifier.weight", "classifier.bias"}
    with pytest.raises(CheckpointError, match="does not say which hypothesis template"):
        train_cross_encoder(tmp_path / "base", rows, tmp_path / "3", arguments=still)


def test_unnamed_head_is_kept_under_the_names_the_caller_gives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.cross_encoder(tmp_path / "base", "bert", {0: "LABEL_0"})
    still = settings(tmp_path, max_steps=1, learning_rate=0.0)
    documents = [{"text": "soil", "relevance": 1}, {"text": "a valve", "relevance": 0}]
    rows = [{"query": "the pump", "documents": documents}]
    kept = train_cross_encoder(tmp_path / "base", rows, tmp_path / "1", classes=["relevance"], arguments=still)
    before = load(tmp_path / "base", classes=["relevance"]).score(tiny.TEXTS, tiny.LABELS).log_odds
    np.testing.assert_allclose(kept.score(tiny.TEXTS, tiny.LABELS).log_odds, before, atol=1e-5)
    assert "new one" not in caplog.text
    train_cross_encoder(tmp_path / "base", rows, tmp_path / "2", arguments=still)
    train_cross_encoder(tmp_path / "base", rows, tmp_path / "3", classes=NLI, arguments=still)
    assert [r.levelname for r in caplog.records if "it gets a new one" in r.message] == ["WARNING"] * 2


def heads(folder: Path) -> None:
    """A folder of several parts, as mini is."""
    tiny.multi_head(folder, {"nli": 3, "mood": 2}, layout="published")
    part = {"family": "cross_encoder", "head": "nli", "classes": NLI, "template": "It is {}."}
    shared = {"format": 1, "pooling": "mean", "max_length": 32}
    calibrated = {**part, "calibration": {"scale": 2.0, "shift": 1.0, "length": 0.0}}
    (folder / "scorer.json").write_text(json.dumps({**shared, "parts": {"nli": part, "told": calibrated}}))


def test_head_of_several_is_trained_further_and_comes_out_alone(tmp_path: Path) -> None:
    heads(tmp_path / "base")
    still = settings(tmp_path, max_steps=1, learning_rate=0.0)
    rows = [{"premise": "soil", "hypothesis": "a valve", "label": label} for label in NLI]
    before = load(tmp_path / "base" / "nli").score(tiny.TEXTS, tiny.LABELS)
    for part in ("nli", "told"):  # a calibration was fitted on other weights, and does not come along
        after = train_cross_encoder(tmp_path / "base" / part, rows, tmp_path / part, arguments=still)
        found = after.score(tiny.TEXTS, tiny.LABELS)
        np.testing.assert_allclose(found.log_odds, before.log_odds, atol=1e-5)
        assert (found.windows == before.windows).all()
    assert {k.split(".")[1] for k in tensors(tmp_path / "nli") if k.startswith("heads.")} == {"nli"}
    assert not [
        k for k in tensors(tmp_path / "base") if k.startswith("backbone.") and k not in tensors(tmp_path / "nli")
    ]


def test_ranker_on_a_folder_of_heads_gets_a_head_of_its_own(tmp_path: Path) -> None:
    heads(tmp_path / "base")
    documents = [{"text": "soil", "relevance": 1}, {"text": "a valve", "relevance": 0}]
    rows = [{"query": "the pump", "documents": documents}]
    args = settings(tmp_path, num_train_epochs=20, learning_rate=1e-2)
    scorer = train_cross_encoder(tmp_path / "base" / "nli", rows, tmp_path / "m", classes=["relevance"], arguments=args)
    yes, no = scorer.score(["soil", "a valve"], ["the pump"]).log_odds[:, 0]
    assert yes > no + 1
    assert load(tmp_path / "m").score(["soil"], ["the pump"]).log_odds[0, 0] == pytest.approx(yes, abs=1e-5)


def test_encoder_with_missing_weights_is_refused(base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "base")
    weights = tensors(base)
    weights.pop("encoder.layer.1.output.dense.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 weights of its encoder, such as"):
        train_cross_encoder(folder, rankings(4), tmp_path / "m", arguments=settings(tmp_path))


# The trainer's own offers


def test_resumed_training_ends_in_the_same_weights(base: Path, tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 5, "max_steps": 12}
    train_cross_encoder(base, rankings(48), tmp_path / "whole", arguments=settings(tmp_path / "whole", **args))
    assert not same(tmp_path / "whole" / "checkpoint-5", tmp_path / "whole")
    shutil.copytree(tmp_path / "whole" / "checkpoint-5", tmp_path / "again" / "checkpoint-5")
    train_cross_encoder(
        base, rankings(48), tmp_path / "again", arguments=settings(tmp_path / "again", **args), resume=True, seed=9
    )
    assert same(tmp_path / "whole", tmp_path / "again")


def test_patience_stops_and_the_best_epoch_is_kept(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.3, 0.9, 0.5, 0.4, 0.95])
    monkeypatch.setattr(Goal, "measured", lambda goal, _: {goal.metric: next(found)})
    args = settings(
        tmp_path, num_train_epochs=20, eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
        metric_for_best_model="ndcg@10",
    )  # fmt: skip
    train_cross_encoder(base, rankings(16), tmp_path / "m", evaluation=rankings(4), patience=2, arguments=args)
    assert [entry["eval_ndcg@10"] for entry in history(tmp_path) if "eval_ndcg@10" in entry] == [0.3, 0.9, 0.5, 0.4]
    assert same(tmp_path / "m", tmp_path / "checkpoint-4")  # two steps an epoch, and the second epoch was best
    assert not same(tmp_path / "m", tmp_path / "checkpoint-8")


def test_evaluation_alone_keeps_the_best_epoch(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.3, 0.9, 0.5])
    monkeypatch.setattr(Goal, "measured", lambda goal, _: {goal.metric: next(found)})
    train_cross_encoder(base, rankings(12), tmp_path / "m", evaluation=rankings(4), seed=3)
    state = json.loads((tmp_path / "m" / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["best_metric"] == 0.9
    assert same(tmp_path / "m", tmp_path / "m" / "checkpoint-4")


@pytest.mark.parametrize("classes", [None, NLI])
def test_accumulated_batches_weigh_as_one(base: Path, tmp_path: Path, classes: Any) -> None:
    # Plain gradient descent, and dropout off: then two halves of a batch must move the weights as the whole does.
    calm = shutil.copytree(base, tmp_path / "calm")
    tiny.change(calm / "config.json", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    found = []
    for size, times in ((8, 1), (4, 2)):
        args = settings(
            tmp_path, max_steps=1, per_device_train_batch_size=size, gradient_accumulation_steps=times, optim="sgd",
            learning_rate=0.5, max_grad_norm=0.0,
        )  # fmt: skip
        out = tmp_path / str(size)
        train_cross_encoder(calm, rankings(8), out, classes=classes, arguments=args)
        found.append(tensors(out))
    assert all(torch.allclose(v, found[1][k], atol=1e-6) for k, v in found[0].items())


@pytest.mark.parametrize("body", ["bert", "heads"])
def test_mixed_precision_trains_and_saves_float32(base: Path, tmp_path: Path, body: str) -> None:
    if body == "heads":
        heads(tmp_path / "base")
        base = tmp_path / "base" / "nli"
    args = settings(tmp_path, bf16=True, max_steps=3)
    rows = [{"premise": "soil", "hypothesis": "a valve", "label": label} for label in NLI]
    seen: set[torch.dtype] = set()

    def watch(module: nn.Module, _: object, out: Any) -> None:
        if isinstance(module, nn.Linear) and module.training and module.out_features == tiny.SIZES["intermediate_size"]:
            seen.add(out.dtype)

    hook = nn.modules.module.register_module_forward_hook(watch)
    try:
        scorer = train_cross_encoder(base, rows, tmp_path / "m", arguments=args)
    finally:
        hook.remove()
    assert seen == {torch.bfloat16}
    assert np.isfinite(scorer.score(["soil"], ["valve"]).log_odds).all()
    assert {v.dtype for v in tensors(tmp_path / "m").values()} == {torch.float32}


# What is refused


def test_wrong_rows_stop_before_anything_is_built(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.train.cross_encoder.pair_model", None)
    good = rankings(4)
    with pytest.raises(DataError, match="row 5: 'query' is ''"):
        train_cross_encoder(base, [*good, {**good[0], "query": ""}], tmp_path / "m")
    blank = {"query": "a", "documents": [{"text": "", "relevance": 1}]}
    with pytest.raises(DataError, match="row 3, document 1: 'text' is ''"):
        train_cross_encoder(base, good, tmp_path / "m", evaluation=[*good[:2], blank])
    with pytest.raises(DataError, match="all 1 rows are 'entailment'"):
        train_cross_encoder(base, [{"premise": "a", "hypothesis": "b", "label": "entailment"}], tmp_path / "m")
    with pytest.raises(ValueError, match="row 1 of evaluation is of another kind"):
        train_cross_encoder(base, good, tmp_path / "m", evaluation=pairs(4))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"loss": "cross_entropy"}, "loss is 'cross_entropy'.*expected listwise or pairwise or pointwise"),
        ({"classes": "relevance"}, "classes is a str"),
        ({"classes": ["yes", "no"]}, "expected two or three of which one starts with 'entail'"),
        ({"template": "about"}, "template is 'about'; expected one"),
        ({"patience": 2}, "patience is 2, and there is nothing to wait for"),
        ({"list_size": 1}, "list_size is 1"),
        ({"wrong_labels": 0}, "wrong_labels is 0"),
    ],
)
def test_wrong_argument_is_refused(base: Path, tmp_path: Path, wrong: Json, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        train_cross_encoder(base, rankings(4), tmp_path / "m", **wrong)


def test_evaluation_that_would_never_run_is_refused(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="eval_strategy"):
        train_cross_encoder(base, pairs(8), tmp_path / "m", evaluation=pairs(8), arguments=settings(tmp_path))


def test_the_base_is_never_written_over(base: Path) -> None:
    with pytest.raises(ValueError, match="the folder of the base"):
        train_cross_encoder(base, rankings(4), base)


def history(folder: Path) -> list[Json]:
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    found: list[Json] = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return found
