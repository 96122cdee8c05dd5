"""The pure step: rows in, the same rows with more columns out."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from headgate import Calibration, Guard, Label, LabelTooLongError, Reranker, Router, Scores
from headgate.label import BadRowError, Reads, added, label, stage
from headgate.testing import ToyScorer

TEXTS = ["the invoice is wrong", "reset my password", "", "a parcel"]
ROUTER = Router(ToyScorer(), {"billing": "invoice", "access": "password"})
GUARD = Guard(ToyScorer(), ["invoice", "parcel"], threshold=0.5)


@dataclass(frozen=True)
class Counting(ToyScorer):
    """A toy that notes its plans, and finds "long" queries too long and texts of many words two windows."""

    plans: list = field(default_factory=list, compare=False)

    def score_many(self, asks):
        self.plans.append([list(ask.texts) for ask in asks])
        return [self.score(ask.texts, ask.labels) for ask in asks]

    def score(self, texts, labels):
        for one in labels:
            if len(one.text if isinstance(one, Label) else one) > 40:
                raise LabelTooLongError("the label takes all the room.")
        found = super().score(texts, labels)
        windows = np.array([[2 if len(t.split()) > 8 else 1] * len(labels) for t in texts], np.int32)
        return Scores(**{**vars(found), "windows": windows.reshape(found.log_odds.shape)})


def test_a_router_adds_what_its_decisions_say():
    found = label([stage(ROUTER)], {"text": TEXTS})
    decided = ROUTER.many(TEXTS)
    assert found["route_choice"] == [d.choice for d in decided] == ["billing", "access", None, None]
    assert found["route_none"] == [d.none for d in decided]
    assert found["route_reason"] == [d.reason for d in decided]
    assert found["route_probabilities"] == [d.probabilities for d in decided]
    assert found["route_probability"][:3] == [
        decided[0].probabilities["billing"],
        decided[1].probabilities["access"],
        None,
    ]


def test_a_guard_adds_what_its_verdicts_say():
    found = label([stage(GUARD, "inbox")], {"text": np.array(TEXTS, dtype=object)})
    verdicts = GUARD.many(TEXTS)
    assert found["inbox_allowed"] == [v.allowed for v in verdicts] == [False, True, True, False]
    assert found["inbox_broken"] == [["invoice"], [], [], ["parcel"]]
    assert found["inbox_probabilities"] == [v.probabilities for v in verdicts]


def test_several_routes_come_as_a_list():
    both = Router(ToyScorer(), ["invoice", "wrong"], multi=True)
    found = label([stage(both)], {"text": TEXTS})
    assert found["route_choices"] == [["invoice", "wrong"], [], [], []]


def test_passages_of_a_row_are_ordered_and_cut_and_all_have_numbers():
    reranker = Reranker(ToyScorer(), top_k=1)
    rows = {"q": ["password reset", "parcel"], "docs": [TEXTS[:3], []]}
    found = label([stage(reranker, reads=Reads(query_in="q", passages="docs"))], rows)
    hits = Reranker(ToyScorer())("password reset", TEXTS[:3])
    assert found["rerank_order"] == [[1], []]
    assert found["rerank_log_odds"][0] == [h.log_odds for h in sorted(hits, key=lambda h: h.index)]
    assert found["rerank_probability"][1] == []


def test_one_passage_a_row_is_ranked_by_its_own_query_whatever_the_cuts():
    reranker = Reranker(Counting(), top_k=1)
    rows = {"q": ["password", "invoice", "password"], "text": [TEXTS[1], TEXTS[0], TEXTS[3]]}
    found = label([stage(reranker, reads=Reads(query_in="q"))], rows)
    alone = [Reranker(ToyScorer())(q, [t])[0] for q, t in zip(rows["q"], rows["text"], strict=True)]
    assert found["rerank_log_odds"] == [hit.log_odds for hit in alone]
    assert reranker.scorer.plans == [[[TEXTS[1], TEXTS[3]], [TEXTS[0]]]]  # one plan, an ask a query
    fixed = label([stage(reranker, reads=Reads(query="password"))], {"text": rows["text"]})
    assert fixed["rerank_log_odds"][::2] == found["rerank_log_odds"][::2]


def test_an_order_has_no_probability():
    reranker = Reranker(ToyScorer(meaning="order"))
    rows = {"text": ["a"], "docs": [["a", "b"]]}
    assert label([stage(reranker, reads=Reads(query="a"))], rows)["rerank_probability"] == [None]
    assert label([stage(reranker, reads=Reads(query="a", passages="docs"))], rows)["rerank_probability"] == [None]


def test_a_batch_is_one_plan_and_tasks_of_one_model_share_it():
    scorer = Counting()
    stages = [stage(Router(scorer, ["invoice"])), stage(Guard(scorer, ["parcel"], threshold=0.5))]
    label(stages, {"text": TEXTS * 600})
    assert len(scorer.plans) == 1


def test_several_models_read_a_portion_at_a_time_and_say_the_same():
    one, other = Counting(), Counting(fingerprint="other")
    stages = [stage(Router(one, ["invoice"])), stage(Guard(other, ["parcel"], threshold=0.5))]
    texts = [f"{TEXTS[i % 4]} {i}" for i in range(2500)]
    found = label(stages, {"text": texts})
    assert [len(plan[0]) for plan in one.plans] == [1024, 1024, 452]
    assert found["guard_allowed"] == [v.allowed for v in stages[1].task.many(texts)]


def test_nothing_that_came_in_is_changed_and_no_rows_are_no_rows():
    rows = {"text": list(TEXTS), "id": [1, 2, 3, 4]}
    label([stage(ROUTER)], rows)
    assert rows == {"text": TEXTS, "id": [1, 2, 3, 4]}
    for one in (stage(ROUTER), stage(GUARD), stage(Reranker(ToyScorer()), reads=Reads(query_in="text"))):
        assert set(map(len, label([one], {"text": []}, on_error="null").values())) == {0}


@pytest.mark.parametrize(
    ("rows", "row", "why"),
    [
        ({"text": ["a", None]}, 1, "'text' is null; expected a text"),
        ({"text": ["a", "b", 3]}, 2, "'text' is int; expected a text"),
        ({"text": [float("nan")]}, 0, "'text' is float; expected a text"),
    ],
)
def test_a_bad_row_stops_or_has_nulls_and_an_error(rows, row, why):
    with pytest.raises(BadRowError, match=why) as caught:
        label([stage(ROUTER)], rows)
    assert caught.value.row == row
    found = label([stage(ROUTER), stage(GUARD)], rows, on_error="null")
    assert why in found["error"][row]
    assert {found[name][row] for name in found if name != "error"} == {None}
    good = [i for i in range(len(rows["text"])) if i != row]
    assert [found["error"][i] for i in good] == [None] * len(good)
    assert [found["guard_allowed"][i] for i in good] == [True] * len(good)


@pytest.mark.parametrize(
    ("docs", "why"),
    [("a text", "'docs' is str"), (None, "'docs' is null"), (["a", None], "holds null at 1"), ([1], "holds int at 0")],
)
def test_passages_must_be_lists_of_texts(docs, why):
    one = stage(Reranker(ToyScorer()), reads=Reads(query="a", passages="docs"))
    with pytest.raises(BadRowError, match=why):
        label([one], {"docs": [docs]})


def test_a_blank_query_and_one_that_is_too_long_are_bad_rows():
    one = stage(Reranker(Counting()), reads=Reads(query_in="q"))
    rows = {"q": ["a", " ", "long " * 20], "text": ["a", "a", "a"]}
    with pytest.raises(BadRowError, match="row 1: 'q' is blank"):
        label([one], rows)
    with pytest.raises(BadRowError, match="row 1: the label takes all the room"):
        label([one], {name: values[::2] for name, values in rows.items()})
    found = label([one], rows, on_error="null")
    assert [e is None for e in found["error"]] == [True, False, False]
    assert found["rerank_log_odds"][0] is not None


def test_a_route_that_is_too_long_is_no_row_s_fault():
    with pytest.raises(LabelTooLongError):
        label([stage(Router(Counting(), {"a": "long " * 20}))], {"text": ["a"]}, on_error="null")


def test_a_text_of_several_windows_is_a_bad_row_where_the_task_refuses_it():
    strict = stage(Router(Counting(), ["invoice"], on_overflow="error"))
    rows = {"text": ["an invoice", "invoice " * 9, "nothing"]}
    with pytest.raises(BadRowError, match="row 1: a text takes several windows"):
        label([strict], rows)
    ranks = stage(Reranker(Counting()), reads=Reads(query="invoice"))
    found = label([strict, ranks], rows, on_error="null")
    assert found["route_choice"] == ["invoice", None, None]
    assert [v is None for v in found["rerank_log_odds"]] == [False, True, False]
    assert label([ranks], rows)["rerank_log_odds"][1] is not None


def test_what_makes_no_sense_is_refused_before_anything_is_scored():
    with pytest.raises(ValueError, match="there are no stages"):
        label([], {"text": []})
    with pytest.raises(ValueError, match=r"there is no column 'text'.*'words'"):
        label([stage(ROUTER)], {"words": []})
    with pytest.raises(ValueError, match="name one twice"):
        added([stage(ROUTER), stage(ROUTER)])
    with pytest.raises(ValueError, match="on_error is 'skip'"):
        label([stage(ROUTER)], {"text": []}, on_error="skip")
    with pytest.raises(ValueError, match="has no query"):
        stage(Reranker(ToyScorer()))
    with pytest.raises(ValueError, match="has the label 'a' and a query"):
        stage(Reranker(ToyScorer(), label="a"), reads=Reads(query="b"))
    with pytest.raises(ValueError, match="query and query_in came together"):
        Reads(query="a", query_in="b")
    with pytest.raises(TypeError, match="a Calibration came"):
        stage(Calibration(1.0, 0.0))
