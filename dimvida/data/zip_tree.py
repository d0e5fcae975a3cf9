"""A zip file as a tree of files."""

from __future__ import annotations

import os
import re
import stat
import struct
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dimvida.data.names import unsafe_name
from dimvida.data.tree import READ_LIMIT, NamedTree, index_names, is_hidden
from dimvida.errors import InputError, UnreadableImage

NAME_LIMIT, DEPTH_LIMIT = 4096, 64
"""Most bytes of a member's name, which is what systems take, and most parts of it."""

_HEADER_SIZE = 30  # of a member's local header, before its name and extra field
_BLOCK = 2**20
_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075
_UNIX, _MACOS = 3, 19


class _Member(NamedTuple):
    offset: int
    packed_size: int
    size: int
    method: int
    crc: int


class ZipTree(NamedTree):
    """A zip file whose members were all checked when it was opened.

    Members are read by position (``pread``) instead of through :class:`zipfile.ZipFile`: that leaves
    no file offset to be shared, and damaged, between forked processes, needs no lock between threads,
    and is several times faster on small members.

    Raises:
        InputError: Not a zip file, or a member is encrypted, a symbolic link, a duplicate, packed by
            an unknown method, or has a name that leaves the archive, is too long or of unknown encoding.
    """

    form = "zip"

    def __init__(self, path: Path, shown: str | None = None) -> None:
        """Read the directory of the file at ``path``; ``shown`` is what it is a copy of."""
        self._stored, self.path = path, path if shown is None else shown
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError, OverflowError, struct.error) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{self.path}: not a readable zip file ({reason}); make or fetch it again") from error
        self._members, folders, hidden = self._check(entries)
        self._listings = index_names(self._members, folders, hidden)
        self._open()

    def exists(self, name: str) -> bool:
        return name in self._members

    def read(self, name: str, limit: int = READ_LIMIT) -> bytes:
        member = self._member(name)
        if max(member.size, member.packed_size) > limit:
            reason = f"{member.size} bytes unpacked, more than the limit of {limit}"
            raise UnreadableImage(self.location(name), reason)
        try:
            packed = self._packed(member)
            stored = member.method == zipfile.ZIP_STORED
            data = packed if stored else zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, member.size + 1)
        except (OSError, zlib.error, struct.error) as error:
            raise UnreadableImage(self.location(name), f"damaged in the archive ({error})") from error
        self._check_whole(name, member, len(data), zlib.crc32(data))
        return data

    def blocks(self, name: str) -> Iterator[bytes]:
        member = self._member(name)
        size, crc = 0, 0
        try:
            for block in self._unpacked(member):
                size, crc = size + len(block), zlib.crc32(block, crc)
                if size > member.size:
                    break
                yield block
        except (OSError, zlib.error, struct.error) as error:
            raise UnreadableImage(self.location(name), f"damaged in the archive ({error})") from error
        self._check_whole(name, member, size, crc)

    def head(self, name: str, size: int) -> bytes:
        member = self._member(name)
        try:
            return next(self._unpacked(member, size), b"")[:size]
        except (OSError, zlib.error, struct.error) as error:
            raise UnreadableImage(self.location(name), f"damaged in the archive ({error})") from error

    def location(self, name: str) -> str:
        return f"{self.path}!{name}"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_descriptor"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def _open(self) -> None:
        self._descriptor = os.open(self._stored, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def _check(self, entries: list[zipfile.ZipInfo]) -> tuple[dict[str, _Member], set[str], set[str]]:
        """Members by name, folders with an entry of their own, and what is hidden."""
        members: dict[str, _Member] = {}
        folders, hidden = set(), set()
        for entry in entries:
            name, problem = _name_of(entry)
            problem = problem or _problem(entry, name)
            # "./a//b" names the same file as "a/b".
            parts = [part for part in name.split("/") if part not in ("", ".")]
            normal = "/".join(parts)
            is_folder = name.endswith("/") or not parts
            if problem is None and normal in members and not is_folder:
                problem = "is in the archive twice; make the archive again"
            if problem is not None:
                raise InputError(f"{self.location(name[:200])!r}: member {problem}")
            depth = next((place for place, part in enumerate(parts) if is_hidden(part)), None)
            if depth is not None:
                below = is_folder or depth < len(parts) - 1
                hidden.add("/".join(parts[: depth + 1]) + "/" * below)
            elif is_folder:
                folders.add(normal)
            else:
                members[normal] = _Member(
                    entry.header_offset, entry.compress_size, entry.file_size, entry.compress_type, entry.CRC
                )
        return members, folders - {""}, hidden

    def _member(self, name: str) -> _Member:
        member = self._members.get(name)
        if member is None:
            raise UnreadableImage(self.location(name), "not in the archive")
        return member

    def _check_whole(self, name: str, member: _Member, size: int, crc: int) -> None:
        if size != member.size or crc != member.crc:
            raise UnreadableImage(self.location(name), "damaged in the archive (size or checksum differs)")

    def _require_inside(self, member: _Member) -> None:
        # Before memory is asked for: a damaged or hostile directory may promise more than the file has.
        if not 0 <= member.offset <= os.fstat(self._descriptor).st_size - _HEADER_SIZE - member.packed_size:
            raise zlib.error("reaches beyond the archive's end")

    def _packed(self, member: _Member) -> bytes:
        self._require_inside(member)
        # The local header repeats the name and may have other extra fields than the directory's, so
        # only it says where the data begin. One read takes both unless those fields are long.
        block = os.pread(self._descriptor, _HEADER_SIZE + 512 + member.packed_size, member.offset)
        start = _data_start(block)
        packed = block[start : start + member.packed_size]
        if len(packed) < member.packed_size:
            packed = os.pread(self._descriptor, member.packed_size, member.offset + start)
        return packed

    def _unpacked(self, member: _Member, most: int = _BLOCK) -> Iterator[bytes]:
        """The content in blocks of at most ``most`` bytes."""
        self._require_inside(member)
        start = member.offset + _data_start(os.pread(self._descriptor, _HEADER_SIZE, member.offset))
        stop = start + member.packed_size
        packed = (os.pread(self._descriptor, min(_BLOCK, stop - at), at) for at in range(start, stop, _BLOCK))
        if member.method == zipfile.ZIP_STORED:
            yield from packed
            return
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        for block in packed:
            while block and not unpacker.eof:
                yield unpacker.decompress(block, most)
                block = unpacker.unconsumed_tail
        if data := unpacker.flush():
            yield data


def _data_start(header: bytes) -> int:
    if header[:4] != b"PK\3\4":
        raise zlib.error("no member where the directory says")
    name_size, extra_size = struct.unpack_from("<HH", header, 26)
    return _HEADER_SIZE + name_size + extra_size


def _name_of(entry: zipfile.ZipInfo) -> tuple[str, str | None]:
    """A member's name, and why it cannot be told.

    By the format, a name is UTF-8 where a flag says so and code page 437 elsewhere. Info-ZIP, the macOS Finder and
    others write UTF-8 without the flag, or put it into a field beside it; no sensible name in code page 437 is UTF-8.
    Windows writes the code page of its language without a word: box-drawing characters are letters of another one.
    """
    windows = entry.create_system not in (_UNIX, _MACOS)
    name = entry.orig_filename
    if not entry.flag_bits & _UTF8_FLAG:
        raw = name.encode("cp437")
        beside = _unicode_path(entry.extra, raw)
        try:
            name = (raw if beside is None else beside).decode()
        except UnicodeDecodeError:
            if windows and not re.search("[\u2500-\u259f]", name):
                return name, None
            return name, "has a name in an unknown encoding; make the archive again with UTF-8 names"
    # Programs of Windows may separate folders by backslashes; elsewhere those are a part of a name, or an attack.
    return name.replace("\\", "/") if windows and "/" not in name else name, None


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """The name in Info-ZIP's Unicode path field, if there is one that belongs to this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and len(field) > 5 and struct.unpack_from("<BI", field) == (1, zlib.crc32(raw)):
            return field[5:]
    return None


def _problem(entry: zipfile.ZipInfo, name: str) -> str | None:
    reason = unsafe_name(name)
    if reason is not None:
        return f"{reason}; such archives are refused"
    if len(name.encode(errors="replace")) > NAME_LIMIT or name.count("/") > DEPTH_LIMIT:
        return f"has a name of more than {NAME_LIMIT} bytes or {DEPTH_LIMIT} folders; such archives are refused"
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
