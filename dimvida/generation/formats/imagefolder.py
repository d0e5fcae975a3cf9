"""``<class>/<source>__<view>.png``, and a line for each in ``shard-000012.jsonl``.

The pictures are collected in a hidden folder beside the classes. The lines are in place before the first picture is,
so that every file that a generator ever gave a name is on record.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dimvida.data.names import unsafe_name
from dimvida.files import atomic_write
from dimvida.generation.formats.base import Sample, ShardWriter, json_line, sync_file_system
from dimvida.generation.stats import StoredFile


class ImageFolderWriter(ShardWriter):
    """Writes image files."""

    joined_lines = True

    def __init__(self, folder: Path, stem: str, shape: tuple[int, int, int], suffix: str) -> None:
        super().__init__(folder, stem, shape, suffix)
        self._staging = _staging(folder, stem)
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir()
        self._files: list[StoredFile] = []
        self._lines: list[bytes] = []

    def add(self, sample: Sample) -> None:
        for data, line in sample.pictures:
            name = f"{sample.key}__{line['view']}{self.suffix}"
            (self._staging / str(len(self._files))).write_bytes(data)
            self._files.append(StoredFile(name, len(data), line["sha256"]))
            self._lines.append(json_line({"file_name": name, **line}))

    def commit(self) -> list[StoredFile]:
        sync_file_system(self._staging)
        written = {file.name for file in self._files}
        for name in files_on_record(_lines(self.folder, self.stem)):
            if name not in written:  # an input that could be read then, and cannot now
                (self.folder / name).unlink(missing_ok=True)
        data = b"".join(self._lines)
        atomic_write(_lines(self.folder, self.stem), data)
        folders = {PurePosixPath(file.name).parent for file in self._files}
        for folder in folders:
            (self.folder / folder).mkdir(exist_ok=True)
        for number, file in enumerate(self._files):
            os.replace(self._staging / str(number), self.folder / file.name)
        sync_file_system(self.folder)
        self._staging.rmdir()
        return [*self._files, StoredFile(f"{self.stem}.jsonl", len(data), hashlib.sha256(data).hexdigest())]

    def abort(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)

    @classmethod
    def remove(cls, folder: Path, stem: str) -> None:
        record = _lines(folder, stem)
        folders = set()
        for name in files_on_record(record):
            (folder / name).unlink(missing_ok=True)
            folders.add((folder / name).parent)
        for place in folders:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
        shutil.rmtree(_staging(folder, stem), ignore_errors=True)
        record.unlink(missing_ok=True)


def files_on_record(path: Path) -> Iterator[str]:
    """The pictures that a file of lines names; what no generator can have written is passed over."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            name = json.loads(line)["file_name"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(name, str) and not unsafe_name(name) and name.count("/") == 1:
            yield name


def _lines(folder: Path, stem: str) -> Path:
    return folder / f"{stem}.jsonl"


def _staging(folder: Path, stem: str) -> Path:
    return folder / f".{stem}.part"
