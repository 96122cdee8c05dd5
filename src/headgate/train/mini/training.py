"""Train the embedded default model: ``python -m headgate.train.mini --data DIR --out DIR``.

Every step draws a batch of each task that is due, adds the losses, and moves once. What a step draws depends on the
seed and its number alone, so a resumed run goes on as if it had never stopped. The learning rate rises, stays, and
falls in the last steps: a run can be taken up at its height and given more steps.

The shipped model comes from three runs, since the tasks cost one another more than they give (see benchmarks/LOG.md):
``--only nli --rate 1e-4``; ``--only heads names rank --frozen 2``; and on top of that one, ``--only gliclass --frozen 3
--rate 5e-5 --label-rate 1e-4``. ``headgate.train.mini.export`` joins them with the base itself, which embeds and ranks.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer
from transformers.trainer_utils import get_last_checkpoint

from headgate.train.common import arguments
from headgate.train.mini import examples as reading
from headgate.train.mini.data import Examples
from headgate.train.mini.export import WEIGHTS
from headgate.train.mini.matching import Names, Retrieval
from headgate.train.mini.model import BASE, Mini, Text, base_folder, base_tokenizer
from headgate.train.mini.tasks import Heads, Labels, Nli

log = logging.getLogger(__name__)

TASKS: dict[str, Any] = {"nli": Nli, "gliclass": Labels, "heads": Heads, "rank": Retrieval, "names": Names}
# Padded tokens a batch, weight of the loss, and in every how many steps a task is due.
BUDGETS = {"nli": 2500, "gliclass": 5000, "heads": 3600, "rank": 2400, "names": 1000}
WEIGHTS_OF = {"nli": 1.0, "gliclass": 1.0, "heads": 0.7, "rank": 1.0, "names": 1.0}
EVERY = {"nli": 1, "gliclass": 1, "heads": 1, "rank": 2, "names": 1}


@dataclass(frozen=True)
class Settings:
    """How to train.

    Attributes:
        steps: Length of the run.
        fall: Share of the steps, the last ones, in which the rates fall to nothing.
        seed: Of the weights and of every draw.
        backbone_rate: Highest learning rate of the pretrained weights.
        label_rate: Highest learning rate of the label scorer, which starts as a similarity.
        head_rate: Highest learning rate of the new weights.
        warmup: Steps in which the rates rise.
        save_steps: How often to write a checkpoint.
        budget: Scales the tokens a step.
        only: The tasks to train, to see what one costs another.
        frozen: How many of the lowest layers stay the base's own.
    """

    steps: int = 5000
    fall: float = 0.4
    seed: int = 0
    backbone_rate: float = 2e-4
    label_rate: float = 3e-4
    head_rate: float = 6e-4
    warmup: int = 150
    save_steps: int = 250
    budget: float = 1.0
    only: tuple[str, ...] = tuple(TASKS)
    frozen: int = 0


@dataclass
class Drawn:
    """What a step learns from, by task; opaque to the Trainer, which would take lists of rows apart."""

    by_task: dict[str, Any]


class Steps(Dataset[int]):
    """The numbers of the steps; `draw` makes the batches of one."""

    def __init__(self, tasks: dict[str, Any], settings: Settings) -> None:
        self.tasks, self.settings = tasks, settings

    def __len__(self) -> int:
        return self.settings.steps

    def __getitem__(self, number: int) -> int:
        return number

    def draw(self, numbers: list[int]) -> dict[str, Drawn]:
        """The batches of the step that is the only element of `numbers`."""
        rng = random.Random(f"{self.settings.seed}:{numbers[0]}")
        alone = len(self.tasks) == 1
        due = {name: task for name, task in self.tasks.items() if alone or numbers[0] % EVERY[name] == 0}
        return {"drawn": Drawn({name: task.draw(rng) for name, task in due.items()})}


class Lesson(nn.Module):
    """All parts of ``mini`` and what they are taught.

    Args:
        model: What learns.
        tasks: By name.
    """

    def __init__(self, model: Mini, tasks: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.tasks = model, tasks

    def forward(self, drawn: Drawn) -> dict[str, Any]:
        """The weighted sum of the losses, and each of them."""
        device = self.model.maxsim.device
        with torch.autocast(device.type, torch.bfloat16):
            losses = {name: self.tasks[name].loss(self.model, batch) for name, batch in drawn.by_task.items()}
        for name, loss in losses.items():
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss of {name} is {loss.item()}; lower the learning rates")
        total = torch.stack([WEIGHTS_OF[name] * loss for name, loss in losses.items()]).sum()
        return {"loss": total, "parts": {name: loss.item() for name, loss in losses.items()}}


class MiniTrainer(Trainer):
    """Draws by step number, two learning rates, weights saved once.

    Args:
        lesson: What is trained.
        settings: How.
        out: Where checkpoints go.
    """

    def __init__(self, lesson: Lesson, settings: Settings, out: Path) -> None:
        self.settings, self.steps = settings, Steps(lesson.tasks, settings)
        self.losses: dict[str, list[float]] = defaultdict(list)
        fall = max(1, int(settings.steps * settings.fall))
        given = arguments(
            out,
            None,
            max_steps=settings.steps,
            per_device_train_batch_size=1,
            lr_scheduler_type="warmup_stable_decay",
            lr_scheduler_kwargs={"num_decay_steps": fall, "decay_type": "linear"},
            warmup_steps=min(settings.warmup, settings.steps // 4),
            max_grad_norm=2.0,
            save_strategy="steps",
            save_steps=settings.save_steps,
            save_total_limit=2,
            logging_steps=50,
            seed=settings.seed,
        )
        super().__init__(model=lesson, args=given, train_dataset=self.steps, data_collator=self.steps.draw)

    def _get_train_sampler(self, train_dataset: Any = None) -> torch.utils.data.Sampler[int]:  # noqa: ANN401
        return torch.utils.data.SequentialSampler(self.steps)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:  # noqa: ANN401
        """The loss of a step; its parts are kept for the log."""
        found = model(**inputs)
        for name, loss in found["parts"].items():
            self.losses[name].append(loss)
        return cast("Tensor", found["loss"])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the mean loss of each task to what the Trainer logs."""
        logs |= {name: round(sum(some) / len(some), 4) for name, some in self.losses.items()}
        self.losses.clear()
        super().log(logs, start_time)
        said = " ".join(f"{name} {value:.4g}" for name, value in logs.items() if isinstance(value, float))
        log.info("step %d: %s", self.state.global_step, said)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:  # noqa: ANN401
        """AdamW with a small rate for the pretrained weights and larger ones for the new."""
        if self.optimizer is None:
            self.optimizer = optimizer(self.model.model, self.settings)  # type: ignore[union-attr, arg-type]
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ANN401
        out = Path(output_dir or str(self.args.output_dir))
        out.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.model.weights(), out / WEIGHTS)  # type: ignore[union-attr, operator]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401
        weights = torch.load(Path(resume_from_checkpoint) / WEIGHTS, weights_only=True, map_location="cpu")
        self.model.model.restore(weights)  # type: ignore[union-attr, operator]


def optimizer(model: Mini, settings: Settings) -> torch.optim.AdamW:
    """AdamW; biases and norms don't decay."""
    rates = {id(p): settings.label_rate for p in model.gliclass.parameters()}
    rates |= {id(p): settings.backbone_rate for p in model.multi.backbone.parameters()}
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            key = (rates.get(id(parameter), settings.head_rate), parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    decayed = [{"params": some, "lr": rate, "weight_decay": 0.01 * matrix} for (rate, matrix), some in groups.items()]
    return torch.optim.AdamW(decayed, lr=settings.backbone_rate, betas=(0.9, 0.98))


def prepare(data: Path, out: Path, base: str, settings: Settings, start: Path | None = None) -> MiniTrainer:
    """Read and build everything, up to the first step.

    Args:
        data: The folder of the data sets.
        out: Where checkpoints go; made if absent.
        base: A folder or a hub id.
        settings: How.
        start: A finished run from one base, whose weights to begin with; None begins with the base's.

    Raises:
        DataError: The data is wrong.
    """
    torch.manual_seed(settings.seed)
    folder = base_folder(base)
    text = Text(base_tokenizer(folder))
    examples: Examples = reading.load(data, seed=settings.seed)
    log.info("dropped because evaluation files hold them: %s", dict(examples.dropped))
    tasks = {name: TASKS[name](examples, text, int(BUDGETS[name] * settings.budget)) for name in settings.only}
    model = Mini(folder, text)
    if start is not None:
        model.restore(torch.load(start / WEIGHTS, weights_only=True, map_location="cpu"))
    model.freeze(settings.frozen)
    trainer = MiniTrainer(Lesson(model, tasks), settings, out)
    text.device = trainer.args.device
    return trainer


def train(trainer: MiniTrainer, *, resume: bool) -> None:
    """Run to the end and write the weights and the history into the output folder.

    Raises:
        FileExistsError: The folder holds a checkpoint and `resume` is False.
    """
    out = Path(str(trainer.args.output_dir))
    last = get_last_checkpoint(str(out)) if out.is_dir() else None
    if last is not None and not resume:
        raise FileExistsError(f"{out} holds a checkpoint; expected an empty folder. Give --resume, or another --out")
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model()
    trainer.save_state()
    (out / "settings.json").write_text(json.dumps(trainer.settings.__dict__, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    usual = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m headgate.train.mini", description="Train the embedded default model."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder a data set")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--base", default=BASE, help="folder or hub id of the base model")
    parser.add_argument("--start", type=Path, help="folder of a finished run to begin with, in place of the base")
    parser.add_argument("--steps", type=int, default=usual.steps, help="length of the run")
    parser.add_argument("--fall", type=float, default=usual.fall, help="share of the steps in which the rates fall")
    parser.add_argument(
        "--rate", type=float, default=usual.backbone_rate, help="highest rate of the pretrained weights"
    )
    parser.add_argument(
        "--label-rate", type=float, default=usual.label_rate, help="highest rate of the label scorer's own weights"
    )
    parser.add_argument(
        "--frozen", type=int, default=usual.frozen, help="how many of the lowest layers stay as they are"
    )
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--only", nargs="+", choices=sorted(TASKS), default=list(TASKS), help="train these tasks alone")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="torch counts physical cores only; here every thread helps"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint under --out")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    torch.set_num_threads(given.threads)
    settings = Settings(
        steps=given.steps,
        fall=given.fall,
        seed=given.seed,
        backbone_rate=given.rate,
        label_rate=given.label_rate,
        only=tuple(given.only),
        frozen=given.frozen,
    )
    train(prepare(given.data, given.out, given.base, settings, given.start), resume=given.resume)


if __name__ == "__main__":
    main()
