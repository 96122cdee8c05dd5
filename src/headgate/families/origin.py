"""How a scorer was loaded, so that it can be loaded again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Origin:
    """What ``headgate.load`` was given; the device is left out, since another machine has others.

    Attributes:
        where: A folder as the caller wrote it, a Hub id, or a part of the default.
        family: As in ``load``; so are the others.
        revision: Of a Hub id.
        template: With one ``{}``.
        classes: Names of the logits.
        max_length: Tokens of a row.
        backend: "auto", or what runs the encoder.
        dtype: "auto", or of the encoder's products.
        backbone: Where encoder and tokenizer are, if not with the heads.
        heads: Names of the heads of a folder with many; None where it holds one model.
        task_embedding: Of :class:`headgate.TaskHeads`.
        first: Of :class:`headgate.TaskHeads`.
    """

    where: str
    family: str | None = None
    revision: str | None = None
    template: str | None = None
    classes: tuple[str, ...] | Mapping[str, tuple[str, ...]] | None = None
    max_length: int | None = None
    backend: str = "auto"
    dtype: str = "auto"
    backbone: str | None = None
    heads: tuple[str, ...] | None = None
    task_embedding: bool = False
    first: Literal["text", "label"] | None = None
