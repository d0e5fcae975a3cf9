from __future__ import annotations

import multiprocessing
import pickle
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from dimvida.data.opening import open_tree
from dimvida.data.tree import FolderTree
from dimvida.data.zip_tree import ZipTree
from dimvida.errors import InputError, UnreadableImage

FILES = {
    "a/x2.txt": b"two",
    "a/x10.txt": b"ten",
    "a/b/c.txt": b"c" * 1000,
    "top.txt": b"",
    ".hidden": b"no",
    "a/.DS_Store": b"no",
    "__MACOSX/a/x2.txt": b"no",
}


@pytest.fixture(params=["folder", "stored", "deflated"])
def tree(request, make, tmp_path):
    if request.param == "folder":
        return open_tree(make.folder(tmp_path / "set", FILES))
    method = zipfile.ZIP_STORED if request.param == "stored" else zipfile.ZIP_DEFLATED
    return open_tree(make.zip(tmp_path / "set.zip", FILES, method))


def member(name: str, *, mode: int = stat.S_IFREG | 0o644, **attributes: object) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def test_children_are_sorted_and_without_hidden_files(tree):
    assert tree.children() == (("a",), ("top.txt",))
    assert tree.children("a") == (("a/b",), ("a/x2.txt", "a/x10.txt"))
    assert tree.listing("a").hidden == ("a/.DS_Store",)
    assert set(tree.listing().hidden) == {".hidden", "__MACOSX/"}
    assert tree.listing("a/b") == ((), ("a/b/c.txt",), (), (), ())


def test_reads_and_names_files(tree):
    assert tree.read("a/b/c.txt") == b"c" * 1000
    assert tree.read("top.txt") == b""
    assert tree.exists("a/x2.txt")
    assert not tree.exists("a/x3.txt")
    assert not tree.exists("a")
    assert tree.location("a/x2.txt") in (f"{tree.path}/a/x2.txt", f"{tree.path}!a/x2.txt")


def test_missing_and_too_large_files_are_unreadable(tree):
    with pytest.raises(UnreadableImage, match=r"x3\.txt"):
        tree.read("a/x3.txt")
    with pytest.raises(UnreadableImage, match="limit of 999"):
        tree.read("a/b/c.txt", limit=999)
    assert len(tree.read("a/b/c.txt", limit=1000)) == 1000


def test_a_copy_for_another_process_reads_the_same(tree):
    copy = pickle.loads(pickle.dumps(tree))
    assert copy.read("a/x10.txt") == b"ten"
    assert copy.children("a") == tree.children("a")


def test_folder_follows_links(make, tmp_path):
    make.folder(tmp_path / "real", {"x.txt": "x"})
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "class").symlink_to(tmp_path / "real")
    assert open_tree(tmp_path / "set").children("class") == ((), ("class/x.txt",))


def test_folder_with_a_name_that_is_not_utf8(tmp_path):
    (tmp_path / "bad\udcff.png").write_bytes(b"")
    with pytest.raises(InputError, match="is not UTF-8; rename it"):
        open_tree(tmp_path).children()


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
    path = make.zip(tmp_path / "bad.zip", {"a/b.png": b"1"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1  # the flag in the central directory
    path.write_bytes(data)
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
    path = make.zip(tmp_path / "set.zip", {"a.bin": b"\0" * 10**6}, zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\1\2") + 24, 10)  # unpacked size in the directory
    path.write_bytes(data)
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


def test_forked_processes_and_threads_read_one_handle_at_once(make, tmp_path):
    files = {f"{number}.bin": bytes([number]) * (1000 + number) for number in range(200)}
    tree = open_tree(make.zip(tmp_path / "set.zip", files))

    def all_right() -> bool:
        return all(tree.read(name) == content for name, content in files.items() for _ in range(5))

    def child(results) -> None:
        results.put(all_right())

    context = multiprocessing.get_context("fork")
    results = context.Queue()
    children = [context.Process(target=child, args=(results,)) for _ in range(2)]
    for process in children:
        process.start()
    assert all_right()
    assert [results.get(timeout=60) for _ in children] == [True, True]
    for process in children:
        process.join()
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: all_right(), range(4)))


def test_what_is_opened(make, tmp_path):
    assert isinstance(open_tree(make.folder(tmp_path / "set", FILES)), FolderTree)
    # A zip file is known by its content too.
    assert isinstance(open_tree(make.zip(tmp_path / "set.dat", FILES)), ZipTree)
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        open_tree(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(InputError, match=r"notes\.txt: neither a folder nor a zip file"):
        open_tree(tmp_path / "notes.txt")
    make.zip(tmp_path / "arrays.npz", {"arr_0.npy": b""})
    with pytest.raises(InputError, match=r"arrays\.npz: one file of a set; give the folder"):
        open_tree(tmp_path / "arrays.npz")
