"""Labels that a shortlist left out: far from every threshold, whatever is done to the rest."""

import dataclasses
import json

import numpy as np
import pytest

from headgate import Ask, Calibration, Router, ScorerError, Scores, judge
from headgate.scores import EMPTY_LOG_ODDS, checked
from tests.core.fixed import Fixed, scores

SCORED = np.array([[True, False], [True, True]])


def found(**parts):
    return checked("it", Ask(["a", "b"], ["x", "y"]), scores([[1, 2], [3, 4]], ["a", "b"], **parts))


def test_what_was_left_out_gets_the_log_odds_of_nothing():
    assert found(scored=SCORED).log_odds.tolist() == [[1, EMPTY_LOG_ODDS], [3, 4]]
    assert found(scored=SCORED).scored.tolist() == SCORED.tolist()
    assert found().scored is None
    assert Scores.of([[1.0]], ["a"]).scored is None


def test_an_empty_text_and_one_left_out_go_together():
    z = checked("it", Ask([" ", "b"], ["x", "y"]), scores([[1, 2], [3, 4]], [" ", "b"], scored=SCORED[::-1]))
    assert z.log_odds.tolist() == [[EMPTY_LOG_ODDS] * 2, [3, EMPTY_LOG_ODDS]]


def test_its_shape_is_checked_and_it_is_frozen():
    with pytest.raises(ScorerError, match=r"scored of shape \(1, 2\) for 2 texts and 2 labels; expected \(2, 2\)"):
        found(scored=SCORED[:1])
    mine = SCORED.copy()
    assert not found(scored=mine).scored.flags.writeable
    assert mine.flags.writeable
    assert found(scored=[[1, 0], [1, 1]]).scored.dtype == np.bool_  # ~1 would be -2


def test_a_calibration_moves_what_was_scored_only():
    c = Calibration(scale=0.001, shift=20.0)
    np.testing.assert_allclose(c(found(scored=SCORED)).log_odds, [[20.001, EMPTY_LOG_ODDS], [20.003, 20.004]])
    on = judge(c.on(Fixed([[1, 2], [3, 4]], parts={"scored": SCORED})), [Ask(["a", "b"], ["x", "y"])])[0]
    assert on.log_odds[0, 1] == EMPTY_LOG_ODDS
    assert on.scored.tolist() == SCORED.tolist()


def test_a_calibration_is_fitted_on_what_was_scored():
    rng = np.random.default_rng(0)
    z, scored = rng.normal(size=(200, 3)), rng.random((200, 3)) < 0.6
    y = rng.random((200, 3)) < 1 / (1 + np.exp(-z))
    few = Calibration.fit(scores(np.where(scored, z, EMPTY_LOG_ODDS), scored=scored), y)
    same = Calibration.fit(z[scored], y[scored])
    assert few.scale == pytest.approx(same.scale, abs=1e-6)
    assert few.shift == pytest.approx(same.shift, abs=1e-6)


@pytest.mark.parametrize("multi", [True, False])
def test_a_router_never_takes_what_was_left_out_and_leaves_it_out_too(multi):
    router = Router(Fixed([[-3, 9]], parts={"scored": [[True, False]]}), ["x", "y"], threshold=0.01, multi=multi)
    decision = router("a")
    assert decision.choices == ("x",)
    assert json.loads(json.dumps(dataclasses.asdict(decision)))["probabilities"].keys() == {"x"}
