"""Rows as objects: names, classes and views of every type, and what cannot be a name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest
from helpers.objects import CHAIR_SOFA, hub_image, view_rows, write_parquet

from dimvida.data.opening import open_source
from dimvida.errors import InputError


def open_rows(folder: Path, *rows: dict, **table):
    write_parquet(folder / "a.parquet", [{"image": hub_image(1), "view": "front", **row} for row in rows], **table)
    return open_source(folder)


def ids(source) -> list[str]:
    return [record.id for record in source.records]


def test_numbers_stand_for_the_names_of_classes(tmp_path: Path):
    rows = [{"object": name, "label": label} for name, label in (("a", 1), ("b", 0), ("c", -1), ("d", None))]
    source = open_rows(tmp_path, *rows, features=CHAIR_SOFA)
    assert ids(source) == ["sofa/a", "chair/b", "c", "d"] and source.classes == ("chair", "sofa")


def test_views_may_be_numbers_with_names_too(tmp_path: Path):
    features = {"view": {"names": ["left", "front"], "_type": "ClassLabel"}}
    source = open_rows(tmp_path, {"view": 1, "object": "a"}, {"view": 0, "object": "a"}, features=features)
    assert source.records[0].views == ("front", "left")


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary()],
    ids=str,
)
def test_text_of_every_type_is_read(tmp_path: Path, kind):
    rows = [{"object": "a", "class": "x"}, {"object": "b", "class": None}]
    assert ids(open_rows(tmp_path, *rows, types={"class": kind, "object": kind})) == ["x/a", "b"]


def test_numbers_without_names_are_names(tmp_path: Path):
    assert ids(open_rows(tmp_path, {"object": 7, "class": 3})) == ["3/7"]


@pytest.mark.parametrize("kind", [pa.null(), pa.string(), pa.int64()], ids=str)
def test_a_column_of_nothing_names_no_classes(tmp_path: Path, kind):
    source = open_rows(tmp_path, {"object": "a", "class": None}, types={"class": kind}, features=CHAIR_SOFA)
    assert ids(source) == ["a"] and source.classes == ()


@pytest.mark.parametrize("label", [2, -2, 2**64 - 9])
def test_numbers_beyond_the_names_of_classes_are_refused(tmp_path: Path, label: int):
    kind = pa.uint64() if label > 2 else pa.int8()
    with pytest.raises(InputError, match=r"column label holds -?\d, and has names for 0 to 1 only"):
        open_rows(tmp_path, {"object": "a", "label": label}, types={"label": kind}, features=CHAIR_SOFA)


def test_names_are_composed(tmp_path: Path):
    apart = unicodedata.normalize("NFD", "é")
    source = open_rows(tmp_path, {"object": apart, "class": apart}, {"object": "b", "class": "é"})
    assert ids(source) == ["é/é", "é/b"] and source.classes == ("é",)


def test_the_class_before_a_name_is_left_out(tmp_path: Path):
    rows = [{"object": "chair/a-0", "class": "chair"}, {"object": "x/y", "class": "chair"}]
    assert ids(open_rows(tmp_path, *rows)) == ["chair/a-0", "chair/x_y"]


def test_what_is_no_name_of_a_file_may_be_one_of_a_class_or_an_object(tmp_path: Path):
    rows = [{"object": "C:x", "class": "a: b"}, {"object": "x\\y", "class": "a\\b"}]
    assert ids(open_rows(tmp_path, *rows)) == ["a: b/C:x", "a\\b/x\\y"]


def test_keys_of_an_output_are_known_whatever_their_folder_is_called(tmp_path: Path):
    rows = [{"class": "a:b", "key": "a_b/é", "source": "x", "draw": 0, "kind": "generated"}]
    assert ids(open_rows(tmp_path, *rows)) == ["a:b/é"]


def test_draws_of_an_output_without_keys_are_objects(tmp_path: Path):
    rows = [{"source": "a", "draw": draw} for draw in (0, 1)]
    assert ids(open_rows(tmp_path, *rows)) == ["a-0", "a-1"]


def test_one_name_in_two_classes_is_two_objects(tmp_path: Path):
    rows = [{"object": "a", "class": "x"}, {"object": "a", "class": "y"}]
    assert ids(open_rows(tmp_path, *rows)) == ["x/a", "y/a"]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"object": None}, r"a.parquet\[0\]: has nothing in column object"),
        ({"object": "a", "view": None}, r"a.parquet\[0\]: has nothing in column view"),
        ({"object": "../a"}, "'../a' cannot be the name of an object"),
        ({"object": ""}, "'' cannot be the name of an object"),
        ({"object": "a", "class": "x/y"}, "'x/y' cannot be the name of a class"),
        ({"object": "a", "view": "x/y"}, "column view: 'x/y' cannot name a view"),
        ({"object": b"\xff"}, "column object holds bytes that are no text"),
        ({"object": 1.5}, "column object is double, neither text nor whole numbers"),
    ],
)
def test_what_cannot_be_a_name_is_refused(tmp_path: Path, row, line):
    kinds = {name: pa.string() for name, value in row.items() if value is None}
    with pytest.raises(InputError, match=line):
        open_rows(tmp_path, row, types=kinds)


def test_names_that_become_the_same_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="two objects are called a_b"):
        open_rows(tmp_path, {"object": "a/b"}, {"object": "a_b"})


def test_objects_come_in_the_order_of_their_first_rows(tmp_path: Path):
    rows = view_rows(4)
    write_parquet(tmp_path / "a.parquet", [rows[place] for place in (9, 4, 0, 12, 8, 1)])
    assert ids(open_source(tmp_path)) == ["0/o2", "1/o1", "0/o0", "1/o3"]
