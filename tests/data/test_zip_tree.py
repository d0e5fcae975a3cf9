"""Zip files that cannot be trusted, names of their members, whoever wrote them, and archives that ask for too much."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from dimvida.data.opening import open_source, open_tree
from dimvida.errors import InputError, UnreadableImage

UNIX, MACOS, DOS = 3, 19, 0


def damaged(path: Path, place: int, layout: str, value: int) -> Path:
    """A field of the first entry of the directory replaced."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.index(b"PK\1\2") + place, value)
    path.write_bytes(data)
    return path


def member(name: str, *, mode: int = stat.S_IFREG | 0o644, **attributes: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("../outside.png", "leaves"),
        ("a/../../outside.png", "leaves"),
        ("a\\..\\b.png", "backslash"),
        ("C:/windows/b.png", "absolute"),
        ("..", "leaves"),
    ],
)
def test_zip_member_that_leaves_the_archive(make, tmp_path, name, reason):
    path = make.zip(tmp_path / "bad.zip", {"ok/a.png": b"", name: b"x"})
    with pytest.raises(InputError, match=reason) as caught:
        open_tree(path)
    assert str(path) in str(caught.value)
    assert repr(name)[1:-1] in str(caught.value)


def test_zip_member_with_a_zero_byte(make, tmp_path):
    path = make.zip(tmp_path / "bad.zip", {"aaX../b": b""})
    path.write_bytes(path.read_bytes().replace(b"aaX../b", b"aa\0../b"))
    with pytest.raises(InputError, match="zero byte"):
        open_tree(path)


@pytest.mark.parametrize(("mode", "reason"), [(stat.S_IFLNK, "symbolic link"), (stat.S_IFIFO, "special file")])
def test_zip_with_links_or_special_files(tmp_path, mode, reason):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member("a/link.png", mode=mode | 0o777), "/etc/passwd")
    with pytest.raises(InputError, match=rf"a/link\.png.*{reason}"):
        open_tree(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a/b.png", "./a//b.png"])
def test_zip_with_a_member_twice(tmp_path, second):
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b.png", b"1")
        archive.writestr(second, b"2")
    with pytest.raises(InputError, match="in the archive twice"):
        open_tree(path)


def test_encrypted_zip(make, tmp_path):
    path = damaged(make.zip(tmp_path / "bad.zip", {"a/b.png": b"1"}), 8, "<H", 1)  # the flag
    with pytest.raises(InputError, match=r"a/b\.png.*encrypted; unpack"):
        open_tree(path)


def test_unknown_compression(make, tmp_path):
    path = make.zip(tmp_path / "bad.zip", {"a/b.png": b"1" * 100}, zipfile.ZIP_BZIP2)
    with pytest.raises(InputError, match="method other than deflate"):
        open_tree(path)


@pytest.mark.parametrize("keep", [0, 10, 100])
def test_truncated_zip(make, tmp_path, keep):
    path = make.zip(tmp_path / "bad.zip", {"a/b.png": b"1" * 200})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"bad\.zip: not a readable zip file"):
        open_tree(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_member_is_unreadable_and_the_others_are_not(make, tmp_path, method):
    path = make.zip(tmp_path / "set.zip", {"a.bin": bytes(range(256)) * 4, "b.bin": b"fine"}, method)
    data = bytearray(path.read_bytes())
    for place in range(60, 80):
        data[place] ^= 0x5A
    path.write_bytes(data)
    tree = open_tree(path)
    with pytest.raises(UnreadableImage, match=r"set\.zip!a\.bin: damaged"):
        tree.read("a.bin")
    assert tree.read("b.bin") == b"fine"


def test_member_larger_than_it_says(make, tmp_path):
    path = damaged(make.zip(tmp_path / "set.zip", {"a.bin": b"\0" * 10**6}, zipfile.ZIP_DEFLATED), 24, "<I", 10)
    with pytest.raises(UnreadableImage, match="size or checksum differs"):
        open_tree(path).read("a.bin")


def test_size_limit_holds_before_unpacking(make, tmp_path):
    path = make.zip(tmp_path / "set.zip", {"a.bin": b"\0" * 10**6}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UnreadableImage, match="1000000 bytes unpacked, more than the limit of 100000"):
        open_tree(path).read("a.bin", limit=10**5)


def test_member_with_a_long_extra_field(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        extra = struct.pack("<HH", 0xCAFE, 2000) + bytes(2000)
        archive.writestr(member("a.bin", extra=extra), b"content" * 50)
    assert open_tree(path).read("a.bin") == b"content" * 50


def test_zip_behind_other_data(make, tmp_path):
    path = make.zip(tmp_path / "set.zip", {"a.bin": b"content"})
    path.write_bytes(b"#!/bin/sh\nself-extracting\n" + path.read_bytes())
    assert open_tree(path).read("a.bin") == b"content"


@pytest.fixture
def stored(make, tmp_path):
    """Writes a zip file with these bytes as the name of its only member, without the flag of UTF-8."""

    def stored(name: bytes, system: int = UNIX, extra: bytes = b"") -> Path:
        placeholder = "x" * len(name)
        entry = zipfile.ZipInfo(placeholder)
        entry.create_system, entry.extra = system, extra
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(entry, make.png())
        (tmp_path / "set.zip").write_bytes(buffer.getvalue().replace(placeholder.encode(), name))
        return tmp_path / "set.zip"

    return stored


def unicode_path(name: str, raw: bytes, version: int = 1) -> bytes:
    field = struct.pack("<BI", version, zlib.crc32(raw)) + name.encode()
    return struct.pack("<HHH", 0xCAFE, 2, 0) + struct.pack("<HH", 0x7075, len(field)) + field


def only_id(path: Path) -> str:
    (record,) = open_source(path, view="front").records
    assert open_source(path, view="front").read_view(0, "front").pixels.shape == (8, 8, 3)
    return record.id


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("caf\u00e9/\u6905.png".encode(), UNIX),  # zip -r of Info-ZIP
        ("caf\u00e9/\u6905.png".encode(), MACOS),  # Finder
        ("caf\u00e9/\u6905.png".encode(), DOS),  # Java and others
        ("cafe\u0301/\u6905.png".encode(), MACOS),  # of a file system that takes letters apart
    ],
)
def test_utf8_without_the_flag(stored, name, system):
    assert only_id(stored(name, system)) == "caf\u00e9/\u6905"


def test_a_folder_and_its_zip_have_the_same_ids(make, stored, tmp_path):
    folder = make.folder(tmp_path / "set", {"cafe\u0301/\u6905.png": make.png()})
    assert only_id(folder) == only_id(stored("caf\u00e9/\u6905.png".encode()))


@pytest.mark.parametrize(("name", "encoding"), [("\u6905/a.png", "gbk"), ("S\u00e3o/a.png", "cp850")])
def test_other_code_pages_of_windows_are_refused(stored, name, encoding):
    with pytest.raises(InputError, match="a name in an unknown encoding; make the archive again with UTF-8 names"):
        open_source(stored(name.encode(encoding), DOS), view="front")


def test_backslashes_of_windows_separate_folders(stored):
    path = stored(rb"train\cat\a.png", DOS)
    assert [record.id for record in open_source(path, view="front", split="train").records] == ["train/cat/a"]


@pytest.mark.parametrize(
    ("name", "system", "problem"),
    [
        (rb"cat\a.png", UNIX, "a backslash"),
        (rb"cat/b\a.png", DOS, "a backslash"),
        (rb"..\a.png", DOS, "leaves its folder"),
        (rb"\a.png", DOS, "an absolute path"),
        (rb"C:\a.png", DOS, "an absolute path"),
        ("\u8868.png".encode("cp932"), DOS, "a backslash"),  # whose second byte is one
    ],
)
def test_other_backslashes_are_refused(stored, name, system, problem):
    with pytest.raises(InputError, match=problem):
        open_source(stored(name, system), view="front")


def test_code_page_437_of_dos_and_windows(stored):
    assert only_id(stored("caf\u00e9/\u00fc.png".encode("cp437"), DOS)) == "caf\u00e9/\u00fc"


@pytest.mark.parametrize("system", [UNIX, MACOS])
def test_other_encodings_are_refused(stored, system):
    with pytest.raises(InputError, match=r"set\.zip!.*name in an unknown encoding; make the archive again"):
        open_tree(stored("caf\u00e9/a.png".encode("latin-1"), system))


def test_the_unicode_path_field(stored):
    raw = b"caf_/a.png"
    assert only_id(stored(raw, DOS, unicode_path("caf\u00e9/a.png", raw))) == "caf\u00e9/a"


@pytest.mark.parametrize(
    "extra",
    [
        unicode_path("caf\u00e9/a.png", b"another name"),
        unicode_path("caf\u00e9/a.png", b"caf_/a.png", version=2),
        b"\x75\x70\xff\xff",
    ],
    ids=["of another name", "of another version", "cut short"],
)
def test_a_unicode_path_field_that_does_not_belong(stored, extra):
    raw = b"caf_/a.png"
    try:
        assert only_id(stored(raw, DOS, extra)) == "caf_/a"
    except InputError as error:  # newer versions of Python look at the field themselves
        assert "not a readable zip file" in str(error)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "c:a.png"])
def test_the_unicode_path_field_may_not_leave_the_archive(stored, name):
    with pytest.raises(InputError, match="such archives are refused"):
        open_tree(stored(b"caf_/a.png", DOS, unicode_path(name, b"caf_/a.png")))


@pytest.mark.parametrize("name", ["d/" * 30_000 + "a.png", "d" * 5000 + "/a.png", "\u00e9" * 2100])
def test_names_without_end(make, tmp_path, name):
    path = make.zip(tmp_path / "set.zip", {"chair/a.png": make.png(), name: b""})
    with pytest.raises(InputError, match=r"has a name of more than 4096 bytes or 64 folders") as caught:
        open_tree(path)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(("place", "value"), [(20, 2**28 - 1), (42, 2**31)], ids=["packed size", "offset"])
def test_a_member_beyond_the_end(make, tmp_path, place, value):
    path = damaged(make.zip(tmp_path / "set.zip", {"a.png": make.png()}), place, "<I", value)
    with pytest.raises(InputError, match=r"set\.zip.*(beyond the archive's end|not a readable zip file)"):
        open_tree(path).read("a.png")


def test_damaged_zip64_fields_name_the_file(make, tmp_path):
    entry = zipfile.ZipInfo("a.png")
    entry.extra = struct.pack("<HHQ", 1, 8, 2**63)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(entry, make.png())
    path = damaged(tmp_path / "set.zip", 24, "<I", 0xFFFFFFFF)
    with pytest.raises(InputError, match=r"set\.zip.*(more than the limit|not a readable zip file)"):
        open_tree(path).read("a.png")


def test_blocks_and_heads_are_the_content(make, tmp_path):
    content = bytes(range(256)) * 20_000
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        tree = open_tree(make.zip(tmp_path / "set.zip", {"a.bin": content, "b.bin": b""}, method))
        assert b"".join(tree.blocks("a.bin")) == content
        assert (tree.head("a.bin", 10), tree.head("b.bin", 10)) == (content[:10], b"")
        assert list(tree.lines("a.bin", 300))[:2] == content.split(b"\n")[:2]


def test_damage_in_blocks(make, tmp_path):
    path = damaged(make.zip(tmp_path / "set.zip", {"a.bin": b"content" * 99}, zipfile.ZIP_DEFLATED), 16, "<I", 1)
    with pytest.raises(UnreadableImage, match="size or checksum differs"):
        list(open_tree(path).blocks("a.bin"))
