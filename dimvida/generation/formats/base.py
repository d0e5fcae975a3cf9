"""What the writer of a shard does, whatever form it writes.

A shard is written under temporary names, forced to disk and renamed by ``commit``; the caller then writes its stats
file. A run that is killed before leaves nothing that looks finished, and whoever repeats the shard clears it away.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from dimvida.errors import thread_errors
from dimvida.files import atomic_path, fsync_folder, sha256_file
from dimvida.generation.formats.columns import SUFFIX_OF_FORMAT, TypedColumn
from dimvida.generation.stats import StoredFile
from dimvida.generation.storage import Place, RemotePath

json_text = json.JSONEncoder(ensure_ascii=False).encode
"""JSON of anything, as text; of a string much faster than ``json.dumps``, which would make an encoder each time."""


_WORTH_A_THREAD = 1 << 16  # bytes
_SOURCE = re.compile(rb'"source": ("(?:[^"\\]|\\.)*")')  # in JSON, where quotes within texts are escaped


def about(sources: Collection[str] | None) -> Callable[[bytes], bool]:
    """Whether metadata, as they are written, are about one of some sources: without parsing them. None: about any."""
    if sources is None:
        return lambda text: True
    written = {json_text(source).encode() for source in sources}
    return lambda text: (found := _SOURCE.search(text)) is not None and found[1] in written


class Picture(NamedTuple):
    """A picture of one view.

    Attributes:
        view: The view that it shows.
        data: Its image file, or its pixels in C order for a form of arrays.
        sha256: SHA-256 of ``data``, as 64 hexadecimal digits.
        line: What the metadata say about it, as the fields of a JSON object without its braces. The form adds where it
            is.
    """

    view: str
    data: bytes | np.ndarray
    sha256: str
    line: str


class Sample(NamedTuple):
    """The pictures of one row of the plan.

    Attributes:
        key: ``<class>/<name>``, safe as a relative path, unique in the plan.
        label: The class's place among the input's classes, or None.
        pictures: Of each view that is written, in the model's order.
        unwritten: What the metadata say about the model's other views, where the form has ``every_view``: view, line.
    """

    key: str
    label: int | None
    pictures: Sequence[Picture]
    unwritten: Sequence[tuple[str, str]] = ()


class LaidOut(NamedTuple):
    """Some samples as they are written.

    Attributes:
        content: Lines about pictures, a piece of the shard's file, or rows of a table.
        files: Image files of their own.
    """

    content: Any
    files: Sequence[StoredFile] = ()


class ShardWriter(ABC):
    """Writes the samples of one shard, in order. Made in one thread, it may be used in others.

    Args:
        folder: The output folder.
        stem: Name of the shard.
        shape: [H, W, C] of every picture.
        configuration: That of the output.
        expected: Pictures that there will be if all inputs can be read.
    """

    takes_urls = True
    """Whether the folder may be behind a URL."""

    arrays = False
    """Whether pictures are pixels instead of image files."""

    every_view = False
    """Whether the metadata speak of views that are not written, too."""

    without_null = False
    """Whether metadata have "" or -1 in place of null, so that each field has the same type everywhere."""

    joined_lines = False
    """Whether the lines of all shards, put together, are in ``metadata.jsonl``."""

    numbered_classes = False
    """Whether a class's number is written, so that all classes of the input belong to the configuration."""

    plain_keys = False
    """Whether keys, and what follows them, must have no dots and views no upper case."""

    package: str | None = None
    """A package that the form needs, which may not be installed."""

    typed_by_configuration = True
    """Whether Hugging Face's loader of the form takes the types of columns from a card's ``configs``."""

    loading: tuple[str, ...] = ("from datasets import load_dataset", "", 'load_dataset("FOLDER", split="train")')
    """Lines of Python that read an output, for its card."""

    def __init__(
        self,
        folder: Place,
        stem: str,
        shape: tuple[int, int, int],
        configuration: Mapping[str, Any],
        expected: int,
    ) -> None:
        self.folder, self.stem, self.shape, self.expected = folder, stem, shape, expected
        self.suffix = SUFFIX_OF_FORMAT.get(configuration["image_format"], "")  # of image files, with the dot
        self.begin(configuration)

    @abstractmethod
    def begin(self, configuration: Mapping[str, Any]) -> None:
        """Make ready to write."""

    @abstractmethod
    def lay_out(self, samples: Sequence[Sample], first: int) -> LaidOut:
        """Some samples as they are to be written; ``first`` is the number of their first picture in the shard.

        From any thread, for several parts at once.
        """

    @abstractmethod
    def add(self, pictures: np.ndarray, parts: Iterable[LaidOut]) -> None:
        """Write a batch, uint8 [N, H, W, C], of which these are the parts in order, once they are laid out."""

    @abstractmethod
    def commit(self) -> list[StoredFile]:
        """Force everything to disk, give it its names, and say what there is; while the next shard is written."""

    @abstractmethod
    def abort(self) -> None:
        """Leave the shard unfinished; what is temporary goes."""

    @classmethod
    def lines(cls, folder: Place, stem: str, sources: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        """What the metadata of a finished shard say about its pictures, or about those made of some sources."""
        path = folder / f"{stem}.jsonl"
        if path.exists():  # a shard of unreadable inputs has none
            with path.open("rb") as file:
                yield from map(json.loads, filter(about(sources), file))

    @classmethod
    @abstractmethod
    def pixels(cls, folder: Place, stem: str, lines: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        """The pictures, uint8 [H, W, C] each, that some lines of a finished shard are about.

        Raises:
            UnreadableImage: One of them is damaged.
        """

    @classmethod
    @abstractmethod
    def columns(cls, configuration: Mapping[str, Any]) -> list[TypedColumn]:
        """What Hugging Face ``datasets`` reads of an output of this configuration."""

    @classmethod
    @abstractmethod
    def data_files(cls, configuration: Mapping[str, Any]) -> list[str]:
        """The files that it reads it from, as patterns."""

    @classmethod
    @abstractmethod
    def remove(cls, folder: Place, stem: str) -> None:
        """Remove all files of a shard, finished or not; never another file."""


class SingleFileWriter(ShardWriter):
    """Writes the pictures of a shard into one file; what it is called ends with ``ending``."""

    ending: str

    def begin(self, configuration: Mapping[str, Any]) -> None:
        if isinstance(self.folder, RemotePath):  # whoever is killed leaves nothing where there is no name
            self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - until commit or abort
            self._temporary = Path(f"/dev/fd/{self._file.fileno()}")
        else:
            self._temporary = self._temporary_path(self.folder, self.stem)
            self._temporary.unlink(missing_ok=True)  # of a killed process, or a link
            self._file = open(self._temporary, "xb")  # noqa: SIM115 - until commit or abort
        self._digest = hashlib.sha256()
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="dimvida-hash")
        self._hashed: Future[None] | None = None

    def put(self, data: bytes | memoryview) -> None:
        """Write something behind what there is, and hash it meanwhile, at the latest before the next is written.

        Args:
            data: Bytes that stay as they are.
        """
        if self._hashed is not None:
            self._hashed.result()
            self._hashed = None
        if len(data) < _WORTH_A_THREAD:
            self._digest.update(data)
        else:
            with thread_errors():
                self._hashed = self._hashing.submit(self._digest.update, data)
        self._file.write(data)

    def replace_start(self, data: bytes) -> None:
        """Write something over the beginning; the file has to be read again to know its hash."""
        self._file.seek(0)
        self._file.write(data)
        self._file.flush()
        self._digest = None

    def store(self) -> StoredFile:
        """Force the file to disk and give it its name, which is not yet forced there; or put it behind its URL."""
        self._hashing.shutdown()
        self._file.flush()
        path = self.folder / f"{self.stem}{self.ending}"
        self._file.seek(0)
        sha256 = sha256_file(self._temporary) if self._digest is None else self._digest.hexdigest()
        stored = StoredFile(path.name, self._temporary.stat().st_size, sha256)
        if isinstance(path, RemotePath):
            self._file.seek(0)
            path.put(self._temporary)
            self._file.close()
            return stored
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, path)
        return stored

    def settle(self) -> None:
        """Force the names of a folder to disk."""
        if isinstance(self.folder, Path):
            fsync_folder(self.folder)

    def abort(self) -> None:
        self._hashing.shutdown()
        with suppress(OSError):  # what is still buffered may not fit on the disk
            self._file.close()
        if isinstance(self.folder, Path):
            self._temporary.unlink(missing_ok=True)

    @classmethod
    def data_files(cls, configuration: Mapping[str, Any]) -> list[str]:
        return [f"shard-*{cls.ending}"]

    @classmethod
    def remove(cls, folder: Place, stem: str) -> None:
        for path in (folder / f"{stem}{cls.ending}", cls._temporary_path(folder, stem)):
            path.unlink(missing_ok=True)

    @classmethod
    def _temporary_path(cls, folder: Place, stem: str) -> Place:
        return folder / f".{stem}{cls.ending}.part"


def store_lines(path: Place, parts: Iterable[bytes]) -> StoredFile:
    """Write lines, durably, and say what there is."""
    if isinstance(path, RemotePath):
        data = b"".join(parts)
        path.write_bytes(data)
        return StoredFile(path.name, len(data), hashlib.sha256(data).hexdigest())
    digest, size = hashlib.sha256(), 0
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part)
            digest.update(part)
            size += len(part)
    return StoredFile(path.name, size, digest.hexdigest())
