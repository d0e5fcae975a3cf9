"""An ordinary folder as a tree of files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from dimvida.data.names import natural_key
from dimvida.data.tree import READ_LIMIT, FileTree, Listing, Unlistable, is_hidden
from dimvida.errors import InputError, UnreadableImage

_BLOCK = 2**20


class FolderTree(FileTree):
    """An ordinary folder. Symbolic links are followed: whoever owns the folder made them."""

    form = "folder"

    def __init__(self, path: Path, folder: Path | None = None, only: Sequence[str] | None = None) -> None:
        """Nothing is read yet.

        Args:
            path: The folder, or what names some files of one.
            folder: The folder that those are in.
            only: Their names in it, where there is to be nothing else.
        """
        self.path, self._folder = path, path if folder is None else folder
        self._only = None if only is None else tuple(only)

    def listing(self, folder: str = "") -> Listing:
        if self._only is not None:
            return Listing(files=self._only)
        found: dict[str, list[str]] = {kind: [] for kind in ("folder", "file", "hidden", "circular")}
        unusable = []
        try:
            with os.scandir(self._folder / folder) as entries:
                for entry in entries:
                    name = _printable(f"{folder}/{entry.name}" if folder else entry.name, self.path)
                    kind = self._kind(entry, folder)
                    if is_hidden(entry.name):
                        kind, name = "hidden", name + "/" * (kind == "folder")
                    found[kind].append(name) if kind in found else unusable.append((name, kind))
        except OSError as error:
            raise Unlistable(str(self._folder / folder), str(error.strerror)) from error
        names = (tuple(sorted(names, key=natural_key)) for names in found.values())
        return Listing(*names, tuple(sorted(unusable, key=lambda item: natural_key(item[0]))))

    def exists(self, name: str) -> bool:
        try:
            return (self._only is None or name in self._only) and (self._folder / name).is_file()
        except (OSError, ValueError):  # longer than names can be
            return False

    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        try:
            return read_file(self._folder / name, limit)
        except OSError as error:
            raise self._unreadable(name, error) from error

    def blocks(self, name: str) -> Iterator[bytes]:
        try:
            with open_file(self._folder / name) as file:
                while block := file.read(_BLOCK):
                    yield block
        except OSError as error:
            raise self._unreadable(name, error) from error

    def head(self, name: str, size: int) -> bytes:
        try:
            with open_file(self._folder / name) as file:
                return file.read(size)
        except OSError as error:
            raise self._unreadable(name, error) from error

    def open(self, name: str) -> IO[bytes]:
        try:
            return open_file(self._folder / name)
        except OSError as error:
            raise self._unreadable(name, error) from error

    def part(self, name: str, offset: int, size: int) -> bytes:
        with self.open(name) as file:
            try:
                file.seek(offset)
                return file.read(size)
            except OSError as error:
                raise self._unreadable(name, error) from error

    def local(self, name: str) -> Path:
        return self._folder / name

    def location(self, name: str) -> str:
        return str(self._folder / name)

    def _unreadable(self, name: str, error: OSError) -> UnreadableImage:
        if error.errno == errno.EFBIG:
            return UnreadableImage(self.location(name), str(error.strerror))
        return UnreadableImage(self.location(name), f"cannot be read ({error.strerror})")

    def _kind(self, entry: os.DirEntry[str], folder: str) -> str:
        """ "folder", "file", "circular", or what it is instead."""
        try:
            if entry.is_file():
                return "file"
            if entry.is_dir():
                return "circular" if entry.is_symlink() and self._is_around(entry.path, folder) else "folder"
            entry.stat()
        except FileNotFoundError:
            return "a link to nothing"
        except OSError as error:
            return f"a link that leads nowhere ({error.strerror})" if entry.is_symlink() else str(error.strerror)
        return "neither a file nor a folder"

    def _is_around(self, path: str, folder: str) -> bool:
        """Whether a link in ``folder`` leads to it, or to a folder above it on any way that led there."""
        target = os.path.realpath(path)
        parts = folder.split("/") if folder else []
        above = (os.path.realpath(self._folder.joinpath(*parts[:count])) for count in range(len(parts) + 1))
        return any(place == target or place.startswith(target.rstrip("/") + "/") for place in above)


def open_file(path: str | Path) -> IO[bytes]:
    """Open an ordinary file to read it; never waits for whoever would write to a pipe.

    Raises:
        OSError: It cannot be opened, or is a device, a pipe or the like.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not an ordinary file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: str | Path, limit: int) -> bytes:
    """The whole file.

    Raises:
        OSError: As ``open_file``; with EFBIG, that it has more than ``limit`` bytes.
    """
    with open_file(path) as file:
        # What is asked for is what the file says that it has, not the limit; some files of the system say 0.
        data = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
        while len(data) <= limit and (more := file.read(_BLOCK)):
            data += more
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than the limit of {limit} bytes")
    return data


def _printable(name: str, root: Path) -> str:
    # Names become ids, which are hashed and written as UTF-8.
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{root}: the file name {name!r} is not UTF-8; rename it") from None
    return name
