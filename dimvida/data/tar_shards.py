"""WebDataset shards: ``shard-000012.tar`` with ``<key>.<view>.png`` and ``<key>.json``.

Only images and JSON are ever looked at: a member of any other kind, a pickle for one, is passed over.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dimvida.data.images import decode_image, is_image_name
from dimvida.data.shards import ShardSource, StoredView, stored_view
from dimvida.data.source import ViewImage
from dimvida.data.tree import READ_LIMIT, unsafe_name
from dimvida.errors import InputError, UnreadableImage


class _Member(NamedTuple):
    path: Path
    name: str
    offset: int
    size: int


class TarShardSource(ShardSource):
    """Views in tar files; opened and read by position, never unpacked."""

    form = "webdataset"

    def _index(self, path: Path) -> Iterator[StoredView]:
        images: dict[str, dict[str, _Member]] = {}
        told: dict[str, dict[str, Any]] = {}
        for member in _members(path):
            folder, slash, file = member.name.rpartition("/")
            stem, _, extension = file.partition(".")
            key = folder + slash + stem
            if extension == "json":
                told[key] = _views(_read(member), f"{path}!{member.name}")
            elif is_image_name(extension) and "." in extension:
                images.setdefault(key, {})[extension.rpartition(".")[0]] = member
        for key, views in images.items():
            for view, member in views.items():
                line = told.get(key, {}).get(view, {})
                where = f"{path}!{member.name}"
                yield stored_view(key, view, line if isinstance(line, dict) else {}, member, where)

    def _read(self, file: StoredView) -> ViewImage:
        return decode_image(_read(file.place), self._locate(file))

    def _locate(self, file: StoredView) -> str:
        return f"{file.place.path}!{file.place.name}"


def _members(path: Path) -> Iterator[_Member]:
    seen = set()
    try:
        # Without compression, so that members can be read by position, and none is larger than the file.
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                problem = unsafe_name(entry.name)
                if problem is None and not (entry.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not entry.issparse()):
                    problem = "is no ordinary file"
                if problem is None and entry.name in seen:
                    problem = "is there twice"
                if problem is None and entry.size > READ_LIMIT:
                    problem = f"has more than the limit of {READ_LIMIT} bytes"
                if problem is not None:
                    raise InputError(f"{path}!{entry.name}: {problem}; such archives are refused")
                seen.add(entry.name)
                yield _Member(path, entry.name, entry.offset_data, entry.size)
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a readable tar file ({error}); generate or fetch it again") from error


def _read(member: _Member) -> bytes:
    try:
        with open(member.path, "rb") as file:
            file.seek(member.offset)
            data = file.read(member.size)
    except OSError as error:
        raise UnreadableImage(f"{member.path}!{member.name}", f"cannot be read ({error.strerror})") from error
    if len(data) < member.size:
        raise UnreadableImage(f"{member.path}!{member.name}", "the tar file ends within it")
    return data


def _views(data: bytes, where: str) -> dict[str, Any]:
    try:
        views = json.loads(data)["views"]
        return dict(views)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{where}: not the JSON of a sample") from None
