"""``dimvida generate --azimuths``: views at any angle of every object."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Result, command
from helpers.objects import VIEWS, lines_of, tree

from dimvida.data.cameras import Camera
from dimvida.data.opening import open_source
from dimvida.generation import sheet

ANGLES = ("--azimuths", "0,45,-22.5")
NAMES = ("azimuth000", "azimuth045", "azimuth337_5")


@pytest.fixture
def generate(camera_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs ``generate`` into ``tmp_path/<out>``, in float32: in bfloat16 another order of additions shows."""
    monkeypatch.setenv("DIMVIDA_DTYPE", "float32")

    def run(data: Path, out: str, *arguments: object) -> Result:
        asked = ["generate", "--data", data, "--checkpoint", camera_checkpoint, "--out", tmp_path / out, *arguments]
        return command(*map(str, asked))

    return run


def pixels(folder: Path) -> dict[str, np.ndarray]:
    """Every picture of an output by object and view."""
    source = open_source(folder)
    return {
        f"{record.class_name}/{record.name} {view}": source.read_view(index, view).pixels.astype(int)
        for index, record in enumerate(source.records)
        for view in record.views
    }


def same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> bool:
    """Whether both have the same pictures, but for the rounding of products of other sizes."""
    return left.keys() == right.keys() and all(abs(left[name] - right[name]).max() <= 1 for name in left)


@pytest.mark.parametrize("form", ["imagefolder", "webdataset", "npy"])
def test_every_form_is_a_data_set_with_cameras(generate, objects: Path, tmp_path: Path, form: str):
    asked = (*ANGLES, "--elevation", 20, "--view", "front", "--format", form, "--shard-size", 2)
    result = generate(objects, "out", *asked)
    assert result.code == 0, result.err
    assert "note: 3 of 3 angles were not among the 4 of training; the farthest, azimuth 45" in result.out
    assert "done: 9 views of 3 objects" in result.out
    out = tmp_path / "out"
    source = open_source(out)
    assert source.view_names == NAMES and [record.views for record in source.records] == [NAMES] * 3
    assert source.cameras == {NAMES[0]: Camera(0, 20), NAMES[1]: Camera(45, 20), NAMES[2]: Camera(337.5, 20)}
    assert not source.notes and not source.left_out
    pictures = pixels(out)
    assert len({picture.tobytes() for picture in pictures.values()}) == 9
    assert command("generate", "--verify", out).code == 0
    before = tree(out)
    assert "finished before" in generate(objects, "out", *asked).out and tree(out) == before
    if form == "imagefolder":
        line = lines_of(out)[1]
        assert line["view"] == "azimuth045" and line["camera"] == {"azimuth": 45.0, "elevation": 20.0}
        assert line["known"] == ["front"] and set(line["source_sha256"]) == {"front", *NAMES}
        assert (out / "chair" / "a__azimuth337_5.png").exists()


def test_what_is_damaged_is_repaired(generate, objects: Path, tmp_path: Path):
    asked = (*ANGLES, "--view", "front", "--shard-size", 1, "--elevation", 0)
    assert generate(objects, "out", *asked).code == 0
    out = tmp_path / "out"
    before = tree(out)
    for harm in (
        lambda: (out / "cameras.json").write_text("{}"),
        lambda: (out / "cameras.json").unlink(),
        lambda: ((out / "shard-000001.json").unlink(), (out / "report.json").unlink()),
        lambda: (out / "chair" / "b__azimuth045.png").write_bytes(b""),
    ):
        harm()
        unfinished = not (out / "report.json").exists()
        assert command("generate", "--verify", out).code == (0 if unfinished else 1)
        assert generate(objects, "out", *asked).code == 0
        assert tree(out) == before
    other = generate(objects, "out", *asked[:-1], 5)
    assert other.code == 2 and len(other.errors) == 1 and "another configuration" in other.err
    assert generate(objects, "out", *asked[:-1], 5, "--overwrite").code == 0
    assert open_source(out).cameras[NAMES[0]] == Camera(0, 5)


def test_members_of_an_array_job_and_the_order_of_angles(generate, objects: Path, tmp_path: Path):
    asked = ("--view", "front", "--shard-size", 1, "--batch", 1)
    assert generate(objects, "whole", *ANGLES, *asked).code == 0
    for member in ("0/2", "1/2"):
        assert generate(objects, "parts", "--azimuths", "337.5,0,405", *asked, "--shard", member).code == 0
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")


def test_known_views_are_placed_by_name_by_angle_or_by_the_data(generate, fronts: Path, tmp_path: Path):
    asked = ("--azimuths", "45,90,200")
    results = [generate(fronts, "name", *asked, "--view", "front"), generate(fronts, "angle", *asked, "--azimuth", 0)]
    data = tmp_path / "data"
    for image in fronts.rglob("*.png"):
        place = data / image.parent.relative_to(fronts)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, place / f"{image.stem}__photo.png")
    (data / "cameras.json").write_text('{"photo": {"azimuth": 360, "elevation": 30}}')
    results.append(generate(data, "own", *asked))
    assert [result.code for result in results] == [0, 0, 0], results
    assert same(pixels(tmp_path / "name"), pixels(tmp_path / "angle"))
    assert same(pixels(tmp_path / "name"), pixels(tmp_path / "own"))
    (data / "cameras.json").write_text('{"photo": {"azimuth": 10, "elevation": 0}}')
    assert generate(data, "elsewhere", *asked).code == generate(fronts, "at", *asked, "--azimuth", "10:0").code == 0
    assert same(pixels(tmp_path / "elsewhere"), pixels(tmp_path / "at"))
    assert not same(pixels(tmp_path / "name"), pixels(tmp_path / "at"))


def test_a_known_view_is_not_generated_again(generate, objects: Path, tmp_path: Path):
    result = generate(objects, "out", "--azimuths", "0,45,270", "--view", "front,right", "--include-known")
    assert result.code == 0
    assert "note: 6 views not generated, as a known one was taken there" in result.out
    source = open_source(tmp_path / "out")
    assert source.view_names == ("front", "right", "azimuth045")
    assert source.kind(0, "front") == "real" and source.kind(0, "azimuth045") == "generated"
    assert source.cameras == {"front": Camera(0, 30), "right": Camera(-90, 30), "azimuth045": Camera(45, 30)}
    nothing = generate(objects, "none", "--azimuths", "0,-90", "--view", "front,right")
    assert "nothing is missing: known views were taken at all angles of --azimuths" in nothing.refusal()
    assert not (tmp_path / "none").exists()


def test_an_object_does_not_depend_on_what_others_have(generate, write_objects, tmp_path: Path):
    has = {"chair/a": VIEWS[:1], "chair/b": VIEWS[:3], "chair/c": VIEWS[1:2], "table/d": VIEWS[1:], "table/e": VIEWS}
    mixed = write_objects(tmp_path / "mixed", has)
    assert generate(mixed, "out", "--azimuths", "30,60,-90").code == 0
    together = pixels(tmp_path / "out")
    assert len(together) == 11  # three of each, but where right is known
    for number, name in enumerate(has):
        single = tmp_path / f"one{number}" / name
        single.parent.mkdir(parents=True)
        for view in has[name]:
            shutil.copy(mixed / name / f"{view}.png", f"{single}__{view}.png")
        assert generate(tmp_path / f"one{number}", f"out{number}", "--azimuths", "30,60,-90").code == 0
        alone = pixels(tmp_path / f"out{number}")
        assert same(alone, {key: picture for key, picture in together.items() if key.startswith(f"{name} ")})


def test_named_views_as_before_with_their_cameras(generate, objects: Path, tmp_path: Path):
    assert generate(objects, "named", "--view", "front").code == 0
    source = open_source(tmp_path / "named")
    assert source.view_names == VIEWS[1:] and source.cameras["left"] == Camera(-270, 30)
    assert generate(objects, "angles", "--view", "front", "--azimuths", "-90,180,90").code == 0
    angles = pixels(tmp_path / "angles")
    for name, picture in pixels(tmp_path / "named").items():
        key, view = name.split(" ")
        at = {"right": "azimuth270", "back": "azimuth180", "left": "azimuth090"}[view]
        assert abs(angles[f"{key} {at}"] - picture).max() <= 1
    assert generate(objects, "left", "--view", "front", "--target", "left", "--samples-per-view", 2).code == 0
    assert set(pixels(tmp_path / "left")) == {f"{name}-{draw} left" for name in ("chair/a", "chair/b", "table/c")
                                              for draw in range(2)}  # fmt: skip


def test_a_dry_run(generate, objects: Path, tmp_path: Path):
    result = generate(objects, "out", *ANGLES, "--view", "front", "--dry-run")
    assert result.code == 0 and "plan: 6 views of 3 objects in 3 rows, 6 pictures" in result.out
    assert not (tmp_path / "out").exists()


def test_a_sheet_compares_with_what_was_taken_there(generate, objects: Path, tmp_path: Path, monkeypatch):
    drawn = []
    draw = sheet.draw_contact_sheet
    monkeypatch.setattr(
        sheet, "draw_contact_sheet", lambda rows, **options: drawn.append(rows) or draw(rows, **options)
    )
    cameras = {view: {"azimuth": -90 * turn, "elevation": 30} for turn, view in enumerate(VIEWS)}
    (objects / "cameras.json").write_text(json.dumps(cameras))
    asked = ("--azimuths", "45,90,270,270:10", "--view", "front", "--sheet", tmp_path / "sheet.png")
    assert generate(objects, "out", *asked).code == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    made = [("front", "given"), ("45°", "generated"), ("90°", "generated"), ("270°", "generated")]
    true = [("90°", "true"), ("270°", "true")]
    for row in drawn[-1]:  # the sheet, after that of the card
        assert [(tile.caption, tile.kind) for tile in row.tiles] == [*made, ("270°/10°", "generated"), *true]
    source = open_source(objects)
    for tile, view in zip(drawn[-1][0].tiles[5:], ("left", "right"), strict=True):
        assert np.array_equal(tile.image, source.read_view(0, view).pixels)


def test_a_model_without_cameras_refuses_in_one_line(dimvida, objects: Path, tiny_checkpoint: Path, tmp_path: Path):
    asked = ["generate", "--data", objects, "--checkpoint", tiny_checkpoint, "--out", tmp_path / "out", *ANGLES]
    result = dimvida(*asked)
    assert result.code == 2 and len(result.err.splitlines()) == 1
    assert "this checkpoint has no cameras, so it makes its views front, right, back, left and no others" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--azimuth", "0"], "--azimuth 0: say with --azimuths where the views to make are"),
        (["--elevation", "0"], "--elevation 0.0: say with --azimuths"),
        (["--azimuths", "0,x"], "--azimuths 0,x: give degrees separated by commas"),
        (["--azimuths", "0,-1e7"], "--azimuths 0,-1e7: an azimuth is at most 1,000,000 degrees"),
        (["--azimuths", "0,360"], "--azimuths: 360 degrees are there twice"),
        (["--azimuths", "0", "--elevation", "91"], "--elevation 91.0: an elevation is between -90 and 90"),
        (["--azimuths", "0", "--elevation", "inf"], "--elevation inf: an elevation is between -90 and 90"),
        (["--azimuths", "0,5:-91"], "--azimuths 0,5:-91: an elevation is between -90 and 90"),
        (["--azimuths", "0", "--target", "left"], "give --target or --azimuths, not both"),
        (["--azimuths", "0", "--view", "front", "--azimuth", "0"], "give --view or --azimuth, not both"),
        (["--azimuths", "0", "--azimuth", "0,5"], "--azimuth 0,5: give one angle"),
        (["--azimuths", "0", "--azimuth", "5"], "names its views itself (front, right, back, left)"),
        (["--azimuths", "0", "--view", "top"], "--view top:"),
    ],
)
def test_bad_input_is_one_line(generate, objects: Path, tmp_path: Path, options: list[str], problem: str):
    result = generate(objects, "out", *options)
    assert result.code == 2 and len(result.err.splitlines()) == 1
    assert problem in result.err
    assert not (tmp_path / "out").exists()


def test_files_called_after_their_views_are_not_placed(generate, write_fronts, tmp_path: Path):
    """Told of the option that was given, and not of the one that says views otherwise."""
    fronts = write_fronts(tmp_path / "fronts", 2)
    line = generate(fronts, "out", "--azimuths", "0", "--azimuth", "5").refusal()
    assert f"--azimuth 5: {fronts} names its views itself (front); choose known ones with --view" in line
    (fronts / "chair" / "more.png").write_bytes((fronts / "chair" / "00__front.png").read_bytes())
    line = generate(fronts, "out", "--azimuths", "0", "--azimuth", "5").refusal()
    assert f"--azimuth 5: some images of {fronts} name their views themselves, and others do not" in line
    (fronts / "chair" / "more.png").write_bytes(b"")
    (fronts / "metadata.jsonl").write_text("{")
    line = generate(fronts, "out", "--azimuths", "0", "--azimuth", "5").refusal()
    assert "metadata.jsonl, line 1: not JSON" in line and "--azimuth" not in line  # what is wrong whatever is said


def test_views_of_which_nothing_says_where_they_were_taken(generate, write_objects, tmp_path: Path):
    data = write_objects(tmp_path / "data", {"chair/a": ("front", "top")})
    result = generate(data, "out", *ANGLES)
    assert result.code == 2 and "nothing says where the view 'top' was taken; write it into cameras.json" in result.err
    assert generate(data, "out", *ANGLES, "--view", "front").code == 0
    (data / "cameras.json").write_text(
        '{"front": {"azimuth": 0, "elevation": 0}, "top": {"azimuth": 0, "elevation": 90}}'
    )
    assert generate(data, "all", *ANGLES).code == 0
    line = lines_of(tmp_path / "all")[0]
    assert line["known"] == ["front", "top"]


def test_an_output_is_completed_further(generate, fronts: Path, tmp_path: Path):
    """Its views have names and cameras, which the next run takes for known ones, and may ask for again."""
    assert generate(fronts, "one", "--azimuths", "45,90", "--view", "front", "--include-known").code == 0
    result = generate(tmp_path / "one", "two", "--azimuths", "90,135")
    assert result.code == 0 and "4 views not generated" in result.out
    assert set(open_source(tmp_path / "two").cameras.values()) == {Camera(135, 30)}
    clash = generate(tmp_path / "one", "three", "--azimuths", "90", "--elevation", 0)
    assert clash.code == 2 and "its view 'azimuth090' was taken elsewhere than that to be made" in clash.err
