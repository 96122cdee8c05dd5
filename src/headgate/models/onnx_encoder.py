"""An encoder that ONNX Runtime runs in place of torch; whatever calls one calls the other alike.

The graph begins behind the word embeddings and ends at the states of the last layer. Words, pooler, heads and last
linear layers stay in torch, so every family takes it, and parts that share a word table go on sharing it.
"""

import ctypes
import os
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

_LIVE: WeakSet[Any] = WeakSet()


class OnnxEncoder(nn.Module):
    """A transformers encoder whose layers run in ONNX Runtime on the CPU; safe to call from many threads.

    In a forked child, to which the parent's threads did not come along, it goes on with one thread of its own.

    Args:
        encoder: The torch module, for its configuration, word embeddings and pooler; the rest of it can go.
        graph: Made by :mod:`headgate.models.onnx_export`.

    Attributes:
        graph: The file.
        notes: What the file says of itself.
    """

    def __init__(self, encoder: nn.Module, graph: Path) -> None:
        super().__init__()
        self.config = encoder.config
        self.words = encoder.get_input_embeddings()  # type: ignore[operator]
        self.pooler = getattr(encoder, "pooler", None)
        self.graph = graph
        self._session = _session(graph)
        self._process = os.getpid()
        self._inputs = {i.name for i in self._session.get_inputs()}
        self.notes: dict[str, str] = self._session.get_modelmeta().custom_metadata_map

    def get_input_embeddings(self) -> nn.Module:
        """The word embeddings."""
        return self.words  # type: ignore[no-any-return]

    def forward(  # noqa: PLR0913  as transformers calls its encoders
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """States (B, S, D) of the last layer, and the pooler's output (B, D) where the model has one.

        Raises:
            ValueError: Positions, attentions or the states of other layers are asked for.
        """
        if position_ids is not None or output_attentions or output_hidden_states:
            raise ValueError(
                "an encoder in ONNX Runtime was asked for positions, attentions or hidden states; expected ids or "
                'embeddings, mask and types alone. Load it with backend="torch".'
            )
        embeds = self.words(input_ids) if inputs_embeds is None else inputs_embeds
        none = torch.zeros(embeds.shape[:2], dtype=torch.int64)
        given = {
            "inputs_embeds": embeds.float(),
            "attention_mask": none + 1 if attention_mask is None else attention_mask.long(),
            "token_type_ids": none if token_type_ids is None else token_type_ids,
        }
        feeds = {k: v.detach().contiguous().numpy() for k, v in given.items() if k in self._inputs}
        states = torch.from_numpy(self._here().run(["states"], feeds)[0])
        return BaseModelOutputWithPooling(
            last_hidden_state=states, pooler_output=None if self.pooler is None else self.pooler(states)
        )

    def _here(self) -> Any:  # noqa: ANN401  an InferenceSession
        if os.getpid() != self._process:
            self._session, self._process = _session(self.graph, threads=1), os.getpid()
        return self._session


def _session(graph: Path, threads: int | None = None) -> Any:  # noqa: ANN401  an InferenceSession
    # From 1.29 on it reports its use to its makers, by a thread over which forked children hang when they end.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads() if threads is None else threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would burn others' cores
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    _LIVE.add(session)
    return session


def _keep() -> None:
    """Never let go of the parent's sessions: the child would wait for ever for threads that it does not have."""
    for session in _LIVE:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_keep)
