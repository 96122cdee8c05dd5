"""Training GLiClass: its losses, that it learns, resumes and adapts, and folders that the published package reads."""

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score, log_loss
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModel, EvalPrediction, TrainingArguments

from headgate import Ask, CheckpointError, DataError, MissingExtraError, load
from headgate.families.gliclass import GLiClassScorer
from headgate.models.gliclass import GLiClass, GLiClassConfig
from headgate.train import gliclass as training
from headgate.train.common import start as begin
from headgate.train.gliclass import Learner, Lora, Start, adapted, merged, train_gliclass
from headgate.train.gliclass_folder import MARKERS, new_gliclass
from headgate.train.gliclass_losses import PADDING, Objective, apart, cross_entropy, figures, focal
from headgate.train.gliclass_prompts import Drawing, Prompts
from tests import tiny
from tests.parity import test_gliclass as parity
from tests.parity import test_gliclass_options as options

F = nn.functional

# ------------------------------------------------------------------------------------ losses


def test_focal_loss_worked_by_hand() -> None:
    # p is 3/4; of a true label p_t is 3/4, of a false one 1/4, of a half true one 1/2.
    logits, targets = torch.full((3,), float(np.log(3))), torch.tensor([1.0, 0.0, 0.5])
    bce = np.array([-np.log(0.75), -np.log(0.25), -(np.log(0.75) + np.log(0.25)) / 2])
    np.testing.assert_allclose(focal(logits, targets, 2.0), np.array([1 / 16, 9 / 16, 1 / 4]) * bce, rtol=1e-5)
    weighed = np.array([0.7 / 16, 0.3 * 9 / 16, 0.5 / 4]) * bce
    np.testing.assert_allclose(focal(logits, targets, 2.0, 0.7), weighed, rtol=1e-5)
    np.testing.assert_allclose(focal(logits, targets, 0.0), bce, rtol=1e-5)


@pytest.mark.parametrize("alpha", [None, 0.0, 0.25, 0.7])
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.5])
def test_focal_loss_equals_the_published_one(gamma: float, alpha: float | None) -> None:
    published = pytest.importorskip("gliclass.loss_functions")
    logits, targets = torch.linspace(-4, 4, 24).view(3, 8), torch.rand(3, 8, generator=torch.manual_seed(0)).round()
    targets[0] = torch.linspace(0, 1, 8)
    expected = published.focal_loss_with_logits(logits, targets, -1 if alpha is None else alpha, gamma)
    torch.testing.assert_close(focal(logits, targets, gamma, alpha), expected)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Logits and targets of prompts with 3, 1 and 2 labels, and the labels' vectors."""
    draw = torch.manual_seed(0)
    targets = torch.tensor([[0.0, 1.0, 0.0], [1.0, PADDING, PADDING], [1.0, 0.0, PADDING]])
    return torch.randn(3, 3, generator=draw), targets, torch.randn(6, 5, generator=draw)


def test_bce_is_the_mean_over_labels() -> None:
    logits, targets, vectors = batch()
    real = targets >= 0
    expected = log_loss(targets[real].numpy(), torch.sigmoid(logits[real]).double().numpy())
    np.testing.assert_allclose(float(Objective()(logits, targets, vectors)), expected, rtol=1e-5)
    soft = torch.where(real, 0.25, PADDING)
    p = torch.sigmoid(logits[real])
    expected = -(0.25 * p.log() + 0.75 * (1 - p).log()).mean()
    torch.testing.assert_close(Objective()(logits, soft, vectors), expected)


def test_cross_entropy_is_among_the_labels_of_a_prompt() -> None:
    logits, targets, _ = batch()
    each = [F.cross_entropy(logits[:1], torch.tensor([1])), 0.0, F.cross_entropy(logits[2:, :2], torch.tensor([0]))]
    np.testing.assert_allclose(float(cross_entropy(logits, targets)), sum(map(float, each)) / 3, rtol=1e-6)


def test_contrastive_loss_equals_the_published_one() -> None:
    published = pytest.importorskip("gliclass.loss_functions")
    _, _, vectors = batch()
    expected = published.sequence_contrastive_loss(vectors.view(2, 3, 5), torch.ones(2, 3))
    torch.testing.assert_close(apart(vectors, torch.tensor([3, 3])), expected)
    ragged = [published.sequence_contrastive_loss(v[None], torch.ones(1, len(v))) for v in vectors.split([3, 1, 2])]
    expected = (3 * ragged[0] + ragged[1] + 2 * ragged[2]) / 6
    torch.testing.assert_close(apart(vectors, torch.tensor([3, 1, 2])), expected)


@pytest.mark.parametrize("kind", ["bce", "focal", "cross_entropy"])
def test_padding_never_counts(kind: Any) -> None:
    logits, targets, vectors = batch()
    objective = Objective(kind, alpha=0.3, contrastive=0.5)
    logits.requires_grad_()
    loss = objective(logits, targets, vectors)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[targets == PADDING] == 0).all()
    assert torch.isfinite(logits.grad).all()
    wider = objective(F.pad(logits.detach(), (0, 4), value=99.0), F.pad(targets, (0, 4), value=PADDING), vectors)
    torch.testing.assert_close(wider, loss.detach())
    plain = Objective(kind, alpha=0.3)(logits, targets, vectors)
    torch.testing.assert_close(loss - plain, 0.5 * apart(vectors, torch.tensor([3, 1, 2])))


@pytest.mark.parametrize(
    "wrong", [{"kind": "mse"}, {"gamma": -1.0}, {"alpha": 1.5}, {"contrastive": -0.1}, {"gamma": float("nan")}], ids=str
)
def test_objectives_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Objective(**wrong)


def test_figures_equal_scikit_learn() -> None:
    draw = np.random.default_rng(0)
    logits, targets = draw.normal(size=(50, 4)), (draw.random((50, 4)) < 0.3).astype(float)
    found = figures(EvalPrediction(logits, targets))
    assert found["f1"] == pytest.approx(f1_score(targets, logits > 0, average="micro"))
    some = targets.any(1)
    hits = targets[np.arange(50), logits.argmax(1)][some]
    assert found["accuracy"] == pytest.approx(hits.mean())
    assert 0.1 < found["accuracy"] < 0.9
    padded = [np.pad(x, ((0, 0), (0, 2)), constant_values=value) for x, value in ((logits, 50.0), (targets, PADDING))]
    assert figures(EvalPrediction(*padded)) == found


# ------------------------------------------------------------------------------------ a task that can be learned

COLOURS = {"red": ["ruby", "blood", "fire"], "blue": ["sea", "sky", "ink"], "green": ["grass", "leaf", "moss"]}
NAMES = list(COLOURS)
FILL = ["the", "a", "of", "and"]


def texts(n: int, seed: int) -> list[dict[str, Any]]:
    """Rows whose colour is told by one word of four."""
    draw = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        name = NAMES[i % 3]
        row = [*draw.choice(FILL, 3), draw.choice(COLOURS[name])]
        rows.append({"text": " ".join(draw.permutation(row)), "label": name})
    return rows


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new GLiClass on an encoder that knows which words are alike, as trained ones do, and nothing else."""
    folder = tmp_path_factory.mktemp("start")
    tok = tiny.words(*NAMES, *FILL, *(word for words in COLOURS.values() for word in words))
    config = tiny.config("bert", tok, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config.num_hidden_layers, config.initializer_range = 1, 0.05
    torch.manual_seed(0)
    body = AutoModel.from_config(config)
    vectors = body.get_input_embeddings().weight.data
    for name, words in COLOURS.items():
        vectors[tok.token_to_id(name)] = torch.randn(32)
        for word in words:
            vectors[tok.token_to_id(word)] = vectors[tok.token_to_id(name)] + 0.2 * torch.randn(32)
    body.save_pretrained(folder / "encoder")
    tiny.save_tokenizer(folder / "encoder", tok)
    return new_gliclass(folder / "encoder", folder / "new")


def encoder(folder: Path, tok: Tokenizer, body: str = "bert") -> None:
    torch.manual_seed(0)
    AutoModel.from_config(tiny.config(body, tok)).save_pretrained(folder)
    tiny.save_tokenizer(folder, tok)


def arguments(folder: Path, **more: Any) -> TrainingArguments:
    usual: dict[str, Any] = {"output_dir": str(folder), "learning_rate": 6e-3, "num_train_epochs": 6, "use_cpu": True}
    usual |= {"per_device_train_batch_size": 16, "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    return TrainingArguments(**{**usual, "logging_strategy": "no", "lr_scheduler_type": "constant", **more})


def judged(scorer: GLiClassScorer) -> tuple[float, float]:
    """Accuracy, and cross-entropy among the labels, on rows never trained on."""
    rows = texts(60, seed=1)
    z = torch.tensor(scorer.score([row["text"] for row in rows], NAMES).log_odds)
    truth = torch.tensor([NAMES.index(row["label"]) for row in rows])
    return float((z.argmax(1) == truth).float().mean()), float(F.cross_entropy(z, truth))


@pytest.mark.parametrize("loss", ["bce", "cross_entropy"])
def test_it_learns(start: Path, tmp_path: Path, loss: Any) -> None:
    before = judged(load(start, device="cpu"))
    assert before[0] < 0.6
    found = train_gliclass(start, texts(96, seed=0), tmp_path / "out", loss=loss, arguments=arguments(tmp_path))
    accuracy, entropy = judged(found)
    assert accuracy > 0.95
    assert entropy < before[1] / 2
    if loss == "bce":  # probabilities mean something: of other labels none is true
        assert found.score(["the of ruby"], NAMES).probabilities.round().tolist() == [[1, 0, 0]]


def test_isolated_labels_are_learned_and_stay_isolated(start: Path, tmp_path: Path) -> None:
    new = new_gliclass(start.parent / "encoder", tmp_path / "new", isolate_labels=True)
    found = train_gliclass(new, texts(96, seed=0), tmp_path / "out", arguments=arguments(tmp_path))
    assert judged(found)[0] > 0.95
    assert not found.joint
    z = found.score(["the of ruby"], NAMES).log_odds
    np.testing.assert_allclose(found.score(["the of ruby"], NAMES[::-1]).log_odds, z[:, ::-1], atol=1e-5)
    published_package = pytest.importorskip("gliclass")
    # The package knows no such architecture and says so; without that it would score as if labels saw one another.
    with pytest.raises(NotImplementedError, match="not implemented for this architecture"):
        published_package.GLiClassModel.from_pretrained(tmp_path / "out")


def test_descriptions_stand_in_for_texts(start: Path, tmp_path: Path) -> None:
    told = {name: [f"the {word} of a" for word in words] for name, words in COLOURS.items()}
    more = arguments(tmp_path, num_train_epochs=40)
    found = train_gliclass(start, None, tmp_path / "out", descriptions=told, arguments=more)
    assert judged(found)[0] > 0.9


def test_the_published_layout_with_all_its_options(start: Path, tmp_path: Path) -> None:
    rows = [
        {
            "text": row["text"],
            "all_labels": [row["label"], NAMES[i % 2]],
            "true_labels": {row["label"]: 0.9},
            "prompt": "the ",
            "examples": [{"text": "a leaf", "labels": ["green"]}][: i % 4 == 0],
        }
        for i, row in enumerate(texts(96, seed=0))
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    more = arguments(tmp_path, eval_strategy="epoch")
    found = train_gliclass(
        start, path, tmp_path / "out", evaluation=rows, negatives=1, contrastive=0.05, arguments=more
    )
    assert judged(found)[0] > 0.9
    z = found.score(["the ruby of a"], NAMES).log_odds[0]
    assert 0.7 < 1 / (1 + np.exp(-z[0])) < 0.98  # a soft target is not overshot by much


def test_few_shot_takes_rows_of_every_label(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    prompts = training.Prompts
    monkeypatch.setattr(training, "Prompts", lambda items, *more: seen.append(len(items)) or prompts(items, *more))
    once = arguments(tmp_path, num_train_epochs=1)
    train_gliclass(start, texts(96, seed=0), tmp_path / "out", few_shot=8, descriptions={"red": "ruby"}, arguments=once)
    assert seen == [25]


class Stop(Exception):
    """Ends a call where training would begin."""


def test_options_reach_objective_and_drawing(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(learner: Learner, *_: object, train_dataset: Prompts, eval_dataset: Prompts, **__: object) -> None:
        assert learner._objective == Objective("focal", 1.5, 0.3, 0.2)
        assert train_dataset._drawing == Drawing(shuffle=False, drop=0.25, negatives=1, max_labels=2)
        assert eval_dataset._drawing == Drawing(shuffle=False, drop=0.0, negatives=0, max_labels=2)
        raise Stop

    monkeypatch.setattr(training, "Trainer", stop)
    with pytest.raises(Stop):
        train_gliclass(
            start, texts(6, seed=0), tmp_path / "out", evaluation=texts(6, seed=1), loss="focal", focal_gamma=1.5,
            focal_alpha=0.3, contrastive=0.2, shuffle=False, drop=0.25, negatives=1, max_labels=2,
        )  # fmt: skip


def test_every_epoch_draws_anew(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[list[int]] = []
    draw = Prompts.__getitem__

    def watched(self: Prompts, index: int) -> dict[str, list[Any]]:
        drawn.append([index, *draw(self, index)["input_ids"]])
        return draw(self, index)

    monkeypatch.setattr(Prompts, "__getitem__", watched)
    more = arguments(tmp_path, num_train_epochs=2)
    train_gliclass(start, texts(12, seed=0), tmp_path / "out", drop=0.0, arguments=more)
    first, second = (sorted(half) for half in (drawn[:12], drawn[12:]))
    assert [row[0] for row in first] == [row[0] for row in second] == list(range(12))
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 5  # of 12; three labels have six orders


# ------------------------------------------------------------------------------------ the trainer


@pytest.mark.parametrize(("how", "lora"), [("arguments", None), ("resume", None), ("resume", Lora(2))])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    start: Path, tmp_path: Path, how: str, lora: Lora | None
) -> None:
    rows = texts(48, seed=0)  # 3 steps an epoch, so that it stops in the midst of one
    more = {"num_train_epochs": 3, "save_strategy": "steps", "save_steps": 4}
    whole = train_gliclass(start, rows, tmp_path / "whole", lora=lora, arguments=arguments(tmp_path / "whole", **more))
    where = tmp_path / "again" / "checkpoint-4"
    shutil.copytree(tmp_path / "whole" / "checkpoint-4", where)
    again = arguments(tmp_path / "again", **more, resume_from_checkpoint=str(where) if how == "arguments" else None)
    # From other weights than the first time: what counts is what the checkpoint holds.
    train_gliclass(tmp_path / "whole", rows, tmp_path / "again", lora=lora, resume=how == "resume", arguments=again)
    expected, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "again"))
    assert max(float((expected[k] - found[k]).abs().max()) for k in expected) == 0
    assert judged(whole)[1] != judged(load(start, device="cpu"))[1]


def test_mixed_precision_saves_float32(start: Path, tmp_path: Path) -> None:
    once = arguments(tmp_path, num_train_epochs=1, bf16=True)
    train_gliclass(start, texts(48, seed=0), tmp_path / "half", loss="focal", contrastive=0.1, arguments=once)
    once = arguments(tmp_path, num_train_epochs=1)
    train_gliclass(start, texts(48, seed=0), tmp_path / "full", loss="focal", contrastive=0.1, arguments=once)
    half, full = (load_file(tmp_path / name / "model.safetensors") for name in ("half", "full"))
    assert {t.dtype for t in half.values()} == {torch.float32}
    moved = {k: float((half[k] - full[k]).abs().max()) for k in full}
    assert 0 < max(moved.values()) < 0.05


def test_patience_stops_when_nothing_gets_better(start: Path, tmp_path: Path) -> None:
    """Held-out labels that are all wrong get worse with every step."""
    turned = [{**row, "label": NAMES[NAMES.index(row["label"]) - 1]} for row in texts(12, seed=0)]
    best = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    thirty = arguments(tmp_path, num_train_epochs=30, **best)
    train_gliclass(start, texts(48, seed=0), tmp_path / "out", evaluation=turned, patience=1, arguments=thirty)
    steps = max(int(path.name.split("-")[1]) for path in tmp_path.glob("**/checkpoint-*"))
    assert steps < 30 * len(texts(48, seed=0)) // thirty.per_device_train_batch_size
    best_one = Path(json.loads((tmp_path / "out" / "trainer_state.json").read_text())["best_model_checkpoint"])
    saved, kept, last = (
        load_file(folder / "model.safetensors")
        for folder in (tmp_path / "out", best_one, tmp_path / f"checkpoint-{steps}")
    )
    assert all(torch.equal(value, kept[name]) for name, value in saved.items())
    assert not all(torch.equal(value, last[name]) for name, value in saved.items())
    with pytest.raises(ValueError, match="patience is 1, and there is nothing to wait for"):
        train_gliclass(start, texts(6, seed=0), tmp_path / "none", patience=1)


def test_training_leaves_the_caller_s_random_numbers_alone(start: Path, tmp_path: Path) -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    def seeded() -> None:
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        torch.manual_seed(7)

    seeded()
    expected = drawn()
    seeded()
    train_gliclass(start, texts(6, seed=0), tmp_path / "out", arguments=arguments(tmp_path, num_train_epochs=1))
    assert drawn() == expected


def test_without_arguments(start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train_gliclass(start, texts(6, seed=0), tmp_path / "out", evaluation=texts(6, seed=1))
    said = capsys.readouterr().out
    assert all(said.count(f"'eval_{name}'") == 5 for name in ("loss", "f1", "accuracy"))
    assert "'epoch': '100'" in said  # of one step each


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        ([*texts(3, 0), {"text": "", "label": "red"}], {}, "row 4: 'text'"),
        ([*texts(3, 0), {"text": "sea", "label": "pink"}], {"labels": NAMES}, "row 4: 'label' names 'pink'"),
        ([texts(1, 0)[0]] * 3, {"labels": NAMES}, "all 3 rows are 'red'"),
        ([*texts(3, 0), {"text": "sea", "label": ["red", "blue"]}], {"loss": "cross_entropy"}, "row 4: true are"),
        (texts(3, 0), {"evaluation": [{"text": "sea", "label": "pink"}]}, "row 1: 'label' names 'pink'"),
        (texts(3, 0), {"descriptions": {"red": ""}}, "descriptions, 'red'"),
        ([], {}, "no row"),
        (None, {}, "no row"),
    ],
    ids=["blank", "unknown", "one class", "two true", "evaluation", "description", "empty", "none"],
)
def test_wrong_data_stops_before_the_first_step(
    start: Path, tmp_path: Path, rows: Any, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        train_gliclass(start, rows, tmp_path / "out", **more)
    assert not (tmp_path / "out").exists()


def test_the_base_is_never_written_over(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = shutil.copytree(start, tmp_path / "m")
    several = shutil.copytree(start, tmp_path / "several")
    (several / "scorer.json").write_text('{"parts": {"joint": {"family": "gliclass"}}}')
    monkeypatch.setenv("HOME", str(tmp_path))
    for where, out in ((base, base), ("~/m", base), (several / "joint", several)):
        with pytest.raises(ValueError, match="the folder of the base"):
            train_gliclass(where, [], out)  # before the rows, of which there are none
    before = (base / "config.json").read_bytes()
    for where in (base, "~/m"):
        with pytest.raises(ValueError, match="the folder of the base"):
            new_gliclass(where, base)
    assert (base / "config.json").read_bytes() == before


# ------------------------------------------------------------------------------------ adapters


def test_lora_moves_adapters_alone_and_merges_exactly(start: Path) -> None:
    base = Start.of(begin(start))
    frozen = {name: value.clone() for name, value in base.module.state_dict().items()}
    model = adapted(base.module, Lora(rank=3, alpha=6))
    assert {name.split(".")[-3] for name, p in model.named_parameters() if p.requires_grad} == {"lora_A", "lora_B"}
    learner = Learner(model, Objective())
    ids = torch.tensor([[2, base.module.config.class_token_index, 5, base.module.config.text_token_index, 12, 13, 3]])
    # A larger rate gives logits of 50, where float32 is no finer than the bound below.
    step = torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], lr=0.3)
    for _ in range(3):
        learner(ids, ids >= 0, torch.tensor([[1.0]]))["loss"].backward()
        step.step()
    unmerged = learner.eval()(ids, ids >= 0, torch.tensor([[1.0]]))["logits"]
    whole = merged(model)
    assert isinstance(whole, GLiClass)
    torch.testing.assert_close(whole(ids, ids >= 0)[0], unmerged[0], atol=1e-5, rtol=0)
    deltas = {name: value - frozen[name] for name, value in whole.state_dict().items()}
    moved = {name for name, delta in deltas.items() if delta.abs().max() > 0}
    assert {name.rsplit(".", 1)[-1] for name in moved} == {"weight"}
    assert not [name for name in moved if "embedding" in name or "LayerNorm" in name]
    assert any("encoder_model" in name for name in moved)
    assert any("projector" in name for name in moved)
    assert max(int(torch.linalg.matrix_rank(deltas[name], atol=1e-5)) for name in moved) == 3


def test_lora_trains(start: Path, tmp_path: Path) -> None:
    more = arguments(tmp_path, learning_rate=1e-2)
    found = train_gliclass(start, texts(96, seed=0), tmp_path / "out", lora=Lora(rank=4), arguments=more)
    assert judged(found)[0] > 0.9
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights.keys() == load_file(start / "model.safetensors").keys()


def test_lora_on_chosen_layers(start: Path) -> None:
    base = Start.of(begin(start))
    model = adapted(base.module, Lora(layers=("query",)))
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all(".query." in name for name in trained)
    with pytest.raises(ValueError, match="'query'"):
        adapted(Start.of(begin(start)).module, Lora(layers=("nothing",)))


def test_lora_needs_peft(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match="train"):
        adapted(Start.of(begin(start)).module, Lora())


# ------------------------------------------------------------------------------------ folders

SHORT = Ask(["the hub lost its password", "naïve café", "a"], ["password reset", "soil", "a refund"])


def published(folder: Path) -> np.ndarray:
    """Logits of the published package, from the folder alone."""
    package = pytest.importorskip("gliclass")
    return parity.reference(package.GLiClassModel.from_pretrained(folder).eval(), folder, SHORT)


def agree(folder: Path) -> None:
    expected = published(folder)
    assert np.ptp(expected) > 1e-3
    scorer = load(folder, device="cpu")
    np.testing.assert_allclose(scorer.score(SHORT.texts, SHORT.labels).log_odds, expected, rtol=0, atol=1e-5)


ROWS = [{"text": "the pump is broken", "label": "soil"}, {"text": "reset the hub", "label": "password reset"}]


@pytest.mark.parametrize(
    ("kind", "body", "pooling"),
    [
        ("simple", "bert", "average"),
        ("mlp", "deberta-v2", "first"),
        ("cross-attn", "modernbert", "average"),
        ("hopfield", "bert", "first"),
    ],
)
def test_a_new_model_is_read_by_both(tmp_path: Path, kind: Any, body: str, pooling: Any) -> None:
    encoder(tmp_path / "encoder", tiny.tokenizer(body), body)
    new = new_gliclass(tmp_path / "encoder", tmp_path / "new", scorer=kind, pooling=pooling)
    agree(new)
    config = json.loads((new / "config.json").read_text())
    state = json.loads((new / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in state["added_tokens"]}
    for name, marker in MARKERS.items():
        assert config[name] == ids[marker]
    assert len(load_file(new / "model.safetensors")[embedding(new)]) == config["vocab_size"]
    train_gliclass(new, ROWS, tmp_path / "out", arguments=arguments(tmp_path, num_train_epochs=1))
    agree(tmp_path / "out")


def embedding(folder: Path) -> str:
    return next(name for name in load_file(folder / "model.safetensors") if "tok_emb" in name or "word_emb" in name)


def test_a_new_model_keeps_the_encoder(tmp_path: Path) -> None:
    encoder(tmp_path / "encoder", tiny.tokenizer("bert"))
    new = new_gliclass(tmp_path / "encoder", tmp_path / "new")
    old, found = load_file(tmp_path / "encoder" / "model.safetensors"), load_file(new / "model.safetensors")
    for name, value in old.items():
        kept = found[f"model.encoder_model.{name}"]
        torch.testing.assert_close(kept[: len(value)], value, atol=0, rtol=0)
    again = new_gliclass(tmp_path / "encoder", tmp_path / "again")
    assert load(again, device="cpu").fingerprint == load(new, device="cpu").fingerprint
    other = new_gliclass(tmp_path / "encoder", tmp_path / "other", seed=1)
    assert load(other, device="cpu").fingerprint != load(new, device="cpu").fingerprint


def test_a_new_model_needs_an_encoder_and_a_fast_tokenizer(tmp_path: Path) -> None:
    encoder(tmp_path / "encoder", tiny.tokenizer("bert"))
    (tmp_path / "encoder" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match="fast tokenizer"):
        new_gliclass(tmp_path / "encoder", tmp_path / "new")


def test_a_new_model_from_inside_others(tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path / "cross", "bert", {0: "entailment", 1: "not_entailment"})
    agree(new_gliclass(tmp_path / "cross", tmp_path / "new"))
    agree(new_gliclass(tmp_path / "new", tmp_path / "newer", scorer="mlp"))


@pytest.mark.parametrize("shape", ["v1", "base-v3", "instruct"])
def test_a_published_model_is_trained_and_read_by_both(tmp_path: Path, shape: str) -> None:
    parity.published(tmp_path / "base", "bert", **parity.PUBLISHED[shape])
    tiny.change(tmp_path / "base" / "config.json", torch_dtype="bfloat16", dtype="bfloat16")
    before = load(tmp_path / "base", device="cpu").score(SHORT.texts, SHORT.labels).log_odds
    train_gliclass(tmp_path / "base", ROWS, tmp_path / "out", arguments=arguments(tmp_path, num_train_epochs=1))
    agree(tmp_path / "out")
    after = load(tmp_path / "out", device="cpu").score(SHORT.texts, SHORT.labels).log_odds
    assert np.abs(after - before).max() > 0.01


def test_a_part_becomes_a_published_model(tmp_path: Path) -> None:
    tok = tiny.tokenizer("bert")
    encoder(tmp_path / "shared", tok)
    part = tmp_path / "shared"
    body = AutoModel.from_pretrained(part)
    # As in mini, the markers are pieces of the vocabulary that have no name of their own.
    raw: dict[str, Any] = {"class_token_index": tok.token_to_id("##z"), "text_token_index": tok.token_to_id("##q")}
    raw["prompt_first"] = True
    model = GLiClass(body, GLiClassConfig.from_dict(raw))
    names = {k: f"gliclass.{k}".replace("gliclass.encoder_model", "backbone") for k in model.state_dict()}
    save_file({names[k]: v.contiguous() for k, v in model.state_dict().items()}, part / "model.safetensors")
    calibration = {"scale": 2.0, "shift": 1.0, "length": 0.0}
    own = {"family": "gliclass", "config": raw, "template": "{}", "calibration": calibration}
    (part / "scorer.json").write_text(json.dumps({"max_length": 60, "parts": {"joint": own}}))
    found = train_gliclass(part / "joint", ROWS, tmp_path / "out", arguments=arguments(tmp_path, max_steps=1))
    agree(tmp_path / "out")  # which finds its markers by their published names, and knows of no calibration
    settings = json.loads((tmp_path / "out" / "scorer.json").read_text())
    assert settings == {"family": "gliclass", "template": "{}", "max_length": 60}
    assert found.score(["the hub"], ["soil"]).log_odds.shape == (1, 1)


def test_template_and_length_are_kept(start: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    for path in start.iterdir():
        (tmp_path / "base" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "base" / "scorer.json").write_text('{"family": "gliclass", "template": "the {}", "format": 1}')
    once = arguments(tmp_path, num_train_epochs=1)
    found = train_gliclass(tmp_path / "base", ROWS, tmp_path / "out", max_length=48, arguments=once)
    assert "template='the {}', max_length=48" in repr(found)


def test_a_calibrator_would_be_wrong_after_training(tmp_path: Path) -> None:
    options.made(tmp_path, use_calibrator=True)
    with pytest.raises(CheckpointError, match="has a calibrator"):
        train_gliclass(tmp_path, texts(4, seed=0), tmp_path / "out")


def test_only_uni_encoders_are_trained(tmp_path: Path) -> None:
    parity.published(tmp_path, "t5", architecture_type="encoder-decoder")
    with pytest.raises(CheckpointError, match="'encoder-decoder'; expected a uni-encoder, which alone can be trained"):
        train_gliclass(tmp_path, texts(4, seed=0), tmp_path / "out")
