"""A tokenizer made of a SentencePiece model, with the character map that its pieces were learned with.

transformers 5 builds DeBERTa's tokenizer without that map, and a no-break space, "…", "™" or "ﬁ" become other pieces.
Its converters keep the map: they are what wrote the tokenizer.json files of these models.

Source: huggingface/transformers ``convert_slow_tokenizer.py`` (DebertaV2Converter, XLMRobertaConverter).
"""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers

from headgate.errors import CheckpointError, MissingExtraError


@dataclass(frozen=True)
class Layout:
    """How a kind of model keeps its SentencePiece model.

    Attributes:
        file: Its name.
        converter: Of transformers.
        special: The tokens that no text may write, in the order in which missing ones are added.
    """

    file: str
    converter: str
    special: tuple[str, ...]


LAYOUTS = {
    "deberta-v2": Layout("spm.model", "DebertaV2Converter", ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")),
    "xlm-roberta": Layout(
        "sentencepiece.bpe.model", "XLMRobertaConverter", ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    ),
}
"""By the model_type in config.json."""


def from_sentencepiece(folder: Path) -> Tokenizer:
    """The tokenizer of a folder that holds a SentencePiece model and no tokenizer.json.

    Raises:
        CheckpointError: The model is damaged, or of a kind whose special tokens nobody says.
        MissingExtraError: protobuf is not installed, which such a model is stored with.
    """
    kind = _kind(folder)
    layout = LAYOUTS.get(kind or "")
    if layout is None or not (folder / layout.file).is_file():
        known = " or ".join(f"{name}'s {layout.file}" for name, layout in LAYOUTS.items())
        raise CheckpointError(
            f"{folder} holds {sorted(p.name for p in folder.glob('*.model'))} of a model of type {kind!r} and no "
            f"tokenizer.json; expected that, or {known}. Take the tokenizer.json of the model it was made from."
        )
    try:
        rust = _converted(folder, layout)
    except CheckpointError:
        raise
    except ImportError as e:
        raise MissingExtraError("protobuf", "sentencepiece") from e
    except Exception as e:  # of protobuf, or of the Rust side, which raises plain Exception
        raise CheckpointError(
            f"{folder / layout.file} can't be read as the SentencePiece model of a {kind} ({e}); expected one with the "
            f"tokens {list(layout.special[:3])}. Download the model again."
        ) from e
    rust.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in layout.special])
    return rust


def _converted(folder: Path, layout: Layout) -> Tokenizer:
    converters = import_module("transformers.convert_slow_tokenizer")  # transformers has a function of that name, too

    said = _json(folder / "tokenizer_config.json")
    # What the converters read of transformers' own class; they look ids up when the vocabulary is there.
    original = SimpleNamespace(
        vocab_file=str(folder / layout.file),
        do_lower_case=bool(said.get("do_lower_case", False)),
        split_by_punct=bool(said.get("split_by_punct", False)),
        add_prefix_space=True,
    )
    converter: Any = getattr(converters, layout.converter)(original)
    original.convert_tokens_to_ids = {piece: i for i, (piece, _) in enumerate(converter.vocab(converter.proto))}.get
    rust: Tokenizer = converter.converted()
    rust.normalizer = _normalizer(converter.proto.normalizer_spec.precompiled_charsmap, original.do_lower_case)
    for at, token in sorted(_added(folder, said).items()):
        rust.add_tokens([token])
        if rust.token_to_id(token.content) != at:
            raise ValueError(
                f"token {token.content!r} would be {rust.token_to_id(token.content)}, and is added as {at}"
            )
    return rust


def _normalizer(charsmap: bytes, lower: bool) -> normalizers.Normalizer:
    """As SentencePiece has it; the converters strip other white space too, and DeBERTa's not what the map makes."""
    steps: list[normalizers.Normalizer] = [normalizers.Lowercase()] if lower else []
    steps += [normalizers.Precompiled(charsmap)] if charsmap else []
    spaces = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"\A | \z"), "")]
    return normalizers.Sequence([*steps, *spaces])


def _added(folder: Path, said: dict[str, Any]) -> dict[int, AddedToken]:
    """The tokens that were added to the model's own, by id: as newer folders keep them, else as older ones do."""
    keys = ("lstrip", "rstrip", "single_word", "normalized", "special")
    newer = said.get("added_tokens_decoder") or {}
    found = {int(at): AddedToken(t["content"], **{k: t[k] for k in keys if k in t}) for at, t in newer.items()}
    return found or {int(at): AddedToken(token) for token, at in _json(folder / "added_tokens.json").items()}


def _kind(folder: Path) -> str | None:
    """The model_type of the encoder, which a multi-head folder keeps one level down; None where nobody says."""
    said = _json(folder / "config.json")
    inner = said.get("backbone")
    return (inner if isinstance(inner, dict) else said).get("model_type")


def _json(path: Path) -> dict[str, Any]:
    """A JSON object; {} where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as e:
        raise CheckpointError(f"{path} is not JSON ({e}); expected a JSON object. Download the model again.") from e
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds {type(found).__name__}; expected a JSON object. Download the model again.")
    return found
