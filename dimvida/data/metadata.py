"""Reads ``metadata.jsonl``: one JSON object per image file, as written by ``dimvida generate``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from dimvida.data.names import check_view_name, composed, unsafe_name
from dimvida.data.tree import FileTree
from dimvida.errors import InputError

METADATA_NAME = "metadata.jsonl"
LINE_LIMIT = 2**20
"""Most bytes of a line."""
TEXT_LIMIT = 4096
"""Most characters of a name in it."""
_BLANK_LIMIT = 10**6


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
    """``file name in the tree -> entry`` from ``<prefix>metadata.jsonl``, read line by line. Other fields are ignored.

    Raises:
        InputError: A line is malformed, names a file outside the folder or one named before, or there
            are no lines.
    """
    location = tree.location(prefix + METADATA_NAME)
    entries: dict[str, ImageEntry] = {}
    blank = 0
    for number, line in enumerate(tree.lines(prefix + METADATA_NAME, LINE_LIMIT), 1):
        where = f"{location}, line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}: not UTF-8 text ({error.reason} at its byte {error.start})") from None
        if not text.strip():
            blank += 1
            if blank > _BLANK_LIMIT:
                raise InputError(f"{where}: more than {_BLANK_LIMIT} empty lines; write one line for each image")
            continue
        name, entry = _parse(text, number, where)
        name = prefix + name
        if name in entries:
            raise InputError(f"{where}: names the same file as line {entries[name].line}; remove one")
        entries[name] = entry
    if not entries:
        raise InputError(f"{location}: lists no images; remove it or write a line for each image")
    return entries


def _parse(line: str, number: int, where: str) -> tuple[str, ImageEntry]:
    try:
        fields = json.loads(line, object_pairs_hook=distinct)
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
    view = composed(_text(fields, "view", where) or "") or None
    if view is not None:
        check_view_name(view, where)
    source = _text(fields, "source", where) or None
    class_name = _class_name(fields, where)
    if class_name and "/" in class_name:
        raise InputError(f"{where}: class {class_name!r} has a '/', which separates the parts of an id")
    return name, ImageEntry(number, view, class_name, source, kind)


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of a JSON object; ValueError where one is there twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a field is there twice")
    return fields


def _class_name(fields: dict[str, Any], where: str) -> str | None:
    if "class" in fields:
        return _text(fields, "class", where) or ""
    if "label" not in fields or isinstance(fields["label"], int):
        return None  # a number is a place in someone else's list of classes; the folder has the name
    return _text(fields, "label", where) or ""


def _text(fields: dict[str, Any], key: str, where: str) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        shown = "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else json.dumps(value)
        raise InputError(f'{where}: "{key}" is {shown[:40]}, not text')
    if len(value) > TEXT_LIMIT:
        raise InputError(f'{where}: "{key}" has more than the limit of {TEXT_LIMIT} characters')
    # JSON can write what is no text: half of a surrogate pair, which no file and no hash can take.
    if "\0" in value or re.search("[\ud800-\udfff]", value):
        raise InputError(f'{where}: "{key}" is {value[:40]!r}, with a character that is no text')
    return value
