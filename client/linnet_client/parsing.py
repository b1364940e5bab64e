"""From JSON to the frozen records of `linnet_client.results`.

Fields that a record does not have are passed over, so that a newer service does not break an older client.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, TypeVar, cast

T = TypeVar("T")


class Mismatch(ValueError):
    """A value is not of the type that was expected of it."""


def parse(kind: type[T], value: object) -> T:
    """Return the record of type `kind` that the JSON `value` describes.

    Raises `Mismatch` where a field without a default is missing or has another type.
    """
    return cast(T, _reader(cast(Hashable, kind))(value))


@cache
def _reader(kind: Any) -> Callable[[object], object]:
    """Return what turns JSON into a `kind`: a record, `tuple[X, ...]`, `X | None`, or a plain type."""
    if dataclasses.is_dataclass(kind):
        return _record_reader(kind)
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(item(element) for element in _checked(value, list))
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        (inner,) = (_reader(argument) for argument in arguments if argument is not type(None))
        return lambda value: None if value is None else inner(value)
    if kind is float:
        return lambda value: float(_checked(value, (int, float)))
    return lambda value: _checked(value, kind)


def _record_reader(kind: Any) -> Callable[[object], object]:
    hints = typing.get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}
    required = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}

    def read(value: object) -> object:
        members = _checked(value, dict)
        if missing := required - members.keys():
            raise Mismatch(f"{kind.__name__} without {', '.join(sorted(missing))}")
        return kind(**{name: reader(members[name]) for name, reader in readers.items() if name in members})

    return read


def _checked(value: Any, kind: Any) -> Any:
    """Return `value`; raises `Mismatch` where it is of another type. JSON's true is no number here."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Mismatch(f"{type(value).__name__} instead of {getattr(kind, '__name__', 'number')}")
    return value
