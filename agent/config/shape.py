"""The shape of the configuration as the YAML reader needs it: which kind of value stands under which key.

Derived from the schema, so that there is one place where a key is written down.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, BeforeValidator


class Kind(Enum):
    """What a key takes; the value is how messages name it."""

    MAPPING = "mapping"
    LIST = "list"
    TEXT = "text"
    NUMBER = "number"
    SIZE = "bytes as 20GiB, 20GB, 500MB or a plain number"
    BOOL = "true/false"
    DATE = "yyyy-mm-dd"


@dataclass(frozen=True)
class Shape:
    """One key: its kind, the members of a mapping, the words that a text may be.

    `others` is the shape of a mapping's values where its keys are the file's own.
    """

    kind: Kind
    members: Mapping[str, Shape] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    others: Shape | None = None

    @property
    def expected(self) -> str:
        """Return what stands here, for messages."""
        return " | ".join(self.words) if self.words else self.kind.value

    def names(self) -> frozenset[str]:
        """Return every key that may stand in the file, on whatever level."""
        return frozenset(self.members).union(*(member.names() for member in self.members.values()))


def of_model(model: type[BaseModel]) -> Shape:
    """Return the shape of a section, its keys under the names they have in the file."""
    hints = typing.get_type_hints(model, include_extras=True)
    members = {info.alias or name: _of(hints[name]) for name, info in model.model_fields.items()}
    return Shape(Kind.MAPPING, members)


_SCALARS = {bool: Kind.BOOL, int: Kind.NUMBER, float: Kind.NUMBER, date: Kind.DATE}


def _of(annotation: Any) -> Shape:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        # What reads a unit stands before the number's own check.
        sized = any(isinstance(argument, BeforeValidator) for argument in arguments)
        return Shape(Kind.SIZE) if sized else _of(arguments[0])
    if origin in {Union, types.UnionType}:
        return _of(next(argument for argument in arguments if argument is not type(None)))
    if origin is Literal:
        numbers = all(isinstance(argument, int) for argument in arguments)
        return Shape(
            Kind.NUMBER if numbers else Kind.TEXT, words=tuple(str(argument) for argument in arguments)
        )
    if origin is tuple:
        return Shape(Kind.LIST)
    if origin is dict:
        return Shape(Kind.MAPPING, others=_of(arguments[1]))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return of_model(annotation)
    return Shape(_SCALARS.get(annotation, Kind.TEXT))
