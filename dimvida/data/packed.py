"""Sequences of very many small things, which lie packed: of ten million files, Python objects would fill a machine."""

from __future__ import annotations

import pickle
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

import numpy as np

T = TypeVar("T")

CHUNK_ITEMS = 1024
"""Items that are packed together; whoever asks for one has all of them unpacked."""

PACKED_FROM = 50_000
"""Items from which on it is worth packing them."""

_KEPT = 16  # chunks that stay unpacked, those that were asked for last
_LEVEL = 1  # of compression: names and paths are alike, and the lowest level takes most of it


class Packed(Sequence[T]):
    """A sequence that holds its items as bytes, and makes an item when asked for it.

    In order it costs about a microsecond an item, at random about a millisecond. Safe for threads. Two arrays hold
    everything, so processes may share it (Ray's object store does).

    Args:
        items: What can be pickled; taken one after the other, and not kept.
    """

    def __init__(self, items: Iterable[T]) -> None:
        chunk: list[T] = []
        data, ends, self._count = bytearray(), [0], 0

        def pack() -> None:
            data.extend(zlib.compress(pickle.dumps(chunk, pickle.HIGHEST_PROTOCOL), _LEVEL))
            ends.append(len(data))
            self._count += len(chunk)
            chunk.clear()

        for item in items:
            chunk.append(item)
            if len(chunk) == CHUNK_ITEMS:
                pack()
        if chunk:
            pack()
        self._data = np.frombuffer(data, np.uint8)
        self._ends = np.array(ends, np.int64)
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._unpacked: dict[int, list[T]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of the packed items."""
        return self._data.nbytes + self._ends.nbytes

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[T, ...]: ...
    def __getitem__(self, place: int | slice) -> T | tuple[T, ...]:
        if isinstance(place, slice):
            return tuple(self[each] for each in range(*place.indices(self._count)))
        if not -self._count <= place < self._count:
            raise IndexError(place)
        number, within = divmod(place % self._count, CHUNK_ITEMS)
        with self._lock:
            chunk = self._unpacked.pop(number, None)
            if chunk is None:
                chunk = self._unpack(number)
                if len(self._unpacked) >= _KEPT:
                    del self._unpacked[next(iter(self._unpacked))]
            self._unpacked[number] = chunk  # last in the order, so the first is the one not used for longest
        return chunk[within]

    def __iter__(self) -> Iterator[T]:
        for number in range(len(self._ends) - 1):
            yield from self._unpack(number)

    def _unpack(self, number: int) -> list[T]:
        start, end = self._ends[number : number + 2]
        return pickle.loads(zlib.decompress(self._data[start:end]))

    def __getstate__(self) -> dict[str, Any]:
        return {"_data": self._data, "_ends": self._ends, "_count": self._count}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()


def packed(items: Sequence[T]) -> Sequence[T]:
    """The same items, packed if they are many."""
    return items if isinstance(items, Packed) or len(items) < PACKED_FROM else Packed(items)
