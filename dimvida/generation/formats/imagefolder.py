"""``<class>/<source>__<view>.png``, and a line for each in ``shard-000012.jsonl``.

The pictures are collected in a hidden folder beside the classes. The lines are in place before the first picture is,
so that every file that a generator ever gave a name is on record.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dimvida.data.images import decode_image
from dimvida.data.names import unsafe_name
from dimvida.files import fsync_folder
from dimvida.generation.formats.base import LaidOut, Sample, ShardWriter, json_text, store_lines
from dimvida.generation.formats.columns import SUFFIX_OF_FORMAT, TypedColumn, line_columns
from dimvida.generation.stats import StoredFile

FORCED = 512
"""Pictures that are forced to disk at once, while others are made."""


class ImageFolderWriter(ShardWriter):
    """Writes image files, in whichever thread lays them out: most of it is making files, which threads do at once."""

    takes_urls = False
    joined_lines = True

    def begin(self, configuration: Mapping[str, Any]) -> None:
        self._staging = _staging(self.folder, self.stem)
        shutil.rmtree(self._staging, ignore_errors=True)
        self._staging.mkdir()
        self._files: list[StoredFile] = []
        self._on_disk = 0
        self._lines: list[bytes] = []

    def lay_out(self, samples: Sequence[Sample], first: int) -> LaidOut:
        staging = f"{self._staging}/"
        lines, files = [], []
        for sample in samples:
            for picture in sample.pictures:
                name = f"{sample.key}__{picture.view}{self.suffix}"
                _write(f"{staging}{first + len(files)}", picture.data)
                files.append(StoredFile(name, len(picture.data), picture.sha256))
                lines.append(f'{{"file_name": {json_text(name)}, {picture.line}}}\n')
        return LaidOut("".join(lines).encode(), files)

    def add(self, pictures: np.ndarray, parts: Iterable[LaidOut]) -> None:
        for part in parts:
            self._lines.append(part.content)
            self._files += part.files
        if len(self._files) - self._on_disk >= FORCED:
            self._force()

    def _force(self) -> None:
        sync_file_system(self._staging)
        self._on_disk = len(self._files)

    def commit(self) -> list[StoredFile]:
        if self._on_disk < len(self._files):
            self._force()
        written = {file.name for file in self._files}
        for name in files_on_record(_lines(self.folder, self.stem)):
            if name not in written:  # an input that could be read then, and cannot now
                (self.folder / name).unlink(missing_ok=True)
        lines = store_lines(_lines(self.folder, self.stem), self._lines)
        folders = [self.folder / name for name in sorted({name.rpartition("/")[0] for name in written})]
        for folder in folders:
            folder.mkdir(exist_ok=True)
        self._rename()
        for folder in [*folders, self.folder]:  # the names; the pictures of the next shard need not be there, too
            fsync_folder(folder)
        self._staging.rmdir()
        return [*self._files, lines]

    def _rename(self) -> None:
        """Give each picture its name."""
        with _opened(self._staging) as staging, _opened(self.folder) as target:  # a quarter faster than by whole paths
            for number, file in enumerate(self._files):
                try:
                    os.replace(str(number), file.name, src_dir_fd=staging, dst_dir_fd=target)
                except OSError as error:  # which names the picture by its number
                    raise OSError(error.errno, error.strerror, str(self.folder / file.name)) from error

    def abort(self) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)

    @classmethod
    def pixels(cls, folder: Path, stem: str, lines: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        names = [line["file_name"] for line in lines]
        return [decode_image((folder / name).read_bytes(), f"{folder / name}").pixels for name in names]

    @classmethod
    def columns(cls, configuration: Mapping[str, Any]) -> list[TypedColumn]:
        return [TypedColumn("image", "image"), *line_columns(configuration)]

    @classmethod
    def data_files(cls, configuration: Mapping[str, Any]) -> list[str]:
        suffix = SUFFIX_OF_FORMAT[configuration["image_format"]]
        special = [f"__*/*{suffix}"] if any(name.startswith("__") for name in configuration["classes"]) else []
        return ["metadata.jsonl", f"*/*{suffix}", *special]  # which are passed over unless they are asked for

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


def sync_file_system(folder: Path) -> None:
    """Force everything that was written to the folder's file system to disk.

    For thousands of small files one call takes less than forcing each of them.
    """
    with _opened(folder) as handle:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A folder's file descriptor."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _lines(folder: Path, stem: str) -> Path:
    return folder / f"{stem}.jsonl"


def _staging(folder: Path, stem: str) -> Path:
    return folder / f".{stem}.part"


def _write(path: str, data: bytes) -> None:
    """A new file, with as few calls of the system as it takes."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        written = os.write(handle, data)
        while written < len(data):
            written += os.write(handle, data[written:])
    finally:
        os.close(handle)


WRITER = ImageFolderWriter
