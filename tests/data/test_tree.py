from __future__ import annotations

import multiprocessing
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from dimvida.data.opening import open_tree
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
