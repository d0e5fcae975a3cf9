"""Parquet files and saved data sets as sources: one row a view or a column a view, splits by name, what is beside."""

from __future__ import annotations

import hashlib
import pickle
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.objects import CHAIR_SOFA, hub_image, image_bytes, view_rows, write_parquet

from dimvida.data.columns import Columns
from dimvida.data.opening import open_source
from dimvida.errors import InputError, UnreadableImage

OBJECTS = {"chair/a": ("front", "left"), "chair/b": ("front", "left")}


def levels(source) -> dict[str, dict[str, int]]:
    return {
        record.id: {view: int(source.read_view(index, view).pixels[0, 0, 0]) for view in record.views}
        for index, record in enumerate(source.records)
    }


class TestOneRowAView:
    def test_rows_of_an_object_are_its_views(self, tmp_path: Path):
        write_parquet(tmp_path / "a.parquet", view_rows(3), features=CHAIR_SOFA)
        source = open_source(tmp_path)
        assert (source.form, source.view_names) == ("parquet", ("front", "right", "back", "left"))
        assert (source.classes, source.splits, source.notes, source.left_out) == (("chair", "sofa"), (), (), ())
        assert levels(source) == {
            f"{label}/o{i}": {view: 10 * i + v for v, view in enumerate(source.view_names)}
            for i, label in enumerate(("chair", "sofa", "chair"))
        }

    def test_hashes_are_those_of_the_stored_files(self, tmp_path: Path):
        write_parquet(tmp_path / "a.parquet", view_rows(1))
        source = open_source(tmp_path)
        expected = hashlib.sha256(image_bytes(3)).hexdigest()
        assert source.view_sha256(0, "left") == source.read_view(0, "left").sha256 == expected
        assert source.location(0, "left") == f"{tmp_path / 'a.parquet'}[3]"

    def test_rows_of_an_object_may_lie_anywhere_and_lack_views(self, tmp_path: Path):
        rows = view_rows(3)
        rows = [rows[8], rows[1], rows[0], rows[5], rows[9]]
        write_parquet(tmp_path / "a.parquet", rows[:2])
        write_parquet(tmp_path / "b.parquet", rows[2:])
        source = open_source(tmp_path)
        assert levels(source) == {
            "0/o2": {"front": 20, "right": 21}, "0/o0": {"front": 0, "right": 1}, "1/o1": {"right": 11},
        }  # fmt: skip

    def test_columns_can_be_named(self, tmp_path: Path):
        rows = [
            {"x": image_bytes(i), "image": image_bytes(99), "pose": "left", "kind_of": "cat", "who": f"n{i}"}
            for i in range(2)
        ]
        write_parquet(tmp_path / "a.parquet", rows)
        source = open_source(tmp_path, columns=Columns(("x",), "pose", "kind_of", "who"))
        assert levels(source) == {"cat/n0": {"left": 0}, "cat/n1": {"left": 1}}

    def test_one_view_may_be_said_for_all(self, tmp_path: Path):
        write_parquet(tmp_path / "a.parquet", [{"img": hub_image(i), "label": i} for i in range(2)])
        assert levels(open_source(tmp_path, view="front")) == {
            "0/00000000": {"front": 0}, "1/00000001": {"front": 1},
        }  # fmt: skip
        with pytest.raises(InputError, match=r"which views are its images\? Give --view NAME"):
            open_source(tmp_path)

    def test_a_view_said_twice_is_refused(self, tmp_path: Path):
        write_parquet(tmp_path / "a.parquet", view_rows(1))
        with pytest.raises(InputError, match=r"its columns say the views \(view\); leave out --view"):
            open_source(tmp_path, view="front")

    def test_an_object_with_a_view_twice_is_refused(self, tmp_path: Path):
        write_parquet(tmp_path / "a.parquet", [*view_rows(2), view_rows(1)[2]])
        with pytest.raises(
            InputError, match=r"a.parquet\[2\] and .*a.parquet\[8\]: both are view 'back' of object 'o0'"
        ):
            open_source(tmp_path)

    def test_what_was_generated_is_known(self, tmp_path: Path):
        rows = [{**row, "kind": "generated" if row["view"] == "left" else "real"} for row in view_rows(1)]
        write_parquet(tmp_path / "a.parquet", rows)
        source = open_source(tmp_path)
        assert [source.kind(0, view) for view in source.view_names] == ["real", "real", "real", "generated"]


class TestAColumnAView:
    def test_several_columns_of_images_are_views(self, tmp_path: Path):
        rows = [{"left": hub_image(i), "front": hub_image(10 + i), "label": (0, 1, -1)[i]} for i in range(3)]
        write_parquet(tmp_path / "a.parquet", rows, features=CHAIR_SOFA)
        source = open_source(tmp_path)
        assert source.view_names == ("front", "left")
        assert levels(source)["sofa/00000001"] == {"front": 11, "left": 1}
        assert [record.class_name for record in source.records] == ["chair", "sofa", ""]  # -1 is no class
        assert source.location(1, "left") == f"{tmp_path / 'a.parquet'}[1, left]"

    @pytest.mark.parametrize("plain", [False, True])
    def test_missing_views_are_missing(self, tmp_path: Path, plain: bool):
        make = image_bytes if plain else hub_image
        rows = [{"a": make(i) if i % 3 else None, "b": make(i) if i % 2 else None, "name": f"n{i}"} for i in range(7)]
        write_parquet(tmp_path / "a.parquet", rows)
        source = open_source(tmp_path, columns=Columns(object="name"))
        assert [record.views for record in source.records] == [
            ("a", "b"), ("a",), ("b",), ("a",), ("a", "b"),
        ]  # fmt: skip
        assert source.notes == (f"not read: 2 objects without images (first: {tmp_path / 'a.parquet'}[0])",)

    def test_an_option_chooses_the_columns(self, tmp_path: Path):
        rows = [{"front": image_bytes(i), "mask": image_bytes(9), "back": image_bytes(20 + i)} for i in range(2)]
        write_parquet(tmp_path / "a.parquet", rows)
        source = open_source(tmp_path, columns=Columns(("front", "back")))
        assert levels(source)["00000001"] == {"front": 1, "back": 21}
        single = open_source(tmp_path, columns=Columns(("mask",)), view="front")
        assert levels(single)["00000001"] == {"front": 9}


class TestSplits:
    @pytest.mark.parametrize(
        "names",
        [
            ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
            ("train/0000.parquet", "test/0000.parquet"),
            ("shapes_train.parquet", "shapes_test.parquet"),
        ],
    )
    def test_are_those_of_folders_or_names(self, tmp_path: Path, names):
        write_parquet(tmp_path / names[0], view_rows(2))
        write_parquet(tmp_path / names[1], view_rows(1))
        source = open_source(tmp_path)
        assert source.splits == ("train", "test")
        assert [record.id for record in source.records if record.split == "test"] == ["test/0/o0"]
        tested = open_source(tmp_path, split="test")
        assert [record.id for record in tested.records] == ["test/0/o0"]
        assert tested.read_view(0, "left").pixels[0, 0, 0] == 3
        with pytest.raises(InputError, match="has no split 'val'"):
            open_source(tmp_path, split="val")

    def test_rows_without_names_are_numbered_within(self, tmp_path: Path):
        for split in ("train", "test"):
            write_parquet(tmp_path / f"{split}.parquet", [{"image": hub_image(i)} for i in range(2)])
        ids = [record.id for record in open_source(tmp_path, view="front").records]
        assert ids == ["test/00000000", "test/00000001", "train/00000000", "train/00000001"]


class TestWhatIsThere:
    def test_a_file_alone_and_files_in_braces(self, tmp_path: Path):
        for number in range(3):
            write_parquet(tmp_path / f"s-{number:02d}.parquet", view_rows(3)[4 * number : 4 * number + 4])
        one = open_source(tmp_path / "s-01.parquet")
        assert [record.name for record in one.records] == ["o1"] and one.path == tmp_path / "s-01.parquet"
        some = open_source(tmp_path / "s-{01..02}.parquet")
        assert [record.name for record in some.records] == ["o1", "o2"]
        with pytest.raises(InputError, match=r"s-03.parquet: cannot be read \(No such file"):
            open_source(tmp_path / "s-{02..03}.parquet")

    def test_tables_without_images_are_not_data(self, tmp_path: Path, write_objects):
        write_objects(tmp_path, OBJECTS)
        write_parquet(tmp_path / "notes.parquet", [{"name": "a", "text": "b"}])
        assert open_source(tmp_path).form == "folder"

    def test_without_pyarrow_images_are_read_and_tables_name_the_extra(
        self, tmp_path: Path, write_objects, monkeypatch
    ):
        write_parquet(tmp_path / "tables" / "a.parquet", view_rows(1))
        write_objects(tmp_path / "images", OBJECTS)
        write_parquet(tmp_path / "images" / "a.parquet", view_rows(1))
        for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(InputError, match=r"tables: needs pyarrow; pip install 'dimvida\[parquet\]'"):
            open_source(tmp_path / "tables")
        assert open_source(tmp_path / "images").form == "folder"

    def test_images_and_folders_beside_are_told(self, tmp_path: Path):
        write_parquet(tmp_path / "data" / "a.parquet", view_rows(1))
        (tmp_path / "sheet.png").write_bytes(image_bytes(1))
        (tmp_path / "README.md").write_text("text")
        source = open_source(tmp_path)
        assert [(Path(file.location).name, file.reason) for file in source.left_out] == [("sheet.png", "beside tables")]

    def test_cameras_are_read(self, tmp_path: Path):
        write_parquet(tmp_path / "a.parquet", view_rows(1, ("front", "left")))
        (tmp_path / "cameras.json").write_text(
            '{"front": {"azimuth": 0, "elevation": 30}, "left": {"azimuth": 90, "elevation": 30}}'
        )
        assert open_source(tmp_path).cameras["left"].azimuth == 90

    def test_columns_of_what_has_none_are_refused(self, tmp_path: Path, write_objects):
        write_objects(tmp_path, OBJECTS)
        with pytest.raises(InputError, match="has no columns, so no --column"):
            open_source(tmp_path, columns=Columns(view="pose"))


class TestSavedToDisk:
    def test_one_set_and_splits(self, tmp_path: Path):
        datasets = pytest.importorskip("datasets")
        features = datasets.Features(
            image=datasets.Image(), view=datasets.Value("string"), object=datasets.Value("string"),
            label=datasets.ClassLabel(names=["chair", "sofa"]),
        )  # fmt: skip
        saved = datasets.Dataset.from_list(view_rows(3), features=features)
        saved.save_to_disk(tmp_path / "one", num_shards=2)
        one = open_source(tmp_path / "one")
        assert one.form == "arrow" and one.splits == () and one.left_out == () and one.notes == ()
        assert levels(one)["sofa/o1"] == {"front": 10, "right": 11, "back": 12, "left": 13}
        datasets.DatasetDict(train=saved, test=saved.select(range(4))).save_to_disk(tmp_path / "splits")
        splits = open_source(tmp_path / "splits")
        assert splits.splits == ("train", "test") and len(splits) == 4 and splits.left_out == ()
        assert levels(open_source(tmp_path / "splits", split="test")) == {"test/chair/o0": levels(one)["chair/o0"]}

    @pytest.mark.parametrize("text", ["{", '{"_data_files": [{"filename": "../a.arrow"}]}', '{"_data_files": 3}'])
    def test_damaged_json_is_one_line(self, tmp_path: Path, text: str):
        (tmp_path / "state.json").write_text(text)
        (tmp_path / "dataset_info.json").write_text("{}")
        with pytest.raises(InputError, match=r"state\.json: not the JSON that datasets writes; save the set again"):
            open_source(tmp_path)


def test_a_copy_for_another_process_reads_the_same(tmp_path: Path):
    write_parquet(tmp_path / "a.parquet", view_rows(3))
    source = open_source(tmp_path).select([2, 0])
    source.read_view(0, "left")
    copy = pickle.loads(pickle.dumps(source))
    assert levels(copy) == levels(source) and list(copy.records) == list(source.records)


def test_images_of_newer_writers_are_read(tmp_path: Path):
    views = pa.array([image_bytes(1), None, image_bytes(2)], pa.binary_view())
    pq.write_table(pa.table({"image": views, "view": ["front"] * 3}), tmp_path / "a.parquet")
    source = open_source(tmp_path)
    assert [source.read_view(place, "front").pixels[0, 0, 0] for place in (0, 2)] == [1, 2]
    with pytest.raises(UnreadableImage, match="holds no image"):
        source.read_view(1, "front")


def test_a_table_without_images_beside_others_is_named_whatever_comes_first(tmp_path: Path):
    write_parquet(tmp_path / "b.parquet", view_rows(1))
    for name in ("a.parquet", "c.parquet"):
        write_parquet(tmp_path / name, [{"note": "x"}])
        with pytest.raises(InputError, match=rf"{name}: has no column image, which files beside it have; it has note"):
            open_source(tmp_path)
        (tmp_path / name).unlink()


def test_tables_without_images_are_told(tmp_path: Path):
    pq.write_table(pa.table({"image": ["a.png"]}), tmp_path / "a.parquet")
    with pytest.raises(
        InputError, match=r"no images here; a\.parquet has no column of image files, as bytes or as dat"
    ):
        open_source(tmp_path)


def test_an_image_that_is_not_there_is_one_unreadable_file(tmp_path: Path):
    rows = view_rows(1)
    rows[1]["image"] = {"bytes": None, "path": "/etc/hostname"}
    rows[2]["image"] = None
    rows[3]["image"] = {"bytes": b"no image", "path": None}
    write_parquet(tmp_path / "a.parquet", rows)
    source = open_source(tmp_path)
    for view, reason in (("right", "name of a file"), ("back", "holds no image"), ("left", "not an image")):
        with pytest.raises(UnreadableImage, match=reason):
            source.read_view(0, view)
