"""What gates on decision models share; importing it says what is missing in an older LangChain."""

from collections.abc import Sequence
from typing import Any

from langchain_core.version import VERSION

try:
    from langchain.agents.middleware.model_router import ModelChoice
    from langchain_core.decisions import BaseDecisionModel, Choice, ChoiceAnswer, Noul, NoulCriteria
except ImportError as error:
    raise ImportError(
        f"langchain-core {VERSION} is installed; gates on decision models expect langchain-core 1.8 and langchain 1.5 "
        'or newer: pip install --upgrade "langchain-core>=1.8" "langchain>=1.5"'
    ) from error

__all__ = [
    "BaseDecisionModel",
    "Choice",
    "ChoiceAnswer",
    "ModelChoice",
    "Noul",
    "NoulCriteria",
    "one_of",
    "probability",
]


def probability(name: str, value: float) -> float:
    """``value`` if it is one, or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} is {value!r}; expected a probability, 0 to 1.")
    return float(value)


def one_of(name: str, value: Any, choices: Sequence[str]) -> Any:
    """``value`` if it is one of the choices, or ValueError."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {list(choices)}.")
    return value
