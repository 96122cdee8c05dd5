"""What only the newest LangChain has is there, or says what is missing."""

from importlib.util import find_spec

import pytest

import langchain_headgate
import langchain_headgate.agents as agents

GATES = ("AbstainedError", "HeadgateModelGateMiddleware", "HeadgateToolGateMiddleware")
newest = find_spec("langchain_core.decisions") is not None


@pytest.mark.skipif(newest, reason="this langchain-core has decision models")
def test_an_older_core_is_named_with_what_to_do() -> None:
    from langchain_core.version import VERSION

    with pytest.raises(ImportError, match=rf"langchain-core {VERSION} is installed.*expects 1\.8 .*pip install"):
        _ = langchain_headgate.HeadgateDecisionModel
    for name in GATES:
        with pytest.raises(ImportError, match=rf"langchain-core {VERSION} is installed; gates .*pip install"):
            getattr(agents, name)


@pytest.mark.skipif(not newest, reason="this langchain-core has no decision models")
def test_the_newest_core_has_them() -> None:
    assert langchain_headgate.HeadgateDecisionModel.__name__ == "HeadgateDecisionModel"
    assert [getattr(agents, name).__name__ for name in GATES] == list(GATES)


@pytest.mark.parametrize("module", [langchain_headgate, agents])
def test_other_names_are_none(module) -> None:
    with pytest.raises(AttributeError, match="HeadgateOracle"):
        _ = module.HeadgateOracle
