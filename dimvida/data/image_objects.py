"""Which object and which view an image file is: by its folder in multi-view sets, by what is said of it in others.

``[<split>/]<class>/<object>/<view>.png`` has a folder for each object. In ``<class>/<image>.png`` the view of an image
comes from one of three places: an option for the whole set, a line of ``metadata.jsonl``, or a ``__<view>`` suffix of
the file name. Files of one class that differ in this suffix only are views of one object, so the output of
``dimvida generate`` reads back as objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from dimvida.data.images import decode_image
from dimvida.data.metadata import METADATA_NAME, ImageEntry
from dimvida.data.names import CANONICAL_VIEWS, check_view_name, composed, split_family
from dimvida.data.source import MultiViewSource, ViewImage, index_objects
from dimvida.data.tree import FileTree
from dimvida.errors import InputError

LAYOUT = "[<split>/]<class>/<object>/<view>.png"


class ImageFile(NamedTuple):
    """An image file by its name in the tree; ``kind`` is "real" or "generated"."""

    name: str
    kind: str


Objects = dict[tuple[str, str, str], dict[str, ImageFile]]
"""``(split, class, object) -> view -> file``."""


class ImageSource(MultiViewSource):
    """Objects whose views are files of a folder or a zip file."""

    def __init__(self, tree: FileTree, form: str, objects: Objects, split: str | None) -> None:
        """Keep a split, or all for None; InputError where there is no such split."""
        super().__init__(tree.path, form, *index_objects(tree.path, objects.items(), split))
        self._tree = tree

    def _read(self, file: ImageFile) -> ViewImage:
        return decode_image(self._tree.read(file.name), self._tree.location(file.name))

    def _sha256(self, file: ImageFile) -> str:
        return hashlib.sha256(self._tree.read(file.name)).hexdigest()

    def _locate(self, file: ImageFile) -> str:
        return self._tree.location(file.name)

    def _kind(self, file: ImageFile) -> str:
        return file.kind


def objects_by_folder(
    tree: FileTree, names: Iterable[str], *, prefix: str, entries: Mapping[str, ImageEntry]
) -> Objects:
    """Objects with a folder each, and a file for each view. They may have different views.

    Args:
        tree: The folder or archive that has the images.
        names: Their names in the tree: ``prefix``, then two or three folders and the file.
        prefix: Folders around the whole set, with a final "/", or "".
        entries: What ``metadata.jsonl`` says of images, by file name; classes and kinds are taken of it.

    Raises:
        InputError: Two files for one view, fewer than two views in all, object folders without a view in common, or
            a file name that cannot be a view's.
    """
    objects: Objects = {}
    for name in names:
        *folders, file = composed(name[len(prefix) :]).split("/")
        split, class_name, object_name = folders if len(folders) == 3 else ("", *folders)
        entry = entries.get(name)
        if entry is not None and entry.class_name is not None:
            class_name = composed(entry.class_name)
        view = PurePosixPath(file).stem
        views = objects.setdefault((split, class_name, object_name), {})
        if view in views:
            raise InputError(
                f"{tree.location(views[view].name)} and {tree.location(name)}: two files for one view; keep one"
            )
        views[view] = ImageFile(name, entry.kind if entry else "real")
    _refuse_other_orders(tree, objects)
    _check_views(tree, objects)
    return objects


def _refuse_other_orders(tree: FileTree, objects: Iterable[tuple[str, str, str]]) -> None:
    """Raise InputError where folders called after views lie where objects should, or splits inside of classes."""
    splits, classes, names = map(set, zip(*objects, strict=True))
    if {"front", "back"} & names and len(names) > 1 and names <= set(CANONICAL_VIEWS):
        raise InputError(
            f"{tree.path}: read as {LAYOUT}, the folders of objects are called after views "
            f"({', '.join(sorted(names))}); put the views of each object into a folder of its own"
        )
    inner = names if splits == {""} else classes
    families = {split_family(name) for name in inner}
    if None not in families and len(families) > 1:
        raise InputError(
            f"{tree.path}: has the splits ({', '.join(sorted(inner))}) inside of the classes; expected {LAYOUT}, or "
            "<split>/<class>/<image>.png for single images"
        )


def _check_views(tree: FileTree, objects: Objects) -> None:
    an_image = {view: file.name for views in objects.values() for view, file in views.items()}
    if len(an_image) < 2:
        raise InputError(
            f"{tree.path}: only one view ({next(iter(an_image))!r}) in {LAYOUT}, and a multi-view set needs two; "
            "one image per object belongs in <class>/<object>.png, with --view to name its view"
        )
    # Photographs sorted into two levels of folders have the same shape as objects with views, but
    # then hardly any file name comes twice.
    if len(objects) > 1 and len(an_image) == sum(map(len, objects.values())):
        raise InputError(
            f"{tree.path}: read as {LAYOUT}, no two objects have a view of the same name; "
            "name the files by view (front.png, right.png, ...), or put single images in <class>/<image>.png"
        )
    for view, name in an_image.items():
        check_view_name(view, tree.location(name))


def objects_by_name(
    tree: FileTree,
    names: Iterable[str],
    *,
    prefix: str,
    has_splits: bool,
    view: str | None,
    entries: Mapping[str, ImageEntry],
) -> Objects:
    """Objects of single images, most often one image each.

    Args:
        tree: The folder or archive that has the images.
        names: Their names in the tree: ``prefix``, then a split's folder if ``has_splits``, a class's, further
            folders, which become part of the object's name, and the file; each folder may be missing.
        prefix: Folders around the whole set, with a final "/", or "".
        has_splits: Whether the first folder is the split.
        view: The view of every image.
        entries: What ``metadata.jsonl`` says of images: view, class, object and kind, by file name.

    Raises:
        InputError: An image without a view or with two, or two images of the same view of an object.
    """
    if view is not None:
        view = composed(view)
        check_view_name(view, "--view")
    found = []
    for name in names:
        entry = entries.get(name)
        stated = {"--view": view, METADATA_NAME: entry.view if entry else None}
        place = _object_and_view(tree.location(name), name[len(prefix) :], has_splits, stated, entry)
        found.append((place, ImageFile(name, entry.kind if entry else "real")))
    objects: Objects = {}
    for (key, its_view), file in found:
        other = objects.setdefault(key, {}).setdefault(its_view, file)
        if other is not file:
            raise InputError(
                f"{tree.location(other.name)} and {tree.location(file.name)}: both are view "
                f"{its_view!r} of object {key[2]!r}; rename or remove one"
            )
    return objects


def _object_and_view(
    location: str, name: str, has_splits: bool, stated: Mapping[str, str | None], entry: ImageEntry | None
) -> tuple[tuple[str, str, str], str]:
    """``(split, class, object)`` and the view of an image called ``name`` below the folders around the set."""
    *folders, base = composed(name).split("/")
    split = folders.pop(0) if has_splits and folders else ""
    class_name, *between = folders or [""]
    stem = PurePosixPath(base).stem
    name, view = _name_and_view(location, stem, stated)
    if between:
        # A file called after its view is one of the object that its folder is called after.
        name = "_".join(between if name == view else [*between, name])
    if entry is not None and entry.source is not None and not stem.endswith(f"__{view}"):
        name = composed(entry.source.replace("/", "_"))
    if entry is not None and entry.class_name is not None:
        class_name = composed(entry.class_name)
    return (split, class_name, name), view


def _name_and_view(location: str, stem: str, stated: Mapping[str, str | None]) -> tuple[str, str]:
    """The object's name and the view, from a file's stem and from what is stated elsewhere."""
    stated = {where: view for where, view in stated.items() if view is not None}
    views = set(stated.values())
    if len(views) > 1:
        raise InputError(f"{location}: two views, {_sources(stated)}; {_ONE_WAY}")
    name, separator, suffix = stem.rpartition("__")
    if not (separator and name and suffix):
        name, suffix = stem, ""
    if not views:
        if not suffix:
            raise InputError(f"{location}: which view is it? {_hint(stem)}")
        check_view_name(suffix, location)
        return name, suffix
    (view,) = views
    if stem in CANONICAL_VIEWS and stem != view:
        raise InputError(f"{location}: two views, {stem!r} by its name and {_sources(stated)}; {_ONE_WAY}")
    if stem.endswith(f"__{view}") and len(stem) > len(view) + 2:
        return stem[: -len(view) - 2], view
    # A number behind "__" counts pictures (IMG__0012) unless nothing else says the view; a word there
    # is taken as meant.
    if suffix[:1].isalpha():
        raise InputError(f"{location}: two views, {suffix!r} by its name and {_sources(stated)}; {_ONE_WAY}")
    return stem, view


_ONE_WAY = "say it in one way only: --view, metadata.jsonl or a file name in __<view>"


def _sources(stated: Mapping[str, str]) -> str:
    return " and ".join(f"{view!r} by {where}" for where, view in stated.items())


def _hint(stem: str) -> str:
    if stem in CANONICAL_VIEWS:
        return f"Views of one object belong in a folder of their own, as <class>/<object>/{stem}.png"
    return (
        "Give --view NAME for all images, or a metadata.jsonl in the top folder with lines like "
        '{"file_name": "<class>/<image>.png", "view": "front"}, or file names like <image>__front.png'
    )
