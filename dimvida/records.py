"""Dataclasses as JSON and back, so that a damaged file is one clear line instead of an error far from its cause.

A number that is not finite has no place in JSON: it is written as null, and null is read as NaN where a number must be.
A field's metadata may have ``key``, its name in JSON where that is no name for Python (``class``), and ``optional``:
None is left out of the file.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from dimvida.errors import InputError

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Dataclasses, mappings, sequences and numbers as what ``json.dumps`` takes, in the order of their fields."""
    if dataclasses.is_dataclass(value):
        return {
            field.metadata.get("key", field.name): to_json(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if not (field.metadata.get("optional") and getattr(value, field.name) is None)
        }
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def from_json(kind: type[T], value: Any, where: str) -> T:
    """Build a value of a type from parsed JSON.

    A dataclass takes the keys that it knows and ignores others. Known are dataclasses, lists, tuples of any length,
    dictionaries with text as keys, unions with None, text, numbers, booleans and ``Any``.

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
        return from_json(next(option for option in arguments if option is not type(None)), value, where)
    if dataclasses.is_dataclass(kind):
        return _from_fields(kind, _require(dict, value, where), where)
    if origin in (list, tuple):
        items = enumerate(_require(list, value, where))
        return origin(from_json(arguments[0], item, f"{where}[{number}]") for number, item in items)
    if origin is dict:
        items = _require(dict, value, where).items()
        return {name: from_json(arguments[1], item, f"{where}.{name}") for name, item in items}
    if kind is float and value is None:
        return math.nan
    if kind is float and type(value) is int:
        return float(value)
    return _require(kind, value, where)


def _from_fields(kind: type[T], values: dict[str, Any], where: str) -> T:
    hints = typing.get_type_hints(kind)
    known = {}
    for field in dataclasses.fields(kind):
        key = field.metadata.get("key", field.name)
        if key in values:
            known[field.name] = from_json(hints[field.name], values[key], f"{where}.{key}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {key!r} is missing; damaged, or made by another version of dimvida")
    return kind(**known)


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
