"""Files of tables with images in them: parquet, and the Arrow files of ``datasets``.

A file is opened for as long as something is read of it, so that nothing of it is shared between processes. Images are
read a group of rows at a time, as the files have them, and groups that were used last are kept.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from dimvida.data.source import RecentArrays
from dimvida.data.tree import FileTree
from dimvida.errors import DimvidaError, InputError, UnreadableImage

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MEMORY = 256 * 2**20
"""Bytes of groups that are kept; one is kept whatever it takes."""

GROUP_LIMIT = 64 * 2**20
"""Images of a larger group of rows are read from its beginning on, a part at a time."""

_PART, _BLOCK = 16 * 2**20, 2**20
_MOST_PARTS, _MOST_MAPPED = 4, 64


def require_pyarrow(where: str) -> None:
    """Raise InputError where ``pyarrow`` is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InputError(f"{where}: needs pyarrow; pip install 'dimvida[parquet]'") from None


class TableFiles(ABC):
    """Files of tables, whose rows are numbered through.

    Attributes:
        schemas: The columns of each.
        starts: The first row of each file, and the number of rows.
    """

    kind = ""

    def __init__(self, tree: FileTree, names: Sequence[str]) -> None:
        """Look at each file.

        Raises:
            InputError: One cannot be read.
        """
        self._tree, self.names = tree, tuple(names)
        self.schemas: list[pa.Schema] = []
        counts = []
        for number in range(len(self.names)):
            with self._readable(number):
                schema, rows = self._open(number)
            self.schemas.append(schema)
            counts.append(rows)
        self.starts = np.cumsum([0, *counts])

    @abstractmethod
    def _open(self, number: int) -> tuple[pa.Schema, int]:
        """Columns and number of rows of a file."""

    @abstractmethod
    def texts(self, number: int, columns: Sequence[str]) -> pa.Table:
        """Small columns of a whole file."""

    @abstractmethod
    def absent(self, number: int, column: str) -> np.ndarray | None:
        """bool [rows]: where a file has no image; None where each row has one."""

    @abstractmethod
    def _value(self, number: int, row: int, column: str) -> Any:
        """What is in a row of a file."""

    def image(self, row: int, column: str) -> bytes:
        """The image file in a row.

        Raises:
            UnreadableImage: There is none, or it cannot be read.
        """
        number, within = self._place(row)
        with self._readable(number):
            value = self._value(number, within, column)
        if isinstance(value, dict):
            if value.get("bytes") is None and value.get("path"):
                raise UnreadableImage(
                    self.location(row), f"holds the name of a file ({value['path'][:80]!r}), no image"
                )
            value = value.get("bytes")
        if value is None:
            raise UnreadableImage(self.location(row), "holds no image")
        return value

    def location(self, row: int) -> str:
        """What an error calls a row: its file, and its place there."""
        number, within = self._place(row)
        return f"{self._tree.location(self.names[number])}[{within}]"

    def _place(self, row: int) -> tuple[int, int]:
        """A row's file, and its number there."""
        number = int(np.searchsorted(self.starts, row, "right")) - 1
        return number, row - int(self.starts[number])

    @contextmanager
    def _readable(self, number: int) -> Iterator[None]:
        """What damage raises becomes one line."""
        try:
            yield
        except (DimvidaError, MemoryError):
            raise
        except Exception as error:  # a damaged file raises almost anything
            lines = str(error).splitlines() or [type(error).__name__]
            reason = f"not a readable {self.kind} file, or has changed ({lines[0][:200]}); make or fetch it again"
            raise UnreadableImage(self._tree.location(self.names[number]), reason) from error


class ParquetFiles(TableFiles):
    """Parquet files. A copy for another process starts without groups."""

    kind = "parquet"

    def __init__(self, tree: FileTree, names: Sequence[str]) -> None:
        """See ``TableFiles``."""
        self._groups: list[np.ndarray] = []  # of each file: the first rows of its groups, and its rows
        self._bytes: list[np.ndarray] = []  # of each group, unpacked
        super().__init__(tree, names)
        self._start()

    def _start(self) -> None:
        self._recent = RecentArrays(self._load, most_bytes=MEMORY)
        self._parts: dict[tuple[int, int, str], _Parts] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_recent", "_parts", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    @contextmanager
    def _opened(self, number: int) -> Iterator[pq.ParquetFile]:
        from pyarrow.parquet import ParquetFile

        # Without a buffer before it reads what it is asked for, and not all columns of a group ahead.
        with self._tree.open(self.names[number]) as file:
            yield ParquetFile(file, pre_buffer=False, buffer_size=_BLOCK)

    def _open(self, number: int) -> tuple[pa.Schema, int]:
        with self._opened(number) as file:
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            self._groups.append(np.cumsum([0, *(group.num_rows for group in groups)]))
            self._bytes.append(np.array([group.total_byte_size for group in groups], np.int64))
            return file.schema_arrow, file.metadata.num_rows

    def texts(self, number: int, columns: Sequence[str]) -> pa.Table:
        with self._readable(number), self._opened(number) as file:
            return file.read(list(columns), use_threads=False)

    def absent(self, number: int, column: str) -> np.ndarray | None:
        with self._readable(number), self._opened(number) as file:
            counts = [_nulls(file.metadata.row_group(group), column) for group in range(file.num_row_groups)]
            if not any(count is None or count for count in counts):
                return None
            parts = []
            for group, (count, rows) in enumerate(zip(counts, np.diff(self._groups[number]), strict=True)):
                if count in (0, rows):
                    parts.append(np.full(rows, count == rows and rows > 0))
                else:  # only the images themselves tell
                    batches = file.iter_batches(self._part_rows(number, group), [group], [column], use_threads=False)
                    parts += [batch.column(0).is_null().to_numpy(zero_copy_only=False) for batch in batches]
            return np.concatenate(parts)

    def _value(self, number: int, row: int, column: str) -> Any:
        group = int(np.searchsorted(self._groups[number], row, "right")) - 1
        row -= int(self._groups[number][group])
        if self._bytes[number][group] <= GROUP_LIMIT:
            return self._recent.get((number, group, column))[row].as_py()
        with self._lock:
            parts = self._parts.pop((number, group, column), None)
            if parts is None or parts.first > row or parts.process != os.getpid():
                parts = _Parts(self._tree.open(self.names[number]), group, column, self._part_rows(number, group))
                while len(self._parts) >= _MOST_PARTS:
                    del self._parts[next(iter(self._parts))]
            value = parts.value(row)
            self._parts[number, group, column] = parts
            return value

    def _load(self, key: tuple[int, int, str]) -> pa.Array:
        number, group, column = key
        with self._opened(number) as file:
            return file.read_row_group(group, [column], use_threads=False).column(0).combine_chunks()

    def _part_rows(self, number: int, group: int) -> int:
        rows = self._groups[number][group + 1] - self._groups[number][group]
        return max(1, int(rows * _PART // max(1, self._bytes[number][group])))


class _Parts:
    """A group of rows that is read a part at a time, in order.

    Attributes:
        process: That whose file it is.
        first: The first row that can still be read.
    """

    def __init__(self, file: IO[bytes], group: int, column: str, rows: int) -> None:
        from pyarrow.parquet import ParquetFile

        parquet = ParquetFile(file, pre_buffer=False, buffer_size=_BLOCK)
        self._batches = parquet.iter_batches(rows, [group], [column], use_threads=False)
        self.process, self.first, self._part = os.getpid(), 0, ()

    def value(self, row: int) -> Any:
        """What is in a row, from ``first`` on."""
        while row >= self.first + len(self._part):
            self.first += len(self._part)
            self._part = next(self._batches).column(0)
        return self._part[row - self.first].as_py()


class ArrowFiles(TableFiles):
    """Arrow streams, as ``datasets`` writes them, mapped into memory. A copy for another process maps them anew."""

    kind = "Arrow"

    def __init__(self, tree: FileTree, names: Sequence[str]) -> None:
        """See ``TableFiles``."""
        self._tables = RecentArrays(self._map, most_arrays=_MOST_MAPPED)
        super().__init__(tree, names)

    def _map(self, number: int) -> pa.Table:
        import pyarrow as pa

        with pa.memory_map(str(self._tree.local(self.names[number]))) as file:
            return pa.ipc.open_stream(file).read_all()

    def _open(self, number: int) -> tuple[pa.Schema, int]:
        table = self._tables.get(number)
        return table.schema, table.num_rows

    def texts(self, number: int, columns: Sequence[str]) -> pa.Table:
        with self._readable(number):
            return self._tables.get(number).select(list(columns))

    def absent(self, number: int, column: str) -> np.ndarray | None:
        with self._readable(number):
            images = self._tables.get(number).column(column)
            return images.is_null().to_numpy() if images.null_count else None

    def _value(self, number: int, row: int, column: str) -> Any:
        return self._tables.get(number).column(column)[row].as_py()


def _nulls(group: pq.RowGroupMetaData, column: str) -> int | None:
    """How many images a group of rows lacks, as its statistics tell; None where they do not."""
    for place in range(group.num_columns):
        chunk = group.column(place)
        if chunk.path_in_schema in (column, f"{column}.bytes"):
            told = chunk.statistics is not None and chunk.statistics.has_null_count
            return chunk.statistics.null_count if told else None
    return None
