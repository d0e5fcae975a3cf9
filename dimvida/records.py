"""Dataclasses as JSON and back, so that a damaged file is one clear line instead of an error far from its cause.

Results are read with ``from_json``, which ignores what it does not know: a later version may have written it. What
decides about a computation is read with ``config_from_json``, which takes nothing that it does not know.

A number that is not finite has no place in JSON: it is written as null, and null is read as NaN where a number must be.
A field's metadata may have ``key``, its name in JSON where that is no name for Python (``class``), and ``optional``:
None is left out of the file.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from dimvida.errors import InputError

T = TypeVar("T")

LATER = {"later": True}
"""Metadata of an option that came later: it is written down only where it differs from its default, so that runs and
checkpoints of before are those of today's configuration."""

LARGEST_SIZE = 2**31 - 1
"""Of any size: what has more does not fit into an index."""


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


def options_to_json(config: Any) -> dict[str, Any]:
    """A dataclass of options, with those in it, as what ``json.dumps`` takes.

    Options that came later are left out where they are by default, see ``LATER``.
    """
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not (field.metadata.get("later") and value == field.default):
            values[field.name] = options_to_json(value) if dataclasses.is_dataclass(value) else value
    return values


def from_json(kind: type[T], value: Any, where: str) -> T:
    """Build a value of a type from parsed JSON.

    A dataclass takes the keys that it knows and ignores others. Known are dataclasses, lists, tuples of any length,
    dictionaries with text as keys, unions with None, text, numbers, booleans and ``Any``.

    Args:
        kind: The type to build, such as a dataclass.
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
        if not field.init:  # follows from the others
            continue
        if key in values:
            known[field.name] = from_json(hints[field.name], values[key], f"{where}.{key}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {key!r} is missing; damaged, or made by another version of dimvida")
    return kind(**known)


def config_from_json(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass of options from parsed JSON or TOML, strictly: every name must be one of its fields.

    Fields may be whole numbers, numbers, text, truth values, tuples of these, dataclasses, and ``None`` where that is
    allowed; other types, as ``dict[str, Any]``, are taken as they come. Whole numbers are accepted where a float is
    meant; nothing else is converted.

    Args:
        kind: The dataclass to build.
        values: A mapping of its field names.
        where: Names the origin in error messages.

    Raises:
        InputError: A name is unknown, one without default is missing, or a value is of another type or out of range.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: expected a table of options, found {type(values).__name__}")
    fields, hints = {field.name: field for field in dataclasses.fields(kind)}, typing.get_type_hints(kind)
    if "kind" in values and "kind" not in fields and values["kind"] in kinds_of(kind):
        values = {name: value for name, value in values.items() if name != "kind"}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise InputError(f"{where}: unknown option {unknown[0]!r}; known are {', '.join(fields)}")
    converted = {name: _option(hints[name], value, where, name) for name, value in values.items()}
    for name, field in fields.items():
        if name not in converted and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: {name} is missing")
    try:
        config = kind(**converted)
    except InputError as error:  # a value out of range: the dataclass does not know where it comes from
        raise InputError(f"{where}: {error}") from None
    for name, value in converted.items():  # whatever the dataclass lets pass
        if (type(value) is int and abs(value) >= _LARGEST) or (type(value) is float and not math.isfinite(value)):
            raise InputError(f"{where}: {name} must be finite and below 2**63, not {_shown(value)}")
    return config


def require_positive(config: Any) -> None:
    """Raise InputError unless every integer field of a dataclass is at least 1 and at most ``LARGEST_SIZE``."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, int) and value < 1:
            raise InputError(f"{field.name} must be at least 1, not {value}")
        if isinstance(value, int) and value > LARGEST_SIZE:
            raise InputError(f"{field.name} must be at most {LARGEST_SIZE}")


def of_kind(options: Sequence[type], values: Any) -> type | None:
    """The dataclass that the values' ``kind`` names; the first where they have none, None where it is unknown.

    See ``kinds_of``.
    """
    if len(options) == 1 or not isinstance(values, dict) or "kind" not in values:
        return options[0]
    return next((option for option in options if values["kind"] in kinds_of(option)), None)


def kinds_of(option: type) -> tuple[str, ...]:
    """What ``kind`` may be for a dataclass: of its field ``kind`` the default, or the ``kinds`` of its metadata.

    Where it has no such field, which is then left out of files, a class variable ``kind`` names it. A class variable
    ``retired`` says of kinds that are no more what became of them.
    """
    field = next((field for field in dataclasses.fields(option) if field.name == "kind"), None)
    if field is None:
        return (option.kind,) if hasattr(option, "kind") else ()
    return field.metadata.get("kinds", (field.default,))


def _option(kind: Any, value: Any, where: str, name: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        options = [option for option in arguments if option is not type(None)]
        chosen = of_kind(options, value)
        if chosen is None:
            gone = [option.retired for option in options if value["kind"] in list(getattr(option, "retired", ()))]
            if gone:
                raise InputError(f"{where}: {name}: kind {value['kind']!r} {gone[0][value['kind']]}")
            kinds = ", ".join(kind for option in options for kind in kinds_of(option))
            raise InputError(f"{where}: {name}: kind {_shown(value['kind'])}: choose from {kinds}")
        return _option(chosen, value, where, name)
    if dataclasses.is_dataclass(kind):
        return config_from_json(kind, value, f"{where}: {name}")
    if origin is tuple:
        items = [_as_float(arguments[0], item) for item in value] if isinstance(value, list | tuple) else [None]
        if typing.get_origin(arguments[0]) is tuple and isinstance(value, list | tuple):
            return tuple(_option(arguments[0], item, where, name) for item in value)
        if not all(type(item) is arguments[0] for item in items):
            raise InputError(f"{where}: {name} must be a list of {'names' if arguments[0] is str else 'numbers'}")
        return tuple(items)
    value = _as_float(kind, value)
    if isinstance(kind, type) and type(value) is not kind:  # exact, as True is an int for Python
        raise InputError(f"{where}: {name} must be {kind.__name__}, not {_shown(value)}")
    return value


_LARGEST = 2**63


def _as_float(kind: Any, value: Any) -> Any:
    return float(value) if kind is float and type(value) is int and abs(value) < _LARGEST else value


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python writes out
        return "that"
    return text if len(text) <= 100 else f"{text[:100]}..."


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
