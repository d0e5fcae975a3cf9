"""Writes multi-view data as ``<split>/<class>/<object>/<view>.png``, ``index.csv`` and ``cameras.json``, to a folder
or zip.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from dimvida.data.cameras import CAMERAS_NAME, Camera, cameras_text
from dimvida.data.names import check_view_name
from dimvida.errors import DimvidaError, InputError
from dimvida.files import atomic_write, fsync_folder, sha256_file, take_lock

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold; the same bytes whenever it is written
_INDEX = "index.csv"
_JOURNAL, _PART, _PACKED = ".unfinished.jsonl", ".part", ".packed.zip"

Key = tuple[str, str, str]


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG of uint8 [H, W, 3]; the same pixels give the same bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=9)
    return buffer.getvalue()


class MultiViewWriter:
    """Writes one object after another; a context manager.

    An object's folder appears when it is complete, and a line of a journal then says so. In a folder the index
    comes last, so a folder without ``index.csv`` is unfinished; a zip is packed at the end from the folder
    ``<name>.zip.unfinished`` and appears when it is complete. What an interruption or an error leaves is
    continued by the next writer of the same output, if it is ``about`` the same.

    Raises:
        InputError: The output is complete already, holds other things or what is about something else,
            belongs to another process just now, or cannot be written.
        DimvidaError: Writing failed later, for a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        about: Mapping[str, Any] | None = None,
        cameras: Mapping[str, Camera] | None = None,
    ) -> None:
        """Nothing is written yet.

        Args:
            path: The folder, or the zip by its suffix.
            about: How the objects are made, as JSON has it.
            cameras: Where the views are seen from, by their names; by default nothing is said of it.
        """
        self.path = Path(path)
        self._as_zip = self.path.suffix.lower() == ".zip"
        self._folder = self.path.with_name(f"{self.path.name}.unfinished") if self._as_zip else self.path
        self._about = json.loads(json.dumps(about or {}))
        self._cameras = {} if cameras is None else {CAMERAS_NAME: cameras_text(cameras)}
        self._rows: dict[Key, tuple[str, ...]] = {}
        self._earlier: dict[Key, dict[str, Any]] = {}
        self._journal: FileIO | None = None

    def __enter__(self) -> MultiViewWriter:
        try:
            self._check_output()
            self._folder.mkdir(parents=True, exist_ok=True)
            self._journal = open(self._folder / _JOURNAL, "ab", buffering=0)
            try:
                self._continue()
            except BaseException:
                self._journal.close()
                raise
        except OSError as error:
            raise InputError(f"{self.path}: cannot write here ({error.strerror or error})") from error
        return self

    def keep(self, split: str, class_name: str, name: str) -> bool:
        """Whether an earlier writer has completed this object, of files that are still the same; it is kept then."""
        key = (split, class_name, name)
        line = self._earlier.get(key)
        if line is None or not _is_whole(self._folder.joinpath(*key), line["views"]):
            return False
        try:
            same = all(sha256_file(path) == digest for path, digest in line["digests"].items())
        except OSError:
            return False
        if same:
            self._add_row(key, line["views"])
        return same

    def add(
        self,
        split: str,
        class_name: str,
        name: str,
        views: Mapping[str, bytes],
        digests: Mapping[str, str] | None = None,
    ) -> None:
        """Write one object's views, PNG bytes by view name.

        Args:
            split: Name of the object's split, its first folder; "" for none.
            class_name: Name of the object's class, the folder around it.
            name: Name of the object, the folder of its views.
            views: PNG bytes by view name.
            digests: Hex SHA-256 of the files that it was made of, by path.

        Raises:
            InputError: A name is not usable as a file name, or the object was already written.
            DimvidaError: It cannot be written.
        """
        key = (split, class_name, name)
        check_key(key)
        for view in views:
            check_view_name(view, f"{self.path}")
        self._add_row(key, tuple(views))
        try:
            part, target = self._folder / _PART, self._folder.joinpath(*key)
            part.mkdir()
            for view, data in views.items():
                (part / f"{view}.png").write_bytes(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove(target)
            part.rename(target)
            self._say({"object": key, "views": list(views), "digests": dict(digests or {})})
        except OSError as error:
            raise self._failure(error) from error

    def sort(self, keys: Iterable[Key]) -> None:
        """Have the index and a zip in the order of ``keys``, (split, class, name), and not in that of writing."""
        self._rows = {key: self._rows[key] for key in keys if key in self._rows}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._journal:
            if kind is None:
                try:
                    self._finish()
                except OSError as problem:
                    raise self._failure(problem) from problem

    def _check_output(self) -> None:
        if self._as_zip:
            if self.path.exists():
                raise InputError(f"{self.path}: exists already; remove it or choose another name")
        elif (self.path / _JOURNAL).exists():
            return
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(f"{self.path}: not an empty folder; choose a new one")

    def _continue(self) -> None:
        """Take the folder for this process, and what the journal says that it holds."""
        take_lock(self._journal, f"{self.path}: another process is writing it; wait for it or choose another")
        about, end = None, 0
        for text in (self._folder / _JOURNAL).read_bytes().splitlines(keepends=True):
            line = _line(text)
            if line is None:  # an interruption came in the middle of it
                break
            end += len(text)
            if about is None:
                about = line
            else:
                self._earlier[tuple(line["object"])] = line
        self._journal.truncate(end)
        if about is None:
            self._say(self._about)
        elif about != self._about:
            other = sorted(key for key in {*about, *self._about} if about.get(key) != self._about.get(key))
            raise InputError(
                f"{self.path}: holds an unfinished output with another {', '.join(other)}; "
                f"give the same options to continue it, or choose another output"
            )
        _remove(self._folder / _PART)

    def _finish(self) -> None:
        for key in self._earlier.keys() - self._rows.keys():  # its file is gone, or cannot be read any more
            _remove(self._folder.joinpath(*key))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("split", "class", "object"), *self._rows])
        if self._as_zip:
            self._pack({_INDEX: text.getvalue(), **self._cameras})
            shutil.rmtree(self._folder)
        else:
            for name, content in {**self._cameras, _INDEX: text.getvalue()}.items():
                atomic_write(self._folder / name, content)
            (self._folder / _JOURNAL).unlink()

    def _pack(self, texts: Mapping[str, str]) -> None:
        packed = self._folder / _PACKED
        with zipfile.ZipFile(packed, "w") as archive:
            for key, views in self._rows.items():
                for view in views:
                    member = "/".join((*key, f"{view}.png"))
                    archive.writestr(_member(member), (self._folder / member).read_bytes())
            for name, content in texts.items():
                archive.writestr(_member(name), content.encode())
        with open(packed, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(packed, self.path)
        fsync_folder(self.path.parent)

    def _add_row(self, key: Key, views: tuple[str, ...] | list[str]) -> None:
        if key in self._rows:
            raise InputError(f"{self.path}: two objects are named {'/'.join(key)}")
        self._rows[key] = tuple(views)

    def _say(self, line: Mapping[str, Any]) -> None:
        text = json.dumps(line).encode() + b"\n"
        if self._journal.write(text) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _failure(self, error: OSError) -> DimvidaError:
        reason = error.strerror or error
        return DimvidaError(f"{self.path}: cannot be written ({reason}); the same command continues what is done")


def _line(text: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(text) if text.endswith(b"\n") else None
    except ValueError:
        return None


def _is_whole(folder: Path, views: list[str]) -> bool:
    """Whether a folder has these PNG files to their ends: a machine that went down may have left less."""
    try:
        return all((folder / f"{view}.png").read_bytes().endswith(b"IEND\xaeB`\x82") for view in views)
    except OSError:
        return False


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)  # stored: PNG does not get smaller
    info.create_system = 3  # Unix, wherever it is written
    info.external_attr = 0o644 << 16
    return info


def check_key(key: Key) -> None:
    """Raise InputError unless split, class and object can name folders, in the index and on a terminal too."""
    for part in key:
        control = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in part)
        surrogates = part.encode(errors="ignore").decode() != part
        if not part or part.startswith(".") or "/" in part or "\\" in part or control or surrogates:
            raise InputError(f"{part!a}: not usable as a split, class or object name")
