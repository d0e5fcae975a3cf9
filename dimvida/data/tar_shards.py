"""WebDataset shards: ``shard-000012.tar`` with ``<key>.<view>.png`` and ``<key>.json``.

Only images and JSON are ever looked at: members of any other kind, pickles for one, are passed over and counted.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dimvida.data.images import decode_image, is_image_name
from dimvida.data.shards import ShardSource, StoredView, is_text, stored_view
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
            where = f"{path}!{member.name}"
            folder, slash, file = member.name.rpartition("/")
            stem, _, extension = file.partition(".")
            key = folder + slash + stem
            if extension == "json":
                told[key] = _views(_read(member), where)
            elif is_image_name(extension) and "." in extension:
                view = extension.rpartition(".")[0]
                if images.setdefault(key, {}).setdefault(view, member) is not member:
                    raise InputError(f"{where}: view {view!r} of {key} is there twice")
            elif is_image_name(member.name):
                self._pass_over("picture", "without a view in the name (<key>.<view>.png)", where)
            elif extension != "cls":  # the number of a class, for other programs
                self._pass_over("other member", "neither picture nor JSON", where)
        for key, views in images.items():
            for view, member in views.items():
                line = told.get(key, {}).get(view, {})
                where = f"{path}!{member.name}"
                yield stored_view(key, view, line if isinstance(line, dict) else {}, member, where)

    def _read(self, file: StoredView) -> ViewImage:
        return decode_image(_read(file.place), self._locate(file))

    def _locate(self, file: StoredView) -> str:
        return f"{file.place.path}!{file.place.name}"


class _BoundedFile(io.BufferedReader):
    """A file that is never asked for more than it has: a damaged header may name any size."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._length = self.seek(0, io.SEEK_END)
        self.seek(0)

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._length - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def _members(path: Path) -> Iterator[_Member]:
    seen = set()
    try:
        # Without compression, so that members can be read by position, and none is larger than the file.
        with _BoundedFile(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                if _is_no_file(entry):
                    continue
                problem = _problem(entry)
                if problem is None and entry.name in seen:
                    problem = "is there twice"
                if problem is not None:
                    raise InputError(f"{path}!{_shown(entry.name)}: {problem}; such archives are refused")
                seen.add(entry.name)
                yield _Member(path, entry.name, entry.offset_data, entry.size)
            # The module takes a damaged header for the end; what follows would be lost without a word.
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"damaged or cut off at byte {archive.offset}")
    except (InputError, MemoryError):
        raise
    except Exception as error:  # a damaged header raises almost anything
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: not a readable tar file ({reason}); generate or fetch it again") from error


def _is_no_file(entry: tarfile.TarInfo) -> bool:
    """Whether an entry is a folder, or a hidden file such as those that macOS packs along (``._a.png``)."""
    parts = [part for part in entry.name.split("/") if part not in ("", ".", "..")]
    return entry.isdir() or any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _problem(entry: tarfile.TarInfo) -> str | None:
    reason = unsafe_name(entry.name)
    if reason is not None:
        return reason
    if not is_text(entry.name):
        return "has a name that is not UTF-8"
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
        return "is no ordinary file"
    if not 0 <= entry.size <= READ_LIMIT:
        return f"has {entry.size} bytes, and the limit is {READ_LIMIT}"
    return None


def _shown(name: str) -> str:
    return name if is_text(name) else ascii(name)


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
