"""``shard-000012.tar``: all views of a source under one key, as the ``webdataset`` package reads it.

    chair/IMG_0001.front.png, chair/IMG_0001.left.png, ...    the views
    chair/IMG_0001.json                                       what the metadata say about each view of the model
    chair/IMG_0001.cls                                        the class's number, where there is a class

A key has no dots, since the reader takes the first one as the end of the key. All JSON files have the same fields of
the same types, since readers of columns take both from the first few: in place of null there is "" or -1, and the views
that are not written are there with an empty file name.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from dimvida.data.images import decode_image
from dimvida.generation.formats.base import LaidOut, Sample, SingleFileWriter, about, json_text
from dimvida.generation.formats.columns import SUFFIX_OF_FORMAT, TypedColumn, line_columns
from dimvida.generation.stats import StoredFile
from dimvida.generation.storage import Place, local_file


class WebDatasetWriter(SingleFileWriter):
    """Writes a tar file whose headers hold names and sizes only: the same pictures give the same bytes."""

    every_view = without_null = numbered_classes = plain_keys = True
    ending = ".tar"
    typed_by_configuration = False

    def lay_out(self, samples: Sequence[Sample], first: int) -> LaidOut:
        pieces: list[bytes] = []
        for key, label, pictures, unwritten in samples:
            views = {view: f'"file_name": "", {line}' for view, line in unwritten}
            for view, data, _, line in pictures:
                name = f"{key}.{view}{self.suffix}"
                pieces += _member(name, data)
                views[view] = f'"file_name": {json_text(name)}, {line}'
            told = ", ".join(f"{json_text(view)}: {{{views[view]}}}" for view in sorted(views))
            pieces += _member(f"{key}.json", f'{{"key": {json_text(key)}, "views": {{{told}}}}}'.encode())
            if label is not None:
                pieces += _member(f"{key}.cls", str(label).encode())
        return LaidOut(b"".join(pieces))

    def add(self, pictures: np.ndarray, parts: Iterable[LaidOut]) -> None:
        for part in parts:
            self.put(part.content)

    def commit(self) -> list[StoredFile]:
        self.put(bytes(2 * tarfile.BLOCKSIZE))
        stored = self.store()
        self.settle()
        return [stored]

    @classmethod
    def lines(cls, folder: Place, stem: str, sources: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        path, wanted = folder / f"{stem}.tar", about(sources)
        if not path.exists():  # a shard of unreadable inputs has none
            return
        places: dict[str, tuple[int, int]] = {}
        with local_file(path) as name, open(name, "rb") as file:
            for member, start, size in members(file):
                places[member] = start, size
                if member.endswith(".json"):
                    file.seek(start)
                    if wanted(text := file.read(size)):
                        views = json.loads(text)["views"].values()
                        yield from ({**line, "place": places[line["file_name"]]} for line in views if line["file_name"])

    @classmethod
    def pixels(cls, folder: Place, stem: str, lines: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        path = folder / f"{stem}.tar"
        with local_file(path) as name, open(name, "rb") as file:
            pictures = []
            for line in lines:
                start, size = line["place"]
                file.seek(start)
                pictures.append(decode_image(file.read(size), f"{path}:{line['file_name']}").pixels)
            return pictures

    @classmethod
    def columns(cls, configuration: Mapping[str, Any]) -> list[TypedColumn]:
        suffix = SUFFIX_OF_FORMAT[configuration["image_format"]]
        views = sorted(configuration["view_names"])
        line = [TypedColumn("file_name", "string"), *line_columns({**configuration, "classes": ()})]
        told = [
            TypedColumn("key", "string"),
            TypedColumn("views", "struct", [TypedColumn(view, "struct", line) for view in views]),
        ]
        return [
            TypedColumn("__key__", "string"),
            TypedColumn("__url__", "string"),
            *(TypedColumn(f"{view}{suffix}", "image") for view in configuration["view_names"]),
            *([TypedColumn("cls", "class", configuration["classes"])] if configuration["classes"] else []),
            TypedColumn("json", "struct", told),
        ]


def _member(name: str, data: bytes) -> tuple[bytes, bytes, bytes]:
    """A member of a tar file: header, content and padding."""
    return header(name, len(data)), data, bytes(-len(data) % tarfile.BLOCKSIZE)


_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)  # fields of a header (POSIX ustar)
_BLANK = tarfile.TarInfo().tobuf(tarfile.PAX_FORMAT)
_BETWEEN = _BLANK[_NAME.stop : _SIZE.start], _BLANK[_SIZE.stop : _CHECKSUM.start], _BLANK[_CHECKSUM.stop :]
_SUM = sum(map(sum, _BETWEEN)) + 8 * ord(" ")  # of a header's bytes, its checksum taken for blanks


def header(name: str, size: int) -> bytes:
    """The header of a member, as ``tarfile`` makes it but ten times as fast; its own time stamps are zero."""
    if len(name) > _NAME.stop or not name.isascii() or size >= 8**11:  # what needs an extended header
        entry = tarfile.TarInfo(name)
        entry.size = size
        return entry.tobuf(tarfile.PAX_FORMAT)
    encoded, digits = name.encode(), b"%011o\0" % size
    checksum = b"%06o\0 " % (_SUM + sum(encoded) + sum(digits))
    return b"".join((encoded.ljust(100, b"\0"), _BETWEEN[0], digits, _BETWEEN[1], checksum, _BETWEEN[2]))


def members(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Name, place and size of each file in an archive: as ``tarfile`` says, but ten times as fast for plain headers.

    Raises:
        tarfile.TarError: It is damaged or cut off.
    """
    start = 0
    while True:
        file.seek(start)
        head = file.read(tarfile.BLOCKSIZE)
        if len(head) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("unexpected end of data")
        try:
            name, size = head[_NAME].rstrip(b"\0").decode("ascii"), int(head[_SIZE].rstrip(b"\0"), 8)
        except ValueError:
            break
        if head != header(name, size):
            break
        start += tarfile.BLOCKSIZE
        yield name, start, size
        start += size + -size % tarfile.BLOCKSIZE
    file.seek(start)  # an extended header, or the end, or damage
    if start == 0 or head != bytes(tarfile.BLOCKSIZE):
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for entry in archive:
                yield entry.name, entry.offset_data, entry.size


WRITER = WebDatasetWriter
