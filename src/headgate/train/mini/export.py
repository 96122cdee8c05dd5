"""Write the ``mini`` folder from three runs: ``python -m headgate.train.mini.export``.

What embeds and ranks is the base as it was. One run taught the heads and the router, another premises read together
with hypotheses, the third the label scorer, whose upper layers stand on the router's. Each has layers of its own, and
all stand on the same word embeddings, which nobody trained. The matrices are kept in int8.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from headgate.models.storage import packed
from headgate.train.mini.model import ALARMS, BASE, HEADS, MAX_LENGTH, Mini, Text, base_folder, base_tokenizer

log = logging.getLogger(__name__)

Json = dict[str, Any]
TEMPLATE = "This text is about {}."
GUARD_LENGTH = 128
"""Tokens of a window of the heads."""
WORDS = "backbone.embeddings.word_embeddings.weight"
TEXT, PAIRS, LABELS = "text", "pairs", "labels"
"""Under which names the file holds the layers of the runs."""
RANK = {"maxsim": 16.0, "cosine": 8.0}
"""Both terms then have about the same spread over a query's candidates; dev queries tell no better weights."""
MARKERS = 2
"""Rows of the word embeddings that differ from the base's: the label scorer's markers."""
WEIGHTS = "weights.pt"
"""The file of a run, and of each of its checkpoints, that holds the trained weights."""


def load_checkpoint(run: Path, base: str = BASE) -> tuple[Mini, Text]:
    """The trained model of a run, and its tokenizer.

    Args:
        run: Holds the weights.
        base: What the run began with.

    Raises:
        FileNotFoundError: `run` holds no weights, or the base isn't found.
    """
    folder = base_folder(base)
    text = Text(base_tokenizer(folder))
    model = Mini(folder, text)
    model.restore(torch.load(run / WEIGHTS, weights_only=True, map_location="cpu"))
    return model.eval(), text


def export(runs: Mapping[str, Mini], text: Text, out: Path) -> None:
    """Write weights, configuration, tokenizer and scorer.json.

    Args:
        runs: "text" was taught heads, names of labels, and queries; "pairs" premises and hypotheses, of which the
            layers and the NLI head are kept; "labels" prompts of labels, beginning with the layers of "text".
        text: Their tokenizer.
        out: The folder; files in it are replaced.

    Raises:
        ValueError: The runs stand on different word embeddings.
    """
    out.mkdir(parents=True, exist_ok=True)
    weights = tensors(runs)
    save_weights(packed(weights), out)
    _write(out / "config.json", _backbone_config(runs[TEXT]))
    text.tokenizer.save(str(out / "tokenizer.json"))
    settings = scorer(runs)
    for part in settings["parts"].values():  # a run that moved no layer has none of its own
        own = [run for run in part.pop("layers", []) if any(name.startswith(f"{run}.") for name in weights)]
        part |= {"layers": own} if own else {}
    _write(out / "scorer.json", settings)
    log.info("wrote %s (%.1f MB)", out, sum(f.stat().st_size for f in out.iterdir()) / 1e6)


def between(start: Mini, end: Mini, share: float) -> Mini:
    """The weights at `share` of the way from one run to another that began with it.

    What a run learned of its own labels stays for the most part, and what it lost of others comes back (Wortsman et
    al., "Robust fine-tuning of zero-shot models", arXiv 2109.01903).
    """
    mixed = copy.deepcopy(end)
    first = start.weights()
    mixed.restore({k: first[k].lerp(v, share) if v.is_floating_point() else v for k, v in end.weights().items()})
    return mixed


def save_weights(weights: dict[str, Tensor], out: Path) -> None:
    """Write model.safetensors."""
    new = out / "model.safetensors.tmp"
    save_file(weights, new, metadata={"format": "pt"})
    new.chmod(0o644)  # save_file makes it readable by its owner alone
    os.replace(new, out / "model.safetensors")  # another process may have the old one mapped


def tensors(runs: Mapping[str, Mini]) -> dict[str, Tensor]:
    """The weights of the base and of the runs in fp16, each once, under the names that the loader reads."""
    named = {run: _named(model) for run, model in runs.items()}
    base = {f"backbone.{name}": value for name, value in runs[TEXT].teacher.backbone.state_dict().items()}
    words = named[TEXT][WORDS]
    if not all(torch.equal(words, weights[WORDS]) for weights in named.values()):
        raise ValueError("the runs stand on different word embeddings; train all of them from one --base")
    if (words != base[WORDS]).any(1).sum() > MARKERS:
        raise ValueError("the runs stand on other word embeddings than the base; give the --base that they began with")
    base[WORDS] = words
    found = dict(base)
    for run, weights in named.items():
        below = {k: named[TEXT][k] for k in base} if run == LABELS else base
        changed = {k: v for k, v in weights.items() if k in below and not torch.equal(v, below[k])}
        found |= {k.replace("backbone", run, 1): v for k, v in changed.items()}
        found |= {k: v for k, v in weights.items() if k not in base and run == _taught_by(k)}
    for name in (f"heads.{head}.{kind}" for head in ALARMS for kind in ("weight", "bias")):
        alarm, calm = found[name]
        found[name] = (alarm - calm).unsqueeze(0)
    return {k: v.detach().to(torch.float16).contiguous() for k, v in found.items() if v.is_floating_point()}


def _taught_by(name: str) -> str:
    """Which run gives a head, or the label scorer."""
    return PAIRS if name.startswith("heads.nli.") else LABELS if name.startswith("gliclass.") else TEXT


def _named(model: Mini) -> dict[str, Tensor]:
    """The weights of the backbone, the heads and the label scorer."""
    own = {name.removeprefix("multi."): value for name, value in model.weights().items()}
    return {k: v for k, v in own.items() if k.startswith(("backbone.", "heads.", "gliclass."))}


def scorer(runs: Mapping[str, Mini]) -> Json:
    """scorer.json: which part is what, its template, and which part serves which task; `finish` calibrates it."""
    learned = {"maxsim": runs[TEXT].maxsim.item(), "cosine": runs[TEXT].cosine.item()}
    beside = _gliclass_config(runs[LABELS])
    own = {
        name: {"labels": [labels[0]], "type": "multi"} if name in ALARMS else {"labels": list(labels), "type": "single"}
        for name, labels in HEADS.items()
        if name != "nli"
    }
    # The heads are fitted on rows of about this length (finish.SHORT); windows of 256 tokens caught as much.
    heads = _part("multi_head", layers=[TEXT], max_length=GUARD_LENGTH, heads=own)
    heads["thresholds"] = {f"{head}:{HEADS[head][0]}": 0.5 for head in ALARMS}
    return {
        "format": 1,
        "max_length": MAX_LENGTH,
        "pooling": "mean",
        "parts": {
            "nli": _part("cross_encoder", layers=[PAIRS], head="nli", classes=list(HEADS["nli"]), template=TEMPLATE),
            "rank": _part("late_interaction", **RANK, template="{}"),
            "route": _part("late_interaction", layers=[TEXT], **learned, template="{}"),
            "gliclass": _part("gliclass", layers=[TEXT, LABELS], config=beside, template="{}"),
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
        "crossing_layer",
        "crossing_bias",
    )
    found = {name: getattr(config, name) for name in names}
    return {
        "model_type": "GLiClass",
        "architecture_type": config.architecture,
        "problem_type": "multi_label_classification",
        **found,
    }


def _write(path: Path, found: Json) -> None:
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m headgate.train.mini.export", description="Write the mini folder.")
    parser.add_argument("--text", type=Path, required=True, help="folder of the run on heads, names and rank")
    parser.add_argument("--pairs", type=Path, required=True, help="folder of the run on nli")
    parser.add_argument("--labels", type=Path, required=True, help="folder of the run on gliclass, begun with --text's")
    parser.add_argument("--share", type=float, default=0.5, help="of the way from --text to --labels that is gone")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--base", default=BASE, help="folder or hub id of the base model")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    found = {run: load_checkpoint(getattr(given, run), given.base) for run in (TEXT, PAIRS, LABELS)}
    runs = {run: model for run, (model, _) in found.items()}
    runs[LABELS] = between(runs[TEXT], runs[LABELS], given.share)
    export(runs, found[TEXT][1], given.out)


if __name__ == "__main__":
    main()
