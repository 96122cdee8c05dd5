"""Encoders as ONNX graphs: exported by torch, checked against torch, and kept in files that say what they are of.

int8 is dynamic quantization (onnxruntime.quantization): weights with a scale for every channel, activations with one
for the whole batch. So in int8, unlike all else here, a score depends on its batch mates.
"""

import hashlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from headgate.errors import CheckpointError, MissingExtraError
from headgate.models.onnx_encoder import OnnxEncoder
from headgate.runtime.cache_folder import cache_folder

FORMAT = 1
"""Of these files; another number makes every file anew."""
TOLERANCE = 1e-4
"""Largest difference from torch's states in float32, as a share of the largest state or of 1."""
MOST_BYTES = 2_000_000_000
"""Of the weights in one graph: protobuf ends at 2 GiB."""
_DIFFERENCE = "headgate.difference"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """What a graph is made of.

    Args:
        folder: Of the model.
        digest: Of its configuration and weights.
        prefix: In front of the names of the encoder's weights.
        int8: True for quantized weights and activations.
    """

    folder: Path
    digest: str
    prefix: str
    int8: bool = False

    @property
    def name(self) -> str:
        """What the names of its files begin with; changes with the weights and with whatever exports them."""
        made = [FORMAT, self.digest, self.prefix, torch.__version__, transformers.__version__]
        key = hashlib.sha256(repr([*made, _version("onnxruntime")]).encode()).hexdigest()[:12]
        return f"{'int8' if self.int8 else 'float32'}-{key}"


@dataclass(frozen=True)
class Artefact:
    """A graph in a file.

    Attributes:
        path: Of the file; its name ends in the hash of its content.
        difference: From torch's states, the largest that the check saw; in int8 the price of quantization.
        reused: True if it was there before.
    """

    path: Path
    difference: float
    reused: bool


@dataclass
class Exports:
    """Where :func:`onnx_encoder` writes, None for onnx/ in the model's folder; and what it found or wrote."""

    folder: Path | None
    found: list[Artefact] = field(default_factory=list)


_EXPORTS: ContextVar[Exports | None] = ContextVar("exports", default=None)


@contextmanager
def exporting(folder: Path | None) -> Iterator[list[Artefact]]:
    """Within it graphs go beside the model, or into ``folder``, in place of the cache; yields those that were used."""
    exports = Exports(folder)
    token = _EXPORTS.set(exports)
    try:
        yield exports.found
    finally:
        _EXPORTS.reset(token)


def onnx_encoder(encoder: nn.Module, source: Source) -> OnnxEncoder:
    """The encoder, run by ONNX Runtime; the graph is exported unless an earlier one is found.

    Raises:
        CheckpointError: It can't be exported, or its states then differ from torch's.
        MissingExtraError: There is no graph yet, and what exports one is not installed.
    """
    beside, cache, exports = source.folder / "onnx", cache_folder() / "onnx", _EXPORTS.get()
    target = cache if exports is None else exports.folder or beside
    places = [target] if exports else [beside, cache]
    path = _found(source.name, places)
    runs = OnnxEncoder(encoder, path or _exported(encoder, source, target))
    if exports:
        exports.found.append(Artefact(runs.graph, float(runs.notes[_DIFFERENCE]), reused=path is not None))
    return runs


def _found(name: str, places: list[Path]) -> Path | None:
    """The first whole file; one whose content is not what its name says is removed."""
    for path in (p for place in places for p in sorted(place.glob(f"{name}-*.onnx"))):
        if path.stem.endswith(f"-{_hash(path.read_bytes())}"):
            return path
        log.warning("%s is damaged; exporting it anew", path)
        with suppress(OSError):
            path.unlink()
    return None


def _exported(encoder: nn.Module, source: Source, target: Path) -> Path:
    for package in ("onnx", "onnxscript"):
        if find_spec(package) is None:
            raise MissingExtraError(package, "onnx")
    _check_kind(encoder, source)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=target) as scratch:
            draft = Path(scratch) / "graph.onnx"
            graph = _graph(encoder, source)
            difference = _checked(encoder, graph, draft, source)
            if source.int8:
                graph = _quantized(graph, draft)
                difference = _difference(encoder, draft)
            content = _stamped(graph, source, difference)
            draft.write_bytes(content)
            path = target / f"{source.name}-{_hash(content)}.onnx"
            draft.replace(path)  # whole or not at all, whoever writes beside us
    except OSError as e:
        raise CheckpointError(
            f"{target} can't be written ({e.strerror}); expected a folder for exported models. Set HEADGATE_CACHE "
            "to one, or make them once: headgate export MODEL --out FOLDER."
        ) from e
    return path


def _check_kind(encoder: nn.Module, source: Source) -> None:
    config: Any = encoder.config
    if config.is_encoder_decoder:
        raise CheckpointError(
            f"{source.folder} is a {config.model_type}, an encoder with a decoder; expected an encoder alone for "
            'backend="onnx". Load it with backend="torch".'
        )
    words = encoder.get_input_embeddings()  # type: ignore[operator]
    size = sum(p.numel() * 4 for p in encoder.parameters()) - sum(p.numel() * 4 for p in words.parameters())
    if size > MOST_BYTES:
        raise CheckpointError(
            f"the layers in {source.folder} take {size / 1e9:.1f} GB; expected at most {MOST_BYTES / 1e9:.0f}, which "
            'is what one ONNX file holds. Load it with backend="torch".'
        )


class _Layers(nn.Module):
    """All of an encoder but its words and its pooler."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs_embeds: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        found = self.encoder(inputs_embeds=inputs_embeds, attention_mask=attention_mask, **types)
        states: Tensor = found.last_hidden_state
        return states


def _graph(encoder: nn.Module, source: Source) -> Any:  # noqa: ANN401  a ModelProto
    inputs = _sample(encoder, 3, 21)
    inputs["inputs_embeds"] = encoder.get_input_embeddings()(inputs.pop("input_ids"))  # type: ignore[operator]
    inputs = {k: inputs[k] for k in ("inputs_embeds", "attention_mask", "token_type_ids") if k in inputs}
    free = torch.export.Dim.DYNAMIC
    try:
        with torch.no_grad(), _quietly():
            program = torch.onnx.export(
                _Layers(encoder).eval(),
                kwargs=inputs,
                input_names=list(inputs),
                output_names=["states"],
                dynamic_shapes={k: {0: free, 1: free} for k in inputs},
                opset_version=18,
                dynamo=True,
                verbose=False,
            )
    except Exception as e:  # the exporter's own, and whatever a model raises under it
        raise CheckpointError(
            f"{source.folder} can't be exported to ONNX ({str(e).strip().splitlines()[0]}); expected an encoder that "
            'torch.onnx can trace. Load it with backend="torch".'
        ) from e
    assert program is not None
    return program.model_proto


def _checked(encoder: nn.Module, graph: Any, draft: Path, source: Source) -> float:  # noqa: ANN401
    draft.write_bytes(graph.SerializeToString())
    difference = _difference(encoder, draft)
    if not difference <= TOLERANCE:
        raise CheckpointError(
            f"{source.folder}, exported to ONNX, has states that differ from torch's by {difference:.2g}; expected at "
            f'most {TOLERANCE}, so it is not used. Load it with backend="torch".'
        )
    return difference


def _difference(encoder: nn.Module, graph: Path) -> float:
    """The largest difference of a state from torch's, as a share of the largest state or of 1, on two odd shapes."""
    longest = min(309, int(getattr(encoder.config, "max_position_embeddings", 0) or 512) - 9)
    worst = 0.0
    other = OnnxEncoder(encoder, graph)
    for rows, length in ((1, 7), (3, longest)):
        inputs = _sample(encoder, rows, length)
        with torch.no_grad():
            want, got = (m(**inputs).last_hidden_state[inputs["attention_mask"].bool()] for m in (encoder, other))
        share = float((want - got).abs().max() / want.abs().max().clamp(min=1))
        worst = max(worst, share if share == share else float("inf"))  # max() would lose a NaN
    return worst


def _sample(encoder: nn.Module, rows: int, length: int) -> dict[str, Tensor]:
    """Random rows, each but the first with padding; of two types where the model has them."""
    config: Any = encoder.config
    draw = torch.Generator().manual_seed(length)
    ids = torch.randint(config.vocab_size, (rows, length), generator=draw)
    inputs = {
        "input_ids": (ids + (ids == config.pad_token_id)) % config.vocab_size
    }  # RoBERTa counts positions without it
    inputs["attention_mask"] = (torch.arange(length) < length - 5 * torch.arange(rows)[:, None]).long()
    if (getattr(config, "type_vocab_size", None) or 0) > 1:
        inputs["token_type_ids"] = (torch.arange(length) > length // 2).long().repeat(rows, 1)
    return inputs


def _quantized(graph: Any, draft: Path) -> Any:  # noqa: ANN401  a ModelProto
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    add_pre_process_metadata(graph)  # the exporter has folded constants and inferred shapes
    quantize_dynamic(graph, draft, op_types_to_quantize=["MatMul"], per_channel=True, weight_type=QuantType.QInt8)
    return onnx.load(draft)


def _stamped(graph: Any, source: Source, difference: float) -> bytes:  # noqa: ANN401
    import onnx

    onnx.helper.set_model_props(graph, {_DIFFERENCE: f"{difference:.3g}", "headgate.source": source.digest})
    content: bytes = graph.SerializeToString()
    return content


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _version(package: str) -> str:
    from importlib.metadata import version

    return version(package)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says of its own insides."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [(one, one.level) for one in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*isinstance\(treespec, LeafSpec\)", FutureWarning)
        for one in loggers:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in levels:
                one.setLevel(level)
