"""``shard-000012.npy``, uint8 [N, H, W, C], and line i of ``shard-000012.jsonl`` about picture i.

The pictures of a source follow each other in the order of the model's views.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dimvida.generation.formats.base import LaidOut, Sample, SingleFileWriter, json_text, store_lines
from dimvida.generation.formats.columns import TypedColumn, line_columns
from dimvida.generation.stats import StoredFile
from dimvida.generation.storage import Place, local_file

_HEADER = 128  # numpy pads headers to a multiple of 64 and leaves room for the length to grow


class NpyWriter(SingleFileWriter):
    """Writes pixels as they are, those of a batch at once."""

    arrays = True
    ending = ".npy"
    loading = (
        "import numpy as np",
        "from datasets import load_dataset  # of arrays it has no pictures; of webdataset or parquet it has",
        "",
        'row = load_dataset("FOLDER", split="train")[0]',
        'np.load(f"FOLDER/{row[\'array\']}", mmap_mode="r")[row["index"]]',
    )

    def begin(self, configuration: Mapping[str, Any]) -> None:
        super().begin(configuration)
        self.put(self._header(self.expected))
        self._lines: list[bytes] = []
        self._pictures = 0

    def lay_out(self, samples: Sequence[Sample], first: int) -> LaidOut:
        array, lines = json_text(f"{self.stem}.npy"), []
        for sample in samples:
            key = json_text(sample.key)
            for picture in sample.pictures:
                number = first + len(lines)
                lines.append(f'{{"array": {array}, "index": {number}, "key": {key}, {picture.line}}}\n')
        return LaidOut("".join(lines).encode())

    def add(self, pictures: np.ndarray, parts: Iterable[LaidOut]) -> None:
        self.put(memoryview(pictures).cast("B"))
        self._pictures += len(pictures)
        self._lines += [part.content for part in parts]

    def commit(self) -> list[StoredFile]:
        if self._pictures != self.expected:  # files could not be read
            self.replace_start(self._header(self._pictures))
        array = self.store()
        # Which forces the folder's names to disk, too.
        return [array, store_lines(self.folder / f"{self.stem}.jsonl", self._lines)]

    @classmethod
    def pixels(cls, folder: Place, stem: str, lines: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
        with local_file(folder / f"{stem}.npy") as path:
            array = np.load(path, mmap_mode="r")
            return [np.array(array[line["index"]]) for line in lines]

    @classmethod
    def columns(cls, configuration: Mapping[str, Any]) -> list[TypedColumn]:
        where = [TypedColumn("array", "string"), TypedColumn("index", "int64"), TypedColumn("key", "string")]
        return [*where, *line_columns(configuration)]

    @classmethod
    def data_files(cls, configuration: Mapping[str, Any]) -> list[str]:
        return ["shard-*.jsonl"]

    @classmethod
    def remove(cls, folder: Place, stem: str) -> None:
        super().remove(folder, stem)
        (folder / f"{stem}.jsonl").unlink(missing_ok=True)

    def _header(self, pictures: int) -> bytes:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": "|u1", "fortran_order": False, "shape": (pictures, *self.shape)}
        )
        header = buffer.getvalue()
        assert len(header) == _HEADER and math.prod(self.shape) > 0
        return header


WRITER = NpyWriter
