"""The SoftRas form of the NMR renderings: ``<synset>_{train,val,test}_images.npz``, which may be larger than memory.

The first array of each is uint8 ``[N, 24, 4, H, W]``, RGBA. With it is what both forms share: classes and views.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from posixpath import basename
from typing import IO, Any

import numpy as np

from dimvida.data.cameras import Camera
from dimvida.data.conversion import composite_on_white
from dimvida.data.folder_tree import open_file
from dimvida.data.names import CANONICAL_VIEWS, check_split, object_id
from dimvida.data.source import MultiViewSource, ObjectRecord, RecentArrays, ViewImage
from dimvida.data.survey import Survey, tell
from dimvida.data.tree import FileTree
from dimvida.errors import InputError

SYNSETS = {
    "02691156": "airplane",
    "02828884": "bench",
    "02933112": "cabinet",
    "02958343": "car",
    "03001627": "chair",
    "03211117": "display",
    "03636649": "lamp",
    "03691459": "loudspeaker",
    "04090263": "rifle",
    "04256520": "sofa",
    "04379243": "table",
    "04401088": "telephone",
    "04530566": "watercraft",
}

VIEW_COUNT = 24
DEFAULT_VIEWS = (0, 6, 12, 18)
MEMORY = 3 * 2**30
"""Bytes for arrays: the default four views of all 13 classes and splits, so that shuffled reading unpacks each once."""

_ARRAY_NAME = re.compile(r"(\d{8})_(train|val|test)_images\.npz")
_MOST_PACKED = 1032  # bytes that one byte of deflate can stand for


def class_of(synset: str) -> str:
    """The class of a synset of the set; another synset is its own class."""
    return SYNSETS.get(synset, synset)


def nmr_view_names(views: Sequence[int]) -> tuple[str, ...]:
    """Names of chosen views: front, right, back, left for 0, 6, 12, 18; others have those of their files, ``0001`` ...

    Raises:
        InputError: Fewer than two views, a repeated one, or one outside 0..23.
    """
    views = tuple(views)
    if len(views) < 2 or len(set(views)) < len(views) or not all(0 <= view < VIEW_COUNT for view in views):
        chosen = ", ".join(map(str, views)) or "none"
        raise InputError(f"NMR views {chosen}: choose two or more different ones of 0 to {VIEW_COUNT - 1}")
    named = dict(zip(DEFAULT_VIEWS, CANONICAL_VIEWS, strict=True))
    return tuple(named.get(view, f"{view:04d}") for view in views)


def parse_nmr_views(text: str | None) -> tuple[int, ...] | None:
    """``all``, or ``front,0001,2`` as numbers of views; None stays None.

    Raises:
        InputError: As ``nmr_view_names``, or one of them is neither a number nor the name of one.
    """
    if text is None:
        return None
    named = dict(zip(CANONICAL_VIEWS, DEFAULT_VIEWS, strict=True))
    parts = list(map(str, range(VIEW_COUNT))) if text == "all" else [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in named and not re.fullmatch("[0-9]{1,4}", part):
            raise InputError(
                f"--nmr-views {text}: give all, or views separated by commas: 0 to {VIEW_COUNT - 1}, or "
                + ", ".join(CANONICAL_VIEWS)
            )
    views = tuple(named[part] if part in named else int(part) for part in parts)
    nmr_view_names(views)
    return views


def nmr_cameras(views: Sequence[int]) -> dict[str, Camera]:
    """The cameras of chosen views, by their names: view i has azimuth -15 i, elevation 30."""
    return {name: Camera(-15.0 * view, 30.0) for name, view in zip(nmr_view_names(views), views, strict=True)}


def softras_arrays(tree: FileTree, root: str) -> dict[str, tuple[str, str]]:
    """``file -> (synset, split)`` of the SoftRas form in ``root``; empty if there is none."""
    matches = [(_ARRAY_NAME.fullmatch(basename(name)), name) for name in tree.children(root)[1]]
    return {name: (match[1], match[2]) for match, name in matches if match}


class NmrSoftRasSource(MultiViewSource):
    """The SoftRas form. Objects have no ids there; their place in the array is their name."""

    def __init__(
        self,
        tree: FileTree,
        root: str,
        arrays: Mapping[str, tuple[str, str]],
        *,
        split: str | None = None,
        views: Sequence[int] = DEFAULT_VIEWS,
    ) -> None:
        """Index ``arrays``, which lie directly in ``root``; only their headers are read.

        Raises:
            InputError: No such split, a bad choice of views, or a file that is no NMR array.
        """
        names = nmr_view_names(views)
        check_split(tree.path, split, (name for _, name in arrays.values()))

        records, files = [], []
        for file_name, (synset, split_name) in arrays.items():
            if split is not None and split_name != split:
                continue
            class_name = class_of(synset)
            for row in range(object_count(tree.local(file_name))):
                name = f"{row:05d}"
                identity = object_id(split_name, class_name, name)
                records.append(ObjectRecord(identity, name, class_name, split_name, names))
                files.append(tuple((file_name, row, place) for place in range(len(names))))
        classes = [class_of(synset) for synset, _ in arrays.values()]
        super().__init__(tree.path, "nmr-softras", names, classes, records, files)
        self.cameras = nmr_cameras(views)
        self._tell_what_is_beside(tree, root, arrays)
        self._tree, self._views = tree, tuple(views)
        self._arrays = RecentArrays(self._load, most_bytes=MEMORY)

    def _load(self, file_name: str) -> np.ndarray:
        return load_views(self._tree.local(file_name), self._views)

    def _tell_what_is_beside(self, tree: FileTree, root: str, arrays: Mapping[str, Any]) -> None:
        listing, beside = tree.listing(root), Survey()
        broken = [item for item in listing.unusable if _ARRAY_NAME.fullmatch(basename(item[0]))]
        files = tuple(name for name in listing.files if name not in arrays)
        unusable = tuple(item for item in listing.unusable if item not in broken)
        beside.add(tree, listing._replace(files=files, unusable=unusable))
        strays = [(name, "beside the arrays of the NMR set") for name in (*beside.images, *listing.folders)]
        tell(self, tree, [*beside.bad, *broken, *strays], beside.notes())

    def _read(self, file: tuple[str, int, int]) -> ViewImage:
        name, row, place = file
        rgba = self._arrays.get(name)[row, place]  # [4, H, W]
        return ViewImage(composite_on_white(rgba.transpose(1, 2, 0)), hashlib.sha256(rgba).hexdigest())

    def _locate(self, file: tuple[str, int, int]) -> str:
        name, row, place = file
        return f"{self._tree.location(name)}[{row}, view {self._views[place]}]"


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
