"""Of windows that say the same the first counts, and the score is the greatest all the same."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from headgate.families.folding import Spot, strongest
from headgate.scores import Ask


@pytest.mark.parametrize(("second", "span"), [(1.00005, (0, 5)), (1.01, (5, 9)), (0.5, (0, 5))])
def test_rounding_does_not_choose_the_window(second: float, span: tuple[int, int]) -> None:
    encoder: Any = {"text text": SimpleNamespace(ids=[1, 2], unknown=0.0)}
    spots = [Spot(0, 0, 0, (0, 5)), Spot(0, 0, 0, (5, 9))]
    (found,) = strongest([Ask(["text text"], ["label"])], encoder, spots, [1.0, second], "probability")
    assert tuple(found.spans[0, 0]) == span
    assert found.log_odds[0, 0] == np.float32(max(1.0, second))
    assert found.windows[0, 0] == 2
