"""Made-up rows for mini's training, and the settings of a run of four steps."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

from headgate.train.mini.training import Settings

FOUR = Settings(steps=4, save_steps=2, warmup=1, budget=0.1)
WORDS = ["the", "gardener", "reset", "pump", "hub", "lost", "its", "password", "refund", "invoice", "valve", "soil"]


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=6)) + f" {rng.randrange(10_000)}"


def write(root: Path, name: str, split: str, rows: list[dict[str, Any]]) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    with gzip.open(root / name / f"{split}.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def made_up(rng: random.Random) -> dict[str, list[dict[str, Any]]]:
    """Rows of the sets without which a task would have nothing to draw."""

    def texts(number: int, **same: Any) -> list[dict[str, Any]]:
        return [{"text": sentence(rng), **same} for _ in range(number)]

    def queries() -> list[dict[str, Any]]:
        return [{"query": sentence(rng), "positives": {f"d{i}": 1}, "negatives": ["d8", "d9"]} for i in range(6)]

    nli = ("entailment", "neutral", "contradiction")
    return {
        "mnli": [{"premise": sentence(rng), "hypothesis": sentence(rng), "label": nli[i % 3]} for i in range(12)],
        "clinc150": texts(6, label="track_order", domain="home") + texts(6, label="pay_bill", domain="banking"),
        "smalltalk_ggu": texts(3, label="greeting") + texts(3, label="gratitude") + texts(3, label="other_smalltalk"),
        "goemotions": texts(4, labels=["joy"]) + texts(4, labels=["anger"]) + texts(4, labels=["neutral"]),
        "paradetox": texts(4, label="toxic") + texts(4, label="neutral"),
        "jailbreak_prompts": texts(4, label="jailbreak") + texts(4, label="benign"),
        "harmful_prompts": texts(4, label="harmful", source="made up") + texts(4, label="benign", source="made up"),
        "edos_sexism": texts(4, label="sexist") + texts(4, label="not sexist"),
        "nq_passages": queries(),
    }
