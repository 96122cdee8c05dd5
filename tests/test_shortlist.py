"""The nearest labels by embedding, scored exactly; and how many of them are enough."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from headgate import (
    Ask,
    DataError,
    Debiased,
    Guard,
    Label,
    Permuted,
    Router,
    Shortlist,
    UnknownLabelError,
    WithExamples,
    judge,
)
from headgate.promise import Promise
from headgate.scores import EMPTY_LOG_ODDS
from headgate.testing import ToyScorer, check_scorer
from tests.embedders import Bags

NAMES = [f"task {a} {b}" for a in "abcdefgh" for b in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
TEXTS = ["please do task a one", "", "task h eight or g eight", "who won the cup", "task a one", "b"]


class Plans(ToyScorer):
    """The toy; remembers the asks of each plan."""

    plans: list

    def score_many(self, asks):
        self.__dict__.setdefault("plans", []).append(asks)
        return [self.score(a.texts, a.labels) for a in asks]


def nearest(text, names=NAMES, size=5, more=None):
    """By numpy: the `size` names nearest to a text, by any of their words."""
    query = Bags().embed([text], role="query")[0].astype(float)
    near = [max(float(query @ v) for v in Bags().embed([n, *(more or {}).get(n, [])], role="document")) for n in names]
    return {names[j] for j in np.argsort(-np.array(near), kind="stable")[:size]}


@pytest.mark.parametrize(
    "inner", [ToyScorer(), ToyScorer(joint=True), ToyScorer("order")], ids=["toy", "joint", "order"]
)
@pytest.mark.parametrize("size", [1, 7, 64])
def test_it_keeps_the_contract(inner, size):
    check_scorer(Shortlist(inner, Bags(), NAMES, size=size), texts=TEXTS)


def test_the_nearest_are_scored_exactly_and_the_rest_not_at_all():
    inner, embedder = Plans(), Bags()
    found = judge(Shortlist(inner, embedder, NAMES, size=5), [Ask(TEXTS, NAMES)])[0]
    exact = judge(ToyScorer(), [Ask(TEXTS, NAMES)])[0]
    for i, text in enumerate(TEXTS):
        scored = {n for n, yes in zip(NAMES, found.scored[i], strict=True) if yes}
        assert scored == (nearest(text) if text else set())
    np.testing.assert_array_equal(found.log_odds, np.where(found.scored, exact.log_odds, EMPTY_LOG_ODDS))
    np.testing.assert_array_equal(found.spans, np.where(found.scored[..., None], exact.spans, 0))
    assert (found.windows == 1).all()
    assert found.empty.tolist() == [False, True, False, False, False, False]
    assert sum(len(a.texts) * len(a.labels) for a in inner.plans[0]) == 5 * 5 + 1
    assert [role for role, _ in embedder.seen] == ["document", "query"]
    assert embedder.seen[1][1] == [t for t in TEXTS if t]


def test_blocks_of_texts_are_searched_one_by_one(monkeypatch):
    whole = judge(Shortlist(ToyScorer(), Bags(), NAMES, size=5), [Ask(TEXTS, NAMES)])[0]
    truths = ["task a one", None, "task h eight", None, "task a one", "task b two"]
    texts = [t or "nothing" for t in TEXTS]
    ranks = Shortlist(ToyScorer(), Bags(), NAMES, size=5).fit(texts, truths, miss=0.5).promise
    monkeypatch.setattr("headgate.shortlist._BLOCK", 70)
    embedder = Bags()
    shortlist = Shortlist(ToyScorer(), embedder, NAMES, size=5)
    found = judge(shortlist, [Ask(TEXTS, NAMES)])[0]
    np.testing.assert_array_equal(found.log_odds, whole.log_odds)
    assert shortlist.fit(texts, truths, miss=0.5).promise == ranks
    assert [len(some) for role, some in embedder.seen if role == "query"] == [5, 1, 1, 1, 1]
    monkeypatch.setattr("headgate.examples._BLOCK", 1)
    scorer = WithExamples(None, Bags(), {n: [n] for n in NAMES})
    split = scorer.score(TEXTS, NAMES).log_odds
    monkeypatch.setattr("headgate.examples._BLOCK", 10_000)
    np.testing.assert_allclose(split, scorer.score(TEXTS, NAMES).log_odds, atol=1e-5)


def test_all_asks_are_one_plan_and_texts_with_the_same_candidates_share_one():
    inner = Plans()
    scorer = Shortlist(inner, Bags(), NAMES, size=5)
    twins = ["task a one", "one a task", "task a one!"]
    scorer.score_many([Ask(twins, NAMES), Ask(["b two"], NAMES)])
    (plan,) = inner.plans
    assert [list(a.texts) for a in plan] == [twins, ["b two"]]
    assert [len(a.labels) for a in plan] == [5, 5]
    assert list(plan[0].labels) == [n for n in NAMES if n in nearest("task a one")]  # in the order of the names


def test_which_labels_are_looked_at_depends_on_all_names_not_on_those_asked_for():
    scorer = Shortlist(ToyScorer(), Bags(), NAMES, size=5)
    whole = judge(scorer, [Ask(TEXTS, NAMES)])[0]
    some = [NAMES[j] for j in (9, 0, 63, 1)]
    few = judge(scorer, [Ask(TEXTS, some)])[0]
    np.testing.assert_array_equal(few.log_odds, whole.log_odds[:, [9, 0, 63, 1]])
    np.testing.assert_array_equal(few.scored, whole.scored[:, [9, 0, 63, 1]])
    back = judge(scorer, [Ask(TEXTS, NAMES[::-1])])[0]
    np.testing.assert_array_equal(back.log_odds, whole.log_odds[:, ::-1])
    labels = judge(scorer, [Ask(TEXTS, [Label(n) for n in NAMES])])[0]
    np.testing.assert_array_equal(labels.log_odds, whole.log_odds)


def test_a_text_whose_shortlist_was_not_asked_for_is_read_all_the_same():
    class Half(ToyScorer):
        def score(self, texts, labels):
            unknown = np.full(len(texts), 0.75, np.float32)
            tokens = np.array([len(t) for t in texts], np.int32)
            return dataclasses.replace(super().score(texts, labels), unknown=unknown, tokens=tokens)

    scorer = Shortlist(Half(), Bags(), NAMES, size=5)
    found = judge(scorer, [Ask(["task a one"], ["task h eight"])])[0]
    assert not found.scored.any()
    assert (found.unknown[0], found.tokens[0]) == (0.75, 10)
    assert Guard(scorer, ["task h eight"], threshold=0.5)("task a one").broken == ("unreadable",)


def test_up_to_so_many_names_all_are_scored_and_none_embedded():
    inner, embedder = Plans(), Bags()
    scorer = Shortlist(inner, embedder, NAMES[:50], size=5)
    assert scorer.score(TEXTS, NAMES[:50]).scored is None
    assert embedder.seen == []
    assert len(inner.plans[0][0].labels) == 50
    assert Shortlist(ToyScorer(), Bags(), NAMES[:51], size=5).score(TEXTS, NAMES[:51]).scored is not None
    assert Shortlist(ToyScorer(), Bags(), NAMES[:51], size=51).score(TEXTS, NAMES[:51]).scored is None
    assert Shortlist(ToyScorer(), Bags(), NAMES[:6], size=5, least=5).score(TEXTS, NAMES[:6]).scored.sum() == 5 * 5


def test_descriptions_and_utterances_are_near_too():
    names = dict.fromkeys(NAMES, "") | {n: f"about {n}" for n in NAMES}
    names["task c one"] = Label("The text wants its wombat groomed.", verbatim=True)
    said = {"task d two": ["polish my trombone", "a shiny trombone"], "task e two": ["feed the ferret"]}
    inner = Plans()
    scorer = Shortlist(inner, Bags(), names, said, size=3)
    for text, name in (
        ("wombat groomed", "task c one"),
        ("trombone polish", "task d two"),
        ("ferret", "task e two"),
        ("task a one", "task a one"),
    ):
        found = scorer.score([text], list(NAMES))
        assert found.scored[0, NAMES.index(name)], text
        assert found.scored.sum() == 3
        assert names[name] in inner.plans[-1][0].labels  # the inner scorer reads descriptions


def test_a_label_with_many_utterances_takes_one_place():
    said = {"task a one": [f"trombone {w}" for w in "abcdefghijklmnop"]}
    found = Shortlist(ToyScorer(), Bags(), NAMES, said, size=4).score(["trombone"], NAMES)
    assert found.scored.sum() == 4
    assert found.scored[0, 0]


def test_a_router_over_it_chooses_as_over_all():
    texts = ["please do task a one", "task h eight", "now task c three", "who won the cup"]
    exact = Router(ToyScorer(), NAMES, threshold=0.0).many(texts)
    quick = Router(Shortlist(ToyScorer(), Bags(), NAMES, size=5), NAMES, threshold=0.0).many(texts)
    assert (
        [d.choice for d in quick[:3]] == [d.choice for d in exact[:3]] == ["task a one", "task h eight", "task c three"]
    )
    several = Router(Shortlist(ToyScorer(), Bags(), NAMES, size=8), NAMES, threshold=0.9, multi=True)
    assert set(several("task a one and task b two").choices) >= {"task a one", "task b two"}
    assert json.dumps(dataclasses.asdict(quick[0]))


def test_around_other_wrappers():
    joint = Shortlist(Permuted(ToyScorer(joint=True)), Bags(), NAMES, size=5)
    check_scorer(joint, texts=TEXTS)
    assert joint.joint
    check_scorer(Shortlist(Debiased(ToyScorer()), Bags(), NAMES, size=5), texts=TEXTS)
    said = {n: [f"I want {n}"] for n in NAMES}
    check_scorer(Shortlist(WithExamples(ToyScorer(), Bags(), said), Bags(), NAMES, said, size=5), texts=TEXTS)


def test_what_it_hands_on():
    scorer = Shortlist(ToyScorer(thresholds={"about it": 0.7}), Bags(), {"it": "about it", **{n: n for n in NAMES}})
    assert scorer.labels == ("it", *NAMES)
    assert scorer.thresholds == {"it": 0.7}
    assert not scorer.joint


# ---------------------------------------------------------------------------------------- a promise


def ranked(ranks):
    """A shortlist whose true labels have these ranks, with the texts and truths that make them so."""
    m = 80

    class Ranks:
        fingerprint = "ranks"

        def embed(self, texts, *, role):
            # Labels on an arc from 0 degrees on; text i stands so that its true label, the last, is at rank i.
            angle = [float(t.split()[-1]) for t in texts]
            return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)

    step = np.pi / 2 / m
    names = [f"label {j * step:.6f}" for j in range(m)]
    texts = [f"text {i} {0.0:.6f}" for i in range(len(ranks))]
    return Shortlist(ToyScorer(), Ranks(), names, size=3), texts, [names[r - 1] for r in ranks]


@given(
    st.lists(st.integers(1, 80), min_size=1, max_size=150),
    st.sampled_from([0.02, 0.05, 0.2]),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_the_size_is_the_smallest_that_clopper_and_pearson_allow(ranks, miss, confidence):
    shortlist, texts, truths = ranked(ranks)

    def shown(size):
        """Whether the upper bound on the miss rate of this size is at most `miss`."""
        misses = sum(r > size for r in ranks)
        if misses == len(ranks):
            return False
        return (
            binomtest(misses, len(ranks)).proportion_ci(2 * confidence - 1 if confidence > 0.5 else 1e-9).high <= miss
        )

    small = (1 - miss) ** len(ranks) > 1 - confidence
    if small:
        with pytest.warns(UserWarning, match="can't promise"):
            fitted = shortlist.fit(texts, truths, miss=miss, confidence=confidence)
        p = fitted.promise
        assert not p.guaranteed
        assert fitted.size == p.size == max(3, *ranks)
        n = len(ranks)
        assert (1 - miss) ** (n + p.needed) <= 1 - confidence < (1 - miss) ** (n + p.needed - 1)
    else:
        fitted = shortlist.fit(texts, truths, miss=miss, confidence=confidence)
        p = fitted.promise
        assert p.guaranteed
        assert p.needed == 0
        misses = [sum(r > size for r in ranks) for size in range(81)]
        alpha = 1 - confidence
        assert fitted.size == next(s for s in range(1, 81) if binom.cdf(misses[s], len(ranks), miss) <= alpha)
        if confidence > 0.5:
            assert shown(fitted.size)
            assert fitted.size == 1 or not shown(fitted.size - 1)
    assert p.attained == pytest.approx(np.mean([r <= p.size for r in ranks]))
    assert (p.n, p.miss, p.confidence) == (len(ranks), miss, confidence)
    assert shortlist.size == 3
    assert shortlist.promise is None


def test_the_promise_is_kept_on_new_texts_as_often_as_it_says():
    rng = np.random.default_rng(0)
    chance = 0.93 ** np.arange(80)
    chance /= chance.sum()
    broken, runs = 0, 300
    for _ in range(runs):
        shortlist, texts, truths = ranked(rng.choice(80, size=150, p=chance) + 1)
        size = shortlist.fit(texts, truths, miss=0.05, confidence=0.9).size
        broken += chance[size:].sum() > 0.05
    assert binomtest(broken, runs, 0.1, alternative="greater").pvalue > 0.01
    assert broken > 0  # nor is it promised by taking far too many


def test_the_rank_that_counts_is_the_one_a_text_then_sees():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(" ".join(NAMES).split(), 4)) for _ in range(200)]
    truths = [NAMES[j] for j in rng.integers(64, size=200)]
    shortlist = Shortlist(ToyScorer(), Bags(), NAMES, {"task a one": ["do the first"]}, size=2)
    fitted = shortlist.fit(texts, truths, miss=0.2)
    found = judge(fitted, [Ask(texts, NAMES)])[0]
    seen = found.scored[np.arange(200), [NAMES.index(t) for t in truths]]
    assert 1 < fitted.size < 64
    # Of labels as near as one another some are seen and some not; fit counts them all as not.
    assert seen.mean() >= fitted.promise.attained
    assert seen.mean() == pytest.approx(fitted.promise.attained, abs=0.06)


def test_out_of_scope_and_several_truths():
    shortlist, texts, truths = ranked([5] * 150)
    more = shortlist.fit([*texts, *texts], [*truths, *([None] * 75), *([[]] * 75)])
    assert more.promise == Promise(0.02, 0.9, 150, 5, 1.0, True)
    both = shortlist.fit(texts, [[t, shortlist.labels[8]] for t in truths])
    assert both.size == 9  # the farthest of a text's labels must be in


def test_with_few_names_there_is_nothing_to_promise():
    fitted = Shortlist(ToyScorer(), Bags(), NAMES[:50]).fit(["x"] * 200, [NAMES[0]] * 200)
    assert fitted.promise == Promise(0.02, 0.9, 200, 50, 1.0, True)
    few = Shortlist(ToyScorer(), Bags(), NAMES[:50]).fit(["x"], [NAMES[0]])
    assert few.promise.guaranteed


def test_utterances_of_the_shortlist_promise_nothing():
    said = {"task a one": ["first thing", "the very first"]}
    shortlist = Shortlist(ToyScorer(), Bags(), NAMES, said)
    with pytest.warns(UserWarning, match="1 of 151 texts are example utterances"):
        fitted = shortlist.fit(["First  thing", *["task a one"] * 150], ["task a one"] * 151)
    assert fitted.promise.n == 150
    with (
        pytest.warns(UserWarning, match="1 of 1 texts"),
        pytest.raises(ValueError, match="none of 1 texts is in scope and new"),
    ):
        shortlist.fit(["first thing"], ["task a one"])


def test_fit_embeds_the_names_no_second_time():
    embedder = Bags()
    shortlist = Shortlist(ToyScorer(), embedder, NAMES, size=2)
    embedder.seen.clear()
    shortlist.fit(["task a one"] * 150, ["task a one"] * 150).score(["task a one"], NAMES)
    assert {role for role, _ in embedder.seen} == {"query"}


def test_another_size_shares_what_was_embedded_and_promises_nothing():
    embedder = Bags()
    fitted = Shortlist(ToyScorer(), embedder, NAMES).fit(["task a one"] * 150, ["task a one"] * 150)
    embedder.seen.clear()
    other = fitted.sized(7)
    assert other.score(["task a one"], NAMES).scored.sum() == 7
    assert (other.promise, fitted.size, len(embedder.seen)) == (None, 1, 1)
    assert other.fingerprint != fitted.fingerprint
    with pytest.raises(ValueError, match="size is 0"):
        fitted.sized(0)


def test_a_promise_can_be_written_and_read():
    p = Shortlist(ToyScorer(), Bags(), NAMES).fit(["task a one"] * 150, ["task a one"] * 150).promise
    assert Promise(**json.loads(json.dumps(dataclasses.asdict(p)))) == p


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({"names": []}, ValueError, "labels is .*expected names"),
        ({"names": "task"}, ValueError, "labels is 'task'"),
        ({"names": 7}, ValueError, "labels is 7"),
        ({"names": ["a", "a"]}, ValueError, "name one twice"),
        ({"names": {"a": "x", "b": "x"}}, ValueError, "same description"),
        ({"names": {"a": 3}}, ValueError, "'a' is described by 3"),
        ({"examples": {"nobody": ["x"]}}, ValueError, "'nobody', which is no label"),
        ({"examples": {"task a one": "x"}}, TypeError, "is a str"),
        ({"examples": ["x"]}, TypeError, "examples is list"),
        ({"size": 0}, ValueError, "size is 0"),
        ({"size": 2.0}, ValueError, "size is 2.0"),
        ({"size": True}, ValueError, "size is True"),
        ({"least": -1}, ValueError, "least is -1"),
        ({"scorer": ToyScorer(labels=("task a one",))}, UnknownLabelError, "without 'task a two'"),
    ],
)
def test_what_it_is_made_of_is_checked(parts, error, message):
    with pytest.raises(error, match=message):
        Shortlist(**{"scorer": ToyScorer(), "embedder": Bags(), "names": NAMES} | parts)


@pytest.mark.parametrize(
    ("texts", "truths", "parts", "error", "message"),
    [
        (["a", "b"], [None, "task z"], {}, DataError, "truth 1 is 'task z', which is no label"),
        (["a", "b"], [None, float("nan")], {}, DataError, "truth 1 is nan"),
        (["a", " "], [None, "task a one"], {}, DataError, "text 1 is ' '"),
        (["a"], [], {}, ValueError, "1 texts and 0 truths"),
        ([], [], {}, ValueError, "at least one"),
        (["a"], [None], {}, ValueError, "none of 1 texts is in scope"),
        ("ab", ["task a one"], {}, TypeError, "texts is a str"),
        (["a"], ["task a one"], {"miss": 0}, ValueError, "miss is 0"),
        (["a"], ["task a one"], {"miss": 1.0}, ValueError, "miss is 1.0"),
        (["a"], ["task a one"], {"miss": float("nan")}, ValueError, "miss is nan"),
        (["a"], ["task a one"], {"confidence": True}, ValueError, "confidence is True"),
    ],
)
def test_rows_that_promise_nothing(texts, truths, parts, error, message):
    with pytest.raises(error, match=message):
        Shortlist(ToyScorer(), Bags(), NAMES).fit(texts, truths, **parts)


def test_labels_are_names():
    with pytest.raises(UnknownLabelError, match="'somewhere else' is none of the 64 known"):
        Shortlist(ToyScorer(), Bags(), NAMES).score(["a"], ["somewhere else"])
    with pytest.raises(ValueError, match="came twice"):
        judge(Shortlist(ToyScorer(), Bags(), NAMES), [Ask(["a"], ["task a one"] * 2)])


def test_the_fingerprint_holds_all_that_numbers_come_from():
    base = Shortlist(ToyScorer(), Bags(), NAMES)
    others = [
        Shortlist(ToyScorer(fingerprint="b"), Bags(), NAMES),
        Shortlist(ToyScorer(), Bags("other"), NAMES),
        Shortlist(ToyScorer(), Bags(), NAMES[::-1]),
        Shortlist(ToyScorer(), Bags(), {n: f"about {n}" for n in NAMES}),
        Shortlist(ToyScorer(), Bags(), NAMES, {"task a one": ["x"]}),
        Shortlist(ToyScorer(), Bags(), NAMES, size=31),
        Shortlist(ToyScorer(), Bags(), NAMES, least=64),
    ]
    assert len({s.fingerprint for s in [base, *others]}) == 8
    assert Shortlist(ToyScorer(), Bags(), list(NAMES)).fingerprint == base.fingerprint
    same = Shortlist(ToyScorer(), Bags(), NAMES, size=64).fingerprint
    assert same == Shortlist(ToyScorer(), Bags(), NAMES, least=64).fingerprint  # all are scored either way
