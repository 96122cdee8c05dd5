"""A scorer from a folder, a Hub id, or a part of the default model.

Which family a folder holds is read from its files. What they leave open raises and names the
argument that answers it; nothing is guessed from a name.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

from headgate.errors import CheckpointError
from headgate.families.base import Family
from headgate.families.bi_encoder import BiEncoder
from headgate.families.colbert import METADATA, ColBERT, is_colbert
from headgate.families.cross_encoder import CrossEncoder, class_names
from headgate.families.gliclass import GLiClassScorer
from headgate.families.gliclass_decoder import DecoderGLiClassScorer
from headgate.families.gliclass_encoder_decoder import EncoderDecoderGLiClassScorer
from headgate.families.gliclass_towers import BiEncoderGLiClassScorer, FusedGLiClassScorer
from headgate.families.late_interaction import LateInteraction
from headgate.families.multi_head import MultiHeadClassifier
from headgate.families.origin import Origin
from headgate.families.tasksource import TaskHeads, task_scorer
from headgate.models.checkpoint import Checkpoint, Json, read_json
from headgate.models.fastest import fastest
from headgate.models.storage import weight_files
from headgate.models.tasksource import holds_tasks
from headgate.runtime.device import Backend, resolve_backend, resolve_device, resolve_dtype

FamilyName = Literal["cross_encoder", "gliclass", "multi_head", "bi_encoder", "late_interaction"]
Classes = Sequence[str] | Mapping[str, Sequence[str]]

_FAMILIES: dict[str, type[Family]] = {
    "cross_encoder": CrossEncoder,
    "gliclass": GLiClassScorer,
    "multi_head": MultiHeadClassifier,
    "bi_encoder": BiEncoder,
    "late_interaction": LateInteraction,
}
_GLICLASS: dict[str, type[Family]] = {  # others, by their architecture_type
    "bi-encoder": BiEncoderGLiClassScorer,
    "bi-encoder-fused": FusedGLiClassScorer,
    "decoder-kv": DecoderGLiClassScorer,
    "encoder-decoder": EncoderDecoderGLiClassScorer,
    "encoder-decoder-cls": EncoderDecoderGLiClassScorer,
}
_MINI = Path(__file__).resolve().parent / "mini"
_SAFE_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", METADATA]


def load(  # noqa: PLR0913  one call, everything by name
    where: str | Path,
    *,
    family: FamilyName | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    template: str | None = None,
    classes: Classes | None = None,
    max_length: int | None = None,
    backend: Backend = "auto",
    exact: bool = False,
    backbone: str | Path | None = None,
    heads: Sequence[str] | TaskHeads | None = None,
) -> Family:
    """Load a scorer.

    Args:
        where: A folder; a part of a multi-part one (``"mini/rank"``, ``"my/model/nli"``); or a Hub
            id. The parts of ``mini``: rank, route, nli, gliclass, heads, embed; or by task, which takes the
            part that does it best: rerank, route, guard, embed.
        family: What the folder holds, where its files leave that open.
        revision: Commit, tag or branch of a Hub id; pin a commit where it matters.
        device: "auto" (cuda, mps, cpu: the first there is), or one that must be there.
        dtype: "auto", "float32", "float16", "bfloat16" or, on a CPU, "int8", of the encoder's products; the last layer
            stays float32. Headgate's own encoders leave a text's score to the text, whatever else is in its batch, to
            1e-4 (on a GPU, and in float16, as far as the digits go); others round by batch, by some hundredths in
            bfloat16, and "onnx" in int8 by tenths.
        template: Hypothesis template with one ``{}``, in place of the folder's.
        classes: Names of the logits in order, in place of the folder's: ``["entailment",
            "not_entailment"]``, ``["relevance"]`` for a ranker, ``{"sentiment": ["positive", …]}``.
        max_length: Tokens of the longest row, in place of the folder's.
        backend: "torch" runs headgate's own encoders (BERT, RoBERTa, XLM-R, DeBERTa-v2/v3, ModernBERT; others as
            transformers has them), "transformers" those of transformers, "onnx" exports the encoder to ONNX Runtime,
            on the CPU, when it first meets it (:mod:`headgate.models.onnx_export`). "auto" is torch, and on a CPU with
            dtype "auto" takes bfloat16 for headgate's own encoders where the CPU multiplies it faster; ``scorer.run``
            says what runs and why.
        exact: float32, whatever is faster.
        backbone: Where encoder and tokenizer are of a folder that holds heads only: a folder or a Hub id, which
            ``owner/name@commit`` pins.
        heads: Names of those to load where a folder holds many, as tasksource's; all in one pass. A
            :class:`headgate.TaskHeads` says more: task embeddings, and which of two texts comes first.

    Raises:
        CheckpointError: Files are missing, damaged or ambiguous.
        DeviceError: The device or dtype is not to be had here, or not with this backend.
        MissingExtraError: The backend is not installed.
    """
    if family is not None and family not in get_args(FamilyName):
        raise ValueError(f"family is {family!r}; expected one of {list(get_args(FamilyName))}.")
    if exact and dtype not in ("auto", "float32"):
        raise ValueError(f"exact is set, and dtype is {dtype!r}; expected one of the two.")
    wanted = heads if isinstance(heads, TaskHeads) else TaskHeads(heads or ())
    origin = Origin(
        where=_named(where),
        family=family,
        revision=revision,
        template=template,
        classes=_classes(classes),
        max_length=max_length,
        backend=backend,
        dtype="float32" if exact else dtype,
        backbone=None if backbone is None else str(backbone),
        heads=None if heads is None else tuple(wanted.names),
        task_embedding=wanted.task_embedding,
        first=wanted.first,
    )
    return load_again(origin, device=device)


def load_again(origin: Origin, *, device: str = "auto") -> Family:
    """The scorer that was loaded so; raises as :func:`load`."""
    backend, size = cast(Backend, origin.backend), origin.max_length  # another is refused where it is opened
    opened = partial(open_checkpoint, device=device, dtype=origin.dtype, max_length=size, backend=backend)
    files = opened(origin.where, revision=origin.revision)
    checkpoint = replace(files, template=origin.template, classes=_classes(origin.classes))
    import torch

    # Modules are born with random weights, and the caller's draws stay theirs; so does the caller's autocast.
    with torch.random.fork_rng(devices=[]), torch.autocast(checkpoint.device.type, enabled=False):
        if origin.heads is not None or origin.backbone is not None or holds_tasks(checkpoint):
            base = None if origin.backbone is None else _backbone(origin.backbone, opened)
            wanted = TaskHeads(origin.heads or (), origin.task_embedding, origin.first)
            return task_scorer(checkpoint, base, wanted, origin.family).loaded_as(origin)
        kind = _class(origin.family or _family(checkpoint), checkpoint)
        return kind.from_checkpoint(checkpoint).loaded_as(origin)


def _named(where: str | Path) -> str:
    """As the caller wrote it; a part of the default by its name, wherever it is installed here."""
    if not isinstance(where, str | Path):
        return where  # refused where it is opened
    path = Path(where).expanduser()
    inside = path.is_absolute() and path.resolve().is_relative_to(_MINI)
    return f"mini/{path.resolve().relative_to(_MINI)}".removesuffix("/.") if inside else str(where)


def _backbone(where: str | Path, opened: Callable[..., Checkpoint]) -> Checkpoint:
    """Its files; a Hub id may end in ``@`` and a revision, which no name of the Hub holds."""
    name, at, revision = str(where).partition("@")
    return opened(where) if not at or Path(where).expanduser().exists() else opened(name, revision=revision)


def open_checkpoint(
    where: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    backend: Backend = "torch",
) -> Checkpoint:
    """The files that :func:`load` would make a scorer of; arguments and errors are the same."""
    if not isinstance(where, str | Path) or not str(where).strip():
        raise TypeError(f"where is {where!r}; expected a folder, a Hub id, or a part of the default such as mini/rank.")
    runs = resolve_backend(backend, device, dtype)
    there = resolve_device("cpu" if runs == "onnx" else device)
    folder, part = _find(str(where), revision)
    weight_files(folder)  # before anything slower: a folder without weights is the commonest mistake
    found = Checkpoint(
        folder=folder,
        settings=_settings(folder, part),
        device=there,
        dtype=resolve_dtype(dtype, there, runs),
        max_length=max_length,
        backend=runs,
    )
    if (backend, dtype, there.type) != ("auto", "auto", "cpu"):
        return found
    with suppress(CheckpointError):  # the family says better what its files lack
        choice = fastest(int(getattr(found.body, "hidden_size", 0)))
        return replace(found, dtype=choice.dtype, why=choice.why, chosen=True)
    return found


def _find(where: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder, and the part of it that is meant."""
    if where == "mini" or where.startswith("mini/"):
        return _MINI, where.removeprefix("mini").strip("/") or None
    path = Path(where).expanduser()
    folder = next((f for f in (path, path.parent) if f.is_dir() and (f == path or (f / "scorer.json").is_file())), None)
    if folder is not None and revision is not None:
        raise ValueError(f"revision is {revision!r}, and {where} is a folder here; expected one with a Hub id only.")
    if folder is not None:
        return folder, None if folder == path else path.name
    if path.exists():
        raise CheckpointError(f"{where} is a file; expected the folder that holds config.json and the weights.")
    if path.is_absolute() or where.startswith((".", "~")) or where.count("/") > 1:
        raise CheckpointError(f"there is no folder {where}; expected a model folder or a Hub id such as owner/name.")
    return _download(where, revision), None


def _download(where: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(where, revision=revision, allow_patterns=_SAFE_FILES))
        if not any(folder.glob("model*.safetensors")):  # older models: pickles, read without running them
            folder = Path(snapshot_download(where, revision=revision, allow_patterns=[*_SAFE_FILES, "*.bin", "*.pth"]))
    except Exception as e:  # of the id, the file system, the network or a proxy: they share no other base
        raise CheckpointError(
            f"{where!r} is neither a folder here nor a model of the Hub that can be reached or is cached ({e}). "
            'Pass a folder, a Hub id, or a part of the default model such as "mini/rank".'
        ) from e
    return folder


def _settings(folder: Path, part: str | None) -> Json:
    """scorer.json, with the part's own keys over the shared ones."""
    path = folder / "scorer.json"
    settings = read_json(path) if path.is_file() else {}
    parts, defaults = settings.pop("parts", {}), settings.pop("defaults", {})
    if not isinstance(parts, dict) or not isinstance(defaults, dict) or not all(map(_is_dict, parts.values())):
        raise CheckpointError(f"{path} has parts or defaults that are no JSON objects; expected part name -> settings.")
    part = defaults.get(part, part)  # "rerank" is the part that reranks best
    if part is None and parts:
        raise CheckpointError(
            f"{folder.name} holds the parts {sorted(parts)}; say which: load({folder.name + '/' + min(parts)!r})."
        )
    if part is not None and part not in parts:
        raise CheckpointError(f"{folder.name} has no part {part!r}; it holds {sorted(parts)}.")
    return {**settings, **(parts[part] if part is not None else {})}


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _classes(classes: Classes | None) -> tuple[str, ...] | dict[str, tuple[str, ...]] | None:
    if classes is None:
        return None
    if isinstance(classes, str):
        raise TypeError(f"classes is a str; expected the names of the logits in order: [{classes!r}].")
    if isinstance(classes, Mapping):
        return {head: tuple(names) for head, names in classes.items()}
    return tuple(classes)


def _class(family: str, checkpoint: Checkpoint) -> type[Family]:
    """What reads the layout of these files."""
    chosen = _FAMILIES[family]
    if chosen is LateInteraction and is_colbert(checkpoint):
        return ColBERT
    if chosen is GLiClassScorer and "config" not in checkpoint.settings:
        return _GLICLASS.get(str(checkpoint.config.get("architecture_type")), chosen)
    return chosen


def _family(checkpoint: Checkpoint) -> str:
    """Which family the files say they are."""
    named = checkpoint.settings.get("family")
    if named in _FAMILIES:
        return str(named)
    if named is not None:
        raise CheckpointError(f"scorer.json names family {named!r}; expected one of {sorted(_FAMILIES)}.")
    config = checkpoint.config
    if config.get("model_type") == "GLiClass":
        return "gliclass"
    if config.get("model_type") == "multi-head":
        return "multi_head"
    architecture = str((config.get("architectures") or [""])[0])
    if architecture.endswith("ForSequenceClassification"):
        return _classifier_family(checkpoint)
    if is_colbert(checkpoint):
        return "late_interaction"
    if (checkpoint.folder / "modules.json").is_file():
        return "bi_encoder"
    raise CheckpointError(
        f"{checkpoint.folder} says neither GLiClass, multi-head, *ForSequenceClassification nor sentence-transformers "
        f"(architectures: {config.get('architectures')}); pass load(…, family=…), one of {sorted(_FAMILIES)}."
    )


def _classifier_family(checkpoint: Checkpoint) -> str:
    names = checkpoint.classes or class_names(checkpoint.config)
    if isinstance(names, Mapping):
        return "multi_head"
    if names == ("relevance",) or any(n.lower().startswith("entail") for n in names):
        return "cross_encoder"
    said = list(names) or "none"
    raise CheckpointError(
        f"{checkpoint.folder} is a *ForSequenceClassification with class names {said}: it may be a ranker, an NLI "
        'model or a classifier. Say which: load(…, classes=["relevance"]) for a ranker with one logit; classes=['
        '"entailment", …] in the order of the logits for NLI; family="multi_head", classes=[…] for a classifier.'
    )
