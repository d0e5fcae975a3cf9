"""The rows of tables as objects with views: which rows are the same object, and what each is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dimvida.data.columns import Layout
from dimvida.data.compact import ObjectTable
from dimvida.data.names import check_view_name, composed, counted, may_be_in_id, order_splits, order_views
from dimvida.data.table_files import TableFiles
from dimvida.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_TEXTS = ("string", "large_string", "string_view", "null")
_BYTES = ("binary", "large_binary", "binary_view")  # which some writers have for text
_PLAIN = r"^[ !#-.0-\[\]-~]+$"  # ASCII without slashes


class _Views(NamedTuple):
    """The views of all rows: names, and of each its row, the number of its name, and the place of its column."""

    names: tuple[str, ...]
    row: np.ndarray
    view: np.ndarray


def index_rows(files: TableFiles, layout: Layout, splits: Sequence[str], view: str | None, where: str) -> ObjectTable:
    """The objects of all R rows, in the order in which they begin.

    Args:
        files: The files of the set, whose rows are numbered through.
        layout: Which of their columns hold images, views, classes and names.
        splits: The split of each file.
        view: The view of all images, where no column says it.
        where: What an error calls the set.

    Raises:
        InputError: A view is not said, or said twice; an object has one view twice; something cannot be a name.
    """
    rows = _Rows(files, layout, where)
    views = rows.views(view)
    split_names = ("", *order_splits({*splits} - {""}))
    split = np.repeat(np.array([split_names.index(name) for name in splits], np.int32), np.diff(files.starts))
    classes, label = rows.classes()
    names, name = rows.objects(split)
    first = object_of = np.arange(len(split))
    if names is not None:
        key = (split.astype(np.int64) * len(classes) + label) * max(1, len(names)) + name
        _, first, object_of = np.unique(key, return_index=True, return_inverse=True)
        order = np.argsort(first)
        first, object_of = first[order], np.argsort(order)[object_of]
    object_of = object_of[views.row]
    empty = np.bincount(object_of, minlength=len(first)) == 0
    notes = []
    if names is None and layout.view is not None and len(views.names) > 1:
        notes.append("each row is an object of its own: no column names objects (--column object=NAME)")
    if empty.any():
        where_first = files.location(int(first[empty][0]))
        notes.append(f"not read: {counted(int(empty.sum()), 'object')} without images (first: {where_first})")
        first, object_of = first[~empty], (np.cumsum(~empty) - 1)[object_of]
    name, label, split = name[first], label[first], split[first]
    if names is not None:
        names, name = _named(names, name, label, split, classes, layout.keys, where)
    order = np.lexsort((views.view, object_of))
    object_of, view_of = object_of[order], views.view[order]
    kind = rows.generated()
    table = ObjectTable(
        views=views.names,
        classes=classes,
        splits=split_names,
        names=names,
        name=name,
        label=label,
        split=split,
        starts=np.searchsorted(object_of, np.arange(len(first) + 1)),
        view=view_of,
        place=views.row[order],
        kind=None if kind is None else kind[views.row][order],
        notes=tuple(notes),
    )
    twice = np.flatnonzero((object_of[1:] == object_of[:-1]) & (view_of[1:] == view_of[:-1]))
    if len(twice):
        one, other = (files.location(int(table.place[place])) for place in (twice[0], twice[0] + 1))
        name = table.object_name(int(object_of[twice[0]]))
        raise InputError(f"{one} and {other}: both are view {views.names[view_of[twice[0]]]!r} of object {name!r}")
    return table


class _Rows:
    """The small columns of all rows."""

    def __init__(self, files: TableFiles, layout: Layout, where: str) -> None:
        import pyarrow as pa

        self._files, self._layout, self._where = files, layout, where
        self._count = int(files.starts[-1])
        self._texts = pa.concat_tables(files.texts(number, layout.texts) for number in range(len(files.names)))

    def views(self, view: str | None) -> _Views:
        """The views that there are; ``view`` is that of all images, where no column says it."""
        layout = self._layout
        if view is not None and (layout.view is not None or len(layout.images) > 1):
            said = layout.view or ", ".join(layout.images)
            raise InputError(f"{self._where}: its columns say the views ({said}); leave out --view")
        if len(layout.images) > 1:
            return self._views_of_columns()
        if layout.view is None:
            if view is None:
                raise InputError(
                    f"{self._where}: which views are its images? Give --view NAME for all of them, --column view=NAME "
                    f"for a column that says it (there are {', '.join(self._files.schemas[0].names)}), or --column "
                    "image=NAME for each column that is a view"
                )
            check_view_name(composed(view), "--view")
            names, numbers = [composed(view)], np.zeros(self._count, np.int64)
        else:
            names, numbers = self._encoded(layout.view, check_view_name)
            self._require_all(layout.view, numbers)
        ordered = order_views(names)
        rank = np.array([ordered.index(name) for name in names], np.int16)
        return _Views(ordered, np.arange(self._count), rank[numbers])

    def _views_of_columns(self) -> _Views:
        ordered = order_views(self._layout.images.values())
        rows, ranks = [], []
        for column, view in self._layout.images.items():
            for number, start in enumerate(self._files.starts[:-1]):
                absent = self._files.absent(number, column)
                count = int(self._files.starts[number + 1] - start)
                present = np.arange(count) if absent is None else np.flatnonzero(~absent)
                rows.append(present + start)
                ranks.append(np.full(len(present), ordered.index(view), np.int16))
        return _Views(ordered, np.concatenate(rows), np.concatenate(ranks))

    def classes(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Names of classes, "" for none the first, and int32 [R] of each row."""
        if self._layout.label is None:
            return ("",), np.zeros(self._count, np.int32)
        names, numbers = self._encoded(self._layout.label, _check_part)
        ordered = ("", *sorted({*names} - {""}))
        place = np.array([ordered.index(name) for name in names] + [0], np.int32)  # the last for rows without one
        return ordered, place[numbers]

    def objects(self, split: np.ndarray) -> tuple[pa.Array | None, np.ndarray]:
        """Names of objects, and int64 [R] of each row; None for numbers within the splits."""
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._layout.object
        if column is None:
            number = np.zeros(self._count, np.int64)
            for one in np.unique(split):
                number[split == one] = np.arange(np.count_nonzero(split == one))
            return None, number
        texts = self._text(column)
        if self._layout.draw is not None:
            draws = self._texts.column(self._layout.draw)
            if pc.max(draws).as_py():  # several of an object are objects of their own, as in other forms
                texts = pc.binary_join_element_wise(texts, pc.cast(draws, texts.type), pa.scalar("-", texts.type))
        names, numbers = _encode(texts)
        self._require_all(column, numbers)
        return names, numbers

    def generated(self) -> np.ndarray | None:
        """bool [R]: what a model made; None for nothing."""
        if self._layout.kind is None:
            return None
        names, numbers = self._encoded(self._layout.kind, lambda name, where: None)
        made = np.array([name == "generated" for name in names] + [False])[numbers]
        return made if made.any() else None

    def _encoded(self, column: str, check: Callable[[str, str], None]) -> tuple[list[str], np.ndarray]:
        """The few texts in a column, and the number of each row's; -1 where a row has none."""
        stored, numbers = _encode(self._text(column))
        names = [composed(name) for name in stored.to_pylist()]
        for name in names:
            check(name, f"{self._where}, column {column}")
        return names, numbers

    def _text(self, column: str) -> pa.ChunkedArray:
        """A column as text: numbers that stand for names are those, others are written out."""
        import pyarrow as pa
        import pyarrow.types as types

        values = self._texts.column(column)
        if types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        if types.is_integer(values.type) and (names := self._layout.classes.get(column)):
            return self._names_of(values, names, column)
        if not types.is_integer(values.type) and str(values.type) not in (*_TEXTS, *_BYTES):
            raise InputError(f"{self._where}: column {column} is {values.type}, neither text nor whole numbers")
        try:
            return values.cast(pa.large_string())
        except pa.ArrowInvalid:
            raise InputError(f"{self._where}: column {column} holds bytes that are no text (UTF-8)") from None

    def _names_of(self, numbers: pa.ChunkedArray, names: Sequence[str], column: str) -> pa.ChunkedArray:
        """The names that numbers stand for; none for -1."""
        import pyarrow as pa
        import pyarrow.compute as pc

        numbers = numbers.cast(pa.int64(), safe=False)
        inside = pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, len(names)))
        strange = numbers.filter(pc.invert(pc.or_(inside, pc.equal(numbers, -1))))  # nulls are left out
        if len(strange):
            raise InputError(
                f"{self._where}: column {column} holds {strange[0]}, and has names for 0 to {len(names) - 1} only"
            )
        return pc.take(pa.array(names, pa.large_string()), pc.if_else(inside, numbers, None))

    def _require_all(self, column: str, numbers: np.ndarray) -> None:
        if len(lacking := np.flatnonzero(numbers < 0)):
            raise InputError(f"{self._files.location(int(lacking[0]))}: has nothing in column {column}")


def _encode(texts: pa.ChunkedArray) -> tuple[pa.Array, np.ndarray]:
    """The distinct texts, and int64 [R], the number of each row's; -1 where there is none."""
    import pyarrow.compute as pc

    whole = texts.combine_chunks().dictionary_encode()
    return whole.dictionary, pc.fill_null(whole.indices, -1).to_numpy().astype(np.int64)


def _named(
    names: pa.Array,
    name: np.ndarray,
    label: np.ndarray,
    split: np.ndarray,
    classes: Sequence[str],
    keys: bool,
    where: str,
) -> tuple[pa.Array, np.ndarray]:
    """Names of objects as they can be part of ids, and of each object its number.

    What is before a name is left out where that is the object's class, and in ``keys`` of outputs, where it is a folder
    called like that.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pc.all(pc.match_substring_regex(names, _PLAIN)).as_py() is not False:
        return names, name
    made: list[str] = []
    taken = set()
    for stored, *key in zip(names.take(pa.array(name)).to_pylist(), label.tolist(), split.tolist(), strict=True):
        text = composed(stored)
        text = text.rpartition("/")[2] if keys else text.removeprefix(f"{classes[key[0]]}/")
        if not may_be_in_id(text) or not text.strip("/ ."):
            raise InputError(f"{where}: {stored[:80]!a} cannot be the name of an object")
        made.append(text.replace("/", "_"))
        taken.add((made[-1], *key))
        if len(taken) < len(made):
            raise InputError(f"{where}: two objects are called {made[-1]}, {stored[:80]!r} the second; rename one")
    return pa.array(made, pa.large_string()), np.arange(len(made))


def _check_part(name: str, where: str) -> None:
    if "/" in name or not may_be_in_id(name):
        raise InputError(f"{where}: {name[:80]!r} cannot be the name of a class")
