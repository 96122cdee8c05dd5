"""GLiClass folders that ``headgate.load`` and the published ``gliclass`` package both read."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken
from tokenizers import Tokenizer as RustTokenizer

from headgate.errors import CheckpointError
from headgate.families.gliclass import GLiClassScorer
from headgate.models.checkpoint import Checkpoint, Json, read_json
from headgate.models.gliclass import ISOLATED, GLiClass, GLiClassConfig
from headgate.train.common import copy_tokenizer, different, start, trainable

MARKERS = {"class_token_index": "<<LABEL>>", "text_token_index": "<<SEP>>", "example_token_index": "<<EXAMPLE>>"}
ScorerType = Literal["simple", "weighted-dot", "mlp", "hopfield", "cross-attn"]


def new_gliclass(  # noqa: PLR0913  one call, everything by name
    encoder: str | Path,
    out: str | Path,
    *,
    scorer: ScorerType = "simple",
    pooling: Literal["average", "first"] = "average",
    prompt_first: bool = True,
    isolate_labels: bool = False,
    revision: str | None = None,
    seed: int = 0,
) -> Path:
    """Start a GLiClass from an encoder: markers in its tokenizer, rows for them in its embeddings, a head of noise.

    It knows nothing yet: train it on many labels, or it will read no others.

    Args:
        encoder: A folder or Hub id with a transformers encoder and tokenizer.json, also inside a classifier.
        out: The new folder, in the published layout.
        scorer: How text and label are compared: "simple" by their product, "mlp" by a network of both, "cross-attn"
            by attention of the label to every token of the text, …; see :mod:`headgate.models.gliclass`.
        pooling: Read a text and a label off the mean of their tokens; or off the first token of the row and the
            marker of the label, as most published models. Means learn much sooner, but the ``gliclass`` package takes
            padding into them: there, give such a model one text at a time.
        prompt_first: Labels before the text.
        isolate_labels: No label sees another, so that a score depends on neither the order nor the company of the
            labels; see :mod:`headgate.models.isolated`. For BERT and ``pooling="average"``; headgate alone reads it.
        revision: Commit, tag or branch of a Hub id.
        seed: Of the new weights.

    Returns:
        `out`, to be trained.

    Raises:
        CheckpointError: Files are missing or damaged, or the model is no encoder.
        ValueError: `out` is the folder of the encoder.
    """
    checkpoint = start(encoder, revision=revision)
    different(out, checkpoint)
    tokenizer = _marked(checkpoint)
    inner, prefix = _encoder(checkpoint)
    raw: Json = {name: tokenizer.token_to_id(marker) for name, marker in MARKERS.items()}
    raw |= {
        "scorer_type": scorer,
        "class_token_pooling": pooling,
        "prompt_first": prompt_first,
        "encoder_config": inner,
    }
    text = "pass" if scorer == "cross-attn" else "avg" if pooling == "average" else "first"
    raw |= {"pooling_strategy": text, "extract_text_features": pooling == "average"}
    raw |= {"architecture_type": ISOLATED} if isolate_labels else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = trainable(checkpoint.encoder(inner, prefix))
        raw["scorer_num_heads"] = body.config.num_attention_heads  # type: ignore[union-attr]
        config = GLiClassConfig.from_dict(raw)
        rows = max(tokenizer.get_vocab_size(), body.get_input_embeddings().num_embeddings)  # type: ignore[operator]
        body.resize_token_embeddings(rows)  # type: ignore[operator]
        model = GLiClass(body, config)
    write(model, out, raw)
    copy_tokenizer(checkpoint, Path(out))
    tokenizer.save(str(Path(out) / "tokenizer.json"))
    return Path(out)


def save(model: GLiClass, checkpoint: Checkpoint, scorer: GLiClassScorer, out: str | Path) -> None:
    """Write a trained model with the tokenizer of the folder it came from; a calibration stays behind.

    Args:
        model: What was trained.
        checkpoint: What it came from.
        scorer: The scorer of that, whose template and length are kept.
        out: Where it goes.
    """
    raw = checkpoint.settings.get("config") or checkpoint.config
    write(model, out, raw)
    copy_tokenizer(checkpoint, Path(out))
    _name_markers(Path(out) / "tokenizer.json", model.config)
    settings: Json = {"family": "gliclass", "template": scorer._core.template}
    if (checkpoint.max_length or checkpoint.settings.get("max_length")) is not None:
        settings["max_length"] = scorer._core.max_length
    _dump(Path(out) / "scorer.json", settings)


def write(model: GLiClass, out: str | Path, raw: Json) -> None:
    """config.json and model.safetensors, in float32.

    Args:
        model: Any GLiClass.
        out: The folder; it is made.
        raw: More keys of config.json; those that `model` answers replace them.
    """
    Path(out).mkdir(parents=True, exist_ok=True)
    encoder = json.loads(model.encoder_model.config.to_json_string(use_diff=False))  # type: ignore[union-attr, operator]
    encoder.pop("_name_or_path", None)  # a path of this machine
    rows = model.encoder_model.get_input_embeddings().num_embeddings  # type: ignore[operator]
    width = model.text_projector.linear_1.out_features  # type: ignore[union-attr]
    config = {
        "problem_type": "multi_label_classification",
        **raw,
        **asdict(model.config),
        "model_type": "GLiClass",
        "architectures": ["GLiClassModel"],
        "architecture_type": model.config.architecture,
        "encoder_config": {**encoder, "vocab_size": rows, "dtype": "float32"},
        "encoder_model_name": raw.get("encoder_model_name") or encoder["model_type"],  # the package crashes on null
        "hidden_size": width,
        "vocab_size": rows,
        "dtype": "float32",
    }
    config.pop("torch_dtype", None)  # of the old weights
    _dump(Path(out) / "config.json", config)
    tensors = {f"model.{name}": value.detach().float().cpu().contiguous() for name, value in model.state_dict().items()}
    path = Path(out) / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # save_file makes it readable by its owner alone


def _encoder(checkpoint: Checkpoint) -> tuple[Json, str]:
    """Configuration of the encoder, and what its weights' names begin with."""
    for key, prefix in (("backbone", "backbone."), ("encoder_config", "model.encoder_model.")):
        if isinstance(checkpoint.config.get(key), dict):
            return checkpoint.config[key], prefix
    return checkpoint.config, "backbone." if checkpoint.has("backbone.") else ""


def _marked(checkpoint: Checkpoint) -> RustTokenizer:
    """The tokenizer with the published markers behind its vocabulary."""
    path = checkpoint.home / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; expected a fast tokenizer: save one with transformers first.")
    tokenizer = RustTokenizer.from_file(str(path))
    tokenizer.add_special_tokens([AddedToken(marker, special=True, normalized=False) for marker in MARKERS.values()])
    return tokenizer


def _name_markers(path: Path, config: GLiClassConfig) -> None:
    """Give markers without a name of their own, as in mini, the published ones: the package looks for those.

    They are pieces that no text writes, such as ``[unused0]``; ids stay.
    """
    state = read_json(path)
    added = {token["id"] for token in state["added_tokens"]}
    new = {index: MARKERS[name] for name, index in asdict(config).items() if name in MARKERS and index not in added}
    if not new or not isinstance(state["model"]["vocab"], dict):
        return
    state["model"]["vocab"] = {new.get(i, piece): i for piece, i in state["model"]["vocab"].items()}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    state["added_tokens"] += [{"id": i, "content": name, **plain, "special": True} for i, name in new.items()]
    state["added_tokens"].sort(key=lambda token: token["id"])
    path.write_text(json.dumps(state, ensure_ascii=False), encoding="utf-8")


def _dump(path: Path, content: Json) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
