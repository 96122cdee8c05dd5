"""Scores, the arithmetic under them, and judge(): what no broken answer gets through."""

from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from headgate import Ask, Label, NotCalibratedError, ScorerError, Scores, judge
from headgate.scores import EMPTY_LOG_ODDS, class_log_odds, logistic, sigmoid
from headgate.testing import ToyScorer
from tests.core.fixed import Fixed, scores

TEXTS = ["one", "three"]
LABELS = ["a", "b", "c"]
ASK = Ask(TEXTS, LABELS)
PARTS = ("log_odds", "windows", "spans", "tokens", "unknown", "empty")


@dataclass
class Says:
    """A scorer that answers every ask with the same object."""

    answer: object

    def score(self, texts, labels):
        return self.answer


def good(**parts):
    return scores(np.zeros((2, 3)), TEXTS, **parts)


# ------------------------------------------------------------------------------------- Scores


@pytest.mark.parametrize("part", PARTS)
def test_scores_can_not_be_written_to(part):
    with pytest.raises(ValueError, match="read-only"):
        getattr(good(), part)[...] = 1


def test_scores_can_not_be_reassigned():
    with pytest.raises(FrozenInstanceError):
        good().log_odds = np.zeros((2, 3))


def test_the_callers_arrays_stay_writable():
    z, windows = np.zeros((2, 3), np.float32), np.ones((2, 3), np.int32)
    replace(Scores.of(z, TEXTS), windows=windows)
    z[0, 0] = windows[0, 0] = 5
    assert z[0, 0] == windows[0, 0] == 5


def test_scores_of_says_each_text_was_read_whole_in_one_window():
    found = Scores.of([[1, 2], [3, 4], [5, 6]], ["ab", "", " \n"])
    assert [getattr(found, part).dtype.str[1:] for part in PARTS] == ["f4", "i4", "i4", "i4", "f4", "b1"]
    assert found.spans.tolist() == [[[0, 2]] * 2, [[0, 0]] * 2, [[0, 2]] * 2]
    assert (found.windows == 1).all()
    assert found.empty.tolist() == [False, True, True]


def test_probabilities_are_the_sigmoid_of_the_log_odds():
    np.testing.assert_allclose(scores([[0.0, np.log(3), -1e4]]).probabilities, [[0.5, 0.75, 0.0]], atol=1e-7)


def test_an_order_has_no_probabilities_and_says_how_to_get_some():
    with pytest.raises(NotCalibratedError, match=r"Calibration\.fit"):
        _ = good(meaning="order").probabilities


# --------------------------------------------------------------------------------- arithmetic


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6), st.data())
def test_sigmoid_of_class_log_odds_is_the_softmax(z, data):
    i = data.draw(st.integers(0, len(z) - 1))
    np.testing.assert_allclose(sigmoid(class_log_odds(z, i)), softmax(z)[i], atol=1e-6)


@given(st.lists(st.floats(-80, 80), min_size=2, max_size=6), st.data())
def test_class_log_odds_keep_the_far_tails(z, data):
    i = data.draw(st.integers(0, len(z) - 1))
    # float32 log-odds of 160 are exact to 1e-5: so is the probability, of which 1e-70 is left.
    np.testing.assert_allclose(np.log(logistic(class_log_odds(z, i))), log_softmax(z)[i], atol=2e-5)


def test_class_log_odds_of_half_precision_are_computed_in_more():
    half = np.array([8, 0.1, 0.2, 7.9], np.float16)
    found = class_log_odds(half, 0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, class_log_odds(half.astype(np.float64), 0), rtol=1e-7)


def test_class_log_odds_neither_overflow_nor_saturate():
    logits = np.array([[1e4, 0, -1e4], [1e4 + 1, 1e4, 1e4]])
    np.testing.assert_allclose(class_log_odds(logits, 0), [1e4, 1 - np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(class_log_odds(logits, 2), [-2e4, -np.log1p(np.e)], rtol=1e-6)


@given(st.floats(-700, 700))
def test_logistic_is_exact_in_both_tails(z):
    np.testing.assert_allclose(logistic(z), 1 / (1 + np.exp(-z)), rtol=1e-14)
    np.testing.assert_allclose(logistic(z) + logistic(-z), 1, rtol=1e-15)


def test_logistic_survives_the_largest_numbers():
    assert logistic([-1e308, 0, 1e308]).tolist() == [0, 0.5, 1]


# ------------------------------------------------------------------------------ judge: answers


def test_judge_lets_a_good_answer_through():
    answer = good(windows=np.full((2, 3), 2), unknown=[0.0, 1.0], tokens=[1, 2])
    assert judge(Says(answer), [ASK]) == [answer]


@pytest.mark.parametrize("part", PARTS)
def test_judge_refuses_the_wrong_shape_of_each_part(part):
    right = getattr(good(), part)
    for wrong in (right[:1], np.concatenate([right, right]), right[..., None], right.ravel()[:0]):
        with pytest.raises(ScorerError, match=rf"Says returned {part} of shape"):
            judge(Says(good(**{part: wrong})), [ASK])


def test_judge_refuses_one_row_made_into_scores():
    with pytest.raises(ScorerError, match=r"log_odds of shape \(2,\)"):
        judge(Says(Scores.of([0.0, 1.0], TEXTS)), [ASK])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_judge_refuses_log_odds_that_are_not_finite_and_says_where(bad):
    z = np.zeros((2, 3), np.float32)
    z[1, 2] = bad
    with pytest.raises(ScorerError, match=rf"log-odds {bad}.*label 'c' and text 1 \('three'\)"):
        judge(Says(good(log_odds=z)), [ASK])


@pytest.mark.parametrize("span", [[-1, 2], [2, 1], [0, 4]])
def test_judge_refuses_a_span_outside_the_text(span):
    spans = good().spans.copy()
    spans[0, 1] = span
    with pytest.raises(ScorerError, match=r"label 'b' and text 0 .*span inside the text"):
        judge(Says(good(spans=spans)), [ASK])


def test_judge_refuses_a_score_from_no_window():
    with pytest.raises(ScorerError, match="at least one window"):
        judge(Says(good(windows=np.zeros((2, 3), int))), [ASK])


@pytest.mark.parametrize("share", [np.nan, -0.1, 1.1])
def test_judge_refuses_unknown_that_is_no_share(share):
    with pytest.raises(ScorerError, match="unknown"):
        judge(Says(good(unknown=[0.0, share])), [ASK])


def test_judge_refuses_a_meaning_it_does_not_know():
    # Else it would pass for a probability, and a threshold on it for a meaningful one.
    with pytest.raises(ScorerError, match="meaning 'ranking'"):
        judge(Says(good(meaning="ranking")), [ASK])


@pytest.mark.parametrize("answer", [None, np.zeros((2, 3)), [[0.0] * 3] * 2, (good(),)])
def test_judge_refuses_what_is_not_scores(answer):
    with pytest.raises(ScorerError, match="expected Scores"):
        judge(Says(answer), [ASK])


@pytest.mark.parametrize("answers", [[], [good()], [good()] * 3, None, good(), (good() for _ in range(2))])
def test_judge_refuses_another_number_of_answers_than_asks(answers):
    class Many(Says):
        def score_many(self, asks):
            return self.answer

    with pytest.raises(ScorerError, match="for 2 asks"):
        judge(Many(answers), [ASK, ASK])


# ------------------------------------------------------------------------------- judge: inputs


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (Ask("a text", LABELS), r"texts is a str; .*pass \['a text'\]"),
        (Ask(TEXTS, "label"), r"labels is a str; .*pass \['label'\]"),
        (Ask(None, LABELS), "texts is NoneType"),
        (Ask(TEXTS, None), "labels is NoneType"),
        (Ask(["one", None], LABELS), "text 1 is NoneType; .*text="),
        (Ask([b"one"], LABELS), "text 0 is bytes"),
        (Ask(TEXTS, ["a", 7]), "label 1 is int"),
    ],
)
def test_judge_refuses_what_is_not_text(ask, message):
    with pytest.raises(TypeError, match=message):
        judge(ToyScorer(), [ask])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "no labels"),
        (["a", " \n"], "label 1 is blank"),
        ([Label("")], "label 0 is blank"),
        (["a", "b", "a"], "'a' came twice"),
        (["a", Label("a")], "'a' came twice"),
    ],
)
def test_judge_refuses_labels_that_can_not_be_told_apart(labels, message):
    with pytest.raises(ValueError, match=message):
        judge(ToyScorer(), [Ask(TEXTS, labels)])


def test_the_same_words_are_two_labels_where_they_are_read_in_two_ways():
    labels = ["a", Label("a", verbatim=True), Label("a", relation="contradiction")]
    assert judge(Fixed(np.zeros((2, 3))), [Ask(TEXTS, labels)])[0].log_odds.shape == (2, 3)


def test_bad_input_is_refused_before_anything_is_scored():
    scorer = Fixed(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="no labels"):
        judge(scorer, [ASK, Ask(TEXTS, [])])
    assert scorer.asked == []


@pytest.mark.parametrize("claim", [[True, False], [False, False], [False, True], [True, True]])
@pytest.mark.parametrize("blank", ["", " ", "\n\t ", "\u3000\u00a0"])
def test_empty_texts_get_the_least_log_odds_and_a_flag_whatever_the_scorer_says(blank, claim):
    texts = ["word", blank]
    claims = scores([[-5.0], [5.0]], texts, empty=claim)
    (found,) = judge(Says(claims), [Ask(texts, ["a"])])
    assert found.log_odds.tolist() == [[-5.0], [EMPTY_LOG_ODDS]]
    assert found.log_odds.dtype == np.float32
    assert found.empty.tolist() == [False, True]


def test_a_text_that_the_scorer_calls_empty_and_is_not_keeps_its_score():
    (found,) = judge(Says(scores([[1.0]], ["word"], empty=[True])), [Ask(["word"], ["a"])])
    assert (found.log_odds.tolist(), found.empty.tolist()) == ([[1.0]], [False])


def test_no_texts_give_no_rows_and_the_scorer_is_not_asked():
    scorer = Fixed(np.zeros((2, 3)))
    none, some = judge(scorer, [Ask([], ["a", "b"]), ASK])
    assert none.log_odds.shape == none.windows.shape == (0, 2)
    assert none.spans.shape == (0, 2, 2)
    assert some.log_odds.shape == (2, 3)
    assert scorer.asked == [ASK]
    assert judge(scorer, []) == []


def test_score_many_is_given_all_asks_at_once_and_answers_keep_their_order():
    class Many(ToyScorer):
        def score_many(self, asks):
            calls.append(list(asks))
            return [self.score(a.texts, a.labels) for a in asks]

    calls = []
    asks = [Ask(["a"], ["a", "b"]), Ask([], ["a"]), Ask(["b", "a b"], ["a"])]
    found = judge(Many(), asks)
    assert calls == [[asks[0], asks[2]]]
    assert [f.log_odds.tolist() for f in found] == [[[4, -4]], [], [[-4], [4]]]


def test_any_iterable_of_texts_will_do():
    (found,) = judge(ToyScorer(), [Ask((t for t in ("a", "b")), np.array(["a"]))])
    assert found.log_odds.tolist() == [[4], [-4]]
