"""What text in mesh files says, in whatever encoding: UTF-8 for the parsers, and the materials of an OBJ.

The parsers expect UTF-8 and leave out without a word what they cannot find; here it is found, or noted.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from io import BytesIO
from pathlib import Path

from PIL import Image

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_STL_HEADER, _STL_FACET = 84, 50  # bytes of a binary STL
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_MATERIALS = "materials.mtl"
_TEXTURE_OPTIONS = re.compile(r"(?:-\w+ +(?:(?:on|off|[rgbmlz]|[-+.\d][-+.\deE]*) +)+)+")


class MeshText:
    """One mesh file as its parser takes it.

    Attributes:
        data: The file, its text in UTF-8.
        resources: For an OBJ, what its text names: materials and textures by name.
        notes: What is missing, as ``<what>: <which>``.
        digests: Hex SHA-256 of each file that was read, by its path.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, and for an OBJ what it names.

        Raises:
            OSError: It cannot be read.
        """
        self.resources: dict[str, bytes] = {}
        self.notes: list[str] = []
        self.digests: dict[str, str] = {}
        self._folder = path.parent
        data = self._read(path)
        suffix = path.suffix.lower()
        if suffix == ".obj":
            data = self._obj(decode_text(data)).encode()
        elif suffix == ".ply":
            header, end, body = data.partition(b"end_header")
            data = _ascii(header) + end + body
        elif suffix == ".off":
            data = decode_text(data).encode()
            if data.lstrip()[:4].upper() == b"COFF":
                self.notes.append("colours of an OFF file are not read: COFF")
        elif suffix == ".stl" and not _is_binary_stl(data):
            data = decode_text(data).encode()
        self.data = data

    def _obj(self, text: str) -> str:
        """The text with one library of materials, the content of which is in ``resources``."""
        text = re.sub("(?m)^ *(?:#.*)?", "", text.replace("\t", " "))
        libraries = re.findall("(?m)^mtllib +(.*?) *$", text)
        text = re.sub("(?m)^mtllib .*$", "", text)
        used = {" ".join(name.split()) for name in re.findall("(?m)^usemtl (.*)$", text)} - {""}
        text = re.sub("(?m)^usemtl (.*)$", lambda match: f"usemtl {' '.join(match[1].split())}", text)
        materials = "\n".join(self._library(name) for name in libraries)
        defined = {" ".join(name.split()) for name in re.findall("(?m)^ *newmtl +(.*)$", materials)}
        if used - defined:
            self.notes.append(f"materials are not defined: {', '.join(sorted(used - defined))}")
        if not materials:
            return text
        self.resources[_MATERIALS] = re.sub("(?mi)^ *map_Kd +(.*?) *$", self._texture, materials).encode()
        return f"mtllib {_MATERIALS}\n{text}"

    def _library(self, named: str) -> str:
        # The format separates several names by spaces, and names have spaces too.
        names = [named] if self._find(named) else named.split()
        texts = []
        for name in names:
            data = self._resource(name)
            if data is None:
                self.notes.append(f"material library is missing: {name}")
            else:
                texts.append(decode_text(data).replace("\t", " "))
        return "\n".join(texts)

    def _texture(self, line: re.Match[str]) -> str:
        """A line that names a texture, without the options before the name, or none if it cannot be used."""
        name = _TEXTURE_OPTIONS.sub("", line[1], count=1)
        data = self._resource(name)
        if data is None:
            self.notes.append(f"texture is missing: {name}")
            return ""
        try:
            Image.open(BytesIO(data)).load()
        except Exception as error:  # decoders raise whatever the damage makes them
            self.notes.append(f"texture cannot be read: {name} ({error})")
            return ""
        self.resources[name] = data
        return f"map_Kd {name}"

    def _resource(self, name: str) -> bytes | None:
        path = self._find(name)
        try:
            return None if path is None else self._read(path)
        except OSError:
            return None

    def _find(self, name: str) -> Path | None:
        """The file of this name, below the mesh's folder or, if a path of another machine leads to it, in it."""
        relative = name.replace("\\", "/")
        for path in (self._folder / relative, self._folder / relative.rpartition("/")[2]):
            try:
                if path.is_file():
                    return path
            except (OSError, ValueError):  # too long, or with a zero byte
                pass
        return None

    def _read(self, path: Path) -> bytes:
        data = path.read_bytes()
        self.digests[str(path)] = hashlib.sha256(data).hexdigest()
        return data


def decode_text(data: bytes) -> str:
    """Text by its byte order mark, else UTF-8 if it is that, else Windows' Latin; lines end with a newline."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            text = data[len(mark) :].decode(encoding, errors="replace")
            break
    else:
        text = _unmarked(data)
    return _LINE_ENDS.sub("\n", text)


def _unmarked(data: bytes) -> str:
    # Every other byte of such UTF-16 is zero, and no byte of other text is.
    head = data[:64]
    if len(head) > 3 and b"\0" in head:
        even, odd = head[::2].count(0), head[1::2].count(0)
        return data.decode("utf-16-be" if even > odd else "utf-16-le", errors="replace")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _ascii(header: bytes) -> bytes:
    return header.removeprefix(codecs.BOM_UTF8).decode("cp1252", errors="replace").encode("ascii", errors="replace")


def _is_binary_stl(data: bytes) -> bool:
    if len(data) < _STL_HEADER:
        return False
    return len(data) == _STL_HEADER + _STL_FACET * int.from_bytes(data[80:84], "little") or b"facet" not in data[:4096]
