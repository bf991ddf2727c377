# SPDX-License-Identifier: Apache-2.0
"""JSON values into the dataclasses they were written from, checked on the way: a record may come from anywhere."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_SIMPLE: dict[Any, Any] = {float: int | float, int: int, str: str, bool: bool}


def decode(kind: type[T], value: Any) -> T:
    """Build a value of a kind from JSON values.

    A dataclass takes the fields that it knows and leaves the rest: figures that a record holds for other readers are
    computed again from the others. A field that is missing takes its default. Where a number is wanted, null is not a
    number: that is how `evit_deploy.profiles.files` writes it.

    Args:
        kind: A dataclass of annotated fields.
        value: What the JSON file holds.

    Raises:
        ValueError: Something else than the annotations say; the message says where.
    """
    return _decode(kind, value, "")  # type: ignore[no-any-return]


def _decode(kind: Any, value: Any, place: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, value, place)
    if kind is float and value is None:
        return math.nan
    if kind in _SIMPLE:
        return kind(_require(_SIMPLE[kind], value, place))
    return _decode_generic(typing.get_origin(kind), typing.get_args(kind), value, place)


def _decode_generic(origin: Any, parts: tuple[Any, ...], value: Any, place: str) -> Any:
    if origin in (typing.Union, types.UnionType):
        (other,) = (part for part in parts if part is not types.NoneType)
        return None if value is None else _decode(other, value, place)
    if origin in (tuple, list):
        return origin(_decode_items(parts, _require(list, value, place), place))
    if origin in (dict, Mapping):
        items = _require(dict, value, place).items()
        return {name: _decode(parts[1], item, f"{place}.{name}") for name, item in items}
    if origin is typing.Literal and value not in parts:
        raise ValueError(f"{place[1:]} is {value!r}, not one of {', '.join(map(repr, parts))}")
    return value  # of a Literal, or of Any


def _decode_fields(kind: Any, value: Any, place: str) -> Any:
    hints, found = _hints(kind), _require(dict, value, place)
    values = {}
    for field in dataclasses.fields(kind):
        if field.name in found:
            values[field.name] = _decode(hints[field.name], found[field.name], f"{place}.{field.name}")
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{place[1:] or 'the record'} has no '{field.name}'")
    return kind(**values)


def _decode_items(parts: tuple[Any, ...], items: list[Any], place: str) -> list[Any]:
    """Items of a list, all of one kind, or of a tuple of fixed length."""
    kinds = parts if len(parts) > 1 and parts[1] is not Ellipsis else parts[:1] * len(items)
    if len(kinds) != len(items):
        raise ValueError(f"{place[1:]} has {len(items)} values, not {len(kinds)}")
    pairs = enumerate(zip(kinds, items, strict=True))
    return [_decode(kind, item, f"{place}.{index}") for index, (kind, item) in pairs]


def _require(kind: Any, value: Any, place: str) -> Any:
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"{place[1:] or 'the record'} is of type {type(value).__name__}")


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)
