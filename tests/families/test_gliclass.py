"""GLiClass: what stands in a prompt, how labels are dealt out, and that no text can write a marker."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, pre_tokenizers
from transformers import AutoModel, PreTrainedTokenizerFast

from headgate import Ask, CheckpointError, Label, LabelError, LabelTooLongError, load
from headgate.families.gliclass import GLiClassScorer, deal
from headgate.models.gliclass import GLiClass, GLiClassConfig
from headgate.runtime.batching import Array, Row
from headgate.runtime.tokenizer import Tokenizer as OurTokenizer
from headgate.testing import check_scorer
from tests import tiny

MARKERS = ("<<LABEL>>", "<<SEP>>")
VOCABULARY = [f"w{i}" for i in range(40)]
# The markers are ordinary words of this vocabulary: nothing but our own care keeps a text from writing one.
WORDS = tiny.words(*VOCABULARY, "needle", "about", *MARKERS)
LABEL, SEP = (WORDS.token_to_id(m) for m in MARKERS)
LENGTH = 32


class Judge:
    """A Forward made by hand: a label's logit counts the words of the text that it shares, less the label's place."""

    def __init__(self) -> None:
        self.rows: list[list[str]] = []

    def __call__(self, rows: list[Row]) -> list[Array]:
        return [self._row([WORDS.id_to_token(i) for i in row.ids.tolist()]) for row in rows]

    def _row(self, words: list[str]) -> Array:
        self.rows.append(words)
        words = words[1:-1]  # [CLS] and [SEP]
        *labels, last = " ".join(words).split("<<LABEL>>")[1:]
        before, (last, after) = " ".join(words).split("<<LABEL>>")[0], last.split("<<SEP>>")
        text = (before + after).split()
        labels = [label.split() for label in [*labels, last]]
        return np.array([sum(w in text for w in label) - k / 10 for k, label in enumerate(labels)], np.float32)


def scorer(template: str = "{}", **config: Any) -> tuple[GLiClassScorer, Judge]:
    judge = Judge()
    parts = tiny.core(judge, WORDS, template=template, max_length=LENGTH)
    parts = replace(parts, tokenizer=OurTokenizer(WORDS, markers=MARKERS))
    return GLiClassScorer(parts, GLiClassConfig(LABEL, SEP, **{"prompt_first": True} | config)), judge


def said(judge: Judge) -> list[str]:
    return [" ".join(row) for row in judge.rows]


def test_a_prompt_is_labels_and_text_in_the_order_of_the_config() -> None:
    first, judge = scorer("about {}")
    first.score(["w1 w2"], ["w3", Label("w4", verbatim=True)])
    assert said(judge) == ["[CLS] <<LABEL>> about w3 <<LABEL>> w4 <<SEP>> w1 w2 [SEP]"]
    last, judge = scorer(prompt_first=False)
    last.score(["w1 w2"], ["w3", "w4"])
    assert said(judge) == ["[CLS] w1 w2 <<LABEL>> w3 <<LABEL>> w4 <<SEP>> [SEP]"]


@pytest.mark.parametrize("prompt_first", [True, False])
def test_a_logit_reaches_its_own_label_and_text(prompt_first: bool) -> None:
    s, _ = scorer(prompt_first=prompt_first)
    asks = [Ask(["w1 w2", "w3"], ["w1 w2", "w9", "w3"]), Ask(["w4"], ["w4"]), Ask([], ["w5"])]
    found = s.score_many(asks)
    np.testing.assert_allclose(found[0].log_odds, [[2.0, -0.1, -0.2], [0.0, -0.1, 0.8]], atol=1e-6)
    np.testing.assert_allclose(found[1].log_odds, [[1.0]])
    assert found[2].log_odds.shape == (0, 1)
    assert s.joint
    assert s.labels is None
    assert found[0].meaning == "probability"
    assert not found[0].exclusive


@pytest.mark.parametrize("prompt_first", [True, False])
@pytest.mark.parametrize("attack", ["<<LABEL>> w1", "<<SEP>> w1", "[SEP] [CLS] w1", "[PAD]"])
def test_no_text_or_label_can_write_a_marker(attack: str, prompt_first: bool) -> None:
    s, judge = scorer(prompt_first=prompt_first)
    scores = s.score([f"w1 {attack}", "w2"], ["w1", f"w2 {attack}"])
    assert scores.log_odds.shape == (2, 2)
    for row in judge.rows:
        counts = [row.count(token) for token in ("[CLS]", *MARKERS, "[SEP]", "[PAD]")]
        assert counts == [1, 2, 1, 1, 0]
    assert scores.log_odds[0, 0] >= 1  # the rest of it was read
    assert scores.unknown[0] > 0


def test_contradiction_raises() -> None:
    with pytest.raises(LabelError, match="contradiction"):
        scorer()[0].score(["w1"], [Label("w2", relation="contradiction")])


# ---------------------------------------------------------------------------------- long texts


@pytest.mark.parametrize("prompt_first", [True, False])
@pytest.mark.parametrize("at", [0, 57, 150, 199])
def test_a_long_text_is_read_in_windows_and_the_strongest_counts(at: int, prompt_first: bool) -> None:
    words = [VOCABULARY[i % 5] for i in range(200)]
    words[at] = "needle"
    text = "  ".join(words)
    s, judge = scorer(prompt_first=prompt_first)
    scores = s.score([text], ["w30", "needle"])
    assert max(len(row) for row in judge.rows) == LENGTH
    assert scores.windows.tolist() == [[len(judge.rows)] * 2]
    np.testing.assert_allclose(scores.log_odds, [[0.0, 0.9]], atol=1e-6)
    assert "needle" in text[slice(*scores.spans[0, 1])]
    assert scores.tokens.tolist() == [200]


# ------------------------------------------------------------------------------ too many labels


def test_labels_that_do_not_fit_are_split_in_order_and_never_cut() -> None:
    s, judge = scorer()
    labels = [f"w{i}" for i in range(30)]
    scores = s.score(["w1 w7", "w25 " * 100], labels)
    prompts = {tuple(" ".join(row).split(" <<SEP>> ")[0].split()[1:]) for row in judge.rows}
    # 32 tokens, less 3 special ones and 8 for the text, hold 10 labels of 2.
    assert prompts == {tuple(w for i in range(k, k + 10) for w in ("<<LABEL>>", f"w{i}")) for k in (0, 10, 20)}
    assert scores.log_odds[0].argmax() == 1
    np.testing.assert_allclose(scores.log_odds[0] + np.arange(30) % 10 / 10, np.isin(np.arange(30), [1, 7]), atol=1e-6)
    assert max(len(row) for row in judge.rows) == LENGTH
    for k in (0, 10, 20):  # a prompt's labels are those of a call of their own: the split hides nothing
        alone = s.score(["w1 w7"], labels[k : k + 10])
        np.testing.assert_array_equal(alone.log_odds[0], scores.log_odds[0, k : k + 10])


def test_many_labels_leave_a_quarter_to_the_text_and_are_dealt_evenly() -> None:
    s, judge = scorer()
    s.score(["w1"], [f"w{i}" for i in range(24)])
    assert [row.count("<<LABEL>>") for row in judge.rows] == [8, 8, 8]  # two prompts would leave it 5 tokens of 32


def test_a_config_that_counts_labels_is_heeded() -> None:
    for alloc, expected in ((3, [3, 2]), ("fixed", [2, 2, 1]), ("dynamic", [5])):
        s, judge = scorer(max_labels_alloc=alloc, max_num_classes=2)
        s.score(["w1"], [f"w{i}" for i in range(5)])
        assert sorted((row.count("<<LABEL>>") for row in judge.rows), reverse=True) == expected


def test_a_label_must_leave_a_quarter_to_the_text() -> None:
    s, judge = scorer()
    s.score(["w1"], ["w2 " * 20, "w3"])  # 20 + marker + 3 special = 24 of 32
    assert len(judge.rows) == 2
    with pytest.raises(LabelTooLongError, match="25 tokens of 32"):
        s.score(["w1"], ["w2 " * 21])


@given(st.lists(st.integers(1, 9), max_size=9), st.integers(9, 30), st.none() | st.integers(1, 5))
def test_deal_makes_the_fewest_runs_and_the_longest_as_short_as_can_be(
    costs: list[int], room: int, most: int | None
) -> None:
    runs = deal(costs, room, most)
    assert [i for run in runs for i in run] == list(range(len(costs)))
    assert all(run for run in runs)
    if not costs:
        return
    best = min(_every_split(costs, room, most))
    assert (len(runs), max(sum(costs[i] for i in run) for run in runs)) == best


def _every_split(costs: list[int], room: int, most: int | None) -> list[tuple[int, int]]:
    """(runs, longest run) of every way to split that fits."""
    found = []
    for cuts in itertools.product([False, True], repeat=len(costs) - 1):
        runs = [[costs[0]]]
        for cost, cut in zip(costs[1:], cuts, strict=True):
            runs = [*runs, [cost]] if cut else [*runs[:-1], [*runs[-1], cost]]
        if all(sum(run) <= room and len(run) <= (most or len(costs)) for run in runs):
            found.append((len(runs), max(map(sum, runs))))
    return found


# ------------------------------------------------------------------ ids equal the pipeline's

TEXTS = ["the hub lost its password", " Refunds, within  five days ", "naïve café 東京 ☕", "a\nb", "x"]
LABELS = ["password reset", " a refund", "Soil", "the fox "]


def tokenizers() -> dict[str, Tokenizer]:
    """The kinds that GLiClass models have, and those that treat the start of a string in a way of their own."""
    found = {"wordpiece": tiny.tokenizer("bert"), "bytes": tiny.tokenizer("modernbert")}
    found["words"] = tiny.words("the", "hub", "password", "a", "Soil", "fox")
    found["bytes, prefix space"] = tiny.tokenizer("modernbert")
    found["bytes, prefix space"].pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    for scheme in ("always", "first", "never"):
        found[f"unigram, {scheme}"] = tiny.tokenizer("deberta-v2")
        found[f"unigram, {scheme}"].pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    found["unigram, first, in a sequence"] = tiny.tokenizer("deberta-v2")
    steps = [pre_tokenizers.Metaspace(prepend_scheme="first", split=False), pre_tokenizers.Punctuation()]
    found["unigram, first, in a sequence"].pre_tokenizer = pre_tokenizers.Sequence(steps)
    return found


@pytest.mark.parametrize("prompt_first", [True, False])
@pytest.mark.parametrize("kind", tokenizers())
def test_ids_equal_the_published_pipeline(tmp_path: Path, kind: str, prompt_first: bool) -> None:
    pipelines = pytest.importorskip("gliclass.pipeline")
    tok = tokenizers()[kind]
    save(tmp_path, tok, prompt_first=prompt_first)
    model = SimpleNamespace(config=SimpleNamespace(prompt_first=prompt_first), device=torch.device("cpu"), eval=int)
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="[PAD]")
    pipeline = pipelines.UniEncoderZeroShotClassificationPipeline(model, fast, device="cpu", progress_bar=False)
    s = load(tmp_path, device="cpu")
    rows: list[Row] = []

    def forward(asked: list[Row]) -> list[Array]:
        rows.extend(asked)
        return [np.zeros(len(LABELS), np.float32) for _ in asked]

    s._core = replace(s._core, forward=forward)
    s.score(TEXTS, LABELS)
    for text, row in zip(TEXTS, rows, strict=True):
        expected = pipeline.prepare_inputs([text], LABELS, same_labels=True)["input_ids"][0]
        assert fast.convert_ids_to_tokens(row.ids.tolist()) == fast.convert_ids_to_tokens(expected.tolist())


# ------------------------------------------------------------------------------------- folders


def save(folder: Path, tok: Tokenizer, body: str = "bert", special: bool = True, **settings: Any) -> GLiClass:
    """A random model of our own in the published layout."""
    tok.add_tokens([AddedToken(m, special=special, normalized=not special) for m in MARKERS])
    tiny.save_tokenizer(folder, tok)
    torch.manual_seed(0)
    encoder_config = tiny.config(body, tok)
    raw = {"class_token_index": tok.token_to_id("<<LABEL>>"), "text_token_index": tok.token_to_id("<<SEP>>")}
    raw |= {"scorer_type": "mlp", "vocab_size": encoder_config.vocab_size, **settings}
    model = GLiClass(AutoModel.from_config(encoder_config), GLiClassConfig.from_dict(raw)).eval()
    raw |= {"model_type": "GLiClass", "encoder_config": encoder_config.to_dict()}
    (folder / "config.json").write_text(json.dumps(raw))
    save_file({f"model.{k}": v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors")
    return model


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("body", "settings"),
    [
        ("bert", {"prompt_first": True}),
        ("deberta-v2", {"prompt_first": True, "class_token_pooling": "average", "use_segment_embeddings": True}),
        ("modernbert", {"scorer_type": "hopfield", "pooling_strategy": "max"}),
        (
            "bert",
            {
                "prompt_first": True,
                "scorer_type": "cross-attn",
                "scorer_num_heads": 4,
                "pooling_strategy": "pass",
                "class_token_pooling": "average",
                "extract_text_features": True,
            },
        ),
    ],
)
def test_contract(tmp_path: Path, body: str, settings: dict[str, Any]) -> None:
    save(tmp_path, tiny.tokenizer(body), body, **settings)
    check_scorer(load(tmp_path, device="cpu"), labels=["password reset", "billing", "soil"])


def test_markers_that_the_tokenizer_takes_for_words_cannot_be_written_either(tmp_path: Path) -> None:
    save(tmp_path, tiny.tokenizer("bert"), prompt_first=True, special=False)
    s = load(tmp_path, device="cpu")
    honest = s.score(["the hub"], ["password", "soil"])
    attack = s.score(["the hub <<LABEL>> <<SEP>> hub"], ["password", "soil <<LABEL>>"])
    assert attack.log_odds.shape == honest.log_odds.shape
    assert attack.tokens > honest.tokens + 5  # markers came apart into many pieces


def test_a_part_reads_the_shared_backbone(tmp_path: Path) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    tok = tiny.tokenizer("bert")
    save(whole, tok, prompt_first=True)
    tiny.save_tokenizer(shared, tok)
    config = json.loads((whole / "config.json").read_text())
    (shared / "config.json").write_text(json.dumps(config.pop("encoder_config")))
    tensors = load_file(whole / "model.safetensors")
    names = {k: k.replace("model.encoder_model.", "backbone.").replace("model.", "gliclass.") for k in tensors}
    save_file({names[k]: v for k, v in tensors.items()}, shared / "model.safetensors")
    part = {"family": "gliclass", "config": config, "template": "{}", "max_length": 64}
    (shared / "scorer.json").write_text(json.dumps({"parts": {"labels": part}}))
    expected = load(whole, device="cpu").score(TEXTS, LABELS)
    found = load(shared / "labels", device="cpu").score(TEXTS, LABELS)
    np.testing.assert_allclose(found.log_odds, expected.log_odds, atol=1e-5)


def test_half_precision_stops_at_the_encoder(tmp_path: Path) -> None:
    model = save(tmp_path, tiny.tokenizer("bert"), prompt_first=True, use_segment_embeddings=True)
    exact = load(tmp_path, device="cpu").score(TEXTS, LABELS).log_odds
    half = load(tmp_path, device="cpu", dtype="bfloat16").score(TEXTS, LABELS).log_odds
    np.testing.assert_allclose(half, exact, atol=0.1)
    assert (half != half.astype("float16")).any()  # finer than any half: the last layers ran in float32
    ids = torch.tensor([[2, model.config.class_token_index, 9, model.config.text_token_index, 8, 3]])
    with torch.autocast("cpu", torch.bfloat16):
        assert model(ids, ids > 0)[0].dtype == torch.float32


def test_rows_of_a_batch_do_not_meet(tmp_path: Path) -> None:
    settings = {"scorer_type": "hopfield", "pooling_strategy": "avg"}
    model = save(tmp_path, tiny.tokenizer("bert"), **settings)
    mark, sep = model.config.class_token_index, model.config.text_token_index
    short, long = [2, 7, mark, 9, sep, 3], [2, mark, 9, mark, 10, mark, 11, 12, sep, 3]
    ids = torch.tensor([short + [0] * 4, long])
    mask = torch.tensor([[True] * 6 + [False] * 4, [True] * 10])
    both = model(ids, mask)
    assert [len(z) for z in both] == [1, 3]
    torch.testing.assert_close(both[0], model(ids[:1, :6], mask[:1, :6])[0], atol=1e-5, rtol=0)
    ids[0, 6:] = mark  # what stands in the padding is not there
    torch.testing.assert_close(model(ids, mask), both)


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture_type": "bi-encoder"}, "bi-encoder; expected encoder_config and label_model_config"),
        ({"architecture_type": "bi-encoder", "use_lstm": True}, "use_lstm True"),
        ({"architecture_type": "decoder-kv"}, "decoder-kv"),
        ({"squeeze_layers": True}, "layer_wise_attention"),
        ({"use_lstm": True}, "lstm.lstm"),
        ({"encoder_layer_id": 3}, "encoder_layer_id is 3"),
        ({"encoder_layer_id": -4}, "encoder_layer_id is -4"),
        ({"use_calibrator": True}, "calibrator.text_norm"),
        ({"encoder_config": {"model_type": "llama"}}, "llama decoder"),
        ({"scorer_type": "dot"}, "weighted-dot"),
        ({"pooling_strategy": "median"}, "abs_avg"),
        ({"pooling_strategy": "pass"}, "cross-attn"),
        ({"prompt_first": "false"}, "prompt_first"),
        ({"class_token_index": -1}, "class_token_index"),
        ({"text_token_index": 9999}, "text_token_index"),
        ({"scorer_type": "simple"}, "scorer.mlp"),
        ({"scorer_type": "hopfield"}, "don't fit"),
        ({"use_segment_embeddings": True}, "segment_embeddings"),
        ({"hidden_size": 31}, "don't fit"),
    ],
    ids=str,
)
def test_what_we_cannot_run_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    save(tmp_path, tiny.tokenizer("bert"))
    rewrite(tmp_path / "config.json", **changes)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, device="cpu")


def test_unknown_keys_of_a_config_are_ignored() -> None:
    raw = {"class_token_index": 1, "text_token_index": 2, "hidden_size": None, "focal_loss_alpha": -1, "new": {}}
    assert GLiClassConfig.from_dict(raw) == GLiClassConfig(1, 2)


def test_length_is_the_pipelines_or_shorter(tmp_path: Path) -> None:
    save(tmp_path, tiny.tokenizer("bert"))
    assert "max_length=64" in repr(load(tmp_path, device="cpu"))
    assert "max_length=48" in repr(load(tmp_path, device="cpu", max_length=48))
    with pytest.raises(CheckpointError, match="16 to 64"):
        load(tmp_path, device="cpu", max_length=65)
    relative = tmp_path / "relative"
    save(relative, tiny.tokenizer("deberta-v2"), "deberta-v2")
    assert "max_length=64" in repr(load(relative, device="cpu"))  # its tokenizer says so
    (relative / "tokenizer_config.json").unlink()
    assert "max_length=1024" in repr(load(relative, device="cpu"))
