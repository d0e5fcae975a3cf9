from __future__ import annotations

import pytest

from dimvida.data.opening import open_source
from dimvida.errors import InputError, UnreadableImage


def test_view_by_option(make, tmp_path):
    files = {"chair/a.png": make.png(1), "chair/b.jpg": make.png(2), "table/a.webp": make.png(3)}
    source = open_source(make.folder(tmp_path / "set", files), view="front")
    assert source.form == "single-view"
    assert source.view_names == ("front",)
    assert source.classes == ("chair", "table")
    assert [record.id for record in source.records] == ["chair/a", "chair/b", "table/a"]
    assert source.records[2].views == ("front",)
    assert (source.read_view(2, "front").pixels == make.pixels(3)).all()


def test_unlabeled_images_in_the_top_folder(make, tmp_path):
    source = open_source(make.folder(tmp_path / "set", {"a.png": make.png(), "b.bmp": make.png()}), view="left")
    assert [(record.id, record.class_name) for record in source.records] == [("a", ""), ("b", "")]
    assert source.classes == ()


def test_view_by_suffix_makes_objects(make, tmp_path):
    files = {
        "chair/a__front.png": make.png(1),
        "chair/a__back.png": make.png(2),
        "chair/b__x__left.png": make.png(3),
        "table/a__front.png": make.png(4),
    }
    source = open_source(make.zip(tmp_path / "set.zip", files))
    assert source.view_names == ("front", "back", "left")
    assert [(record.id, record.views) for record in source.records] == [
        ("chair/a", ("front", "back")),
        ("chair/b__x", ("left",)),
        ("table/a", ("front",)),
    ]
    assert (source.read_view(0, "back").pixels == make.pixels(2)).all()


def test_view_by_metadata(make, tmp_path):
    files = {
        "images/1.png": make.png(1),
        "images/2.png": make.png(2),
        "images/3.png": make.png(3),
        "metadata.jsonl": make.lines(
            {"file_name": "images/1.png", "view": "front", "label": "chair", "source": "c/one"},
            {"file_name": "images/2.png", "view": "back", "class": "chair", "source": "c/one"},
            {"file_name": "./images/3.png", "view": "left", "label": None},
        ),
    }
    source = open_source(make.folder(tmp_path / "set", files))
    assert [(record.id, record.views, record.class_name) for record in source.records] == [
        ("chair/c_one", ("front", "back"), "chair"),
        ("3", ("left",), ""),
    ]
    assert (source.read_view(0, "back").pixels == make.pixels(2)).all()


@pytest.mark.parametrize("wrapper", ["", "out/"])
def test_output_of_generate(make, tmp_path, wrapper):
    views = ("front", "right", "back", "left")
    entries = [
        {
            "file_name": f"chair/{name}__{view}.png",
            "source": f"train/chair/{name}",
            "view": view,
            "kind": "real" if view == "front" else "generated",
            "label": 3,
            "seed": 0,
        }
        for name in ("chair_0001", "chair_0002")
        for view in views
    ]
    files = {entry["file_name"]: make.png(number) for number, entry in enumerate(entries)}
    files |= {"metadata.jsonl": make.lines(*entries), "contact-sheet.png": make.png()}
    source = open_source(make.zip(tmp_path / "out.zip", {wrapper + name: data for name, data in files.items()}))
    assert [record.id for record in source.records] == ["chair/chair_0001", "chair/chair_0002"]
    assert source.records[0].views == ("front", "right", "back", "left")
    assert [source.kind(1, view) for view in views] == ["real", "generated", "generated", "generated"]
    assert (source.read_view(1, "back").pixels == make.pixels(6)).all()
    assert source.classes == ("chair",)
    assert source.select([1]).kind(0, "front") == "real"


def test_splits_by_their_usual_names(make, tmp_path):
    files = {"train/chair/a.png": make.png(), "test/chair/a.png": make.png(), "test/table/b.png": make.png()}
    source = open_source(make.folder(tmp_path / "set", files), view="front", split="test")
    assert [record.id for record in source.records] == ["test/chair/a", "test/table/b"]


@pytest.mark.parametrize("name", ["chair/a.png", "a.png"])
def test_no_view_known_says_the_three_ways(make, tmp_path, name):
    with pytest.raises(InputError) as caught:
        open_source(make.folder(tmp_path / "set", {name: make.png()}))
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'set' / name}: which view is it?")
    assert "--view NAME" in message
    assert "metadata.jsonl" in message
    assert "__front.png" in message


def test_views_without_a_class_folder(make, tmp_path):
    files = {f"chair_1/{view}.png": make.png() for view in ("front", "back")}
    with pytest.raises(InputError, match=r"<class>/<object>/(front|back)\.png"):
        open_source(make.folder(tmp_path / "set", files))


def test_option_against_suffix(make, tmp_path):
    path = make.folder(tmp_path / "set", {"chair/a__front.png": make.png()})
    assert open_source(path, view="front").records[0].id == "chair/a"
    with pytest.raises(InputError, match=r"a__front\.png: two views, 'front' by its name and 'back' by --view"):
        open_source(path, view="back")


def test_option_against_metadata(make, tmp_path):
    files = {"chair/a.png": make.png(), "metadata.jsonl": make.lines({"file_name": "chair/a.png", "view": "left"})}
    path = make.folder(tmp_path / "set", files)
    with pytest.raises(InputError, match=r"'back' by --view and 'left' by metadata\.jsonl; say it in one way"):
        open_source(path, view="back")
    assert open_source(path, view="left").view_names == ("left",)


def test_numbers_behind_the_underscores_count_pictures(make, tmp_path):
    path = make.folder(tmp_path / "set", {f"cat/IMG__{n:04d}.png": make.png() for n in (1, 2)})
    source = open_source(path, view="front")
    assert [record.id for record in source.records] == ["cat/IMG__0001", "cat/IMG__0002"]


def test_numeric_view_from_metadata_is_taken_off_the_name(make, tmp_path):
    files = {
        "car/x__0000.png": make.png(),
        "car/x__0006.png": make.png(),
        "metadata.jsonl": make.lines(*({"file_name": f"car/x__{v}.png", "view": v} for v in ("0000", "0006"))),
    }
    source = open_source(make.folder(tmp_path / "set", files))
    assert [(record.id, record.views) for record in source.records] == [("car/x", ("0000", "0006"))]


def test_same_view_twice(make, tmp_path):
    files = {"chair/a.png": make.png(), "chair/a.jpg": make.png()}
    with pytest.raises(InputError, match="both are view 'front' of object 'a'") as caught:
        open_source(make.folder(tmp_path / "set", files), view="front")
    assert "a.png" in str(caught.value)
    assert "a.jpg" in str(caught.value)


def test_metadata_lists_the_set(make, tmp_path):
    files = {
        "cat/a.png": make.png(),
        "cat/b.png": make.png(),
        "metadata.jsonl": make.lines(
            {"file_name": "cat/a.png", "view": "front"}, {"file_name": "cat/gone.png", "view": "front"}
        ),
    }
    source = open_source(make.folder(tmp_path / "set", files))
    assert [record.id for record in source.records] == ["cat/a", "cat/gone"]
    assert source.notes == ("1 image not listed in metadata.jsonl (first: cat/b.png)",)
    with pytest.raises(UnreadableImage, match=r"gone\.png: cannot be read"):
        source.read_view(1, "front")


def test_two_objects_of_one_id(make, tmp_path):
    names = ("train/cat/a.png", "train/cat/b.png", "a.png")
    entries = [
        {"file_name": "train/cat/a.png", "view": "front", "label": None},  # split train, no class
        {"file_name": "train/cat/b.png", "view": "front"},
        {"file_name": "a.png", "view": "front", "label": "train"},  # no split, class train
    ]
    files = {name: make.png() for name in names} | {"metadata.jsonl": make.lines(*entries)}
    with pytest.raises(InputError, match="two objects are called train/a; rename one"):
        open_source(make.folder(tmp_path / "set", files))


@pytest.mark.parametrize("view", ["", "a/b", "..", "front,back", "a\nb"])
def test_unusable_view_name(make, tmp_path, view):
    path = make.folder(tmp_path / "set", {"chair/a.png": make.png()})
    with pytest.raises(InputError, match=r"--view: .* cannot name a view"):
        open_source(path, view=view)
