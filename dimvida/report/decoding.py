"""Parsed JSON to dataclasses, so that a damaged file is one clear line instead of an error far from its cause."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any, TypeVar

from dimvida.errors import InputError

T = TypeVar("T")


def decode(kind: type[T], value: Any, where: str) -> T:
    """Build a value of a type from parsed JSON.

    A dataclass takes the keys that it knows and ignores others; a field's metadata ``key`` renames it. Known are
    dataclasses, lists, dictionaries with text as keys, unions with None, text, numbers and booleans.

    Args:
        kind: The type.
        value: What the JSON file holds there.
        where: The file and the place in it, for messages.

    Raises:
        InputError: Something is missing or of another type.
    """
    if kind is Any:
        return value
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return value
        return decode(next(option for option in arguments if option is not type(None)), value, where)
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, _require(dict, value, where), where)
    if origin is list:
        return [decode(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(_require(list, value, where))]
    if origin is dict:
        return {
            name: decode(arguments[1], item, f"{where}.{name}") for name, item in _require(dict, value, where).items()
        }
    if kind is float and type(value) is int:
        return float(value)
    return _require(kind, value, where)


def _decode_fields(kind: type[T], values: dict[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    decoded = {}
    for field in dataclasses.fields(kind):
        key = field.metadata.get("key", field.name)
        if key in values:
            decoded[field.name] = decode(hints[field.name], values[key], f"{where}.{key}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {key!r} is missing; damaged, or made by another version of dimvida")
    return kind(**decoded)


_NAMES = {
    dict: "an object",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def _require(kind: type, value: Any, where: str) -> Any:
    if type(value) is not kind:  # exact, as True is an int for Python
        raise InputError(f"{where}: is not {_NAMES[kind]}; damaged, or made by another version of dimvida")
    return value
