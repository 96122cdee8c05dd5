"""Cross-encoders: what stands in a row, which class is read, what long texts and long labels do."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import CheckpointError, Label, LabelError, LabelTooLongError, ScorerError, load
from headgate.families.cross_encoder import Classes, CrossEncoder, class_names
from headgate.scores import Ask, class_log_odds, judge
from headgate.testing import check_scorer
from tests import tiny

VOCABULARY = [f"w{i}" for i in range(150)]
WORDS = tiny.words(*VOCABULARY, "needle", "hay", "about", "{}", "{x}")
ENTAILMENT = {"needle": [0, 0, 6], "hay": [0.5, 0, 0], "w3": [1, 0, 2]}
NAMES = ("contradiction", "neutral", "entailment")
LENGTH = 32


def scorer(
    worth: dict[str, list[float]] = ENTAILMENT, names: tuple[str, ...] = NAMES, template: str = "about {}"
) -> tuple[CrossEncoder, tiny.Reacts]:
    forward = tiny.Reacts(WORDS, worth, len(names))
    return CrossEncoder(tiny.core(forward, WORDS, template=template, max_length=LENGTH), Classes(names)), forward


def long_text(at: int, words: int = 200) -> str:
    fill = [VOCABULARY[i % 3] for i in range(words)]
    fill[at] = "needle"
    return "  ".join(fill)


def test_nli_reads_text_then_hypothesis_and_a_ranker_query_then_text() -> None:
    nli, forward = scorer()
    nli.score(["w1 w2"], ["w3"])
    assert forward.read(WORDS) == ["[CLS] w1 w2 [SEP] about w3 [SEP]"]
    ranker, forward = scorer({}, ("relevance",), "{}")
    ranker.score(["w1 w2"], ["w3"])
    assert forward.read(WORDS) == ["[CLS] w3 [SEP] w1 w2 [SEP]"]


@given(st.integers(0, 199))
def test_a_sentence_planted_anywhere_is_found(at: int) -> None:
    nli, forward = scorer()
    text = long_text(at)
    scores = nli.score([text, "needle", "w1"], ["w5"])
    assert scores.log_odds[0, 0] == pytest.approx(scores.log_odds[1, 0])  # as high as if it stood alone
    start, end = scores.spans[0, 0]
    assert "needle" in text[start:end]
    assert end - start < len(text) / 4
    assert scores.windows[:, 0].tolist() == [len(forward.rows) - 2, 1, 1]
    assert scores.tokens.tolist() == [200, 1, 1]


def test_no_token_of_text_or_label_is_lost() -> None:
    nli, forward = scorer()
    nli.score([" ".join(VOCABULARY)], ["w1 w2 w3 needle"])
    rows = [r.removeprefix("[CLS] ").split(" [SEP] ") for r in forward.read(WORDS)]
    assert all(label == "about w1 w2 w3 needle [SEP]" for _, label in rows)
    assert {w for piece, _ in rows for w in piece.split()} == set(VOCABULARY)
    assert all(f" {piece} " in f" {' '.join(VOCABULARY)} " for piece, _ in rows)  # each is a run of the text
    assert {len(r.ids) for r in forward.rows} == {LENGTH}


def test_a_hundred_thousand_characters() -> None:
    nli, forward = scorer()
    text = "w1 " * 33_330 + "needle [SEP]"
    assert len(text) > 100_000
    scores = nli.score([text], ["w5"])
    assert scores.log_odds[0, 0] == pytest.approx(nli.score(["needle"], ["w5"]).log_odds[0, 0])
    assert text[slice(*scores.spans[0, 0])].endswith("needle [SEP]")
    assert scores.tokens[0] == 33_332
    separator = WORDS.token_to_id("[SEP]")
    assert {int((r.ids == separator).sum()) for r in forward.rows} == {2}  # the text's own is plain text


@pytest.mark.parametrize(("words", "fits"), [(20, True), (21, False), (40, False)])
def test_a_label_leaves_a_quarter_to_the_text(words: int, fits: bool) -> None:
    nli, _ = scorer()  # 32 tokens, 3 special ones, "about": room for 8 behind 20
    label = " ".join(["w1"] * words)
    if fits:
        assert nli.score([long_text(50)], [label]).windows[0, 0] > 1
        return
    with pytest.raises(LabelTooLongError, match=rf"takes {words + 4} tokens of 32; expected at most 24.*Shorten"):
        nli.score(["w1"], ["w2", label])


def log_odds(names: tuple[str, ...], label: Label) -> float:
    values = {"needle": [1.0, -2.0, 4.0][: len(names)]}
    return float(scorer(values, names)[0].score(["needle"], [label]).log_odds[0, 0])


@pytest.mark.parametrize("names", [*itertools.permutations(NAMES), ("Entailment", "NEUTRAL", "Contradicts")])
def test_three_classes_by_name(names: tuple[str, ...]) -> None:
    for relation, start in (("entailment", "entail"), ("contradiction", "contrad")):
        at = next(i for i, n in enumerate(names) if n.lower().startswith(start))
        expected = class_log_odds([1.0, -2.0, 4.0], at)
        assert log_odds(names, Label("w1", relation=relation)) == pytest.approx(expected)  # type: ignore[arg-type]
    both = [Label("w1"), Label("w1", relation="contradiction")]
    together = scorer({"needle": [1.0, -2.0, 4.0]}, names)[0].score(["needle"], both).log_odds[0]
    assert together.tolist() == [log_odds(names, label) for label in both]


@pytest.mark.parametrize(
    "names", [("entailment", "not_entailment"), ("not_entailment", "entailment"), ("no", "entail")]
)
def test_two_classes_by_name(names: tuple[str, ...]) -> None:
    at = next(i for i, n in enumerate(names) if n.startswith("entail"))
    assert log_odds(names, Label("w1")) == pytest.approx((1.0, -2.0)[at] - (1.0, -2.0)[1 - at])
    assert log_odds(names, Label("w1", relation="contradiction")) == pytest.approx(-log_odds(names, Label("w1")))


def test_relations_that_are_not_there() -> None:
    with pytest.raises(LabelError, match=r"contradiction.*'other'"):
        log_odds(("entailment", "neutral", "other"), Label("w1", relation="contradiction"))
    with pytest.raises(LabelError, match="one logit"):
        log_odds(("relevance",), Label("w1", relation="contradiction"))


@pytest.mark.parametrize(
    "names", [("yes", "no"), ("a", "b", "c"), ("entailment",), ("entailment", "entailed"), ("entailment", *"abc")]
)
def test_class_maps_that_name_no_single_entailment(names: tuple[str, ...]) -> None:
    with pytest.raises(CheckpointError, match=r"starts with 'entail'.*classes="):
        Classes(names)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"id2label": {"10": "c", "2": "b", "0": "a"}}, ("a", "b", "c")),  # by number, not by letter
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, ()),
        ({}, ()),
        ({"id2label": None}, ()),
        ({"id2label": {"0": "LABEL_0"}, "sentence_transformers": {"version": "4.1.0"}}, ("relevance",)),
        ({"id2label": {"0": "LABEL_0"}, "sbert_ce_default_activation_function": "Identity"}, ("relevance",)),
        ({"id2label": {"0": "entailment", "1": "x"}, "sentence_transformers": {}}, ("entailment", "x")),
    ],
)
def test_class_names(config: dict[str, object], expected: tuple[str, ...]) -> None:
    assert class_names(config) == expected


@pytest.mark.parametrize(
    ("template", "label", "expected"),
    [
        ("about {}", "w1", "about w1"),
        ("{} about", "w1", "w1 about"),
        ("{}", "{}", "{}"),  # braces in a label are text
        ("about {}", "{x} w1", "about {x} w1"),
        ("{x} {}", "w1", "{x} w1"),  # and so are other braces of a template
        ("about {}", Label("w1", verbatim=True), "w1"),
        ("about {}", Label("{}", verbatim=True), "{}"),
    ],
)
def test_templates(template: str, label: str | Label, expected: str) -> None:
    nli, forward = scorer(template=template)
    nli.score(["w2"], [label])
    assert forward.read(WORDS) == [f"[CLS] w2 [SEP] {expected} [SEP]"]


@pytest.mark.parametrize("template", ["about", "", "{} and {}", "{0}"])
def test_templates_without_a_place(template: str) -> None:
    with pytest.raises(ValueError, match=r'expected one "\{\}"'):
        scorer(template=template)


@pytest.mark.parametrize("words", [1, 12, 13, 24, 100])
def test_a_long_query_splits_into_parts_that_fit(words: int) -> None:
    nli, forward = scorer()  # half of 32 tokens, less "about" and three special ones: 12
    parts = nli.split_label("  ".join(VOCABULARY[:words]))
    assert len(parts) == -(-words // 12)
    assert list(dict.fromkeys(w for part in parts for w in part.split())) == VOCABULARY[:words]
    nli.score(["w1"], parts)
    assert all(len(r.ids) <= LENGTH for r in forward.rows)


@pytest.mark.parametrize("window", range(4))
def test_nan_in_any_window_is_refused(window: int) -> None:
    text = " ".join(VOCABULARY[i // 25] for i in range(100))
    nli, forward = scorer({f"w{window}": [0, 0, float("nan")]})
    with pytest.raises(ScorerError, match="nan"):
        judge(nli, [Ask([text], ["w9"])])
    assert len(forward.rows) > 3


def test_contract_and_nothing_to_do() -> None:
    nli, forward = scorer()
    check_scorer(nli, labels=["w3", "w4 needle"])
    forward.rows.clear()
    assert nli.score([], ["w1", "w2"]).log_odds.shape == (0, 2)
    assert nli.score_many([]) == []
    assert forward.rows == []
    empty = nli.score(["", "needle", " \n"], ["w1"])
    assert empty.empty.tolist() == [True, False, True]
    assert empty.log_odds[:, 0].argmax() == 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("nli")
    tiny.cross_encoder(where, "bert", {0: "entailment", 1: "neutral", 2: "contradiction"})
    return where


def renamed(saved: Path, folder: Path, **config: object) -> Path:
    shutil.copytree(saved, folder, dirs_exist_ok=True)
    old = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**old, "label2id": None, **config}))
    return folder


def test_the_callers_classes_come_first(saved: Path, tmp_path: Path) -> None:
    """Given in another order, they give what a folder with that order would."""
    own = load(saved, template="{}", device="cpu")
    named = own.score(tiny.TEXTS[:2], tiny.LABELS).log_odds
    numbered = renamed(saved, tmp_path, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
    given = load(numbered, template="{}", classes=["entailment", "neutral", "contradiction"], device="cpu")
    np.testing.assert_allclose(given.score(tiny.TEXTS[:2], tiny.LABELS).log_odds, named, atol=1e-6)
    other = load(saved, template="{}", classes=["neutral", "entailment", "contradiction"], device="cpu")
    swapped = other.score(tiny.TEXTS[:2], tiny.LABELS).log_odds
    assert np.abs(swapped - named).max() > 0.1
    assert other.fingerprint != own.fingerprint


@pytest.mark.parametrize("names", [{"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, {"0": "a", "1": "b", "2": "c"}])
def test_a_map_without_entailment_asks(saved: Path, tmp_path: Path, names: dict[str, str]) -> None:
    folder = renamed(saved, tmp_path, id2label=names)
    with pytest.raises(CheckpointError, match=r"classes=\["):
        load(folder, template="{}")
    with pytest.raises(CheckpointError, match="classes="):
        load(folder, template="{}", family="cross_encoder")


def test_one_logit_may_be_many_things(tmp_path: Path) -> None:
    tiny.cross_encoder(tmp_path, "bert", {0: "LABEL_0"})
    with pytest.raises(CheckpointError, match=r'classes=\["relevance"\]\) for a ranker'):
        load(tmp_path)
    marked = renamed(tmp_path, tmp_path / "marked", sentence_transformers={"version": "5.0.0"})
    scores = load(marked, device="cpu").score(["the hub"], ["soil"])
    assert scores.meaning == "order"


def test_no_template_asks_for_one(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="template="):
        load(saved)


def test_too_many_or_too_few_classes(saved: Path) -> None:
    for classes in (["entailment", "not_entailment"], ["relevance"]):
        with pytest.raises(CheckpointError, match="don't fit"):
            load(saved, template="{}", classes=classes)
