"""How rows become pairs, and that what is wrong with them is said by row before anything is trained."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from headgate import DataError
from headgate.evaluate.rows import read_rows
from headgate.families.cross_encoder import Classes
from headgate.train.common import start
from headgate.train.cross_encoder_data import NOT_ENTAILED, UNKNOWN, Collate, Example, Item, Reading, items
from tests import tiny

NLI = Classes(("entailment", "neutral", "contradiction"))
TWO = Classes(("entailment", "not_entailment"))
RANKER = Classes(("relevance",))
GOOD = {"query": "q", "documents": [{"text": "a", "relevance": 1}, {"text": "b", "relevance": 0}]}
PAIR = {"premise": "p", "hypothesis": "h", "label": "entailment"}


def read(classes: Classes, rows: Sequence[dict[str, Any]], **more: Any) -> list[Example]:
    return Reading(classes, **{"template": "{}", **more}).examples(read_rows(rows))


def query(*documents: tuple[object, object]) -> dict[str, Any]:
    return {"query": "q", "documents": [{"text": t, "relevance": r} for t, r in documents]}


WRONG: list[tuple[Classes, dict[str, Any], str]] = [
    (NLI, {**PAIR, "label": "maybe"}, r"row 2: \"label\" is 'maybe'; expected one of .*neutral"),
    (NLI, {**PAIR, "label": None}, r"row 2: \"label\" is None"),
    (NLI, {**PAIR, "label": ["entailment", "neutral"]}, 'row 2: "label" is'),
    (NLI, {"premise": "p", "hypothesis": "h"}, "row 2: there is no 'label'"),
    (NLI, {**PAIR, "premise": " \n"}, r"row 2: 'premise' is ' \\n'; expected a text"),
    (NLI, {**PAIR, "hypothesis": ""}, "row 2: 'hypothesis' is ''"),
    (NLI, GOOD, "row 2 has .*expected rows of one kind"),
    (NLI, {"words": "x"}, "row 2 has .*expected rows of one kind"),
    (RANKER, {**GOOD, "query": ""}, "row 2: 'query' is ''"),
    (RANKER, {"query": "q", "documents": []}, 'row 2: "documents" is \\[\\]'),
    (RANKER, {"query": "q", "documents": ["a", "b"]}, 'row 2: "documents" is'),
    (RANKER, query(("a", 1), ("  ", 0)), "row 2, document 2: 'text' is '  '"),
    (RANKER, query(("a", 1), ("b", None)), 'row 2, document 2: "relevance" is None'),
    (RANKER, query(("a", 1), ("b", -1)), 'row 2, document 2: "relevance" is -1'),
    (RANKER, query(("a", float("nan")), ("b", 0)), 'row 2, document 1: "relevance" is nan'),
    (RANKER, query(("a", 0), ("b", 0)), "row 2: all 2 documents have relevance 0; .*mine_negatives"),
    (RANKER, query(("a", 2)), "row 2: all 1 documents have relevance 2"),
    (RANKER, query(("a", 1), ("b", 0), ("a", 0)), "row 2: a document came twice"),
]


@pytest.mark.parametrize(("classes", "row", "said"), WRONG)
def test_wrong_row_is_refused_by_its_number(classes: Classes, row: dict[str, Any], said: str) -> None:
    good = GOOD if classes.ranker else PAIR
    with pytest.raises(DataError, match=said):
        read(classes, [good, row])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([PAIR, PAIR], "all 2 rows are 'entailment'"),
        ([{**PAIR, "label": "not_entailment"}], "all 1 rows are 'not entailed'"),
        ([{"text": "t", "label": "only"}, {"text": "u", "label": "only"}], "all 2 rows are 'entailment'"),
    ],
)
def test_one_class_alone_is_refused(rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(NLI, rows)


def test_a_ranker_refuses_pairs() -> None:
    with pytest.raises(DataError, match=r'row 1: there is no "query".*classes='):
        read(RANKER, [PAIR])


def test_classes_are_found_by_name_in_any_case_and_others_deny_entailment() -> None:
    labels = ["Entailment", "CONTRADICTION", "neutral", "not_entailment"]
    rows = [{**PAIR, "label": label} for label in labels]
    assert [e.wanted for e in read(NLI, rows)] == [(0,), (2,), (1,), (NOT_ENTAILED,)]
    assert [e.wanted for e in read(TWO, rows)] == [(0,), (NOT_ENTAILED,), (NOT_ENTAILED,), (1,)]


def test_labels_become_hypotheses_true_ones_entailed_and_some_others_not() -> None:
    rows = [{"text": "late and broken", "label": ["delay", "damage"]}, {"text": "hello", "label": None}]
    rows += [{"text": f"t{i}", "label": name} for i, name in enumerate(["refund", "sale"])]
    found = read(TWO, rows, template="It is {}.", wrong_labels=1)
    first = [(e.label, e.wanted) for e in found if e.place == "row 1"]
    assert first[:2] == [("It is delay.", (0,)), ("It is damage.", (0,))]
    assert first[2][0] in ("It is refund.", "It is sale.")
    assert first[2][1] == (NOT_ENTAILED,)
    assert [(e.place, e.wanted) for e in found[3:4]] == [("row 2", (NOT_ENTAILED,))]  # of null, nothing is true
    everything = read(TWO, rows, wrong_labels=9)
    assert len(everything) == 4 * 4  # four labels for each of four texts, true or denied, and none twice
    assert len({(e.texts, e.label) for e in everything}) == 16


def test_wrong_labels_are_the_same_for_the_same_seed() -> None:
    rows = [{"text": f"t{i}", "label": f"name {i}"} for i in range(30)]
    assert read(TWO, rows, seed=1) == read(TWO, rows, seed=1)
    assert read(TWO, rows, seed=1) != read(TWO, rows, seed=2)


def test_long_lists_keep_the_most_relevant_and_the_first_of_the_others() -> None:
    row = query(("a", 0), ("b", 1), ("c", 0), ("d", 3), ("e", 2), ("f", 0))
    (found,) = read(RANKER, [row], list_size=3)
    assert dict(zip(found.texts, found.wanted, strict=True)) == {"a": 0, "d": 3, "e": 2}
    (found,) = read(RANKER, [row], list_size=5)
    assert found.texts == ("a", "b", "c", "d", "e")
    (found,) = read(RANKER, [query(("a", 3), ("b", 1), ("c", 2))], list_size=2)
    assert dict(zip(found.texts, found.wanted, strict=True)) == {"a": 3, "c": 2}
    (found,) = read(RANKER, [query(("a", 3), ("b", 3), ("c", 1), ("d", 2))], list_size=2)
    assert dict(zip(found.texts, found.wanted, strict=True)) == {"a": 3, "d": 2}  # of equals nothing is learned
    (found,) = read(RANKER, [query(("a", 2), ("b", 2), ("c", 1), ("d", 2), ("e", 0))], list_size=3)
    assert found.texts == ("a", "b", "e")


def test_teacher_alone_needs_no_labels_but_something_to_compare() -> None:
    (found,) = read(RANKER, [{"query": "q", "documents": [{"text": "a"}, {"text": "b"}]}], unlabelled=True)
    assert found.wanted == (0, 0)
    assert read(NLI, [{"premise": "p", "hypothesis": "h"}], unlabelled=True)[0].wanted == (UNKNOWN,)
    with pytest.raises(DataError, match="row 1: there is one document"):
        read(RANKER, [{"query": "q", "documents": [{"text": "a"}]}], unlabelled=True)


def test_documents_of_one_grade_may_stand_alone_where_each_is_judged_by_itself() -> None:
    rows = [query(("a", 1)), query(("b", 0), ("c", 0))]
    assert len(read(RANKER, rows, one_grade=True)) == 2
    with pytest.raises(DataError, match="all 1 rows are 'relevant'"):
        read(RANKER, rows[:1], one_grade=True)


# Rows of token ids


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("base")
    tiny.cross_encoder(found, "bert", dict(enumerate(NLI.names)))
    return found


def words(folder: Path, item: Item) -> list[str]:
    tok = tiny.Tokenizer.from_file(str(folder / "tokenizer.json"))
    return [tok.decode(row.ids.tolist(), skip_special_tokens=False).replace(" ##", "") for row in item.rows]


def test_premise_stands_first_and_query_stands_first(folder: Path) -> None:
    checkpoint = start(folder)
    example = Example("row 1", "the pump", "the pump", ("a valve", "soil"), (1, 0))
    (ours,) = items([example], checkpoint, RANKER)
    assert words(folder, ours) == ["[CLS] the pump [SEP] a valve [SEP]", "[CLS] the pump [SEP] soil [SEP]"]
    (ours,) = items([example._replace(texts=("a valve",))], checkpoint, NLI)
    assert words(folder, ours) == ["[CLS] a valve [SEP] the pump [SEP]"]
    assert ours.rows[0].types is not None
    assert ours.rows[0].types.max() == 1


@pytest.mark.parametrize("classes", [NLI, RANKER])
def test_only_the_text_is_cut_and_the_log_counts_it(
    folder: Path, classes: Classes, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = start(folder, max_length=20)
    long = " ".join(["sensor"] * 30)
    examples = [Example("row 1", "the pump", "the pump", (long, "soil"), (1, 0))]
    with caplog.at_level(logging.WARNING):
        (item,) = items(examples, checkpoint, classes)
    assert len(item.rows[0].ids) == 20
    assert "the pump" in words(folder, item)[0]
    assert "1 of 2 pairs are longer than 20 tokens" in caplog.text


def test_query_that_leaves_no_room_is_refused_by_its_row(folder: Path) -> None:
    long = " ".join(["pump"] * 14)
    with pytest.raises(DataError, match=r"row 7: 'pump .*takes 17 tokens of 20; expected at most 15"):
        items([Example("row 7", long, long, ("soil",), (1,))], start(folder, max_length=20), NLI)


def test_batch_pads_pairs_to_the_longest_and_lists_to_the_largest(folder: Path) -> None:
    examples = [
        Example("row 1", "pump", "pump", ("a valve", "soil", "a"), (2, 0, 1)),
        Example("row 2", "the hub lost its password", "", ("a", "soil"), (0, 1)),
    ]
    found = [i._replace(teacher=tuple(0.5 for _ in i.rows)) for i in items(examples, start(folder), RANKER)]
    batch = Collate(pad=0)(found)
    assert batch["labels"].tolist() == [[2, 0, 1], [0, 1, -100]]
    assert batch["teacher"].tolist() == [[0.5] * 3, [0.5, 0.5, -100]]
    lengths = [len(row.ids) for item in found for row in item.rows]
    assert batch["mask"].sum(1).tolist() == lengths
    assert batch["ids"].shape == (5, max(lengths))
    assert (batch["ids"][~batch["mask"]] == 0).all()
    row = found[1].rows[1]
    assert batch["ids"][4][batch["mask"][4]].tolist() == row.ids.tolist()
    assert row.types is not None
    assert batch["types"][4][batch["mask"][4]].tolist() == row.types.tolist()
    assert next(iter(batch)) == "labels"  # of which the trainer reads how many examples there are
    assert batch["labels"].dtype == torch.float32
