"""What every class here has: a model named by scalars and loaded on first use, or a ready noun."""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Self

from langchain_core.load.serializable import Serializable
from pydantic import ConfigDict, Field, InstanceOf, field_serializer, model_validator
from pydantic.json_schema import SkipJsonSchema

from headgate import Scorer
from headgate.hosting import UNREAD, Models

LOAD = ("family", "revision", "device", "dtype", "template", "classes", "max_length")
STRICT = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Lazy(Serializable):
    """Fields that name a model, and the rule that they and a ready noun exclude each other.

    Subclasses set ``_ready``, the name of the field that takes the noun, and ``_beside``, the
    fields that are the adapter's own and go with either.
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
    # A field rather than a private attribute: configurable_fields builds a new object from the
    # fields on every call, which must not load the model again.
    loaded: Annotated[SkipJsonSchema[InstanceOf[Models]], Field(exclude=True, repr=False)] = Field(
        default_factory=Models
    )

    _ready: ClassVar[str]
    _beside: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def _make(self, scorer: Scorer) -> Any:
        """The noun that the scalars describe, on this scorer."""

    def _noun(self) -> Any:
        """The ready noun, or one of the scalars; loads the model on first use."""
        ready = getattr(self, self._ready)
        if ready is not None:
            return ready
        given = {name: getattr(self, name) for name in LOAD}
        return self._make(self.loaded.get(self.model, {k: v for k, v in given.items() if v is not None}))

    @model_validator(mode="after")
    def _either(self) -> Self:
        if getattr(self, self._ready) is None:
            self._make(UNREAD)  # the noun's own checks, now rather than at the first call
            return self
        # Compared with the defaults, because hosts copy an object by passing every field again.
        fields = type(self).model_fields
        scalars = set(fields) - self._beside - {self._ready, "loaded", "name"}
        both = sorted(k for k in scalars if getattr(self, k) != fields[k].get_default())
        if both:
            raise ValueError(
                f"{self._ready} came together with {', '.join(both)}; expected one or the other: give these "
                f"to the {self._ready} itself, e.g. dataclasses.replace({self._ready}, …)."
            )
        return self

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        ready = getattr(self, self._ready)
        return super().__deepcopy__({**(memo or {}), id(ready): ready})  # shared: it is frozen and holds a model

    @field_serializer("reranker", "router", "guard", "scorer", "embedder", when_used="unless-none", check_fields=False)
    def _refuse_to_dump(self, noun: object) -> None:
        # It holds a model; leaving it out in silence would describe another object.
        raise ValueError(
            f"a ready {type(noun).__name__} can't be written as data; expected scalars: "
            'name its model with model="…" where this object must be saved.'
        )

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """True; ``load`` needs ``allowed_objects`` and ``valid_namespaces=["langchain_headgate"]``."""
        return True

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """Labels and rules as plain dicts, which the constructor takes as well."""
        nested = {k for k in ("label", "routes", "forbid") if getattr(self, k, None) is not None}
        return self.model_dump(include=nested)
