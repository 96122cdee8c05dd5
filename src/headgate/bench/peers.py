"""The same job through other libraries, from the same folder.

Each is used as its own documentation does. Where one offers a batch size, its default is measured, and the best of
:data:`SIZES` beside it, chosen on a part of the texts. None is a dependency: one that is not installed is named.
"""

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from headgate.bench.measure import Candidate, Meter
from headgate.bench.workloads import Kind
from headgate.errors import HeadgateError
from headgate.models.building import quietly
from headgate.runtime.batching import Work
from headgate.scores import Floats, class_log_odds

SIZES = (8, 16, 32, 64)
"""Batch sizes that are tried."""

Run = Callable[[Sequence[str]], Floats]


class NotHere(HeadgateError):
    """A peer can't take part; the message says why, and what to do."""


@dataclass(frozen=True)
class Subject:
    """The model and its labels, the same for everybody.

    Attributes:
        folder: Model folder in a published layout.
        kind: Of the model.
        labels: One query, or the labels.
        template: Hypothesis template with one ``{}``.
        classes: Names of the logits, in order.
        device: Where to run.
        max_length: Tokens of the longest row.
    """

    folder: Path
    kind: Kind
    labels: tuple[str, ...]
    template: str
    classes: tuple[str, ...]
    device: torch.device
    max_length: int


@dataclass(frozen=True)
class Peer:
    """Another way to do the job.

    Attributes:
        kinds: The models it reads.
        make: Candidates from the subject and a few texts to choose a batch size by.
    """

    kinds: tuple[Kind, ...]
    make: Callable[[Subject, Sequence[str]], list[Candidate]]


def needed(module: str, package: str) -> Any:  # noqa: ANN401  a module
    """A module of another library, or NotHere with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as e:
        raise NotHere(f"{module} can't be imported ({e}); to measure it too: pip install {package}") from e


def sentence_transformers(subject: Subject, few: Sequence[str]) -> list[Candidate]:
    """``CrossEncoder.rank``, without the sigmoid, so that numbers compare."""
    package = needed("sentence_transformers", "sentence-transformers")
    with quietly():
        model = package.CrossEncoder(str(subject.folder), device=str(subject.device), max_length=subject.max_length)

    def run(texts: Sequence[str]) -> Floats:
        out = np.empty((len(texts), 1), dtype=np.float32)
        raw = torch.nn.Identity()
        for hit in model.rank(subject.labels[0], list(texts), activation_fn=raw, show_progress_bar=False):
            out[hit["corpus_id"], 0] = hit["score"]
        return out

    # The hook of the whole: the transformers module inside has its forward called, past any hook.
    return [Candidate("sentence-transformers rank", run, Meter(model).work)]


def zero_shot(subject: Subject, few: Sequence[str]) -> list[Candidate]:
    """Transformers' zero-shot-classification pipeline, as it comes and with its best batch size."""
    transformers = needed("transformers", "transformers")
    tokenizer, model = _published(subject)
    with quietly():
        pipe = transformers.pipeline(
            "zero-shot-classification", model=model, tokenizer=tokenizer, device=subject.device
        )

    def run(texts: Sequence[str], size: int) -> Floats:
        how = {"hypothesis_template": subject.template, "multi_label": True, "batch_size": size}
        said = pipe(list(texts), list(subject.labels), **how)
        return _log_odds([dict(zip(row["labels"], row["scores"], strict=True)) for row in said], subject.labels)

    best = _best(run, few)
    meter = Meter(model)
    return [
        Candidate("transformers pipeline", partial(run, size=1), meter.work),
        Candidate(f"transformers pipeline, batch {best}", partial(run, size=best), meter.work),
    ]


def gliclass(subject: Subject, few: Sequence[str]) -> list[Candidate]:
    """The published pipeline, as it comes and with its best batch size."""
    package, pipelines = needed("gliclass", "gliclass"), needed("gliclass.pipeline", "gliclass")
    with quietly():
        model = package.GLiClassModel.from_pretrained(str(subject.folder)).eval()
    tokenizer = _tokenizer(subject)
    device = str(subject.device)
    pipe = pipelines.ZeroShotClassificationPipeline(
        model, tokenizer, classification_type="multi-label", device=device, progress_bar=False
    )

    def run(texts: Sequence[str], size: int) -> Floats:
        said = pipe(list(texts), list(subject.labels), threshold=0.0, batch_size=size)
        return _log_odds([{one["label"]: one["score"] for one in row} for row in said], subject.labels)

    best = _best(run, few)
    meter = Meter(model)
    default = Candidate("gliclass pipeline", partial(run, size=8), meter.work)
    other = Candidate(f"gliclass pipeline, batch {best}", partial(run, size=best), meter.work)
    return [default] if best == 8 else [default, other]


def one_batch(subject: Subject, few: Sequence[str]) -> list[Candidate]:
    """All rows in one padded batch, as FlashRank does (Ranker.rerank, v0.2.10), over the transformers module."""
    tokenizer, model = _published(subject)
    return [Candidate("one batch of all", _plain(subject, tokenizer, model, size=None), Meter(model).work)]


def eager(subject: Subject, few: Sequence[str]) -> list[Candidate]:
    """The transformers module in batches of 8, as they come."""
    tokenizer, model = _published(subject)
    return [Candidate("transformers, batch 8", _plain(subject, tokenizer, model, size=8), Meter(model).work)]


def onnx(subject: Subject, few: Sequence[str]) -> list[Candidate]:
    """ONNX Runtime in batches of 64 as they come, as fastembed's TextCrossEncoder does (v0.7)."""
    packages = "onnx onnxruntime onnxscript"
    runtime, _ = needed("onnxruntime", packages), needed("onnxscript", packages)
    if subject.device.type != "cpu":
        raise NotHere(f"it is measured on the CPU only, and the model is on {subject.device}: --device cpu")
    tokenizer, model = _published(subject)
    names = [n for n in tokenizer.model_input_names if n != "token_type_ids" or _types(model)]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/model.onnx"
        _export(_Logits(model, names), tokenizer(["a", "a b"], ["b", "a"], padding=True, return_tensors="pt"), path)
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    total = Work()

    def call(**inputs: torch.Tensor) -> torch.Tensor:
        nonlocal total
        mask = inputs["attention_mask"]
        total += Work(len(mask), int(mask.sum()), mask.numel())
        return torch.from_numpy(session.run(["logits"], {n: inputs[n].numpy() for n in names})[0])

    return [Candidate("onnxruntime, batch 64", _plain(subject, tokenizer, call, size=64), lambda: total)]


def _export(model: "_Logits", shown: Mapping[str, torch.Tensor], path: str) -> None:
    """The classifier as ONNX, any number of rows and tokens."""
    sizes = {0: torch.export.Dim("rows"), 1: torch.export.Dim("tokens")}
    try:
        with warnings.catch_warnings():  # of the exporter, about its own parts
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model, tuple(shown[n] for n in model.names), path, input_names=model.names, output_names=["logits"],
                dynamic_shapes=(tuple(sizes for _ in model.names),), dynamo=True, verbose=False,
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as e:
        raise NotHere(f"torch can't export this model to ONNX ({type(e).__name__})") from e


PEERS: dict[str, Peer] = {
    "sentence-transformers": Peer(("ranker",), sentence_transformers),
    "transformers": Peer(("nli",), zero_shot),
    "gliclass": Peer(("gliclass",), gliclass),
    "one-batch": Peer(("ranker", "nli"), one_batch),
    "eager": Peer(("ranker", "nli"), eager),
    "onnx": Peer(("ranker", "nli"), onnx),
}


class _Logits(torch.nn.Module):
    """A classifier as ONNX takes it: tensors in order, logits out."""

    def __init__(self, model: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self._model, self.names = model, list(names)
        self.eval()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._model(**dict(zip(self.names, inputs, strict=True))).logits
        return found


def _plain(subject: Subject, tokenizer: Any, model: Callable[..., Any], *, size: int | None) -> Run:  # noqa: ANN401
    """Pairs in padded batches of ``size``, as they come; None for all at once."""
    ranker = subject.kind == "ranker"
    column = 0 if ranker else next(i for i, n in enumerate(subject.classes) if n.lower().startswith("entail"))
    hypotheses = [subject.template.replace("{}", label) for label in subject.labels]

    def run(texts: Sequence[str]) -> Floats:
        pairs = [(h, text) if ranker else (text, h) for text in texts for h in hypotheses]
        logits = []
        for start in range(0, len(pairs), size or len(pairs)):
            first, second = zip(*pairs[start : start + (size or len(pairs))], strict=True)
            how = {"padding": True, "truncation": True, "max_length": subject.max_length, "return_tensors": "pt"}
            with torch.inference_mode():
                out = model(**tokenizer(list(first), list(second), **how).to(subject.device))
            logits.append(getattr(out, "logits", out).float().cpu().numpy())
        z = np.concatenate(logits)  # (texts x labels, classes)
        found = z[:, 0] if ranker else class_log_odds(z, column)
        return np.asarray(found, dtype=np.float32).reshape(len(texts), len(hypotheses))

    return run


def _published(subject: Subject) -> tuple[Any, Any]:
    """Tokenizer and classifier of the folder as transformers reads them."""
    transformers = needed("transformers", "transformers")
    with quietly():
        model = transformers.AutoModelForSequenceClassification.from_pretrained(str(subject.folder))
    return _tokenizer(subject), model.eval().to(subject.device)


def _tokenizer(subject: Subject) -> Any:  # noqa: ANN401
    return needed("transformers", "transformers").AutoTokenizer.from_pretrained(str(subject.folder))


def _types(model: Any) -> bool:  # noqa: ANN401
    return bool(getattr(model.config, "type_vocab_size", 0))


def _best(run: Callable[[Sequence[str], int], Floats], few: Sequence[str]) -> int:
    """The batch size that takes least time for a few texts."""
    run(few[:1], SIZES[0])
    seconds = {}
    for size in SIZES:
        begun = perf_counter()
        run(few, size)
        seconds[size] = perf_counter() - begun
    return min(seconds, key=seconds.__getitem__)


def _log_odds(said: Sequence[dict[str, float]], labels: Sequence[str]) -> Floats:
    """Of probabilities by label; those that float32 can't tell from 0 or 1 are kept just apart from them."""
    p = np.array([[row[label] for label in labels] for row in said], dtype=np.float64).clip(1e-9, 1 - 1e-9)
    return np.asarray(np.log(p / (1 - p)), dtype=np.float32)
