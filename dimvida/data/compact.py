"""Records of very many objects as arrays of numbers: some ten bytes for each of them, where objects take hundreds."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dimvida.data.names import object_id
from dimvida.data.source import ObjectRecord


@dataclass(frozen=True)
class ObjectTable:
    """Objects as arrays.

    Attributes:
        views, classes, splits: The names that numbers stand for; "" is a class or a split, too.
        names: Names of objects, a sequence whose items have ``as_py()``; None for their numbers within their splits.
        name: int64 [N], of each object: the place of its name among ``names``, or its number.
        label: int32 [N], its class.
        split: int32 [N], its split.
        starts: int64 [N + 1], where its views begin among those of all objects.
        view: int16 [M], the views of all objects, those of each in the order of ``views``.
        place: int64 [M], where each is.
        kind: bool [M], whether a model made it; None where none is known to be.
        notes: A line for each kind of thing that was left out of the table.
    """

    views: tuple[str, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    names: Any
    name: np.ndarray
    label: np.ndarray
    split: np.ndarray
    starts: np.ndarray
    view: np.ndarray
    place: np.ndarray
    kind: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def object_name(self, number: int) -> str:
        """The name of an object."""
        return f"{self.name[number]:08d}" if self.names is None else self.names[int(self.name[number])].as_py()


class _Chosen(Sequence[Any]):
    """Some objects of a table, in an order of their own; what of each is shown is made when it is asked for."""

    def __init__(self, table: ObjectTable) -> None:
        self._table, self._order = table, np.arange(len(table.name))

    def take(self, indices: Sequence[int]) -> _Chosen:
        """Those of these objects, in that order."""
        taken = copy.copy(self)
        taken._order = self._order[np.asarray(indices, np.int64)]
        return taken

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self._show(int(self._order[index]))

    def __iter__(self) -> Iterator[Any]:
        return map(self._show, map(int, self._order))

    @abstractmethod
    def _show(self, number: int) -> Any:
        """What there is to say of an object of the table."""


class CompactRecords(_Chosen):
    """The records of objects, each made when it is asked for."""

    def __init__(self, table: ObjectTable) -> None:
        """All of them, in order."""
        super().__init__(table)
        self._views: dict[bytes, tuple[str, ...]] = {}  # few differ

    def _show(self, number: int) -> ObjectRecord:
        table = self._table
        numbers = table.view[table.starts[number] : table.starts[number + 1]]
        views = self._views.get(numbers.tobytes())
        if views is None:
            views = self._views.setdefault(numbers.tobytes(), tuple(table.views[view] for view in numbers))
        split, label = table.splits[table.split[number]], table.classes[table.label[number]]
        name = table.object_name(number)
        return ObjectRecord(object_id(split, label, name), name, label, split, views)


class CompactFiles(_Chosen):
    """Where the views of each object are: tuples of ``(place, view, kind)``, numbers as in the table."""

    def _show(self, number: int) -> tuple[tuple[int, int, bool], ...]:
        table = self._table
        span = slice(table.starts[number], table.starts[number + 1])
        kinds = [False] * (span.stop - span.start) if table.kind is None else table.kind[span].tolist()
        return tuple(zip(table.place[span].tolist(), table.view[span].tolist(), kinds, strict=True))
