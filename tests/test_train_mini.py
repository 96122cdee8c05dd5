"""The training of mini, end to end on a tiny random BERT and made-up rows."""

import gzip
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from headgate import DataError
from headgate.train.mini import examples, measure
from headgate.train.mini.card import card
from headgate.train.mini.data import normal
from headgate.train.mini.export import ALARMS, export, load_checkpoint
from headgate.train.mini.labels import say, spoken
from headgate.train.mini.model import relevance
from headgate.train.mini.refit import refit, texts
from headgate.train.mini.training import Settings, prepare, schedule
from tests import tiny

WORDS = ["the", "gardener", "reset", "pump", "hub", "lost", "its", "password", "refund", "invoice", "valve", "soil"]


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=6)) + f" {rng.randrange(10_000)}"


def write(root: Path, name: str, split: str, rows: list[dict[str, Any]]) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    with gzip.open(root / name / f"{split}.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def made_up(rng: random.Random) -> dict[str, list[dict[str, Any]]]:
    """Rows of the sets without which a task would have nothing to draw."""

    def texts(number: int, **same: Any) -> list[dict[str, Any]]:
        return [{"text": sentence(rng), **same} for _ in range(number)]

    def queries() -> list[dict[str, Any]]:
        return [{"query": sentence(rng), "positives": {f"d{i}": 1}, "negatives": ["d8", "d9"]} for i in range(6)]

    nli = ("entailment", "neutral", "contradiction")
    return {
        "mnli": [{"premise": sentence(rng), "hypothesis": sentence(rng), "label": nli[i % 3]} for i in range(12)],
        "clinc150": texts(6, label="track_order", domain="home") + texts(6, label="pay_bill", domain="banking"),
        "smalltalk_ggu": texts(3, label="greeting") + texts(3, label="gratitude") + texts(3, label="other_smalltalk"),
        "goemotions": texts(4, labels=["joy"]) + texts(4, labels=["anger"]) + texts(4, labels=["neutral"]),
        "paradetox": texts(4, label="toxic") + texts(4, label="neutral"),
        "jailbreak_prompts": texts(4, label="jailbreak") + texts(4, label="benign"),
        "nq_passages": queries(),
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    sets = made_up(random.Random(0))
    for name, rows in sets.items():
        write(root, name, "train", rows)
    corpus = [{"doc_id": f"d{i}", "title": f"page {i}", "text": sentence(random.Random(i))} for i in range(10)]
    write(root, "nq_passages", "corpus", corpus)
    # Of the first row of the train file, in another spelling: that row must not be trained on.
    write(root, "clinc150", "test", [{"text": sets["clinc150"][0]["text"].upper() + "!", "label": "track_order"}])
    return root


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tok = tiny.tokenizer("bert")
    tok.add_tokens(["[unused0]", "[unused1]"])
    tok.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=tok.get_vocab_size(), **sizes), add_pooling_layer=False).save_pretrained(folder)
    return folder


FOUR = Settings(steps=4, budget=0.1)


@pytest.fixture(scope="module")
def run(data: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after two steps."""
    out = tmp_path_factory.mktemp("run")
    trainer = prepare(data, out, str(base), FOUR, resume=False)
    trainer.advance()
    trainer.advance()
    trainer.save()
    return out


def test_a_resumed_run_goes_on_bit_for_bit(data: Path, base: Path, run: Path, tmp_path: Path) -> None:
    straight = prepare(data, tmp_path / "straight", str(base), FOUR, resume=False)
    straight.run()
    shutil.copytree(run, tmp_path / "resumed")
    resumed = prepare(data, tmp_path / "resumed", str(base), FOUR, resume=True)
    assert resumed.step == 2
    before = resumed.model.weights()["multi.heads.nli.weight"].clone()
    resumed.run()
    assert resumed.step == straight.step == 4
    assert not torch.equal(before, resumed.model.weights()["multi.heads.nli.weight"])
    for name, value in straight.model.weights().items():
        assert torch.equal(value, resumed.model.weights()[name]), name


def test_a_run_does_not_overwrite_another(data: Path, base: Path, run: Path) -> None:
    with pytest.raises(FileExistsError, match="--resume"):
        prepare(data, run, str(base), FOUR, resume=False)


def test_the_export_has_what_the_loader_reads(base: Path, run: Path, tmp_path: Path) -> None:
    export(*load_checkpoint(run, str(base)), tmp_path, {})
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "scorer.json", "MODEL_CARD.md"}

    weights = load_file(tmp_path / "model.safetensors")
    assert {w.dtype for w in weights.values()} == {torch.float16}
    for name in ("nli", "intent", "sentiment", "toxicity", "injection"):
        assert f"heads.{name}.weight" in weights
    for name in ("text_projector.linear_1", "classes_projector.linear_2"):
        assert f"gliclass.{name}.weight" in weights
    assert "backbone.embeddings.word_embeddings.weight" in weights
    assert not [name for name in weights if "pooler" in name or "encoder_model" in name]

    scorer = json.loads((tmp_path / "scorer.json").read_text())
    assert scorer["format"] == 1
    assert set(scorer["parts"]) == {"nli", "rank", "route", "gliclass", "heads", "embed"}
    assert set(scorer["defaults"]) == {"rerank", "route", "guard", "embed"}
    assert scorer["parts"]["nli"]["classes"] == ["entailment", "neutral", "contradiction"]
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is None
    assert tokenizer["padding"] is None
    assert tokenizer["normalizer"]["normalizers"][0]["type"] == "NFKC"


def test_refitting_touches_the_guard_heads_alone(data: Path, base: Path, run: Path, tmp_path: Path) -> None:
    refit(run, data, tmp_path, str(base), seed=0)
    before, after = (torch.load(f / "checkpoint.pt", weights_only=True)["weights"] for f in (run, tmp_path))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"multi.heads.{head}.{kind}" for head in ALARMS for kind in ("weight", "bias")}
    found, weights, truth = texts(examples.load(data, seed=0), "injection", random.Random(0))
    assert len(found) == len(weights) == len(truth)
    assert weights[truth].sum() == pytest.approx(weights[~truth].sum())
    assert {"Thanks!", "hello"} & set(found)


def test_rows_of_evaluation_files_are_dropped(data: Path) -> None:
    found = examples.load(data)
    assert found.dropped == {"clinc150": 1}
    assert len(found.choices["clinc150"]) == 11


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"premise": "", "hypothesis": "b", "label": "neutral"}, "mnli, train row 1: field 'premise'"),
        ({"premise": "a", "hypothesis": "b", "label": "maybe"}, "mnli, train row 1: label 'maybe'"),
    ],
)
def test_a_wrong_row_stops_before_the_first_step(tmp_path: Path, row: dict[str, str], message: str) -> None:
    write(tmp_path, "mnli", "train", [row])
    with pytest.raises(DataError, match=message):
        examples.load(tmp_path)


def test_without_data_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training text for class"):
        examples.load(tmp_path)


def test_labels_are_said_in_words() -> None:
    assert [spoken(name) for name in ("track_order", "PlayMusic", "set.alarm")] == [
        "track order",
        "play music",
        "set alarm",
    ]
    said = {say(random.Random(seed), "pay_bill", ["my bill is due"]).lower() for seed in range(60)}
    assert {"pay bill", "my bill is due", "help with pay bill"} <= said
    assert normal("Ｈello,  WORLD!") == "hello world"


def test_the_rate_rises_and_falls() -> None:
    rates = [schedule(p / 100, 0.05) for p in range(101)]
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[0] < 0.05
    assert rates[-1] < 0.01


def test_relevance_leaves_out_special_tokens_and_padding() -> None:
    torch.manual_seed(0)
    query, passage = torch.randn(1, 5, 8), torch.randn(1, 7, 8)
    q, p = (torch.nn.functional.normalize(x, dim=-1) for x in (query[0, 1:4], passage[0, 1:5]))
    by_hand = (q @ p.T).amax(1).mean()
    mask = torch.arange(7)[None] < 6
    found = relevance(query, torch.ones(1, 5, dtype=torch.bool), passage, mask)
    assert found.item() == pytest.approx(by_hand.item(), abs=1e-6)


def test_the_measures() -> None:
    truth, scores = [True, True, False, False], np.array([0.9, 0.4, 0.4, 0.1])
    assert measure.auroc(truth, scores) == pytest.approx(0.875)
    assert measure.macro_f1([0, 0, 1, 1], [0, 1, 1, 1]) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert measure.ndcg(["a", "b"], {"b": 1}) == pytest.approx(1 / np.log2(3))
    rng = np.random.default_rng(0)
    z = rng.normal(size=4000)
    fit = measure.platt(z, (rng.random(4000) < 1 / (1 + np.exp(-(2 * z - 1)))).tolist())
    assert fit["scale"] == pytest.approx(2, abs=0.25)
    assert fit["shift"] == pytest.approx(-1, abs=0.2)


def test_the_card_lists_every_source_and_marks_what_the_base_has_seen() -> None:
    rows = {"trec_dl19": {"queries": 2, "mini rank": 0.5}, "scifact": {"queries": 2, "first stage": 0.4}}
    same = {"one": {"rows": 1}}
    figures = {
        **{name: same for name in ("nli", "zero_shot", "routing", "guards", "heads", "drift")},
        "scale": 1.0,
        "steps": 1234,
        "retrieval": rows,
        "route": "nli",
        "thresholds": {"toxicity:toxic": 0.9},
        "threshold_dev": {"toxicity:toxic": {"safe": 9, "safe that pass": 0.99, "bad": 3, "bad that are caught": 0.5}},
    }
    text = card(figures)
    assert "| trec_dl19 (source seen by the base) | 2 | 0.500 |  |" in text
    assert "| vitaminc_synthetic | SA |" in text
    assert "Not measured" in card({})
