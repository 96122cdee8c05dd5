"""ColBERT folders, as Stanford and PyLate publish them, give what a plain reading of their papers' equations gives."""

import json
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel

from headgate import CheckpointError, LabelTooLongError, Reranker, load
from headgate.families.colbert import ColBERT
from headgate.runtime.windows import windows
from headgate.testing import check_scorer
from tests import tiny

TEXTS = [
    "the hub lost its password",
    "refunds, reach the customer: within (five) days!",
    "naïve café 東京 ☕",
    "?",
    "a",
]
QUERIES = ["password reset", "is a refund of the invoice paid?", "soil"]
WIDTH, QUERY, DOCUMENT = 8, 16, 24
F = nn.functional
Plain = Callable[[str, str], float]


def tokenizer(body: str, *markers: str) -> Tokenizer:
    tok = tiny.tokenizer(body)
    tok.add_tokens([m for m in ("[MASK]", *markers) if tok.token_to_id(m) is None])
    return tok


def encoder(folder: Path, tok: Tokenizer, body: str = "bert") -> Any:
    tiny.save_tokenizer(folder, tok)
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": "[MASK]", "model_max_length": 64}))
    torch.manual_seed(0)
    return tiny._spread(AutoModel.from_config(tiny.config(body, tok)).eval())


def plain(
    model: Any,
    project: Callable[[torch.Tensor], torch.Tensor],
    tok: Tokenizer,
    *,
    markers: tuple[str, str],
    skip: set[int],
    expand: bool = True,
    attend: bool = False,
) -> Plain:
    """The score of one query and one document, straight from the papers; nothing of ours but the tokenizer file."""
    tok = Tokenizer.from_str(tok.to_str())
    tok.no_truncation()

    def states(text: str, marker: str, fill: int) -> tuple[list[int], torch.Tensor]:
        ids = tok.encode(text).ids
        if marker:
            ids = [ids[0], tok.token_to_id(marker), *ids[1:]]
        real = len(ids)
        ids += [tok.token_to_id("[MASK]")] * (fill - real)
        mask = [1] * len(ids) if attend else [1] * real + [0] * (len(ids) - real)
        with torch.no_grad():
            out = model(input_ids=torch.tensor([ids]), attention_mask=torch.tensor([mask])).last_hidden_state[0]
            return ids, F.normalize(project(out), dim=-1)

    def score(query: str, document: str) -> float:
        _, q = states(query, markers[0], QUERY if expand else 0)
        ids, d = states(document, markers[1], 0)
        d = d[[i not in skip for i in ids]]
        return float((q @ d.T).max(1).values.sum())

    return score


def stanford(folder: Path, **meta: Any) -> Plain:
    tok = tokenizer("bert", "[unused0]", "[unused1]")
    model, linear = encoder(folder, tok), nn.Linear(32, WIDTH, bias=False)
    weights = {f"bert.{k}": v for k, v in model.state_dict().items()} | {"linear.weight": linear.weight.data}
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
    model.config.architectures = ["HF_ColBERT"]
    model.config.save_pretrained(folder)
    meta = {"query_maxlen": QUERY, "doc_maxlen": DOCUMENT, "attend_to_mask_tokens": False, **meta}
    meta |= {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "mask_punctuation": True, "dim": WIDTH}
    (folder / "artifact.metadata").write_text(json.dumps(meta))
    skip = {tok.encode(s, add_special_tokens=False).ids[0] for s in string.punctuation}
    attend = meta["attend_to_mask_tokens"]
    return plain(model, linear, tok, markers=("[unused0]", "[unused1]"), skip=skip, attend=attend)


def dense(where: Path, a: int, b: int, bias: bool, residual: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """One Dense module, saved; with a residual it is one of GELU."""
    where.mkdir()
    own, beside = nn.Linear(a, b, bias=bias), nn.Linear(a, b, bias=False)
    weights = {f"linear.{k}": v for k, v in own.state_dict().items()}
    kind = "torch.nn.modules.activation.GELU" if residual else "torch.nn.modules.linear.Identity"
    config = {"in_features": a, "out_features": b, "bias": bias, "use_residual": residual, "activation_function": kind}
    save_file(weights | ({"residual.weight": beside.weight.data} if residual else {}), where / "model.safetensors")
    (where / "config.json").write_text(json.dumps(config))
    return (lambda x: F.gelu(own(x)) + beside(x)) if residual else own


def pylate(folder: Path, body: str = "bert", *, bias: bool = False, residual: str = "", **said: Any) -> Plain:
    markers = (said.get("query_prefix", "[Q] "), said.get("document_prefix", "[D] "))
    tok = tokenizer(body, *(m for m in markers if m))
    model = encoder(folder, tok, body)
    model.save_pretrained(folder)
    shapes = [(32, 12), (12, WIDTH)] if residual else [(32, WIDTH)]
    layers = [dense(folder / f"{at}_Dense", a, b, bias, bool(residual)) for at, (a, b) in enumerate(shapes, 1)]
    modules = [("", "sentence_transformers.models.Transformer")]
    modules += [(f"{at}_Dense", "pylate.models.Dense.Dense") for at in range(1, len(shapes) + 1)]
    listed = [{"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listed))
    own_settings = {"similarity_fn_name": "MaxSim", "query_length": QUERY, "document_length": DOCUMENT, **said}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(own_settings))
    words = said.get("skiplist_words", list(string.punctuation))
    unknown = tok.token_to_id("[UNK]")
    skip = {unknown if (i := tok.token_to_id(w)) is None else i for w in words}

    def project(x: torch.Tensor) -> torch.Tensor:
        for layer in layers:
            x = layer(x)
        return x

    expand = said.get("do_query_expansion", True)
    attend = expand and said.get("attend_to_expansion_tokens", False)
    return plain(model, project, tok, markers=markers, skip=skip, expand=expand, attend=attend)


def agree(folder: Path, reference: Plain) -> None:
    scorer = load(folder, device="cpu")
    assert isinstance(scorer, ColBERT)
    found = scorer.score(TEXTS, QUERIES)
    expected = np.array([[reference(query, text) for query in QUERIES] for text in TEXTS])
    assert np.ptp(expected, axis=0).min() > 0.05
    np.testing.assert_allclose(found.log_odds, expected, atol=2e-4)
    assert found.meaning == "order"


@pytest.mark.parametrize("attend", [False, True])
def test_stanfords_layout(tmp_path: Path, attend: bool) -> None:
    agree(tmp_path, stanford(tmp_path, attend_to_mask_tokens=attend))


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"attend_to_expansion_tokens": True},
        {"do_query_expansion": False, "attend_to_expansion_tokens": True},
        {"query_prefix": "", "document_prefix": ""},
        {"query_prefix": "[unused0]", "document_prefix": "[unused1]", "skiplist_words": []},
        {"skiplist_words": ["the", "東"]},
    ],
    ids=str,
)
def test_pylates_layout(tmp_path: Path, said: dict[str, Any]) -> None:
    agree(tmp_path, pylate(tmp_path, **said))


@pytest.mark.parametrize("more", [{"bias": True}, {"residual": "yes"}, {"bias": True, "residual": "yes"}], ids=str)
def test_projections_of_several_layers(tmp_path: Path, more: dict[str, Any]) -> None:
    agree(tmp_path, pylate(tmp_path, **more))


def test_other_bodies(tmp_path: Path) -> None:
    agree(tmp_path, pylate(tmp_path, "modernbert"))


@pytest.mark.parametrize("layout", [stanford, pylate])
def test_contract(tmp_path: Path, layout: Callable[[Path], Plain]) -> None:
    layout(tmp_path)
    scorer = load(tmp_path, device="cpu")
    check_scorer(scorer, labels=QUERIES)
    check_scorer(scorer.cached(), labels=QUERIES)


def test_filled_up_queries_are_not_taken_for_real_ones(tmp_path: Path) -> None:
    """Two rows of the same tokens differ by which of them are attended to, also in a cache."""
    stanford(tmp_path)
    scorer = load(tmp_path, device="cpu").cached()
    masks = " ".join(["[MASK]"] * 3)  # of a user, so plain text
    alone = scorer.score(TEXTS, ["soil"]).log_odds[:, 0]
    assert np.abs(scorer.score(TEXTS, [f"soil {masks}"]).log_odds[:, 0] - alone).min() > 1e-3
    np.testing.assert_allclose(scorer.score(TEXTS, ["soil"]).log_odds[:, 0], alone, atol=1e-5)


def test_no_text_writes_a_marker(tmp_path: Path) -> None:
    pylate(tmp_path)
    scorer = load(tmp_path, device="cpu")
    encoded = scorer._core.tokenizer.encode(["[D] the hub [Q] [MASK]"])[0]
    markers = {scorer._reading.query_marker, scorer._reading.document_marker}  # type: ignore[attr-defined]
    assert not markers & set(encoded.ids.tolist())


def test_long_documents_are_read_in_windows_of_the_models_length(tmp_path: Path) -> None:
    reference = stanford(tmp_path)
    scorer = load(tmp_path, device="cpu")
    words = tiny.CORPUS[0].split() * 4
    found = scorer.score([" ".join(words)], ["password reset"])
    tokens = scorer._core.tokenizer.encode([" ".join(words)])[0]
    room = DOCUMENT - 3  # [CLS], the marker, [SEP]
    pieces = [tokens.offsets[a:b] for a, b in windows(len(tokens.ids), room, room // 4)]
    assert found.windows[0, 0] == len(pieces) > 3
    start, end = found.spans[0, 0]
    assert any(piece[0][0] <= start < end <= piece[-1][1] for piece in pieces)
    first = scorer.score([" ".join(words)[: pieces[0][-1][1]]], ["password reset"]).log_odds
    assert found.log_odds[0, 0] >= first[0, 0]
    assert first[0, 0] == pytest.approx(reference("password reset", " ".join(words)[: pieces[0][-1][1]]), abs=2e-4)


def test_long_queries_are_read_whole_and_never_cut(tmp_path: Path) -> None:
    reference = stanford(tmp_path)
    scorer = load(tmp_path, device="cpu")
    long = "is the refund of the invoice wrong or was the subscription paid twice within five days of the return"
    found = scorer.score(TEXTS, [long]).log_odds[:, 0]
    np.testing.assert_allclose(found, [reference(long, text) for text in TEXTS], atol=2e-4)
    with pytest.raises(LabelTooLongError):
        scorer.score(TEXTS, [long * 5])


def test_a_reranker_of_it(tmp_path: Path) -> None:
    stanford(tmp_path)
    hits = Reranker(load(tmp_path, device="cpu"))("password reset", TEXTS)
    assert sorted(hit.index for hit in hits) == list(range(len(TEXTS)))
    assert all(hit.probability is None for hit in hits)


def test_windows_of_the_callers_length(tmp_path: Path) -> None:
    stanford(tmp_path)
    wide, narrow = (load(tmp_path, device="cpu", max_length=n).score(["the hub " * 30], ["hub"]) for n in (64, 16))
    assert wide.windows[0, 0] < narrow.windows[0, 0]


# ------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("artifact.metadata", {"similarity": "l2"}, "similarity 'l2'"),
        ("artifact.metadata", {"interaction": "flipr"}, "interaction 'flipr'"),
        ("artifact.metadata", {"query_token_id": "[Query]"}, r"marks by '\[Query\]'"),
        ("tokenizer_config.json", {"mask_token": None}, "names none in tokenizer_config.json"),
    ],
)
def test_stanford_folders_that_say_something_else(
    tmp_path: Path, file: str, changes: dict[str, Any], words: str
) -> None:
    stanford(tmp_path)
    tiny.change(tmp_path / file, **changes)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, device="cpu")


def test_stanford_folders_that_lack_something(tmp_path: Path) -> None:
    stanford(tmp_path)
    (tmp_path / "artifact.metadata").rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"artifact\.metadata is missing"):
        load(tmp_path, device="cpu")
    (tmp_path / "elsewhere").rename(tmp_path / "artifact.metadata")
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("config_sentence_transformers.json", {"similarity_fn_name": "cosine"}, "compares by 'cosine'"),
        ("1_Dense/config.json", {"activation_function": "torch.nn.Softsign"}, "Softsign"),
    ],
)
def test_pylate_folders_that_say_something_else(tmp_path: Path, file: str, changes: dict[str, Any], words: str) -> None:
    pylate(tmp_path)
    tiny.change(tmp_path / file, **changes)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, device="cpu")


def damage(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Other weights in a file; the shapes of some are not those of the configuration any more."""
    found = load_file(path)
    change(found)
    save_file({k: v.contiguous() for k, v in found.items()}, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.update({"linear.weight": w["linear.weight"][:, :20]}),
        lambda w: w.update({"linear.weight": w["linear.weight"][:0]}),
        lambda w: w.update({"linear.weight": w["linear.weight"][0]}),
        lambda w: w.update({"linear.weight": w["linear.weight"].to(torch.int8)}),
        lambda w: w.update({"linear.bias": torch.zeros(3)}),
        lambda w: w.update({"linear.bias": torch.zeros(WIDTH)}),  # and config.json says that there is none
        lambda w: w.pop("linear.weight") is None or w.update({"other": torch.zeros(2)}),
    ],
)
def test_projections_that_do_not_fit(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    pylate(tmp_path)
    damage(tmp_path / "1_Dense" / "model.safetensors", change)
    with pytest.raises(CheckpointError):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.update({"linear.weight": w["linear.weight"][:, :7]}),
        lambda w: w.update({"linear.weight": w["linear.weight"][0]}),
        lambda w: w.update({"linear.bias": torch.zeros(WIDTH)}),
        lambda w: w.update({"other.embeddings.word.weight": torch.zeros(2, 2)}),
    ],
)
def test_stanford_weights_that_do_not_fit(tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    stanford(tmp_path)
    damage(tmp_path / "model.safetensors", change)
    with pytest.raises(CheckpointError):
        load(tmp_path, device="cpu")


def test_residuals_that_do_not_fit(tmp_path: Path) -> None:
    pylate(tmp_path, residual="yes")
    where = tmp_path / "1_Dense" / "model.safetensors"
    for change in (
        lambda w: w.update({"residual.weight": w["residual.weight"][:, :3]}),
        lambda w: w.pop("residual.weight"),
    ):
        damage(where, change)
        with pytest.raises(CheckpointError, match="uses a residual"):
            load(tmp_path, device="cpu")


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_damaged_files_of_a_projection(tmp_path: Path, content: bytes | None) -> None:
    pylate(tmp_path)
    path = tmp_path / "1_Dense" / "model.safetensors"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged|no weights"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize("layout", [stanford, pylate])
@pytest.mark.parametrize("content", ["garbage", "{}"])
def test_damaged_tokenizers(tmp_path: Path, layout: Callable[[Path], Plain], content: str) -> None:
    layout(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match="can't be read as a tokenizer"):
        load(tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"query_length": "abc"}, "query_length 'abc'; expected int"),
        ({"document_length": -1}, "document_length -1"),
        ({"document_length": 5}, "leaves 2 tokens"),
        ({"do_query_expansion": "false"}, "do_query_expansion 'false'; expected bool"),
        ({"query_prefix": 5}, "query_prefix 5; expected str"),
        ({"skiplist_words": "abc"}, "skiplist_words 'abc'; expected strings"),
        ({"skiplist_words": [1]}, "expected strings"),
    ],
)
def test_settings_of_a_wrong_kind(tmp_path: Path, said: dict[str, Any], words: str) -> None:
    pylate(tmp_path)
    tiny.change(tmp_path / "config_sentence_transformers.json", **said)
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path, device="cpu")


def test_a_document_of_which_nothing_counts(tmp_path: Path) -> None:
    pylate(tmp_path, skiplist_words=["[CLS]", "[SEP]", "[D] ", "?", "a"])
    scorer = load(tmp_path, device="cpu")
    found = scorer.score(["?", "the hub"], QUERIES).log_odds
    assert (found[0] == -QUERY).all()
    assert (found[1] > -QUERY).all()


def test_modules_without_a_path(tmp_path: Path) -> None:
    pylate(tmp_path)
    modules = json.loads((tmp_path / "modules.json").read_text())
    del modules[1]["path"]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckpointError, match="expected a folder for each"):
        load(tmp_path, device="cpu")


def test_modules_that_do_not_follow(tmp_path: Path) -> None:
    pylate(tmp_path, residual="yes")
    modules = json.loads((tmp_path / "modules.json").read_text())
    (tmp_path / "modules.json").write_text(json.dumps([modules[0], modules[2], modules[1]]))
    with pytest.raises(CheckpointError, match="don't follow"):
        load(tmp_path, device="cpu")
    extra = {"idx": 2, "name": "2", "path": "", "type": "sentence_transformers.models.Pooling"}
    (tmp_path / "modules.json").write_text(json.dumps([*modules, extra]))
    with pytest.raises(CheckpointError, match="Transformer and Dense"):
        load(tmp_path, device="cpu")
