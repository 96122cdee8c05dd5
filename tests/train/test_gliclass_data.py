"""GLiClass: what rows say, what is refused and where, and the prompts that are drawn of them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerFast

from headgate import DataError, load
from headgate.evaluate.rows import read_rows
from headgate.families.gliclass import GLiClassScorer
from headgate.models.gliclass import GLiClassConfig
from headgate.runtime.tokenizer import Tokenizer as OurTokenizer
from headgate.train.gliclass_data import Item, described, exactly_one, few, learnable, read_items, vocabulary
from headgate.train.gliclass_losses import PADDING
from headgate.train.gliclass_prompts import Drawing, Prompts, collate
from tests import tiny
from tests.families.test_gliclass import save

MARKERS = ("<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>")
WORDS = tiny.words(*(f"w{i}" for i in range(60)), *MARKERS)
LABEL, SEP, EXAMPLE = (WORDS.token_to_id(m) for m in MARKERS)
LENGTH = 32
PLAIN = Drawing(shuffle=False, drop=0.0)


def items(*rows: dict[str, Any], labels: tuple[str, ...] = ()) -> list[Item]:
    return read_items(read_rows(rows), labels)


def scorer(**config: Any) -> GLiClassScorer:
    parts = tiny.core(lambda rows: [], WORDS, max_length=LENGTH)
    parts = replace(parts, tokenizer=OurTokenizer(WORDS, markers=MARKERS))
    return GLiClassScorer(parts, GLiClassConfig(LABEL, SEP, **{"prompt_first": True} | config))


def prompts(found: list[Item], drawing: Drawing = PLAIN, seed: int = 0, **config: Any) -> Prompts:
    return Prompts(found, scorer(**config), drawing, seed, EXAMPLE)


def said(row: dict[str, Any]) -> str:
    return WORDS.decode(row["input_ids"], skip_special_tokens=False)


# ------------------------------------------------------------------------------------ reading


def test_both_layouts() -> None:
    found = items(
        {"text": "t", "all_labels": ["a", "b", "c"], "true_labels": ["c"]},
        {"text": "t", "all_labels": ["a", "b"], "true_labels": {"b": 0.25}, "prompt": "p", "_diversity": 1},
        {"text": "t", "all_labels": ["a"], "true_labels": [], "examples": [{"text": "e", "labels": ["x", "a"]}]},
        {"text": "t", "label": "b"},
        {"text": "t", "label": None},
        labels=("b", "d"),
    )
    assert [item.targets for item in found] == [
        {"a": 0, "b": 0, "c": 1},
        {"a": 0, "b": 0.25},
        {"a": 0},
        {"b": 1, "d": 0},
        {"b": 0, "d": 0},
    ]
    assert (found[1].prompt, found[2].examples) == ("p", (("e", ("x", "a")),))
    assert [item.place for item in found] == [f"row {n}" for n in range(1, 6)]


def test_labels_are_those_given_or_all_that_are_named() -> None:
    rows = read_rows([{"text": "t", "label": ["b", "a"]}, {"text": "t", "all_labels": ["z"], "true_labels": []}])
    assert vocabulary(rows, None, {"c": "d", "a": "e"}) == ["b", "a", "c"]
    assert vocabulary(rows, ["y"], {"c": "d"}) == ["y"]
    with pytest.raises(TypeError, match="a str"):
        vocabulary(rows, "yes", None)
    with pytest.raises(ValueError, match="twice"):
        vocabulary(rows, ["y", "y"], None)


GOOD = {"text": "t", "all_labels": ["a", "b"], "true_labels": ["a"]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": " "}, "'text' is ' '"),
        ({"true_labels": ["c"]}, r"names 'c', which is not among its labels \['a', 'b'\]"),
        ({"true_labels": {"c": 1.0}}, "names 'c'"),
        ({"true_labels": {"a": 1.5}}, "score 1.5"),
        ({"true_labels": {"a": float("nan")}}, "score nan"),
        ({"true_labels": {"a": True}}, "score True"),
        ({"all_labels": [], "true_labels": []}, "at least one"),
        ({"all_labels": ["a", ""]}, "'all_labels' is"),
        ({"prompt": 3}, "'prompt' is int"),
        ({"examples": ["e"]}, "'examples' is"),
        ({"examples": [{"text": "", "labels": []}]}, "example 1: 'text'"),
        ({"examples": [{"text": "e"}]}, "example 1: there is no 'true_labels'"),
    ],
    ids=str,
)
def test_a_wrong_row_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=f"row 2.*{words}"):
        items(GOOD, GOOD | changes)


def test_a_wrong_row_of_ours_is_named() -> None:
    with pytest.raises(DataError, match="row 1: 'label' names 'c'"):
        items({"text": "t", "label": "c"}, labels=("a", "b"))
    with pytest.raises(DataError, match="row 1: there is no 'label'"):
        items({"text": "t"})


def test_descriptions_are_texts_of_their_label() -> None:
    found = described({"a": ["one", "two"], "b": "three"}, ["a", "b", "c"])
    assert [(i.text, i.true, len(i.targets)) for i in found] == [
        ("one", ("a",), 3),
        ("two", ("a",), 3),
        ("three", ("b",), 3),
    ]
    with pytest.raises(DataError, match=r"descriptions, 'z', text 1.*'z'"):
        described({"z": "one"}, ["a"])
    with pytest.raises(DataError, match="descriptions, 'a', text 2"):
        described({"a": ["one", ""]}, ["a"])


def test_few_takes_so_many_of_every_label() -> None:
    names = [["a"], ["b"], ["c"], ["a", "b"], []]
    found = items(*({"text": f"t{i}", "label": names[i % 5]} for i in range(200)), labels=("a", "b", "c"))
    kept = few(found, 8, seed=0)
    for name in "abc":
        assert 8 <= sum(name in item.true for item in kept) <= 16
    assert sum(not item.true for item in kept) == 8
    assert kept == [item for item in found if item in kept]  # in their order
    assert kept == few(found, 8, seed=0) != few(found, 8, seed=1)
    assert few(found[:3], 8, seed=0) == found[:3]


def test_what_nothing_can_be_learned_from() -> None:
    with pytest.raises(DataError, match="all 2 rows are 'a'"):
        learnable(items(GOOD, GOOD), 0)
    true = [{"text": "t", "all_labels": [name], "true_labels": [name]} for name in "ab"]
    with pytest.raises(DataError, match="row 1 to row 2: every label of every row has score 1"):
        learnable(items(*true), 0)
    learnable(items(*true), 1)
    learnable(items(GOOD, GOOD | {"true_labels": {"a": 0.5}}), 0)


@pytest.mark.parametrize("truth", [[], ["a", "b"], {"a": 0.9}, {"a": 1, "b": 0.1}], ids=str)
def test_exactly_one(truth: Any) -> None:
    exactly_one(items(GOOD, {"text": "t", "all_labels": ["a"], "true_labels": ["a"]}))
    with pytest.raises(DataError, match="row 2: true are"):
        exactly_one(items(GOOD, GOOD | {"true_labels": truth}))


# ------------------------------------------------------------------------------------ drawing


def test_the_order_is_another_every_time_and_targets_go_with_their_labels() -> None:
    (item,) = items({"text": "t", "all_labels": [*"abcdef"], "true_labels": {"b": 0.5, "e": 1}})
    menus = [Drawing(drop=0).menu(item, [], random.Random(seed)) for seed in range(50)]
    assert all(menu == item.targets for menu in menus)  # as mappings
    assert len({tuple(menu) for menu in menus}) > 40
    assert {list(menu).index("b") for menu in menus} == set(range(6))
    assert list(Drawing(False, 0).menu(item, [], random.Random(0))) == [*"abcdef"]


def test_labels_are_dropped_with_the_probability_given() -> None:
    (item,) = items({"text": "t", "all_labels": [*"abcd"], "true_labels": ["b"]})
    menus = [Drawing(drop=0.3).menu(item, [], random.Random(seed)) for seed in range(2000)]
    assert all(menus)
    assert 0.28 < 1 - np.mean([len(menu) for menu in menus]) / 4 < 0.32
    assert 0.27 < np.mean(["b" not in menu for menu in menus]) < 0.33
    kept = [Drawing(drop=0.3, keep_true=True).menu(item, [], random.Random(seed)) for seed in range(200)]
    assert all("b" in menu for menu in kept)
    (single,) = items({"text": "t", "all_labels": ["a"], "true_labels": ["a"]})
    assert all(Drawing(drop=0.9).menu(single, [], random.Random(seed)) == {"a": 1} for seed in range(20))


def test_negatives_are_labels_of_other_rows() -> None:
    (item,) = items({"text": "t", "all_labels": ["a", "b"], "true_labels": ["a"]})
    menus = [Drawing(drop=0, negatives=3).menu(item, [*"abcdefg"], random.Random(seed)) for seed in range(200)]
    for menu in menus:
        assert len(menu) == 5
        assert menu | {"a": 0.0} == dict.fromkeys(menu, 0.0)
        assert menu["a"] == 1
    assert set().union(*menus) == set("abcdefg")
    assert len(Drawing(drop=0, negatives=9).menu(item, [*"abc"], random.Random(0))) == 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"drop": 1.0}, "drop is 1.0"), ({"negatives": -1}, "negatives is -1"), ({"max_labels": 0}, "max_labels is 0")],
    ids=str,
)
def test_drawings_that_make_no_sense(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Drawing(**wrong)


def test_draws_depend_on_seed_epoch_and_row_alone() -> None:
    found = items(*({"text": "w1", "all_labels": [f"w{i}" for i in range(8)], "true_labels": ["w3"]} for _ in range(4)))
    one, two, other = (prompts(found, Drawing(), seed) for seed in (0, 0, 1))
    first = [one[i] for i in range(4)]
    assert first == [two[i] for i in (0, 1, 2, 3)] == [one[i] for i in range(4)]
    assert len({said(row) for row in first}) == 4
    assert first != [other[i] for i in range(4)]
    two.epoch.fill_(1)
    assert first != [two[i] for i in range(4)]


# ------------------------------------------------------------------------------------ rows


def test_rows_are_the_prompts_of_the_scorer() -> None:
    row = {"text": "w1 w2", "all_labels": ["w3", "w4"], "true_labels": {"w4": 0.5}, "prompt": "w5 "}
    first, plain = items(row, row | {"prompt": "", "examples": [{"text": "w6", "labels": ["w7"]}]})
    assert said(prompts([first])[0]) == "[CLS] <<LABEL>> w3 <<LABEL>> w4 <<SEP>> w5 w1 w2 [SEP]"
    assert prompts([first])[0]["labels"] == [0, 0.5]
    shown = "<<EXAMPLE>> w6 [UNK] w7 <<SEP>> [SEP]"  # "Labels:" is no word of this vocabulary
    assert said(prompts([plain])[0]) == f"[CLS] <<LABEL>> w3 <<LABEL>> w4 <<SEP>> w1 w2 {shown}"
    assert said(prompts([first], prompt_first=False)[0]) == "[CLS] w1 w2 <<LABEL>> w3 <<LABEL>> w4 <<SEP>> w5 [SEP]"
    assert said(prompts([plain], prompt_first=False)[0]) == f"[CLS] w1 w2 <<LABEL>> w3 <<LABEL>> w4 <<SEP>> {shown}"


@pytest.mark.parametrize("prompt_first", [True, False])
def test_the_text_is_cut_and_nothing_else(prompt_first: bool) -> None:
    (item,) = items(
        {
            "text": "w1 <<LABEL>> [SEP] " + "w2 " * 50,
            "all_labels": ["w3", "w4 w5"],
            "true_labels": [],
            "prompt": "w6 w7 ",
            "examples": [{"text": "w8", "labels": ["w9"]}],
        }
    )
    row = prompts([item], prompt_first=prompt_first)[0]
    assert len(row["input_ids"]) == LENGTH
    words = said(row).split()
    for word in ("w3", "w4", "w5", "w6", "w7", "w8", "w9", "w1"):
        assert words.count(word) == 1
    assert [words.count(token) for token in (*MARKERS, "[CLS]", "[SEP]")] == [2, 2, 1, 1, 1]  # none from the text


def test_labels_that_do_not_fit_are_left_out_false_ones_first() -> None:
    names = [f"w{i}" for i in range(20)]
    (item,) = items({"text": "w30 " * 40, "all_labels": names, "true_labels": ["w3", "w17"]})
    seen = set()
    for epoch in range(30):
        found = prompts([item])
        found.epoch.fill_(epoch)
        row = found[0]
        words = said(row).split()
        shown = [w for w in names if w in words]
        assert len(shown) == len(row["labels"]) == 10  # 32 tokens, less 3 special ones and 8 for the text
        assert [w for w, t in zip(shown, row["labels"], strict=True) if t] == ["w3", "w17"]
        assert words.count("w30") == 9
        seen |= set(shown)
    assert seen == set(names)
    assert len(prompts([item], Drawing(max_labels=3))[0]["labels"]) == 3
    assert len(prompts([item], max_labels_alloc=4)[0]["labels"]) == 4
    assert len(prompts([item], max_labels_alloc="fixed", max_num_classes=5)[0]["labels"]) == 5


def test_a_label_that_leaves_the_text_no_room_is_named() -> None:
    row = {"text": "w1", "all_labels": ["w2 " * 20], "true_labels": []}
    prompts(items(GOOD, row))
    with pytest.raises(DataError, match=r"row 2: label 'w2 .*takes 22 tokens.*room for 21"):
        prompts(items(GOOD, row | {"all_labels": ["w2 " * 21]}))
    for prompt_first in (True, False):
        with pytest.raises(DataError, match=r"row 2.*room for 20"):
            prompts(items(GOOD, row | {"prompt": "w3 "}), prompt_first=prompt_first)


def test_examples_need_a_marker() -> None:
    found = items(GOOD, GOOD | {"examples": [{"text": "e", "labels": []}]})
    prompts(found)
    with pytest.raises(DataError, match=r"row 2.*no marker"):
        Prompts(found, scorer(), PLAIN, 0, None)
    with pytest.raises(DataError, match=r"row 2.*segments"):
        prompts(found, use_segment_embeddings=True)


def test_the_template_is_the_scorers() -> None:
    parts = tiny.core(lambda rows: [], WORDS, max_length=LENGTH, template="w9 {}")
    found = Prompts(
        items(GOOD | {"all_labels": ["w1"], "true_labels": []}),
        GLiClassScorer(parts, GLiClassConfig(LABEL, SEP, prompt_first=True)),
        PLAIN,
        0,
        None,
    )
    assert "<<LABEL>> w9 w1" in said(found[0])


def test_batches_are_padded() -> None:
    batch = collate([{"input_ids": [5, 6, 7], "labels": [1.0]}, {"input_ids": [8], "labels": [0.0, 0.5]}], fill=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["mask"].tolist() == [[True] * 3, [True, False, False]]
    assert batch["labels"].tolist() == [[1, PADDING], [0, 0.5]]


# ------------------------------------------------------------------------------ ids equal the package's


def tokenizer(body: str) -> Tokenizer:
    tok = tiny.tokenizer(body)
    tok.add_special_tokens([AddedToken(m, special=True, normalized=False) for m in MARKERS])
    return tok


@pytest.mark.parametrize("prompt_first", [True, False])
@pytest.mark.parametrize("body", ["bert", "deberta-v2", "modernbert"])
def test_ids_and_targets_equal_the_published_data_set(tmp_path: Path, body: str, prompt_first: bool) -> None:
    published = pytest.importorskip("gliclass.data_processing")
    save(tmp_path, tokenizer(body), body, prompt_first=prompt_first)
    rows = [
        {"text": "the hub lost", "all_labels": ["Soil", "a refund"], "true_labels": ["a refund"]},
        {
            "text": " naïve  café",
            "all_labels": ["password", "x y", "z"],
            "true_labels": {"z": 0.25, "x y": 1.0},
            "prompt": "is it about ",
        },
        {
            "text": "paid twice",
            "all_labels": ["fox"],
            "true_labels": [],
            "prompt": "This: ",
            "examples": [{"text": "the fox", "labels": ["fox", "dog"]}],
        },
    ]
    fast = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), pad_token="[PAD]")
    config = published.AugmentationConfig(enabled=False)
    reference = published.GLiClassDataset(
        rows, fast, config, max_length=128, prompt_first=prompt_first, shuffle_labels=False
    )
    ours = load(tmp_path, device="cpu")
    ours._core = replace(ours._core, max_length=128)
    ours = Prompts(items(*rows), ours, PLAIN, 0, tokenizer(body).token_to_id(MARKERS[2]))
    for found, row in zip((ours[i] for i in range(3)), rows, strict=True):
        expected = reference.tokenize_and_prepare_labels_for_uniencoder(row)
        assert fast.convert_ids_to_tokens(found["input_ids"]) == fast.convert_ids_to_tokens(expected["input_ids"])
        torch.testing.assert_close(torch.tensor(found["labels"]), expected["labels"])
