"""A model folder, read safely: its configuration, tokenizer, weights and fingerprint.

Weights come from safetensors first, else from ``torch.load(weights_only=True)``; no code of a
checkpoint is ever run. A weight that is missing raises: transformers would fill it with noise.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

import torch
import transformers
from torch import Tensor, nn

from headgate.errors import CheckpointError
from headgate.models.onnx_export import Source, onnx_encoder
from headgate.models.storage import Unpacked, read_tensors, weight_files
from headgate.runtime.tokenizer import Tokenizer
from headgate.runtime.torch_forward import Module, TorchForward

Json = dict[str, Any]
_SHARED: WeakValueDictionary[tuple[str, ...], nn.Module] = WeakValueDictionary()
_SHARING = threading.RLock()  # and one model is built at a time: transformers sets torch's default dtype meanwhile
_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "longformer", "data2vec-text"}


@dataclass(frozen=True)
class Checkpoint:
    """A folder, one of its parts, and how the caller wants it.

    Args:
        folder: Holds config.json, tokenizer.json and the weights.
        settings: scorer.json of this part; {} where there is none.
        device: Where the weights go.
        dtype: Of the body; the last linear layer stays in float32.
        template: In place of the folder's own.
        classes: In place of the folder's own.
        max_length: In place of the folder's own, in tokens.
        backend: What runs the encoder; int8 is for "onnx" alone.
    """

    folder: Path
    settings: Json
    device: torch.device
    dtype: torch.dtype
    template: str | None = None
    classes: tuple[str, ...] | dict[str, tuple[str, ...]] | None = None
    max_length: int | None = None
    backend: Literal["torch", "onnx"] = "torch"

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
        return _settings(inner or self.config, self.folder)

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

    def encoder(self, config: Json, prefix: str) -> nn.Module:
        """The transformers encoder of ``config`` with the weights under ``prefix``, shared in memory."""
        key = (str(self.folder.resolve()), self.digest(), prefix, str(self.device), str(self.dtype), self.backend)
        with _SHARING:
            found = _SHARED.get(key)
            if found is None:
                weights = self.part(prefix)
                pooler = any(k.startswith("pooler.") for k in weights)
                found = self._backed(self._built(config, weights, "AutoModel", pooler=pooler), prefix)
                _SHARED[key] = found
        return found

    def classifier(self, logits: int) -> nn.Module:
        """The ``*ForSequenceClassification`` that config.json names, last linear layer in float32.

        Args:
            logits: How many classes the caller or the configuration counts; the weights must agree.
        """
        config = (
            {**self.config, "num_labels": logits} if logits != len(self.config.get("id2label") or ()) else self.config
        )
        model = self._built(config, self.tensors, "AutoModelForSequenceClassification", pooler=True)
        name = str(model.base_model_prefix)
        body = f"{name}."  # XLM-R registers it behind its classifier
        last = [m for k, m in model.named_modules() if isinstance(m, nn.Linear) and not k.startswith(body)][-1]
        last.float()
        last.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
        setattr(model, name, self._backed(model.get_submodule(name), body))
        return model

    def forward(self, module: Module, *, max_tokens: int | None = None) -> TorchForward:
        """A Forward over ``module``, padding as the tokenizer's model does."""
        pad = getattr(self.body, "pad_token_id", None)
        return TorchForward(module, self.device, pad=pad if isinstance(pad, int) else 0, max_tokens=max_tokens)

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
        limits = self._limits()
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
            for piece in _samples(path):
                sha.update(piece)
        return sha.hexdigest()[:12]

    def _limits(self) -> dict[str, int]:
        limits = {}
        positions = getattr(self.body, "max_position_embeddings", None)
        if isinstance(positions, int) and positions > 0:
            offset = (self.body.pad_token_id or 0) + 1  # these count positions from the padding id on
            limits["positions"] = positions - (offset if self.body.model_type in _AFTER_PADDING else 0)
        files = {"tokenizer_config.json": "model_max_length", "sentence_bert_config.json": "max_seq_length"}
        for name, key in files.items():
            said = read_json(self.home / name).get(key) if (self.home / name).is_file() else None
            if isinstance(said, int | float) and 0 < said < 1e6:  # transformers writes 1e30 for "unknown"
                limits[name] = int(said)
        return limits

    def _backed(self, encoder: nn.Module, prefix: str) -> nn.Module:
        with _SHARING:
            source = Source(self.folder, self.digest(), prefix, int8=self.dtype == torch.int8)
            return onnx_encoder(encoder, source) if self.backend == "onnx" else encoder

    def _built(self, config: Json, weights: Mapping[str, Tensor], auto: str, *, pooler: bool) -> nn.Module:
        settings = _settings(config, self.folder)
        cls = _class(settings, auto, self.folder)
        extra = (
            {}
            if pooler or "add_pooling_layer" not in cls.__init__.__code__.co_varnames
            else {"add_pooling_layer": False}
        )
        try:
            with _SHARING, quietly():
                model, info = cls.from_pretrained(
                    None,
                    config=settings,
                    state_dict=dict(weights),
                    dtype=torch.float32 if self.backend == "onnx" else self.dtype,
                    output_loading_info=True,
                    **extra,
                )
        except (RuntimeError, ValueError, KeyError) as e:
            raise CheckpointError(f"the weights in {self.folder} don't fit its config.json: {e}") from e
        missing = sorted(info["missing_keys"]) + sorted(str(k) for k in info["mismatched_keys"])
        if missing:
            raise CheckpointError(
                f"{self.folder} lacks {len(missing)} weights of {cls.__name__}, such as {missing[:3]}; "
                "expected all of them, since the rest would be random. Is it the right family and folder?"
            )
        built: nn.Module = model.eval().requires_grad_(False).to(self.device)
        return built


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


def _settings(config: Json, folder: Path) -> transformers.PreTrainedConfig:
    """The configuration as an object, or CheckpointError for a model that transformers doesn't have."""
    try:
        return transformers.AutoConfig.for_model(**config)
    except (KeyError, TypeError, ValueError) as e:
        raise CheckpointError(
            f"{folder} has model_type {config.get('model_type')!r}, which transformers {transformers.__version__} "
            "does not have; headgate never runs code from a checkpoint."
        ) from e


def _class(settings: transformers.PreTrainedConfig, auto: str, folder: Path) -> Any:  # noqa: ANN401
    try:
        return getattr(transformers, auto)._model_mapping[type(settings)]
    except KeyError as e:
        raise CheckpointError(f"{folder} has model_type {settings.model_type!r}, for which there is no {auto}.") from e


@contextmanager
def quietly() -> Iterator[None]:
    """Without bars, and without a report of weights that a family leaves aside: what is missing raises."""
    say = transformers.utils.logging
    bars, level = say.is_progress_bar_enabled(), say.get_verbosity()
    say.disable_progress_bar()
    say.set_verbosity_error()
    try:
        yield
    finally:
        say.set_verbosity(level)
        if bars:
            say.enable_progress_bar()


def _samples(path: Path) -> Iterator[bytes]:
    """Size, head and 64 evenly spread pieces: all of a small file, enough of a large one."""
    if not path.is_file():
        return
    size = path.stat().st_size
    yield str(size).encode()
    with path.open("rb") as file:
        yield file.read(1 << 20)
        for k in range(64):
            file.seek(k * size // 64)
            yield file.read(4096)
