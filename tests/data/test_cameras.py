"""Cameras of views: the file, which data have it, and where it is looked for."""

from __future__ import annotations

import io
import json
import math
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from dimvida.data.cameras import Camera, angles_of, cameras_text, parse_cameras
from dimvida.data.opening import open_source
from dimvida.errors import InputError

TWO = {"front": Camera(0, 30), "right": Camera(-90, 30)}
TEXT = cameras_text(TWO)


@pytest.fixture
def images(make) -> dict[str, bytes]:
    return {f"train/chair/{name}/{view}.png": make.png() for name in "ab" for view in TWO}


def test_what_is_written_is_read_back():
    cameras = {"front": Camera(-22.5, -90), "überblick 2": Camera(720, 0.1)}
    assert parse_cameras(cameras_text(cameras).encode(), "here") == cameras
    assert TEXT == ('{\n "front": {"azimuth": 0, "elevation": 30},\n "right": {"azimuth": -90, "elevation": 30}\n}\n')
    assert angles_of(TWO, ["right", "front"]) == ((-90, 30), (0, 30))
    assert angles_of(None, ["right", "front"]) is None


@pytest.mark.parametrize("form", ["folder", "zip"])
@pytest.mark.parametrize(("around", "file"), [("", ""), ("set/", ""), ("set/", "set/"), ("a/b/", "a/")])
def test_data_have_the_cameras_at_their_root_or_around_it(
    make, tmp_path: Path, images: dict[str, bytes], form: str, around: str, file: str
):
    files = {around + name: data for name, data in images.items()} | {f"{file}cameras.json": TEXT}
    source = open_source(
        make.folder(tmp_path / "x", files) if form == "folder" else make.zip(tmp_path / "x.zip", files)
    )
    assert source.cameras == TWO
    assert source.select([1]).cameras == TWO
    assert not source.notes and not source.left_out


def test_the_innermost_file_counts(make, tmp_path: Path, images: dict[str, bytes]):
    files = {f"set/{name}": data for name, data in images.items()}
    other = {view: Camera(camera.azimuth + 45, 0) for view, camera in TWO.items()}
    files |= {"cameras.json": TEXT, "set/cameras.json": cameras_text(other)}
    assert open_source(make.folder(tmp_path, files)).cameras == other


@pytest.mark.parametrize("turn", [360, -360, 720])
def test_a_closed_rig_has_each_place_once(make, tmp_path: Path, turn: int):
    """An object that has only the second of two views at one place keeps it, by the name of the first."""
    cameras = {f"v{i}": Camera(azimuth, 30) for i, azimuth in enumerate((0, turn / 2 - 30, turn))}
    files = {f"chair/{name}/{view}.png": make.png(i) for name in "ab" for i, view in enumerate(cameras)}
    source = open_source(make.folder(tmp_path / "whole", {**files, "cameras.json": cameras_text(cameras)}))
    assert source.view_names == ("v0", "v1") and [record.views for record in source.records] == [("v0", "v1")] * 2
    assert source.cameras == {"v0": cameras["v0"], "v1": cameras["v1"]}
    said = f"(first: 'v2', that of 'v0': azimuth {turn} and azimuth 0 at elevation 30)"
    note = f"2 views left out, as another of the object is at the same place in cameras.json {said}"
    assert source.notes == (note,) and not source.left_out
    del files["chair/a/v0.png"]
    source = open_source(make.folder(tmp_path / "partly", {**files, "cameras.json": cameras_text(cameras)}))
    assert source.view_names == ("v0", "v1") and [record.views for record in source.records] == [("v0", "v1")] * 2
    assert source.location(0, "v0").endswith("a/v2.png") and source.location(0, "v1").endswith("a/v1.png")
    assert source.location(1, "v0").endswith("b/v0.png") and source.location(1, "v1").endswith("b/v1.png")
    assert source.notes == (
        note.replace("2 views", "1 view"),
        f"1 view called like another at the same place in cameras.json {said}",
    )


def test_data_without_the_file_have_none(make, tmp_path: Path, images: dict[str, bytes]):
    assert open_source(make.folder(tmp_path, images)).cameras is None


def test_files_elsewhere_mean_nothing_and_are_told(make, tmp_path: Path, images: dict[str, bytes]):
    files = {**images, "train/chair/cameras.json": "{}", "train/cameras.json": "{}"}
    source = open_source(make.folder(tmp_path, files))
    assert source.cameras is None
    assert source.notes == ("not read: 2 files cameras.json not at the root (first: train/cameras.json)",)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_cannot_be_read_is_refused(make, tmp_path: Path, images: dict[str, bytes], kind: str):
    path = make.folder(tmp_path, images) / "cameras.json"
    path.symlink_to("nowhere") if kind == "link" else os.mkfifo(path)
    with pytest.raises(InputError, match=r"cameras\.json: "):
        open_source(tmp_path)


def test_single_views_of_a_listed_set_have_them(make, tmp_path: Path):
    files = {"chair/1__front.png": make.png(), "chair/1__right.png": make.png(), "cameras.json": TEXT}
    assert open_source(make.folder(tmp_path, files)).cameras == TWO


@pytest.mark.parametrize("form", ["tar", "npy"])
def test_shards_have_them(make, tmp_path: Path, form: str):
    (tmp_path / "cameras.json").write_text(TEXT)
    if form == "npy":
        np.save(tmp_path / "shard-000000.npy", np.zeros((2, 8, 8, 3), np.uint8))
        lines = [json.dumps({"key": "chair/a", "view": view}) for view in TWO]
        (tmp_path / "shard-000000.jsonl").write_text("\n".join(lines) + "\n")
    else:
        with tarfile.open(tmp_path / "shard-000000.tar", "w") as archive:
            for view in TWO:
                member = tarfile.TarInfo(f"chair/a.{view}.png")
                member.size = len(data := make.png())
                archive.addfile(member, io.BytesIO(data))
    source = open_source(tmp_path)
    assert source.cameras == TWO and not source.notes


def test_a_file_may_name_more_views_than_there_are(make, tmp_path: Path, images: dict[str, bytes]):
    rig = {**TWO, "top": Camera(0, 90), "left": Camera(-270, 30)}
    source = open_source(make.folder(tmp_path, {**images, "cameras.json": cameras_text(rig)}))
    assert source.cameras == TWO
    assert source.notes == ("2 cameras of cameras.json without views here (first: top)",)


def test_a_file_must_name_all_views_there_are(make, tmp_path: Path, images: dict[str, bytes]):
    path = make.folder(
        tmp_path, {**images, "cameras.json": cameras_text({"frnot": Camera(0, 30), "side": Camera(5, 0)})}
    )
    with pytest.raises(
        InputError, match=r"cameras\.json: has no camera for the view 'front' and 1 more; the data have"
    ):
        open_source(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", "not an object of cameras by view"),
        ("{}", "not an object of cameras by view"),
        ('{"front": {"azimuth": 0, "elevation": 30}, "front": {"azimuth": 0, "elevation": 30}}', "twice"),
        ('{"front": {"azimuth": 0, "azimuth": 0, "elevation": 30}}', "twice"),
        ('{"caf\\u00e9": {"azimuth": 0, "elevation": 30}, "cafe\\u0301": {"azimuth": 0, "elevation": 30}}', "twice"),
        ('{"front": 0}', 'view \'front\': needs "azimuth" and "elevation" and nothing else'),
        ('{"front": {"azimuth": 0}}', "needs"),
        ('{"front": {"azimuth": 0, "elevation": 30, "roll": 0}}', "nothing else"),
        ('{"front": {"azimuth": "0", "elevation": 30}}', "azimuth is not a number"),
        ('{"front": {"azimuth": true, "elevation": 30}}', "azimuth is not a number"),
        ('{"front": {"azimuth": 1e400, "elevation": 30}}', "azimuth is not a number"),
        ('{"front": {"azimuth": NaN, "elevation": 30}}', "azimuth nan is not a finite number"),
        ('{"front": {"azimuth": 0, "elevation": 91}}', "elevation 91 is not between -90 and 90"),
        ('{"_front": {"azimuth": 0, "elevation": 9}}', "'_front' cannot name a view"),
        ("[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{" + b" " * 2**20, "limit"),
    ],
)
def test_a_malformed_file_is_one_clear_line(make, tmp_path: Path, images: dict[str, bytes], text: str, message: str):
    path = make.folder(tmp_path, {**images, "cameras.json": text})
    with pytest.raises(InputError, match=message) as caught:
        open_source(path)
    assert str(path / "cameras.json") in str(caught.value) and "\n" not in str(caught.value)


def test_an_angle_of_many_turns_is_refused_and_none_is_minus_zero():
    with pytest.raises(InputError, match=r"azimuth 1e.30 is more than 1,000,000 degrees"):
        Camera(1e30, 30)
    assert [math.copysign(1, angle) for angle in (Camera(-0.0, -0.0).azimuth, Camera(-0.0, -0.0).elevation)] == [1, 1]


def test_a_file_with_a_byte_order_mark_is_read(make, tmp_path: Path, images: dict[str, bytes]):
    assert (
        open_source(make.folder(tmp_path, {**images, "cameras.json": b"\xef\xbb\xbf" + TEXT.encode()})).cameras == TWO
    )
