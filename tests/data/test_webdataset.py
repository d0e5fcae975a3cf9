"""Shards of others: samples of one key, classes and views by what is said of them, and what is left out."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from helpers.objects import image_bytes

from dimvida.data.columns import Columns
from dimvida.data.opening import open_source
from dimvida.errors import InputError

from .conftest import write_tar

PNG = image_bytes(7)


def found(source) -> list[tuple[str, tuple[str, ...]]]:
    return [(record.id, record.views) for record in source.records]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "JPEG"])
def test_a_picture_and_its_class(tmp_path: Path, suffix: str):
    write_tar(tmp_path / "000.tar", {f"a1.{suffix}": PNG, "a1.cls": "3", f"b.{suffix}": PNG, "b.cls": "cat\n"})
    source = open_source(tmp_path, view="front")
    assert source.form == "webdataset" and found(source) == [("3/a1", ("front",)), ("cat/b", ("front",))]
    assert source.read_view(1, "front").pixels[0, 0, 0] == 7 and source.left_out == ()
    assert source.location(0, "front") == f"{tmp_path / '000.tar'}!a1.{suffix}"
    assert pickle.loads(pickle.dumps(source)).view_sha256(0, "front") == source.read_view(0, "front").sha256


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"a.front.png": PNG, "a.left.png": PNG, "a.cls": "1"}, [("1/a", ("front", "left"))]),
        ({"a__front.png": PNG, "a__left.png": PNG}, [("a", ("front", "left"))]),
        ({"chair/x/front.png": PNG, "chair/x/left.png": PNG}, [("chair/x", ("front", "left"))]),
        ({"n01/a.front.png": PNG}, [("n01/a", ("front",))]),
        ({"imgs/a.front.png": PNG, "imgs/a.cls": "5"}, [("5/imgs_a", ("front",))]),
        ({"1.png": PNG, "1.json": {"view": "left", "object": "o", "label": "sofa"}}, [("sofa/o", ("left",))]),
        (
            {"1.png": PNG, "1.json": {"view": "left", "object": "o", "class": 4},
             "2.png": PNG, "2.json": {"view": "front", "object": "o", "class": 4}}, [("4/o", ("front", "left"))],
        ),
        ({"chair/a.left.png": PNG, "chair/a.cls": "0", "chair/a.json": {"views": {"left": {"label": "chair"}}}},
         [("chair/a", ("left",))]),
    ],
)  # fmt: skip
def test_views_and_classes_are_found(tmp_path: Path, members, expected):
    write_tar(tmp_path / "a.tar", members)
    assert found(open_source(tmp_path)) == expected


def test_fields_of_the_json_can_be_named(tmp_path: Path):
    told = {"pose": "left", "what": "lamp", "id": 12}
    write_tar(tmp_path / "a.tar", {"1.jpg": PNG, "1.json": told, "1.mask.png": PNG})
    columns = Columns(("jpg",), "pose", "what", "id")
    source = open_source(tmp_path, columns=columns)
    assert found(source) == [("lamp/12", ("left",))]
    assert source.notes == (
        f"1 member passed over, not among the images that were asked for (first: {tmp_path / 'a.tar'}!1.mask.png)",
    )
    with pytest.raises(InputError, match=r"--column view=other: there is no such column in .*1\.jpg; there are pose"):
        open_source(tmp_path, columns=Columns(("jpg",), "other"))


def test_an_image_that_is_asked_for_is_of_the_view_that_is_said(tmp_path: Path):
    """Its suffix is what its writer calls a picture, and no view then."""
    write_tar(tmp_path / "a.tar", {"1.rgb.png": PNG, "1.mask.png": PNG, "1.json": {"seen": "left"}})
    asked = Columns(("rgb.png",))
    assert found(open_source(tmp_path, columns=asked)) == [("1", ("rgb",))]
    assert found(open_source(tmp_path, view="front", columns=asked)) == [("1", ("front",))]
    assert found(open_source(tmp_path, columns=Columns(("rgb.png",), "seen"))) == [("1", ("left",))]


def test_a_class_may_begin_with_a_byte_order_mark(tmp_path: Path):
    write_tar(tmp_path / "a.tar", {"1.front.png": PNG, "1.cls": b"\xef\xbb\xbfsofa\r\n"})
    assert found(open_source(tmp_path)) == [("sofa/1", ("front",))]


def test_splits_folders_and_braces(tmp_path: Path):
    for name in ("train-000", "train-001", "val-000"):
        write_tar(tmp_path / f"{name}.tar", {f"{name}.front.png": PNG})
    source = open_source(tmp_path)
    assert source.splits == ("train", "val") and len(source) == 3
    assert found(open_source(tmp_path / "train-{000..001}.tar")) == [
        ("train/train-000", ("front",)), ("train/train-001", ("front",)),
    ]  # fmt: skip
    assert found(open_source(tmp_path / "val-000.tar")) == [("val/val-000", ("front",))]


def test_what_is_neither_picture_nor_said_is_passed_over(tmp_path: Path):
    write_tar(tmp_path / "a.tar", {"1.front.png": PNG, "1.txt": "a chair", "1.pyd": b"x", "__key__": b""})
    (tmp_path / "notes.md").write_text("text")
    source = open_source(tmp_path)
    assert found(source) == [("1", ("front",))] and source.left_out == ()
    assert source.notes == (
        f"3 members passed over, neither picture, class nor JSON (first: {tmp_path / 'a.tar'}!1.txt)",
        "not read: 1 file that is no image (first: notes.md)",
    )


def test_images_beside_tar_files_are_the_data(tmp_path: Path, write_objects):
    write_objects(tmp_path, {"chair/a": ("front", "left"), "chair/b": ("front", "left")})
    write_tar(tmp_path / "backup.tar", {"1.front.png": PNG})
    assert open_source(tmp_path).form == "folder"


@pytest.mark.parametrize(
    ("members", "line"),
    [
        ({"a.png": PNG}, r"a\.tar!a\.png: which view is it\? Give --view NAME"),
        ({"a.front.png": PNG, "b/../a.front.png": PNG}, "leaves its folder"),
        ({"a.front.png": PNG, "a.json": "{"}, r"a\.json: not JSON"),
        ({"a.front.png": PNG, "a.json": "[]"}, r"a\.json: not a JSON object"),
        ({"a.front.png": PNG, "a.json": {"label": ["x"]}}, "'label' in its JSON is .* neither text nor a whole number"),
        ({"a.front.png": PNG, "a.cls": "x/y"}, "'x/y' cannot be the name of a class"),
        ({"a.front.png": PNG, "a.cls": b"\xff"}, r"a\.cls: holds bytes that are no text"),
        ({"a.front.png": PNG, "a.json": {"object": "../x"}}, "cannot be the name of an object"),
        ({"a.x!y.png": PNG}, "'x!y' cannot name a view"),
        ({"a.front.png": PNG, "a.front.jpg": PNG}, "both are view 'front' of object 'a'"),
        ({"a.png": PNG, "a.PNG": PNG}, "two members of this kind"),
        ({"a.txt": "x"}, "no images in its tar files; 1 member passed over"),
        ({}, "no images in its tar files; they are empty"),
    ],
)
def test_what_contradicts_itself_is_one_line(tmp_path: Path, members, line):
    write_tar(tmp_path / "a.tar", members)
    with pytest.raises(InputError, match=line) as caught:
        open_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_cat_joined_are_refused(tmp_path: Path):
    """All of the second one would be lost without a word; whoever reads tar files stops at the first end."""
    path = write_tar(tmp_path / "a.tar", {"a.front.png": PNG})
    path.write_bytes(path.read_bytes() + write_tar(tmp_path / "b.tar", {"b.front.png": PNG}).read_bytes())
    with pytest.raises(InputError, match=r"a\.tar: not a readable tar file \(goes on after its end at byte \d+"):
        open_source(path)


def test_a_cut_file_is_refused(tmp_path: Path):
    path = write_tar(tmp_path / "a.tar", {"a.front.png": PNG, "b.front.png": PNG})
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(InputError, match=r"a\.tar: not a readable tar file"):
        open_source(tmp_path)
