"""The configuration of a training run: presets, files and overrides resolved into one typed value."""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import typing
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from dimvida.errors import InputError
from dimvida.records import config_from_json, kinds_of, of_kind
from dimvida.training.stage_config import TrainConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PRESETS = ("paper", "base", "small", "tiny")

# The dataclasses that each table may be, told apart by its option ``kind``; the first where it has none.
_TABLES: dict[str, tuple[type, ...]] = {
    name: typing.get_args(hint) or (hint,)
    for name, hint in typing.get_type_hints(TrainConfig).items()
    if dataclasses.is_dataclass((typing.get_args(hint) or (hint,))[0])
}

_TOP = [field.name for field in dataclasses.fields(TrainConfig) if field.name not in _TABLES]

# What a value of a field's type is called.
_MEANINGS = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "a name"}


def load_preset(name: str, overrides: tuple[str, ...] | list[str] = (), file: Path | None = None) -> TrainConfig:
    """A preset with values replaced, first by those of a file, then one by one.

    Args:
        name: One of ``PRESETS``.
        overrides: ``table.option=value`` or ``option=value`` in TOML syntax; a bare word counts as a string.
        file: TOML of the form of the presets, with as many of the values as it likes.

    Raises:
        InputError: For an unknown preset, table or option, a value that does not fit, or a file that is no TOML.
    """
    if name not in PRESETS:
        raise InputError(
            f"unknown preset {name!r}: choose from {', '.join(PRESETS)}; --config FILE takes values of your own"
        )
    text = resources.files("dimvida.training").joinpath("presets", f"{name}.toml").read_text()
    return _replaced(tomllib.loads(text), overrides, file, f"preset {name}")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"--config {file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # of the encoding, of the syntax, or too deep
        raise InputError(f"--config {file}: not valid TOML ({error})") from None


def _merge(values: dict[str, Any], others: dict[str, Any]) -> None:
    """Put the values of others over these; a table of another kind of network begins with that kind's own defaults."""
    for name, value in others.items():
        table = values.get(name)
        if not isinstance(table, dict) or not isinstance(value, dict):
            values[name] = value
        elif "kind" in value and class_of(name, value) is not class_of(name, table):
            values[name] = dict(value)
        else:
            table.update(value)


def class_of(table: str, values: dict[str, Any]) -> type | None:
    """The dataclass that a table of these values is; None for one that there is not."""
    return of_kind(_TABLES[table], values) if table in _TABLES else None


def kind_of(table: str, values: dict[str, Any]) -> Any:
    """The kind that a table of these values has, also where it does not say so."""
    return values.get("kind", kinds_of(_TABLES[table][0])[0])


def overridden(config: TrainConfig, overrides: Sequence[str], file: Path | None = None) -> TrainConfig:
    """A configuration with values replaced, as by ``load_preset``.

    Raises:
        InputError: For an unknown table or option, a value that does not fit, or a file that is no TOML.
    """
    return _replaced(config.to_dict(), overrides, file, "--set")


def _replaced(values: dict[str, Any], overrides: Sequence[str], file: Path | None, where: str) -> TrainConfig:
    given = {} if file is None else _read_toml(file)
    for override in overrides:
        _apply(given, override)
    _merge(values, given)
    return config_from_json(TrainConfig, values, where if file is None else str(file))


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator:
        raise InputError(f"--set {override}: expected TABLE.OPTION=VALUE")
    types = _option_types()
    *tables, option = key.split(".")
    if key not in types:
        unknown = f"option {option!r}" if tables in ([], *([name] for name in _TABLES)) else "table"
        raise InputError(f"--set {override}: unknown {unknown}; {_suggestion(key, types)}")
    value = _parse_value(text.strip())
    # Exact types: True is an int for Python, and 2.5 steps are none.
    if types[key] == "float" and type(value) is int:
        value = float(value)
    if type(value).__name__ != types[key] or (type(value) is float and not math.isfinite(value)):
        raise InputError(f"--set {override}: {option} must be {_MEANINGS[types[key]]}")
    target = values.setdefault(tables[0], {}) if tables else values
    if isinstance(target, dict):  # a file may have something else in its place, which is refused as that
        target[option] = value


def _option_types() -> dict[str, str]:
    """Every option by the name that ``--set`` takes, and the name of its type."""
    tables = {"": (TrainConfig,), **{f"{name}.": kinds for name, kinds in _TABLES.items()}}
    return {
        f"{table}{field.name}": str(field.type)
        for table, kinds in tables.items()
        for kind in kinds
        for field in dataclasses.fields(kind)
        if str(field.type) in _MEANINGS
    }


def _suggestion(key: str, names: Iterable[str]) -> str:
    """The options that a name without its table, or with an error of typing, may mean."""
    last = key.rpartition(".")[2]
    alike = [name for name in names if name.rpartition(".")[2] == last]
    alike = alike or (difflib.get_close_matches(key, names, 3) if "." in key else [])
    if not alike:
        lasts = difflib.get_close_matches(last, {name.rpartition(".")[2] for name in names}, 2, 0.8)
        alike = [name for name in names if name.rpartition(".")[2] in lasts]
    if alike:
        return f"did you mean {' or '.join(alike)}?"
    return f"known are {', '.join(_TOP)}, and TABLE.OPTION of the tables {', '.join(_TABLES)}"


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
