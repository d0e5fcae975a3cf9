"""What folders mean by how images lie in them: which are around the set, which are splits, how deep it is."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from dimvida.data.metadata import METADATA_NAME, ImageEntry
from dimvida.data.source import CANONICAL_VIEWS, natural_key, split_family


def most_usual_depth(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The images that decide the form, and the strays: a contact sheet in the top folder does not change it.

    Images below a folder with as many of its own, thumbnails for example, have no say. Neither have those of a split
    without classes beside splits of classes, which fit all the same and come last.
    """
    if len({name.count("/") for name in names}) == 1:
        return list(names), []
    full, flat = _folders_with_small_ones(names), _splits_without_classes(names)
    unlabeled = [name for name in names if name.rpartition("/")[0] in flat]
    deciding = [
        name
        for name in names
        if name.rpartition("/")[0] not in flat and not any(above in full for above in folders_above(name)[:-1])
    ]
    depths = Counter(name.count("/") for name in deciding)
    depth = max(depths, key=lambda level: (depths[level], level > 0, -level))
    fitting = [name for name in deciding if name.count("/") == depth]
    fitting += [name for name in unlabeled if name.count("/") == depth - 1]
    return fitting, sorted(set(names) - set(fitting), key=natural_key)


def _splits_without_classes(names: Sequence[str]) -> set[str]:
    """Splits with images directly in them where others have classes, as test sets are whose classes are a secret."""
    around = posixpath.commonpath((min(names), max(names)))
    prefix = f"{around}/" if around else ""
    levels: dict[str, set[int]] = {}
    for name in names:
        if top := top_folder(name, prefix):
            levels.setdefault(top, set()).add(name.count("/", len(prefix)))
    families = {split_family(top) for top in levels}
    flat = {prefix + top for top, depths in levels.items() if depths == {1}}
    return flat if None not in families and len(families) > 1 and len(flat) < len(levels) else set()


def _folders_with_small_ones(names: Sequence[str]) -> set[str]:
    """Folders with at least as many images of their own as there are folders with images below, and as each has."""
    own = Counter(name.rpartition("/")[0] for name in names)
    below: dict[str, list[int]] = {}
    for folder, count in own.items():
        for outer in folders_above(f"{folder}/")[1:-1]:
            below.setdefault(outer, []).append(count)
    return {folder for folder, counts in below.items() if own[folder] >= max(len(counts), *counts)}


def is_wrapper(names: Sequence[str], prefix: str, metadata: Collection[str], view: str | None) -> bool:
    """Whether one folder is around all images below ``prefix``, rather than a split or a class of them."""
    tops = {top_folder(name, prefix) for name in names}
    top = next(iter(tops))
    if len(tops) > 1 or not top or split_family(top):
        return False
    depth = names[0].count("/") - prefix.count("/")
    if depth > 3 or f"{prefix}{top}/{METADATA_NAME}" in metadata:
        return True
    if depth == 3:
        # Nobody calls classes after splits: that is <top>/<split>/<class>/<image>.
        inside = {top_folder(name, f"{prefix}{top}/") for name in names}
        families = {split_family(name) for name in inside}
        if None not in families:
            return len(families) > 1 or _name_or_option_says_view(names, view)
        # One folder in the other: both are around, unless they are the split and the class of objects with views.
        called_after_views = any(PurePosixPath(name).stem in (view, *CANONICAL_VIEWS) for name in names)
        return len(inside) == 1 and not called_after_views and _name_or_option_says_view(names, view)
    # <top>/<class>/<image> has the depth of <class>/<object>/<view>; what is said about views decides.
    return depth == 2 and _name_or_option_says_view(names, view)


def _name_or_option_says_view(names: Sequence[str], view: str | None) -> bool:
    return view is not None or all("__" in name.rpartition("/")[2] for name in names)


def prefix_of_metadata(names: Sequence[str], entries: Mapping[str, ImageEntry], metadata: Collection[str]) -> str:
    """The folders around a set whose metadata name the views."""
    # A file called after its view is in a folder of its object, below that of its class.
    of_objects = all(name in entries and PurePosixPath(name).stem == entries[name].view for name in names)
    prefix = ""
    while True:
        tops = {top_folder(name, prefix) for name in names}
        top = next(iter(tops))
        if len(tops) > 1 or not top or split_family(top):
            return prefix
        inside = f"{prefix}{top}/"
        begins_inside = inside + METADATA_NAME in metadata and prefix + METADATA_NAME not in metadata
        if not begins_inside and min(name.count("/", len(prefix)) for name in names) < 2 + of_objects:
            return prefix
        prefix = inside


def has_splits_below(names: Sequence[str], prefix: str, entries: Mapping[str, ImageEntry]) -> bool:
    """Whether the first folder of single images is their split: not if one folder could as well be a class."""
    inner = [name for name in names if top_folder(name, prefix)]
    tops = {top_folder(name, prefix) for name in inner}
    families = {split_family(top) for top in tops}
    if not tops or None in families:
        return False
    deeper = any(name.count("/", len(prefix)) > 1 for name in inner)
    labelled = all(name in entries and entries[name].class_name is not None for name in inner)
    return deeper or labelled or len(families) > 1


def top_folder(name: str, prefix: str) -> str:
    """The first folder below ``prefix``, "" for a file directly in it."""
    return name[len(prefix) :].rpartition("/")[0].partition("/")[0]


def folders_above(name: str) -> list[str]:
    """The folders around a file, the root "" first."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]
