"""Tiny random checkpoints in the published layouts: no download, and every logit spread out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    MT5Config,
    PreTrainedConfig,
    RobertaConfig,
    T5Config,
    UMT5Config,
    XLMRobertaConfig,
)

from headgate.families.base import Core
from headgate.runtime.batching import Array, Forward, Row
from headgate.runtime.tokenizer import Tokenizer as OurTokenizer

CORPUS = [
    "the gardener reset the pump because the hub lost its password",
    "refunds reach the customer within five days of the return",
    "is the invoice wrong or was the subscription paid twice",
    "this text is about a broken sensor, soil moisture and a leaking valve",
    "this example is relevant: the quick brown fox jumps over the lazy dog",
    "wie setze ich das passwort zurück naïve café",
]
TEXTS = [
    "the hub lost its password",
    "refunds reach the customer",
    "naïve café 東京 ☕",
    "the pump is broken. " * 40,
    "[SEP] </s> <<LABEL>> reset",
    "a",
]
LABELS = ["password reset", "a refund of the invoice", "soil"]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "initializer_range": 0.5,  # large, so that scores spread and a mistake shows
    "max_position_embeddings": 64,
}
T5 = {"t5": T5Config, "mt5": MT5Config, "umt5": UMT5Config}
BODIES = ("bert", "roberta", "xlm-roberta", "deberta-v2", "modernbert", "bart")


def tokenizer(body: str) -> Tokenizer:
    """A toy tokenizer of the kind that this body is published with, the same in every run."""
    if body in ("bert", "distilbert"):
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        tok = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tok.normalizer = normalizers.BertNormalizer(lowercase=True)
        tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        vocab = {piece: i for i, piece in enumerate([*special, *_pieces(tok, "##")])}
        tok.model = models.WordPiece(vocab, unk_token="[UNK]")
    elif body in ("xlm-roberta", "deberta-v2", *T5):
        special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
        if body != "deberta-v2":
            special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        tok = Tokenizer(models.Unigram())
        tok.normalizer = normalizers.NFKC()
        tok.pre_tokenizer = pre_tokenizers.Metaspace()
        scored = [(piece, -2.0 - len(piece) / 2 - i / 1000) for i, piece in enumerate(_pieces(tok, ""))]
        tok.model = models.Unigram([*((s, 0.0) for s in special), *scored], unk_id=3)
    else:
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        if body == "modernbert":
            special = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
        tok = Tokenizer(models.BPE())
        tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tok.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
        tok.train_from_iterator(CORPUS, trainer)
    tok.add_special_tokens(special)
    tok.post_processor = _template(tok, body)
    return tok


def _pieces(tok: Tokenizer, inside: str) -> list[str]:
    """Characters, and words in two parts: the trainers of these kinds break ties anew in every process."""
    texts = [tok.normalizer.normalize_str(text) for text in CORPUS]
    words = {word for text in texts for word, _ in tok.pre_tokenizer.pre_tokenize_str(text)}
    letters = {letter for word in words for letter in word}
    parts = {w[:4] for w in words} | {inside + w[4:] for w in words if w[4:]}
    return sorted(letters | {inside + letter for letter in letters} | parts)


def _template(tok: Tokenizer, body: str) -> Any:
    if body in ("roberta", "bart", "xlm-roberta"):
        eos, bos = ("</s>", tok.token_to_id("</s>")), ("<s>", tok.token_to_id("<s>"))
        if body != "xlm-roberta":
            return processors.RobertaProcessing(eos, bos, add_prefix_space=False)
        return processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", [bos, eos])
    if body in T5:
        return processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", tok.token_to_id("</s>"))])
    cls, sep = ("[CLS]", tok.token_to_id("[CLS]")), ("[SEP]", tok.token_to_id("[SEP]"))
    second = ":1" if body == "bert" else ""
    return processors.TemplateProcessing("[CLS] $A [SEP]", f"[CLS] $A [SEP] $B{second} [SEP]{second}", [cls, sep])


def config(body: str, tok: Tokenizer, **more: Any) -> PreTrainedConfig:
    """The configuration of a tiny model of this body."""
    vocab = {"vocab_size": tok.get_vocab_size()}
    pad = tok.token_to_id("[PAD]") if tok.token_to_id("[PAD]") is not None else tok.token_to_id("<pad>")
    ids = {"pad_token_id": pad}
    if body == "bert":
        return BertConfig(**SIZES, **vocab, **ids, **more)
    if body == "distilbert":  # its config.json says "dim", "n_layers" and "n_heads"
        shape = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64}
        return DistilBertConfig(**shape, **vocab, **ids, initializer_range=0.5, **more)
    if body == "roberta":
        return RobertaConfig(**{**SIZES, "max_position_embeddings": 66}, **vocab, **ids, type_vocab_size=1, **more)
    if body == "xlm-roberta":
        return XLMRobertaConfig(**{**SIZES, "max_position_embeddings": 66}, **vocab, **ids, type_vocab_size=1, **more)
    if body == "deberta-v2":
        relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16}
        shape = {
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
            "type_vocab_size": 0,
        }
        return DebertaV2Config(**SIZES, **vocab, **ids, **relative, **shape, **more)
    if body == "modernbert":
        special = {"cls_token_id": tok.token_to_id("[CLS]"), "sep_token_id": tok.token_to_id("[SEP]")}
        return ModernBertConfig(**SIZES, **vocab, **ids, **special, local_attention=16, reference_compile=False, **more)
    if body in T5:  # its config.json says "d_model", "num_layers" and "num_heads"
        shape = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
        ids |= {"eos_token_id": tok.token_to_id("</s>"), "decoder_start_token_id": pad}
        return T5[body](**vocab, **ids, **shape, relative_attention_num_buckets=8, **more)
    ids |= {
        "bos_token_id": tok.token_to_id("<s>"),
        "eos_token_id": tok.token_to_id("</s>"),
        "decoder_start_token_id": 2,
    }
    shape = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4}
    shape |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    return BartConfig(**vocab, **ids, **shape, init_std=0.5, max_position_embeddings=64, **more)


def save_tokenizer(folder: Path, tok: Tokenizer, special: Sequence[str] = ()) -> None:
    """tokenizer.json and the length limit, as published folders have them."""
    tok.add_special_tokens([AddedToken(s, special=True) for s in special])
    folder.mkdir(parents=True, exist_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64}))


def change(path: Path, **keys: object) -> None:
    """Other values for some keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def cross_encoder(folder: Path, body: str, classes: Mapping[int, str], **more: Any) -> torch.nn.Module:
    """A random ``*ForSequenceClassification`` saved as published; returns the reference model."""
    tok = tokenizer(body)
    torch.manual_seed(0)
    names = {"id2label": dict(classes), "label2id": {v: k for k, v in classes.items()}}
    model = AutoModelForSequenceClassification.from_config(config(body, tok, **names, **more)).eval()
    _spread(model)
    model.save_pretrained(folder)
    save_tokenizer(folder, tok)
    return model


def multi_head(
    folder: Path, sizes: Mapping[str, int], *, body: str = "bert", layout: str = "own", **own: Any
) -> tuple[nn.Module, nn.ModuleDict]:
    """A random encoder with linear heads; returns both, for a plain torch forward.

    Args:
        folder: Where it goes.
        sizes: Classes of each head.
        body: Of the encoder.
        layout: "own", config.json of model_type multi-head with keys ``own``; "published", weights
            ``backbone.*`` and ``heads.*`` beside the encoder's config.json; "published-pth", the same in
            half precision as ``…-model.pth`` beside ``pretrained/backbone``, as philipp-zettl has it.
        own: Of config.json, in our own layout.
    """
    tok = tokenizer(body)
    torch.manual_seed(0)
    encoder = _spread(AutoModel.from_config(config(body, tok)).eval())
    heads = nn.ModuleDict({name: nn.Linear(encoder.config.hidden_size, size) for name, size in sizes.items()})
    for head in heads.values():
        nn.init.normal_(head.weight)
    weights = nn.ModuleDict({"backbone": encoder, "heads": heads}).state_dict()
    if layout == "published-pth":
        half = {k: v.half() for k, v in weights.items()}
        encoder.load_state_dict({k.removeprefix("backbone."): v.float() for k, v in half.items() if "backbone" in k})
        heads.load_state_dict({k.removeprefix("heads."): v.float() for k, v in half.items() if "heads" in k})
        encoder.config.save_pretrained(folder / "pretrained" / "backbone")
        save_tokenizer(folder / "pretrained" / "backbone", tok)
        torch.save(half, folder / "multi-head-sequence-classification-model-model.pth")
        return encoder, heads
    save_tokenizer(folder, tok)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors")
    encoder.config.save_pretrained(folder)
    if layout == "own":
        mine = {"model_type": "multi-head", "backbone": json.loads((folder / "config.json").read_text()), **own}
        (folder / "config.json").write_text(json.dumps(mine))
    return encoder, heads


def sentence_encoder(
    folder: Path, body: str = "bert", *, pooling: str = "mean", new: bool = True, prompts: Any = None, **more: Any
) -> nn.Module:
    """A random sentence-transformers folder; returns the encoder.

    Args:
        folder: Where it goes.
        body: Of the encoder.
        pooling: "mean", "cls", or another that sentence-transformers has.
        new: True for the files that version 6 writes, False for those of versions 1 to 5.
        prompts: By name.
        more: Of the pooling's configuration.
    """
    tok = tokenizer(body)
    torch.manual_seed(0)
    encoder = _spread(AutoModel.from_config(config(body, tok)).eval())
    encoder.save_pretrained(folder)
    save_tokenizer(folder, tok)
    width, place = encoder.config.hidden_size, "sentence_transformers.models."
    modes = {f"pooling_mode_{m}": m.startswith(pooling) for m in ("cls_token", "mean_tokens", "max_tokens")}
    pool = (
        {"embedding_dimension": width, "pooling_mode": pooling} if new else {"word_embedding_dimension": width} | modes
    )
    files: dict[str, Any] = {
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": place + kind}
            for i, (path, kind) in enumerate(
                [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
            )
        ],
        "1_Pooling/config.json": {**pool, **more},
        "2_Normalize/config.json": {},
        "config_sentence_transformers.json": {"prompts": prompts or {}, "similarity_fn_name": "cosine"},
    }
    if not new:
        files["sentence_bert_config.json"] = {"max_seq_length": 48, "do_lower_case": False}
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    return encoder


def reference_states(encoder: nn.Module, folder: Path, text: str) -> torch.Tensor:
    """(tokens, hidden) states of one text, read with nothing of ours."""
    tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with torch.inference_mode():
        states: torch.Tensor = encoder(input_ids=torch.tensor([tok.encode(text).ids])).last_hidden_state[0]
    return states


def words(*vocabulary: str) -> Tokenizer:
    """A tokenizer for which every word of the vocabulary is one token; the rest is [UNK]."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *vocabulary]
    tok = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok.add_special_tokens([AddedToken(s, special=True) for s in names[:4]])
    tok.post_processor = _template(tok, "bert")
    return tok


def core(forward: Forward, tok: Tokenizer, *, template: str = "{}", max_length: int = 32) -> Core:
    """The parts of a family around a hand-made forward."""
    return Core(OurTokenizer(tok), forward, template, max_length, types=False, fingerprint="tiny")


def _spread(model: nn.Module) -> nn.Module:
    """Some bodies start from tiny or zero weights, where a missing one wouldn't show."""
    for parameter in model.parameters():
        if parameter.dim() == 1 and parameter.abs().max() == 0:
            nn.init.normal_(parameter, std=0.2)
    return model


class Reacts:
    """A Forward made by hand: the sum of what each token of a row is worth, each counted once.

    Args:
        tok: Whose tokens they are.
        worth: Token -> numbers; other tokens are worth nothing.
        size: How many numbers.
    """

    def __init__(self, tok: Tokenizer, worth: Mapping[str, Sequence[float]], size: int) -> None:
        self._worth = {tok.token_to_id(token): np.array(numbers, np.float32) for token, numbers in worth.items()}
        self._size = size
        self.rows: list[Row] = []

    def __call__(self, rows: Sequence[Row]) -> list[Array]:
        """One (size,) array a row."""
        self.rows += rows
        nothing = np.zeros(self._size, dtype=np.float32)
        return [sum((self._worth.get(i, nothing) for i in set(row.ids.tolist())), nothing) for row in rows]

    def read(self, tok: Tokenizer) -> list[str]:
        """What it was asked, in words."""
        return [tok.decode(row.ids.tolist(), skip_special_tokens=False) for row in self.rows]
