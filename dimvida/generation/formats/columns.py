"""What the metadata say of each picture as columns with types, in the words of Hugging Face ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

SUFFIX_OF_FORMAT = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


class TypedColumn(NamedTuple):
    """A column, or a field of one.

    Attributes:
        name: What the column is called in the data.
        kind: ``string``, ``int64``, ``float64``, ``image``, ``class``, ``list`` (of strings) or ``struct``.
        parts: The names of the classes, in the order of their numbers, or the fields of a struct.
    """

    name: str
    kind: str
    parts: Sequence[Any] = ()


def line_columns(configuration: Mapping[str, Any]) -> list[TypedColumn]:
    """What a line of metadata says, but for where the picture is; ``configuration`` is that of the output."""
    views = [TypedColumn(view, "string") for view in configuration["view_names"]]
    angles = [TypedColumn("azimuth", "float64"), TypedColumn("elevation", "float64")]
    return [
        TypedColumn("source", "string"),
        TypedColumn("source_sha256", "struct", views),
        TypedColumn("view", "string"),
        *([TypedColumn("camera", "struct", angles)] if "cameras" in configuration else []),
        TypedColumn("kind", "string"),
        label_column("label", configuration),
        TypedColumn("known", "list"),
        *(TypedColumn(name, "int64") for name in ("seed", "sample_id", "draw")),
        TypedColumn("checkpoint", "string"),
        TypedColumn("solver", "string"),
        TypedColumn("steps", "int64"),
        *(TypedColumn(name, "string") for name in ("dtype", "backend", "version", "sha256")),
    ]


def label_column(name: str, configuration: Mapping[str, Any]) -> TypedColumn:
    """The class; of an input without classes text, of which there is none."""
    classes = configuration["classes"]
    return TypedColumn(name, "class", classes) if classes else TypedColumn(name, "string")


def yaml_features(columns: Sequence[TypedColumn], indent: str = "") -> list[str]:
    """Columns as the header of a data set card lists them, a line each."""
    lines = []
    for name, kind, parts in columns:
        lines.append(f"{indent}- name: {yaml_text(name)}")
        if kind == "class":
            lines += [f"{indent}  dtype:", f"{indent}    class_label:", f"{indent}      names:"]
            lines += [f"{indent}        '{number}': {yaml_text(text)}" for number, text in enumerate(parts)]
        elif kind == "struct":
            lines += [f"{indent}  struct:", *yaml_features(parts, f"{indent}  ")]
        elif kind == "list":
            lines.append(f"{indent}  list: string")
        else:
            lines.append(f"{indent}  dtype: {kind}")
    return lines


def yaml_text(text: str) -> str:
    """A text in YAML, in double quotes, whatever is in it."""
    return "".join(
        character if character.isprintable() else f"\\U{ord(character):08x}"
        for character in json.dumps(text, ensure_ascii=False)
    )
