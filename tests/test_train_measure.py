"""The figures of the model card are computed as the field's own tools compute them."""

import numpy as np
import pytest

from headgate import Calibration, MissingExtraError
from headgate.train.mini import measure


def test_ndcg_equals_ir_measures() -> None:
    ir_measures = pytest.importorskip("ir_measures")
    rng = np.random.default_rng(0)
    for _ in range(20):
        docs = [f"d{i}" for i in range(30)]
        relevant = {d: int(rng.integers(0, 4)) for d in docs if rng.random() < 0.4} | {"unretrieved": 2}
        order = [docs[i] for i in rng.permutation(30)]
        run = {"q": {d: float(-i) for i, d in enumerate(order)}}
        expected = ir_measures.calc_aggregate([ir_measures.nDCG @ 10], {"q": relevant}, run)[ir_measures.nDCG @ 10]
        assert measure.ndcg(order, relevant) == pytest.approx(expected, abs=1e-9)


def test_platt_is_the_library_s_own_calibration() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=300)
    truth = (rng.random(300) < 1 / (1 + np.exp(-2 * z))).tolist()
    fitted = Calibration.fit(z, truth)
    assert measure.platt(z, truth)["scale"] == pytest.approx(fitted.scale, abs=1e-4)


def test_missing_scikit_learn_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(measure, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "headgate\[train\]"'):
        measure.auroc([True, False], np.array([1.0, 0.0]))
