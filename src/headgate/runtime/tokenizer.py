"""Token ids from text, the same on every thread.

``transformers`` tokenizers keep truncation and padding as shared state: two threads that ask for
different lengths silently get each other's. Here truncation and padding are off for good, and
``tokenizer.json`` is read verbatim (transformers 5 rebuilds DeBERTa's normalizer and drops the
character map its models were trained with).
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from headgate.errors import CheckpointError
from headgate.runtime.batching import Ids, Row
from headgate.runtime.sentencepiece import from_sentencepiece

_JOINERS = "\u200d\ufe0f"  # they hold emoji together

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Encoded:
    """A text as tokens, without special tokens and never cut.

    Attributes:
        ids: (tokens,) int32.
        offsets: (tokens, 2) int32, the characters [start, end) of each token.
        length: Characters of the text.
        unknown: Share of the text that the tokenizer could not read, 0 to 1: unknown tokens, and characters
            that it dropped.
    """

    ids: Ids
    offsets: Ids
    length: int
    unknown: float


@dataclass(frozen=True, eq=False)
class Frame:
    """The special tokens around one text or a pair, as the checkpoint's own template puts them.

    Attributes:
        before: Ids in front of the first text.
        between: Ids between the two; empty for one text.
        after: Ids behind the last.
        first: Token type of the first text.
        second: Token type of the second.
        specials: Token types of before, between and after.
    """

    before: Ids
    between: Ids
    after: Ids
    first: int
    second: int
    specials: tuple[Ids, Ids, Ids]

    @property
    def size(self) -> int:
        """How many special tokens it has."""
        return len(self.before) + len(self.between) + len(self.after)

    def row(self, a: Ids, b: Ids | None = None, *, types: bool = False) -> Row:
        """A row of the ids ``a``, or of the pair ``a, b``, with token types if the model has them."""
        second = np.zeros(0, np.int32) if b is None else b
        ids = np.concatenate([self.before, a, self.between, second, self.after])
        if not types:
            return Row(ids)
        t0, t1, t2 = self.specials
        kinds = [t0, np.full(len(a), self.first), t1, np.full(len(second), self.second), t2]
        return Row(ids, np.concatenate(kinds).astype(np.int32))


class Tokenizer:
    """A thread-safe tokenizer; what a user writes never becomes a special token.

    Args:
        tokenizer: A tokenizer of the ``tokenizers`` package; it is copied.
        markers: More tokens that no text may write, though the tokenizer doesn't call them special.
    """

    def __init__(self, tokenizer: RustTokenizer, *, markers: Sequence[str] = ()) -> None:
        plain = RustTokenizer.from_str(tokenizer.to_str())
        plain.no_truncation()
        plain.no_padding()
        self.single = _frame(plain, pair=False)
        self.pair = _frame(plain, pair=True)
        self._unknown = unknown_id(plain)
        self._rust = _deaf(plain, markers)

    @classmethod
    def from_folder(cls, folder: Path) -> "Tokenizer":
        """Read ``tokenizer.json`` verbatim, or convert what there is instead.

        Raises:
            CheckpointError: There is nothing to read, or nothing that can be converted without loss.
            MissingExtraError: There is a SentencePiece model only, and protobuf is not installed.
        """
        path = folder / "tokenizer.json"
        if path.is_file():
            return cls(read_tokenizer(path))
        return cls(from_sentencepiece(folder) if any(folder.glob("*.model")) else _converted(folder))

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Tokens of each text, in order; no special tokens, no truncation."""
        clean = [_speakable(t) for t in texts]
        found = self._rust.encode_batch(clean, add_special_tokens=False)
        return [self._encoded(t, e) for t, e in zip(clean, found, strict=True)]

    def _encoded(self, text: str, e: Encoding) -> Encoded:
        ids = np.array(e.ids, dtype=np.int32)
        offsets = np.array(e.offsets, dtype=np.int32).reshape(-1, 2)
        # A character that no token stands for was not read either: that is how invisible text is smuggled.
        lost = _lost(text, offsets)
        unknown = (int((ids == self._unknown).sum()) + lost) / max(1, len(ids) + lost)
        return Encoded(ids, offsets, len(text), unknown)


def read_tokenizer(path: Path) -> RustTokenizer:
    """``tokenizer.json`` as it is, or CheckpointError."""
    try:
        return RustTokenizer.from_file(str(path))
    except Exception as e:  # the Rust side raises plain Exception
        raise CheckpointError(f"{path} can't be read as a tokenizer ({e}); download the model again.") from e


def _lost(text: str, offsets: Ids) -> int:
    """How many characters, white space and joiners aside, belong to no token."""
    edges = np.zeros(len(text) + 1, dtype=np.int32)
    np.add.at(edges, offsets[:, 0], 1)
    np.add.at(edges, offsets[:, 1], -1)
    bare = np.flatnonzero(np.cumsum(edges)[:-1] == 0)
    return sum(not text[i].isspace() and text[i] not in _JOINERS for i in bare.tolist())


def _speakable(text: str) -> str:
    """Lone surrogates can't be encoded; each becomes U+FFFD, so that offsets stay."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    return text


def _frame(rust: RustTokenizer, *, pair: bool) -> Frame:
    """Read the template off one probe, by which of its tokens belong to no text."""
    probe = rust.encode("a", "a") if pair else rust.encode("a")
    owner = np.array([-1 if s is None else s for s in probe.sequence_ids])
    ids, kinds = np.array(probe.ids, dtype=np.int32), np.array(probe.type_ids, dtype=np.int32)
    first = np.flatnonzero(owner == 0)
    second = np.flatnonzero(owner == 1)
    if len(first) == 0 or (pair and len(second) == 0):
        raise CheckpointError("the tokenizer reads nothing in the letter 'a'; expected a text tokenizer.")
    last = second[-1] if pair else first[-1]
    gap = slice(first[-1] + 1, second[0]) if pair else slice(0, 0)
    cuts = (slice(0, first[0]), gap, slice(last + 1, len(ids)))
    before, between, after = (ids[c] for c in cuts)
    t0, t1, t2 = (kinds[c] for c in cuts)
    return Frame(before, between, after, int(kinds[first[0]]), int(kinds[last]), (t0, t1, t2))


def _deaf(rust: RustTokenizer, markers: Sequence[str]) -> RustTokenizer:
    """The same tokenizer, to which "[SEP]", "</s>" or a marker inside a text is plain text.

    ``encode_special_tokens`` alone is not enough: a Unigram model finds "</s>" in its own vocabulary,
    and markers may have been added as ordinary tokens. So they get names that nobody can write; ids stay.
    """
    state = json.loads(rust.to_str())
    special = {t["content"] for t in state["added_tokens"] if t["special"]} | set(markers)
    secret = uuid4().hex
    names = {token: f"{token}{secret}" for token in special}
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = state["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {names.get(piece, piece): i for piece, i in model["vocab"].items()}
    else:  # Unigram: pieces and their log-probabilities, in the order of their ids
        model["vocab"] = [[names.get(piece, piece), p] for piece, p in model["vocab"]]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    state["post_processor"] = None  # it knows the old names, and we put special tokens in ourselves
    deaf = RustTokenizer.from_str(json.dumps(state))
    deaf.encode_special_tokens = True
    return deaf


def unknown_id(rust: RustTokenizer) -> int:
    """The id of what the vocabulary lacks; -1 where it lacks nothing."""
    model = json.loads(rust.to_str())["model"]
    if isinstance(model.get("unk_id"), int):
        return int(model["unk_id"])
    token = model.get("unk_token")
    found = rust.token_to_id(token) if isinstance(token, str) else None
    return -1 if found is None else int(found)  # byte-level vocabularies read everything


def _converted(folder: Path) -> RustTokenizer:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True)
    except Exception as e:
        raise CheckpointError(f"{folder} holds no tokenizer.json and none can be made of it ({e}).") from e
    rust: RustTokenizer = tokenizer.backend_tokenizer
    if rust.get_vocab_size() <= len(rust.get_added_tokens_decoder()):  # transformers makes an empty one of nothing
        raise CheckpointError(f"{folder} holds no tokenizer.json and no vocabulary; expected the model's tokenizer.")
    log.warning(
        "%s has no tokenizer.json; transformers converted its vocabulary, which may read some characters "
        "otherwise than the model learned them",
        folder,
    )
    return rust
