"""Small encoder classifiers where RAG needs judgement: rerank documents, route queries, guard text."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.bias import Debiased, Permuted
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
    from headgate.examples import Weights, WithExamples
    from headgate.families.tasksource import TaskHeads
    from headgate.ground import Citation, Claim, Grounding
    from headgate.guard import Guard
    from headgate.holding import GuardedStream, Held, StreamEvent
    from headgate.loading import load
    from headgate.panel import Panel, Reader, Reading
    from headgate.promise import Promise
    from headgate.receipts import Log, Receipt, replay
    from headgate.rerank import Hit, Reranker
    from headgate.retrieval import GuardedReranker, Passage, Retrieved, Unjudged
    from headgate.route import Router
    from headgate.runtime.state_cache import StateCache
    from headgate.runtime.worker import Worker
    from headgate.scores import Ask, Embedder, Label, Scorer, Scores, judge
    from headgate.shadow import Logged
    from headgate.shortlist import Shortlist
    from headgate.stream import StreamGuard
    from headgate.tree import Descent, RouteTree
    from headgate.verdict import Rule, Verdict
    from headgate.watch import Drift, drift
    from headgate.yesno import Answer, YesNo

_HOME = {
    "Answer": "yesno",
    "Ask": "scores",
    "Calibrated": "calibration",
    "Calibration": "calibration",
    "Certificate": "certificate",
    "CheckpointError": "errors",
    "Citation": "ground",
    "Claim": "ground",
    "ClosedError": "errors",
    "Coverage": "coverage",
    "DataError": "errors",
    "Debiased": "bias",
    "Decision": "decision",
    "Descent": "tree",
    "DeviceError": "errors",
    "Drift": "watch",
    "Embedder": "scores",
    "Grounding": "ground",
    "Guard": "guard",
    "GuardedReranker": "retrieval",
    "GuardedStream": "holding",
    "HeadgateError": "errors",
    "Held": "holding",
    "Hit": "rerank",
    "Label": "scores",
    "LabelError": "errors",
    "LabelTooLongError": "errors",
    "Log": "receipts",
    "Logged": "shadow",
    "MissingExtraError": "errors",
    "NotCalibratedError": "errors",
    "OverloadedError": "errors",
    "Panel": "panel",
    "Passage": "retrieval",
    "Permuted": "bias",
    "Promise": "promise",
    "Reader": "panel",
    "Reading": "panel",
    "Receipt": "receipts",
    "Reranker": "rerank",
    "Retrieved": "retrieval",
    "RouteTree": "tree",
    "Router": "route",
    "Rule": "verdict",
    "Scorer": "scores",
    "ScorerError": "errors",
    "Scores": "scores",
    "Shortlist": "shortlist",
    "StaleError": "errors",
    "StateCache": "runtime.state_cache",
    "StreamEvent": "holding",
    "StreamGuard": "stream",
    "TaskHeads": "families.tasksource",
    "TextTooLongError": "errors",
    "Unjudged": "retrieval",
    "UnknownLabelError": "errors",
    "Verdict": "verdict",
    "Weights": "examples",
    "WithExamples": "examples",
    "Worker": "runtime.worker",
    "YesNo": "yesno",
    "drift": "watch",
    "judge": "scores",
    "load": "loading",
    "replay": "receipts",
    "restore": "config",
    "save": "config",
}

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Ask",
    "Calibrated",
    "Calibration",
    "Certificate",
    "CheckpointError",
    "Citation",
    "Claim",
    "ClosedError",
    "Coverage",
    "DataError",
    "Debiased",
    "Decision",
    "Descent",
    "DeviceError",
    "Drift",
    "Embedder",
    "Grounding",
    "Guard",
    "GuardedReranker",
    "GuardedStream",
    "HeadgateError",
    "Held",
    "Hit",
    "Label",
    "LabelError",
    "LabelTooLongError",
    "Log",
    "Logged",
    "MissingExtraError",
    "NotCalibratedError",
    "OverloadedError",
    "Panel",
    "Passage",
    "Permuted",
    "Promise",
    "Reader",
    "Reading",
    "Receipt",
    "Reranker",
    "Retrieved",
    "RouteTree",
    "Router",
    "Rule",
    "Scorer",
    "ScorerError",
    "Scores",
    "Shortlist",
    "StaleError",
    "StateCache",
    "StreamEvent",
    "StreamGuard",
    "TaskHeads",
    "TextTooLongError",
    "Unjudged",
    "UnknownLabelError",
    "Verdict",
    "Weights",
    "WithExamples",
    "Worker",
    "YesNo",
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
