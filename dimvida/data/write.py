"""Writes multi-view data as ``<split>/<class>/<object>/<view>.png`` and ``index.csv``, to a folder or zip."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image

from dimvida.errors import InputError
from dimvida.files import atomic_path, atomic_write

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold; the same bytes whenever it is written


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 [H, W, 3]; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=9)
    return buffer.getvalue()


class MultiViewWriter:
    """Writes one object after another; a context manager.

    A zip appears under its name only when complete. In a folder the index comes last, so a folder
    without ``index.csv`` is unfinished.

    Raises:
        InputError: when the output exists (a zip, or a folder that is not empty) or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._as_zip = self.path.suffix.lower() == ".zip"
        self._rows: list[tuple[str, str, str]] = []
        self._seen: set[tuple[str, str, str]] = set()
        self._stack = ExitStack()
        self._archive: zipfile.ZipFile | None = None

    def __enter__(self) -> MultiViewWriter:
        check_new_output(self.path)
        try:
            if self._as_zip:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                temporary = self._stack.enter_context(atomic_path(self.path))
                self._archive = self._stack.enter_context(zipfile.ZipFile(temporary, "w"))
            else:
                self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot write here ({error.strerror or error})") from error
        return self

    def add(self, split: str, class_name: str, name: str, views: Mapping[str, bytes]) -> None:
        """Write one object's views, PNG bytes by view name.

        Raises:
            InputError: when a name is not usable as a file name, or the object was already written.
        """
        key = (split, class_name, name)
        for part in (*key, *views):
            _check_name(part)
        if key in self._seen:
            raise InputError(f"{self.path}: two objects are named {'/'.join(key)}")
        self._seen.add(key)
        self._rows.append(key)
        for view, data in views.items():
            self._put("/".join((*key, f"{view}.png")), data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                lines = ["split,class,object", *(",".join(row) for row in self._rows)]
                self._put("index.csv", ("\n".join(lines) + "\n").encode())
        finally:
            self._stack.__exit__(kind, error, trace)

    def _put(self, member: str, data: bytes) -> None:
        if self._archive is None:
            target = self.path / member
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.parent == self.path:
                atomic_write(target, data)
            else:
                target.write_bytes(data)
            return
        info = zipfile.ZipInfo(member, _EPOCH)
        info.create_system = 3  # Unix, wherever it is written
        info.external_attr = 0o644 << 16
        self._archive.writestr(info, data)  # stored: PNG does not get smaller


def check_new_output(path: Path) -> None:
    """Raise InputError when ``path`` (a .zip or a folder) already holds something."""
    if path.suffix.lower() == ".zip":
        if path.exists():
            raise InputError(f"{path}: exists already; remove it or choose another name")
    elif path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError(f"{path}: not an empty folder; choose a new one")


def _check_name(part: str) -> None:
    if not part or part in (".", "..") or any(c in '/\\,"' or ord(c) < 32 for c in part):
        raise InputError(f"{part!r}: not usable as a split, class, object or view name")
