"""``shard-000012.parquet``: a row for each picture, with the image file in the column ``image``.

The types of the columns, images and classes among them, are in the file, where Hugging Face ``datasets`` looks for
them. The same pictures give the same bytes, whatever the batches, as long as the same ``pyarrow`` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from dimvida.data.images import decode_image
from dimvida.generation.formats.base import LaidOut, Sample, SingleFileWriter
from dimvida.generation.formats.columns import TypedColumn, line_columns
from dimvida.generation.stats import StoredFile
from dimvida.generation.storage import Place, local_file

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

GROUP = 128
"""Rows of a row group: what a reader that wants one picture has to read."""

_IMAGE = "image.bytes"  # as parquet names it; compressed already, and of no use in an index
_OPTIONS = {
    "version": "2.6",
    "data_page_version": "1.0",
    "data_page_size": 2**20,
    "write_batch_size": 1024,
    "compression_level": None,
    "use_byte_stream_split": False,
    "column_encoding": None,
    "store_schema": True,
    "write_page_index": False,
    "write_page_checksum": False,
}


class ParquetWriter(SingleFileWriter):
    """Writes rows in groups of ``GROUP``."""

    numbered_classes = True
    ending = ".parquet"
    package = "pyarrow"

    def begin(self, configuration: Mapping[str, Any]) -> None:
        super().begin(configuration)
        from pyarrow import parquet

        self._classes = configuration["classes"]
        self._schema = arrow_schema(self.columns(configuration))
        leaves = [name for name in _leaves(self._schema) if name != _IMAGE]
        self._sink = _Sink(self)
        self._writer = parquet.ParquetWriter(
            self._sink,
            self._schema,
            compression=dict.fromkeys(leaves, "zstd") | {_IMAGE: "none"},
            use_dictionary=leaves,
            write_statistics=leaves,
            **_OPTIONS,
        )
        self._waiting: list[pa.RecordBatch] = []

    def lay_out(self, samples: Sequence[Sample], first: int) -> LaidOut:
        import pyarrow as pa

        rows = []
        for sample in samples:
            for picture in sample.pictures:
                line = json.loads(f"{{{picture.line}}}")
                if self._classes:
                    line["label"] = sample.label
                image = {"bytes": picture.data, "path": f"{sample.key}__{picture.view}{self.suffix}"}
                rows.append({"image": image, "key": sample.key, **line})
        return LaidOut(pa.RecordBatch.from_pylist(rows, self._schema))

    def add(self, pictures: np.ndarray, parts: Iterable[LaidOut]) -> None:
        self._waiting += [part.content for part in parts]
        self._write_groups(GROUP)

    def commit(self) -> list[StoredFile]:
        self._write_groups(1)
        self._writer.close()
        stored = self.store()
        self.settle()
        return [stored]

    def _write_groups(self, least: int) -> None:
        """Write what waits, as long as there are so many rows."""
        import pyarrow as pa

        waiting = pa.Table.from_batches(self._waiting, self._schema)
        start = 0
        while len(waiting) - start >= least:
            self._writer.write_table(waiting.slice(start, GROUP).combine_chunks(), row_group_size=GROUP)
            start += GROUP
        self._waiting = waiting.slice(start).to_batches()

    def abort(self) -> None:
        self._sink.dropping = True  # what is left is not worth the disk
        with suppress(Exception):  # that it was writing for, perhaps
            self._writer.close()
        super().abort()

    @classmethod
    def lines(cls, folder: Place, stem: str, sources: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
        path = folder / f"{stem}.parquet"
        if not path.exists():  # a shard of unreadable inputs has none
            return
        import pyarrow as pa

        with _opened(path) as file:
            told = [name for name in file.schema_arrow.names if name != "image"]
            features = json.loads(file.schema_arrow.metadata[b"huggingface"])["info"]["features"]
            names, row = features["label"].get("names"), 0
            for batch in file.iter_batches(columns=told, use_threads=False):
                rows = range(row, row + len(batch))
                row += len(batch)
                if sources is not None:
                    wanted = [source in sources for source in batch["source"].to_pylist()]
                    rows, batch = list(compress(rows, wanted)), batch.filter(pa.array(wanted, pa.bool_()))
                for number, line in zip(rows, batch.to_pylist(), strict=True):
                    if names is not None and line["label"] is not None:
                        line["label"] = names[line["label"]]
                    yield {"row": number, **line}

    @classmethod
    def pixels(cls, folder: Place, stem: str, lines: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        path = folder / f"{stem}.parquet"
        groups: dict[int, list[Any]] = {}
        with _opened(path) as file:
            for group in {line["row"] // GROUP for line in lines}:
                groups[group] = file.read_row_group(group, ["image"], use_threads=False).column(0)
        stored = [(line["row"], groups[line["row"] // GROUP][line["row"] % GROUP].as_py()) for line in lines]
        return [decode_image(image["bytes"], f"{path}[{row}]").pixels for row, image in stored]

    @classmethod
    def columns(cls, configuration: Mapping[str, Any]) -> list[TypedColumn]:
        return [TypedColumn("image", "image"), TypedColumn("key", "string"), *line_columns(configuration)]


class _Sink:
    """What pyarrow writes to: the file of a shard, and its hash.

    Attributes:
        dropping: Whether everything that still comes is dropped.
    """

    closed = dropping = False

    def __init__(self, writer: ParquetWriter) -> None:
        self._writer, self._size = writer, 0

    def write(self, data: bytes) -> int:
        if not self.dropping:
            self._writer.put(data)
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Do nothing: the shard forces its file to disk itself."""

    def close(self) -> None:
        """Do nothing: the shard closes its file itself."""


def arrow_schema(columns: Sequence[TypedColumn]) -> pa.Schema:
    """The columns as a file has them, with what ``datasets`` is to make of them."""
    import pyarrow as pa

    features = {"info": {"features": {column.name: _feature(column) for column in columns}}}
    fields = [pa.field(column.name, _arrow_type(column)) for column in columns]
    return pa.schema(fields, {"huggingface": json.dumps(features)})


def _arrow_type(column: TypedColumn) -> pa.DataType:
    import pyarrow as pa

    plain = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "class": pa.int64()}
    if column.kind == "image":
        return pa.struct({"bytes": pa.binary(), "path": pa.string()})
    if column.kind == "list":
        return pa.list_(pa.string())
    if column.kind == "struct":
        return pa.struct([pa.field(part.name, _arrow_type(part)) for part in column.parts])
    return plain[column.kind]


def _feature(column: TypedColumn) -> Any:
    """A column's type as ``datasets`` has it in JSON."""
    if column.kind == "image":
        return {"_type": "Image"}
    if column.kind == "class":
        return {"names": list(column.parts), "_type": "ClassLabel"}
    if column.kind == "list":
        return [{"dtype": "string", "_type": "Value"}]
    if column.kind == "struct":
        return {part.name: _feature(part) for part in column.parts}
    return {"dtype": column.kind, "_type": "Value"}


def _leaves(schema: pa.Schema) -> list[str]:
    """The columns of numbers and texts that a file has for the columns of a schema."""
    import pyarrow as pa

    def below(name: str, kind: pa.DataType) -> Iterator[str]:
        if pa.types.is_struct(kind):
            for part in kind:
                yield from below(f"{name}.{part.name}", part.type)
        else:
            yield f"{name}.list.element" if pa.types.is_list(kind) else name

    return [leaf for field in schema for leaf in below(field.name, field.type)]


@contextmanager
def _opened(path: Place) -> Iterator[parquet.ParquetFile]:
    from pyarrow import parquet

    with local_file(path) as local, open(local, "rb") as file:
        yield parquet.ParquetFile(file, pre_buffer=False)


WRITER = ParquetWriter
