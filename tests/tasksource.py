"""Tiny tasksource checkpoints in the layouts of its three editions, and a plain transformers computation on them."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

from tests import tiny

Edition = Literal["inside", "inside-turned", "apart", "labelled"]
EDITIONS: tuple[Edition, ...] = ("inside", "inside-turned", "apart", "labelled")
"""Heads in the classifier's own folder with sizes [out, in] or [in, out]; apart; apart with names of the classes."""
LABELS: dict[str, list[Any] | None] = {
    "anli/a1": ["entailment", "neutral", "contradiction"],
    "tweet_eval/hate": ["not-hate", "hate"],
    "glue/qnli": ["entailment", "not_entailment"],
    "banking77": ["lost card", "top up", "refund", "exchange rate"],
    "civil_comments/toxicity": None,
    "hh-rlhf": [0, 1],
    "wiki_qa": [0, 1],
}
SIZES = {"anli/a1": 3, "tweet_eval/hate": 2, "glue/qnli": 2, "banking77": 4}
SIZES |= {"civil_comments/toxicity": 1, "hh-rlhf": 1, "wiki_qa": 2}
TASKS = list(SIZES)
NLI = dict(enumerate(LABELS["anli/a1"] or []))


def save(
    where: Path, edition: Edition = "labelled", *, bin: bool = False, z: str = "Z", change: Any = None, **config: Any
) -> tuple[Path, Path]:
    """A checkpoint; returns where the heads are and where the encoder is.

    Args:
        where: Holds both folders.
        edition: Which layout.
        bin: ``pytorch_model.bin`` in place of safetensors.
        z: The name of the task embeddings.
        change: Edits the weights of the heads before they are written.
        config: Of config.json, in place of what belongs there.
    """
    backbone = where / "nli"
    model = tiny.cross_encoder(backbone, "deberta-v2", NLI)
    width = model.config.hidden_size
    draw = torch.Generator().manual_seed(7)
    weights = {z: torch.randn(len(TASKS), width, generator=draw)}
    for i, size in enumerate(SIZES.values()):
        weights[f"classifiers.{i}.weight"] = torch.randn(size, width, generator=draw) / 8
        weights[f"classifiers.{i}.bias"] = torch.randn(size, generator=draw)
    if change is not None:
        change(weights)
    said = json.loads((backbone / "config.json").read_text())
    sizes = {"inside": [[n, width] for n in SIZES.values()], "inside-turned": [[width, n] for n in SIZES.values()]}
    said |= {"tasks": TASKS, "classifiers_size": sizes.get(edition, list(SIZES.values()))}
    said |= ({"labels_list": list(LABELS.values())} if edition == "labelled" else {}) | config
    heads = where / "adapters" if edition in ("apart", "labelled") else backbone
    if heads == backbone:
        weights |= model.state_dict()
        (backbone / "model.safetensors").unlink()
    else:
        said["architectures"] = ["Adapter"]
        heads.mkdir()
    (heads / "config.json").write_text(json.dumps(said))
    weights = {k: v.contiguous() for k, v in weights.items()}
    if bin:
        torch.save(weights, heads / "pytorch_model.bin")
    else:
        save_file(weights, heads / "model.safetensors")
    return heads, backbone


def reference(where: Path, task: str, inputs: list[Any], *, embedded: bool) -> np.ndarray:
    """(inputs, classes) logits: the head put in as the classifier, Z added to the word embedding of [CLS].

    Args:
        where: As of :func:`save`, which is called again for the same weights.
        task: Whose head.
        inputs: Texts, or pairs of them.
        embedded: With the task embedding.
    """
    tasks: dict[str, torch.Tensor] = {}
    save(where, change=tasks.update)
    model = AutoModelForSequenceClassification.from_pretrained(where / "nli").eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(where / "nli" / "tokenizer.json"))
    at = TASKS.index(task)
    model.classifier = nn.Linear(model.config.hidden_size, SIZES[task])
    with torch.inference_mode():
        model.classifier.weight.copy_(tasks[f"classifiers.{at}.weight"])
        model.classifier.bias.copy_(tasks[f"classifiers.{at}.bias"])
        if embedded:
            words = model.deberta.embeddings.word_embeddings.weight
            words[tokenizer.convert_tokens_to_ids("[CLS]")] += tasks["Z"][at]
        found = []
        for one in inputs:
            rows = tokenizer(*([one] if isinstance(one, str) else one), return_tensors="pt")
            found.append(model(rows["input_ids"], attention_mask=rows["attention_mask"]).logits[0].double().numpy())
    return np.array(found)
