"""``shard-000012.npy``, uint8 [N, H, W, C], and line i of ``shard-000012.jsonl`` about picture i.

The pictures of a source follow each other in the order of the model's views.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from dimvida.files import atomic_path, sha256_file
from dimvida.generation.formats.base import Sample, ShardWriter, json_line
from dimvida.generation.stats import StoredFile

_HEADER = 128  # numpy pads headers to a multiple of 64 and leaves room for the length to grow


class NpyWriter(ShardWriter):
    """Writes pixels as they are."""

    arrays = True

    def __init__(self, folder: Path, stem: str, shape: tuple[int, int, int], suffix: str) -> None:
        super().__init__(folder, stem, shape, suffix)
        self._temporary = _temporary(folder, stem)
        self._temporary.unlink(missing_ok=True)  # of a killed process, or a link
        self._file: IO[bytes] = open(self._temporary, "xb")  # noqa: SIM115 - until commit or abort
        self._file.write(self._header(0))
        self._lines: list[bytes] = []

    def add(self, sample: Sample) -> None:
        for picture in sample.pictures:
            self._file.write(picture.data)
            place = {"array": f"{self.stem}.npy", "index": len(self._lines), "key": sample.key}
            self._lines.append(json_line(place | picture.line))

    def commit(self) -> list[StoredFile]:
        size = self._file.tell()
        self._file.seek(0)
        self._file.write(self._header(len(self._lines)))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        array, data = self.folder / f"{self.stem}.npy", b"".join(self._lines)
        digest = sha256_file(self._temporary)
        os.replace(self._temporary, array)
        with atomic_path(self.folder / f"{self.stem}.jsonl") as temporary:  # forces the folder's names to disk, too
            temporary.write_bytes(data)
        return [
            StoredFile(array.name, size, digest),
            StoredFile(f"{self.stem}.jsonl", len(data), hashlib.sha256(data).hexdigest()),
        ]

    def abort(self) -> None:
        with suppress(OSError):  # what is still buffered may not fit on the disk
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    @classmethod
    def remove(cls, folder: Path, stem: str) -> None:
        for path in (folder / f"{stem}.npy", folder / f"{stem}.jsonl", _temporary(folder, stem)):
            path.unlink(missing_ok=True)

    def _header(self, pictures: int) -> bytes:
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            buffer, {"descr": "|u1", "fortran_order": False, "shape": (pictures, *self.shape)}
        )
        header = buffer.getvalue()
        assert len(header) == _HEADER and math.prod(self.shape) > 0
        return header


def _temporary(folder: Path, stem: str) -> Path:
    return folder / f".{stem}.npy.part"
