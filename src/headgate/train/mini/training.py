"""Train the embedded default model: ``python -m headgate.train.mini --data DIR --out DIR``.

Every step draws a batch of each task, adds the losses, and moves once. What a step draws depends on the seed and its
number alone, so a resumed run goes on as if it had never stopped (bit for bit with ``--steps``; with ``--minutes`` the
learning rate follows the clock).
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headgate.train.mini import examples as reading
from headgate.train.mini.data import Examples
from headgate.train.mini.model import BASE, Mini, Text, base_folder, base_tokenizer
from headgate.train.mini.tasks import Heads, Joint, Nli, Retrieval

log = logging.getLogger(__name__)

# Padded tokens a step, and weight of the loss, by task.
BUDGETS = {"nli": 1500, "gliclass": 1000, "heads": 900, "rank": 1000}
WEIGHTS = {"nli": 1.0, "gliclass": 1.5, "heads": 0.7, "rank": 1.5}
# A task is drawn in every n-th step: staying close to the base needs a reminder, not a lesson.
EVERY = {"nli": 1, "gliclass": 1, "heads": 1, "rank": 2}


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        minutes: Length of the run on the clock, over all its resumptions.
        steps: Length in steps; replaces `minutes`.
        seed: Of the weights and of every draw.
        backbone_rate: Highest learning rate of the pretrained weights.
        joint_rate: Highest learning rate of the joint scorer, which starts as a similarity.
        head_rate: Highest learning rate of the new weights.
        warmup: Share of the run in which the rates rise.
        save_minutes: How often to write a checkpoint.
        budget: Scales the tokens a step.
    """

    minutes: float = 75.0
    steps: int | None = None
    seed: int = 0
    backbone_rate: float = 1e-4
    joint_rate: float = 3e-4
    head_rate: float = 6e-4
    warmup: float = 0.05
    save_minutes: float = 4.0
    budget: float = 1.0


class Trainer:
    """The loop and its state.

    Args:
        model: What to train.
        text: Its tokenizer.
        examples: What to learn from.
        settings: How.
        out: Where checkpoints go.
    """

    def __init__(self, model: Mini, text: Text, examples: Examples, settings: Settings, out: Path) -> None:
        self.model, self.settings, self.out = model, settings, out
        size = {name: int(tokens * settings.budget) for name, tokens in BUDGETS.items()}
        self.tasks: dict[str, Any] = {
            "nli": Nli(examples, text, size["nli"]),
            "gliclass": Joint(examples, text, size["gliclass"]),
            "heads": Heads(examples, text, size["heads"]),
            "rank": Retrieval(examples, text, size["rank"]),
        }
        self.optimizer = optimizer(model, settings)
        self.step, self.elapsed = 0, 0.0

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        if self.settings.steps is not None:
            return self.step / self.settings.steps
        return self.elapsed / (60 * self.settings.minutes)

    def run(self) -> None:
        """Train to the end, writing checkpoints on the way."""
        self.model.train()
        seen: dict[str, list[float]] = {}
        saved = self.elapsed
        while self.progress < 1:
            begun = time.monotonic()
            for name, loss in self.advance().items():
                seen.setdefault(name, []).append(loss)
            self.elapsed += time.monotonic() - begun
            if self.step % 50 == 0:
                means = " ".join(f"{name} {sum(losses) / len(losses):.4f}" for name, losses in seen.items())
                log.info("step %d, %.1f min, %.0f%%: %s", self.step, self.elapsed / 60, 100 * self.progress, means)
                seen = {}
            if self.elapsed - saved > 60 * self.settings.save_minutes:
                self.save()
                saved = self.elapsed
        self.save()

    def advance(self) -> dict[str, float]:
        """One step; returns the losses by task."""
        rng = random.Random(f"{self.settings.seed}:{self.step}")
        torch.manual_seed(self.settings.seed * 1_000_003 + self.step)
        rate = schedule(self.progress, self.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate
        losses = {}
        for name, task in self.tasks.items():
            if self.step % EVERY[name]:
                continue
            drawn = task.draw(rng)
            with torch.autocast("cpu", torch.bfloat16):
                loss: Tensor = task.loss(self.model, drawn)
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"step {self.step}: the loss of {name} is {loss.item()}; lower the learning rates"
                )
            # Task by task, so that only one task's activations are held at a time.
            (WEIGHTS[name] * loss).backward()
            losses[name] = loss.item()
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return losses

    def save(self) -> None:
        """Write the checkpoint; a stop while writing leaves the one before."""
        state = {
            "weights": self.model.weights(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "elapsed": self.elapsed,
        }
        torch.save(state, self.out / "checkpoint.tmp")
        os.replace(self.out / "checkpoint.tmp", self.out / "checkpoint.pt")
        log.info("checkpoint at step %d", self.step)

    def resume(self) -> None:
        """Take up the checkpoint in the folder, if there is one."""
        path = self.out / "checkpoint.pt"
        if not path.exists():
            log.info("no checkpoint under %s; starting anew", self.out)
            return
        state = torch.load(path, weights_only=True)
        self.model.restore(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.elapsed = state["step"], state["elapsed"]
        log.info("resumed at step %d", self.step)


def schedule(progress: float, warmup: float) -> float:
    """The share of the peak rate: up in a line, then down a cosine to nearly nothing."""
    if progress < warmup:
        return max(progress / warmup, 0.01)
    return max(0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup)))), 0.002)


def optimizer(model: Mini, settings: Settings) -> torch.optim.AdamW:
    """AdamW with a small rate for the pretrained weights and larger ones for the new."""
    rates = {id(p): settings.joint_rate for p in model.gliclass.parameters()}
    rates |= {id(p): settings.backbone_rate for p in model.multi.backbone.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (rates.get(id(parameter), settings.head_rate), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    decayed = [
        {"params": params, "peak": rate, "weight_decay": 0.01 * matrix} for (rate, matrix), params in groups.items()
    ]
    return torch.optim.AdamW(decayed, lr=0.0, betas=(0.9, 0.98))


def prepare(data: Path, out: Path, base: str, settings: Settings, *, resume: bool) -> Trainer:
    """Read and build everything, up to the first step.

    Args:
        data: The folder of the data sets.
        out: Where checkpoints go; made if absent.
        base: A folder or a hub id.
        settings: How.
        resume: Go on from the checkpoint under `out`.

    Raises:
        DataError: The data is wrong.
        FileExistsError: `out` holds a checkpoint and `resume` is False.
    """
    if not resume and (out / "checkpoint.pt").exists():
        raise FileExistsError(f"{out} holds a checkpoint; expected an empty folder. Give --resume, or another --out")
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    folder = base_folder(base)
    text = Text(base_tokenizer(folder))
    examples = reading.load(data, seed=settings.seed)
    log.info("dropped because evaluation files hold them: %s", dict(examples.dropped))
    trainer = Trainer(Mini(folder, text), text, examples, settings, out)
    if resume:
        trainer.resume()
    return trainer


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m headgate.train.mini", description="Train the embedded default model."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--base", default=BASE, help="folder or hub id of the base model")
    parser.add_argument("--minutes", type=float, default=Settings.minutes, help="length of the run on the clock")
    parser.add_argument("--steps", type=int, help="length in steps, instead of --minutes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="torch counts physical cores only; here every thread helps"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint under --out")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    torch.set_num_threads(given.threads)
    settings = Settings(minutes=given.minutes, steps=given.steps, seed=given.seed)
    prepare(given.data, given.out, given.base, settings, resume=given.resume).run()


if __name__ == "__main__":
    main()
