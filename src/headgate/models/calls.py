"""A batch through a model to one array a row: what each family's Forward returns."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from headgate.errors import CheckpointError
from headgate.models.checkpoint import Checkpoint
from headgate.models.multi_head import MultiHead, Pooling
from headgate.models.packed.encoder import PackedEncoder, mask_for
from headgate.runtime.batching import Array
from headgate.runtime.states import FromStates
from headgate.runtime.torch_forward import Batch, Module


def multi_head(checkpoint: Checkpoint, heads: Mapping[str, int], pooling: Pooling | None = None) -> MultiHead:
    """The encoder of a folder with some of its heads; the encoder is shared in memory.

    Args:
        checkpoint: Weights under ``backbone.`` and ``heads.<name>.``, or a bare encoder without heads.
        heads: How many classes each head has; {} for an encoder alone.
        pooling: In place of what the files say.
    """
    bare = not checkpoint.has("backbone.")
    config = checkpoint.config.get("backbone", checkpoint.config)
    if not isinstance(config, dict):
        raise CheckpointError(f"{checkpoint.folder} names backbone {config!r}; expected its configuration.")
    said = pooling or checkpoint.settings.get("pooling") or checkpoint.config.get("pooling") or "cls"
    if said not in ("cls", "mean"):
        raise CheckpointError(f"{checkpoint.folder} pools by {said!r}; expected cls or mean.")
    encoder = checkpoint.encoder(config, "" if bare else "backbone.", alike=True)
    hidden = int(checkpoint.body.hidden_size)  # which config.json may call "dim" or "d_model"
    normalize = bool(checkpoint.config.get("normalize", False))
    model = MultiHead(encoder, heads, hidden=hidden, pooling=said, normalize=normalize)
    for name, size in heads.items():
        weights = checkpoint.part(f"heads.{name}.")
        shapes = {k: tuple(v.shape) for k, v in weights.items()}
        if shapes != {"weight": (size, hidden), "bias": (size,)}:
            raise CheckpointError(
                f"head {name!r} in {checkpoint.folder} has {shapes or 'no weights'}; expected {size} classes "
                f"over {hidden} states."
            )
        model.heads[name].load_state_dict({k: v.float() for k, v in weights.items()})
    model.heads.to(checkpoint.device)
    return model.eval().requires_grad_(False)


def class_logits(model: nn.Module) -> Module:
    """(rows, classes) logits of a transformers ``*ForSequenceClassification``."""
    # One that gives all states may be pooled, by transformers, with the mask.
    first = next((m for m in model.modules() if isinstance(m, PackedEncoder) and m.first), model)

    def call(batch: Batch) -> Tensor:
        inputs = {"input_ids": batch.ids, "attention_mask": mask_for(first, batch).long()}
        if batch.types is not None:
            inputs["token_type_ids"] = batch.types
        logits: Tensor = model(**inputs).logits
        return logits

    return call


def head_logits(model: MultiHead, heads: Sequence[str]) -> FromStates:
    """(rows, all classes) logits of several heads side by side, from one pass."""
    pooled = model.reading_pooled()

    def call(batch: Batch) -> Tensor:
        found = pooled(batch.ids, mask_for(pooled.backbone, batch), batch.types, heads)
        return torch.cat([found[name] for name in heads], dim=-1)

    @torch.inference_mode()
    def read(states: Array) -> Array:
        there = torch.from_numpy(states).to(next(model.heads.parameters()).device)
        found = model.read(model.scaled(there), heads)
        logits: Array = torch.cat([found[name] for name in heads], dim=-1).cpu().numpy()
        return logits

    return _from_states(model, call, read)


def sentence_vectors(model: MultiHead) -> FromStates:
    """(rows, hidden) pooled states."""
    raw = _pooled(model)

    def call(batch: Batch) -> Tensor:
        return model.scaled(raw(batch))

    def read(states: Array) -> Array:
        vectors: Array = model.scaled(torch.from_numpy(states)).numpy()
        return vectors

    return _from_states(model, call, read)


def token_states(model: MultiHead) -> FromStates:
    """For each row (tokens + 1, hidden): its token states, and behind them the pooled state."""
    return _from_states(model, _states(model), None)


def _from_states(model: MultiHead, alone: Module, read: Callable[[Array], Array] | None) -> FromStates:
    return FromStates(alone, _states(model), _pooled(model), model.backbone, model.pooling, read)


def _pooled(model: MultiHead) -> Callable[[Batch], Tensor]:
    model = model.reading_pooled()

    def call(batch: Batch) -> Tensor:
        return model.pool_raw(model.encode(batch.ids, mask_for(model.backbone, batch), batch.types), batch.mask)

    return call


def _states(model: MultiHead) -> Module:
    def call(batch: Batch) -> list[Tensor]:
        states = model.encode(batch.ids, mask_for(model.backbone, batch), batch.types)
        pooled = model.pool_raw(states, batch.mask)
        return [torch.cat([s[:n].float(), p[None]]) for s, n, p in zip(states, batch.lengths, pooled, strict=True)]

    return call


def projected_states(encoder: nn.Module, projection: nn.Module) -> Module:
    """For each row (tokens, width): its token states after a projection, which runs in float32."""

    def call(batch: Batch) -> list[Tensor]:
        inputs: dict[str, object] = {"input_ids": batch.ids, "attention_mask": mask_for(encoder, batch).long()}
        if batch.types is not None:
            inputs["token_type_ids"] = batch.types
        if isinstance(encoder, PackedEncoder):
            inputs["lengths"] = batch.lengths
        states = projection(encoder(**inputs).last_hidden_state.float())
        return [s[:n] for s, n in zip(states, batch.lengths, strict=True)]

    return call
