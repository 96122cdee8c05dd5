"""GLiClass on an encoder-decoder: the text in one half, the prompt of its labels in the other.

    text </s>    and    <<LABEL>> label <<LABEL>> label <<SEP>> </s>

Each has the model's length for itself. The labels of a prompt see one another; a prompt has as many slots as
``max_num_classes`` says, 25 unless it says otherwise, and where labels are more or longer than that, they are dealt out
as the uni-encoder's are.

Source: gliclass 0.1.21, ``pipeline.py``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from headgate.errors import CheckpointError
from headgate.families.base import core
from headgate.families.gliclass import GLiClassScorer
from headgate.families.gliclass_files import fill, length, tokenizers
from headgate.models.checkpoint import Checkpoint
from headgate.models.gliclass_config import GLiClassConfig
from headgate.models.gliclass_encoder_decoder import EncoderDecoder
from headgate.runtime.batching import Ids, Row


class EncoderDecoderGLiClassScorer(GLiClassScorer):
    """Judges a text by all labels at once; a long text in windows, many labels in several prompts."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A published folder.

        Raises:
            CheckpointError: No encoder-decoder, or weights, markers and tokenizer that don't fit.
        """
        config = GLiClassConfig.from_dict(checkpoint.config)
        inner = checkpoint.config.get("encoder_config") or {}
        halves = [checkpoint.has(f"model.encoder_decoder_model.{half}.") for half in ("encoder", "decoder")]
        if not getattr(checkpoint.body, "is_encoder_decoder", False) or not all(halves):
            raise CheckpointError(
                f"{checkpoint.folder} is an {config.architecture} on a {inner.get('model_type')} and has weights of "
                f"encoder, decoder: {halves}; expected an encoder-decoder such as t5, and both."
            )
        body = checkpoint.encoder(inner, "model.encoder_decoder_model.", plain=True)
        model = fill(EncoderDecoder(body, config), checkpoint)
        texts, labels = tokenizers(checkpoint, config, text_first=True)
        forward = checkpoint.forward(lambda batch: model(batch.ids, batch.mask, batch.types), model)
        parts = core(checkpoint, forward, template="{}", identity=config)
        return cls(replace(parts, tokenizer=texts, types=False, max_length=length(checkpoint)), config, labels)

    def _taken(self, frame: int) -> int:
        return frame

    def _frame(self, labels: Sequence[Ids]) -> tuple[Callable[[Ids], Row], int]:
        single = self._core.tokenizer.single
        prompt = single.row(self._prompt(labels)).ids

        def row(text: Ids) -> Row:
            first = single.row(text).ids
            return Row(
                np.concatenate([first, prompt]), np.repeat(np.arange(2, dtype=np.int32), [len(first), len(prompt)])
            )

        return row, self._core.max_length - single.size
