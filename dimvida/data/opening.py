"""Opens a data set of any known form, recognised by looking at what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dimvida.data.array_shards import ArrayShardSource
from dimvida.data.folder import LAYOUT, FolderSource
from dimvida.data.images import is_image_name
from dimvida.data.metadata import METADATA_NAME
from dimvida.data.nmr import DEFAULT_VIEWS, NmrDvrSource, NmrSoftRasSource, dvr_lists, softras_arrays
from dimvida.data.shards import SHARD_NAME
from dimvida.data.single import SingleViewSource
from dimvida.data.source import USUAL_SPLITS, MultiViewSource, counted
from dimvida.data.tar_shards import TarShardSource
from dimvida.data.tree import FileTree, FolderTree, ZipTree, open_tree
from dimvida.errors import InputError

# split, class, object, and one folder around it all
_DEPTH = 4


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

    Args:
        path: The folder or zip file.
        split: Only the objects of this split.
        view: The view of all images of a single-view set; multi-view sets name their views themselves.
        nmr_views: The NMR views to read, of 0 to 23.

    Raises:
        InputError: Nothing fits, there is no such split, or what is there contradicts itself.
    """
    tree = open_tree(path)
    if isinstance(tree, FolderTree) and (shards := [name for name in tree.children()[1] if SHARD_NAME.fullmatch(name)]):
        return _open_shards(tree.path, shards, split)
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


def _open_shards(folder: Path, names: Sequence[str], split: str | None) -> MultiViewSource:
    suffixes = {name.rpartition(".")[2] for name in names}
    if len(suffixes) > 1:
        raise InputError(f"{folder}: has shards of two forms, {' and '.join(sorted(suffixes))}; keep one in a folder")
    source = TarShardSource if suffixes == {"tar"} else ArrayShardSource
    return source(folder, names, split=split)


def _roots(tree: FileTree) -> list[str]:
    """The top, and the one folder in it if there is just one: archives often have such a wrapper."""
    folders, _ = tree.children()
    return ["", *folders] if len(folders) == 1 else [""]


def _open_images(tree: FileTree, split: str | None, view: str | None) -> MultiViewSource:
    images = [name for name in tree.walk(depth=_DEPTH) if is_image_name(name)]
    if not images:
        raise InputError(f"{tree.path}: {_nothing(tree)}")
    # The form is that of most images; a stray contact sheet in the top folder does not change it.
    depths = Counter(name.count("/") for name in images)
    depth = max(depths, key=lambda level: (depths[level], level))
    fitting = [name for name in images if name.count("/") == depth]
    notes = _stray(images, depth)

    tops = {name.split("/")[0] for name in fitting} if depth else set()
    prefix = ""
    if len(tops) == 1 and _is_wrapper(tree, fitting, depth, view):
        prefix = f"{tops.pop()}/"
        depth -= 1
        tops = {name.split("/")[1] for name in fitting} if depth else set()
    if depth <= 1 or (depth == 2 and tops <= set(USUAL_SPLITS)):
        return SingleViewSource(tree, fitting, prefix=prefix, split=split, view=view, notes=notes)
    if depth > 3:
        raise InputError(f"{tree.location(fitting[0])}: too deep; expected {LAYOUT} below {tree.path}")
    return FolderSource(tree, fitting, prefix=prefix, split=split, notes=notes)


def _is_wrapper(tree: FileTree, images: Sequence[str], depth: int, view: str | None) -> bool:
    """Whether the one top folder of all images is around the set rather than a split or a class of it."""
    top = images[0].split("/")[0]
    if top in USUAL_SPLITS:
        return False
    if depth > 3 or tree.exists(f"{top}/{METADATA_NAME}"):
        return True
    # <top>/<class>/<image> has the depth of <class>/<object>/<view>; what is said about views decides.
    return depth == 2 and (view is not None or all("__" in name.rpartition("/")[2] for name in images))


def _stray(images: Sequence[str], depth: int) -> list[str]:
    stray = [name for name in images if name.count("/") != depth]
    if not stray:
        return []
    return [f"{counted(len(stray), 'image')} at another depth than most (first: {stray[0]})"]


def _nothing(tree: FileTree) -> str:
    expected = f"expected {LAYOUT}, <class>/<image>.png, or the NMR set"
    folders, files = tree.children()
    if not folders and not files:
        return f"empty; {expected}"
    return f"no images here; {expected}"
