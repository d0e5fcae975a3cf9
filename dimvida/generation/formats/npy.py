"""``shard-000012.npy``, uint8 [N, H, W, C], and line i of ``shard-000012.jsonl`` about picture i.

The pictures of a source follow each other in the order of the model's views.
"""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path

import numpy as np

from dimvida.files import atomic_write
from dimvida.generation.formats.base import Sample, SingleFileWriter, json_line
from dimvida.generation.stats import StoredFile

_HEADER = 128  # numpy pads headers to a multiple of 64 and leaves room for the length to grow


class NpyWriter(SingleFileWriter):
    """Writes pixels as they are."""

    arrays = True
    ending = ".npy"

    def __init__(self, folder: Path, stem: str, shape: tuple[int, int, int], suffix: str) -> None:
        super().__init__(folder, stem, shape, suffix)
        self._file.write(self._header(0))
        self._lines: list[bytes] = []

    def add(self, sample: Sample) -> None:
        for data, line in sample.pictures:
            self._file.write(data)
            place = {"array": f"{self.stem}.npy", "index": len(self._lines), "key": sample.key}
            self._lines.append(json_line(place | line))

    def commit(self) -> list[StoredFile]:
        self._file.seek(0)
        self._file.write(self._header(len(self._lines)))
        array, data = self.store(), b"".join(self._lines)
        atomic_write(self.folder / f"{self.stem}.jsonl", data)  # which forces the folder's names to disk, too
        return [array, StoredFile(f"{self.stem}.jsonl", len(data), hashlib.sha256(data).hexdigest())]

    @classmethod
    def remove(cls, folder: Path, stem: str) -> None:
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
