"""ColBERT, as it is published: a projection of token states, markers, and queries filled up with mask tokens.

    query     [CLS] [Q] where is my parcel [SEP] [MASK] [MASK] …      every state counts
    document  [CLS] [D] the parcel arrives on monday . [SEP]          all but punctuation

``score = sum over the states of the query of the best dot product with a state of the document``, of unit vectors: an
order. Two layouts are read: Stanford's (``linear.weight`` beside the encoder, settings in ``artifact.metadata``) and
PyLate's (``modules.json`` with Dense modules, settings in ``config_sentence_transformers.json``).

Where the published code cuts, nothing is cut here: a document is read in windows of the model's document length, and a
query longer than the model's query length is read whole, without mask tokens.

Sources: Khattab & Zaharia, "ColBERT", 2020 (arXiv:2004.12832); Santhanam et al., "ColBERTv2", 2022 (arXiv:2112.01488);
stanford-futuredata/ColBERT 0.2.22 (``modeling/``); lightonai/pylate 1.6.0 (``models/colbert.py``, ``models/Dense.py``).
"""

import string
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from tokenizers import Tokenizer as RustTokenizer

from headgate.errors import CheckpointError
from headgate.families.base import Core, core
from headgate.families.late_interaction import LateInteraction, States, Weights, unit
from headgate.models.calls import projected_states
from headgate.models.checkpoint import Checkpoint, Json, module_kinds, read_json
from headgate.models.projection import dense, linear
from headgate.runtime.batching import Array, Ids, Row
from headgate.runtime.tokenizer import Tokenizer, read_tokenizer, unknown_id
from headgate.scores import Floats

STANFORD = "HF_ColBERT"
METADATA = "artifact.metadata"
LEAST = 4
"""Tokens that a window has room for, or the files are wrong."""


@dataclass(frozen=True)
class Reading:
    """How a model frames what it reads.

    Attributes:
        query_marker: Id behind the first special token of a query; None for none.
        document_marker: The same of a document.
        query_length: Tokens that a query is filled up to; 0 for none.
        document_length: Tokens of a window, special ones included.
        mask: Id of what queries are filled up with.
        attend: True if other tokens attend to these.
        skipped: Ids that don't count in a document.
    """

    query_marker: int | None
    document_marker: int | None
    query_length: int
    document_length: int
    mask: int
    attend: bool
    skipped: tuple[int, ...]


class ColBERT(LateInteraction):
    """Judges a text by the tokens of a label that it matches, as ColBERT models were trained to.

    Args:
        parts: Tokenizer and forward (rows to (tokens, width) projected states).
        reading: Markers, lengths, and what counts.
    """

    def __init__(self, parts: Core, reading: Reading) -> None:
        super().__init__(parts, Weights(1.0, 0.0))
        self._reading = reading

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A folder of Stanford's layout or PyLate's.

        Raises:
            CheckpointError: Files are missing, or say something that is not run here.
        """
        tokenizer = _rust(checkpoint.folder)
        stanford = _is_stanford(checkpoint)
        raw = _metadata(checkpoint.folder) if stanford else _pylate(checkpoint.folder)
        reading = _reading(raw, tokenizer, checkpoint, by_text=stanford)
        projection = linear(checkpoint) if stanford else dense(checkpoint)
        encoder = checkpoint.encoder(checkpoint.config, _prefix(checkpoint) if stanford else "")
        forward = checkpoint.forward(projected_states(encoder, projection.to(checkpoint.device)), encoder)
        parts = core(checkpoint, forward, template="{}", identity=reading)
        markers = [m for m in (raw["query_prefix"], raw["document_prefix"]) if m]
        parts = replace(parts, tokenizer=Tokenizer(tokenizer, markers=markers), max_length=checkpoint.length)
        made = cls(parts, reading)
        least = min(made._space(label=True), made._space(label=False))
        if least < LEAST:
            raise CheckpointError(
                f"{checkpoint.folder} leaves {least} tokens to a query or a window of a document; expected at least "
                f"{LEAST}: see its document length, and model_max_length in tokenizer_config.json."
            )
        return made

    def _front(self, *, label: bool) -> list[int]:
        """The marker in front of a query or a document, if there is one."""
        found = self._reading.query_marker if label else self._reading.document_marker
        return [] if found is None else [found]

    def _space(self, *, label: bool) -> int:
        length = self._core.max_length if label else min(self._reading.document_length, self._core.max_length)
        return length - self._core.tokenizer.single.size - len(self._front(label=label))

    def _row(self, ids: Ids, *, label: bool) -> Row:
        front = np.array(self._front(label=label), dtype=np.int32)
        row = super()._row(np.concatenate([front, ids]), label=label)
        more = self._reading.query_length - len(row.ids) if label else 0
        if more <= 0:
            return row
        filled = np.concatenate([row.ids, np.full(more, self._reading.mask, dtype=np.int32)])
        types = None if row.types is None else np.concatenate([row.types, np.zeros(more, dtype=np.int32)])
        return Row(filled, types, None if self._reading.attend else len(row.ids))

    def _states(self, out: Array, ids: Ids, *, label: bool) -> States:
        frame, front = self._core.tokenizer.single, len(self._front(label=label))
        places = np.arange(len(ids), dtype=np.int32) - len(frame.before) - front
        places[(places < 0) | (places >= len(ids) - frame.size - front)] = -1
        counts = np.full(len(ids), True) if label else ~np.isin(ids, self._reading.skipped)
        return States(unit(out[counts]), places[counts], np.zeros(0, dtype=np.float32))

    def _meet(self, label: States, text: States) -> tuple[float, Ids]:
        if not len(text.tokens):  # nothing in it counts
            return -float(len(label.tokens)), np.zeros(0, dtype=np.int32)
        grid: Floats = label.tokens @ text.tokens.T
        matched = text.places[grid.argmax(axis=1)]
        return float(grid.max(axis=1).sum()), matched[matched >= 0]


def is_colbert(checkpoint: Checkpoint) -> bool:
    """True for a folder of one of the two published layouts."""
    return _is_stanford(checkpoint) or "Dense" in module_kinds(checkpoint.folder)[1:2]


def _is_stanford(checkpoint: Checkpoint) -> bool:
    return STANFORD in (checkpoint.config.get("architectures") or ())


def _metadata(folder: Path) -> Json:
    """Stanford's settings, under PyLate's names."""
    raw = read_json(folder / METADATA)
    for name, expected in (("similarity", "cosine"), ("interaction", "colbert")):
        if raw.get(name, expected) != expected:
            raise CheckpointError(f"{folder / METADATA} has {name} {raw[name]!r}; headgate runs {expected!r} alone.")
    return {
        "query_prefix": raw.get("query_token_id", "[unused0]"),
        "document_prefix": raw.get("doc_token_id", "[unused1]"),
        "query_length": raw.get("query_maxlen", 32),
        "document_length": raw.get("doc_maxlen", 220),
        "attend_to_expansion_tokens": raw.get("attend_to_mask_tokens", False),
        "do_query_expansion": True,
        "skiplist_words": list(string.punctuation) if raw.get("mask_punctuation", True) else [],
    }


def _pylate(folder: Path) -> Json:
    """PyLate's settings, its defaults filled in."""
    raw = read_json(folder / "config_sentence_transformers.json")
    if raw.get("similarity_fn_name", "MaxSim") != "MaxSim":
        raise CheckpointError(
            f"{folder} puts Dense behind Transformer, as ColBERT models do, and compares by "
            f"{raw['similarity_fn_name']!r}; expected MaxSim."
        )
    usual = {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 32, "document_length": 180}
    usual |= {"attend_to_expansion_tokens": False, "do_query_expansion": True}
    usual |= {"skiplist_words": list(string.punctuation)}
    return usual | {name: raw[name] for name in usual if raw.get(name) is not None}


def _reading(raw: Json, tokenizer: RustTokenizer, checkpoint: Checkpoint, *, by_text: bool) -> Reading:
    """Settings as ids.

    Args:
        raw: Under PyLate's names.
        tokenizer: Knows the ids.
        checkpoint: The folder, and how long the caller wants windows.
        by_text: A word of the skip list is its first token, as Stanford has it; else a vocabulary entry or unknown.
    """
    folder = checkpoint.folder
    _sound(raw, folder)
    words, unknown = raw["skiplist_words"], unknown_id(tokenizer)
    if by_text:
        skipped = [tokenizer.encode(word, add_special_tokens=False).ids[:1] for word in words]
    else:
        found = [tokenizer.token_to_id(word) for word in words]
        skipped = [[unknown if i is None else i] for i in found]
    expansion = raw["do_query_expansion"]
    return Reading(
        query_marker=_marker(raw["query_prefix"], tokenizer, folder),
        document_marker=_marker(raw["document_prefix"], tokenizer, folder),
        query_length=min(raw["query_length"], checkpoint.length) if expansion else 0,
        document_length=raw["document_length"] if checkpoint.max_length is None else checkpoint.length,
        mask=_mask(tokenizer, folder) if expansion else 0,
        attend=expansion and raw["attend_to_expansion_tokens"],
        skipped=tuple(sorted({i for some in skipped for i in some if i >= 0})),
    )


def _sound(raw: Json, folder: Path) -> None:
    """Raise CheckpointError for settings of a wrong kind."""
    kinds = {"query_length": int, "document_length": int, "query_prefix": str, "document_prefix": str}
    kinds |= {"do_query_expansion": bool, "attend_to_expansion_tokens": bool, "skiplist_words": list}
    for name, kind in kinds.items():
        value = raw[name]
        wrong = type(value) is not kind or (isinstance(value, int) and not isinstance(value, bool) and value < 1)
        if wrong or (kind is list and not all(isinstance(word, str) for word in value)):
            raise CheckpointError(
                f"{folder} has {name} {value!r}; expected {'strings' if kind is list else kind.__name__}."
            )


def _marker(prefix: str, tokenizer: RustTokenizer, folder: Path) -> int | None:
    if not prefix:
        return None
    found = tokenizer.token_to_id(prefix)
    if found is None:
        raise CheckpointError(
            f"{folder} marks by {prefix!r}, which its tokenizer does not have; expected a token of it."
        )
    return int(found)


def _mask(tokenizer: RustTokenizer, folder: Path) -> int:
    """The id of the mask token that the files name."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        said = read_json(folder / name).get("mask_token") if (folder / name).is_file() else None
        token = said.get("content") if isinstance(said, dict) else said
        found = tokenizer.token_to_id(token) if isinstance(token, str) else None
        if found is not None:
            return int(found)
    raise CheckpointError(
        f"{folder} fills queries up with mask tokens, and names none in tokenizer_config.json; expected mask_token."
    )


def _rust(folder: Path) -> RustTokenizer:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; expected a fast tokenizer: save one with transformers first.")
    tokenizer = read_tokenizer(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _prefix(checkpoint: Checkpoint) -> str:
    """What the names of the encoder's weights begin with, such as "bert."."""
    found = sorted({k.split("embeddings.")[0] for k in checkpoint.tensors if ".embeddings." in k})
    if len(found) != 1:
        raise CheckpointError(
            f"{checkpoint.folder} has embeddings under {found or 'no name'}; expected those of one encoder."
        )
    return found[0]
