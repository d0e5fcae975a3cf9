from __future__ import annotations

import subprocess
import sys

import pytest

import dimvida.data
from dimvida.data.opening import open_source
from dimvida.errors import InputError


def test_no_such_path(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        open_source(tmp_path / "nowhere")


def test_path_may_be_text(make, tmp_path):
    path = make.folder(tmp_path / "set", make.multi_view({"chair": 1}))
    assert len(open_source(str(path))) == 1


def test_empty_folder_and_empty_zip(make, tmp_path):
    (tmp_path / "set").mkdir()
    for path in (tmp_path / "set", make.zip(tmp_path / "set.zip", {})):
        with pytest.raises(InputError, match=r": empty; expected \[<split>/\]<class>/<object>/<view>\.png, "):
            open_source(path)


def test_nothing_but_hidden_files_is_empty(make, tmp_path):
    with pytest.raises(InputError, match="empty"):
        open_source(make.zip(tmp_path / "set.zip", {"__MACOSX/a.png": b"", ".x/a.png": b""}))


def test_folder_without_images(make, tmp_path):
    message = r"no images here; only other files, such as notes\.txt; expected .*<class>/<image>\.png, or the NMR set"
    with pytest.raises(InputError, match=message):
        open_source(make.folder(tmp_path / "set", {"notes.txt": "", "a/b/c.csv": ""}))


def test_too_deep(make, tmp_path):
    files = {f"{top}/x/chair/a/{view}.png": make.png() for top in "pq" for view in ("front", "back")}
    with pytest.raises(InputError, match=r"p/x/chair/a/.*\.png: too deep; expected"):
        open_source(make.folder(tmp_path / "set", files))


def test_neither_folder_nor_zip(make, tmp_path):
    make.folder(tmp_path, {"a.png": make.png(), "b.zip": b"not a zip"})
    with pytest.raises(InputError, match=r"a\.png: neither a folder nor a zip file"):
        open_source(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"b\.zip: not a readable zip file"):
        open_source(tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("names", "view", "form", "ids"),
    [
        (["a.png"], "front", "single-view", ["a"]),
        (["cat/a.png"], "front", "single-view", ["cat/a"]),
        (["train/cat/a.png", "val/cat/a.png"], "front", "single-view", ["train/cat/a", "val/cat/a"]),
        (["pets/cat/a.png", "pets/dog/a.png"], "front", "single-view", ["cat/a", "dog/a"]),
        (["pets/cat/a__x.png", "pets/cat/a__y.png"], None, "single-view", ["cat/a"]),
        (["cat/a/front.png", "cat/a/back.png"], None, "folder", ["cat/a"]),
        (["train/a/front.png", "cat/a/front.png", "cat/a/back.png"], None, "folder", ["cat/a", "train/a"]),
        (["fold1/cat/a/x.png", "fold1/cat/a/y.png"], None, "folder", ["fold1/cat/a"]),
        (["set/train/cat/a/x.png", "set/train/cat/a/y.png"], None, "folder", ["train/cat/a"]),
        (["a/b/train/cat/a/x.png", "a/b/train/cat/a/y.png"], None, "folder", ["train/cat/a"]),
        (["set/Train/cat/a.png", "set/Test/dog/b.png"], "front", "single-view", ["Test/dog/b", "Train/cat/a"]),
        (["set/Train/cat/a__x.png", "set/Test/dog/b__y.png"], None, "single-view", ["Test/dog/b", "Train/cat/a"]),
        (["set/train/cat/a__x.png", "set/train/cat/a__y.png"], None, "single-view", ["train/cat/a"]),
        (["Train/a.png", "test/b.png"], "front", "single-view", ["Train/a", "test/b"]),
        (["a/b/cat/0.png", "a/b/dog/1.png"], "front", "single-view", ["cat/0", "dog/1"]),
        (["a/b/cat/0__x.png", "a/b/dog/1__y.png"], None, "single-view", ["cat/0", "dog/1"]),
        (["set/cat/a/front.png", "set/cat/a/back.png"], "front", "folder", ["set/cat/a"]),
    ],
)
def test_form_by_the_depth_of_the_images(make, tmp_path, names, view, form, ids):
    source = open_source(make.folder(tmp_path / "set", {name: make.png() for name in names}), view=view)
    assert source.form == form
    assert [record.id for record in source.records] == ids


@pytest.mark.parametrize("around", ["", "set/", "a/b/c/"])
@pytest.mark.parametrize(("labeled", "unlabeled"), [("train", "test"), ("val", "train")])
@pytest.mark.parametrize("many", [1, 9])
def test_a_split_without_classes_beside_one_with_them(make, tmp_path, around, labeled, unlabeled, many):
    files = {f"{labeled}/{kind}/{kind}.jpg": make.png() for kind in ("cat", "dog")}
    files |= {f"{unlabeled}/{number}.jpg": make.png() for number in range(many)}
    path = make.folder(tmp_path / "set", {around + name: data for name, data in files.items()})
    source = open_source(path, view="front")
    assert {record.id for record in source.records} == {
        *(f"{labeled}/{kind}/{kind}" for kind in ("cat", "dog")),
        *(f"{unlabeled}/{number}" for number in range(many)),
    }
    assert (source.left_out, source.notes) == ((), ())
    assert len(open_source(path, view="front", split=unlabeled)) == many


def test_images_beside_the_objects_of_another_split_are_left_out(make, tmp_path):
    files = make.multi_view({"chair": 2}, "train") | {f"test/{number}.png": make.png() for number in range(9)}
    source = open_source(make.folder(tmp_path / "set", files))
    assert (source.form, source.splits, len(source)) == ("folder", ("train",), 2)
    assert len(source.left_out) == 9


def test_view_is_for_single_view_sets(make, tmp_path):
    path = make.folder(tmp_path / "set", make.multi_view({"chair": 1}, "train"))
    assert open_source(path, view="front").view_names == ("front", "right", "back", "left")


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
