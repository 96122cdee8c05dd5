"""Example utterances beside a scorer: neighbours, weights, and what must not count as a neighbour."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from headgate import (
    Ask,
    DataError,
    Label,
    NotCalibratedError,
    Router,
    Scores,
    UnknownLabelError,
    Weights,
    WithExamples,
    judge,
)
from headgate.calibration import platt
from headgate.scores import EMPTY_LOG_ODDS
from headgate.testing import ToyScorer, check_scorer
from tests.core.fixed import Fixed
from tests.embedders import Bags

EXAMPLES = {
    "password": ["I forgot my password", "how do I reset it", "locked out of my account"],
    "billing": ["the invoice is wrong"],
    "soil": ["is the soil dry", "water the tomatoes now"],
}
NAMES = list(EXAMPLES)
TEXTS = ["I am locked out", "water please", "an invoice", "", "who won the cup"]


def cosine(a, b):
    left, right = (Bags().embed([t], role="query")[0].astype(float) for t in (a, b))
    return float(left @ right)


def neighbours(text, name, nearest, examples=EXAMPLES):
    return float(np.mean(sorted((cosine(text, t) for t in examples[name]), reverse=True)[:nearest]))


@pytest.mark.parametrize("scorer", [ToyScorer(), ToyScorer(joint=True), None], ids=["toy", "joint", "alone"])
def test_it_keeps_the_contract(scorer):
    check_scorer(WithExamples(scorer, Bags(), EXAMPLES, nearest=2))


@given(
    st.integers(1, 4),
    st.floats(0, 3),
    st.floats(0.1, 20),
    st.floats(-5, 5),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True),
)
def test_the_sum_is_what_it_says(nearest, a, b, c, labels):
    both = WithExamples(ToyScorer(), Bags(), EXAMPLES, nearest=nearest, weights=Weights(a, b, c))
    found = judge(both, [Ask(TEXTS, labels)])[0]
    inner = ToyScorer().score(TEXTS, labels).log_odds
    for i, text in enumerate(TEXTS):
        for j, name in enumerate(labels):
            expected = a * inner[i, j] + b * neighbours(text, name, nearest) + c if text else EMPTY_LOG_ODDS
            assert found.log_odds[i, j] == pytest.approx(expected, abs=1e-4)


def test_the_scorer_reads_what_the_names_stand_for():
    inner = Fixed([[1.0, 2.0]])
    hypothesis = Label("The text is about money.", verbatim=True)
    names = {"billing": hypothesis, "soil": "soil and water", "password": "password"}
    scorer = WithExamples(inner, Bags(), EXAMPLES, names)
    assert scorer.labels == ("billing", "soil", "password")
    scorer.score(["an invoice"], ["soil", "billing"])
    assert inner.asked == [Ask(["an invoice"], ["soil and water", hypothesis])]


def test_many_asks_are_one_plan_and_one_batch_of_texts():
    plans = []

    class Plans(ToyScorer):
        def score_many(self, asks):
            plans.append(len(asks))
            return [self.score(a.texts, a.labels) for a in asks]

    embedder = Bags()
    scorer = WithExamples(Plans(), embedder, EXAMPLES)
    assert [role for role, _ in embedder.seen] == ["query"]
    embedder.seen.clear()
    judge(scorer, [Ask(TEXTS, NAMES), Ask(TEXTS[1:3], NAMES[:1])])
    assert embedder.seen == [("query", TEXTS)]
    assert plans == [2]


# ---------------------------------------------------------------------------------------- fitting


def fitted_on(n=300, seed=0):
    """Texts made of the words of a label's utterances and noise, with truths; every fifth out of scope."""
    rng = np.random.default_rng(seed)
    noise = [f"w{i}" for i in range(30)]
    texts, truths = [], []
    for i in range(n):
        name = NAMES[rng.integers(3)]
        words = " ".join(EXAMPLES[name]).split() if i % 5 else noise
        texts.append(" ".join([*rng.choice(words, 3), *rng.choice(noise, rng.integers(0, 6))]))
        truths.append(name if i % 5 else None)
    return texts, truths


@pytest.mark.parametrize("alone", [True, False])
def test_fit_is_scikit_learns_logistic_regression(alone):
    texts, truths = fitted_on()
    scorer = WithExamples(None if alone else ToyScorer(), Bags(), EXAMPLES, nearest=2)
    w = scorer.fit(texts, truths).weights
    y = np.array([[t == name for name in NAMES] for t in truths]).ravel()
    near = np.array([[neighbours(t, name, 2) for name in NAMES] for t in texts]).ravel()
    z = ToyScorer().score(texts, NAMES).log_odds.ravel().astype(float)
    x = near[:, None] if alone else np.stack([z, near], axis=1)
    # Platt's targets, which are no 0 and 1, as rows that are weighted.
    high, low = (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2)
    target = np.where(y, high, low)
    twice = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(
        np.concatenate([x, x]),
        np.repeat([True, False], len(x)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    ours = [w.examples] if alone else [w.scorer, w.examples]
    np.testing.assert_allclose(ours, twice.coef_[0], rtol=1e-3)
    assert w.shift == pytest.approx(twice.intercept_[0], rel=1e-3)
    assert w.fitted
    assert w.scorer == 0 if alone else w.scorer > 0


def test_it_gives_an_order_until_it_is_fitted():
    scorer = WithExamples(ToyScorer(), Bags(), EXAMPLES)
    assert scorer.score(["a"], NAMES).meaning == "order"
    with pytest.raises(NotCalibratedError):
        Router(scorer, NAMES)("a")
    router = Router(scorer.fit(*fitted_on()), NAMES)
    decisions = router.many(["forgot password locked out", "water the soil now", "w1 w2 w3 w4"])
    assert [d.choice for d in decisions] == ["password", "soil", None]
    assert scorer.weights == Weights()  # fit changed nothing here


def test_an_utterance_is_no_neighbour_of_its_own():
    texts, truths = fitted_on(100)
    plain = WithExamples(None, Bags(), EXAMPLES).fit(texts, truths)
    more = [*texts, "i FORGOT my\tpassword"]
    with pytest.warns(UserWarning, match="1 of 101 texts to fit on are example utterances"):
        found = WithExamples(None, Bags(), EXAMPLES).fit(more, [*truths, "password"])
    rest = {**EXAMPLES, "password": EXAMPLES["password"][1:]}
    near = [neighbours("i forgot my password", name, 1, rest) for name in NAMES]
    apart = WithExamples(None, Bags(), EXAMPLES)._cosines(more, apart=True)
    np.testing.assert_allclose(apart[-1], near, atol=1e-6)
    assert found.weights != plain.weights


def test_a_label_with_nothing_else_said_of_it_is_left_out_of_that_row():
    apart = WithExamples(None, Bags(), EXAMPLES, nearest=3)._cosines(["the invoice is wrong"], apart=True)
    assert np.isnan(apart[0]).tolist() == [False, True, False]
    texts, truths = fitted_on(100)
    with pytest.warns(UserWarning, match="1 of 101"):
        found = WithExamples(None, Bags(), EXAMPLES).fit([*texts, "the invoice is wrong"], [*truths, "billing"])
    assert np.isfinite(found.weights.examples)
    with (
        pytest.warns(UserWarning, match="1 of 1"),
        pytest.raises(ValueError, match="0 of 2 pairs of text and label are true"),
    ):
        WithExamples(None, Bags(), EXAMPLES).fit(["the invoice is wrong"], ["billing"])


def test_other_texts_fit_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        WithExamples(ToyScorer(), Bags(), EXAMPLES).fit(*fitted_on(50))


def test_a_side_that_ranks_false_above_true_weighs_nothing():
    texts, truths = fitted_on()

    class Contrary(ToyScorer):
        def score(self, texts, labels):
            return Scores.of(-ToyScorer().score(texts, labels).log_odds, texts)

    found = WithExamples(Contrary(), Bags(), EXAMPLES).fit(texts, truths).weights
    assert found.scorer == 0 < found.examples
    alone = WithExamples(None, Bags(), EXAMPLES).fit(texts, truths).weights
    assert found == alone
    wrong = [None if t is None else NAMES[NAMES.index(t) - 1] for t in truths]
    with pytest.raises(ValueError, match="rank false above true"):
        WithExamples(None, Bags(), EXAMPLES).fit(texts, wrong)


def test_several_truths_and_none():
    texts, truths = fitted_on()
    one = WithExamples(None, Bags(), EXAMPLES).fit(texts, truths).weights
    lists = [[] if t is None else (t, t) for t in truths]
    assert WithExamples(None, Bags(), EXAMPLES).fit(texts, lists).weights == one
    both = [["billing", "soil"] if t == "soil" else t for t in truths]
    assert WithExamples(None, Bags(), EXAMPLES).fit(texts, both).weights != one


def test_what_an_inner_shortlist_left_out_stays_out():
    inner = Fixed([[1, 2, 3]] * 2, parts={"scored": [[True, False, True]] * 2})
    scorer = WithExamples(inner, Bags(), EXAMPLES)
    found = judge(scorer, [Ask(["a", "b"], NAMES)])[0]
    assert found.log_odds[:, 1].tolist() == [EMPTY_LOG_ODDS] * 2
    assert found.scored.tolist() == [[True, False, True]] * 2


def test_what_an_inner_shortlist_left_out_is_not_fitted_on():
    texts, truths = fitted_on(60)
    y = np.array([[t == name for name in NAMES] for t in truths])
    rng = np.random.default_rng(0)
    z, scored = rng.normal(size=y.shape) + y, rng.random(y.shape) < 0.7
    w = WithExamples(Fixed(z, parts={"scored": scored}), Bags(), EXAMPLES).fit(texts, truths).weights
    near = np.array([[neighbours(t, name, 1) for name in NAMES] for t in texts])
    expected = platt(np.stack([z[scored], np.ones(scored.sum()), near[scored]], axis=1), y[scored])
    np.testing.assert_allclose([w.scorer, w.shift, w.examples], expected, rtol=1e-3)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("truths", "message"),
    [
        (["nobody", None], "truth 0 is 'nobody', which is no label"),
        ([None, float("nan")], "truth 1 is nan"),
        ([None, ["soil", 3]], "truth 1 is 3"),
        ([None, {"soil"}], "truth 1 is"),
    ],
)
def test_a_truth_that_is_no_label_is_named_with_its_row(truths, message):
    with pytest.raises(DataError, match=message):
        WithExamples(None, Bags(), EXAMPLES).fit(["a", "b"], truths)


@pytest.mark.parametrize(
    ("texts", "truths", "error", "message"),
    [
        (["a"], ["soil", "soil"], ValueError, "1 texts and 2 truths"),
        ([], [], ValueError, "at least one"),
        ("abc", ["soil"], TypeError, "texts is a str"),
        (["a"], "soil", TypeError, "truths is a str"),
        (["a", " "], ["soil", None], DataError, "text 1 is ' '"),
        (["a", 3], ["soil", None], DataError, "text 1 is 3"),
        (["a", "b"], [None, None], ValueError, "0 of 6 pairs"),
        (["a"], [NAMES], ValueError, "3 of 3 pairs"),
    ],
)
def test_other_rows_that_nothing_can_be_fitted_on(texts, truths, error, message):
    with pytest.raises(error, match=message):
        WithExamples(None, Bags(), EXAMPLES).fit(texts, truths)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"examples": {}}, ValueError, "expected names"),
        ({"examples": ["a"]}, TypeError, "examples is list"),
        ({"examples": {"a": "utterance"}}, TypeError, r"examples\['a'\] is a str"),
        ({"examples": {"a": ["b", " "]}}, ValueError, r"examples\['a'\]\[1\] is ' '"),
        ({"examples": {"a": ["b", "c", "B "]}}, ValueError, r"examples\['a'\]\[2\], 'B ', came before"),
        ({"examples": {"a": []}}, ValueError, "'a' has no example"),
        ({"examples": {" ": ["b"]}}, ValueError, "label is called ' '"),
        ({"names": {"a": "b"}, "examples": {"c": ["d"]}}, ValueError, "examples has 'c', which is no label"),
        ({"names": {"a": "b", "c": "b"}, "examples": {"a": ["d"], "c": ["e"]}}, ValueError, "same description"),
        ({"names": {"a": " "}, "examples": {"a": ["d"]}}, ValueError, "'a' is described by ' '"),
        ({"nearest": 0}, ValueError, "nearest is 0"),
        ({"nearest": True}, ValueError, "nearest is True"),
    ],
)
def test_what_it_is_made_of_is_checked(parts, error, message):
    with pytest.raises(error, match=message):
        WithExamples(**{"scorer": None, "embedder": Bags(), "examples": EXAMPLES} | parts)


def test_labels_are_names_and_say_so():
    scorer = WithExamples(ToyScorer(), Bags(), EXAMPLES)
    with pytest.raises(UnknownLabelError, match=r"'invoices and refunds' is none of the 3 known.*ask for names"):
        scorer.score(["a"], ["soil", "invoices and refunds"])
    with pytest.raises(ValueError, match="asks for contradiction"):
        scorer.score(["a"], [Label("soil", relation="contradiction")])
    with pytest.raises(UnknownLabelError, match="ToyScorer has a closed vocabulary without 'password'"):
        WithExamples(ToyScorer(labels=("billing", "soil")), Bags(), EXAMPLES)


@pytest.mark.parametrize(
    "parts", [{"scorer": -1.0}, {"scorer": 0.0, "examples": 0.0}, {"shift": float("nan")}, {"examples": float("inf")}]
)
def test_weights_are_checked(parts):
    with pytest.raises(ValueError, match=r"Weights\(.*can't be"):
        Weights(**parts)


def test_weights_can_be_written_and_read():
    w = WithExamples(None, Bags(), EXAMPLES).fit(*fitted_on(60)).weights
    assert Weights(**json.loads(json.dumps(dataclasses.asdict(w)))) == w


def test_the_fingerprint_holds_all_that_numbers_come_from():
    base = WithExamples(ToyScorer(), Bags(), EXAMPLES)
    others = [
        WithExamples(ToyScorer(fingerprint="b"), Bags(), EXAMPLES),
        WithExamples(None, Bags(), EXAMPLES),
        WithExamples(ToyScorer(), Bags("other"), EXAMPLES),
        WithExamples(ToyScorer(), Bags(), {**EXAMPLES, "soil": ["is the soil dry"]}),
        WithExamples(ToyScorer(), Bags(), EXAMPLES, {n: f"about {n}" for n in NAMES}),
        WithExamples(ToyScorer(), Bags(), EXAMPLES, nearest=2),
        WithExamples(ToyScorer(), Bags(), EXAMPLES, weights=Weights(2.0)),
        base.fit(*fitted_on(60)),
    ]
    assert len({s.fingerprint for s in [base, *others]}) == 9
    assert WithExamples(ToyScorer(), Bags(), dict(EXAMPLES)).fingerprint == base.fingerprint
