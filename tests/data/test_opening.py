from __future__ import annotations

import subprocess
import sys

import pytest

import dimvida.data
from dimvida.data.folder_tree import FolderTree
from dimvida.data.opening import expand_braces, open_source, open_tree
from dimvida.data.zip_tree import ZipTree
from dimvida.errors import InputError


def test_path_may_be_text(make, tmp_path):
    path = make.folder(tmp_path / "set", make.multi_view({"chair": 1}))
    assert len(open_source(str(path))) == 1


def test_neither_folder_nor_zip(make, tmp_path):
    make.folder(tmp_path, {"a.png": make.png(), "b.zip": b"not a zip"})
    with pytest.raises(InputError, match=r"a\.png: neither a folder nor a zip file"):
        open_source(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"b\.zip: not a readable zip file"):
        open_source(tmp_path / "b.zip")


def test_links_that_lead_back_or_nowhere_are_told(make, tmp_path):
    path = make.folder(tmp_path / "set", make.multi_view({"chair": 1}))
    (path / "self").symlink_to("self")
    (path / "chair" / "up").symlink_to("../..")
    (path / "chair" / "here").symlink_to(".")
    source = open_source(path)
    assert [record.id for record in source.records] == ["chair/chair_0000"]
    assert source.notes[1:] == ("not read: 2 links to a folder around them (first: chair/here)",)
    assert [(file.location, "leads nowhere" in file.reason) for file in source.left_out] == [(f"{path}/self", True)]


def test_opening_needs_no_torch(make, tmp_path):
    path = make.folder(tmp_path / "set", make.multi_view({"chair": 1}))
    program = (
        "import sys, dimvida.data\n"
        f"assert len(dimvida.data.open_source({str(path)!r})) == 1\n"
        "assert 'torch' not in sys.modules and 'trimesh' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_public_names():
    assert all(callable(getattr(dimvida.data, name)) for name in dimvida.data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dimvida.data.nothing  # noqa: B018


def test_what_is_opened(make, tmp_path):
    assert isinstance(open_tree(make.folder(tmp_path / "set", {"a.txt": b""})), FolderTree)
    # A zip file is known by its content too.
    assert isinstance(open_tree(make.zip(tmp_path / "set.dat", {"a.txt": b""})), ZipTree)
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        open_tree(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(InputError, match=r"notes\.txt: neither a folder nor a zip file"):
        open_tree(tmp_path / "notes.txt")
    make.zip(tmp_path / "arrays.npz", {"arr_0.npy": b""})
    with pytest.raises(InputError, match=r"arrays\.npz: one file of a set; give the folder"):
        open_tree(tmp_path / "arrays.npz")


@pytest.mark.parametrize("name", ["a.tar.gz", "A.TGZ", "a.tar.zst", "a.7z"])
def test_a_compressed_archive_is_called_one(tmp_path, name: str):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / name).write_bytes(b"1")
    for place in (folder / name, str(folder / name), f"https://127.0.0.1:9/{name}?signature=1"):
        with pytest.raises(InputError, match=f"/{name}: compressed archives are not read; unpack it, and give what"):
            open_tree(place)
    with pytest.raises(InputError, match=f"no images here; compressed archives are not read, such as {name}: unpack"):
        open_source(folder)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a-{008..011}.tar", ["a-008.tar", "a-009.tar", "a-010.tar", "a-011.tar"]),
        ("{train,val}/{0..1}.tar", ["train/0.tar", "train/1.tar", "val/0.tar", "val/1.tar"]),
        ("a{b}c.tar", ["a{b}c.tar"]),
    ],
)
def test_braces_stand_for_names(text: str, names: list[str]):
    assert expand_braces(text) == names


def test_braces_that_stand_for_too_many_are_refused():
    with pytest.raises(InputError, match="more than 1000000 files"):
        expand_braces("{0..999}{0..9999}.tar")
    with pytest.raises(InputError, match="names no files"):
        expand_braces("a{3..1}.tar")
    with pytest.raises(InputError, match="more than 1000000 files"):
        expand_braces("{0..99999999999999}.tar")
