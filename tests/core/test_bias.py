"""Orders of labels averaged away, and what is said of texts that say nothing taken off."""

import itertools
import math
import threading
from dataclasses import FrozenInstanceError, dataclass, replace
from functools import cached_property
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import Ask, Calibration, Debiased, Guard, Label, Permuted, Reranker, Router, judge
from headgate.bias import CONTENT_FREE, WEIGHT
from headgate.scores import EMPTY_LOG_ODDS
from headgate.testing import ToyScorer, check_scorer
from tests.core.fixed import scores

TEXTS = ["Reset my password", "", "The invoice is wrong"]
LABELS = ["password reset", "billing", "wrong invoice", "the pump"]


@dataclass(frozen=True)
class Places(ToyScorer):
    """A joint scorer that likes what stands first."""

    joint: bool = True
    price: float = 1.0

    def score(self, texts, labels):
        found = super().score(texts, labels)
        at = np.arange(len(labels))
        spans = found.spans.copy()
        spans[..., 0] = np.minimum(at, spans[..., 1])
        z = found.log_odds - np.float32(self.price) * at.astype(np.float32)
        return replace(found, log_odds=z, spans=spans, windows=found.windows + at.astype(np.int32))


class Counting(ToyScorer):
    """Remembers its asks, one plan a call."""

    @cached_property
    def plans(self):
        return []

    def score_many(self, asks):
        self.plans.append(asks)
        return [self.score(a.texts, a.labels) for a in asks]


# ------------------------------------------------------------------------------------- Permuted


def test_permuted_keeps_the_contract():
    check_scorer(Permuted(Places()))
    check_scorer(Permuted(ToyScorer()))


@pytest.mark.parametrize("orders", [1, 2, 3, 4])
def test_no_order_that_labels_are_asked_in_matters(orders):
    scorer = Permuted(Places(), orders=orders)
    first = scorer.score(TEXTS, LABELS)
    plain = Places().score(TEXTS, LABELS)
    moved = False
    for order in itertools.permutations(range(4)):
        asked = [LABELS[j] for j in order]
        found = scorer.score(TEXTS, asked)
        for part in ("log_odds", "windows", "spans"):
            np.testing.assert_array_equal(getattr(found, part), getattr(first, part)[:, list(order)])
        moved |= bool((Places().score(TEXTS, asked).log_odds != plain.log_odds[:, list(order)]).any())
    assert moved


def test_over_an_even_number_of_orders_places_are_paid_alike():
    found = Permuted(Places(), orders=2).score(TEXTS, LABELS).log_odds
    alone = ToyScorer().score(TEXTS, LABELS).log_odds
    live = [0, 2]
    np.testing.assert_allclose(found[live], alone[live] - 1.5, atol=1e-6)  # the mean place of four
    np.testing.assert_array_equal(found[1], EMPTY_LOG_ODDS)


def test_all_orders_are_one_plan_and_means_of_what_they_say():
    class Plans(Places, Counting):
        pass

    inner = Plans()
    found = Permuted(inner, orders=3, seed=7).score_many([Ask(TEXTS[:1], LABELS), Ask(TEXTS, LABELS[:2])])
    (plan,) = inner.plans
    assert [len(a.labels) for a in plan] == [4, 4, 4, 2, 2]  # two labels have but two orders
    assert plan[1].labels == plan[0].labels[::-1]
    means = {}
    for ask in plan[:3]:
        got = inner.score(ask.texts, ask.labels)
        for j, label in enumerate(ask.labels):
            means.setdefault(label, []).append((got.log_odds[0, j], got.windows[0, j], tuple(got.spans[0, j])))
    for j, label in enumerate(LABELS):
        z, windows, spans = zip(*means[label], strict=True)
        assert found[0].log_odds[0, j] == pytest.approx(np.mean(z), abs=1e-6)
        assert found[0].windows[0, j] == max(windows)
        assert tuple(found[0].spans[0, j]) == spans[int(np.argmax(z))]


def test_a_scorer_that_is_not_joint_is_asked_once_as_it_is():
    inner = Counting()
    found = Permuted(inner, orders=4).score(TEXTS, LABELS)
    assert [a.labels for plan in inner.plans for a in plan] == [LABELS]
    np.testing.assert_array_equal(found.log_odds, judge(ToyScorer(), [Ask(TEXTS, LABELS)])[0].log_odds)


def test_seed_and_orders_change_the_fingerprint_and_what_is_drawn():
    prints = {Permuted(Places(), o, s).fingerprint for o, s in [(4, 0), (3, 0), (4, 1)]}
    assert len(prints | {Places().fingerprint}) == 4
    drawn = [Permuted(Places(), 1, seed)._orders(LABELS)[0] for seed in range(8)]
    assert len({tuple(d) for d in drawn}) > 1


@pytest.mark.parametrize("m", [1, 2, 3, 5])
@pytest.mark.parametrize("orders", [1, 3, 4, 7])
def test_as_many_orders_as_were_asked_for_and_there_are(m, orders):
    for seed in range(9):
        found = Permuted(Places(), orders, seed)._orders([*LABELS, "a"] if m == 5 else LABELS[:m])
        assert len({tuple(o) for o in found}) == len(found) == min(orders, math.factorial(m))
        assert all(sorted(o) == list(range(m)) for o in found)


def test_labels_of_one_text_are_told_apart():
    labels = [Label("a"), Label("a", verbatim=True), Label("a", relation="contradiction")]

    class Three(Places):
        def score(self, texts, labels):
            z = [[2 * x.verbatim + 4 * (x.relation == "contradiction") for x in labels]] * len(texts)
            return scores(z, texts)

    found = Permuted(Three(), orders=4).score(["t"], labels)
    assert found.log_odds.tolist() == [[0, 2, 4]]


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_mean_of_softmaxes_is_no_softmax(exclusive):
    class Classes(Places):
        def score(self, texts, labels):
            return replace(super().score(texts, labels), exclusive=exclusive)

    assert not Permuted(Classes(), orders=2).score(TEXTS, LABELS).exclusive
    assert Permuted(Classes(joint=False)).score(TEXTS, LABELS).exclusive is exclusive


def test_what_was_not_scored_stays_so():
    class Few(Places):
        def score(self, texts, labels):
            return replace(
                super().score(texts, labels), scored=np.array([[x != "billing" for x in labels]] * len(texts))
            )

    found = judge(Permuted(Few()), [Ask(TEXTS, LABELS)])[0]
    assert found.scored.tolist() == [[True, False, True, True]] * 3
    np.testing.assert_array_equal(found.log_odds[:, 1], EMPTY_LOG_ODDS)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "4"])
def test_orders_and_seed_are_checked(wrong):
    with pytest.raises(ValueError, match="orders is"):
        Permuted(Places(), orders=wrong)
    if wrong != 0:
        with pytest.raises(ValueError, match="seed is"):
            Permuted(Places(), seed=wrong)


# ------------------------------------------------------------------------------------- Debiased


@dataclass(frozen=True)
class Prejudiced(ToyScorer):
    """The toy, but it likes "billing" whatever it reads."""

    bias: float = 9.0

    def score(self, texts, labels):
        found = super().score(texts, labels)
        liked = np.array([getattr(x, "text", x) == "billing" for x in labels], dtype=np.float32)
        return replace(found, log_odds=found.log_odds + np.float32(self.bias) * liked)


@pytest.mark.parametrize("scorer", [Prejudiced(), Prejudiced(joint=True)], ids=["apart", "joint"])
def test_debiased_keeps_the_contract(scorer):
    check_scorer(Debiased(scorer))


def test_a_label_that_is_always_likely_stops_winning():
    texts = ["reset my password please", "the invoice is wrong"]
    plain = Router(Prejudiced(), LABELS, threshold=0.0).many(texts)
    assert [d.choice for d in plain] == ["billing", "billing"]
    fair = Router(Calibration().on(Debiased(Prejudiced(), weight=1.0)), LABELS, threshold=0.0).many(texts)
    assert [d.choice for d in fair] == ["password reset", "wrong invoice"]


@given(st.floats(-2, 2), st.lists(st.sampled_from(["N/A", "a pump", "billing the pump"]), min_size=1, max_size=3))
def test_what_is_taken_off_is_the_mean_over_content_free_texts(weight, texts):
    found = Debiased(Prejudiced(), content_free=texts, weight=weight).score(TEXTS, LABELS)
    inner = Prejudiced().score(TEXTS, LABELS).log_odds.astype(np.float64)
    prior = Prejudiced().score(texts, LABELS).log_odds.astype(np.float64).mean(axis=0)
    expected = inner - weight * prior
    expected[1] = EMPTY_LOG_ODDS
    np.testing.assert_allclose(found.log_odds, expected, atol=1e-4)
    assert found.meaning == "order"


def test_priors_are_asked_once_in_the_plan_of_the_first_call():
    inner = Counting()
    scorer = Debiased(inner)
    first = scorer.score_many([Ask(TEXTS, LABELS[:2]), Ask(TEXTS, LABELS[1:3])])
    assert [[list(a.labels) for a in plan] for plan in inner.plans] == [
        [LABELS[:2], LABELS[1:3], [Label(x) for x in LABELS[:3]]]
    ]
    assert list(inner.plans[0][2].texts) == list(CONTENT_FREE)
    again = scorer.score_many([Ask(TEXTS, LABELS[:2]), Ask(TEXTS, LABELS[1:3])])
    assert len(inner.plans[1]) == 2
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.log_odds, b.log_odds)
    scorer.score(TEXTS, LABELS)  # one label is new
    assert list(inner.plans[2][1].labels) == [Label(LABELS[3])]


def test_a_joint_scorer_has_a_prior_for_each_list_of_labels():
    class Plans(Places, Counting):
        pass

    inner = Plans()
    scorer = Debiased(inner, content_free=["N/A"], weight=1.0)
    found = scorer.score(["x"], LABELS)
    np.testing.assert_allclose(found.log_odds, 0, atol=1e-6)  # the text shares no word with any label, as N/A
    back = scorer.score(["x"], LABELS[::-1])
    np.testing.assert_allclose(back.log_odds, 0, atol=1e-6)
    assert [len(plan) for plan in inner.plans] == [2, 2]
    scorer.score(["x"], LABELS)
    assert len(inner.plans[2]) == 1


def test_no_more_priors_are_kept_than_the_bound(monkeypatch):
    monkeypatch.setattr("headgate.bias._MOST_PRIORS", 5)
    inner = Counting()
    scorer = Debiased(inner)
    expected = Debiased(ToyScorer())
    kept = set()
    for k in [*range(8), 1]:
        labels = [f"label {k} {i}" for i in range(1 + k)]
        np.testing.assert_array_equal(scorer.score(TEXTS, labels).log_odds, expected.score(TEXTS, labels).log_odds)
        kept.add(len(scorer._known))
    assert kept == {1, 3, 4, 5, 0, 2}


def test_threads_find_the_same():
    scorer, expected = Debiased(Prejudiced()), Debiased(Prejudiced()).score(TEXTS, LABELS).log_odds
    found = []

    def work():
        for _ in range(20):
            found.append(scorer.score(TEXTS, LABELS).log_odds)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 80
    assert all((f == expected).all() for f in found)


def test_it_gives_an_order_until_it_is_calibrated():
    with pytest.raises(ValueError, match="only an order"):
        Router(Debiased(ToyScorer()), LABELS)("reset my password")
    assert Reranker(Debiased(ToyScorer()))("the pump", ["a pump", "the pump"])[0].index == 1


def test_a_shortlist_inside_is_refused():
    class Few(ToyScorer):
        def score(self, texts, labels):
            return replace(super().score(texts, labels), scored=np.zeros((len(texts), len(labels)), np.bool_))

    with pytest.raises(ValueError, match="put it outside"):
        Debiased(Few()).score(TEXTS, LABELS)


@pytest.mark.parametrize("wrong", [[], ["a", " "], [3]])
def test_content_free_texts_are_checked(wrong):
    with pytest.raises(ValueError, match="content_free is"):
        Debiased(ToyScorer(), content_free=wrong)


def test_other_wrong_arguments():
    with pytest.raises(TypeError, match="content_free is a str"):
        Debiased(ToyScorer(), content_free="N/A")
    for wrong in (float("nan"), float("inf"), True, "1"):
        with pytest.raises(ValueError, match="weight is"):
            Debiased(ToyScorer(), weight=wrong)
    with pytest.raises(ValueError, match="came twice"):
        Debiased(ToyScorer()).score(TEXTS, ["a", "a"])


def test_texts_and_weight_are_in_the_fingerprint():
    toy = ToyScorer()
    different = [
        Debiased(toy),
        Debiased(toy, ["x"]),
        Debiased(toy, weight=WEIGHT / 2),
        Debiased(replace(toy, fingerprint="b")),
    ]
    assert len({d.fingerprint for d in different}) == 4
    assert Debiased(toy).fingerprint == Debiased(toy).fingerprint


# ----------------------------------------------------------------------------- what is handed on


@pytest.mark.parametrize("wrap", [Permuted, Debiased])
def test_the_rest_is_the_inner_scorers(wrap):
    class Rich(ToyScorer):
        run = SimpleNamespace(backend="torch")

        @cached_property
        def closed(self):
            return []

        def close(self):
            self.closed.append(True)

    inner = Rich(labels=("a", "b"), joint=True, thresholds={"a": 0.7})
    scorer = wrap(inner)
    assert (scorer.labels, scorer.joint, scorer.run.backend) == (("a", "b"), True, "torch")
    assert scorer.split_label("One. Two.") == ["One", "Two"]
    scorer.close()
    assert inner.closed == [True]
    wrap(SimpleNamespace(joint=False, labels=None)).close()
    with pytest.raises(TypeError, match="no split_label"):
        wrap(SimpleNamespace()).split_label("a")
    assert wrap(SimpleNamespace()).run is None
    with pytest.raises(FrozenInstanceError):
        scorer.scorer = None


def test_thresholds_go_where_the_numbers_are_still_the_inner_ones():
    toy = ToyScorer(thresholds={"password": 0.5})
    assert Guard(Permuted(toy), ["password"])("my password").broken == ("password",)
    with pytest.raises(ValueError, match="no threshold"):
        Guard(Debiased(toy), ["password"])
