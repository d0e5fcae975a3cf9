"""Reads views out of the NMR set's ``<synset>_<split>_images.npz`` files, which may be larger than memory."""

from __future__ import annotations

import math
import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from dimvida.data.tree import open_file
from dimvida.errors import InputError

VIEW_COUNT = 24
_MOST_PACKED = 1032  # bytes that one byte of deflate can stand for


class ArrayCache:
    """The chosen views of the arrays used last.

    Safe for threads; a copy for another process starts empty.
    """

    # The default four views of all 13 classes and splits, so that shuffled reading unpacks each once.
    limit = 3 * 2**30

    def __init__(self, views: Sequence[int]) -> None:
        self._views = tuple(views)
        self._loaded: dict[Path, np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, path: Path) -> np.ndarray:
        """The chosen views as stored: uint8 ``[N, V, 4, H, W]``, RGBA."""
        with self._lock:
            array = self._loaded.pop(path, None)
            if array is None:
                array = load_views(path, self._views)
                self._make_room(array.nbytes)
            self._loaded[path] = array  # last in the order, so the first is the one not used for longest
            return array

    def _make_room(self, size: int) -> None:
        while self._loaded and size + sum(array.nbytes for array in self._loaded.values()) > self.limit:
            del self._loaded[next(iter(self._loaded))]

    def __getstate__(self) -> tuple[int, ...]:
        return self._views

    def __setstate__(self, views: tuple[int, ...]) -> None:
        self.__init__(views)


def object_count(path: Path) -> int:
    """N of the first array ``[N, 24, 4, H, W]`` of an npz file; only its header is read.

    Raises:
        InputError: Damaged, or another kind of array.
    """
    with _first_array(path) as (file, size):
        return _read_shape(file, size)[0]


def load_views(path: Path, views: Sequence[int]) -> np.ndarray:
    """The chosen views of a whole array: uint8 ``[N, V, 4, H, W]``.

    Read object by object, because the largest files hold more than 2 GB of pixels, of which the
    default views are a sixth. No pickle is ever read: the type in the header must be uint8.

    Raises:
        InputError: Damaged, or another kind of array.
    """
    with _first_array(path) as (file, size):
        shape = _read_shape(file, size)
        chosen = np.empty((shape[0], len(views), *shape[2:]), np.uint8)
        for row in chosen:
            block = np.frombuffer(file.read(math.prod(shape[1:])), np.uint8)
            row[:] = block.reshape(shape[1:])[list(views)]
        return chosen


@contextmanager
def _first_array(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """The first member of an npz file and its size; what damage raises becomes one InputError."""
    damage = (
        *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, LookupError, RuntimeError),
        OverflowError,
    )
    try:
        with open_file(path) as stored, zipfile.ZipFile(stored) as archive:
            member = archive.infolist()[0]
            # No zip file unpacks to more; memory is asked for by what the array's header and this size say.
            if member.file_size > _MOST_PACKED * os.fstat(stored.fileno()).st_size:
                raise ValueError("the array is shorter than its header says")
            with archive.open(member) as file:
                yield file, member.file_size
    except damage as error:
        raise InputError(f"{path}: not a readable NMR image array ({error}); fetch it again") from error


def _read_shape(file: IO[bytes], size: int) -> tuple[int, int, int, int, int]:
    version = np.lib.format.read_magic(file)
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers[version](file)
    if dtype != np.uint8 or fortran or len(shape) != 5 or shape[1:3] != (VIEW_COUNT, 4) or min(shape[3:]) < 1:
        raise ValueError(f"its first array is {dtype} {list(shape)}, not uint8 [N, {VIEW_COUNT}, 4, H, W]")
    # A header that promises more than is there must not make us allocate it.
    if math.prod(shape) > size:
        raise ValueError("the array is shorter than its header says")
    return shape
