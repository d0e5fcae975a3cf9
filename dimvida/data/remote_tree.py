"""A folder in a bucket, on a server or wherever fsspec reaches, as a tree of files.

It is listed once. Files are fetched when they are asked for: images whole, parts of large ones as blocks, of which the
last ones are kept, and what has to be on this machine as a copy (``dimvida.remote.fetched``).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote, unquote

import numpy as np

from dimvida import remote
from dimvida.data.names import unsafe_name
from dimvida.data.source import RecentArrays
from dimvida.data.tree import READ_LIMIT, NamedTree, index_names, is_hidden
from dimvida.errors import InputError, UnreadableImage

T = TypeVar("T")

BLOCK = 4 * 2**20
"""Bytes that are fetched at once of a file that is read in parts."""

_KEPT = 64 * 2**20  # bytes of blocks


class RemoteTree(NamedTree):
    """A remote folder. A copy for another process, forked ones too, makes connections of its own."""

    form = "folder"

    def __init__(self, url: str, folder: str | None = None, only: Sequence[str] | None = None) -> None:
        """List the folder.

        Args:
            url: The folder, or what names some files of one.
            folder: The folder that those are in.
            only: Their names in it, where there is to be nothing else.

        Raises:
            InputError: There is nothing, access is denied, or a name leaves the folder.
            DimvidaError: It cannot be reached.
        """
        self.path = remote.shown(url)
        self._quoted = url.startswith(("http://", "https://"))  # where a query may follow, with a signature in it
        place, mark, query = url.partition("?") if self._quoted else (url, "", "")
        self._root, self._query = (place if folder is None else folder).rstrip("/"), mark + query
        self._parts: bool | None = None
        hidden: set[str] = set()
        names = [unquote(name) if self._quoted else name for name in only or ()]
        self._sizes: dict[str, int | None] = dict.fromkeys(names) if only is not None else self._list(hidden)
        self._listings = index_names(self._sizes, hidden=hidden)
        self._start()

    def _start(self) -> None:
        self._blocks = RecentArrays(self._block, most_bytes=_KEPT)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_blocks"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def exists(self, name: str) -> bool:
        return name in self._sizes

    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        size = self._size(name)
        if size > limit:
            raise UnreadableImage(self.location(name), f"more than the limit of {limit} bytes")
        return self._ask(name, lambda fs, path: fs.cat_file(path))

    def blocks(self, name: str) -> Iterator[bytes]:
        with self.open(name) as file:
            while block := file.read(BLOCK):
                yield block

    def head(self, name: str, size: int) -> bytes:
        return self.part(name, 0, size)

    def open(self, name: str) -> IO[bytes]:
        size = self._size(name)
        if not self._in_parts(name):
            return open(self.local(name), "rb")
        return io.BufferedReader(_File(self, name, size), 2**16)

    def part(self, name: str, offset: int, size: int) -> bytes:
        if not self._in_parts(name):
            with self.open(name) as file:
                file.seek(offset)
                return file.read(size)
        stop = min(offset + size, self._size(name))
        pieces = []
        while offset < stop:
            block, start = divmod(offset, BLOCK)
            pieces.append(self._blocks.get((name, block))[start : start + stop - offset].tobytes())
            offset += len(pieces[-1])
            if not pieces[-1]:  # the file is shorter than it was
                break
        return b"".join(pieces)

    def local(self, name: str) -> Path:
        try:
            return remote.fetched(self._url(name))
        except remote.NoCopy:  # which is not the file's fault
            raise
        except InputError as error:
            raise self._unreadable(name, error) from error

    def location(self, name: str) -> str:
        return remote.shown(self._url(name))

    def _url(self, name: str) -> str:
        return f"{self._root}/{quote(name) if self._quoted else name}{self._query}"

    def _list(self, hidden: set[str]) -> dict[str, int | None]:
        """The files of the folder, each with its size; names of hidden things are added to ``hidden``."""

        def find() -> dict[str, dict[str, Any]]:
            fs, root = remote.filesystem(self._root)
            fs.invalidate_cache()  # what was there when another set was opened
            return {name.removeprefix(root).lstrip("/"): info for name, info in _found(fs, root).items()}

        sizes: dict[str, int | None] = {}
        for name, info in remote.ask(self._root, find).items():
            if self._quoted and "?" in name:
                continue  # a link that sorts a server's list
            name = unquote(name) if self._quoted else name
            problem = "has no text for a name" if not name.isprintable() else unsafe_name(name)
            if problem is None and "" in (parts := name.split("/"))[:-1]:
                problem = "has a folder without a name"
            if problem is not None:
                raise InputError(f"{self.path}/{name[:200]!a}: {problem}; such folders are refused")
            if not parts[-1]:
                continue  # a folder's own entry
            place = next((place for place, part in enumerate(parts) if is_hidden(part)), None)
            if place is None:
                sizes[name] = info.get("size")
            else:
                hidden.add("/".join(parts[: place + 1]) + "/" * (place < len(parts) - 1))
        if not sizes:
            raise InputError(f"{self.path}: no such folder, or nothing in it")
        return sizes

    def _size(self, name: str) -> int:
        size = self._sizes.get(name)
        if size is None:
            size = self._sizes[name] = self._ask(name, lambda fs, path: fs.info(path)).get("size")
            if size is None:
                raise UnreadableImage(self.location(name), "its server does not say how large it is")
        return size

    def _in_parts(self, name: str) -> bool:
        """Whether parts of files can be had; there are servers that send the whole whatever they are asked for."""
        if self._parts is None:
            one = b"" if not self._quoted else self._ask(name, lambda fs, path: fs.cat_file(path, start=0, end=1))
            self._parts = len(one) < 2
        return self._parts

    def _block(self, key: tuple[str, int]) -> np.ndarray:
        name, start = key[0], key[1] * BLOCK
        stop = min(start + BLOCK, self._size(name))
        return np.frombuffer(self._ask(name, lambda fs, path: fs.cat_file(path, start=start, end=stop)), np.uint8)

    def _ask(self, name: str, call: Callable[[Any, str], T]) -> T:
        """What a file system that this process has for itself says of a file."""
        url = self._url(name)
        try:
            return remote.ask(url, lambda: call(*remote.filesystem(url)))
        except InputError as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: InputError) -> UnreadableImage:
        return UnreadableImage(self.location(name), str(error).removeprefix(f"{self.location(name)}: "))


def _found(fs: Any, root: str) -> dict[str, dict[str, Any]]:
    """What a file system says of all files below a folder.

    One with a listing of its own asks for all of it at once. The others' ``find`` takes a folder that cannot be listed
    for an empty one; here that raises.
    """
    from fsspec.asyn import AsyncFileSystem

    if getattr(type(fs), "_find", None) is not AsyncFileSystem._find:
        return fs.find(root, detail=True)
    found, folders, seen = {}, [root], {root.rstrip("/")}
    while folders:
        for info in fs.ls(folders.pop(), detail=True):
            name = info["name"]
            if info["type"] != "directory":
                found[name] = info
            elif name.rstrip("/") not in seen:
                seen.add(name.rstrip("/"))
                folders.append(name)
    return found


class _File(io.RawIOBase):
    """A file of a tree, which gives any part of it."""

    def __init__(self, tree: RemoteTree, name: str, size: int) -> None:
        super().__init__()
        self._tree, self._name, self._size, self._at = tree, name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, room: Any) -> int:
        data = self._tree.part(self._name, self._at, len(room))
        room[: len(data)] = data
        self._at += len(data)
        return len(data)
