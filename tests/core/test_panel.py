"""A panel's tasks decide as they would alone; a reader reads and decides nothing."""

import json
from dataclasses import FrozenInstanceError, asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Guard, Label, Panel, Reader, Reading, Reranker, Router, Rule
from headgate.panel import PORTION
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed, scores
from tests.core.test_passes import Heads

TEXTS = ["reset my password", "", "the invoice is wrong", "attack of the password", "  "]
TALK = [{"role": "user", "content": "reset it"}, {"role": "assistant", "content": "what?"}, "my password", "now"]


def tasks(scorer=None, other=None):
    scorer = ToyScorer() if scorer is None else scorer
    return {
        "route": Router(scorer, {"password": "password reset", "billing": "wrong invoice"}),
        "all": Router(other or scorer, ["password", "invoice"], multi=True, turns=1),
        "guard": Guard(scorer, {"attack": Rule("attack", 0.5), "strict": Rule("attack", 0.1)}),
        "words": Reader(scorer, ["password", "invoice"]),
    }


@given(st.lists(st.sampled_from([*TEXTS, TALK, TALK[:2]])))
def test_every_task_decides_as_it_would_alone(texts):
    members = tasks(other=ToyScorer(fingerprint="another"))
    found = Panel(members).many(texts)
    assert [list(one) for one in found] == [list(members)] * len(texts)
    for name, task in members.items():
        assert [one[name] for one in found] == task.many(texts)


def test_one_text_and_one_conversation():
    panel = Panel(tasks())
    assert panel("reset my password") == panel.many(["reset my password"])[0]
    assert panel(TALK)["words"] == Reader(ToyScorer(), ["password", "invoice"])(TALK)
    assert panel(TALK)["all"] == Router(ToyScorer(), ["password", "invoice"], multi=True, turns=1)("now")


def test_one_call_of_the_scorer_and_each_text_once():
    scorer = Heads()
    found = Panel(tasks(scorer)).many([*TEXTS, TALK])
    assert scorer.calls == [4]
    assert len(scorer.read) == len(set(scorer.read)) == len(TEXTS) + 3  # of the talk: all, the last two, the last
    assert len(found) == len(TEXTS) + 1


def test_a_softmax_stays_one_beside_others():
    scorer = Heads()
    mood = Router(scorer, ["mood good", "mood bad"])
    found = Panel({"mood": mood, "guard": Guard(scorer, ["soil"], threshold=0.5)})("a text")["mood"]
    assert found == mood("a text")
    assert found != Panel({"mood": replace(mood, scorer=ToyScorer())})("a text")["mood"]


def test_decide_replays_what_was_scored():
    panel = Panel(tasks())
    asks = panel.ask(TEXTS)
    held = {name: [task.scorer.score(a.texts, a.labels) for a in asks[name]] for name, task in panel.tasks.items()}
    plain = panel.many(TEXTS)
    assert panel.decide(held)[0] == plain[0]
    assert panel.decide(held)[2:4] == plain[2:4]
    stricter = Panel({**panel.tasks, "guard": replace(panel.tasks["guard"], forbid={"attack": Rule("attack", 0.0)})})
    assert [one["guard"].allowed for one in stricter.decide(held)] == [False] * len(TEXTS)


def test_scores_of_other_tasks_are_refused():
    panel = Panel({"a": Reader(ToyScorer(), ["x"]), "b": Reader(ToyScorer(), ["y"])})
    one, two = scores([[0.0]]), scores([[0.0], [1.0]])
    for wrong in ({}, {"a": [one]}, {"a": [one], "b": [one], "c": [one]}):
        with pytest.raises(ValueError, match=r"expected the tasks of this panel, \['a', 'b'\]"):
            panel.decide(wrong)
    with pytest.raises(ValueError, match=r"give {'a': 1, 'b': 2} results"):
        panel.decide({"a": [one], "b": [two]})


def test_many_texts_are_asked_in_portions():
    scorer = Heads()
    found = Panel({"a": Reader(scorer, ["x"]), "b": Reader(scorer, ["y"])}).many(
        [f"text {i}" for i in range(PORTION + 3)]
    )
    assert scorer.calls == [2, 2]
    assert len(found) == PORTION + 3
    assert found[-1]["a"] == Reader(Heads(), ["x"])(f"text {PORTION + 2}")


def test_long_texts_make_smaller_portions(monkeypatch):
    monkeypatch.setattr("headgate.panel.CHARACTERS", 20)
    scorer = Heads()
    texts = ["abcd", "abc", "abde", "abcdefghijkl", "a", "b", "", "c"]  # two labels count each twice
    found = Panel({"a": Reader(scorer, ["x"]), "b": Reader(scorer, ["y"])}).many(texts)
    assert scorer.read == texts
    assert scorer.calls == [2, 2, 2, 2]  # two, which leave no room for the third, the long one alone, the rest
    assert [one["a"] for one in found] == Reader(Heads(), ["x"]).many(texts)


def test_no_texts_give_no_results_and_an_iterator_is_read_once():
    panel = Panel(tasks())
    assert panel.many([]) == []
    assert panel.many(iter(TEXTS)) == panel.many(TEXTS)


@pytest.mark.parametrize("texts", ["a text", None, {"a": 1}])
def test_texts_must_be_a_list(texts):
    with pytest.raises(TypeError, match="texts is"):
        Panel(tasks()).many(texts)


def test_a_text_that_is_none_is_named():
    with pytest.raises(TypeError, match="expected a text or a list of messages"):
        Panel(tasks()).many(["a", 3])


@pytest.mark.parametrize("given", [{}, None, [Reader(ToyScorer(), ["a"])], "tasks"])
def test_tasks_are_named(given):
    with pytest.raises(ValueError, match="expected names with a Router, Guard or Reader each"):
        Panel(given)


@pytest.mark.parametrize("name", ["", "  ", 3])
def test_a_task_has_a_name(name):
    with pytest.raises(ValueError, match="expected a name"):
        Panel({name: Reader(ToyScorer(), ["a"])})


def test_what_is_no_task_is_refused_by_name():
    with pytest.raises(TypeError, match=r"'rank' is a Reranker.*GuardedReranker"):
        Panel({"rank": Reranker(ToyScorer())})
    with pytest.raises(TypeError, match=r"'bare' is ToyScorer without scorer and ask and decide"):
        Panel({"bare": ToyScorer()})


def test_anything_with_scorer_ask_and_decide_is_a_task():
    class Longest:
        scorer = ToyScorer()

        def ask(self, texts):
            return [*Reader(self.scorer, ["a"]).ask(texts), *Reader(self.scorer, ["b"]).ask(texts)]

        def decide(self, scores):
            a, b = scores
            return (a.log_odds[:, 0] - b.log_odds[:, 0]).tolist()

    found = Panel({"own": Longest(), "words": Reader(ToyScorer(), ["a"])}).many(["a", "b", "a b"])
    assert [one["own"] for one in found] == [8.0, -8.0, 0.0]


def test_it_is_frozen_and_keeps_its_tasks():
    members = tasks()
    panel = Panel(members)
    members.pop("route")
    assert "route" in panel("a")
    with pytest.raises(FrozenInstanceError):
        panel.tasks = {}


def test_results_are_json():
    found = Panel(tasks()).many(TEXTS)
    back = json.loads(json.dumps([{name: asdict(one) for name, one in row.items()} for row in found]))
    assert back[0]["words"]["probabilities"]["password"] > 0.5
    assert back[2]["route"]["choice"] == "billing"


# -------------------------------------------------------------------------------------- readers


def test_a_reading_is_what_the_scorer_says():
    parts = {
        "spans": [[[0, 2], [1, 3]], [[0, 0], [0, 0]]],
        "unknown": np.array([0.25, 0], dtype=np.float32),
        "empty": [False, True],
    }
    reader = Reader(Fixed([]), {"up": "rises", "down": Label("falls", verbatim=True)})
    first, second = reader.decide([scores([[2.0, -1.0], [-1e4, -1e4]], ["text", ""], **parts)])
    assert first.log_odds == {"up": 2.0, "down": -1.0}
    assert first.probabilities == pytest.approx({"up": 1 / (1 + np.exp(-2)), "down": 1 / (1 + np.e)})
    assert first.spans == {"up": (0, 2), "down": (1, 3)}
    assert (first.unknown, first.empty, second.empty) == (0.25, False, True)
    assert isinstance(first, Reading)


def test_an_order_has_no_probabilities():
    found = Reader(ToyScorer(meaning="order"), ["password"])("password")
    assert found.probabilities is None
    assert found.log_odds == {"password": 4.0}


def test_without_labels_it_reads_all_that_a_closed_vocabulary_has():
    assert list(Reader(ToyScorer(labels=("a", "b")))("a").log_odds) == ["a", "b"]
    with pytest.raises(ValueError, match="labels is all that the scorer knows, and it takes any"):
        Reader(ToyScorer())


def test_names_may_share_a_label():
    reader = Reader(Fixed([[1.0, 2.0]]), {"x": "one", "y": "two", "z": Label("one")})
    assert reader("a text").log_odds == {"x": 1.0, "y": 2.0, "z": 1.0}
    assert len(reader.scorer.asked[0].labels) == 2


@pytest.mark.parametrize("labels", ["one", [], {}])
def test_labels_are_a_list(labels):
    with pytest.raises(ValueError, match="expected at least one label"):
        Reader(ToyScorer(), labels)


def test_bad_names_and_turns():
    with pytest.raises(ValueError, match="name one twice"):
        Reader(ToyScorer(), ["a", "a"])
    with pytest.raises(ValueError, match="turns is 0"):
        Reader(ToyScorer(), ["a"], turns=0)


def test_turns():
    scorer = Fixed([[0.0]])
    Reader(scorer, ["a"], turns=1)(TALK)
    Reader(scorer, ["a"])(TALK)
    assert scorer.asked[0].texts == ["now"]
    assert scorer.asked[1].texts == ["reset it\nwhat?\nmy password\nnow"]
