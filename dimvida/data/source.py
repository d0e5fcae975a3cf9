"""What every loader gives: records of objects, and their views read one at a time.

A source is an index of a data set. Opening one lists names only; pixels are read by
:meth:`MultiViewSource.read_view` when asked for, so a set may be larger than memory.
"""

from __future__ import annotations

import copy
import dataclasses
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dimvida.errors import InputError

_SPLIT_FAMILIES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLIT_ENDING = re.compile(r"[ _.-]?(set|data|split|images?|imgs?|\d{1,4})?")
CANONICAL_VIEWS = ("front", "right", "back", "left")


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """One object of a data set.

    Attributes:
        id: ``<split>/<class>/<name>`` with empty parts left out; unique in its source.
        name: The object's own name.
        class_name: Its class, "" if unlabeled.
        split: Its split, "" if the set has none.
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
        path: What was opened.
        form: "folder", "zip", "single-view", "nmr-dvr", "nmr-softras", "webdataset" or "npy".
        view_names: Every view that occurs, in order.
        classes: Every class that occurs, sorted; the place of a class is its label.
        records: The objects.
        notes: What was found and left out, one line for each reason.
        left_out: Files that may be images and were left out when the source was opened, as those that cannot be
            read are when they are. Commands end with exit code 1 for both.
    """

    def __init__(
        self,
        path: Path,
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
        self.notes = tuple(notes)
        self.left_out: tuple[BadFile, ...] = ()
        self._files = tuple(files)
        self._check_ids()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that occur in ``records``: of training, validation and test first, then the others by name."""
        present = {record.split for record in self.records if record.split}
        order = [*_SPLIT_FAMILIES, None]
        return tuple(sorted(present, key=lambda name: (order.index(split_family(name)), natural_key(name))))

    def of_split(self, split: str) -> MultiViewSource:
        """The same source restricted to the objects of a split."""
        return self.select(index for index, record in enumerate(self.records) if record.split == split)

    def split_for(self, family: str) -> str | None:
        """The split of a family ("train", "val" or "test"), None if there is none.

        Raises:
            InputError: There are several.
        """
        fitting = [name for name in self.splits if split_family(name) == family]
        if len(fitting) > 1:
            raise InputError(f"{self.path}: has the splits {', '.join(fitting)}; choose one with --split")
        return fitting[0] if fitting else None

    def select(self, indices: Iterable[int]) -> MultiViewSource:
        """The same source restricted to those objects, in that order; names and labels stay."""
        indices = list(indices)
        selected = copy.copy(self)
        selected.records = tuple(self.records[index] for index in indices)
        selected._files = tuple(self._files[index] for index in indices)
        return selected

    def with_views(self, chosen: Sequence[Sequence[str]]) -> MultiViewSource:
        """The same objects, each with some of its views only; the others cannot be read any more.

        Args:
            chosen: For each object, views that it has, in the order of ``view_names``.

        Raises:
            InputError: An object has no such view.
        """
        restricted = copy.copy(self)
        pairs = list(zip(self.records, chosen, strict=True))
        restricted.records = tuple(dataclasses.replace(record, views=tuple(views)) for record, views in pairs)
        restricted._files = tuple(tuple(self._file(i, view) for view in views) for i, (_, views) in enumerate(pairs))
        return restricted

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


def object_id(split: str, class_name: str, name: str) -> str:
    """``<split>/<class>/<name>`` with empty parts left out."""
    return "/".join(part for part in (split, class_name, name) if part)


def split_family(name: str) -> str | None:
    """ "train", "val" or "test" for the usual names of such splits in any case ("Training", "val2017"), else None."""
    for family, words in _SPLIT_FAMILIES.items():
        # The longest word first: "testing" is not "test" and something else.
        for word in sorted(words, key=len, reverse=True):
            if name.lower().startswith(word) and _SPLIT_ENDING.fullmatch(name.lower(), len(word)):
                return family
    return None


def composed(name: str) -> str:
    """A name in Unicode's composed form (NFC).

    Systems store the same letters differently: macOS often writes a letter and its accent as two characters. Ids,
    and with them the noise of generated views, must not depend on where a data set was packed.
    """
    return unicodedata.normalize("NFC", name)


def counted(count: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that counts: ``view2`` comes before ``view10``."""
    key = []
    for part in re.findall("[0-9]+|[^0-9]+", text):
        digits = part.lstrip("0")
        # Numbers compare by length and then as text, because int() refuses very long ones.
        key.append((0, len(digits), digits) if part[0] in "0123456789" else (1, 0, part))
    return (*key, (-1, 0, text))


def order_views(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct view names: front, right, back, left first, then the others in natural order."""
    names = set(names)
    others = sorted(names - set(CANONICAL_VIEWS), key=natural_key)
    return (*(name for name in CANONICAL_VIEWS if name in names), *others)


def check_split(path: Path, split: str | None, present: Iterable[str]) -> None:
    """Raise InputError, naming the splits there are, unless ``split`` is None or one of them."""
    present = sorted({name for name in present if name})
    if split is None or split in present:
        return
    if not present:
        raise InputError(f"{path}: has no splits, so no split {split!r}; leave out --split")
    raise InputError(f"{path}: has no split {split!r}; it has {', '.join(present)}")
