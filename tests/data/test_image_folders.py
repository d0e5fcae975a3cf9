"""Metadata decide about views first, wherever they and the images lie; else the depth of the images does."""

from __future__ import annotations

import json

import pytest

from dimvida.data.opening import open_source
from dimvida.errors import InputError


def line(name: str, view: str | None = "front", **more: object) -> dict:
    return {"file_name": name, "view": view, **more}


LAYOUTS = {
    "one deeper": (
        ["chair/day1/a.png", "sofa/b.png"],
        {"": ["chair/day1/a.png", "sofa/b.png"]},
        ["chair/day1_a", "sofa/b"],
    ),
    "all deeper": (
        ["chair/day1/a.png", "sofa/x/b.png"],
        {"": ["chair/day1/a.png", "sofa/x/b.png"]},
        ["chair/day1_a", "sofa/x_b"],
    ),
    "in a wrapper": (["w/chair/a.png", "w/sofa/b.png"], {"w/": ["chair/a.png", "sofa/b.png"]}, ["chair/a", "sofa/b"]),
    "around a wrapper": (
        ["w/chair/a.png", "w/sofa/b.png"],
        {"": ["w/chair/a.png", "w/sofa/b.png"]},
        ["chair/a", "sofa/b"],
    ),
    "in two wrappers": (
        ["v/w/chair/x/a.png", "v/w/sofa/b.png"],
        {"v/w/": ["chair/x/a.png", "sofa/b.png"]},
        ["chair/x_a", "sofa/b"],
    ),
    "of each class": (["chair/a.png", "sofa/b.png"], {"chair/": ["a.png"], "sofa/": ["b.png"]}, ["chair/a", "sofa/b"]),
    "of each split": (
        ["Test/chair/a.png", "Train/sofa/b.png"],
        {"Test/": ["chair/a.png"], "Train/": ["sofa/b.png"]},
        ["Test/chair/a", "Train/sofa/b"],
    ),
    "of splits in a wrapper": (
        ["w/test/chair/a.png", "w/train/sofa/b.png"],
        {"w/test/": ["chair/a.png"], "w/train/": ["sofa/b.png"]},
        ["test/chair/a", "train/sofa/b"],
    ),
    "multi-view": (
        ["chair/o/front.png", "sofa/p/front.png"],
        {"": ["chair/o/front.png", "sofa/p/front.png"]},
        ["chair/o", "sofa/p"],
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_wherever_they_lie(make, tmp_path, layout, form):
    images, metadata, ids = LAYOUTS[layout]
    files: dict = {name: make.png(number) for number, name in enumerate(images)}
    files |= {f"{prefix}metadata.jsonl": make.lines(*map(line, names)) for prefix, names in metadata.items()}
    path = make.folder(tmp_path / "set", files) if form == "folder" else make.zip(tmp_path / "set.zip", files)
    source = open_source(path)
    assert [(record.id, record.views) for record in source.records] == [(identity, ("front",)) for identity in ids]
    assert all((source.read_view(place, "front").pixels == make.pixels(place)).all() for place in (0, 1))
    assert (source.notes, source.left_out) == ((), ())
    assert [record.id for record in open_source(path, view="front").records] == ids
    with pytest.raises(InputError, match=r"two views, .*'front' by metadata\.jsonl"):
        open_source(path, view="back")


def test_views_of_an_object_in_its_folder(make, tmp_path):
    names = {"chair/o/front.png": "front", "chair/o/left.png": "left", "chair/p/front.png": "front"}
    entries = [line(name, view, kind="real" if view == "front" else "generated") for name, view in names.items()]
    files = {name: make.png() for name in names} | {"metadata.jsonl": make.lines(*entries)}
    source = open_source(make.folder(tmp_path / "set", files))
    assert [(record.id, record.views) for record in source.records] == [
        ("chair/o", ("front", "left")),
        ("chair/p", ("front",)),
    ]
    assert [source.kind(0, view) for view in ("front", "left")] == ["real", "generated"]


def test_a_name_that_says_another_view_than_metadata(make, tmp_path):
    files = {"chair/o/front.png": make.png(), "metadata.jsonl": make.lines(line("chair/o/front.png", "left"))}
    with pytest.raises(InputError, match=r"'front' by its name and 'left' by metadata\.jsonl"):
        open_source(make.folder(tmp_path / "set", files))


def test_metadata_without_views_leave_them_to_the_layout(make, tmp_path):
    files = make.multi_view({"chair": 2})
    listed = [name for name in files if "chair_0000" in name]
    entries = [{"file_name": name, "label": "seat", "kind": "generated"} for name in listed]
    source = open_source(make.folder(tmp_path / "set", files | {"metadata.jsonl": make.lines(*entries)}))
    assert [(record.id, len(record.views)) for record in source.records] == [("seat/chair_0000", 4)]
    assert source.kind(0, "left") == "generated"
    assert source.notes == ("4 images not listed in metadata.jsonl (first: chair/chair_0001/back.png)",)


def test_images_in_no_folder_with_metadata_need_a_view_too(make, tmp_path):
    files = {"chair/a.png": make.png(), "sofa/b.png": make.png(), "chair/metadata.jsonl": make.lines(line("a.png"))}
    path = make.folder(tmp_path / "set", files)
    with pytest.raises(InputError, match=r"sofa/b\.png: which view is it\?"):
        open_source(path)
    assert len(open_source(path, view="front")) == 2


def test_hidden_images_that_metadata_list_are_read(make, tmp_path):
    files = {"chair/.a.png": make.png(), ".x/b.png": make.png(), ".y/c.png": make.png()}
    files |= {"metadata.jsonl": make.lines(line("chair/.a.png"), line(".x/b.png"))}
    source = open_source(make.folder(tmp_path / "set", files))
    assert [source.read_view(index, "front").pixels.shape for index in range(2)] == [(8, 8, 3)] * 2
    assert source.notes == ("not read: 1 hidden file or folder (first: .y/)",)


def test_two_metadata_files_about_one_image(make, tmp_path):
    files = {"chair/a.png": make.png(), "metadata.jsonl": make.lines(line("chair/a.png"))}
    path = make.folder(tmp_path / "set", files | {"chair/metadata.jsonl": make.lines(line("a.png"))})
    assert len(open_source(path)) == 1
    make.folder(path, {"chair/metadata.jsonl": make.lines(line("a.png", "left"))})
    with pytest.raises(
        InputError, match=r"chair/metadata\.jsonl, line 1: chair/a\.png is described otherwise elsewhere"
    ):
        open_source(path)


def test_labels_make_the_folder_of_a_split_one(make, tmp_path):
    files = {"train/1.png": make.png(), "metadata.jsonl": make.lines(line("train/1.png", label="chair"))}
    (record,) = open_source(make.folder(tmp_path / "set", files)).records
    assert (record.split, record.class_name, record.name) == ("train", "chair", "1")


def test_names_in_another_unicode_form_than_on_disk(make, tmp_path):
    files = {"cafe\u0301/a.png": make.png(), "metadata.jsonl": make.lines(line("caf\u00e9/a.png", source="e\u0301"))}
    source = open_source(make.folder(tmp_path / "set", files))
    assert [record.id for record in source.records] == ["caf\u00e9/\u00e9"]
    assert source.read_view(0, "front").pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("key", ["file_name", "view", "class", "label", "source"])
@pytest.mark.parametrize("text", ["x\\ud800", "\\udce9", "a\\u0000b"])
def test_what_is_no_text_is_refused_with_its_line(make, tmp_path, key, text):
    entry = {"file_name": "chair/a.png", "view": "front"}
    entry[key] = "#"
    content = '{"file_name": "chair/b.png", "view": "front"}\n' + json.dumps(entry).replace("#", text)
    path = make.folder(tmp_path / "set", {"chair/a.png": make.png(), "metadata.jsonl": content})
    with pytest.raises(
        InputError, match=rf'metadata\.jsonl, line 2: "{key}" is .*, with a character that is no text'
    ) as caught:
        open_source(path)
    str(caught.value).encode()


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
