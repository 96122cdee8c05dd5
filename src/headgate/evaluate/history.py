"""The loss curves of a training, from what the transformers ``Trainer`` keeps."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headgate.errors import DataError
from headgate.evaluate.report import Plot

History = str | Path | Sequence[Mapping[str, Any]]


def loss_plot(history: History) -> Plot:
    """Training and held-out loss by step.

    Args:
        history: A ``trainer_state.json``, or its ``log_history`` (``trainer.state.log_history``).

    Raises:
        DataError: It holds no loss.
    """
    entries = _entries(history)
    curves: dict[str, dict[str, list[float]]] = {}
    for key, name in (("loss", "training"), ("eval_loss", "held out")):
        found = [e for e in entries if isinstance(e.get(key), int | float) and isinstance(e.get("step"), int | float)]
        curves[name] = {"step": [float(e["step"]) for e in found], "loss": [float(e[key]) for e in found]}
    said = [f"{name} from {c['loss'][0]:.3f} to {c['loss'][-1]:.3f}" for name, c in curves.items() if c["loss"]]
    if not said:
        raise DataError("the history holds no entry with step and loss; expected a trainer_state.json or log_history.")
    return Plot("loss", "Loss", f"Loss {', '.join(said)}.", curves)


def _entries(history: History) -> Sequence[Mapping[str, Any]]:
    if not isinstance(history, str | Path):
        return history
    try:
        found = json.loads(Path(history).read_text(encoding="utf-8"))
    except json.JSONDecodeError as e:
        raise DataError(f"{history} is not JSON ({e}); expected the trainer_state.json of a training.") from e
    entries = found.get("log_history") if isinstance(found, dict) else found
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise DataError(f"{history} has no log_history; expected the trainer_state.json of a training.")
    return entries
