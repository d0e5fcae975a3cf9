"""Objects in tables: parquet files, and what ``datasets`` saves to disk.

A row is one view of an object, or an object with a column for each view. Classes, names of objects and views are read
when a set is opened, images when they are asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from dimvida.data.cameras import place_cameras
from dimvida.data.columns import Columns, Layout, make_layout, require_alike
from dimvida.data.compact import CompactFiles, CompactRecords
from dimvida.data.image_files import IMAGE_SUFFIXES
from dimvida.data.images import decode_image
from dimvida.data.names import check_split, split_of_file, unsafe_name
from dimvida.data.source import MultiViewSource, ViewImage
from dimvida.data.survey import tell_beside
from dimvida.data.table_files import ArrowFiles, ParquetFiles, TableFiles, require_pyarrow
from dimvida.data.table_rows import index_rows
from dimvida.data.tree import FileTree, files_below
from dimvida.data.zip_tree import ZipTree
from dimvida.errors import InputError

_SAVED, _SAVED_INFO, _SAVED_SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"


def open_tables(tree: FileTree, split: str | None, view: str | None, columns: Columns) -> MultiViewSource | None:
    """The set of all tables in a tree; None where there are none with images.

    Args:
        tree: The folder or archive that has the files.
        split, view, columns: The split to keep, the view of images that name none, and which columns to read; see
            ``open_source``.

    Raises:
        InputError: pyarrow is missing, a table is damaged, columns that were named are not there, or it is not said
            which views the images are.
    """
    if isinstance(tree, ZipTree):
        return None
    saved = _saved_files(tree)
    names = list(saved) or files_below(tree, (".parquet",))
    if not names:
        return None
    if not saved and find_spec("pyarrow") is None and files_below(tree, IMAGE_SUFFIXES):
        return None  # those are the data, and tables beside them say something else
    require_pyarrow(str(tree.path))
    files: TableFiles = ArrowFiles(tree, names) if saved else ParquetFiles(tree, names)
    layouts = ((schema, make_layout(schema, columns, str(tree.path))) for schema in files.schemas)
    first, layout = next((found for found in layouts if found[1] is not None), (None, None))
    if layout is None:
        return None
    for name, schema in zip(names, files.schemas, strict=True):
        require_alike(schema, first, layout, tree.location(name))
    splits = [saved.get(name, "") if saved else split_of_file(name) for name in names]
    source = TableSource(tree, files, layout, splits, split, view)
    own = [*names, _SAVED, _SAVED_INFO, _SAVED_SPLITS]
    place_cameras(source, tree, tell_beside(source, tree, own, "beside tables").others)
    return source


def _saved_files(tree: FileTree) -> dict[str, str]:
    """``file -> split`` of what ``save_to_disk`` of a ``Dataset`` or of a ``DatasetDict`` wrote; else empty."""
    if tree.exists(_SAVED_SPLITS):
        folders = {f"{name}/": name for name in _told(tree, _SAVED_SPLITS, "splits", str)}
    elif tree.exists(_SAVED) and tree.exists(_SAVED_INFO):
        folders = {"": ""}
    else:
        return {}
    return {
        folder + file["filename"]: split
        for folder, split in folders.items()
        for file in _told(tree, folder + _SAVED, "_data_files", dict)
    }


def _told(tree: FileTree, name: str, field: str, kind: type) -> list[Any]:
    """A list in the JSON of what was saved to disk."""
    try:
        items = json.loads(tree.read(name, 2**24))[field]
        names = [item["filename"] if kind is dict else item for item in items]
        if all(isinstance(text, str) and not unsafe_name(text) for text in names):
            return items
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise InputError(f"{tree.location(name)}: not the JSON that datasets writes; save the set again")


class TableSource(MultiViewSource):
    """Objects in the rows of tables."""

    def __init__(
        self,
        tree: FileTree,
        files: TableFiles,
        layout: Layout,
        splits: Sequence[str],
        split: str | None,
        view: str | None,
    ) -> None:
        """Index all rows.

        Args:
            tree: The folder or archive that has the files.
            files: The files of the set, whose rows are numbered through.
            layout: Which of their columns hold images, views, classes and names.
            splits: The split of each file.
            split: Keep this one only, or all for None.
            view: The view of all images, where no column says it.

        Raises:
            InputError: There is no such split, a view is not said or there twice, or a name cannot be one.
        """
        self._rows = files
        table = index_rows(files, layout, splits, view, str(tree.path))
        column_of = {view: column for column, view in layout.images.items()}
        self._images = tuple(column_of.get(name) or column_of[None] for name in table.views)  # by the numbers of views
        check_split(tree.path, split, table.splits)
        super().__init__(tree.path, files.kind.lower(), table.views, table.classes, (), (), table.notes)
        self.records, self._files = CompactRecords(table), CompactFiles(table)  # names are distinct by their making
        if split is not None:
            chosen = self.select(np.flatnonzero(table.split == table.splits.index(split)))
            self.records, self._files = chosen.records, chosen._files

    def _read(self, file: tuple[int, int, bool]) -> ViewImage:
        return decode_image(self._data(file), self._locate(file))

    def _sha256(self, file: tuple[int, int, bool]) -> str:
        return hashlib.sha256(self._data(file)).hexdigest()

    def _data(self, file: tuple[int, int, bool]) -> bytes:
        return self._rows.image(file[0], self._column(file))

    def _column(self, file: tuple[int, int, bool]) -> str:
        return self._images[file[1]]

    def _locate(self, file: tuple[int, int, bool]) -> str:
        place = self._rows.location(file[0])
        return place if len(set(self._images)) == 1 else f"{place[:-1]}, {self._column(file)}]"

    def _kind(self, file: tuple[int, int, bool]) -> str:
        return "generated" if file[2] else "real"
