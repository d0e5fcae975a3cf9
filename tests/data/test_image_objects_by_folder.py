from __future__ import annotations

import re

import pytest

from dimvida.data.opening import open_source
from dimvida.data.source import BadFile
from dimvida.errors import InputError, UnreadableImage


@pytest.fixture(params=["folder", "zip"])
def write(request, make, tmp_path):
    """Writes files as a folder or as a zip file and returns its path."""

    def write(files, name="set"):
        if request.param == "zip":
            return make.zip(tmp_path / f"{name}.zip", files)
        return make.folder(tmp_path / name, files)

    write.form = request.param
    return write


def test_with_splits(make, write):
    files = make.multi_view({"chair": 2, "table": 1}, "train") | make.multi_view({"chair": 1}, "test", start=5)
    source = open_source(write(files))
    assert source.form == write.form
    assert source.view_names == ("front", "right", "back", "left")
    assert source.classes == ("chair", "table")
    assert source.splits == ("train", "test")
    assert [record.id for record in source.records] == [
        "test/chair/chair_0000",
        "train/chair/chair_0000",
        "train/chair/chair_0001",
        "train/table/table_0000",
    ]
    record = source.records[2]
    assert (record.name, record.class_name, record.split) == ("chair_0001", "chair", "train")
    assert record.views == source.view_names
    assert (source.read_view(2, "back").pixels == make.pixels(12)).all()
    assert source.location(2, "back").endswith("train/chair/chair_0001/back.png")
    assert source.kind(2, "back") == "real"
    assert source.notes == ()


def test_without_splits(make, write):
    source = open_source(write(make.multi_view({"chair": 2})))
    assert [record.id for record in source.records] == ["chair/chair_0000", "chair/chair_0001"]
    assert source.splits == ()
    assert source.records[0].split == ""


def test_one_split_keeps_the_numbering_of_classes(make, write):
    files = make.multi_view({"chair": 1, "table": 1}, "train") | make.multi_view({"table": 1}, "test")
    source = open_source(write(files), split="test")
    assert [record.id for record in source.records] == ["test/table/table_0000"]
    assert source.classes == ("chair", "table")


def test_split_that_is_not_there(make, write):
    path = write(make.multi_view({"chair": 1}, "train") | make.multi_view({"chair": 1}, "test"))
    with pytest.raises(InputError, match="no split 'val'; it has test, train"):
        open_source(path, split="val")
    path = write(make.multi_view({"chair": 1}), "other")
    with pytest.raises(InputError, match="has no splits, so no split 'train'; leave out --split"):
        open_source(path, split="train")


def test_select_keeps_names_and_reads_the_right_files(make, write):
    source = open_source(write(make.multi_view({"chair": 3, "table": 1})))
    part = source.select([3, 2])
    assert [record.id for record in part.records] == ["table/table_0000", "chair/chair_0002"]
    assert part.classes == source.classes
    assert (part.read_view(1, "left").pixels == make.pixels(23)).all()
    assert len(source) == 4
    assert [record.id for record in part.select([1]).records] == ["chair/chair_0002"]


def test_other_views_in_natural_order(make, write):
    files = {f"chair/a/{view}.png": make.png() for view in ("view10", "top", "left", "view2", "front", "back")} | {
        "chair/b/top.png": make.png()
    }
    assert open_source(write(files)).view_names == ("front", "back", "left", "top", "view2", "view10")


def test_objects_may_have_fewer_views(make, write):
    files = make.multi_view({"chair": 2})
    del files["chair/chair_0001/front.png"], files["chair/chair_0001/back.png"]
    source = open_source(write(files))
    assert source.records[1].views == ("right", "left")
    assert (source.read_view(1, "left").pixels == make.pixels(13)).all()
    with pytest.raises(InputError, match=r"chair/chair_0001 has no view 'front'; it has right, left"):
        source.read_view(1, "front")


def test_two_files_for_one_view(make, write):
    files = make.multi_view({"chair": 1}) | {"chair/chair_0000/front.jpg": b""}
    with pytest.raises(InputError, match="two files for one view") as caught:
        open_source(write(files))
    assert "chair/chair_0000/front.png" in str(caught.value)
    assert "chair/chair_0000/front.jpg" in str(caught.value)


def test_fewer_than_two_views(make, write):
    files = {f"chair/{number}/front.png": make.png() for number in range(3)}
    with pytest.raises(InputError, match=r"only one view \('front'\).*belongs in <class>/<object>\.png, with --view"):
        open_source(write(files))


def test_photographs_in_two_levels_of_folders(make, write):
    files = {f"chair/{room}/{number}.png": make.png() for number, room in enumerate("abc")}
    with pytest.raises(InputError, match="no two objects have a view of the same name"):
        open_source(write(files))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("chair/{view}/{number}.png", "the folders of objects are called after views"),
        ("train/chair/{view}/{number}.png", "the folders of objects are called after views"),
        ("chair/{split}/{number}.png", "has the splits (test, train) inside of the classes"),
        ("{kind}/{split}/c{number}/{view}.png", "has the splits (test, train) inside of the classes"),
    ],
)
def test_other_orders_of_folders_are_refused(make, write, name, problem):
    files = {
        name.format(view=view, split=split, number=number, kind=kind): make.png()
        for kind in ("chair", "sofa")
        for view in ("front", "left")
        for split in ("train", "test")
        for number in range(3)
    }
    with pytest.raises(InputError, match=re.escape(problem)):
        open_source(write(files))


@pytest.mark.parametrize("names", [("left", "right"), ("test1", "test2"), ("front", "side")])
def test_objects_may_be_called_almost_anything(make, write, names):
    source = open_source(write({f"hand/{name}/{view}.png": make.png() for name in names for view in "ab"}))
    assert [record.name for record in source.records] == list(names)


def test_other_formats_and_files(make, write):
    files = {
        "chair/a/front.jpg": make.encode(make.pixels(), "JPEG"),
        "chair/a/back.webp": make.encode(make.pixels(), "WEBP"),
        "chair/a/notes.txt": b"no image",
        "index.csv": b"split,class,object\n",
        "contact-sheet.png": make.png(),
        "__MACOSX/chair/a/._front.jpg": b"",
        "chair/.DS_Store": b"",
    }
    source = open_source(write(files))
    assert source.records[0].views == ("front", "back")
    assert source.notes == (
        "left out: 1 file, at another depth than most images (first: contact-sheet.png)",
        "not read: 1 file that is no image (first: chair/a/notes.txt)",
    )
    location = source.location(0, "front").replace("chair/a/front.jpg", "contact-sheet.png")
    assert source.left_out == (BadFile(location, "at another depth than most images"),)


def test_folder_around_everything(make, write):
    files = {f"download/{name}": data for name, data in make.multi_view({"chair": 2}, "train").items()}
    source = open_source(write(files))
    assert source.records[0].id == "train/chair/chair_0000"
    assert (source.read_view(1, "front").pixels == make.pixels(10)).all()


def test_damaged_image_is_found_when_read(make, write):
    files = make.multi_view({"chair": 2})
    files["chair/chair_0001/back.png"] = files["chair/chair_0001/back.png"][:60]
    source = open_source(write(files))
    assert source.read_view(1, "front").pixels.shape == (8, 8, 3)
    with pytest.raises(UnreadableImage, match=r"chair_0001/back\.png: damaged"):
        source.read_view(1, "back")


def test_real_data(modelnet_zip):
    source = open_source(modelnet_zip)
    assert len(source) == 4353
    assert source.form == "zip"
    assert source.view_names == ("front", "right", "back", "left")
    assert len(source.classes) == 10
    assert source.splits == ("train", "test")
    assert sum(len(record.views) for record in source.records) == 17412
    assert len(open_source(modelnet_zip, split="test")) == 626
    assert source.read_view(0, "front").pixels.shape == (64, 64, 3)


def test_with_views_the_others_cannot_be_read(tmp_path, write_objects):
    path = write_objects(tmp_path / "data", {"chair/a": ("front", "back"), "chair/b": ("front", "right", "back")})
    source = open_source(path)
    restricted = source.with_views([("back",), ("front", "back")])
    assert [record.views for record in restricted.records] == [("back",), ("front", "back")]
    assert [record.id for record in restricted.records] == [record.id for record in source.records]
    assert restricted.read_view(1, "back").sha256 == source.read_view(1, "back").sha256
    with pytest.raises(InputError, match="has no view 'front'; it has back"):
        restricted.read_view(0, "front")
    with pytest.raises(InputError, match="has no view 'right'"):
        source.with_views([("right",), ("front",)])
