"""GLiClass on a decoder: a text, then labels, each with its marker behind it.

    text <<SEP>> label <<LABEL>> label <<LABEL>> <<SEP>>

A label sees the text and the labels before it, and all of them meet in the scorer, so it is joint. Long texts are read
in windows and labels dealt out as the uni-encoder's are. It needs the published package: ``pip install
"headgate[gliclass]"``.

Source: gliclass 0.1.21, ``pipeline.py`` and ``data_processing.py``.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Self

import numpy as np

from headgate.errors import CheckpointError
from headgate.families.base import core
from headgate.families.gliclass import GLiClassScorer
from headgate.families.gliclass_files import length, tokenizers
from headgate.models.checkpoint import Checkpoint
from headgate.models.gliclass_config import GLiClassConfig
from headgate.models.gliclass_decoder import decoder
from headgate.runtime.batching import Ids, Row


class DecoderGLiClassScorer(GLiClassScorer):
    """Judges a text by all labels at once; a long text in windows, many labels in several prompts."""

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> Self:
        """A published folder.

        Raises:
            MissingExtraError: The gliclass package is not installed.
            CheckpointError: It doesn't run this decoder, or weights, markers and tokenizer don't fit.
        """
        mark, end = (checkpoint.config.get(name) for name in ("class_token_index", "sep_token_index"))
        if not isinstance(mark, int) or not isinstance(end, int):
            raise CheckpointError(
                f"{checkpoint.folder} is a decoder-kv with class_token_index {mark} and sep_token_index {end}; "
                "expected ids of its markers. Download the model again."
            )
        config = GLiClassConfig(mark, end)
        model = decoder(checkpoint, config.class_token_index)
        texts, labels = tokenizers(checkpoint, config, text_first=True)
        forward = checkpoint.forward(lambda batch: model(batch.ids, batch.mask), model.network)
        parts = core(checkpoint, forward, template="{}", identity=config)
        return cls(replace(parts, tokenizer=texts, types=False, max_length=length(checkpoint)), config, labels)

    def _taken(self, frame: int) -> int:
        return super()._taken(2)  # text markers, in place of special tokens

    def _prompt(self, labels: Sequence[Ids]) -> Ids:
        mark, end = (np.array([i], np.int32) for i in (self._config.class_token_index, self._config.text_token_index))
        return np.concatenate([end, *(part for label in labels for part in (label, mark)), end])

    def _frame(self, labels: Sequence[Ids]) -> tuple[Callable[[Ids], Row], int]:
        prompt = self._prompt(labels)
        return lambda text: Row(np.concatenate([text, prompt])), self._core.max_length - len(prompt)
