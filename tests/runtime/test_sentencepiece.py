"""Characters that a SentencePiece model maps before it cuts: the pieces are those that the model learned.

transformers 5 rebuilds DeBERTa's tokenizer without that map, from tokenizer.json and from spm.model alike.
"""

import io
import json
import random
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as RustTokenizer
from transformers import DebertaV2Tokenizer

from headgate import CheckpointError, MissingExtraError
from headgate.runtime.sentencepiece import LAYOUTS, from_sentencepiece
from headgate.runtime.tokenizer import Tokenizer
from tests import tiny

MAPPED = {
    "no-break space": "the\u00a0hub",
    "ideographic space": "the\u3000hub",
    "zero-width space": "the\u200bhub",
    "byte order mark": "\ufeffthe hub",
    "ellipsis": "wait…",
    "trade mark": "the hub™",
    "one half": "½ price",
    "full width": "ｔｈｅ ｈｕｂ，ｗａｉｔ！",
    "ligatures": "ﬁrst oﬃce ﬂuff",
    "circled": "① hub",
    "square": "㍿ hub",
    "decomposed": "cafe\u0301",
    "two spaces": "a \u00a0 hub",
    "controls": "the\t\r\n\x7fhub",
}
ENDS = ["hub\u200b", "hub \u200b ", "\u200bhub", "\u00a0", "", "hub\u3000", "\x85", "\x85hub \x85"]
SPECIAL = {
    "deberta-v2": {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
    | {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3},
    "xlm-roberta": {},
}
WORDS = "the hub lost its password wait... 1⁄2 price TM first office fluff café (1) 株式会社 full ，!"
characters = st.text(st.one_of(st.sampled_from("".join(MAPPED.values())), st.characters(exclude_categories=["Cs"])))


def trained(kind: str) -> bytes:
    """A tiny unigram model with the map nmt_nfkc, learned from words that the mapped characters turn into."""
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS.split(), k=8)) for _ in range(400)]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=120, hard_vocab_limit=False, num_threads=1,
        character_coverage=1.0, normalization_rule_name="nmt_nfkc", minloglevel=2, **SPECIAL[kind],
    )  # fmt: skip
    return model.getvalue()


@pytest.fixture(scope="module", params=LAYOUTS)
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a SentencePiece model and no tokenizer.json."""
    kind: str = request.param
    where = tmp_path_factory.mktemp(kind)
    (where / LAYOUTS[kind].file).write_bytes(trained(kind))
    (where / "config.json").write_text(json.dumps({"model_type": kind}))
    return where


@pytest.fixture(scope="module")
def deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for DeBERTa alone."""
    where = tmp_path_factory.mktemp("deberta")
    (where / "spm.model").write_bytes(trained("deberta-v2"))
    (where / "config.json").write_text(json.dumps({"model_type": "deberta-v2"}))
    return where


@pytest.fixture
def folder(deberta: Path, tmp_path: Path) -> Path:
    """One to damage."""
    return Path(shutil.copytree(deberta, tmp_path / "model"))


def learned(where: Path, text: str) -> list[int]:
    """The ids of SentencePiece itself; XLM-R's are one higher, and its unknown token is 3."""
    kind = json.loads((where / "config.json").read_text())["model_type"]
    model = sentencepiece.SentencePieceProcessor(model_file=str(where / LAYOUTS[kind].file))
    found: list[int] = model.encode(text)
    return found if kind == "deberta-v2" else [i + 1 if i > 2 else 3 for i in found]


def read(tok: Tokenizer, text: str) -> list[int]:
    (found,) = tok.encode([text])
    return [int(i) for i in found.ids]


@pytest.mark.parametrize("text", [*MAPPED.values(), *ENDS], ids=[*MAPPED, *(f"end-{i}" for i in range(len(ENDS)))])
def test_a_model_alone_reads_as_sentencepiece_does(alone: Path, text: str) -> None:
    assert read(Tokenizer.from_folder(alone), text) == learned(alone, text)


@given(text=characters)
def test_any_text_reads_as_sentencepiece_does(alone: Path, text: str) -> None:
    assert read(Tokenizer.from_folder(alone), text) == learned(alone, text)


@pytest.fixture(scope="module")
def published(deberta: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as a tokenizer.json, laid out as DeBERTa-v3's is, made with nothing of ours."""
    where = tmp_path_factory.mktemp("published")
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString((deberta / "spm.model").read_bytes())
    rust = RustTokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], 3, False))
    rust.normalizer = normalizers.Sequence(
        [
            normalizers.Strip(),
            normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    rust.pre_tokenizer = pre_tokenizers.Metaspace()
    rust.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 1), ("[SEP]", 2)]
    )
    tiny.save_tokenizer(where, rust, LAYOUTS["deberta-v2"].special)
    (where / "config.json").write_text((deberta / "config.json").read_text())
    return where


@pytest.mark.parametrize("text", MAPPED.values(), ids=MAPPED)
def test_tokenizer_json_reads_as_sentencepiece_does(deberta: Path, published: Path, text: str) -> None:
    assert read(Tokenizer.from_folder(published), text) == learned(deberta, text)


DRIFTS = [name for name in MAPPED if name not in ("decomposed", "two spaces")]


@pytest.mark.parametrize("name", DRIFTS)
@pytest.mark.parametrize("files", ["deberta", "published"])
def test_transformers_reads_other_pieces(deberta: Path, published: Path, files: str, name: str) -> None:
    """So the tests above can fail. Where this one does, transformers has mended it."""
    theirs = DebertaV2Tokenizer.from_pretrained({"deberta": deberta, "published": published}[files])
    assert theirs.encode("the hub wait", add_special_tokens=False) == learned(deberta, "the hub wait")
    assert theirs.encode(MAPPED[name], add_special_tokens=False) != learned(deberta, MAPPED[name])


def test_the_frame_and_the_special_tokens_are_the_models(alone: Path) -> None:
    tok = Tokenizer.from_folder(alone)
    rust = from_sentencepiece(alone)
    special = LAYOUTS[json.loads((alone / "config.json").read_text())["model_type"]].special
    a = np.array(read(tok, "the hub"), np.int32)
    expected = [1, *a, 2, *a, 2] if special[0] == "[PAD]" else [0, *a, 2, 2, *a, 2]
    assert tok.pair.row(a, a).ids.tolist() == expected
    assert [rust.token_to_id(s) for s in special] == [0, 1, 2, 3, rust.get_vocab_size() - 1]
    forbidden = {rust.token_to_id(s) for s in special} - {3}
    (found,) = tok.encode([" ".join(special)])
    assert not forbidden & set(found.ids.tolist())


def test_no_warning_where_nothing_is_lost(alone: Path, caplog: pytest.LogCaptureFixture) -> None:
    Tokenizer.from_folder(alone)
    assert caplog.text == ""


def test_tokenizer_json_comes_first(folder: Path) -> None:
    tiny.save_tokenizer(folder, tiny.words("the", "hub"))
    assert read(Tokenizer.from_folder(folder), "the hub") == [4, 5]


def test_lower_case_where_the_folder_says_so(folder: Path) -> None:
    plain = Tokenizer.from_folder(folder)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    assert read(Tokenizer.from_folder(folder), "THE Hub") == read(plain, "the hub") != read(plain, "THE Hub")


def test_an_encoder_one_level_down(folder: Path) -> None:
    said = {"model_type": "multi-head", "backbone": {"model_type": "deberta-v2"}}
    (folder / "config.json").write_text(json.dumps(said))
    assert read(Tokenizer.from_folder(folder), "the hub")


@pytest.mark.parametrize("newer", [False, True])
def test_added_tokens_keep_their_ids(folder: Path, newer: bool) -> None:
    size = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model")).get_piece_size()

    def add(**tokens: int) -> Tokenizer:
        added = {at: {"content": token, "special": False, "normalized": False} for token, at in tokens.items()}
        name, said = ("tokenizer_config", {"added_tokens_decoder": added}) if newer else ("added_tokens", tokens)
        (folder / f"{name}.json").write_text(json.dumps(said))
        return Tokenizer.from_folder(folder)

    tok = add(hubword=size + 1, **{"[MASK]": size})
    assert read(tok, "the hubword")[-1] == size + 1
    assert size not in read(tok, "the [MASK]")
    with pytest.raises(CheckpointError, match=rf"token 'hubword' would be {size}, and is added as {size + 7}"):
        add(hubword=size + 7)


# ------------------------------------------------------------------------------------ what can't be read


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spiece.model", "albert"),
        ("sentencepiece.bpe.model", "camembert"),
        ("spm.model", None),
        ("x.model", "deberta-v2"),
    ],
)
def test_another_kind_of_model_is_refused(folder: Path, name: str, kind: str | None) -> None:
    """Its special tokens would have to be guessed."""
    (folder / "spm.model").rename(folder / name)
    (folder / "config.json").write_text(json.dumps({"model_type": kind} if kind else {}))
    with pytest.raises(CheckpointError, match=rf"'{name}'.*of type '?{kind}.*no tokenizer\.json; expected.*spm\.model"):
        Tokenizer.from_folder(folder)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00\xff" * 50])
def test_a_damaged_model(folder: Path, content: bytes) -> None:
    (folder / "spm.model").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"spm\.model can't be read.*\[CLS\].*[Dd]ownload"):
        Tokenizer.from_folder(folder)


def test_xlm_roberta_s_pieces_in_a_deberta_folder(folder: Path) -> None:
    (folder / "spm.model").write_bytes(trained("xlm-roberta"))
    with pytest.raises(CheckpointError, match=r"spm\.model can't be read as the SentencePiece model of a deberta-v2"):
        Tokenizer.from_folder(folder)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "added_tokens.json", "config.json"])
@pytest.mark.parametrize("content", ["{", "[]"])
def test_damaged_files_beside_it(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=rf"{name} (is not JSON|holds list)"):
        Tokenizer.from_folder(folder)


def test_without_protobuf(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any) -> None:
        raise ImportError("protobuf")

    # Not by its dotted name: transformers also has a function of that name.
    monkeypatch.setattr(import_module("transformers.convert_slow_tokenizer"), "requires_backends", missing)
    with pytest.raises(MissingExtraError, match=r'pip install "headgate\[sentencepiece\]"'):
        Tokenizer.from_folder(folder)
