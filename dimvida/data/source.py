"""What every loader gives: records of objects, and their views read one at a time.

A source is an index of a data set. Opening one lists names only; pixels are read by
:meth:`MultiViewSource.read_view` when asked for, so a set may be larger than memory.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from dimvida.data.names import check_split, object_id, order_splits, order_views, split_family
from dimvida.data.packed import packed
from dimvida.errors import InputError

if TYPE_CHECKING:
    from dimvida.data.cameras import Camera

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object of a data set.

    Attributes:
        id: ``<split>/<class>/<name>`` with empty parts left out; unique in its source.
        name: The object's own name.
        class_name: Name of its class, "" if unlabeled.
        split: Name of its split, "" if the set has none.
        views: The views that exist, in the order of the source's ``view_names``.
    """

    id: str
    name: str
    class_name: str
    split: str
    views: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that could not be read."""

    location: str
    reason: str


@dataclass(frozen=True, slots=True)
class ViewImage:
    """One decoded image.

    Attributes:
        pixels: uint8 ``[H, W, 3]``, RGB; ``[H, W, 1]`` once it was made gray.
        sha256: Hex SHA-256 of the bytes as stored.
        note: How the pixels differ from what is stored ("grayscale converted to RGB"), or None.
    """

    pixels: np.ndarray
    sha256: str
    note: str | None = None


class MultiViewSource(ABC):
    """A data set of objects seen from several sides.

    Attributes:
        path: What was opened, a path or a URL.
        form: "folder", "zip", "single-view", "nmr-dvr", "nmr-softras", "webdataset", "npy", "parquet" or "arrow".
        view_names: Every view that occurs, in order.
        classes: Every class that occurs, sorted; the place of a class is its label.
        records: One record for each of the N objects, in order.
        cameras: Where each view is seen from, by its name; None where nobody says so.
        notes: What was found and left out, one line for each reason.
        left_out: Files that may be images and were left out when the source was opened, as those that cannot be
            read are when they are. Commands end with exit code 1 for both.
    """

    def __init__(
        self,
        path: Path | str,
        form: str,
        view_names: Sequence[str],
        classes: Iterable[str],
        records: Sequence[ObjectRecord],
        files: Sequence[tuple[Any, ...]],
        notes: Sequence[str] = (),
    ) -> None:
        """``files[i][j]`` is what the subclass needs to read view ``records[i].views[j]``.

        Raises:
            InputError: Two records have the same id.
        """
        self.path = path
        self.form = form
        self.view_names = tuple(view_names)
        self.classes = tuple(sorted(set(classes) - {""}))
        self.records: Sequence[ObjectRecord] = tuple(records)
        self.cameras: Mapping[str, Camera] | None = None
        self.notes = tuple(notes)
        self.left_out: tuple[BadFile, ...] = ()
        self._files: Sequence[tuple[Any, ...]] = tuple(files)
        self._check_ids()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that occur in ``records``: of training, validation and test first, then the others by name."""
        return order_splits(record.split for record in self.records if record.split)

    def of_split(self, split: str) -> MultiViewSource:
        """The same source restricted to the objects of a split."""
        return self.select(index for index, record in enumerate(self.records) if record.split == split)

    def split_for(self, family: str) -> str | None:
        """The split of a family ("train", "val" or "test"), None if there is none.

        Raises:
            InputError: Several splits are of that family.
        """
        fitting = [name for name in self.splits if split_family(name) == family]
        if len(fitting) > 1:
            raise InputError(f"{self.path}: has the splits {', '.join(fitting)}; choose one with --split")
        return fitting[0] if fitting else None

    def select(self, indices: Iterable[int]) -> MultiViewSource:
        """The same source restricted to those objects, in that order; names and labels stay."""
        indices = list(indices)
        selected = copy.copy(self)
        selected.records = _taken(self.records, indices)
        selected._files = _taken(self._files, indices)
        return selected

    def with_views(self, chosen: Sequence[Sequence[str]]) -> MultiViewSource:
        """The same objects, each with some of its views only; the others cannot be read any more.

        Args:
            chosen: For each object, views that it has, in the order of ``view_names``.

        Raises:
            InputError: An object has no such view.
        """
        restricted = copy.copy(self)
        restricted.keep_views(chosen)
        return restricted

    def keep_views(self, chosen: Sequence[Sequence[str]]) -> None:
        """``with_views`` in place, for whoever still puts a source together."""
        pairs = list(zip(self.records, chosen, strict=True))
        self._files = tuple(tuple(self._file(i, view) for view in views) for i, views in enumerate(chosen))
        self.records = tuple(dataclasses.replace(record, views=tuple(views)) for record, views in pairs)

    def packed(self) -> MultiViewSource:
        """The same source, if it is large in little memory: slower to ask at random, as good in order."""
        small = copy.copy(self)
        small.records, small._files = packed(self.records), packed(self._files)
        return small

    def read_view(self, index: int, view: str) -> ViewImage:
        """Read and decode one view.

        Raises:
            UnreadableImage: The file is damaged, too large or not an image.
            InputError: The object has no such view.
        """
        return self._read(self._file(index, view))

    def view_sha256(self, index: int, view: str) -> str:
        """``sha256`` of what ``read_view`` gives, without decoding where that is possible.

        Raises:
            UnreadableImage: The file is gone or cannot be read.
            InputError: The object has no such view.
        """
        return self._sha256(self._file(index, view))

    def location(self, index: int, view: str) -> str:
        """What an error message calls the file of this view."""
        return self._locate(self._file(index, view))

    def kind(self, index: int, view: str) -> str:
        """ "real" for a view that was recorded, "generated" for one that a model made."""
        return self._kind(self._file(index, view))

    def _file(self, index: int, view: str) -> Any:
        record = self.records[index]
        if view not in record.views:
            raise InputError(f"{self.path}: object {record.id} has no view {view!r}; it has {', '.join(record.views)}")
        return self._files[index][record.views.index(view)]

    def _check_ids(self) -> None:
        ids = [record.id for record in self.records]
        if len(set(ids)) < len(ids):
            twice = next(identity for identity, count in Counter(ids).items() if count > 1)
            raise InputError(f"{self.path}: two objects are called {twice}; rename one")

    @abstractmethod
    def _read(self, file: Any) -> ViewImage: ...

    @abstractmethod
    def _locate(self, file: Any) -> str: ...

    def _sha256(self, file: Any) -> str:
        return self._read(file).sha256

    def _kind(self, file: Any) -> str:
        return "real"


def _taken(items: Sequence[T], indices: Sequence[int]) -> Sequence[T]:
    """Some of the items; of those that are made when they are asked for, none is made."""
    return items.take(indices) if hasattr(items, "take") else tuple(items[index] for index in indices)


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` of the items at even distances, in their order, or all if there are no more."""
    count = min(count, len(items))
    return [items[place * len(items) // count] for place in range(count)]


def index_objects(
    path: Path | str, objects: Iterable[tuple[tuple[str, str, str], Mapping[str, Any]]], split: str | None
) -> tuple[tuple[str, ...], list[str], list[ObjectRecord], list[tuple[Any, ...]]]:
    """What :class:`MultiViewSource` takes of a set whose objects say their views themselves.

    Args:
        path: What an error calls the set.
        objects: ``(split, class, name)`` and ``view -> file`` of each, in the order of the records.
        split: Keep this split only, or all for None. Views and classes are those of all splits.

    Returns:
        The names of the views, the classes, the records and their files.

    Raises:
        InputError: There is no such split.
    """
    objects = list(objects)
    check_split(path, split, (key[0] for key, _ in objects))
    view_names = order_views(view for _, views in objects for view in views)
    records, files = [], []
    for (split_name, class_name, name), views in objects:
        if split in (None, split_name):
            present = tuple(view for view in view_names if view in views)
            records.append(ObjectRecord(object_id(split_name, class_name, name), name, class_name, split_name, present))
            files.append(tuple(views[view] for view in present))
    return view_names, [key[1] for key, _ in objects], records, files


class RecentArrays:
    """The arrays that were used last, for sources that read views out of large arrays, by the keys of what they are.

    Safe for threads; a copy for another process starts empty.
    """

    def __init__(
        self, load: Callable[[Any], Any], *, most_bytes: float = math.inf, most_arrays: float = math.inf
    ) -> None:
        """Nothing is loaded yet.

        Args:
            load: Gives the array of a key, such as a path, or anything with ``nbytes``; it can be pickled.
            most_bytes: How much memory the arrays may take together; one is kept whatever it takes.
            most_arrays: Most arrays that are kept at a time.
        """
        self._load, self._most_bytes, self._most_arrays = load, most_bytes, most_arrays
        self._arrays: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def get(self, key: Any) -> Any:
        """The array of a key; raises what ``load`` raises."""
        with self._lock:
            array = self._arrays.pop(key, None)
            if array is None:
                array = self._load(key)
                while self._arrays and self._full(array):
                    del self._arrays[next(iter(self._arrays))]
            self._arrays[key] = array  # last in the order, so the first is the one not used for longest
            return array

    def _full(self, another: Any) -> bool:
        taken = sum(array.nbytes for array in self._arrays.values())
        return len(self._arrays) >= self._most_arrays or taken + another.nbytes > self._most_bytes

    def __getstate__(self) -> dict[str, Any]:
        return {"load": self._load, "most_bytes": self._most_bytes, "most_arrays": self._most_arrays}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)
