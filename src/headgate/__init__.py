"""Small encoder classifiers where RAG needs judgement: rerank documents, route queries, guard text."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.calibration import Calibrated, Calibration
    from headgate.certificate import Certificate
    from headgate.config import restore, save
    from headgate.coverage import Coverage
    from headgate.decision import Decision
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
        StaleError,
        TextTooLongError,
        UnknownLabelError,
    )
    from headgate.families.tasksource import TaskHeads
    from headgate.guard import Guard
    from headgate.loading import load
    from headgate.receipts import Log, Receipt, replay
    from headgate.rerank import Hit, Reranker
    from headgate.route import Router
    from headgate.runtime.worker import Worker
    from headgate.scores import Ask, Embedder, Label, Scorer, Scores, judge
    from headgate.shadow import Logged
    from headgate.verdict import Rule, Verdict
    from headgate.watch import Drift, drift

_HOME = {
    "Ask": "scores",
    "Calibrated": "calibration",
    "Calibration": "calibration",
    "Certificate": "certificate",
    "CheckpointError": "errors",
    "ClosedError": "errors",
    "Coverage": "coverage",
    "DataError": "errors",
    "Decision": "decision",
    "DeviceError": "errors",
    "Drift": "watch",
    "Embedder": "scores",
    "Guard": "guard",
    "HeadgateError": "errors",
    "Hit": "rerank",
    "Label": "scores",
    "LabelError": "errors",
    "LabelTooLongError": "errors",
    "Log": "receipts",
    "Logged": "shadow",
    "MissingExtraError": "errors",
    "NotCalibratedError": "errors",
    "OverloadedError": "errors",
    "Receipt": "receipts",
    "Reranker": "rerank",
    "Router": "route",
    "Rule": "verdict",
    "Scorer": "scores",
    "ScorerError": "errors",
    "Scores": "scores",
    "StaleError": "errors",
    "TaskHeads": "families.tasksource",
    "TextTooLongError": "errors",
    "UnknownLabelError": "errors",
    "Verdict": "verdict",
    "Worker": "runtime.worker",
    "drift": "watch",
    "judge": "scores",
    "load": "loading",
    "replay": "receipts",
    "restore": "config",
    "save": "config",
}

__version__ = "0.1.0"
__all__ = [
    "Ask",
    "Calibrated",
    "Calibration",
    "Certificate",
    "CheckpointError",
    "ClosedError",
    "Coverage",
    "DataError",
    "Decision",
    "DeviceError",
    "Drift",
    "Embedder",
    "Guard",
    "HeadgateError",
    "Hit",
    "Label",
    "LabelError",
    "LabelTooLongError",
    "Log",
    "Logged",
    "MissingExtraError",
    "NotCalibratedError",
    "OverloadedError",
    "Receipt",
    "Reranker",
    "Router",
    "Rule",
    "Scorer",
    "ScorerError",
    "Scores",
    "StaleError",
    "TaskHeads",
    "TextTooLongError",
    "UnknownLabelError",
    "Verdict",
    "Worker",
    "drift",
    "judge",
    "load",
    "replay",
    "restore",
    "save",
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
