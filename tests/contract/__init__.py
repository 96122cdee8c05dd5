"""What every adapter of every host must do: one suite, which each distribution runs over its classes.

A distribution's test file lists its classes as :class:`Case` and subclasses :class:`Contract`:

    @pytest.mark.parametrize("case", CASES, ids=str)
    class TestContract(Contract):
        saved, refusal, heard = staticmethod(...), ValueError, staticmethod(...)
"""

import pytest

pytest.register_assert_rewrite("tests.contract.cases", "tests.contract.suite")

from tests.contract.cases import Case, Gate, Held, fails  # noqa: E402
from tests.contract.suite import Contract  # noqa: E402

__all__ = ["Case", "Contract", "Gate", "Held", "fails"]
