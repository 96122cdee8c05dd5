"""Text is read whole, by the file's own rules, and can't write a special token."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as RustTokenizer

from headgate import CheckpointError
from headgate.runtime.tokenizer import Tokenizer
from tests import tiny

MARKERS = ("<<LABEL>>", "<<SEP>>")
SPECIAL = ("[SEP]", "[CLS]", "[PAD]", "[MASK]", "</s>", "<s>", "<pad>", "<mask>", "[UNK]", "<unk>", *MARKERS)


def unigram() -> RustTokenizer:
    """A vocabulary that holds its special tokens as pieces, and every letter of them too, as DeBERTa-v3's does."""
    pieces = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "</s>", "▁", "▁a", "a", "b", *"[]SEPCLADUNK</s>"]
    scores = [0.0] * 5 + [-3.0] * (len(pieces) - 5)
    tok = RustTokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), 3, False))
    tok.pre_tokenizer = pre_tokenizers.Metaspace()
    tok.add_special_tokens([AddedToken(s, special=True) for s in pieces[:5]])
    return tok


def read(tok: Tokenizer, text: str) -> list[int]:
    (found,) = tok.encode([text])
    return list(found.ids.tolist())


@pytest.mark.parametrize("body", [*tiny.BODIES, "unigram", "words"])
@pytest.mark.parametrize("around", ["{}", "a {} b", "a{}b"])
def test_special_tokens_inside_a_text_are_plain_text(body: str, around: str) -> None:
    rust = {"unigram": unigram, "words": lambda: tiny.words("a", "b")}.get(body, lambda: tiny.tokenizer(body))()
    rust.add_tokens([AddedToken(m, special=False) for m in MARKERS])  # ordinary, as some checkpoints have them
    tok = Tokenizer(rust, markers=MARKERS)
    unknown = {rust.token_to_id("[UNK]"), rust.token_to_id("<unk>")}
    forbidden = {rust.token_to_id(s) for s in SPECIAL} - unknown
    for special in SPECIAL:
        found = read(tok, around.format(special))
        assert found
        assert not forbidden & set(found), special


def test_writing_the_unknown_token_is_not_unreadable() -> None:
    (found,) = Tokenizer(unigram()).encode(["a [UNK] a"])
    assert found.unknown == 0


@pytest.mark.parametrize("body", tiny.BODIES)
def test_frames_are_the_files_own_template(body: str) -> None:
    rust = tiny.tokenizer(body)
    tok = Tokenizer(rust)
    a, b = "the hub lost its password", "a refund of the invoice"
    for theirs, ours in (
        (rust.encode(a), tok.single.row(np.array(read(tok, a), np.int32), types=True)),
        (rust.encode(a, b), tok.pair.row(*(np.array(read(tok, t), np.int32) for t in (a, b)), types=True)),
    ):
        assert ours.ids.tolist() == theirs.ids
        assert ours.types is not None
        assert ours.types.tolist() == theirs.type_ids
        assert ours.ids.dtype == ours.types.dtype == np.int32


def test_rows_without_types() -> None:
    assert Tokenizer(tiny.tokenizer("roberta")).single.row(np.zeros(3, np.int32)).types is None


def test_never_cuts_or_pads_whatever_the_file_says(tmp_path: Path) -> None:
    rust = tiny.tokenizer("bert")
    whole = rust.encode("the pump is broken " * 30, add_special_tokens=False).ids
    rust.enable_truncation(8)
    rust.enable_padding(length=200)
    tiny.save_tokenizer(tmp_path, rust)
    tok = Tokenizer.from_folder(tmp_path)
    assert read(tok, "the pump is broken " * 30) == whole
    assert len(read(tok, "a")) == 1
    assert rust.truncation is not None  # the caller's tokenizer stays as it was


def test_tokenizer_json_is_read_verbatim(tmp_path: Path) -> None:
    """transformers 5 rebuilds the normalizer of deberta-v2, so that "ﬁ" or "①" get other pieces."""
    rust = tiny.tokenizer("deberta-v2")
    rust.normalizer = normalizers.Sequence([normalizers.Replace("①", "password"), normalizers.Lowercase()])
    tiny.save_tokenizer(tmp_path, rust)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deberta-v2"}))
    assert read(Tokenizer.from_folder(tmp_path), "the ① HUB") == rust.encode("the password hub", None, False, False).ids


@pytest.mark.parametrize("body", tiny.BODIES)
@pytest.mark.parametrize("text", ["", " \n ", "\x00", "a\x00b", "\ud800", "a \udc00 b", "\U0001f600" * 50, "東京"])
def test_anything_is_read(body: str, text: str) -> None:
    (found,) = Tokenizer(tiny.tokenizer(body)).encode([text])
    assert found.length == len(text)
    assert (found.offsets >= 0).all()
    assert (found.offsets <= len(text)).all()
    assert (found.offsets[:, 0] <= found.offsets[:, 1]).all()


def test_a_surrogate_shifts_no_offset() -> None:
    (found,) = Tokenizer(tiny.words("a", "b")).encode(["a \ud800\udfff b"])
    assert found.offsets.tolist() == [[0, 1], [2, 4], [5, 6]]
    assert found.unknown == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [("a b", 0.0), ("東京 は", 1.0), ("a 東京 b は", 0.5), ("", 0.0), (" \t", 0.0)],
)
def test_share_of_unknown(text: str, unknown: float) -> None:
    (found,) = Tokenizer(tiny.words("a", "b")).encode([text])
    assert found.unknown == unknown


def test_text_that_comes_out_as_nothing_is_unread() -> None:
    (found,) = Tokenizer(tiny.tokenizer("bert")).encode(["\x00\u200b\x01"])  # BERT drops control characters
    assert len(found.ids) == 0
    assert found.unknown == 1


def test_byte_level_vocabularies_read_everything() -> None:
    (found,) = Tokenizer(tiny.tokenizer("roberta")).encode(["東京 ☕ \x00"])
    assert found.unknown == 0


def test_offsets_map_back_through_nfkc() -> None:
    tok = Tokenizer(tiny.tokenizer("xlm-roberta"))
    text = "ｔｈｅ ﬁrst ｐａｓｓｗｏｒｄ ⑩ ㍿ hub"  # full width, a ligature, and one character for four
    plain, wide = tok.encode(["the first password 10 株式会社 hub", text])
    assert wide.ids.tolist() == plain.ids.tolist()
    assert text[wide.offsets[-1, 0] : wide.offsets[-1, 1]].endswith("hub"[-1])
    at = text.index("ｐａｓｓｗｏｒｄ")
    inside = [(a, b) for a, b in wide.offsets.tolist() if a >= at - 1 and b <= at + 8]  # "▁p" takes the space
    assert (inside[0][0], inside[-1][1]) == (at - 1, at + 8)


def test_a_vocabulary_alone_is_converted_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "hub", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(names))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with caplog.at_level(logging.WARNING, "headgate"):
        tok = Tokenizer.from_folder(tmp_path)
    assert "no tokenizer.json" in caplog.text
    assert read(tok, "The hubs [SEP]")[:3] == [5, 6, 7]
    assert tok.single.before.tolist() == [2]
    assert tok.single.after.tolist() == [3]


def test_no_tokenizer_at_all(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match=r"holds no tokenizer\.json"):
        Tokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.0"}', "\x00\xff"])
def test_a_damaged_tokenizer(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json can't be read.*download"):
        Tokenizer.from_folder(tmp_path)


def test_a_tokenizer_that_reads_no_text() -> None:
    rust = RustTokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    rust.normalizer = normalizers.Replace("a", "")
    with pytest.raises(CheckpointError, match="reads nothing"):
        Tokenizer(rust)
