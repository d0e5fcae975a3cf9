"""Opens a data set of any known form, recognised by looking at what is there."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from dimvida.data.array_shards import ArrayShardSource
from dimvida.data.folder import LAYOUT, FolderSource
from dimvida.data.layout import (
    folders_above,
    has_splits_below,
    is_wrapper,
    most_usual_depth,
    prefix_of_metadata,
    top_folder,
)
from dimvida.data.metadata import METADATA_NAME, ImageEntry, read_metadata
from dimvida.data.nmr import DEFAULT_VIEWS, NmrDvrSource, NmrSoftRasSource, dvr_lists, softras_arrays
from dimvida.data.sample import locate
from dimvida.data.shards import SHARD_NAME
from dimvida.data.single import SingleViewSource
from dimvida.data.source import MultiViewSource, composed, counted
from dimvida.data.survey import Survey, survey, tell
from dimvida.data.tar_shards import TarShardSource
from dimvida.data.tree import FileTree, FolderTree
from dimvida.data.zip_tree import ZipTree
from dimvida.errors import InputError

_NMR_FILE = re.compile(r"(?:.*/)?(\d{8})/[^/]+/image/\d{4}\.png")


def open_source(
    path: str | Path,
    *,
    split: str | None = None,
    view: str | None = None,
    nmr_views: Sequence[int] = DEFAULT_VIEWS,
) -> MultiViewSource:
    """Open a folder or a zip file in whichever form it is.

    - ``[<split>/]<class>/<object>/<view>.png``: multi-view images;
    - ``[<split>/]<class>/<image>.png`` or ``<image>.png``: single images, where the top folder named
      by ``<split>`` must be train, val, test or alike;
    - either public form of the NMR renderings;
    - ``shard-000000.tar`` or ``shard-000000.npy`` and so on, as ``dimvida generate`` writes them.

    Nothing is left out in silence: see ``MultiViewSource.notes`` and ``left_out``.

    Args:
        path: The folder or zip file; "sample" for the objects in the package, unless there is something of that
            name. "~" is the home folder.
        split: Only the objects of this split.
        view: The view of all images of a single-view set; multi-view sets name their views themselves.
        nmr_views: The NMR views to read, of 0 to 23.

    Raises:
        InputError: Nothing fits, there is no such split, or what is there contradicts itself.
    """
    tree = open_tree(locate(path))
    if isinstance(tree, FolderTree) and (shards := [name for name in tree.children()[1] if SHARD_NAME.fullmatch(name)]):
        return _open_shards(tree, shards, split)
    for root in _roots(tree):
        if softras_arrays(tree, root):
            if isinstance(tree, ZipTree):
                raise InputError(f"{tree.path}: holds NMR arrays; unpack it and give the folder")
            return NmrSoftRasSource(tree, root, split=split, views=nmr_views)
        if dvr_lists(tree, root):
            return NmrDvrSource(tree, root, split=split, views=nmr_views)
    if any(name.startswith("softras_") and name.endswith(".lst") for name in tree.children()[1]):
        raise InputError(f"{tree.path}: one synset of the NMR set; give the folder above it")
    return _open_images(tree, split, view)


def open_tree(path: str | Path) -> FileTree:
    """A :class:`FolderTree` or a :class:`ZipTree`, by what ``path`` is.

    Raises:
        InputError: It does not exist, is neither, or is a zip file that cannot be trusted.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return FolderTree(path)
        if not path.exists():
            raise InputError(f"{path}: {'a link to nothing' if path.is_symlink() else 'no such file or folder'}")
        # What is no ordinary file, a pipe for one, is not opened: that could wait for ever.
        is_zip = path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{str(path)[:200]}: cannot be opened ({reason})") from error
    if path.suffix.lower() == ".npz":
        raise InputError(f"{path}: one file of a set; give the folder that holds it")
    if is_zip:
        return ZipTree(path)
    raise InputError(f"{path}: neither a folder nor a zip file; give the folder that holds the images")


def _open_shards(tree: FolderTree, names: Sequence[str], split: str | None) -> MultiViewSource:
    suffixes = {name.rpartition(".")[2] for name in names}
    if len(suffixes) > 1:
        raise InputError(
            f"{tree.path}: has shards of two forms, {' and '.join(sorted(suffixes))}; keep one in a folder"
        )
    form = TarShardSource if suffixes == {"tar"} else ArrayShardSource
    source = form(tree.path, names, split=split)
    listing, beside = tree.listing(), Survey()
    beside.add(tree, listing._replace(files=tuple(name for name in listing.files if name not in names)))
    strays = [(name, "beside shards") for name in (*beside.images, *listing.folders)]
    tell(source, tree, [*beside.bad, *strays], beside.notes())
    return source


def _roots(tree: FileTree) -> list[str]:
    """The top, and the one folder in it if there is just one: archives often have such a wrapper."""
    folders, _ = tree.children()
    return ["", *folders] if len(folders) == 1 else [""]


def _open_images(tree: FileTree, split: str | None, view: str | None) -> MultiViewSource:
    found = survey(tree)
    entries = _read_metadata(tree, found)
    names, notes = _listed(found, entries)
    if not names:
        raise InputError(f"{tree.path}: {_nothing(tree, found)}")
    strays: list[str] = []
    if any(entry.view for entry in entries.values()):  # metadata decide first, whatever the layout
        prefix = prefix_of_metadata(names, entries, found.metadata)
        has_splits = has_splits_below(names, prefix, entries)
        source: MultiViewSource = SingleViewSource(
            tree, names, prefix=prefix, has_splits=has_splits, split=split, view=view, entries=entries
        )
    else:
        names, strays = most_usual_depth(names)
        _refuse_synsets(tree, names)
        prefix, has_splits, source = _by_depth(tree, names, found.metadata, entries, split, view)
    bad = found.bad + [(name, "at another depth than most images") for name in strays]
    if split is not None and has_splits:
        # What other splits lack is theirs.
        others = {top_folder(name, prefix) for name in names} - {split}
        bad = [(name, reason) for name, reason in bad if top_folder(name, prefix) not in others]
    tell(source, tree, bad, [*notes, *found.notes()])
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
    around = {above for name in entries.keys() - set(found.images) for above in folders_above(name)}
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


def _by_depth(
    tree: FileTree,
    names: Sequence[str],
    metadata: Collection[str],
    entries: Mapping[str, ImageEntry],
    split: str | None,
    view: str | None,
) -> tuple[str, bool, MultiViewSource]:
    """The folders around the set, whether it has splits, and the set, by how deep all its images lie."""
    prefix = ""
    while is_wrapper(names, prefix, metadata, view):
        prefix = names[0][: names[0].index("/", len(prefix)) + 1]
    depth = names[0].count("/") - prefix.count("/")
    if depth > 3:
        raise InputError(f"{tree.location(names[0])}: too deep; expected {LAYOUT} below {tree.path}")
    has_splits = has_splits_below(names, prefix, entries)
    if depth <= 1 or (depth == 2 and has_splits):
        source = SingleViewSource(
            tree, names, prefix=prefix, has_splits=has_splits, split=split, view=view, entries=entries
        )
        return prefix, has_splits, source
    return prefix, depth == 3, FolderSource(tree, names, prefix=prefix, split=split, entries=entries)


def _refuse_synsets(tree: FileTree, names: Sequence[str]) -> None:
    """Raise InputError for the NMR set without its lists, whose objects would look like classes."""
    match = next((match for name in names if (match := _NMR_FILE.fullmatch(name))), None)
    if match is not None:
        raise InputError(
            f"{tree.path}: synset {match[1]} of the NMR set without its lists; put softras_train.lst, softras_val.lst "
            "or softras_test.lst, one object id per line, into its folder, and give the folder above it"
        )


def _nothing(tree: FileTree, found: Survey) -> str:
    expected = f"expected {LAYOUT}, <class>/<image>.png, or the NMR set"
    if found.bad:
        name, reason = found.bad[0]
        return f"no images here that can be read; {counted(len(found.bad), 'file')} cannot, such as {name}: {reason}"
    folders, files = tree.children()
    if not folders and not files:
        return f"empty; {expected}"
    if found.others:
        expected = f"only other files, such as {found.others[0]}; {expected}"
    return f"no images here; {expected}"
