"""Single images as ``<class>/<image>.png``, each with a known view.

The view of an image comes from one of three places: an option for the whole set, a line of
``metadata.jsonl``, or a ``__<view>`` suffix of the file name. Files of one class that differ in this
suffix only are views of one object, so the output of ``dimvida generate`` reads back as objects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from dimvida.data.images import decode_image
from dimvida.data.metadata import METADATA_NAME, ImageEntry, check_view_name
from dimvida.data.source import (
    CANONICAL_VIEWS,
    MultiViewSource,
    ObjectRecord,
    ViewImage,
    check_split,
    composed,
    object_id,
    order_views,
)
from dimvida.data.tree import FileTree
from dimvida.errors import InputError


class SingleViewSource(MultiViewSource):
    """Images of objects, most often one per object. ``view_names`` are the views that occur."""

    def __init__(
        self,
        tree: FileTree,
        names: Iterable[str],
        *,
        prefix: str = "",
        has_splits: bool = False,
        split: str | None = None,
        view: str | None = None,
        entries: Mapping[str, ImageEntry] | None = None,
    ) -> None:
        """Index the images.

        Args:
            tree: What holds them.
            names: Their names in the tree: ``prefix``, then a split's folder if ``has_splits``, a class's, further
                folders, which become part of the object's name, and the file; each folder may be missing.
            prefix: Folders around the whole set, with a final "/", or "".
            has_splits: Whether the first folder is the split.
            split: Keep this split only.
            view: The view of every image.
            entries: What ``metadata.jsonl`` says of images.

        Raises:
            InputError: An image without a view or with two, two images of the same view of an object, or no such
                split.
        """
        if view is not None:
            view = composed(view)
            check_view_name(view, "--view")
        entries = entries or {}
        images = [_describe(tree, name, prefix, has_splits, view, entries.get(name)) for name in names]
        objects = _group(tree, images)
        check_split(tree.path, split, (parts[0] for parts in objects))

        view_names = order_views(image.view for image in images)
        records, files = [], []
        for (split_name, class_name, name), views in objects.items():
            if split is not None and split_name != split:
                continue
            present = tuple(view_name for view_name in view_names if view_name in views)
            identity = object_id(split_name, class_name, name)
            records.append(ObjectRecord(identity, name, class_name, split_name, present))
            files.append(tuple(views[view_name] for view_name in present))
        classes = [parts[1] for parts in objects]
        super().__init__(tree.path, "single-view", view_names, classes, records, files)
        self._tree = tree

    def _read(self, file: _Image) -> ViewImage:
        return decode_image(self._tree.read(file.file), self._tree.location(file.file))

    def _sha256(self, file: _Image) -> str:
        return hashlib.sha256(self._tree.read(file.file)).hexdigest()

    def _locate(self, file: _Image) -> str:
        return self._tree.location(file.file)

    def _kind(self, file: _Image) -> str:
        return file.kind


class _Image(NamedTuple):
    file: str
    split: str
    class_name: str
    name: str
    view: str
    kind: str


def _describe(
    tree: FileTree, file: str, prefix: str, has_splits: bool, option: str | None, entry: ImageEntry | None
) -> _Image:
    *folders, base = composed(file[len(prefix) :]).split("/")
    split_name = folders.pop(0) if has_splits and folders else ""
    class_name, *between = folders or [""]
    stem = PurePosixPath(base).stem
    name, view = _name_and_view(
        tree.location(file), stem, {"--view": option, METADATA_NAME: entry.view if entry else None}
    )
    if between:
        # A file called after its view is one of the object that its folder is called after.
        name = "_".join(between if name == view else [*between, name])
    if entry is None:
        return _Image(file, split_name, class_name, name, view, "real")
    if entry.source is not None and not stem.endswith(f"__{view}"):
        name = composed(entry.source.replace("/", "_"))
    if entry.class_name is not None:
        class_name = composed(entry.class_name)
    return _Image(file, split_name, class_name, name, view, entry.kind)


def _name_and_view(location: str, stem: str, stated: dict[str, str | None]) -> tuple[str, str]:
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


def _sources(stated: dict[str, str]) -> str:
    return " and ".join(f"{view!r} by {where}" for where, view in stated.items())


def _hint(stem: str) -> str:
    if stem in CANONICAL_VIEWS:
        return f"Views of one object belong in a folder of their own, as <class>/<object>/{stem}.png"
    return (
        "Give --view NAME for all images, or a metadata.jsonl in the top folder with lines like "
        '{"file_name": "<class>/<image>.png", "view": "front"}, or file names like <image>__front.png'
    )


def _group(tree: FileTree, images: Sequence[_Image]) -> dict[tuple[str, str, str], dict[str, _Image]]:
    """``(split, class, object) -> view -> image``."""
    objects: dict[tuple[str, str, str], dict[str, _Image]] = {}
    for image in images:
        views = objects.setdefault((image.split, image.class_name, image.name), {})
        other = views.setdefault(image.view, image)
        if other is not image:
            raise InputError(
                f"{tree.location(other.file)} and {tree.location(image.file)}: both are view "
                f"{image.view!r} of object {image.name!r}; rename or remove one"
            )
    return objects
