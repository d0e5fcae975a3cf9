"""Which columns say what: by name, by their usual names, and what contradicts itself."""

from __future__ import annotations

import pyarrow as pa
import pytest
from helpers.objects import CHAIR_SOFA, hub_image, image_bytes, make_table

from dimvida.data.columns import Columns, make_layout, parse_columns, require_alike
from dimvida.errors import InputError

ROW = {"image": hub_image(1), "view": "front", "label": 1, "source": "a"}


def schema(row: dict, **more) -> pa.Schema:
    return make_table([row], **more).schema


def test_options_are_parsed():
    assert parse_columns(None) == Columns() and not Columns().named
    asked = parse_columns(["view=pose", "image=a", "image=b=c", "class=x", "object=y"])
    assert asked == Columns(("a", "b=c"), "pose", "x", "y") and asked.named


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["pose"], "--column pose: give image, view, class, object"),
        (["colour=x"], "--column colour=x: give image"),
        (["view="], "--column view=: give image"),
        (["view=a", "view=b"], "--column view=b: view is a already"),
        (["image=a", "image=a"], "--column image=a: image is a already"),
    ],
)
def test_options_that_say_nothing_or_two_things_are_refused(texts, line):
    with pytest.raises(InputError, match=line):
        parse_columns(texts)


def test_usual_names_are_found():
    layout = make_layout(schema({**ROW, "kind": "real", "draw": 0}, features=CHAIR_SOFA), Columns(), "x")
    assert layout.images == {"image": None}
    assert (layout.view, layout.label, layout.object) == ("view", "label", "source")
    assert (layout.kind, layout.draw) == ("kind", "draw") and layout.classes == {"label": ("chair", "sofa")}
    assert not layout.keys


def test_tables_without_images_have_no_layout():
    assert make_layout(schema({"a": 1, "b": "text"}), Columns(), "x") is None


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_bytes_are_images(kind):
    layout = make_layout(schema({"photo": image_bytes(1)}, types={"photo": kind}), Columns(), "x")
    assert layout.images == {"photo": None}


def test_bytes_are_text_where_a_usual_name_or_an_option_says_so():
    row = {"photo": b"1", "class": b"x", "pose": b"x", "what": b"x"}
    layout = make_layout(schema(row), Columns(object="what"), "x")
    assert (layout.images, layout.label, layout.view, layout.object) == ({"photo": None}, "class", "pose", "what")
    assert make_layout(schema({"label": b"1"}), Columns(("label",)), "x").images == {"label": None}


def test_a_struct_of_other_things_than_bytes_is_no_image():
    within = pa.struct([("bytes", pa.struct([("bytes", pa.binary())]))])
    assert make_layout(pa.schema([("image", within)]), Columns(), "x") is None


def test_what_datasets_calls_an_image_is_one_and_other_bytes_are_not():
    features = {"image": {"_type": "Image"}, "hash": {"_type": "Value", "dtype": "binary"}}
    layout = make_layout(schema({"image": hub_image(1), "hash": b"1"}, features=features), Columns(), "x")
    assert layout.images == {"image": None}


def test_one_of_several_columns_of_images_is_taken_beside_views_if_it_is_called_so():
    assert make_layout(schema({**ROW, "mask": b"1"}), Columns(), "x").images == {"image": None}
    with pytest.raises(InputError, match=r"a column of views \(view\) and several of images \(a, b\); name the one"):
        make_layout(schema({"a": b"1", "b": b"1", "view": "front"}), Columns(), "x")


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (Columns(("nothing",)), "--column image=nothing: no column of images; those of x are image"),
        (Columns(("label",)), "--column image=label: no column of images"),
        (Columns(view="nothing"), "--column view=nothing: there is no such column; there are view, label, source"),
        (Columns(label="nothing"), "--column class=nothing: there is no such column"),
        (Columns(object="image"), "--column object=image: there is no such column"),
    ],
)
def test_columns_that_are_not_there_are_refused(asked, line):
    with pytest.raises(InputError, match=line):
        make_layout(schema(ROW), asked, "x")


def test_columns_called_as_no_view_can_be_are_refused():
    with pytest.raises(InputError, match="x, column a__b: 'a__b' cannot name a view"):
        make_layout(schema({"a__b": b"1", "c": b"1"}), Columns(), "x")


def test_two_columns_of_one_name_are_refused_where_they_are_read():
    table = make_table([{"image": hub_image(0), "view": "front", "size": 1}])
    twice = table.append_column("size", table["size"]).schema
    require_alike(twice, twice, make_layout(twice, Columns(), "a"), "a.parquet")
    twice = table.append_column("image", table["image"]).schema
    with pytest.raises(InputError, match=r"a\.parquet: has 2 columns called image; give each a name of its own"):
        require_alike(twice, twice, make_layout(twice, Columns(), "a"), "a.parquet")


def test_files_beside_each_other_must_say_the_same():
    first = schema(ROW, features=CHAIR_SOFA)
    layout = make_layout(first, Columns(), "x")
    require_alike(schema({**ROW, "more": 1}, features=CHAIR_SOFA), first, layout, "y")
    with pytest.raises(InputError, match="y: has no column view, which files beside it have"):
        require_alike(schema({"image": hub_image(1), "label": 1, "source": "a"}), first, layout, "y")
    turned = {"label": {"names": ["sofa", "chair"], "_type": "ClassLabel"}}
    with pytest.raises(InputError, match=r"y: its column label \(int64\) has other classes"):
        require_alike(schema(ROW, features=turned), first, layout, "y")
    with pytest.raises(InputError, match=r"y: its column label \(string\) has other classes or another type"):
        require_alike(schema({**ROW, "label": "chair"}, features={}), first, layout, "y")


@pytest.mark.parametrize("metadata", [{}, {"huggingface": "{"}, {"huggingface": "[]"}, {"huggingface": '{"info": 3}'}])
def test_what_datasets_says_may_be_damaged(metadata):
    damaged = schema(ROW).with_metadata(metadata)
    assert make_layout(damaged, Columns(), "x").classes == {}
