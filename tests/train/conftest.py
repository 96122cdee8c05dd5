"""What mini's tests share, made once: made-up rows, a tiny base, two runs, and the exported folder."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from headgate.models import storage
from headgate.train.mini.export import LABELS, PAIRS, TEXT, export, load_checkpoint
from headgate.train.mini.training import prepare, train
from tests import tiny
from tests.train.mini_data import FOUR, made_up, sentence, write


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    tok = tiny.tokenizer("bert")
    tok.add_tokens(["[unused0]", "[unused1]"])
    tok.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=tok.get_vocab_size(), **sizes), add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def run(data: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run; its first checkpoint is from the middle."""
    out = tmp_path_factory.mktemp("run")
    train(prepare(data, out, str(base), FOUR), resume=False)
    return out


@pytest.fixture(scope="session")
def pairs(data: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on premises read together with hypotheses."""
    out = tmp_path_factory.mktemp("pairs")
    train(prepare(data, out, str(base), replace(FOUR, only=("nli",))), resume=False)
    return out


@pytest.fixture(scope="session")
def labels(data: Path, base: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on prompts of labels, begun with the layers of `run`, of which it leaves the lower one as it is."""
    out = tmp_path_factory.mktemp("labels")
    train(prepare(data, out, str(base), replace(FOUR, only=("gliclass",), frozen=1), run), resume=False)
    return out


@pytest.fixture(scope="session")
def folder(run: Path, pairs: Path, labels: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mini")
    runs = {name: load_checkpoint(of, str(base)) for name, of in ((TEXT, run), (PAIRS, pairs), (LABELS, labels))}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(storage, "LARGE", 1)  # int8, as the shipped ones
        export({name: model for name, (model, _) in runs.items()}, runs[TEXT][1], out)
    return out
