"""The members of a tar file, checked, and read by position without unpacking anything."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

from dimvida.data.names import is_text, unsafe_name
from dimvida.data.tree import READ_LIMIT, FileTree
from dimvida.errors import DimvidaError, InputError, UnreadableImage

_PADDING = 2**20  # bytes of it that are looked at at once


class TarMember(NamedTuple):
    """An ordinary file in a tar file, and where its bytes lie.

    Attributes:
        archive: Name of the tar file in its tree.
        name: The member's name in the tar file.
        offset, size: Where its data begin in the file and how long they are, in bytes.
    """

    archive: str
    name: str
    offset: int
    size: int


def member_location(tree: FileTree, member: TarMember) -> str:
    """What an error message calls a member."""
    return f"{tree.location(member.archive)}!{member.name}"


def tar_members(tree: FileTree, name: str) -> Iterator[TarMember]:
    """All ordinary files but hidden ones in a tar file of a tree, in order.

    Raises:
        InputError: The tar file is compressed, damaged, cut off or goes on after its end, or a member is a link or a
            special file, is there twice, is too large, or has a name that leaves the archive or is not UTF-8.
    """
    seen = set()
    path = tree.location(name)
    try:
        # Without compression, so that members can be read by position, and none is larger than the file.
        with tree.open(name) as stored, tarfile.open(fileobj=(file := _BoundedFile(stored)), mode="r:") as archive:
            for entry in archive:
                if _is_no_file(entry):
                    continue
                problem = _problem(entry)
                if problem is None and entry.name in seen:
                    problem = "is there twice"
                if problem is not None:
                    shown = entry.name if is_text(entry.name) else ascii(entry.name)
                    raise InputError(f"{path}!{shown}: {problem}; such archives are refused")
                seen.add(entry.name)
                yield TarMember(name, entry.name, entry.offset_data, entry.size)
            # The module takes a damaged header for the end; what follows would be lost without a word.
            file.seek(archive.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"damaged or cut off at byte {archive.offset}")
            while padding := file.read(_PADDING):
                if padding.strip(b"\0"):
                    raise tarfile.ReadError(f"goes on after its end at byte {archive.offset}, as if joined by cat")
    except (DimvidaError, MemoryError):
        raise
    except Exception as error:  # a damaged header raises almost anything
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: not a readable tar file ({reason}); generate or fetch it again") from error


def read_member(tree: FileTree, member: TarMember) -> bytes:
    """The bytes of a member.

    Raises:
        UnreadableImage: The tar file is gone, or shorter than it was.
    """
    try:
        data = tree.part(member.archive, member.offset, member.size)
    except UnreadableImage as error:
        raise UnreadableImage(member_location(tree, member), error.reason) from error
    if len(data) < member.size:
        raise UnreadableImage(member_location(tree, member), "the tar file ends within it")
    return data


class _BoundedFile:
    """A file that is never asked for more than it has: a damaged header may name any size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._length = file, file.seek(0, io.SEEK_END)
        file.seek(0)
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._length - self.tell(), 0)
        return self._file.read(left if size is None or size < 0 else min(size, left))


def _is_no_file(entry: tarfile.TarInfo) -> bool:
    """Whether an entry is a folder, or a hidden file such as those that macOS packs along (``._a.png``)."""
    parts = [part for part in entry.name.split("/") if part not in ("", ".", "..")]
    return entry.isdir() or any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _problem(entry: tarfile.TarInfo) -> str | None:
    reason = unsafe_name(entry.name)
    if reason is not None:
        return reason
    if not is_text(entry.name):
        return "has a name that is not UTF-8"
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or entry.issparse():
        return "is no ordinary file"
    if not 0 <= entry.size <= READ_LIMIT:
        return f"has {entry.size} bytes, and the limit is {READ_LIMIT}"
    return None
