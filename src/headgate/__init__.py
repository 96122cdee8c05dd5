"""Small encoder classifiers where RAG needs judgement: rerank documents, route queries, guard text."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.calibration import Calibrated, Calibration
    from headgate.errors import (
        CheckpointError,
        ClosedError,
        DataError,
        DeviceError,
        HeadgateError,
        LabelError,
        LabelTooLongError,
        MissingExtraError,
        NotCalibratedError,
        OverloadedError,
        ScorerError,
        UnknownLabelError,
    )
    from headgate.families.tasksource import TaskHeads
    from headgate.ground import Citation, Claim, Grounding
    from headgate.guard import Guard, Rule, Verdict
    from headgate.loading import load
    from headgate.rerank import Hit, Reranker
    from headgate.route import Decision, Router
    from headgate.runtime.worker import Worker
    from headgate.scores import Ask, Embedder, Label, Scorer, Scores, judge

_HOME = {
    "Ask": "scores",
    "Calibrated": "calibration",
    "Calibration": "calibration",
    "CheckpointError": "errors",
    "Citation": "ground",
    "Claim": "ground",
    "ClosedError": "errors",
    "DataError": "errors",
    "Decision": "route",
    "DeviceError": "errors",
    "Embedder": "scores",
    "Grounding": "ground",
    "Guard": "guard",
    "HeadgateError": "errors",
    "Hit": "rerank",
    "Label": "scores",
    "LabelError": "errors",
    "LabelTooLongError": "errors",
    "MissingExtraError": "errors",
    "NotCalibratedError": "errors",
    "OverloadedError": "errors",
    "Reranker": "rerank",
    "Router": "route",
    "Rule": "guard",
    "Scorer": "scores",
    "ScorerError": "errors",
    "Scores": "scores",
    "TaskHeads": "families.tasksource",
    "UnknownLabelError": "errors",
    "Verdict": "guard",
    "Worker": "runtime.worker",
    "judge": "scores",
    "load": "loading",
}

__version__ = "0.1.0"
__all__ = [
    "Ask",
    "Calibrated",
    "Calibration",
    "CheckpointError",
    "Citation",
    "Claim",
    "ClosedError",
    "DataError",
    "Decision",
    "DeviceError",
    "Embedder",
    "Grounding",
    "Guard",
    "HeadgateError",
    "Hit",
    "Label",
    "LabelError",
    "LabelTooLongError",
    "MissingExtraError",
    "NotCalibratedError",
    "OverloadedError",
    "Reranker",
    "Router",
    "Rule",
    "Scorer",
    "ScorerError",
    "Scores",
    "TaskHeads",
    "UnknownLabelError",
    "Verdict",
    "Worker",
    "judge",
    "load",
]


def __getattr__(name: str) -> object:
    # Lazily, so that `import headgate` costs nothing and needs neither torch nor numpy.
    if name not in _HOME:
        raise AttributeError(f"module 'headgate' has no attribute {name!r}")
    value: object = getattr(import_module(f"headgate.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
