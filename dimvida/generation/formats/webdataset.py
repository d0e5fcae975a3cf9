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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dimvida.files import fsync_folder
from dimvida.generation.formats.base import Sample, SingleFileWriter
from dimvida.generation.stats import StoredFile

_NUMBERS = ("seed", "sample_id", "steps")


class WebDatasetWriter(SingleFileWriter):
    """Writes a tar file whose headers hold names and sizes only: the same pictures give the same bytes."""

    every_view = numbered_classes = plain_keys = True
    ending = ".tar"

    def add(self, sample: Sample) -> None:
        key, views = sample.key, {}
        for data, line in sample.pictures:
            name = f"{key}.{line['view']}{self.suffix}"
            self._put(name, data)
            views[line["view"]] = _typed({"file_name": name, **line})
        views |= {line["view"]: _typed({"file_name": "", **line}) for line in sample.unwritten}
        views = {view: views[view] for view in sorted(views)}
        self._put(f"{key}.json", json.dumps({"key": key, "views": views}, ensure_ascii=False).encode())
        if sample.label is not None:
            self._put(f"{key}.cls", str(sample.label).encode())

    def commit(self) -> list[StoredFile]:
        self._file.write(bytes(2 * tarfile.BLOCKSIZE))
        stored = self.store()
        fsync_folder(self.folder)
        return [stored]

    @classmethod
    def lines(cls, folder: Path, stem: str) -> Iterator[dict[str, Any]]:
        path = folder / f"{stem}.tar"
        if not path.exists():  # a shard of unreadable inputs has none
            return
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                if entry.name.endswith(".json"):
                    views = json.load(archive.extractfile(entry))["views"]
                    yield from (line for line in views.values() if line["file_name"])

    def _put(self, name: str, data: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        # Long and non-ASCII names make an extended header; its own time stamps are zero, too.
        self._file.write(entry.tobuf(tarfile.PAX_FORMAT))
        self._file.write(data)
        self._file.write(bytes(-len(data) % tarfile.BLOCKSIZE))


def _typed(line: dict[str, Any]) -> dict[str, Any]:
    """A line without null; what is known of a file that it was not made from is ""."""
    typed = {name: (-1 if name in _NUMBERS else "") if value is None else value for name, value in line.items()}
    if "source_sha256" in line:
        typed["source_sha256"] = {view: sha256 or "" for view, sha256 in line["source_sha256"].items()}
    return typed
