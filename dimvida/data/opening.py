"""Opens a data set of any known form, recognised by looking at what is there."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from dimvida import remote
from dimvida.data.columns import Columns
from dimvida.data.folder_tree import FolderTree
from dimvida.data.image_folders import open_images
from dimvida.data.nmr import DEFAULT_VIEWS, open_nmr
from dimvida.data.partitions import select_partition
from dimvida.data.remote_tree import RemoteTree
from dimvida.data.sample import locate
from dimvida.data.shards import open_shards
from dimvida.data.source import MultiViewSource
from dimvida.data.tables import open_tables
from dimvida.data.tree import COMPRESSED, FileTree
from dimvida.data.webdataset import open_webdataset
from dimvida.data.zip_tree import ZipTree
from dimvida.errors import InputError

_FILES = (".parquet", ".tar")  # which hold many objects each
_MOST_NAMES = 1_000_000


def open_source(
    path: str | Path,
    *,
    split: str | None = None,
    view: str | None = None,
    columns: Columns | None = None,
    nmr_views: Sequence[int] | None = None,
) -> MultiViewSource:
    """Open a folder or a zip file in whichever form it is.

    - ``[<split>/]<class>/<object>/<view>.png``: multi-view images;
    - ``[<split>/]<class>/<image>.png`` or ``<image>.png``: single images, where the top folder named
      by ``<split>`` must be train, val, test or alike;
    - either public form of the NMR renderings;
    - parquet files with images in a column, and folders that ``save_to_disk`` of ``datasets`` wrote;
    - tar files of samples, ``<key>.jpg``, ``<key>.cls`` and ``<key>.json``, as WebDataset has them;
    - ``shard-000000.tar`` or ``shard-000000.npy`` and so on, as ``dimvida generate`` writes them.

    Nothing is left out in silence: see ``MultiViewSource.notes`` and ``left_out``.

    Args:
        path: A URL (``s3://bucket/folder``) or a path; of a folder, a zip, parquet or tar file, or files as
            ``data-{000..003}.tar``; "sample" for the objects in the package, unless there is something of that name.
            "~" is the home folder.
        split: Only the objects of this split.
        view: The view of all images of a single-view set; multi-view sets name their views themselves.
        columns: Columns of tables, where they are not called as usual.
        nmr_views: The NMR views to read, of 0 to 23; by default 0, 6, 12 and 18.

    Raises:
        InputError: Nothing fits, there is no such split, or what is there contradicts itself.
    """
    tree = open_tree(locate(path))
    # Each form says None to what it is not. Those that a few names tell come first; images may lie in any way.
    source = open_shards(tree, split)  # a folder with numbered shards in it
    if source is None:
        source = open_nmr(
            tree, split, DEFAULT_VIEWS if nmr_views is None else nmr_views
        )  # arrays or lists of synsets, in it or in its only folder
    if source is None:
        source = open_tables(
            tree, split, view, columns or Columns()
        )  # parquet files with images in them, or what datasets saved
    if source is None:
        source = open_webdataset(tree, split, view, columns or Columns())  # other tar files, where no images are
    if source is None and columns is not None and columns.named:
        raise InputError(f"{tree.path}: has no columns, so no --column; parquet files and WebDataset shards have")
    if source is None:
        source = open_images(tree, split, view)  # whatever images are below, and what metadata.jsonl say of them
    if nmr_views is not None and not source.form.startswith("nmr-"):
        raise InputError(
            f"{tree.path}: not the NMR data set but {source.form}, so no --nmr-views; its views are all read"
        )
    return source


def open_part(
    path: str | Path,
    purpose: Literal["train", "test"],
    split: str | None = None,
    partition: Path | None = None,
    columns: Columns | None = None,
    nmr_views: Sequence[int] | None = None,
) -> tuple[MultiViewSource, str | None]:
    """Open the objects of a data set that a model is trained on, or tested on.

    Args:
        path: The data set, see ``open_source``.
        purpose: ``train`` for part d of a partition or the split for training, ``test`` for part e or that for testing.
        split: The split instead, by its name.
        partition: A partition file. It names its objects itself, of whatever split.
        columns, nmr_views: Which columns of tables, and which NMR views are read; see ``open_source``.

    Returns:
        The objects, and the name of their split; None where no split was chosen: those are all objects there are, or
        all of the part.

    Raises:
        InputError: As ``open_source`` and ``select_partition``, or there are several splits for the purpose.
    """
    source = open_source(path, split=split, columns=columns, nmr_views=nmr_views)
    if partition is not None:
        return select_partition(source, partition, {"train": "d", "test": "e"}[purpose]), split
    if split is not None or not source.splits:
        return source, split
    split = source.split_for(purpose)
    if split is not None:
        source = open_source(path, split=split, columns=columns, nmr_views=nmr_views)
    return source, split


def open_tree(path: str | Path) -> FileTree:
    """What ``path`` is: a folder, a zip file, or files of many objects, which are a folder of nothing else.

    Raises:
        InputError: It does not exist, is none of these, or is a zip file that cannot be trusted.
    """
    url = remote.url_of(path)
    if url is not None:
        return _open_remote(url)
    path = Path(path)
    try:
        if path.is_dir():
            return FolderTree(path)
        if not path.exists() and (names := expand_braces(str(path))) != [str(path)]:
            folder = Path(os.path.commonpath([Path(name).parent for name in names]))
            return FolderTree(path, folder, [Path(name).relative_to(folder).as_posix() for name in names])
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
    if path.suffix.lower() in _FILES:
        return FolderTree(path, path.parent, [path.name])
    _require_unpacked(path.name, str(path))
    raise InputError(f"{path}: neither a folder nor a zip file; give the folder that holds the images")


def _open_remote(url: str) -> FileTree:
    place = url.partition("?")[0] if url.startswith("http") else url
    if place.startswith(("file://", "local://")):
        return open_tree(place.partition("://")[2])
    folder, _, base = place.rpartition("/")
    _require_unpacked(base, remote.shown(url))
    if base.lower().endswith(".zip"):
        return ZipTree(remote.fetched(url), remote.shown(url))
    if (names := expand_braces(place)) != [place]:
        folder = os.path.commonpath([os.path.dirname(name).partition("://")[2] for name in names])
        folder = f"{place.partition('://')[0]}://{folder}"
        return RemoteTree(url, folder, [name.removeprefix(f"{folder}/") for name in names])
    return RemoteTree(url, folder, [base]) if base.lower().endswith(_FILES) else RemoteTree(url)


def _require_unpacked(name: str, location: str) -> None:
    """Raise InputError for a compressed archive: nothing in one can be read without all that is before it."""
    if name.lower().endswith(COMPRESSED):
        raise InputError(f"{location}: compressed archives are not read; unpack it, and give what was in it")


def expand_braces(text: str) -> list[str]:
    """``a-{000..003}.tar`` or ``{a,b}.tar`` as the names that it stands for, in order; a text without braces as it is.

    Raises:
        InputError: They are none, or more than a million.
    """
    names = list(islice(_expanded(text), _MOST_NAMES + 1))  # what stands for many more must not fill the memory
    if not 0 < len(names) <= _MOST_NAMES:
        raise InputError(f"{text}: {f'more than {_MOST_NAMES} files' if names else 'names no files'}")
    return names


def _expanded(text: str) -> Iterator[str]:
    match = re.search(r"\{(?:(\d{1,18})\.\.(\d{1,18})|([^{}]*,[^{}]*))\}", text)
    if match is None:
        yield text
        return
    if match[3] is not None:
        parts = iter(match[3].split(","))
    else:
        parts = (f"{number:0{len(match[1])}d}" for number in range(int(match[1]), int(match[2]) + 1))
    for part in parts:
        yield from _expanded(text[: match.start()] + part + text[match.end() :])
