"""Drift is found where there is some, and seldom where there is none."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy import stats

from headgate import DataError, Guard, Log, Receipt, Reranker, Router, drift
from headgate.bounds import chi_square
from headgate.scores import logistic
from headgate.testing import ToyScorer
from headgate.watch import compare
from tests.core.fixed import scores

DECILES = np.linspace(0, 1, 11)[1:-1]
ROUTES = ["a", "b"]


@pytest.mark.parametrize("freedom", range(1, 10))
@pytest.mark.parametrize("p", [0.9, 0.95, 0.99, 0.9975])
def test_chi_square_is_scipy_s(freedom, p):
    rel = 0.03 if freedom < 4 else 0.01
    assert chi_square(freedom, p) == pytest.approx(stats.chi2.ppf(p, freedom), rel=rel)


def test_psi_is_the_sum_it_is_called_after():
    top = np.random.default_rng(0).normal(size=1000)
    deciles = np.quantile(np.random.default_rng(1).normal(size=500), DECILES)
    counts, _ = np.histogram(top, np.concatenate([[-np.inf], deciles, [np.inf]]))
    share = (counts + 0.1) / 1001
    found = compare(deciles, top, reference=500)
    assert found.psi == pytest.approx(((share - 0.1) * np.log(share / 0.1)).sum(), rel=1e-12)
    assert found.bins == pytest.approx(counts / 1000)
    assert found.expected == pytest.approx([0.1] * 10)
    assert found.n == 1000


@pytest.mark.parametrize(
    ("reference", "n"), [(50, 100), (100, 100), (1000, 100), (100, 1000), (300, 250), (2000, 2000)]
)
def test_without_drift_an_alarm_is_rare_though_the_deciles_are_estimates(reference, n):
    rng = np.random.default_rng([reference, n])
    alarms = [
        compare(np.quantile(rng.normal(size=reference), DECILES), rng.normal(size=n), reference=reference).expired
        for _ in range(2500)
    ]
    # At most 1%: this many would come in one of 1,000 runs of it.
    assert sum(alarms) <= stats.binom.ppf(0.999, 2500, 0.01)


@pytest.mark.parametrize(
    ("reference", "n", "shift", "spread"), [(300, 500, -0.5, 1), (1000, 300, 0.5, 1), (1000, 1000, 0, 2)]
)
def test_a_shift_is_found(reference, n, shift, spread):
    rng = np.random.default_rng(7)
    found = [
        compare(
            np.quantile(rng.normal(size=reference), DECILES), rng.normal(shift, spread, size=n), reference=reference
        ).expired
        for _ in range(200)
    ]
    assert sum(found) >= 180


def test_a_large_log_alone_is_no_alarm():
    rng = np.random.default_rng(3)
    deciles = np.quantile(rng.normal(size=100_000), DECILES)
    assert not compare(deciles, rng.normal(0.1, size=1_000_000), reference=100_000).expired


def test_texts_that_all_lie_elsewhere_are_far_and_finite():
    found = compare(np.arange(9.0), [100.0] * 500, reference=500)
    assert found.expired
    assert np.isfinite(found.psi)
    assert found.bins[-1] == 1
    assert json.loads(json.dumps(asdict(found)))["expired"] is True
    assert str(found).startswith("calibration expired: PSI ")
    assert "fit again" in str(found)


def test_few_texts_are_no_alarm_and_say_so():
    found = compare(np.arange(9.0), [100.0] * 99, reference=5000)
    assert not found.expired
    assert str(found) == "too few texts to tell: 99 of 100."


@pytest.mark.parametrize(
    ("deciles", "expected"),
    [
        ([0, 0, 0, 1, 2, 3, 4, 5, 6], [0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]),
        ([0, 1, 2, 2, 3, 4, 5, 6, 6], [0.1, 0.1, 0.3, 0.1, 0.1, 0.3]),
        ([0] * 9, [1.0]),
    ],
)
def test_deciles_that_are_one_number_are_no_edge(deciles, expected):
    assert compare(deciles, [0.0] * 200, reference=100).expected == pytest.approx(expected)


def test_texts_of_one_log_odds_say_nothing_and_say_so():
    found = compare([2.0] * 9, [-5.0] * 1000, reference=100)
    assert (found.psi, found.expired) == (0, False)
    assert "no telling" in str(found)


def test_a_heavy_tie_without_drift_is_no_alarm():
    rng = np.random.default_rng(5)

    def draw(n):
        return np.where(rng.random(n) < 0.37, 1.0, rng.normal(size=n))

    found = [compare(np.quantile(draw(400), DECILES), draw(400), reference=400).expired for _ in range(500)]
    assert sum(found) <= 15


# ------------------------------------------------------------------------- of routers, guards


def routed(seed, n, shift=0.0):
    """Log-odds of two routes for n texts, and which is right: where the shift is 0, as often as they say."""
    rng = np.random.default_rng(seed)
    z = rng.normal(shift, 3, size=(n, 2))
    p = np.exp(z) / (1 + np.exp(z).sum(axis=1, keepdims=True))
    drawn = [rng.choice(3, p=[*row, 1 - row.sum()]) for row in p]
    return z, [None if k == 2 else ROUTES[k] for k in drawn]


class Given(ToyScorer):
    """Reads its log-odds in the text."""

    def score(self, texts, labels):
        z = [[float(x) for x in text.split()][: len(labels)] for text in texts]
        return scores(np.array(z, dtype=np.float32).reshape(len(texts), len(labels)), texts)


def written(z):
    return [" ".join(f"{x:.6f}" for x in row) for row in z]


def test_a_router_s_log_shows_drift_and_only_drift():
    z, truths = routed(0, 600)
    router = Router(Given(), ROUTES).fit(written(z), truths, max_error=0.2)
    same = router.many(written(routed(1, 500)[0]))
    others = router.many(written(routed(2, 500, shift=-2)[0]))
    assert same[0].top == pytest.approx(
        router.calibration.scale * routed(1, 500)[0][0].max() + router.calibration.shift, rel=1e-4
    )
    assert not drift(router.certificate, same).expired
    found = drift(router.certificate, [Receipt.of(d, task="a") for d in others])
    assert found.expired
    assert found.bins[0] > 0.2
    assert (found.n, found.reference) == (500, router.certificate.certified)


def test_a_guard_s_log_shows_drift_and_only_drift(tmp_path):
    rng = np.random.default_rng(0)
    z = rng.normal(-2, 2, size=(800, 2))
    truths = [[r for r, p in zip("ab", logistic(row), strict=True) if rng.random() < p] for row in z]
    guard = Guard(Given(), ["a", "b"], 0.5).fit(written(z), truths, max_false_positive_rate=0.2)
    log = Log(tmp_path / "a.jsonl")
    log.write(*(Receipt.of(v, task="a") for v in guard.many(written(rng.normal(-2, 2, size=(500, 2))))))
    assert not drift(guard.certificate, log).expired
    assert drift(guard.certificate, guard.many(written(rng.normal(0, 2, size=(500, 2))))).expired


def test_receipts_under_other_certificates_don_t_count():
    z, truths = routed(0, 600)
    router = Router(Given(), ROUTES).fit(written(z), truths, max_error=0.2)
    same = router.many(written(z[:150]))
    strangers = [replace(d, certificate="other", top=1e6) for d in same]
    hits = Receipt.of(Reranker(ToyScorer())("a", ["a"]), task="r")
    assert drift(router.certificate, [*same, *strangers, hits]).n == 150
    with pytest.raises(DataError, match=f"none of 151 receipts was made under certificate {router.certificate.id}"):
        drift(router.certificate, [*strangers, hits])
    with pytest.raises(DataError, match="none of 0"):
        drift(router.certificate, [])
