"""Hard negatives are near, are no right answers in disguise, and make rows that a ranker trains on."""

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from headgate import DataError
from headgate.evaluate.rows import read_rows
from headgate.families.cross_encoder import Classes
from headgate.train.cross_encoder_data import Reading
from headgate.train.negatives import mine_negatives

Json = dict[str, Any]


class Angles:
    """An embedder by hand: a text that ends in a number is that many degrees away from the query."""

    def embed(self, texts: Sequence[str], *, role: Literal["query", "document"]) -> NDArray[np.float32]:
        degrees = np.radians([0 if role == "query" else float(text.rsplit(" ", 1)[-1]) for text in texts])
        return np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)


def row(relevant: str = "the right answer 30", query: str = "what is it", **more: Any) -> Json:
    return {"query": query, "documents": [{"text": relevant, "relevance": 2}], **more}


def mined(rows: Sequence[Json], documents: Sequence[str], **more: Any) -> list[list[str]]:
    """What was added to each row."""
    found = mine_negatives(rows, documents, Angles(), **more)
    return [[d["text"] for d in row["documents"] if d["relevance"] == 0] for row in found]


def test_nearest_come_first_and_rows_are_ready_for_training() -> None:
    documents = [f"some words about {angle}" for angle in (80, 50, 60, 70, 40)]
    rows = [row(id=7)]
    found = mine_negatives(rows, documents, Angles(), per_query=3)
    assert found == [
        {
            "query": "what is it",
            "documents": [
                {"text": "the right answer 30", "relevance": 2},
                *({"text": f"some words about {angle}", "relevance": 0} for angle in (40, 50, 60)),
            ],
            "id": 7,
        }
    ]
    assert rows == [row(id=7)]  # what came in is as it was
    assert Reading(Classes(("relevance",)), "{}").examples(read_rows(found))[0].wanted == (2, 0, 0, 0)


def test_cosines_decide_and_the_margin_is_under_the_nearest_relevant_one() -> None:
    documents = [f"some words about {angle}" for angle in (10, 20, 33, 34, 35)]
    # cos 30° = 0.8660, cos 33° = 0.8387, cos 34° = 0.8290, cos 35° = 0.8192
    assert mined([row()], documents, margin=0.03) == [documents[3:]]
    assert mined([row()], documents, margin=0.0) == [documents[2:]]
    assert mined([row()], documents, margin=None) == [documents]
    two = row()
    two["documents"].append({"text": "another answer 15", "relevance": 1})  # cos 15° = 0.9659
    assert mined([two], documents, margin=0.0) == [documents[1:]]
    assert mined([two], documents, margin=0.13) == [documents[3:]]


def test_right_answers_in_disguise_are_never_taken() -> None:
    documents = [
        "the right answer 30",
        "The RIGHT answer... 30",
        "What is it? 0",  # no repetition of the query, for it has a word more
        "what is it",
        "so the right answer to what you ask is found on page 51",
    ]
    embedder = Angles()
    embedder.embed = lambda texts, role: np.ones((len(texts), 1), np.float32)  # type: ignore[method-assign, assignment]
    found = mine_negatives([row()], documents, embedder, margin=None)
    assert {d["text"] for d in found[0]["documents"][1:]} == {documents[2], documents[4]}


def test_repetitions_are_told_by_runs_of_three_words() -> None:
    relevant = "hold the button of the hub for ten seconds 30"
    shorter = "Hold the button of the hub, for ten 40"  # 6 of its 7 runs
    other = "ten seconds for the hub of the button hold 50"  # the same words, and none of the runs but "of the"
    assert mined([row(relevant)], [shorter, other]) == [[other]]
    assert mined([row(relevant)], [shorter, other], overlap=0.9) == [[shorter, other]]


def test_what_any_row_of_a_query_calls_relevant_is_no_negative_of_it() -> None:
    rows = [row(), row("a second answer 40", query="What is it?"), row("unlike the rest 45", query="where")]
    documents = ["the right answer 30", "a second answer 40", "unlike the rest 45", "some words about 60"]
    assert mined(rows, documents, margin=None) == [
        ["unlike the rest 45", "some words about 60"],
        ["unlike the rest 45", "some words about 60"],
        ["the right answer 30", "a second answer 40", "some words about 60"],
    ]


def test_each_wording_is_taken_once_and_known_negatives_stay() -> None:
    known = row()
    known["documents"].append({"text": "known one 40", "relevance": 0})
    documents = ["known one 40", "some words about 50", "Some words, about 50", "some words about 60"]
    (found,) = mined([known], documents)
    assert [text.lower().replace(",", "") for text in found] == ["known one 40", *documents[1:4:2]]


def test_top_is_passed_over_and_depth_ends_the_search() -> None:
    documents = [f"some words about {angle}" for angle in range(50, 60)]
    assert mined([row()], documents, skip_top=2, per_query=2) == [documents[2:4]]
    assert mined([row()], documents, skip_top=2, depth=5) == [documents[2:5]]


def test_queries_without_negatives_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = [row(), row("far away 85", query="where")]
    with caplog.at_level(logging.WARNING):
        found = mine_negatives(rows, ["some words about 50"], Angles(), per_query=2)
    assert [r["query"] for r in found] == ["what is it"]
    assert "2 of 2 queries have fewer than 2 negatives; 1 have none and are left out" in caplog.text
    with pytest.raises(DataError, match="no query has a negative among 1 documents"):
        mine_negatives(rows[1:], ["some words about 50"], Angles())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"query": "q", "documents": [{"text": "a 1", "relevance": 0}]}, "row 2: no document is relevant"),
        ({"query": " ", "documents": []}, "row 2: 'query' is ' '"),
        ({"query": "q", "documents": [{"text": "", "relevance": 1}]}, "row 2, document 1: 'text' is ''"),
        ({"query": "q"}, 'row 2: "documents" is None'),
    ],
)
def test_wrong_row_is_refused_by_its_number(wrong: Json, said: str) -> None:
    with pytest.raises(DataError, match=said):
        mine_negatives([row(), wrong], ["some words about 50"], Angles())


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="documents is a str"):
        mine_negatives([row()], "some words about 50", Angles())
    for wrong in ({"per_query": 0}, {"skip_top": 9, "depth": 9}, {"skip_top": -1}):
        with pytest.raises(ValueError, match="expected per_query >= 1"):
            mine_negatives([row()], ["some words about 50"], Angles(), **wrong)
