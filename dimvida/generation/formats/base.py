"""What the writer of a shard does, whatever form it writes.

A shard is written under temporary names, forced to disk and renamed by ``commit``; the caller then writes its stats
file. A run that is killed before leaves nothing that looks finished, and whoever repeats the shard clears it away.
"""

from __future__ import annotations

import ctypes
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dimvida.files import sha256_file
from dimvida.generation.stats import StoredFile


@dataclass(frozen=True, slots=True)
class Sample:
    """The pictures of one row of the plan.

    Attributes:
        key: ``<class>/<name>``, safe as a relative path, unique in the plan.
        label: The class's place among the input's classes, or None.
        pictures: The image file of each view that is written, in the model's order, or its pixels in C order for a form
            of arrays; and what the metadata say about it, to which the form adds where it is.
        unwritten: What the metadata say about the model's other views, where the form has ``every_view``.
    """

    key: str
    label: int | None
    pictures: Sequence[tuple[bytes, dict[str, Any]]]
    unwritten: Sequence[dict[str, Any]] = ()


class ShardWriter(ABC):
    """Writes the samples of one shard, in order.

    Args:
        folder: The output folder.
        stem: Name of the shard.
        shape: [H, W, C] of every picture.
        suffix: Suffix of image files, with the dot.
    """

    arrays = False
    """Whether pictures are pixels instead of image files."""

    every_view = False
    """Whether the metadata speak of views that are not written, too."""

    joined_lines = False
    """Whether the lines of all shards, put together, are in ``metadata.jsonl``."""

    numbered_classes = False
    """Whether a class's number is written, so that all classes of the input belong to the configuration."""

    plain_keys = False
    """Whether keys, and what follows them, must have no dots and views no upper case."""

    def __init__(self, folder: Path, stem: str, shape: tuple[int, int, int], suffix: str) -> None:
        self.folder, self.stem, self.shape, self.suffix = folder, stem, shape, suffix

    @abstractmethod
    def add(self, sample: Sample) -> None:
        """Write one sample."""

    @abstractmethod
    def commit(self) -> list[StoredFile]:
        """Force everything to disk, give it its names, and say what there is."""

    @abstractmethod
    def abort(self) -> None:
        """Leave the shard unfinished; what is temporary goes."""

    @classmethod
    def lines(cls, folder: Path, stem: str) -> Iterator[dict[str, Any]]:
        """What the metadata of a finished shard say about its pictures."""
        path = folder / f"{stem}.jsonl"
        if path.exists():  # a shard of unreadable inputs has none
            with open(path, "rb") as file:
                yield from map(json.loads, file)

    @classmethod
    @abstractmethod
    def remove(cls, folder: Path, stem: str) -> None:
        """Remove all files of a shard, finished or not; never another file."""


class SingleFileWriter(ShardWriter):
    """Writes the pictures of a shard into one file; what it is called ends with ``ending``."""

    ending: str

    def __init__(self, folder: Path, stem: str, shape: tuple[int, int, int], suffix: str) -> None:
        super().__init__(folder, stem, shape, suffix)
        self._temporary = self._temporary_path(folder, stem)
        self._temporary.unlink(missing_ok=True)  # of a killed process, or a link
        self._file: IO[bytes] = open(self._temporary, "xb")  # noqa: SIM115 - until commit or abort

    def store(self) -> StoredFile:
        """Force the file to disk and give it its name, which is not yet forced there."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        path = self.folder / f"{self.stem}{self.ending}"
        stored = StoredFile(path.name, self._temporary.stat().st_size, sha256_file(self._temporary))
        os.replace(self._temporary, path)
        return stored

    def abort(self) -> None:
        with suppress(OSError):  # what is still buffered may not fit on the disk
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @classmethod
    def remove(cls, folder: Path, stem: str) -> None:
        for path in (folder / f"{stem}{cls.ending}", cls._temporary_path(folder, stem)):
            path.unlink(missing_ok=True)

    @classmethod
    def _temporary_path(cls, folder: Path, stem: str) -> Path:
        return folder / f".{stem}{cls.ending}.part"


def json_line(fields: dict[str, Any]) -> bytes:
    """One line of JSON, UTF-8."""
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def sync_file_system(folder: Path) -> None:
    """Force everything that was written to the folder's file system to disk.

    For thousands of small files one call takes less than forcing each of them.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)
