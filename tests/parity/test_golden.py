"""Published GLiClass weights give the logits that were published with them.

Knowledgator's ``onnx/config.json`` files keep what their models said when they were exported, in September 2024. The
exporter handed over a string where a list of texts was expected, so that each text is one letter, and its labels are
the letters of a word. Numbers of label slots that a row does not fill are left out here.

    HF_HUB_OFFLINE=0 pytest -m network tests/parity/test_golden.py
"""

import numpy as np
import pytest

from headgate import load

pytestmark = pytest.mark.network

ROWS = (("O", "format"), ("N", "model"), ("N", "tool"), ("X", "cat"))
LOGITS: dict[str, tuple[tuple[float, ...], ...]] = {
    "knowledgator/gliclass-small-v1.0": (
        (10.17403, 11.87838, 10.10236, 10.54544, 9.40754, 10.44832),
        (10.24068, 10.55275, 10.28162, 10.46336, 9.87511),
        (10.29914, 11.58166, 11.39385, 9.81067),
        (9.76875, 9.49962, 10.42355),
    ),
    "knowledgator/gliclass-small-v1.0-init": (
        (0.22446, 1.53184, -0.79751, -0.60766, -2.59244, -0.08647),
        (0.50094, 0.67101, -0.00736, -0.10942, -0.20998),
        (-1.1143, 0.64964, 0.72934, -1.41853),
        (-0.87371, -1.79643, -0.62280),
    ),
    "knowledgator/gliclass-base-v1.0": (
        (5.8043, 11.3959, 5.0909, 5.6495, 6.9306, 5.6963),
        (6.1537, 5.7075, 5.0578, 5.5382, 5.7458),
        (7.1339, 9.7953, 9.3100),
    ),
    "knowledgator/gliclass-large-v1.0-init": (
        (-0.0860, -0.0157, -1.2840, -1.3760, -0.5058, -1.2180),
        (1.3811, -0.8334, -2.0067, -2.5380, -1.7822),
        (1.4555, 0.0595, -0.1881, -1.4390),
        (-0.6851, -1.3558, -2.0756),
    ),
    # Layer-wise models weigh their layers by the mean over a padded row: only the longest row stands alone. If this
    # fails, so does what headgate.models.gliclass_layers.LayerAttention supposes.
    "knowledgator/gliclass-small-v1.0-lw": ((6.63692, 11.24596, 7.82435, 9.32241, 7.34708, 5.79971),),
}


@pytest.mark.parametrize("name", LOGITS)
def test_published_logits(name: str) -> None:
    scorer = load(name, device="cpu", dtype="float32")
    for (text, word), expected in zip(ROWS, LOGITS[name], strict=False):
        found = scorer.score([text], list(word)).log_odds[0]
        np.testing.assert_allclose(found[: len(expected)], expected, rtol=0, atol=1e-3)
