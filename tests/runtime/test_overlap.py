"""A GPU need not be waited for between the batches of a call; shown with stand-ins, since no test has a GPU."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModel, AutoModelForSequenceClassification

from headgate.models.calls import class_logits, head_logits, sentence_vectors
from headgate.models.multi_head import MultiHead
from headgate.models.packed import flexible
from headgate.models.packed.encoder import PackedEncoder
from headgate.models.packed.rows import Rows
from headgate.runtime.device import fetched, there
from headgate.runtime.torch_forward import Batch
from tests.parity.test_packed import CONFIGS, LENGTHS

CPU, NOWHERE = torch.device("cpu"), torch.device("meta")
MASK = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]


class NoBlockingCopies(TorchDispatchMode):
    """Raises where a tensor of the CPU goes to the device while the CPU waits; sees nothing under inference_mode."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if func is torch.ops.aten._to_copy.default and named.get("device") == NOWHERE:
            assert args[0].device == NOWHERE or named.get("non_blocking"), "a blocking copy"
        return func(*args, **named)


def unseen() -> Batch:
    """On the meta device tensors hold nothing: whoever reads one on the CPU fails, where a GPU would be waited for."""
    return Batch(MASK.long().to(NOWHERE), MASK.to(NOWHERE), None, LENGTHS, MASK)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("first", [False, True])
@torch.no_grad()
def test_packed_encoders_are_launched_without_waiting(name: str, first: bool) -> None:
    inner = AutoModel.from_config(CONFIGS[name]()).eval().to(NOWHERE)
    packed = PackedEncoder(inner, torch.bfloat16)
    packed = packed.reading_first() if first else packed
    batch = unseen()
    with NoBlockingCopies():
        states = packed(input_ids=batch.ids, attention_mask=batch.here).last_hidden_state
        attended = packed(input_ids=batch.ids, attention_mask=MASK & (torch.arange(140) < 20), lengths=LENGTHS)
    assert states.shape == attended.last_hidden_state.shape == (len(LENGTHS), 1 if first else max(LENGTHS), 32)
    assert states.device == NOWHERE


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@torch.no_grad()
def test_heads_are_launched_without_waiting(pooling: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which knows no meta device
    encoder = PackedEncoder(AutoModel.from_config(CONFIGS["bert"]()).to(NOWHERE), torch.float32)
    model = MultiHead(encoder, {"a": 3, "b": 2}, hidden=32, pooling=pooling).to(NOWHERE)
    batch = unseen()
    with NoBlockingCopies():
        assert head_logits(model, ["a", "b"])(batch).shape == (len(LENGTHS), 5)
        assert sentence_vectors(model)(batch).shape == (len(LENGTHS), 32)


@pytest.mark.parametrize("name", ["bert", "deberta-v3", "modernbert"])
@torch.no_grad()
def test_classifiers_are_launched_without_waiting(name: str) -> None:
    model = AutoModelForSequenceClassification.from_config(CONFIGS[name]()).eval().to(NOWHERE)
    body = model.base_model_prefix
    setattr(model, body, PackedEncoder(model.get_submodule(body), torch.float32).reading_first())
    batch = unseen()
    with NoBlockingCopies():
        assert class_logits(model)(batch).shape == (len(LENGTHS), 2)


def test_the_layout_of_one_kernel_is_sent_without_waiting() -> None:
    with NoBlockingCopies():
        found = flexible.layout(Rows(LENGTHS, NOWHERE, [1] * len(LENGTHS)), torch.zeros(279))
    assert found.near.shape == (sum(LENGTHS),)


def test_waiting_would_be_seen() -> None:
    with pytest.raises(AssertionError, match="a blocking copy"), NoBlockingCopies():
        torch.zeros(2).to(NOWHERE)
    with pytest.raises(RuntimeError, match="meta tensor"):
        unseen().mask.sum(1).tolist()


def test_what_goes_to_a_gpu_is_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def to(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        asked.append((str(device), non_blocking))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor + 1)
    monkeypatch.setattr(torch.Tensor, "to", to)
    assert there(torch.zeros(1), torch.device("cuda")).item() == 1
    assert there(torch.zeros(1), CPU).item() == 0
    assert asked == [("cuda", True), ("cpu", True)]


def test_what_comes_from_a_gpu_is_waited_for_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    here = torch.zeros(2)
    sent = SimpleNamespace(device=torch.device("cuda"), shape=(2,))

    def empty(shape: tuple[int, ...], *, pin_memory: bool) -> Any:
        assert pin_memory

        def copy_(source: object, *, non_blocking: bool) -> None:
            assert source is sent
            assert non_blocking
            happened.append("copy")

        return SimpleNamespace(copy_=copy_, numpy=here.numpy)

    def synchronize() -> None:
        happened.append("wait")
        here.fill_(7)

    event = SimpleNamespace(record=lambda stream: happened.append(f"record on {stream}"), synchronize=synchronize)
    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "Event", lambda: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"{device}'s stream")
    wait = fetched(sent)  # type: ignore[arg-type]
    assert happened == ["copy", "record on cuda's stream"]
    found = wait()
    assert happened[2:] == ["wait"]
    here.fill_(0)  # whoever gets the pinned memory next
    np.testing.assert_array_equal(found, [7, 7])
