"""Write the ``mini`` folder from a checkpoint: ``python -m headgate.train.mini.export --run DIR --out DIR``."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from headgate.train.mini.model import ALARMS, BASE, HEADS, MAX_LENGTH, Mini, Text, base_folder, base_tokenizer

log = logging.getLogger(__name__)

Json = dict[str, Any]
TEMPLATE = "This text is about {}."
WEIGHTS = "weights.pt"
"""The file of a run, and of each of its checkpoints, that holds the trained weights."""


def load_checkpoint(run: Path, base: str = BASE) -> tuple[Mini, Text]:
    """The trained model of a run, and its tokenizer.

    Raises:
        FileNotFoundError: `run` holds no weights, or the base isn't found.
    """
    folder = base_folder(base)
    text = Text(base_tokenizer(folder))
    model = Mini(folder, text)
    model.restore(torch.load(run / WEIGHTS, weights_only=True, map_location="cpu"))
    return model.eval(), text


def export(model: Mini, text: Text, out: Path) -> None:
    """Write weights, configuration, tokenizer and scorer.json.

    Args:
        model: The trained model.
        text: Its tokenizer.
        out: The folder; files in it are replaced.
    """
    out.mkdir(parents=True, exist_ok=True)
    save_weights(tensors(model), out)
    _write(out / "config.json", _backbone_config(model))
    # What a user types is text, never a control token; the file says so, not only the object in memory.
    text.tokenizer.save(str(out / "tokenizer.json"))
    _write(out / "scorer.json", scorer(model))
    log.info("wrote %s (%.1f MB)", out, sum(f.stat().st_size for f in out.iterdir()) / 1e6)


def save_weights(weights: dict[str, Tensor], out: Path) -> None:
    """Write model.safetensors."""
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)  # save_file makes it readable by its owner alone


def tensors(model: Mini) -> dict[str, Tensor]:
    """The weights in fp16, each once, under the names that the loader reads."""
    named = {name.removeprefix("multi."): value for name, value in model.weights().items() if name.startswith("multi.")}
    named |= {name: value for name, value in model.weights().items() if name.startswith("gliclass.")}
    for head in ALARMS:
        for kind in ("weight", "bias"):
            alarm, calm = named[f"heads.{head}.{kind}"]
            named[f"heads.{head}.{kind}"] = (alarm - calm).unsqueeze(0)
    return {
        name: value.detach().to(torch.float16).contiguous()
        for name, value in named.items()
        if value.is_floating_point()
    }


def scorer(model: Mini) -> Json:
    """scorer.json: which part is what, its template, and which part serves which task; `finish` calibrates it."""
    rank = {"maxsim": model.maxsim.item(), "cosine": model.cosine.item()}
    own = {
        name: {"labels": [labels[0]], "type": "multi"} if name in ALARMS else {"labels": list(labels), "type": "single"}
        for name, labels in HEADS.items()
        if name != "nli"
    }
    heads: Json = {"family": "multi_head", "heads": own}
    heads["thresholds"] = {f"{head}:{HEADS[head][0]}": 0.5 for head in ALARMS}
    return {
        "format": 1,
        "max_length": MAX_LENGTH,
        "pooling": "mean",
        "parts": {
            "nli": _part("cross_encoder", head="nli", classes=list(HEADS["nli"]), template=TEMPLATE),
            "rank": _part("late_interaction", **rank, template="{}"),
            "route": _part("late_interaction", **rank, template="{}"),
            "gliclass": _part("gliclass", config=_gliclass_config(model), template="{}"),
            "heads": heads,
            "embed": _part("bi_encoder", template="{}"),
        },
        "defaults": {"rerank": "rank", "route": "route", "guard": "heads", "embed": "embed"},
    }


def _part(family: str, **more: Any) -> Json:  # noqa: ANN401
    return {"family": family, **more}


def _backbone_config(model: Mini) -> Json:
    config: Json = model.multi.backbone.config.to_diff_dict()  # type: ignore[union-attr, operator]
    for name in (
        "_name_or_path",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "transformers_version",
        "dtype",
    ):
        config.pop(name, None)
    return {"architectures": ["BertModel"], **config}


def _gliclass_config(model: Mini) -> Json:
    config = model.gliclass.config
    names = (
        "class_token_index",
        "text_token_index",
        "prompt_first",
        "pooling_strategy",
        "class_token_pooling",
        "embed_class_token",
        "hidden_size",
        "extract_text_features",
        "scorer_type",
        "projector_hidden_act",
        "normalize_features",
        "use_segment_embeddings",
    )
    found = {name: getattr(config, name) for name in names}
    return {
        "model_type": "GLiClass",
        "architecture_type": "uni-encoder",
        "problem_type": "multi_label_classification",
        **found,
    }


def _write(path: Path, found: Json) -> None:
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m headgate.train.mini.export", description="Write the mini folder.")
    parser.add_argument("--run", type=Path, required=True, help="folder with the checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--base", default=BASE, help="folder or hub id of the base model")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    export(*load_checkpoint(given.run, given.base), given.out)


if __name__ == "__main__":
    main()
