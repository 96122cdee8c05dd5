"""What mini's training may read, what is measured on made-up test rows, and what the model card says of both."""

import argparse
import json
import math
import random
import re
import runpy
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from headgate import Reranker, Router, evaluate, load
from headgate.testing import ToyScorer
from headgate.train.mini import examples, heldout, report
from headgate.train.mini.card import card
from headgate.train.mini.data import SOURCES, Reader
from headgate.train.mini.heldout import RERANK, Parts, candidates
from tests import tiny
from tests.train.mini_data import sentence, write

SECRET = "marmalade"
"""In every text of the made-up rows, and nowhere else."""
GUARDED = {
    "jailbreak_prompts": ("jailbreak", "benign"),
    "harmful_prompts": ("harmful", "benign"),
    "prompt_injections_deepset": ("injection", "benign"),
    "bipia_indirect_injection": ("injection", "benign"),
    "edos_sexism": ("sexist", "not sexist"),
    "paradetox": ("toxic", "neutral"),
    "hatecheck": ("hateful", "non-hateful"),
    "hate_offensive_davidson": ("hate", "neither"),
}
NLI = (("mnli", "dev"), ("mnli", "test"), ("snli", "test"), ("snli", "test_hard"), ("anli", "test"))
OLD = {"routing": {"banking77": {"rows": 9, "route": 0.123}}, "nli": {"of another edition": {"rows": 9}}}

# ------------------------------------------------------------------------------- what may be read


def test_passages_of_evaluation_queries_and_repeated_texts_are_left_out(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(20)]
    texts = {"dev": "A", "test": "B", "same": "Wholly the same!", "long": f"So: {' '.join(words[3:16])}.", "kept": "C"}
    corpus = [{"doc_id": key, "title": f"On {key}", "text": text} for key, text in texts.items()]
    write(tmp_path, "nq", "corpus", [*corpus, {"doc_id": "short", "title": None, "text": " ".join(words[3:15])}])
    write(tmp_path, "nq", "train", [{"query": "a query", "positives": {"kept": 1}}])
    write(tmp_path, "nq", "dev", [{"query": "one", "positives": {"dev": 1}}])
    write(tmp_path, "nq", "test", [{"query": "two", "positives": {"test": 1}}])
    write(tmp_path, "other", "test", [{"text": " ".join(words)}, {"text": "wholly the SAME"}])
    reader = Reader(tmp_path)
    assert reader.passages("nq") == {"kept": ("On kept", "C"), "short": ("", " ".join(words[3:15]))}
    assert reader.dropped == {"nq": 2}


def test_a_row_that_shares_thirteen_words_with_a_test_row_is_dropped(data: Path, tmp_path: Path) -> None:
    root = shutil.copytree(data, tmp_path / "data")
    words = [f"word{i}" for i in range(30)]
    twelve, thirteen = (f"Well, {' '.join(words[4 : 4 + number])} then" for number in (12, 13))
    write(root, "anli", "test", [{"premise": " ".join(words), "hypothesis": "No.", "label": "neutral"}])
    write(root, "snips", "train", [{"text": thirteen, "label": "PlayMusic"}, {"text": twelve, "label": "PlayMusic"}])
    found = examples.load(root)
    assert [item.text for item in found.choices["snips"]] == [twelve]
    assert found.dropped == {"snips": 1, "clinc150": 1}


def test_no_query_has_a_positive_among_its_negatives(tmp_path: Path, data: Path) -> None:
    root = shutil.copytree(data, tmp_path / "data")
    mixed = {"query": "mixed", "positives": {"d0": 1, "d1": 1}, "negatives": ["d1", "d2", "d0"]}
    alone = {"query": "no negative is left", "positives": {"d0": 1, "d1": 1}, "negatives": ["d1", "d0"]}
    write(root, "nq_passages", "train", [mixed, alone])
    text_of = {key: f"{title} {text}" for key, (title, text) in Reader(root).passages("nq_passages").items()}
    (query,) = examples.load(root).queries["nq_passages"]
    assert query == ("mixed", text_of["d0"], (text_of["d2"],))


def test_the_card_names_every_set_that_is_read_and_no_other(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    for way in ("train", "passages"):
        whole = getattr(Reader, way)
        monkeypatch.setattr(
            Reader, way, lambda self, name, *a, whole=whole, **k: read.add(name) or whole(self, name, *a, **k)
        )
    examples.load(data)
    assert read == {source.name for source in SOURCES}
    lines = card({}, {}).splitlines()
    first = lines.index("| set | tier | licence | parts |") + 2
    listed = [tuple(line.strip("| ").split(" | ")) for line in lines[first : first + len(SOURCES)]]
    assert listed == [tuple(source) for source in SOURCES]
    assert lines[first + len(SOURCES)] == ""


# ------------------------------------------------------------------------------- what is measured


def test_candidates_keep_their_order_and_judged_documents_beyond_them_are_missed(tmp_path: Path) -> None:
    grades = {"c": 2, "a": 1, "no text": 1, "not retrieved": 3, "judged irrelevant": 0, "b": -1}
    write(tmp_path, "set", "test", [{"query_id": "q", "query": "which", "candidates": ["c", "no text", "b", "a"]}])
    write(tmp_path, "set", "corpus", [{"doc_id": d, "title": d.upper(), "text": f"text {d}"} for d in "abcd"])
    write(tmp_path, "set", "qrels", [{"query_id": "q", "doc_id": "a", "relevance": 9}])
    judged = [{"query_id": "q", "doc_id": doc, "relevance": grade} for doc, grade in grades.items()]
    write(tmp_path, "set", "full_qrels", [*judged, {"query_id": "another", "doc_id": "b", "relevance": 3}])
    parts = Parts(tmp_path, tmp_path)
    documents = [("C text c", 2), ("B text b", 0), ("A text a", 1)]
    for each, number, missed in ((9, 3, [1, 3]), (1, 1, [1, 1, 3])):
        (found,) = candidates(parts, "set", 5, each=each)
        assert found["query"] == "which"
        assert [(d["text"], d["relevance"]) for d in found["documents"]] == documents[:number]
        assert sorted(found["missed"]) == missed


def held_out_rows(root: Path) -> None:
    """Test rows for reranking, guards and nli, as the held-out tests read them."""
    rng = random.Random(5)

    def text() -> str:
        return f"{SECRET} {sentence(rng)}"

    for name in RERANK:
        docs = [{"doc_id": f"d{i}", "title": "", "text": text()} for i in range(8)]
        asked = [{"query_id": f"q{i}", "query": text(), "candidates": ["d2", "d1", "d0"]} for i in range(4)]
        relevant = {"trec_dl19": "d2", "trec_dl20": "d7"}.get(name, "d1")
        write(root, name, "corpus", docs)
        write(root, name, "test", asked)
        write(root, name, "qrels", [{"query_id": q["query_id"], "doc_id": relevant, "relevance": 1} for q in asked])
    for name, labels in GUARDED.items():
        write(root, name, "test", [{"text": text(), "label": labels[i % 2]} for i in range(8)])
    write(root, "xstest", "test", [{"text": text(), "label": label} for label in ("safe", "unsafe", "safe")])
    kinds: list[list[str]] = [["hate"], [], ["harassment/threatening"], [], ["self-harm"]]
    write(root, "openai_moderation", "test", [{"text": text(), "labels": labels} for labels in kinds])
    three = ("entailment", "neutral", "contradiction")
    for name, split in (*NLI, ("vitaminc_real", "test"), ("xnli", "test")):
        number = 30 if (name, split) == ("mnli", "test") else 6
        found = [{"premise": text(), "hypothesis": text(), "label": three[i % 3]} for i in range(number)]
        foreign = [{**row, "lang": "de"} for row in found[:4]] if name == "xnli" else []
        write(root, name, split, found + foreign)


@pytest.fixture(scope="module")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Namespace:
    """One run of the report over three suites."""
    out, root, base = (tmp_path_factory.mktemp(name) for name in ("report", "tests", "untrained"))
    tiny.sentence_encoder(base)
    held_out_rows(root)
    paths = {name: out / name for name in ("figures", "html", "card")}
    paths["figures"].write_text(json.dumps(OLD))
    given = ["--folder", folder, "--data", root, *(w for name, path in paths.items() for w in (f"--{name}", path))]
    given += ["--only", "reranking", "guards", "nli", "--scale", 0.001, "--threads", torch.get_num_threads()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heldout, "base_folder", lambda _: base)
        patch.setattr(heldout, "_base", heldout._base.__wrapped__)  # without its cache
        report.main([str(word) for word in given])
    return Namespace(root=root, **{name: path.read_text(encoding="utf-8") for name, path in paths.items()})


def test_the_figures_of_suites_not_asked_for_survive(measured: Namespace) -> None:
    figures = json.loads(measured.figures)
    assert figures.keys() == {"routing", "nli", "reranking", "guards"}
    assert figures["routing"] == OLD["routing"]
    assert "of another edition" not in figures["nli"]


def test_the_figures_are_those_of_the_rows(measured: Namespace, folder: Path) -> None:
    figures, parts = json.loads(measured.figures), Parts(folder, measured.root)
    inferred = figures["nli"]
    assert {name: row["rows"] for name, row in inferred.items()} == {
        **dict.fromkeys((*(" ".join(pair) for pair in NLI), "vitaminc_real test", "xnli test"), 6),
        "mnli test": 20,  # of 30: the smallest sample at any scale
    }
    expected = evaluate.pairs(load(folder / "nli"), parts.rows("snli", "test_hard")).figures[0].value
    assert inferred["snli test_hard"]["accuracy"] == pytest.approx(expected, abs=1e-4)

    ranked = figures["reranking"]
    assert list(ranked) == list(RERANK)
    firsts = [row["first stage"] for row in ranked.values()]
    assert firsts == pytest.approx([1, 0, *[1 / math.log2(3)] * 4], abs=1e-4)
    reranker, gains = Reranker(load(folder / "rank")), []
    for query in candidates(parts, "scifact", 99):
        hits = reranker(query["query"], [d["text"] for d in query["documents"]])
        gains.append(1 / math.log2(2 + [hit.index for hit in hits].index(1)))
    assert ranked["scifact"]["rank"] == pytest.approx(sum(gains) / 4, abs=1e-4)
    assert ranked["trec_dl20"]["rank"] == ranked["trec_dl20"]["base"] == 0

    guarded, scorer = figures["guards"], load(folder / "heads")
    assert [title.split(", ")[0] for title in guarded] == [*GUARDED, "openai_moderation"]
    assert guarded["openai_moderation, toxicity:toxic"]["rows"] == 4  # the fifth breaks another rule
    assert all(scorer.labels and title.split(", ")[1] in scorer.labels for title in guarded)
    for name, label, column in (("hatecheck", "hateful", "recall"), ("hatecheck", "non-hateful", "false positives")):
        texts = [row["text"] for row in parts.rows(name, "test") if row["label"] == label]
        fired = scorer.score(texts, ["toxicity:toxic"]).probabilities >= 0.5
        assert guarded["hatecheck, toxicity:toxic"][f"{column} at its threshold"] == pytest.approx(fired.mean())


def test_the_html_shows_the_reports_without_texts_of_the_rows(measured: Namespace) -> None:
    assert "nDCG@10" in measured.html
    assert "toxicity:toxic" in measured.html
    assert SECRET not in measured.html


def test_the_card_shows_the_figures(measured: Namespace) -> None:
    figures = json.loads(measured.figures)
    accuracy = figures["nli"]["mnli dev"]["accuracy"]
    assert re.search(rf"^\| mnli dev \(source seen by the base\) \| 6 \| {accuracy:.3f} \|$", measured.card, re.M)
    assert re.search(r"^\| wikiqa \| 4 \| 0\.631 \| ", measured.card, re.M)
    for title, row in figures["guards"].items():
        assert f"| {title} | {row['rows']} | {row['recall at 1 % false positives']:.3f} |" in measured.card
    assert "| banking77 | 9 | 0.123 |" in measured.card
    assert SECRET not in measured.card


def test_a_table_shows_what_fits_no_route() -> None:
    rows = [{"text": f"pay the bill {i}", "label": "bill"} for i in range(6)] + [
        {"text": "pay the rain", "label": None}
    ]
    rows += [{"text": f"where is the parcel {i}", "label": "parcel"} for i in range(6)] + [
        {"text": "oh", "label": None}
    ]
    found = evaluate.route(Router(ToyScorer(), {"bill": "bill", "parcel": "parcel"}), rows, seed=0)
    cells = report._cells(found, "")
    assert cells["in-scope accuracy"] == round(found["in-scope accuracy"], 4) == 1.0
    assert cells["AUROC of out-of-scope"] == round(found["AUROC, in scope against out"], 4) == 1.0
    assert cells["recall at 95 % retention"] == round(found["out-of-scope recall at 95% in-scope retention"], 4) == 1.0


# ------------------------------------------------------------------------- what the card commands


def commands() -> list[list[str]]:
    found = re.findall(r"^ +python -m (.+)$", card({"nli": {}}, {}), re.M)
    return [line.split("#")[0].split() for line in found]


class Parsed(Exception):
    """The command line was understood: as far as a test of it goes."""


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_of_the_card_are_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: Any) -> Namespace:
        raise Parsed(parse(self, *given))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.delitem(sys.modules, words[0], raising=False)  # runpy warns of what is imported already
    with pytest.raises(Parsed):
        runpy.run_module(words[0], run_name="__main__")


def test_the_card_has_the_commands_that_make_the_folder() -> None:
    made = "headgate.train.mini"
    assert [words[0] for words in commands()] == [made, made, made, made, f"{made}.export", f"{made}.finish"]
