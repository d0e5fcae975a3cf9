"""Folders of files, read through one small interface that zip files share (``zip_tree``).

Names inside a tree are relative, with "/" between the parts, whatever holds them.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from dimvida.data.names import natural_key
from dimvida.errors import InputError, UnreadableImage

READ_LIMIT = 256 * 2**20
"""Most bytes that are read of one file."""

SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"}
"""What archivers, file servers and file systems leave in folders, with thumbnails and copies of what is there."""

_BLOCK = 2**20
_FIRST_FOLDERS, _MOST_LEVELS = 64, 3


class Unlistable(InputError):
    """A folder whose content is not known.

    Attributes:
        reason: Why it cannot be listed.
    """

    def __init__(self, location: str, reason: str) -> None:
        super().__init__(f"{location}: cannot be listed ({reason})")
        self.reason = reason


class Listing(NamedTuple):
    """What is directly in a folder, by full names in the tree, each in natural order.

    Attributes:
        folders: Folders.
        files: Ordinary files.
        hidden: Dotfiles, and with a "/" at the end dotted folders and ``SYSTEM_FOLDERS``, which are not looked into.
        circular: Links to a folder around them.
        unusable: Everything else, each with what it is: links to nothing, devices and the like.
    """

    folders: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    circular: tuple[str, ...] = ()
    unusable: tuple[tuple[str, str], ...] = ()


class FileTree(ABC):
    """Folders and files below a root.

    Safe for concurrent use by threads, by forked processes and, pickled, by spawned ones.
    """

    path: Path
    form: str

    @abstractmethod
    def listing(self, folder: str = "") -> Listing:
        """What is directly in ``folder``.

        Raises:
            Unlistable: It cannot be looked into.
            InputError: A name in it is not UTF-8.
        """

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""

    @abstractmethod
    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        """The whole file; no more memory than the file needs is asked for.

        Raises:
            UnreadableImage: Missing, damaged, not permitted, no ordinary file, or larger than ``limit`` bytes.
        """

    @abstractmethod
    def blocks(self, name: str) -> Iterator[bytes]:
        """The file in blocks of about 1 MiB; raises as ``read``, but for the limit."""

    @abstractmethod
    def head(self, name: str, size: int) -> bytes:
        """The first ``size`` bytes of the file, or all of a shorter one; raises as ``read``."""

    def open(self, name: str) -> IO[bytes]:
        """The file, to read any part of it; raises as ``read``. Not for another process."""
        return io.BytesIO(self.read(name))

    def local(self, name: str) -> Path:
        """A file on this machine that has its content, for what can read nothing else; raises as ``read``."""
        raise UnreadableImage(self.location(name), "is in an archive; unpack it and give the folder")

    @abstractmethod
    def location(self, name: str) -> str:
        """What an error message calls the file."""

    def children(self, folder: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Full names of the folders and of the files directly in ``folder``, each in natural order."""
        listing = self.listing(folder)
        return listing.folders, listing.files

    def lines(self, name: str, longest: int) -> Iterator[bytes]:
        """The file's lines without their ends, read as they are asked for.

        Raises:
            UnreadableImage: As ``read``, or a line has more than ``longest`` bytes.
        """
        rest = b""
        for block in self.blocks(name):
            *whole, rest = (rest + block).split(b"\n")
            if max(map(len, (*whole, rest))) > longest:
                raise UnreadableImage(self.location(name), f"has a line of more than the limit of {longest} bytes")
            yield from whole
        yield rest


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


def files_below(tree: FileTree, suffixes: tuple[str, ...]) -> list[str]:
    """Files of such names, which hold many objects each, in order: those of a folder before those of folders in it.

    Such a set has few folders. Whether it is one is therefore told by the first of them, and nobody waits for a look
    into each of the folders that images lie in.
    """
    found: list[str] = []
    waiting, looked = deque([""]), 0
    while waiting and (found or looked < _FIRST_FOLDERS):
        folder = waiting.popleft()
        looked += 1
        try:
            folders, files = tree.children(folder)
        except Unlistable:
            if not folder:
                raise
            continue  # whoever looks at everything tells of it
        found += [name for name in files if name.lower().endswith(suffixes)]
        if folder.count("/") < _MOST_LEVELS:
            waiting += folders
    return found


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


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is not looked at."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _printable(name: str, root: Path) -> str:
    # Names become ids, which are hashed and written as UTF-8.
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{root}: the file name {name!r} is not UTF-8; rename it") from None
    return name
