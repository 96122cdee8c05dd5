"""A model folder, read safely: its configuration, tokenizer, weights and fingerprint.

Weights come from safetensors first, else from ``torch.load(weights_only=True)``; no code of a
checkpoint is ever run. A weight that is missing raises: transformers would fill it with noise.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import torch
import transformers
from torch import Tensor, nn

from headgate.errors import CheckpointError, DeviceError
from headgate.models.building import built, contents, settings_of
from headgate.models.onnx_export import Source, onnx_encoder
from headgate.models.packed.encoder import PackedEncoder, can_pack
from headgate.models.storage import Unpacked, read_tensors, samples, weight_files
from headgate.runtime.device import Run
from headgate.runtime.tokenizer import Tokenizer
from headgate.runtime.torch_forward import Module, TorchForward

Json = dict[str, Any]
_SHARED: WeakValueDictionary[tuple[str, ...], nn.Module] = WeakValueDictionary()
_SHARING = threading.RLock()  # and one model is built at a time: transformers sets torch's default dtype meanwhile
_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "longformer", "data2vec-text"}

_WITH_DECODER = {"t5", "mt5", "umt5"}  # AutoModel adds one, whether or not there are weights for it


@dataclass(frozen=True)
class Checkpoint:
    """A folder, one of its parts, and how the caller wants it.

    Args:
        folder: Holds config.json, tokenizer.json and the weights.
        settings: scorer.json of this part; {} where there is none.
        device: Where the weights go.
        dtype: Of the body's products; the last linear layer stays in float32.
        template: In place of the folder's own.
        classes: In place of the folder's own.
        max_length: In place of the folder's own, in tokens.
        backend: What runs the encoder.
        why: The dtype and backend were chosen, in words.
        chosen: The dtype was chosen for headgate's own encoders: those that transformers runs keep float32.
    """

    folder: Path
    settings: Json
    device: torch.device
    dtype: torch.dtype
    template: str | None = None
    classes: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
    max_length: int | None = None
    backend: Literal["torch", "transformers", "onnx"] = "torch"
    why: str = "it was asked for"
    chosen: bool = False

    @cached_property
    def config(self) -> Json:
        """config.json."""
        return read_json(self.home / "config.json")

    @cached_property
    def body(self) -> transformers.PreTrainedConfig:
        """The encoder's configuration with its defaults filled in: config.json leaves those out."""
        inner = next(
            (self.config[k] for k in ("encoder_config", "backbone") if isinstance(self.config.get(k), dict)),
            None,
        )
        return settings_of(inner or self.config, self.folder)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The folder's tokenizer."""
        return Tokenizer.from_folder(self.home)

    @property
    def home(self) -> Path:
        """Where configuration and tokenizer are: philipp-zettl's folder keeps them with the backbone."""
        inner = self.folder / "pretrained" / "backbone"
        return self.folder if (self.folder / "config.json").is_file() or not inner.is_dir() else inner

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Every weight of the folder, by name, on the CPU; a part's own layers in place of the backbone's."""
        found = read_tensors(self.folder)
        own: dict[str, Tensor] = {}
        for prefix in self._layers:
            layers = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
            if not layers:
                raise CheckpointError(
                    f"{self.folder} has no weights under {prefix!r}, where scorer.json says that this part has its "
                    "layers; with others its scores would be wrong. Are both files of the same edition?"
                )
            own |= layers
        return Unpacked(found | {f"backbone.{k}": v for k, v in own.items()})

    @property
    def _layers(self) -> tuple[str, ...]:
        """Where the weights are that this part has in place of the backbone's; of several the later win."""
        return tuple(f"{name}." for name in self.settings.get("layers") or ())

    def has(self, prefix: str) -> bool:
        """True if the name of a weight begins with ``prefix``."""
        return any(k.startswith(prefix) for k in self.tensors)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights whose names begin with ``prefix``, without it."""
        return {k.removeprefix(prefix): self.tensors[k] for k in self.tensors if k.startswith(prefix)}

    def encoder(self, config: Json, prefix: str, *, plain: bool = False, alike: bool = False) -> nn.Module:
        """The encoder of ``config`` with the weights under ``prefix``, shared in memory.

        Args:
            config: Of transformers.
            prefix: Of the names of its weights.
            plain: The module of transformers itself, for who wants more of it than the states of the last layer.
            alike: Share it with other folders that hold the very same encoder, as heads fitted on one do; its weights
                are read once more to tell.
        """
        backend = "transformers" if plain else self.backend
        numbers = (self.device, self.dtype, self.chosen)
        key = (str(self.folder.resolve()), self.digest(), prefix, *map(str, numbers), backend)
        with _SHARING:
            found = _SHARED.get(key)
            if found is None:
                weights = self.part(prefix)
                pooler = any(k.startswith("pooler.") for k in weights)
                alone = config.get("model_type") in _WITH_DECODER and not self.has(f"{prefix}decoder.")
                auto = "AutoModelForTextEncoding" if alone else "AutoModel"
                inner = self._built(config, weights, auto=auto, pooler=pooler)
                own = (contents(inner), *map(str, numbers), backend) if alike else key
                found = _SHARED.get(own)
                found = self._running(inner, backend, prefix) if found is None else found
                _SHARED[key] = _SHARED[own] = found
        return found

    def classifier(self, logits: int) -> nn.Module:
        """The ``*ForSequenceClassification`` that config.json names, last linear layer in float32.

        Args:
            logits: How many classes the caller or the configuration counts; the weights must agree.
        """
        config = (
            {**self.config, "num_labels": logits} if logits != len(self.config.get("id2label") or ()) else self.config
        )
        model = self._built(config, self.tensors, auto="AutoModelForSequenceClassification", pooler=True)
        name = str(model.base_model_prefix)
        body = f"{name}."  # XLM-R registers it behind its classifier
        encoder = self._running(model.get_submodule(name), self.backend, body)
        if isinstance(encoder, PackedEncoder):
            encoder = encoder.reading_first() if self.config.get("classifier_pooling", "cls") == "cls" else encoder
        elif self.backend != "onnx":
            model = model.to(self.plain_dtype)
        setattr(model, name, encoder)
        last = [m for k, m in model.named_modules() if isinstance(m, nn.Linear) and not k.startswith(body)][-1]
        last.float()
        last.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
        return model

    def forward(self, module: Module, model: nn.Module) -> TorchForward:
        """A Forward over ``module``, padding as the tokenizer's model does.

        Args:
            module: Runs a batch.
            model: What it runs it through.
        """
        pad = getattr(self.body, "pad_token_id", None)
        packed = any(isinstance(m, PackedEncoder) for m in model.modules())
        return TorchForward(module, self.device, pad=pad if isinstance(pad, int) else 0, packed=packed)

    @property
    def plain_dtype(self) -> torch.dtype:
        """Of what transformers runs: what was asked for, and float32 where nobody asked, since it rounds by batch."""
        return torch.float32 if self.chosen else self.dtype

    def run(self, *, packed: bool) -> Run:
        """How the model runs, in words.

        Args:
            packed: Its encoder is one of headgate's own.
        """
        own = packed or self.backend == "onnx"
        dtype = str(self.dtype if own else self.plain_dtype).removeprefix("torch.")
        why = self.why if own or not self.chosen else "headgate has no encoder of its own of this kind"
        return Run(self.backend if own else "transformers", str(self.device), dtype, why)

    @property
    def has_types(self) -> bool:
        """True if the model tells first from second text by token types."""
        return int(getattr(self.body, "type_vocab_size", None) or 0) > 1

    @property
    def length(self) -> int:
        """Tokens of the longest row: the caller's, the settings', or what the files say.

        Raises:
            CheckpointError: None of them does, or the caller asks for more than there are positions.
        """
        limits = length_limits(self.body, self.home)
        wanted = self.settings.get("max_length") if self.max_length is None else self.max_length
        if wanted is None and not limits:
            raise CheckpointError(f"{self.folder} does not say how long a text may be; pass load(…, max_length=…).")
        positions = limits.get("positions")
        if wanted is not None and (wanted < 16 or (positions and wanted > positions)):
            raise CheckpointError(f"max_length is {wanted}; expected 16 to {positions or 'any'} tokens.")
        return int(wanted if wanted is not None else min(limits.values()))

    def digest(self, *more: object) -> str:
        """12 hex digits that change with the configuration, the weights, the part's own layers, or ``more``."""
        sha = hashlib.sha256(repr((*more, *self._layers)).encode())
        for path in [self.home / "config.json", self.home / "tokenizer.json", *weight_files(self.folder)]:
            sha.update(path.name.encode())
            for piece in samples(path):
                sha.update(piece)
        return sha.hexdigest()[:12]

    def _built(
        self, config: Json, weights: Mapping[str, Tensor], *, auto: str = "AutoModel", pooler: bool
    ) -> nn.Module:
        """A module of transformers, frozen, on the device."""
        settings = settings_of(config, self.folder)
        with _SHARING:
            made = built(settings, weights, auto=auto, pooler=pooler, dtype=self._stored, where=self.folder)
        return made.to(self.device)

    @property
    def _stored(self) -> torch.dtype:
        """Of the weights as they are read: on a CPU what runs here keeps float32 wherever that costs nothing."""
        return torch.float32 if self.device.type == "cpu" or self.dtype == torch.int8 else self.dtype

    def _running(self, inner: nn.Module, backend: str, prefix: str) -> nn.Module:
        """An encoder of transformers as the backend runs it."""
        if backend == "onnx":
            with _SHARING:
                return onnx_encoder(inner, Source(self.folder, self.digest(), prefix, int8=self.dtype == torch.int8))
        if backend == "torch" and can_pack(inner):
            return PackedEncoder(inner, self.dtype)
        if self.dtype == torch.int8:
            kind = inner.config.model_type  # type: ignore[union-attr]
            raise DeviceError(
                f'dtype is "int8", and transformers runs the {kind} encoder, without int8; expected one that headgate '
                'runs itself (backend="torch": BERT, RoBERTa, XLM-R, DeBERTa, ModernBERT), or another dtype.'
            )
        return inner.to(self.plain_dtype)


def length_limits(body: transformers.PreTrainedConfig, folder: Path) -> dict[str, int]:
    """How many tokens a row may have: by its positions, and by what files of the folder say."""
    limits = {}
    positions = getattr(body, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        offset = (body.pad_token_id or 0) + 1  # these count positions from the padding id on
        limits["positions"] = positions - (offset if body.model_type in _AFTER_PADDING else 0)
    files = {"tokenizer_config.json": "model_max_length", "sentence_bert_config.json": "max_seq_length"}
    for name, key in files.items():
        said = read_json(folder / name).get(key) if (folder / name).is_file() else None
        if isinstance(said, int | float) and 0 < said < 1e6:  # transformers writes 1e30 for "unknown"
            limits[name] = int(said)
    return limits


def read_json(path: Path) -> Json:
    """A JSON object, or CheckpointError."""
    found = _parsed(path)
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds {type(found).__name__}; expected a JSON object.")
    return found


def read_json_list(path: Path) -> list[Json]:
    """A JSON list of objects, or CheckpointError."""
    found = _parsed(path)
    if not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise CheckpointError(f"{path} holds {type(found).__name__}; expected a JSON list of objects.")
    return found


def module_kinds(folder: Path) -> list[str]:
    """The modules of a sentence-transformers folder, by the last part of their names; [] where it is none."""
    path = folder / "modules.json"
    return [str(m.get("type")).rsplit(".", 1)[-1] for m in read_json_list(path)] if path.is_file() else []


def _parsed(path: Path) -> object:
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; expected a model folder with {path.name} in it.")
    try:
        found: object = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as e:
        raise CheckpointError(f"{path} is not JSON ({e}); download the model again.") from e
    return found
