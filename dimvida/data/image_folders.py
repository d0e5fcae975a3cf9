"""Image files in folders: which count, and what the folders around them mean.

Metadata that name views decide first, whatever the layout. Otherwise how deep the images lie tells whether their
folders are objects with views or classes of single images; then come the folders around the set, and its splits.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from dimvida.data.cameras import place_cameras
from dimvida.data.image_objects import LAYOUT, ImageSource, objects_by_folder, objects_by_name
from dimvida.data.metadata import METADATA_NAME, ImageEntry, read_metadata
from dimvida.data.names import CANONICAL_VIEWS, composed, counted, natural_key, split_family
from dimvida.data.nmr import refuse_unlisted_synsets
from dimvida.data.source import MultiViewSource
from dimvida.data.survey import Survey, survey, tell
from dimvida.data.tree import COMPRESSED, FileTree
from dimvida.errors import InputError


def open_images(tree: FileTree, split: str | None, view: str | None) -> MultiViewSource:
    """The set of all images in a tree; the arguments are those of ``open_source``.

    Raises:
        InputError: There are no images, they contradict each other or the arguments, or are the NMR set without lists.
    """
    found = survey(tree)
    entries = _read_metadata(tree, found)
    names, notes = _listed(found, entries)
    if not names:
        raise InputError(f"{tree.path}: {_nothing(tree, found)}")
    by_metadata = any(entry.view for entry in entries.values())
    strays: list[str] = []
    if by_metadata:
        prefix = _prefix_of_metadata(names, entries, found.metadata)
    else:
        names, strays = _most_usual_depth(names)
        refuse_unlisted_synsets(tree, names)
        prefix = _prefix_of_layout(names, found.metadata, view)
    has_splits = _has_splits_below(names, prefix, entries)
    depth = names[0].count("/", len(prefix))  # of all images, unless metadata tell their views
    if depth > 3 and not by_metadata:
        raise InputError(f"{tree.location(names[0])}: too deep; expected {LAYOUT} below {tree.path}")
    if by_metadata or depth <= 1 or (depth == 2 and has_splits):
        objects = objects_by_name(tree, names, prefix=prefix, has_splits=has_splits, view=view, entries=entries)
        source = ImageSource(tree, "single-view", objects, split)
    else:
        has_splits = depth == 3
        objects = objects_by_folder(tree, names, prefix=prefix, entries=entries)
        source = ImageSource(tree, tree.form, objects, split)
    bad = found.bad + [(name, "at another depth than most images") for name in strays]
    if split is not None and has_splits:
        # What other splits lack is theirs.
        others = {_top_folder(name, prefix) for name in names} - {split}
        bad = [(name, reason) for name, reason in bad if _top_folder(name, prefix) not in others]
    tell(source, tree, bad, [*notes, *found.notes()])
    place_cameras(source, tree, found.others, prefix)
    return source


def _read_metadata(tree: FileTree, found: Survey) -> dict[str, ImageEntry]:
    """What all metadata files say, each of the files below its folder: ``file name in the tree -> entry``."""
    there = set(found.images)
    alike = {composed(name): name for name in found.images}
    entries: dict[str, ImageEntry] = {}
    for path in found.metadata:
        for name, entry in read_metadata(tree, path.removesuffix(METADATA_NAME)).items():
            # The same letters may be stored in another Unicode form than they are written in the list.
            name = name if name in there else alike.get(composed(name), name)
            other = entries.setdefault(name, entry)
            if dataclasses.replace(other, line=0) != dataclasses.replace(entry, line=0):
                raise InputError(f"{tree.location(path)}, line {entry.line}: {name} is described otherwise elsewhere")
    return entries


def _listed(found: Survey, entries: Mapping[str, ImageEntry]) -> tuple[list[str], list[str]]:
    """Images that count: those that metadata list, and those that are in no folder with metadata; and a note."""
    folders = tuple(path.removesuffix(METADATA_NAME) for path in found.metadata)
    # What metadata list is read wherever it is.
    around = {above for name in entries.keys() - set(found.images) for above in _folders_above(name)}
    found.hidden = [name for name in found.hidden if name not in entries and name.rstrip("/") not in around]
    found.empty = [name for name in found.empty if name not in around]
    found.twins = [name for name in found.twins if name not in entries]
    unlisted, free = [], []
    for name in found.images:
        if name not in entries:
            (unlisted if name.startswith(folders) else free).append(name)
    notes = []
    if unlisted:
        notes.append(f"{counted(len(unlisted), 'image')} not listed in {METADATA_NAME} (first: {unlisted[0]})")
    return [*entries, *free], notes


def _nothing(tree: FileTree, found: Survey) -> str:
    expected = f"expected {LAYOUT}, <class>/<image>.png, or the NMR set"
    if found.bad:
        name, reason = found.bad[0]
        return f"no images here that can be read; {counted(len(found.bad), 'file')} cannot, such as {name}: {reason}"
    folders, files = tree.children()
    if not folders and not files:
        return f"empty; {expected}"
    packed = next((name for name in found.others if name.lower().endswith(COMPRESSED)), None)
    if packed is not None:
        return f"no images here; compressed archives are not read, such as {packed}: unpack them"
    table = next((name for name in found.others if name.lower().endswith(".parquet")), None)
    if table is not None:
        return f"no images here; {table} has no column of image files, as bytes or as datasets has them"
    if found.others:
        expected = f"only other files, such as {found.others[0]}; {expected}"
    return f"no images here; {expected}"


def _most_usual_depth(names: Sequence[str]) -> tuple[list[str], list[str]]:
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
        if name.rpartition("/")[0] not in flat and not any(above in full for above in _folders_above(name)[:-1])
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
        if top := _top_folder(name, prefix):
            levels.setdefault(top, set()).add(name.count("/", len(prefix)))
    families = {split_family(top) for top in levels}
    flat = {prefix + top for top, depths in levels.items() if depths == {1}}
    return flat if None not in families and len(families) > 1 and len(flat) < len(levels) else set()


def _folders_with_small_ones(names: Sequence[str]) -> set[str]:
    """Folders with at least as many images of their own as there are folders with images below, and as each has."""
    own = Counter(name.rpartition("/")[0] for name in names)
    below: dict[str, list[int]] = {}
    for folder, count in own.items():
        for outer in _folders_above(f"{folder}/")[1:-1]:
            below.setdefault(outer, []).append(count)
    return {folder for folder, counts in below.items() if own[folder] >= max(len(counts), *counts)}


def _prefix_of_layout(names: Sequence[str], metadata: Collection[str], view: str | None) -> str:
    """The folders around a set whose images lie equally deep."""
    prefix = ""
    while _is_wrapper(names, prefix, metadata, view):
        prefix = names[0][: names[0].index("/", len(prefix)) + 1]
    return prefix


def _is_wrapper(names: Sequence[str], prefix: str, metadata: Collection[str], view: str | None) -> bool:
    """Whether one folder is around all images below ``prefix``, rather than a split or a class of them."""
    tops = {_top_folder(name, prefix) for name in names}
    top = next(iter(tops))
    if len(tops) > 1 or not top or split_family(top):
        return False
    depth = names[0].count("/") - prefix.count("/")
    if depth > 3 or f"{prefix}{top}/{METADATA_NAME}" in metadata:
        return True
    if depth == 3:
        # Nobody calls classes after splits: that is <top>/<split>/<class>/<image>.
        inside = {_top_folder(name, f"{prefix}{top}/") for name in names}
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


def _prefix_of_metadata(names: Sequence[str], entries: Mapping[str, ImageEntry], metadata: Collection[str]) -> str:
    """The folders around a set whose metadata name the views."""
    # A file called after its view is in a folder of its object, below that of its class.
    of_objects = all(name in entries and PurePosixPath(name).stem == entries[name].view for name in names)
    prefix = ""
    while True:
        tops = {_top_folder(name, prefix) for name in names}
        top = next(iter(tops))
        if len(tops) > 1 or not top or split_family(top):
            return prefix
        inside = f"{prefix}{top}/"
        begins_inside = inside + METADATA_NAME in metadata and prefix + METADATA_NAME not in metadata
        if not begins_inside and min(name.count("/", len(prefix)) for name in names) < 2 + of_objects:
            return prefix
        prefix = inside


def _has_splits_below(names: Sequence[str], prefix: str, entries: Mapping[str, ImageEntry]) -> bool:
    """Whether the first folder of single images is their split: not if one folder could as well be a class."""
    inner = [name for name in names if _top_folder(name, prefix)]
    tops = {_top_folder(name, prefix) for name in inner}
    families = {split_family(top) for top in tops}
    if not tops or None in families:
        return False
    deeper = any(name.count("/", len(prefix)) > 1 for name in inner)
    labelled = all(name in entries and entries[name].class_name is not None for name in inner)
    return deeper or labelled or len(families) > 1


def _top_folder(name: str, prefix: str) -> str:
    """The first folder below ``prefix``, "" for a file directly in it."""
    return name[len(prefix) :].rpartition("/")[0].partition("/")[0]


def _folders_above(name: str) -> list[str]:
    """The folders around a file, the root "" first."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]
