"""A folder or a zip file, read through one small interface.

Names inside a tree are relative, with "/" between the parts, whatever holds them.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import weakref
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dimvida.data.source import natural_key
from dimvida.errors import InputError, UnreadableImage

READ_LIMIT = 256 * 2**20
"""Most bytes that are read of one file."""


class FileTree(ABC):
    """Folders and files below a root. Dotfiles and ``__MACOSX`` are not shown.

    Safe for concurrent use by threads, by forked processes and, pickled, by spawned ones.
    """

    path: Path

    @abstractmethod
    def children(self, folder: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Full names of the folders and of the files directly in ``folder``, each in natural order."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""

    @abstractmethod
    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        """The whole file.

        Raises:
            UnreadableImage: Missing, damaged, not permitted or larger than ``limit`` bytes.
        """

    @abstractmethod
    def location(self, name: str) -> str:
        """What an error message calls the file."""

    def walk(self, folder: str = "", depth: int = 0) -> Iterator[str]:
        """Names of the files in ``folder`` and in at most ``depth`` levels of folders below it."""
        folders, files = self.children(folder)
        yield from files
        if depth > 0:
            for child in folders:
                yield from self.walk(child, depth - 1)


def open_tree(path: str | Path) -> FileTree:
    """A :class:`FolderTree` or a :class:`ZipTree`, by what ``path`` is.

    Raises:
        InputError: It does not exist, is neither, or is a zip file that cannot be trusted.
    """
    path = Path(path)
    if path.is_dir():
        return FolderTree(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".npz":
        raise InputError(f"{path}: one file of a set; give the folder that holds it")
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return ZipTree(path)
    raise InputError(f"{path}: neither a folder nor a zip file; give the folder that holds the images")


class FolderTree(FileTree):
    """An ordinary folder. Symbolic links are followed: whoever owns the folder made them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def children(self, folder: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        folders, files = [], []
        try:
            with os.scandir(self.path / folder) as entries:
                for entry in entries:
                    if _is_hidden(entry.name):
                        continue
                    name = _printable(f"{folder}/{entry.name}" if folder else entry.name, self.path)
                    kind = _kind(entry)
                    if kind == "folder":
                        folders.append(name)
                    elif kind == "file":
                        files.append(name)
        except OSError as error:
            raise InputError(f"{self.path / folder}: cannot be listed ({error.strerror})") from error
        return tuple(sorted(folders, key=natural_key)), tuple(sorted(files, key=natural_key))

    def exists(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        try:
            with open(self.path / name, "rb") as file:
                data = file.read(limit + 1)
        except OSError as error:
            raise UnreadableImage(self.location(name), f"cannot be read ({error.strerror})") from error
        if len(data) > limit:
            raise UnreadableImage(self.location(name), f"more than the limit of {limit} bytes")
        return data

    def location(self, name: str) -> str:
        return str(self.path / name)


_HEADER_SIZE = 30  # of a member's local header, before its name and extra field


class _Member(NamedTuple):
    offset: int
    packed_size: int
    size: int
    method: int
    crc: int


class ZipTree(FileTree):
    """A zip file whose members were all checked when it was opened.

    Members are read by position (``pread``) instead of through :class:`zipfile.ZipFile`: that leaves
    no file offset to be shared, and damaged, between forked processes, needs no lock between threads,
    and is several times faster on small members.

    Raises:
        InputError: Not a zip file, or a member is encrypted, a symbolic link, a duplicate, packed by
            an unknown method, or has a name that leaves the archive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, struct.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path}: not a readable zip file ({reason}); make or fetch it again") from error
        self._members = self._check(entries)
        self._folders = _index(self._members)
        self._open()

    def children(self, folder: str = "") -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self._folders.get(folder, ((), ()))

    def exists(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        member = self._members.get(name)
        if member is None:
            raise UnreadableImage(self.location(name), "not in the archive")
        if max(member.size, member.packed_size) > limit:
            reason = f"{member.size} bytes unpacked, more than the limit of {limit}"
            raise UnreadableImage(self.location(name), reason)
        try:
            data = self._unpack(member)
        except (OSError, zlib.error, struct.error) as error:
            raise UnreadableImage(self.location(name), f"damaged in the archive ({error})") from error
        if len(data) != member.size or zlib.crc32(data) != member.crc:
            raise UnreadableImage(self.location(name), "damaged in the archive (size or checksum differs)")
        return data

    def location(self, name: str) -> str:
        return f"{self.path}!{name}"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_descriptor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)

    def _check(self, entries: list[zipfile.ZipInfo]) -> dict[str, _Member]:
        members: dict[str, _Member] = {}
        for entry in entries:
            problem = _problem(entry)
            # "./a//b" names the same file as "a/b".
            name = "/".join(part for part in entry.filename.split("/") if part not in ("", "."))
            if problem is None and name in members and not entry.is_dir():
                problem = "is in the archive twice; make the archive again"
            if problem is not None:
                raise InputError(f"{self.location(entry.orig_filename)!r}: member {problem}")
            if not entry.is_dir() and not any(_is_hidden(part) for part in name.split("/")):
                members[name] = _Member(
                    entry.header_offset, entry.compress_size, entry.file_size, entry.compress_type, entry.CRC
                )
        return members

    def _unpack(self, member: _Member) -> bytes:
        # The local header repeats the name and may have other extra fields than the directory's, so
        # only it says where the data begin. One read takes both unless those fields are long.
        block = os.pread(self._descriptor, _HEADER_SIZE + 512 + member.packed_size, member.offset)
        if block[:4] != b"PK\3\4":
            raise zlib.error("no member where the directory says")
        name_size, extra_size = struct.unpack_from("<HH", block, 26)
        start = _HEADER_SIZE + name_size + extra_size
        packed = block[start : start + member.packed_size]
        if len(packed) < member.packed_size:
            packed = os.pread(self._descriptor, member.packed_size, member.offset + start)
        if member.method == zipfile.ZIP_STORED:
            return packed
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)


def unsafe_name(name: str) -> str | None:
    """Why a relative name from an archive or a list may not be used, or None if it may."""
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "is an absolute path"
    if "\\" in name or "\0" in name:
        return "has a backslash or a zero byte in its name"
    if ".." in name.split("/"):
        return "leaves its folder"
    return None


def _problem(entry: zipfile.ZipInfo) -> str | None:
    reason = unsafe_name(entry.orig_filename) or unsafe_name(entry.filename)
    if reason is not None:
        return f"{reason}; such archives are refused"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link; pack the files themselves"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a special file; pack ordinary files only"
    if entry.flag_bits & 0x1:
        return "is encrypted; unpack the archive and give the folder"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is packed by a method other than deflate; unpack the archive and give the folder"
    return None


def _index(members: dict[str, _Member]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """For each folder, its folders and its files in natural order."""
    folders: dict[str, tuple[set[str], set[str]]] = {"": (set(), set())}
    for name in members:
        kind, child = 1, name
        while child:
            parent = child.rpartition("/")[0]
            known = parent in folders
            folders.setdefault(parent, (set(), set()))[kind].add(child)
            if known and kind == 0:
                break
            kind, child = 0, parent
    return {
        folder: (tuple(sorted(inner, key=natural_key)), tuple(sorted(files, key=natural_key)))
        for folder, (inner, files) in folders.items()
    }


def _kind(entry: os.DirEntry[str]) -> str | None:
    """ "folder", "file", or None for what is neither or leads back to a folder around it."""
    try:
        if entry.is_file():
            return "file"
        if not entry.is_dir():
            return None
        path = os.path.abspath(entry.path)
        loops = entry.is_symlink() and os.path.realpath(path) == os.path.commonpath(
            [os.path.realpath(path), os.path.realpath(os.path.dirname(path))]
        )
        return None if loops else "folder"
    except OSError:  # a link to itself
        return None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _printable(name: str, root: Path) -> str:
    # Names become ids, which are hashed and written as UTF-8.
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{root}: the file name {name!r} is not UTF-8; rename it") from None
    return name
