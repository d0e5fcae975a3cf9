"""Nothing in a data set is left out in silence: it is read, or it is counted and named."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import tarfile

import pytest

from dimvida.data.opening import open_source
from dimvida.data.survey import DEPTH_LIMIT
from dimvida.errors import InputError, UnreadableImage

from .conftest import left_out


@pytest.fixture
def photos(make, tmp_path):
    """A folder of one photograph of a chair, and what a test adds to it."""

    def photos(files=None):
        return make.folder(tmp_path / "set", {"chair/a.png": make.png(), **(files or {})})

    return photos


def test_images_by_other_names_are_read(photos, make):
    pixels = make.pixels(3)
    files = {
        "b.jfif": make.encode(pixels, "JPEG"),
        "c.jpe": make.encode(pixels, "JPEG"),
        "d.JPE": make.encode(pixels, "JPEG"),
        "e.ppm": make.encode(pixels, "PPM"),
        "f": make.encode(pixels, "PNG"),
        "g.txt": make.encode(pixels, "PNG"),
    }
    source = open_source(photos({f"sofa/{name}": data for name, data in files.items()}), view="front")
    assert [record.id for record in source.records] == ["chair/a", *(f"sofa/{name}" for name in "bcdefg")]
    assert all(source.read_view(index, "front").pixels.shape == (8, 8, 3) for index in range(len(source)))
    assert (source.notes, source.left_out) == ((), ())


@pytest.mark.parametrize("name", ["b.heic", "b"])
def test_images_that_cannot_be_decoded_are_unreadable_ones(photos, name):
    source = open_source(photos({f"sofa/{name}": b"\0\0\0\x18ftypheic" + bytes(60)}), view="front")
    assert source.records[1].id == "sofa/b"
    with pytest.raises(UnreadableImage, match="a HEIC picture, which cannot be read here"):
        source.read_view(1, "front")


def test_other_files_and_folders_are_told_and_no_failure(photos):
    files = {"sofa/notes.txt": "x", "sofa/more/x.csv": "", "README": "text", "metadata.csv": "", "index.csv": ""}
    source = open_source(photos(files), view="front")
    assert source.left_out == ()
    assert source.notes == (
        "not read: 4 files that are no images (first: README)",
        "not read: 1 folder without images (first: sofa)",
    )


def test_empty_folders_in_a_zip(make, tmp_path):
    path = make.zip(tmp_path / "set.zip", {"chair/a.png": make.png(), "sofa/": b"", "table/x/": b""})
    assert open_source(path, view="front").notes == ("not read: 2 folders without images (first: sofa)",)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_hidden_images_are_told(make, tmp_path, form):
    files = {"chair/a.png": make.png(), "chair/.b.png": make.png(), ".cache/c.png": make.png(), "..x/d.png": make.png()}
    files |= {"chair/._a.png": b"\0\5\x16\7", ".DS_Store": b"", "__MACOSX/chair/._a.png": b"", ".git/x": b""}
    path = make.folder(tmp_path / "set", files) if form == "folder" else make.zip(tmp_path / "set.zip", files)
    source = open_source(path, view="front")
    assert [record.id for record in source.records] == ["chair/a"]
    assert len(source.notes) == 1
    assert source.notes[0].startswith("not read: 3 hidden files or folders (first: ")


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_what_file_servers_and_systems_leave_is_not_told(make, tmp_path, form):
    files = {"chair/a.png": make.png(), "chair/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg": make.png()}
    files |= {"$RECYCLE.BIN/b.png": make.png(), "#recycle/c.png": make.png(), "lost+found/d": make.png()}
    path = make.folder(tmp_path / "set", files) if form == "folder" else make.zip(tmp_path / "set.zip", files)
    source = open_source(path, view="front")
    assert [record.id for record in source.records] == ["chair/a"]
    assert (source.notes, source.left_out) == ((), ())


def test_a_raw_file_beside_its_photograph_is_told_and_no_failure(photos):
    raw = b"II*\0\x10\0\0\0CR" + bytes(60)
    source = open_source(photos({"chair/a.CR2": raw, "chair/b.cr2": raw, "a.nef": raw}), view="front")
    assert [record.id for record in source.records] == ["chair/a", "chair/b"]
    assert source.location(0, "front").endswith("chair/a.png")
    with pytest.raises(UnreadableImage, match="camera raw"):
        source.read_view(1, "front")
    assert source.notes[1:] == ("not read: 1 image beside one of its name that is (first: chair/a.CR2)",)
    assert left_out(source).keys() == {"a.nef"}


def test_depth_maps_beside_views(make, tmp_path):
    views = make.multi_view({"chair": 2})
    depth = {name.replace(".png", ".exr"): b"v/1\x01" for name in views}
    source = open_source(make.folder(tmp_path / "set", views | depth))
    assert (len(source), source.view_names) == (2, ("front", "right", "back", "left"))
    assert source.notes == (
        "not read: 8 images beside ones of their names that are (first: chair/chair_0000/back.exr)",
    )
    assert source.left_out == ()


def test_an_image_that_metadata_list_is_no_twin(photos):
    entry = '{"file_name": "chair/a.nef", "view": "front"}\n'
    source = open_source(photos({"chair/a.nef": b"raw", "metadata.jsonl": entry}))
    assert source.location(0, "front").endswith("a.nef")
    assert source.notes == ("1 image not listed in metadata.jsonl (first: chair/a.png)",)


def test_links_to_nothing(photos):
    path = photos()
    (path / "chair" / "b.png").symlink_to("../../.git/annex/objects/none")
    (path / "sofa").symlink_to("/nowhere/sofa")
    (path / "round").symlink_to("again")
    (path / "again").symlink_to("round")
    (path / "notes.txt").symlink_to("nowhere.txt")
    source = open_source(path, view="front")
    found = left_out(source)
    assert found.keys() == {"chair/b.png", "sofa", "round", "again"}
    assert found["chair/b.png"] == found["sofa"] == "a link to nothing"
    assert "left out: 2 files, a link to nothing (first: sofa)" in source.notes
    assert "not read: 1 file that is no image (first: notes.txt)" in source.notes


def test_links_through_which_one_comes_round(photos, make):
    path = photos({"sofa/b.png": make.png()})
    (path / "chair" / "other").symlink_to("../sofa")
    (path / "sofa" / "other").symlink_to("../chair")
    source = open_source(path, view="front")
    assert [record.id for record in source.records] == ["chair/a", "sofa/b"]
    assert left_out(source).keys() == {"chair/other/b.png", "sofa/other/a.png"}


def test_pipes_devices_and_sockets_are_named_and_never_waited_for(photos, monkeypatch):
    path = photos()
    os.mkfifo(path / "chair" / "pipe.png")
    os.mkfifo(path / "chair" / "pipe")
    (path / "chair" / "zero.png").symlink_to("/dev/zero")
    monkeypatch.chdir(path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        found = left_out(open_source(path, view="front"))
    assert found == dict.fromkeys(
        ["s.png", "chair/pipe", "chair/pipe.png", "chair/zero.png"], "neither a file nor a folder"
    )


@pytest.mark.parametrize("place", ["metadata.jsonl", "chair/metadata.jsonl"])
def test_a_pipe_as_metadata_is_refused(photos, place):
    path = photos()
    os.mkfifo(path / place)
    with pytest.raises(InputError, match=rf"{place}: cannot be read \(not an ordinary file\)"):
        open_source(path, view="front")


def test_a_pipe_that_metadata_name_is_unreadable(photos):
    path = photos({"metadata.jsonl": '{"file_name": "chair/pipe.png", "view": "front"}\n'})
    os.mkfifo(path / "chair" / "pipe.png")
    with pytest.raises(UnreadableImage, match="not an ordinary file"):
        open_source(path).read_view(0, "front")


def test_folders_that_may_not_be_listed(photos, make, tmp_path):
    path = photos({"sofa/b.png": make.png()})
    (path / "sofa").chmod(0)
    program = f"""
import os, sys
from dimvida.data.opening import open_source
if not os.getuid():
    os.setuid(65534)
source = open_source({str(path)!r}, view="front")
print(*(record.id for record in source.records), *(file.reason for file in source.left_out), sep="\\n")
"""
    around = [folder for folder in (tmp_path, *tmp_path.parents) if folder.owner() == tmp_path.owner()]
    modes = {folder: folder.stat().st_mode for folder in around}
    try:
        for folder, mode in modes.items():
            folder.chmod(mode | 0o055)
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)
        (path / "sofa").chmod(0o755)
    if "ModuleNotFoundError" in result.stderr or "PermissionError" in result.stderr.splitlines()[-1:]:
        pytest.skip("another user may not read this checkout")
    assert result.stdout.splitlines() == ["chair/a", "a folder that cannot be listed (Permission denied)"], (
        result.stderr
    )


def test_images_at_another_depth(photos, make):
    source = open_source(
        photos({"top.png": make.png(), "chair/b.png": make.png(), "x/y/z/c.png": make.png()}), view="front"
    )
    assert [record.id for record in source.records] == ["chair/a", "chair/b"]
    assert left_out(source) == dict.fromkeys(["top.png", "x/y/z/c.png"], "at another depth than most images")
    assert source.notes == ("left out: 2 files, at another depth than most images (first: top.png)",)


def test_folders_in_folders_have_an_end(photos, make):
    deep = "d/" * (DEPTH_LIMIT + 5)
    source = open_source(photos({f"{deep}b.png": make.png()}), view="front")
    assert left_out(source) == {"d/" * DEPTH_LIMIT + "d": f"in more than {DEPTH_LIMIT} folders"}


@pytest.mark.parametrize("folders", [["thumbs"], ["128", "256"], ["thumbs/128", "thumbs/256"]])
def test_thumbnails_do_not_win_over_photographs(make, tmp_path, folders):
    photos = {f"{kind}/{name}.jpg": make.encode(make.pixels(1), "JPEG") for kind in ("chair", "sofa") for name in "abc"}
    small = {
        f"{kind}/{folder}/{name}.png": make.png() for kind in ("chair", "sofa") for folder in folders for name in "abc"
    }
    source = open_source(make.folder(tmp_path / "set", photos | small), view="front")
    assert len(source) == 6
    assert all(source.location(index, "front").endswith(".jpg") for index in range(6))
    assert left_out(source).keys() == small.keys()


def test_thumbnails_beside_views(make, tmp_path):
    views = make.multi_view({"chair": 3})
    small = {"/thumbs/".join(name.rsplit("/", 1)): data for name, data in views.items()}
    source = open_source(make.folder(tmp_path / "set", views | small))
    assert [record.id for record in source.records] == [f"chair/chair_{number:04d}" for number in range(3)]
    assert len(source.left_out) == len(small)


def test_one_split_is_not_told_of_what_others_lack(make, tmp_path):
    path = make.folder(tmp_path / "set", make.multi_view({"chair": 1}, "train") | make.multi_view({"chair": 1}, "test"))
    (path / "test" / "chair" / "gone").symlink_to("nowhere")
    assert len(open_source(path).left_out) == len(open_source(path, split="test").left_out) == 1
    assert open_source(path, split="train").left_out == ()


def test_two_folders_of_one_name_in_two_unicode_forms(make, tmp_path):
    files = {"caf\u00e9/a.png": make.png(), "cafe\u0301/b.png": make.png()}
    with pytest.raises(InputError, match="two folders of this name, in two Unicode forms"):
        open_source(make.folder(tmp_path / "set", files), view="front")


def test_beside_shards(make, tmp_path):

    (tmp_path / "out" / "more").mkdir(parents=True)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar", "w") as archive:
        entry = tarfile.TarInfo("a.front.png")
        entry.size = len(make.png())
        archive.addfile(entry, io.BytesIO(make.png()))
    make.folder(tmp_path / "out", {"x.png": make.png(), "report.json": "{}", "notes.txt": ""})
    source = open_source(tmp_path / "out")
    assert left_out(source) == {"x.png": "beside shards", "more": "beside shards"}
    assert source.notes[-1] == "not read: 1 file that is no image (first: notes.txt)"
