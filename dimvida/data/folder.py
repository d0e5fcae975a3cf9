"""Multi-view images as ``[<split>/]<class>/<object>/<view>.png``, in a folder or a zip file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from dimvida.data.images import decode_image
from dimvida.data.metadata import ImageEntry, check_view_name
from dimvida.data.source import (
    CANONICAL_VIEWS,
    MultiViewSource,
    ObjectRecord,
    ViewImage,
    check_split,
    composed,
    object_id,
    order_views,
    split_family,
)
from dimvida.data.tree import FileTree
from dimvida.errors import InputError

LAYOUT = "[<split>/]<class>/<object>/<view>.png"


class FolderSource(MultiViewSource):
    """One folder per object, one image file per view. Objects may have different views."""

    def __init__(
        self,
        tree: FileTree,
        names: Iterable[str],
        *,
        prefix: str = "",
        split: str | None = None,
        entries: Mapping[str, ImageEntry] | None = None,
    ) -> None:
        """Index the images.

        Args:
            tree: What holds them.
            names: Their names in the tree: ``prefix``, then two or three folders and the file.
            prefix: Folders around the whole set, with a final "/", or "".
            split: Keep this split only. Classes and view names are those of all splits.
            entries: What ``metadata.jsonl`` says of images; of it, classes and kinds are taken.

        Raises:
            InputError: Two files for one view, fewer than two views in all, object folders without a
                view in common, a file name that cannot be a view's, or no such split.
        """
        self._entries = entries or {}
        objects = self._group(tree, names, prefix)
        view_names = order_views(view for views in objects.values() for view in views)
        _refuse_other_orders(tree, objects)
        _check_views(tree, view_names, objects)
        check_split(tree.path, split, (parts[0] for parts in objects))

        records, files = [], []
        for (split_name, class_name, name), views in objects.items():
            if split is not None and split_name != split:
                continue
            present = tuple(view for view in view_names if view in views)
            identity = object_id(split_name, class_name, name)
            records.append(ObjectRecord(identity, name, class_name, split_name, present))
            files.append(tuple(views[view] for view in present))
        classes = [parts[1] for parts in objects]
        super().__init__(tree.path, tree.form, view_names, classes, records, files)
        self._tree = tree

    def _read(self, file: str) -> ViewImage:
        return decode_image(self._tree.read(file), self._tree.location(file))

    def _sha256(self, file: str) -> str:
        return hashlib.sha256(self._tree.read(file)).hexdigest()

    def _locate(self, file: str) -> str:
        return self._tree.location(file)

    def _kind(self, file: str) -> str:
        return self._entries[file].kind if file in self._entries else "real"

    def _group(self, tree: FileTree, names: Iterable[str], prefix: str) -> dict[tuple[str, str, str], dict[str, str]]:
        """``(split, class, object) -> view -> file name``."""
        objects: dict[tuple[str, str, str], dict[str, str]] = {}
        for name in names:
            *folders, file = composed(name[len(prefix) :]).split("/")
            split_name, class_name, object_name = folders if len(folders) == 3 else ("", *folders)
            entry = self._entries.get(name)
            if entry is not None and entry.class_name is not None:
                class_name = composed(entry.class_name)
            view = PurePosixPath(file).stem
            views = objects.setdefault((split_name, class_name, object_name), {})
            if view in views:
                raise InputError(
                    f"{tree.location(views[view])} and {tree.location(name)}: two files for one view; keep one"
                )
            views[view] = name
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


def _check_views(
    tree: FileTree, view_names: Sequence[str], objects: dict[tuple[str, str, str], dict[str, str]]
) -> None:
    if len(view_names) < 2:
        raise InputError(
            f"{tree.path}: only one view ({view_names[0]!r}) in {LAYOUT}, and a multi-view set needs two; "
            "one image per object belongs in <class>/<object>.png, with --view to name its view"
        )
    # Photographs sorted into two levels of folders have the same shape as objects with views, but
    # then hardly any file name comes twice.
    if len(objects) > 1 and len(view_names) == sum(map(len, objects.values())):
        raise InputError(
            f"{tree.path}: read as {LAYOUT}, no two objects have a view of the same name; "
            "name the files by view (front.png, right.png, ...), or put single images in <class>/<image>.png"
        )
    an_image = {view: name for views in objects.values() for view, name in views.items()}
    for view, name in an_image.items():
        check_view_name(view, tree.location(name))
