"""The NMR renderings of ShapeNet (24 views, 13 classes) in both forms that are in circulation.

- DVR form: ``<synset>/softras_{train,val,test}.lst`` and ``<synset>/<id>/image/0000.png`` .. ``0023.png``;
- SoftRas form: ``<synset>_{train,val,test}_images.npz``, first array uint8 ``[N, 24, 4, H, W]``, RGBA.

View i is seen from azimuth -15 i degrees at elevation 30.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from dimvida.data.conversion import composite_on_white
from dimvida.data.images import decode_image
from dimvida.data.nmr_arrays import VIEW_COUNT, ArrayCache, object_count
from dimvida.data.source import (
    CANONICAL_VIEWS,
    MultiViewSource,
    ObjectRecord,
    ViewImage,
    check_split,
    object_id,
)
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

DEFAULT_VIEWS = (0, 6, 12, 18)
_SPLITS = ("train", "val", "test")
_SYNSET = re.compile(r"\d{8}")
_LIST_NAME = re.compile(r"softras_(train|val|test)\.lst")
_ARRAY_NAME = re.compile(r"(\d{8})_(train|val|test)_images\.npz")


def nmr_view_names(views: Sequence[int]) -> tuple[str, ...]:
    """Names of chosen views: front, right, back, left for the default four, else ``view00`` ...

    Raises:
        InputError: Fewer than two views, a repeated one, or one outside 0..23.
    """
    views = tuple(views)
    if len(views) < 2 or len(set(views)) < len(views) or not all(0 <= view < VIEW_COUNT for view in views):
        chosen = ", ".join(map(str, views)) or "none"
        raise InputError(f"NMR views {chosen}: choose two or more different ones of 0 to {VIEW_COUNT - 1}")
    return CANONICAL_VIEWS if views == DEFAULT_VIEWS else tuple(f"view{view:02d}" for view in views)


def dvr_lists(tree: FileTree, root: str = "") -> dict[str, dict[str, str]]:
    """``synset folder -> split -> list file`` of the DVR form below ``root``; empty if there is none."""
    found: dict[str, dict[str, str]] = {}
    for folder in tree.children(root)[0]:
        if not _SYNSET.fullmatch(_base(folder)):
            continue
        matches = [(_LIST_NAME.fullmatch(_base(name)), name) for name in tree.children(folder)[1]]
        lists = {match[1]: name for match, name in matches if match}
        if lists:
            found[folder] = {split: lists[split] for split in _SPLITS if split in lists}
    return found


def softras_arrays(tree: FileTree, root: str = "") -> dict[str, tuple[str, str]]:
    """``file -> (synset, split)`` of the SoftRas form in ``root``; empty if there is none."""
    matches = [(_ARRAY_NAME.fullmatch(_base(name)), name) for name in tree.children(root)[1]]
    return {name: (match[1], match[2]) for match, name in matches if match}


class NmrDvrSource(MultiViewSource):
    """The DVR form. What lists name and folders lack, synsets without a list and objects in none are left out."""

    def __init__(
        self,
        tree: FileTree,
        root: str = "",
        *,
        split: str | None = None,
        views: Sequence[int] = DEFAULT_VIEWS,
    ) -> None:
        """Index the objects that the lists below ``root`` name.

        Raises:
            InputError: No such split, a bad list or choice of views, or none of the objects is there.
        """
        names = nmr_view_names(views)
        synsets = dvr_lists(tree, root)
        check_split(tree.path, split, (name for lists in synsets.values() for name in lists))

        records, files, bad = [], [], []
        for folder, split_name, name in _listed(tree, synsets, split):
            images = {
                view: f"{folder}/{name}/image/{number:04d}.png" for view, number in zip(names, views, strict=True)
            }
            there = {view: image for view, image in images.items() if tree.exists(image)}
            if there:
                bad += [(image, "of a listed object, not there") for view, image in images.items() if view not in there]
                class_name = _class_name(_base(folder))
                identity = object_id(split_name, class_name, name)
                records.append(ObjectRecord(identity, name, class_name, split_name, tuple(there)))
                files.append(tuple(there.values()))
            else:
                bad.append((f"{folder}/{name}", "a listed object without images"))
        if not records:
            raise InputError(f"{tree.path}: none of the objects in the softras lists has its images here")
        strays, notes = _unlisted(tree, root, synsets)
        classes = [_class_name(_base(folder)) for folder in synsets]
        super().__init__(tree.path, "nmr-dvr", names, classes, records, files)
        tell(self, tree, [*bad, *strays], notes)
        self._tree = tree

    def _read(self, file: str) -> ViewImage:
        image = decode_image(self._tree.read(file), self._tree.location(file))
        # White under transparency is how these images are meant, so it is not worth a note.
        return dataclasses.replace(image, note=None)

    def _locate(self, file: str) -> str:
        return self._tree.location(file)


class NmrSoftRasSource(MultiViewSource):
    """The SoftRas form. Objects have no ids there; their place in the array is their name."""

    def __init__(
        self,
        tree: FileTree,
        root: str = "",
        *,
        split: str | None = None,
        views: Sequence[int] = DEFAULT_VIEWS,
    ) -> None:
        """Index the arrays directly in ``root``; only their headers are read.

        Raises:
            InputError: No such split, a bad choice of views, or a file that is no NMR array.
        """
        names = nmr_view_names(views)
        arrays = softras_arrays(tree, root)
        check_split(tree.path, split, (name for _, name in arrays.values()))

        records, files = [], []
        for file_name, (synset, split_name) in arrays.items():
            if split is not None and split_name != split:
                continue
            path, class_name = tree.path / file_name, _class_name(synset)
            for row in range(object_count(path)):
                name = f"{row:05d}"
                identity = object_id(split_name, class_name, name)
                records.append(ObjectRecord(identity, name, class_name, split_name, names))
                files.append(tuple((path, row, place) for place in range(len(names))))
        classes = [_class_name(synset) for synset, _ in arrays.values()]
        super().__init__(tree.path, "nmr-softras", names, classes, records, files)
        self._tell_what_is_beside(tree, root, arrays)
        self._views = tuple(views)
        self._arrays = ArrayCache(self._views)

    def _tell_what_is_beside(self, tree: FileTree, root: str, arrays: Collection[str]) -> None:
        listing, beside = tree.listing(root), Survey()
        broken = [item for item in listing.unusable if _ARRAY_NAME.fullmatch(_base(item[0]))]
        files = tuple(name for name in listing.files if name not in arrays)
        unusable = tuple(item for item in listing.unusable if item not in broken)
        beside.add(tree, listing._replace(files=files, unusable=unusable))
        strays = [(name, "beside the arrays of the NMR set") for name in (*beside.images, *listing.folders)]
        tell(self, tree, [*beside.bad, *broken, *strays], beside.notes())

    def _read(self, file: tuple[Path, int, int]) -> ViewImage:
        path, row, place = file
        rgba = self._arrays.get(path)[row, place]  # [4, H, W]
        return ViewImage(composite_on_white(rgba.transpose(1, 2, 0)), hashlib.sha256(rgba).hexdigest())

    def _locate(self, file: tuple[Path, int, int]) -> str:
        path, row, place = file
        return f"{path}[{row}, view {self._views[place]}]"


def _unlisted(tree: FileTree, root: str, synsets: dict[str, dict[str, str]]) -> tuple[list[tuple[str, str]], list[str]]:
    """Folders and images that no list speaks of, each with the reason why they are left out; and notes."""
    found, strays = Survey(), []
    listing = tree.listing(root)
    found.add(tree, listing)
    for folder in listing.folders:
        if folder not in synsets:
            known = _SYNSET.fullmatch(_base(folder))
            strays.append((folder, "a synset without softras lists" if known else "no synset, beside those of NMR"))
    for folder, lists in synsets.items():
        inside = tree.listing(folder)
        found.add(tree, inside)
        listed = {name for list_name in lists.values() for name in _read_list(tree, list_name)}
        strays += [(name, "an object in no list") for name in inside.folders if _base(name) not in listed]
    strays += [(name, "beside the synsets of the NMR set") for name in found.images]
    lists = {name for lists in synsets.values() for name in lists.values()}
    found.others = [name for name in found.others if name not in lists]
    return [*found.bad, *strays], found.notes()


def _listed(tree: FileTree, synsets: dict[str, dict[str, str]], split: str | None) -> Iterator[tuple[str, str, str]]:
    """``(synset folder, split, object)`` of every object in the lists of ``split``, or of all splits."""
    for folder, lists in synsets.items():
        for split_name, list_name in lists.items():
            if split in (None, split_name):
                for name in _read_list(tree, list_name):
                    yield folder, split_name, name


def _read_list(tree: FileTree, name: str) -> list[str]:
    location = tree.location(name)
    try:
        lines = tree.read(name).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{location}: not a text file of object ids; fetch it again") from None
    ids: dict[str, int] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line:
            continue
        if not re.fullmatch(r"\w[\w.-]*", line):
            raise InputError(f"{location}, line {number}: {line[:60]!r} is not an object id")
        if line in ids:
            raise InputError(f"{location}, lines {ids[line]} and {number}: object {line} is listed twice")
        ids[line] = number
    return list(ids)


def _class_name(synset: str) -> str:
    return SYNSETS.get(synset, synset)


def _base(name: str) -> str:
    return name.rpartition("/")[2]
