import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from headgate import Ask, Calibration, DataError, Label, NotCalibratedError, Panel, Router, Scores, YesNo, judge
from headgate.testing import ToyScorer

YES, NO = "angry", "calm"
TEXTS = ["an angry man", "a calm man", "an angry and calm man", "a man", "", "angry angry", "so calm"]


class Table:
    """Log-odds as they are told, label by label; ``exclusive`` and unknown shares too."""

    joint, labels, fingerprint = False, None, "table"

    def __init__(self, meaning="probability", exclusive=False, unknown=0.0, windows=1, **z):
        self.given, self.meaning, self.exclusive = z, meaning, exclusive
        self.unknown, self.windows, self.calls = unknown, windows, []

    def score(self, texts, labels):
        self.calls.append((list(texts), list(labels)))
        z = [[self.given[label.text] for label in labels]] * len(texts)
        found = Scores.of(z, texts, meaning=self.meaning)
        return replace(
            found,
            exclusive=self.exclusive,
            unknown=np.full(len(texts), self.unknown, dtype=np.float32),
            windows=np.full(found.log_odds.shape, self.windows, dtype=np.int32),
        )


def odds(*p):
    return {name: float(np.log(x / (1 - x))) for name, x in zip("abcd", p, strict=False)}


def test_yes_alone_is_its_own_probability() -> None:
    assert YesNo(Table(**odds(0.8)), "a")("text").probability == pytest.approx(0.8)


def test_yes_and_no_are_compared_by_their_odds() -> None:
    # 0.2 / 0.8 = 0.25 and 0.1 / 0.9 = 0.111...: unlikely both, and yes is the likelier
    found = YesNo(Table(**odds(0.2, 0.1)), "a", "b")("text")
    assert found.probability == pytest.approx(0.25 / (0.25 + 1 / 9))
    assert found.log_odds == pytest.approx(odds(0.2, 0.1), abs=1e-6)
    assert YesNo(Table(**odds(0.1, 0.2)), "a", "b")("text").probability == pytest.approx(1 - found.probability)


def test_several_hypotheses_add_their_odds() -> None:
    table = Table(**odds(0.5, 0.75, 0.5, 0.5))
    assert YesNo(table, ["a", "b"])("text").probability == pytest.approx(4 / 5)
    assert YesNo(table, ["a", "b"], ["c", "d"])("text").probability == pytest.approx(4 / 6)


def test_classes_of_one_softmax_are_compared_by_it() -> None:
    table = Table(exclusive=True, **odds(0.5, 0.2, 0.3))
    assert YesNo(table, "a", "b")("text").probability == pytest.approx(0.5 / 0.7)
    assert YesNo(table, ["a", "b"], "c")("text").probability == pytest.approx(0.7)
    assert YesNo(table, ["a", "b"])("text").probability == pytest.approx(0.7)
    whole = Table(exclusive=True, a=40.0, b=-40.0)
    assert YesNo(whole, ["a", "b"])("text").probability == pytest.approx(1, abs=1e-6)


def test_a_text_that_says_nothing_leaves_it_open() -> None:
    for question in (YesNo(ToyScorer(), YES), YesNo(ToyScorer(), YES, NO)):
        assert question(" \n").probability == 0.5
        assert question(" \n").empty
    assert YesNo(Table(unknown=0.6, **odds(0.9)), "a")("text").probability == 0.5
    assert YesNo(Table(unknown=0.5, **odds(0.9)), "a")("text").probability == pytest.approx(0.9)
    assert YesNo(Table(unknown=0.6, **odds(0.9)), "a", unreadable=0.7)("text").probability == pytest.approx(0.9)
    fitted = Calibration(shift=3.0)
    assert YesNo(ToyScorer(), YES, calibration=fitted)("").probability == 0.5


def test_log_odds_of_any_size_are_borne() -> None:
    assert YesNo(Table(a=-2000.0, b=-3000.0), "a", "b")("text").probability == 1.0
    assert YesNo(Table(a=3000.0, b=2000.0), ["a", "b"])("text").probability == 1.0


def test_many_is_one_plan_in_order() -> None:
    table = Table(**odds(0.8, 0.3))
    assert len(YesNo(table, "a", "b").many(["x", "y", "z"])) == 3
    assert table.calls == [(["x", "y", "z"], [Label("a"), Label("b")])]
    question = YesNo(ToyScorer(), YES, NO)
    assert [question(t) for t in TEXTS] == question.many(TEXTS)
    assert question.many([]) == []


def test_an_answer_is_json_and_can_be_decided_again() -> None:
    question = YesNo(ToyScorer(), YES, NO)
    (scores,) = judge(question.scorer, question.ask(TEXTS))
    assert question.decide([scores]) == question.many(TEXTS)
    assert json.loads(json.dumps(asdict(question("an angry man"))))["log_odds"] == {"angry": 4.0, "calm": -4.0}


def test_it_sits_on_a_panel_and_reads_conversations() -> None:
    panel = Panel({"angry": YesNo(ToyScorer(), YES), "route": Router(ToyScorer(), ["calm", "angry"])})
    found = panel([{"role": "user", "content": "I am angry"}, {"role": "user", "content": "well"}])
    assert found["angry"].probability > 0.9
    assert found["route"].choice == "angry"
    talk = [{"role": "user", "content": "I am angry"}, {"role": "user", "content": "well"}]
    assert YesNo(ToyScorer(), YES, turns=1)(talk).probability < 0.1


def test_an_order_is_refused_until_it_is_calibrated() -> None:
    order = ToyScorer(meaning="order")
    with pytest.raises(NotCalibratedError, match=r"Calibration\.fit"):
        YesNo(order, YES, NO).many(TEXTS)
    fitted = YesNo(order, YES, NO).fit(TEXTS, [True, False, True, False, True, True, False])
    assert fitted("an angry man").probability > 0.5 > fitted("a calm man").probability


def noisy(n: int, scale: float, shift: float) -> tuple[list[float], list[bool]]:
    random = np.random.default_rng(0)
    z = random.normal(size=n) * 2
    return z.tolist(), (random.random(n) < 1 / (1 + np.exp(-(scale * z + shift)))).tolist()


class Read(Table):
    """Reads its log-odds off the text, for yes; none for no."""

    def score(self, texts, labels):
        z = [[float(t) if label.text == "a" else 0.0 for label in labels] for t in texts]
        return Scores.of(z, texts, meaning=self.meaning)


@pytest.mark.parametrize("no", [(), "b"])
def test_fit_finds_what_the_labels_say(no) -> None:
    z, truths = noisy(4000, scale=0.5, shift=1.0)
    fitted = YesNo(Read(), "a", no).fit([str(x) for x in z], truths)
    assert fitted.calibration.scale == pytest.approx(0.5, abs=0.05)
    assert fitted.calibration.shift == pytest.approx(1.0, abs=0.1)
    assert (fitted.calibration.scorer, fitted.calibration.labels) == ("table", ("a", "b")[: 2 if no else 1])
    assert fitted("2.0").probability == pytest.approx(1 / (1 + np.exp(-2)), abs=0.05)


def test_fit_leaves_empty_texts_out() -> None:
    question = YesNo(ToyScorer(), YES)
    full = question.fit(TEXTS, [True, False, True, False, True, True, False])
    rest = question.fit([t for t in TEXTS if t], [True, False, True, False, True, False])
    assert full.calibration == rest.calibration


def test_fit_refuses_what_it_cannot_learn_from() -> None:
    question = YesNo(ToyScorer(), YES, NO)
    with pytest.raises(DataError, match=r"truths have shape \(2,\); expected \(3,\)"):
        question.fit(["a", "b", "c"], [True, False])
    with pytest.raises(ValueError, match="every truth is the same"):
        question.fit(["angry", "calm"], [True, True])
    with pytest.raises(ValueError, match="rank false above true"):
        question.fit(["angry", "calm", "angry", "calm"], [False, True, False, True])


def test_a_calibration_belongs_to_its_scorer_and_hypotheses() -> None:
    fitted = YesNo(ToyScorer(), YES, NO).fit(["angry", "calm"], [True, False])
    with pytest.raises(ValueError, match=r"fitted on scorer toy, and this one is other"):
        replace(fitted, scorer=ToyScorer(fingerprint="other"))
    with pytest.raises(
        ValueError, match=r"fitted on hypotheses \['angry', 'calm'\], and these are \['calm', 'angry'\]"
    ):
        replace(fitted, yes=NO, no=YES)
    assert YesNo(ToyScorer(), "furious", calibration=Calibration(2.0)).calibration == Calibration(2.0)


def test_bad_arguments_are_named() -> None:
    for yes in ((), ""):
        with pytest.raises(ValueError, match="hypothesis for yes"):
            YesNo(ToyScorer(), yes)
    with pytest.raises(ValueError, match="a hypothesis for no is 7"):
        YesNo(ToyScorer(), YES, [7])
    with pytest.raises(ValueError, match="hold one twice"):
        YesNo(ToyScorer(), YES, [NO, YES])
    with pytest.raises(ValueError, match="turns is 0"):
        YesNo(ToyScorer(), YES, turns=0)
    with pytest.raises(ValueError, match="unreadable is 2"):
        YesNo(ToyScorer(), YES, unreadable=2)


def test_windows_count_when_it_is_fitted() -> None:
    table = Table(windows=3, **odds(0.9))
    cost = Calibration(length=1.0)
    assert YesNo(table, "a", calibration=cost)("text").probability == pytest.approx(3 / (1 + 3))  # odds 9 / 3
    assert YesNo(table, "a")("text").coverage.windows == 3


def test_labels_keep_what_they_are() -> None:
    question = YesNo(ToyScorer(), Label("angry", verbatim=True), "calm")
    assert question.ask(["x"]) == [Ask(["x"], [Label("angry", verbatim=True), Label("calm")])]
