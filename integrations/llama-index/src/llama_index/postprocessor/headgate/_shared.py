"""What every class here has: a model named by scalars and loaded on first use, or a ready noun."""

import pickle
from abc import abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Self

from llama_index.core.bridge.pydantic import ConfigDict, Field, field_serializer, model_validator
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.schema import BaseComponent
from pydantic import InstanceOf
from pydantic.json_schema import SkipJsonSchema

from headgate import Scorer
from headgate.hosting import UNREAD, Models

dispatcher = get_dispatcher("llama_index.postprocessor.headgate")
LOAD = ("family", "revision", "device", "dtype", "template", "classes", "max_length")
NOUNS = ("reranker", "guard", "scorer", "router", "grounding", "input_guard", "output_guard", "embedder")
STRICT = ConfigDict(
    extra="forbid",
    validate_assignment=True,
    arbitrary_types_allowed=True,
    protected_namespaces=("pydantic_model_",),
)


class Lazy(BaseComponent):
    """Fields that name a model, and the rule that they and a ready noun exclude each other.

    Subclasses set ``_ready``, the name of the field that takes the noun, and ``_beside``, the
    fields that are the adapter's own and go with either. ``_held`` names more fields that hold
    something alive, such as an engine: copies share it, and it can't be written down.
    """

    model_config = STRICT

    model: str
    family: str | None = None
    revision: str | None = None
    device: str | None = None
    dtype: str | None = None
    template: str | None = None
    classes: list[str] | dict[str, list[str]] | None = None
    max_length: int | None = None
    loaded: Annotated[SkipJsonSchema[InstanceOf[Models]], Field(exclude=True, repr=False)] = Field(
        default_factory=Models
    )

    _ready: ClassVar[str]
    _beside: ClassVar[frozenset[str]] = frozenset()
    _held: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def _make(self, scorer: Scorer) -> Any:
        """The noun that the scalars describe, on this scorer."""

    def _noun(self) -> Any:
        """The ready noun, or one of the scalars; loads the model on first use."""
        ready = getattr(self, self._ready)
        return self._make(self._scorer()) if ready is None else ready

    def _scorer(self) -> Scorer:
        given = {name: getattr(self, name) for name in LOAD}
        return self.loaded.get(self.model, {k: v for k, v in given.items() if v is not None})

    @model_validator(mode="after")
    def _either(self) -> Self:
        if getattr(self, self._ready) is None:
            self._make(UNREAD)  # the noun's own checks, now rather than at the first call
            return self
        scalars = set(type(self).model_fields) - self._beside - {self._ready, "loaded", "callback_manager"}
        both = self._set(scalars)
        if both:
            raise ValueError(
                f"{self._ready} came together with {', '.join(both)}; expected one or the other: give these "
                f"to the {self._ready} itself, e.g. dataclasses.replace({self._ready}, …)."
            )
        return self

    def _set(self, names: Iterable[str]) -> list[str]:
        """Those of the fields that are not at their defaults; unpickling passes every field again."""
        fields = type(self).model_fields
        return sorted(k for k in names if getattr(self, k) != fields[k].get_default(call_default_factory=True))

    def _alive(self) -> list[Any]:
        return [held for name in (self._ready, *self._held) if (held := getattr(self, name)) is not None]

    def __setattr__(self, name: str, value: Any) -> None:
        before = dict(self.__dict__)
        try:
            super().__setattr__(name, value)
        except ValueError:
            self.__dict__.update(before)  # pydantic leaves a value that a model validator refused in its place
            raise

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        # Shared: it is frozen and holds a model.
        return super().__deepcopy__({**(memo or {}), **{id(held): held for held in self._alive()}})

    def __getstate__(self) -> dict[str, Any]:
        # The host drops what can't be pickled, even from self, and another model would come back.
        for held in self._alive():
            try:
                pickle.dumps(held)
            except Exception as error:
                what, scalars = type(held).__name__, 'name its model with model="…"'
                do = scalars if held is getattr(self, self._ready) else "build this anew"
                raise TypeError(
                    f"a ready {what} can't be pickled ({error}); expected what can: {do} where it must be."
                ) from error
        return super().__getstate__()

    @field_serializer(*NOUNS, when_used="unless-none", check_fields=False)
    def _refuse_to_dump(self, noun: object) -> None:
        # It holds a model; leaving it out in silence would describe another object.
        raise ValueError(
            f"a ready {type(noun).__name__} can't be written as data; expected scalars: "
            'name its model with model="…" where this object must be saved.'
        )
