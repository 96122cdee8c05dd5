"""Routers and guards fitted to a target: calibrated on one half, proven on the other, and honest about both."""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from headgate import Calibration, DataError, Guard, NotCalibratedError, Router, Rule, Scores, StaleError
from headgate.bounds import fewest
from headgate.chances import Chances
from headgate.thresholds import selective

NAMES = ["a", "b", "c"]


@dataclass(frozen=True)
class World:
    """A model whose texts say what is true of them and where its noise comes from: "a,b 17".

    It reads 16 lines of 6 tokens a window, and gives a window's first line the number, and the highest window counts.
    """

    lift: float = 5.0
    meaning: str = "probability"
    fingerprint: str = "world"
    joint: bool = False
    labels: tuple | None = None

    def score(self, texts, labels):
        lines = [text.split("\n") for text in texts]
        z = np.array([np.max([self.line(line, labels) for line in own[::16]], axis=0) for own in lines], np.float32)
        found = Scores.of(z, texts, meaning=self.meaning)
        unread = np.array([float(t.startswith("?")) for t in texts], np.float32)
        windows = np.array([[-(-len(own) // 16)] * len(labels) for own in lines], np.int32)
        return replace(
            found, unknown=unread, windows=windows, tokens=np.array([6 * len(own) for own in lines], np.int32)
        )

    def line(self, line, labels):
        said, _, number = line.partition(" ")
        noise = np.random.default_rng(int(number)).normal(-3, 1.5, len(labels))
        return noise + [self.lift * (str(label) in said.split(",")) for label in labels]


def world(n, seed=0, none=0.2, several=False):
    """n texts of a world, and their truths."""
    rng = np.random.default_rng(seed)
    truths = []
    for _ in range(n):
        names = [name for name in NAMES if rng.random() < 0.3] if several else [NAMES[rng.integers(3)]]
        truths.append(None if rng.random() < none or not names else names if several else names[0])
    said = [",".join(t) if isinstance(t, list) else str(t) for t in truths]
    return [f"{s} {seed * 1_000_000 + i}" for i, s in enumerate(said)], truths


TEXTS, TRUTHS = world(1000)
MANY, MANY_TRUTHS = world(8000, seed=99)


def error(router, texts=MANY, truths=MANY_TRUTHS):
    """P(wrong | routed) on other texts."""
    wrong = [d.choice != t for d, t in zip(router.many(texts), truths, strict=True) if d.choice is not None]
    return np.mean(wrong)


# ------------------------------------------------------------------------------------- router


def test_a_fitted_router_keeps_its_promise_and_says_so():
    router = Router(World(), NAMES).fit(TEXTS, TRUTHS, max_error=0.05)
    assert error(router) <= 0.05
    c = router.certificate
    assert (c.guaranteed, c.needed, c.promise, c.target, c.confidence) == (True, 0, "max_error", 0.05, 0.9)
    assert (c.fitted, c.certified) == (500, 500)
    assert c.proofs["all"].threshold == router.threshold
    assert c.proofs["all"].bound <= 0.05
    assert router("a 3").certificate == c.id
    assert Router(World(), NAMES)("a 3").certificate is None


def test_the_promise_holds_in_as_many_draws_as_it_says():
    # The scores of many texts are drawn once; each draw fits and proves on 300 of them.
    scores = World(lift=4.0).score(MANY, NAMES)
    right = np.array([[t == n for n in NAMES] for t in MANY_TRUTHS])
    chances = Chances.of(scores, 3, multi=False)
    outcomes = chances.outcomes(Router(World(), NAMES).cut, right, scores.empty)
    broken = 0
    for seed in range(300):
        mine = np.random.default_rng(seed).permutation(len(MANY))[:300]
        fit, held = (outcomes.where(np.isin(np.arange(len(MANY)), half)) for half in (mine[:150], mine[150:]))
        proof = selective(fit, held, rate=0.1, confidence=0.9)
        n, wrong = outcomes.at(proof.threshold)
        broken += proof.guaranteed and wrong > 0.1 * n
    assert stats.binomtest(broken, 300, 0.1, alternative="greater").pvalue > 0.01


def test_the_proof_counts_the_decisions_on_the_second_half():
    router = Router(World(), NAMES, gap=0.5, nulls=["zz"]).fit(TEXTS, TRUTHS, max_error=0.05)
    held = np.random.default_rng(0).permutation(1000) >= 500
    chosen = [(d.choice, t) for d, t, h in zip(router.many(TEXTS), TRUTHS, held, strict=True) if h and d.choice]
    proof = router.certificate.proofs["all"]
    assert (proof.n, proof.errors) == (len(chosen), sum(choice != t for choice, t in chosen))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"gap": 2.0},
        {"nulls": ["zz", "b,zz"]},
        {"gap": 1.0, "nulls": ["zz"]},
        {"multi": True},
        {"multi": True, "top_k": 1},
        {"multi": True, "nulls": ["zz"], "top_k": 2},
    ],
)
@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.9])
def test_outcomes_are_what_the_router_decides(how, threshold):
    router = Router(World(lift=2.0), NAMES, threshold=threshold, **how)
    (ask,) = router.ask(TEXTS)
    scores = World(lift=2.0).score(ask.texts, ask.labels)
    true = np.array([[t == n for n in NAMES] for t in TRUTHS])
    outcomes = router.chances(scores).outcomes(router.cut, true, scores.empty)
    decisions = router.decide([scores])
    assert ((outcomes.best >= threshold) == [d.choice is not None for d in decisions]).all()
    wrong = [not set(d.choices) <= {t} for d, t in zip(decisions, TRUTHS, strict=True)]
    assert ((outcomes.wrong >= threshold) == wrong).all()


def test_the_second_half_moves_no_calibration():
    router = Router(World(), NAMES).fit(TEXTS, TRUTHS, max_error=0.05)
    order = np.random.default_rng(0).permutation(1000)
    held = [i for i in range(1000) if order[i] >= 500]
    liars = [("b" if TRUTHS[i] == "a" else TRUTHS[i]) if i in set(held) else TRUTHS[i] for i in range(1000)]
    with pytest.warns(UserWarning, match="not guaranteed"):
        other = Router(World(), NAMES).fit(TEXTS, liars, max_error=0.05)
    assert other.calibration == router.calibration
    assert not other.certificate.guaranteed


def test_the_seed_deals_the_halves():
    fits = [Router(World(), NAMES).fit(TEXTS, TRUTHS, max_error=0.05, seed=seed) for seed in (0, 0, 1)]
    assert fits[0] == fits[1]
    assert fits[0].threshold != fits[2].threshold


def test_out_of_scope_counts_as_wrong():
    inside = [t for t, truth in zip(TEXTS, TRUTHS, strict=True) if truth is not None]
    alone = Router(World(), NAMES).fit(inside, [t for t in TRUTHS if t], max_error=0.05)
    assert error(alone) > 0.05 > error(Router(World(), NAMES).fit(TEXTS, TRUTHS, max_error=0.05))


def test_routes_with_enough_texts_have_a_threshold_of_their_own():
    texts, truths = world(4000, seed=5)
    router = Router(World(), NAMES).fit(texts, truths, max_error=0.1, by="route")
    assert set(router.threshold) == set(NAMES) == set(router.certificate.proofs)
    assert len(set(router.threshold.values())) == 3
    for name in NAMES:
        chosen = [(d.choice, t) for d, t in zip(router.many(MANY), MANY_TRUTHS, strict=True) if d.choice == name]
        assert np.mean([a != b for a, b in chosen]) <= 0.1


@pytest.mark.filterwarnings("ignore:.*not guaranteed")
def test_routes_with_few_texts_share_a_threshold():
    rare = [i for i, t in enumerate(TRUTHS) if t != "c"] + [i for i, t in enumerate(TRUTHS) if t == "c"][:12]
    router = Router(World(), NAMES).fit([TEXTS[i] for i in rare], [TRUTHS[i] for i in rare], max_error=0.1, by="route")
    assert set(router.certificate.proofs) == {"a", "b", "(others)"}
    assert router.threshold["c"] == router.certificate.proofs["(others)"].threshold


def test_what_can_not_be_proven_falls_back_and_warns():
    with pytest.warns(UserWarning, match="max_error 0.01 is not guaranteed for all"):
        router = Router(World(), NAMES).fit(TEXTS[:60], TRUTHS[:60], max_error=0.01)
    assert not router.certificate.guaranteed
    assert router.threshold == 0.99
    assert router.certificate.needed is None or router.certificate.needed > 2 * fewest(0.01, 0.9) - 60


@pytest.mark.filterwarnings("ignore:.*not guaranteed")
def test_several_routes_may_be_right():
    texts, truths = world(1500, seed=2, several=True)
    router = Router(World(), NAMES, multi=True).fit(texts, truths, max_error=0.1)
    later, said = world(5000, seed=3, several=True)
    wrong = [not set(d.choices) <= set(t or []) for d, t in zip(router.many(later), said, strict=True) if d.choices]
    assert np.mean(wrong) <= 0.1
    assert len(wrong) > 1000
    platt = LogisticRegression(C=np.inf).fit(
        World().score(texts, NAMES).log_odds.reshape(-1, 1), [n in (t or []) for t in truths for n in NAMES]
    )
    assert router.calibration.scale == pytest.approx(platt.coef_[0, 0], rel=0.1)
    with pytest.raises(ValueError, match="for a router that chooses one"):
        Router(World(), NAMES, multi=True).fit(texts, truths, max_error=0.1, by="route")


def test_what_comes_often_counts_often():
    # 30% of the texts are one, and it is always misrouted: a certificate that counted it once would promise too much.
    hello = next(t for t, d in zip(MANY, Router(World(), NAMES).many(MANY), strict=True) if d.probabilities["a"] > 0.9)
    texts, truths = [*TEXTS, *[hello] * 430], [*TRUTHS, *["b"] * 430]
    router = Router(World(), NAMES).fit(texts, truths, max_error=0.05)
    assert error(router, [*MANY, *[hello] * 3430], [*MANY_TRUTHS, *["b"] * 3430]) <= 0.05


def test_examples_of_the_scorer_prove_nothing():
    class Holding(World):
        def seen(self, texts):
            return [i for i in range(len(texts)) if i % 2]

    with pytest.warns(UserWarning, match="500 of 1000 texts, the first at 1"):
        router = Router(Holding(), NAMES).fit(TEXTS, TRUTHS, max_error=0.1)
    assert router.certificate.certified < 300


def test_no_route_takes_the_proof_of_the_others():
    names = ["(others)", "b", "c"]
    with pytest.raises(ValueError, match=r"a route is called '\(others\)'"):
        Router(World(), names).fit(TEXTS, [None] * 1000, max_error=0.1, by="route")


@pytest.mark.filterwarnings("ignore:.*not guaranteed")
def test_what_the_caller_changes_later_changes_no_decision():
    nulls, thresholds = ["zz"], dict.fromkeys(NAMES, 0.9)
    router = Router(World(), NAMES, threshold=thresholds, nulls=nulls)
    before = router("None 5")
    thresholds["a"], router.threshold["b"] = 0.0, 0.0
    thresholds.update(b=0.0, c=0.0)
    nulls.append("b")
    assert router("None 5") == before


def test_a_scorer_that_changes_under_a_certificate_is_noticed():
    scorer = World()
    router = Router(scorer, NAMES).fit(TEXTS, TRUTHS, max_error=0.05)
    object.__setattr__(scorer, "fingerprint", "retrained")
    with pytest.raises(StaleError, match="scorer changed"):
        router("a 1")


def test_iterators_of_texts_and_truths_will_do():
    router = Router(World(), NAMES).fit(iter(TEXTS), iter(TRUTHS), max_error=0.05)
    assert router == Router(World(), NAMES).fit(TEXTS, TRUTHS, max_error=0.05)


def test_gap_and_nulls_are_part_of_what_is_proven():
    router = Router(World(), NAMES, gap=1.0, nulls=["zz"]).fit(TEXTS, TRUTHS, max_error=0.05)
    n = sum(d.choice is not None for d, h in zip(router.many(TEXTS), np.ones(1000), strict=True) if h)
    assert router.certificate.guaranteed
    assert error(router) <= 0.05
    assert n > 500


def test_a_ranker_becomes_a_router_by_fitting():
    with pytest.raises(NotCalibratedError):
        Router(World(meaning="order"), NAMES)("a 1")
    router = Router(World(meaning="order"), NAMES).fit(TEXTS, TRUTHS, max_error=0.05)
    assert error(router) <= 0.05


def test_a_certificate_for_other_settings_is_stale():
    router = Router(World(), NAMES).fit(TEXTS, TRUTHS, max_error=0.05)
    other = World(fingerprint="retrained")
    for changed, name in (
        ({"threshold": 0.5}, "threshold"),
        ({"routes": ["a", "b"]}, "routes"),
        ({"scorer": other}, "scorer"),
        ({"calibration": None}, "calibration"),
        ({"nulls": ["x"]}, "nulls"),
        ({"turns": 5}, "turns"),
        ({"on_overflow": "error"}, "on_overflow"),
    ):
        with pytest.raises(StaleError, match=name):
            replace(router, **changed)
    assert replace(router, threshold=0.5, certificate=None).threshold == 0.5
    assert replace(router, scorer=World()) == replace(router, scorer=World())  # the same model, loaded again


@pytest.mark.parametrize(
    ("how", "error_", "message"),
    [
        ({"max_error": 0.0}, ValueError, "max_error is 0.0"),
        ({"max_error": 0.05, "confidence": 1.0}, ValueError, "confidence is 1.0"),
        ({"max_error": 0.05, "by": "label"}, ValueError, "by is 'label'"),
        ({"max_error": 0.05, "truths": ["d", *TRUTHS[1:]]}, DataError, "row 0: the truth 'd' is no route"),
        ({"max_error": 0.05, "truths": [None] * 1000}, ValueError, "no text has a true label"),
        ({"max_error": 0.05, "truths": TRUTHS[1:]}, DataError, "1000 texts and 999 truths"),
    ],
)
def test_bad_labels_and_targets_are_named(how, error_, message):
    with pytest.raises(error_, match=message):
        Router(World(), NAMES).fit(TEXTS, how.pop("truths", TRUTHS), **how)


def test_scores_that_rank_false_above_true_are_refused():
    with pytest.raises(ValueError, match="rank false above true"):
        Router(World(lift=-9.0), NAMES).fit(TEXTS, TRUTHS, max_error=0.05)


def test_the_choice_is_calibrated_as_scipy_would():
    scores, truth = World(lift=4.0).score(TEXTS, NAMES), np.array([NAMES.index(t) if t else -1 for t in TRUTHS])
    found = Calibration.fit_choice(scores, truth)
    target = np.full((1000, 3), 1 / 1002 / 3)
    target[truth >= 0, truth[truth >= 0]] = 1001 / 1002

    def loss(w):
        z = w[0] * scores.log_odds.astype(float) + w[1]
        return np.logaddexp.reduce(np.concatenate([z, np.zeros((1000, 1))], axis=1), axis=1).sum() - (target * z).sum()

    best = minimize(loss, [1.0, 0.0], tol=1e-10)
    np.testing.assert_allclose([found.scale, found.shift], best.x, atol=1e-4)
    p = Chances.of(found(scores), 3, multi=False)
    assert p.none.mean() == pytest.approx((truth < 0).mean(), abs=0.01)
    assert p.p.sum(axis=0) == pytest.approx(target.sum(axis=0), abs=25)


def test_a_choice_is_calibrated_on_the_labels_that_were_offered():
    scores, truth = World().score(TEXTS, NAMES), np.array([NAMES.index(t) if t else -1 for t in TRUTHS])
    wide = Scores.of(np.concatenate([np.full((1000, 2), -1e4), scores.log_odds], axis=1), TEXTS)
    wide = replace(wide, scored=np.array([[False, False, True, True, True]] * 1000))
    moved = np.where(truth >= 0, truth + 2, -1)
    assert Calibration.fit_choice(wide, moved) == Calibration.fit_choice(scores, truth)
    missed = np.where(np.arange(1000) % 10 == 0, 0, moved)  # the true label was left out: none was right
    assert Calibration.fit_choice(wide, missed) == Calibration.fit_choice(wide, np.where(missed == 0, -1, missed))


@pytest.mark.parametrize("truth", [np.zeros(3, int), np.zeros(1000), np.full(1000, -1)])
def test_choices_that_can_not_be_fitted_are_refused(truth):
    with pytest.raises(ValueError, match=r"truths have shape|no text has a true label"):
        Calibration.fit_choice(World().score(TEXTS, NAMES), truth)


# -------------------------------------------------------------------------------------- guard

SAFE, RULES = world(2000, seed=7, none=0.7)


def rates(guard, texts=MANY, truths=MANY_TRUTHS):
    """Of safe texts the share that is blocked, and of unsafe ones."""
    blocked = np.array([not v.allowed for v in guard.many(texts)])
    unsafe = np.array([t is not None for t in truths])
    return blocked[~unsafe].mean(), blocked[unsafe].mean()


def test_a_fitted_guard_keeps_its_budget_of_false_alarms():
    guard = Guard(World(), NAMES, threshold=0.5).fit(SAFE, RULES, max_false_positive_rate=0.02)
    c = guard.certificate
    assert (c.guaranteed, c.promise) == (True, "max_false_positive_rate")
    alarms, recall = rates(guard)
    assert alarms <= 0.02 < rates(Guard(World(), NAMES, threshold=0.5))[0]
    assert recall > 0.5
    assert len({rule.threshold for rule in guard.rules.values()}) == 1
    assert len({rule.calibration for rule in guard.rules.values()}) == 3
    assert guard("a 1").certificate == c.id
    json.dumps(asdict(guard("a 1")))


def test_a_fitted_guard_keeps_its_recall():
    guard = Guard(World(), NAMES, threshold=0.5).fit(SAFE, RULES, min_recall=0.9, seed=1)
    assert guard.certificate.guaranteed
    assert rates(guard)[1] >= 0.9


def test_each_rule_may_have_a_promise_of_its_own():
    guard = Guard(World(), NAMES, threshold=0.5).fit(SAFE, RULES, max_false_positive_rate=0.05, by="rule")
    assert set(guard.certificate.proofs) == set(NAMES)
    assert len({rule.threshold for rule in guard.rules.values()}) == 3
    verdicts = guard.many(MANY)
    for name in NAMES:
        others = [name in v.broken for v, t in zip(verdicts, MANY_TRUTHS, strict=True) if t != name]
        assert 0.005 < np.mean(others) <= 0.05


def test_the_calibration_of_a_rule_is_platts():
    guard = Guard(World(), ["a"], threshold=0.5).fit(SAFE, [t == "a" for t in RULES], max_false_positive_rate=0.05)
    order = np.random.default_rng(0).permutation(2000)
    fit = order < 1000
    z = World().score(SAFE, ["a"]).log_odds
    y = np.array([t == "a" for t in RULES])
    (z, y), n = (z[fit], y[fit]), y[fit].sum()
    target = np.where(y, (n + 1) / (n + 2), 1 / (1000 - n + 2))  # Platt's: each text is both, by weight
    both = np.concatenate([z, z]), np.repeat([True, False], 1000)
    platt = LogisticRegression(C=np.inf, tol=1e-10).fit(*both, sample_weight=np.concatenate([target, 1 - target]))
    found = guard.rules["a"].calibration
    assert found.length > 0
    np.testing.assert_allclose([found.scale, found.shift], [platt.coef_[0, 0], platt.intercept_[0]], rtol=1e-3)


def test_rules_with_few_texts_share_a_calibration():
    kept = [i for i, t in enumerate(RULES) if t in (None, "a")]
    kept += [i for i, t in enumerate(RULES) if t == "b"][:15] + [i for i, t in enumerate(RULES) if t == "c"][:15]
    guard = Guard(World(), NAMES, threshold=0.5).fit(
        [SAFE[i] for i in kept], [RULES[i] for i in kept], max_false_positive_rate=0.05
    )
    found = {name: (rule.calibration.scale, rule.calibration.shift) for name, rule in guard.rules.items()}
    assert found["b"] == found["c"] != found["a"]


def test_unreadable_texts_count_as_alarms():
    texts = [f"? {i}" if t is None and i % 20 == 0 else s for i, (s, t) in enumerate(zip(SAFE, RULES, strict=True))]
    with pytest.warns(UserWarning, match="not guaranteed"):
        guard = Guard(World(), NAMES, threshold=0.5).fit(texts, RULES, max_false_positive_rate=0.01)
    assert guard.certificate.needed is None


def test_a_guard_over_a_ranker_is_calibrated_by_fitting():
    with pytest.raises(NotCalibratedError):
        Guard(World(meaning="order"), NAMES, threshold=0.5)("a 1")
    guard = Guard(World(meaning="order"), NAMES, threshold=0.5).fit(SAFE, RULES, max_false_positive_rate=0.05)
    assert rates(guard)[0] <= 0.05


def test_false_alarms_do_not_grow_with_length():
    guard = Guard(World(), NAMES, threshold=0.5).fit(SAFE, RULES, max_false_positive_rate=0.02)
    short = Guard(World(), NAMES, threshold=0.5).fit(SAFE, RULES, max_false_positive_rate=0.02, longest=0)
    clean = [t for t, truth in zip(MANY, MANY_TRUTHS, strict=True) if truth is None]
    rng = np.random.default_rng(0)
    rates = {}
    for windows in (1, 4, 16, 64):
        texts = ["\n".join(rng.choice(clean, 16 * windows)) for _ in range(300)]
        rates[windows] = [1 - np.mean([v.allowed for v in g.many(texts)]) for g in (guard, short)]
    assert max(paid for paid, _ in rates.values()) <= 0.03
    assert rates[64][1] > 0.3  # what happens without
    assert all(rule.calibration.length > 0 for rule in guard.rules.values())
    assert all(rule.calibration.length == 0 for rule in short.rules.values())


def test_without_a_text_that_fits_a_window_the_price_of_length_is_not_known():
    long = ["\n".join([t] * 20) for t in SAFE]  # 120 tokens each, in two windows
    with pytest.warns(UserWarning, match="every safe text is longer than a window"):
        guard = Guard(World(), NAMES, threshold=0.5).fit(long, RULES, max_false_positive_rate=0.02)
    assert all(rule.calibration.length == 0 for rule in guard.rules.values())


def test_the_second_half_sets_no_price_of_length():
    order = np.random.default_rng(0).permutation(2000)
    other = [f"None {8_000_000 + i}" if order[i] >= 1000 and RULES[i] is None else t for i, t in enumerate(SAFE)]
    fits = [Guard(World(), NAMES, threshold=0.5).fit(t, RULES, max_false_positive_rate=0.02) for t in (SAFE, other)]
    assert [r.calibration for r in fits[0].rules.values()] == [r.calibration for r in fits[1].rules.values()]


def test_a_promise_of_recall_looks_at_no_length():
    guard = Guard(World(), NAMES, threshold=0.5).fit(SAFE, RULES, min_recall=0.9)
    assert all(rule.calibration.length == 0 for rule in guard.rules.values())


def test_too_few_safe_texts_are_told():
    with pytest.warns(UserWarning, match="max_false_positive_rate 0.01 is not guaranteed"):
        guard = Guard(World(), NAMES, threshold=0.5).fit(SAFE[:400], RULES[:400], max_false_positive_rate=0.01)
    proof = guard.certificate.proofs["all"]
    assert proof.needed == 2 * (230 - proof.n)


def test_other_rules_are_stale():
    guard = Guard(World(), NAMES, threshold=0.5).fit(SAFE, RULES, max_false_positive_rate=0.02)
    loose = {name: replace(rule, threshold=0.99) for name, rule in guard.rules.items()}
    for changed, name in (({"forbid": loose}, "rules"), ({"unreadable": 0.9}, "unreadable"), ({"turns": 1}, "turns")):
        with pytest.raises(StaleError, match=name):
            replace(guard, **changed)
    assert replace(guard, forbid=guard.rules) == guard


@pytest.mark.parametrize(
    ("how", "error_", "message"),
    [
        ({}, ValueError, "expected one of the two"),
        ({"max_false_positive_rate": 0.01, "min_recall": 0.9}, ValueError, "expected one of the two"),
        ({"max_false_positive_rate": 0.0}, ValueError, "max_false_positive_rate is 0.0"),
        ({"min_recall": 1.0}, ValueError, "min_recall is 1.0"),
        ({"min_recall": 0.9, "by": "route"}, ValueError, "by is 'route'"),
        ({"max_false_positive_rate": 0.1, "longest": -1}, ValueError, "longest is -1"),
        ({"max_false_positive_rate": 0.1, "longest": "x"}, ValueError, "longest is 'x'"),
        ({"min_recall": 0.9, "truths": [True] * 2000}, DataError, "a truth is True, and there are 3 rules"),
        ({"min_recall": 0.9, "truths": [None] * 2000}, DataError, "'a', 'b', 'c' none break"),
        ({"min_recall": 0.9, "truths": [["a", "b", "c"]] * 2000}, DataError, "all break"),
        ({"min_recall": 0.9, "truths": ["x", *RULES[1:]]}, DataError, "row 0: the truth 'x' is no rule"),
    ],
)
def test_bad_budgets_and_labels_are_named(how, error_, message):
    with pytest.raises(error_, match=message):
        Guard(World(), NAMES, threshold=0.5).fit(SAFE, how.pop("truths", RULES), **how)


def test_a_rule_keeps_its_calibration_without_a_certificate():
    guard = Guard(World(), {"bad": Rule("a", 0.5, Calibration(2.0, 1.0))})
    z = World().score(["a 1"], ["a"]).log_odds[0, 0]
    assert guard("a 1").probabilities["bad"] == pytest.approx(1 / (1 + np.exp(-(2 * float(z) + 1))))
    assert guard("a 1").log_odds["bad"] == pytest.approx(float(z))
