"""The NMR renderings of ShapeNet (24 views, 13 classes) in both forms that are in circulation.

- SoftRas form: ``<synset>_{train,val,test}_images.npz``, see :mod:`dimvida.data.nmr_arrays`;
- DVR form: ``<synset>/softras_{train,val,test}.lst`` and ``<synset>/<id>/image/0000.png`` .. ``0023.png``.

View i is seen from azimuth -15 i degrees at elevation 30.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from posixpath import basename

from dimvida.data.images import decode_image
from dimvida.data.names import check_split, object_id
from dimvida.data.nmr_arrays import (
    DEFAULT_VIEWS,
    NmrSoftRasSource,
    class_of,
    nmr_cameras,
    nmr_view_names,
    softras_arrays,
)
from dimvida.data.source import MultiViewSource, ObjectRecord, ViewImage
from dimvida.data.survey import Survey, tell
from dimvida.data.tree import FileTree
from dimvida.data.zip_tree import ZipTree
from dimvida.errors import InputError

_SPLITS = ("train", "val", "test")
_SYNSET = re.compile(r"\d{8}")
_IMAGE = re.compile(r"(?:.*/)?(\d{8})/[^/]+/image/\d{4}\.png")
_LIST_NAME = re.compile(r"softras_(train|val|test)\.lst")

_Lists = Mapping[str, Mapping[str, str]]
"""``synset folder -> split -> list file``."""


def open_nmr(tree: FileTree, split: str | None, views: Sequence[int]) -> MultiViewSource | None:
    """The NMR set in a tree or in the one folder in it, which archives often have around all; None where it is not.

    Raises:
        InputError: Arrays in a zip file, one synset alone, or as the sources say.
    """
    folders, files = tree.children()
    for root in ["", *folders] if len(folders) == 1 else [""]:
        arrays = softras_arrays(tree, root)
        if arrays:
            if isinstance(tree, ZipTree):
                raise InputError(f"{tree.path}: holds NMR arrays; unpack it and give the folder")
            return NmrSoftRasSource(tree, root, arrays, split=split, views=views)
        lists = _dvr_lists(tree, root)
        if lists:
            return NmrDvrSource(tree, root, lists, split=split, views=views)
    if any(name.startswith("softras_") and name.endswith(".lst") for name in files):
        raise InputError(f"{tree.path}: one synset of the NMR set; give the folder above it")
    return None


def refuse_unlisted_synsets(tree: FileTree, names: Sequence[str]) -> None:
    """Raise InputError where images are those of the DVR form without any list: its objects would look like classes."""
    match = next((match for name in names if (match := _IMAGE.fullmatch(name))), None)
    if match is not None:
        raise InputError(
            f"{tree.path}: synset {match[1]} of the NMR set without its lists; put softras_train.lst, softras_val.lst "
            "or softras_test.lst, one object id per line, into its folder, and give the folder above it"
        )


def _dvr_lists(tree: FileTree, root: str) -> dict[str, dict[str, str]]:
    """``synset folder -> split -> list file`` of the DVR form below ``root``; empty if there is none."""
    found: dict[str, dict[str, str]] = {}
    for folder in tree.children(root)[0]:
        if not _SYNSET.fullmatch(basename(folder)):
            continue
        matches = [(_LIST_NAME.fullmatch(basename(name)), name) for name in tree.children(folder)[1]]
        lists = {match[1]: name for match, name in matches if match}
        if lists:
            found[folder] = {split: lists[split] for split in _SPLITS if split in lists}
    return found


class NmrDvrSource(MultiViewSource):
    """The DVR form. What lists name and folders lack, synsets without a list and objects in none are left out."""

    def __init__(
        self,
        tree: FileTree,
        root: str,
        synsets: _Lists,
        *,
        split: str | None = None,
        views: Sequence[int] = DEFAULT_VIEWS,
    ) -> None:
        """Index the objects that the lists of ``synsets``, which are folders of ``root``, name.

        Raises:
            InputError: No such split, a bad list or choice of views, or none of the objects is there.
        """
        names = nmr_view_names(views)
        check_split(tree.path, split, (name for lists in synsets.values() for name in lists))

        records, files, bad = [], [], []
        for folder, split_name, name in _listed(tree, synsets, split):
            images = {
                view: f"{folder}/{name}/image/{number:04d}.png" for view, number in zip(names, views, strict=True)
            }
            there = {view: image for view, image in images.items() if tree.exists(image)}
            if there:
                bad += [(image, "of a listed object, not there") for view, image in images.items() if view not in there]
                class_name = class_of(basename(folder))
                identity = object_id(split_name, class_name, name)
                records.append(ObjectRecord(identity, name, class_name, split_name, tuple(there)))
                files.append(tuple(there.values()))
            else:
                bad.append((f"{folder}/{name}", "a listed object without images"))
        if not records:
            raise InputError(f"{tree.path}: none of the objects in the softras lists has its images here")
        strays, notes = _unlisted(tree, root, synsets)
        classes = [class_of(basename(folder)) for folder in synsets]
        super().__init__(tree.path, "nmr-dvr", names, classes, records, files)
        self.cameras = nmr_cameras(views)
        tell(self, tree, [*bad, *strays], notes)
        self._tree = tree

    def _read(self, file: str) -> ViewImage:
        image = decode_image(self._tree.read(file), self._tree.location(file))
        # White under transparency is how these images are meant, so it is not worth a note.
        return dataclasses.replace(image, note=None)

    def _locate(self, file: str) -> str:
        return self._tree.location(file)


def _unlisted(tree: FileTree, root: str, synsets: _Lists) -> tuple[list[tuple[str, str]], list[str]]:
    """Folders and images that no list speaks of, each with the reason why they are left out; and notes."""
    found, strays = Survey(), []
    listing = tree.listing(root)
    found.add(tree, listing)
    for folder in listing.folders:
        if folder not in synsets:
            known = _SYNSET.fullmatch(basename(folder))
            strays.append((folder, "a synset without softras lists" if known else "no synset, beside those of NMR"))
    for folder, lists in synsets.items():
        inside = tree.listing(folder)
        found.add(tree, inside)
        listed = {name for list_name in lists.values() for name in _read_list(tree, list_name)}
        strays += [(name, "an object in no list") for name in inside.folders if basename(name) not in listed]
    strays += [(name, "beside the synsets of the NMR set") for name in found.images]
    lists = {name for lists in synsets.values() for name in lists.values()}
    found.others = [name for name in found.others if name not in lists]
    return [*found.bad, *strays], found.notes()


def _listed(tree: FileTree, synsets: _Lists, split: str | None) -> Iterator[tuple[str, str, str]]:
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
