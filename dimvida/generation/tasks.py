"""The objects of a plan: what is known of each, and what is generated, in a few bytes an object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from dimvida.data.source import MultiViewSource, ObjectRecord


@dataclass(frozen=True, slots=True)
class Task:
    """One object of the plan.

    Attributes:
        index: The object's number in the source.
        record: What the source says of the object: its id, class, split and views.
        known: The views it is generated from, in the model's order; at least one.
        targets: The views to generate, in the model's order; at least one, none of them known.
    """

    index: int
    record: ObjectRecord
    known: tuple[str, ...]
    targets: tuple[str, ...]


Kind = tuple[tuple[str, ...], tuple[str, ...]]
"""The known views of an object, and those to generate."""


class Tasks(Sequence[Task]):
    """Tasks that are made when asked for: a hundred million take four to twelve bytes each, besides their records.

    Args:
        source: The data set that the objects are of.
        chosen: Place in the source and kind of each task.

    Attributes:
        kinds: Every kind that occurs.
    """

    def __init__(self, source: MultiViewSource, chosen: Iterable[tuple[int, Kind]]) -> None:
        self._source = source
        numbers: dict[Kind, int] = {}
        places = np.fromiter(
            ((index, numbers.setdefault(kind, len(numbers))) for index, kind in chosen),
            np.dtype([("index", np.int64), ("kind", np.uint32)]),
        )
        self.kinds: tuple[Kind, ...] = tuple(numbers)
        self._kind = places["kind"].copy()
        whole = len(places) == len(source)  # then each is at its own place
        self._index: np.ndarray | range = range(len(places)) if whole else places["index"].copy()
        self._known, self._targets = (np.array([len(kind[side]) for kind in self.kinds], np.int64) for side in (0, 1))

    def __len__(self) -> int:
        return len(self._kind)

    @overload
    def __getitem__(self, place: int) -> Task: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Task, ...]: ...
    def __getitem__(self, place: int | slice) -> Task | tuple[Task, ...]:
        if isinstance(place, slice):
            return tuple(self[each] for each in range(*place.indices(len(self))))
        index = int(self._index[place])
        return Task(index, self._source.records[index], *self.kinds[self._kind[place]])

    def __iter__(self) -> Iterator[Task]:
        if isinstance(self._index, range):  # records one after the other, which may lie packed
            for index, (record, kind) in enumerate(zip(self._source.records, self._kind, strict=True)):
                yield Task(index, record, *self.kinds[kind])
        else:
            yield from (self[place] for place in range(len(self)))

    def select(self, tasks: Iterable[Task]) -> Tasks:
        """Some of them, in that order."""
        return Tasks(self._source, ((task.index, (task.known, task.targets)) for task in tasks))

    def known_in(self, places: slice) -> np.ndarray:
        """Number of known views of some tasks, int64."""
        return self._known[self._kind[places]]

    def targets_in(self, places: slice) -> np.ndarray:
        """Number of views to generate of some tasks, int64."""
        return self._targets[self._kind[places]]

    def count_targets(self) -> int:
        """Number of views to generate of all tasks."""
        return int(np.bincount(self._kind, minlength=len(self.kinds)) @ self._targets)
