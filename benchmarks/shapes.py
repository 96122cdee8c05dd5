"""Folders of published shapes with random weights, as speed doesn't depend on the weights.

Each is saved as its own library saves it, with mini's tokenizer, so that other libraries read it too.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

import headgate
from headgate.models.building import quietly

MINILM = "MiniLM-L6"
DEBERTA = "DeBERTa-v3-base"
MODERNBERT = "ModernBERT-base"
NLI = ("entailment", "not_entailment")
RANKER = ("relevance",)
TEMPLATE = "This text is about {}."
MARKERS = ("<<LABEL>>", "<<SEP>>", "<<EXAMPLE>>")

_DEBERTA: dict[str, Any] = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "position_buckets": 256, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0, "layer_norm_eps": 1e-7,
}  # fmt: skip


def tokenizer(*, markers: bool = False) -> Tokenizer:
    """mini's, 30,522 pieces; with GLiClass's markers where asked."""
    found = Tokenizer.from_file(str(Path(headgate.__file__).parent / "mini" / "tokenizer.json"))
    found.no_truncation()
    found.no_padding()
    if markers:
        found.add_special_tokens([AddedToken(m, special=True) for m in MARKERS])
    return found


def config(shape: str, tok: Tokenizer, **more: Any) -> PreTrainedConfig:  # noqa: ANN401
    """The configuration of a shape; config.json of the published models, but for the vocabulary."""
    own = {"vocab_size": tok.get_vocab_size(), "pad_token_id": tok.token_to_id("[PAD]"), **more}
    if shape == MINILM:
        size = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
        return BertConfig(**{**size, **own})
    if shape == DEBERTA:
        return DebertaV2Config(**{**_DEBERTA, **own})
    ids = {"cls_token_id": tok.token_to_id("[CLS]"), "sep_token_id": tok.token_to_id("[SEP]")}
    ids |= {"bos_token_id": ids["cls_token_id"], "eos_token_id": ids["sep_token_id"]}
    return ModernBertConfig(**ids, **own)  # whose defaults are ModernBERT-base


def classifier(folder: Path, shape: str, classes: tuple[str, ...], more: Mapping[str, Any] | None = None) -> Path:
    """A ``*ForSequenceClassification``; of one class a ranker as sentence-transformers marks it.

    Args:
        folder: Where it goes.
        shape: Of the encoder.
        classes: Names of the logits.
        more: What of the configuration is other than the shape's.
    """
    tok = tokenizer()
    names = {"id2label": dict(enumerate(classes)), "label2id": {name: i for i, name in enumerate(classes)}}
    settings = config(shape, tok, **names, **(more or {}))
    if classes == RANKER:
        settings.sentence_transformers = {"version": "6.2.0"}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(settings).eval()
    with quietly():
        model.save_pretrained(folder)
    _save(folder, tok, types=shape == MINILM)
    return folder


def gliclass(folder: Path, shape: str, more: Mapping[str, Any] | None = None) -> Path:
    """A uni-encoder as the gliclass package saves it.

    Args:
        folder: Where it goes.
        shape: Of the encoder.
        more: What of its configuration is other: 6 layers of DeBERTa-v3-base are DeBERTa-v3-small.
    """
    from gliclass import GLiClassModel, GLiClassModelConfig

    tok = tokenizer(markers=True)
    ids = [tok.token_to_id(m) for m in MARKERS]
    encoder = config(shape, tok, **(more or {}))
    torch.manual_seed(0)
    settings = GLiClassModelConfig(
        encoder_config=encoder, encoder_model="none", class_token_index=ids[0], text_token_index=ids[1],
        example_token_index=ids[2], prompt_first=True, scorer_type="simple", pooling_strategy="first",
    )  # fmt: skip
    with quietly():
        GLiClassModel(settings).eval().save_pretrained(folder)
    _save(folder, tok, types=False, length=1024)
    return folder


def heads(folder: Path, shape: str, sizes: Mapping[str, int]) -> Path:
    """One encoder and linear heads, in headgate's own layout."""
    from safetensors.torch import save_file
    from transformers import AutoModel

    tok = tokenizer()
    settings = config(shape, tok)
    torch.manual_seed(0)
    encoder = AutoModel.from_config(settings).eval()
    linear = torch.nn.ModuleDict({n: torch.nn.Linear(settings.hidden_size, size) for n, size in sizes.items()})
    weights = torch.nn.ModuleDict({"backbone": encoder, "heads": linear}).state_dict()
    _save(folder, tok, types=shape == MINILM)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    settings.save_pretrained(folder)
    inner = json.loads((folder / "config.json").read_text())
    named = {n: {"labels": [f"{n}-{i}" for i in range(size)], "type": "single"} for n, size in sizes.items()}
    (folder / "config.json").write_text(json.dumps({"model_type": "multi-head", "backbone": inner, "heads": named}))
    return folder


def _save(folder: Path, tok: Tokenizer, *, types: bool, length: int = 512) -> None:
    inputs = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok, model_max_length=length, model_input_names=inputs,
        pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    fast.save_pretrained(str(folder))
    tok.save(str(folder / "tokenizer.json"))
