"""What every class here has: a model named by scalars and loaded on first use, or a ready noun."""

import os
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Self

from langchain_core.load.serializable import Serializable
from pydantic import BeforeValidator, ConfigDict, Field, InstanceOf, field_serializer, model_validator
from pydantic.json_schema import SkipJsonSchema

from headgate import Scorer
from headgate.hosting import UNREAD, Models, unread

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
        self._check()
        return self

    def _check(self) -> None:
        """The noun's own checks, now rather than at the first call."""
        if getattr(self, self._ready) is None:
            self._make(UNREAD)
        elif both := self._set_beside(self._ready, self._beside):
            raise ValueError(
                f"{self._ready} came together with {', '.join(both)}; expected one or the other: give these "
                f"to the {self._ready} itself, e.g. dataclasses.replace({self._ready}, …)."
            )

    def _set_beside(self, name: str, allowed: frozenset[str]) -> list[str]:
        """The fields that were set and may not be where ``name`` is."""
        # Compared with the defaults, because hosts copy an object by passing every field again.
        fields = type(self).model_fields
        others = set(fields) - allowed - {name, "loaded", "name"}
        return sorted(k for k in others if getattr(self, k) != fields[k].get_default())

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        ready = getattr(self, self._ready)
        return super().__deepcopy__({**(memo or {}), id(ready): ready})  # shared: it is frozen and holds a model

    @field_serializer(
        "reranker",
        "router",
        "guard",
        "grounding",
        "scorer",
        "embedder",
        when_used="unless-none",
        check_fields=False,
    )
    def _refuse_to_dump(self, noun: object) -> object:
        if isinstance(noun, str):  # a name, where a field takes either
            return noun
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
        nested = {k for k in ("label", "routes", "nulls", "forbid") if getattr(self, k, None) is not None}
        return self.model_dump(include=nested)


class Restorable(Lazy):
    """A noun may also come from a file that ``headgate.save`` wrote, with the certificate that ``fit`` gave it.

    Subclasses set ``_kind``, what the file must hold, and ``_beside_config``, fields that go with a file besides
    ``_beside`` and ``device``.
    """

    config: Annotated[str, BeforeValidator(os.fspath)] | None = None

    _kind: ClassVar[type]
    _beside_config: ClassVar[frozenset[str]] = frozenset()

    def _restored(self, task: Any) -> Any:
        """The noun, around what the file holds."""
        return task

    def _noun(self) -> Any:
        if self.config is None:
            return super()._noun()
        return self._restored(self.loaded.task(self.config, self.device))

    def _check(self) -> None:
        if self.config is None or getattr(self, self._ready) is not None:
            super()._check()
        elif both := self._set_beside("config", self._beside | self._beside_config | {"device"}):
            raise ValueError(
                f"config came together with {', '.join(both)}; expected one or the other: the file says these, "
                f"change them in {self.config}."
            )
        else:
            self._restored(unread(self.config, self._kind))
