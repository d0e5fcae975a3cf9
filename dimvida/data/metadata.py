"""Reads ``metadata.jsonl``: one JSON object per image file, as written by ``dimvida generate``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from dimvida.data.tree import FileTree, unsafe_name
from dimvida.errors import InputError

METADATA_NAME = "metadata.jsonl"
METADATA_LIMIT = 8 * 2**30  # bytes; ten million lines


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """What a line says about its image; None where it says nothing.

    Attributes:
        line: Its number in the file, from 1.
        view: The image's view.
        class_name: Its class ("" if the line says null); from "class", or from "label" if that is text.
        source: The name of the object.
        kind: "real" or "generated".
    """

    line: int
    view: str | None
    class_name: str | None
    source: str | None
    kind: str


def read_metadata(tree: FileTree, prefix: str = "") -> dict[str, ImageEntry]:
    """``file name in the tree -> entry`` from ``<prefix>metadata.jsonl``. Other fields are ignored.

    Raises:
        InputError: A line is malformed, names a file outside the folder or one named before, or there
            are no lines.
    """
    location = tree.location(prefix + METADATA_NAME)
    try:
        lines = tree.read(prefix + METADATA_NAME, METADATA_LIMIT).decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{location}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    entries: dict[str, ImageEntry] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{location}, line {number}"
        name, entry = _parse(line, number, where)
        name = prefix + name
        if name in entries:
            raise InputError(f"{where}: names the same file as line {entries[name].line}; remove one")
        entries[name] = entry
    if not entries:
        raise InputError(f"{location}: lists no images; remove it or write a line for each image")
    return entries


def _parse(line: str, number: int, where: str) -> tuple[str, ImageEntry]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error}); write one object per line") from None
    if not isinstance(fields, dict):
        raise InputError(f"{where}: not a JSON object like {{'file_name': ..., 'view': ...}}")
    name = _text(fields, "file_name", where)
    if not name:
        raise InputError(f'{where}: no "file_name"; name the image relative to this file')
    problem = unsafe_name(name)
    if problem is not None:
        raise InputError(f"{where}: file name {name!r} {problem}; name a file below this one's folder")
    name = "/".join(part for part in name.split("/") if part not in ("", "."))
    kind = _text(fields, "kind", where) or "real"
    if kind not in ("real", "generated"):
        raise InputError(f'{where}: kind {kind!r}; it is "real" or "generated"')
    view = _text(fields, "view", where) or None
    if view is not None:
        check_view_name(view, where)
    source = _text(fields, "source", where) or None
    class_name = _class_name(fields, where)
    if class_name and "/" in class_name:
        raise InputError(f"{where}: class {class_name!r} has a '/', which separates the parts of an id")
    return name, ImageEntry(number, view, class_name, source, kind)


def check_view_name(view: str, where: str) -> None:
    """Raise InputError unless ``view`` can be part of a file name and of a list of views."""
    if not re.fullmatch(r"[\w. +-]*\w[\w. +-]*", view):
        raise InputError(f"{where}: {view!r} cannot name a view; use letters, digits, '-', '_' or '.'")


def _class_name(fields: dict[str, Any], where: str) -> str | None:
    if "class" in fields:
        return _text(fields, "class", where) or ""
    if "label" not in fields or isinstance(fields["label"], int):
        return None  # a number is a place in someone else's list of classes; the folder has the name
    return _text(fields, "label", where) or ""


def _text(fields: dict[str, Any], key: str, where: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f'{where}: "{key}" is {json.dumps(value)[:40]}, not text')
    return value
