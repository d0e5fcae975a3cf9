"""Names of views at angles, and what is said of angles that were not trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimvida.data.cameras import Camera
from dimvida.data.names import check_view_name, order_views
from dimvida.errors import InputError
from dimvida.generation.cameras import (
    caption,
    model_cameras,
    name_views,
    untrained_note,
    usual_elevation,
)
from dimvida.sampling.multiview import load

FOUR = {"front": Camera(0, 30), "right": Camera(-90, 30), "back": Camera(-180, 30), "left": Camera(-270, 30)}
ANGLES = [(camera.azimuth, camera.elevation) for camera in FOUR.values()]


@pytest.mark.parametrize(
    ("angle", "name"),
    [
        ((0, None), "azimuth000"),
        ((45, None), "azimuth045"),
        ((45, 30), "azimuth045"),
        ((-90, None), "azimuth270"),
        ((360, None), "azimuth000"),
        ((-0.0, None), "azimuth000"),
        ((22.5, None), "azimuth022_5"),
        ((-22.5, None), "azimuth337_5"),
        ((7.0625, None), "azimuth007_0625"),
        ((0.1 + 0.2, None), "azimuth000_3"),
        ((359.99999, None), "azimuth000"),
        ((-1e-9, None), "azimuth000"),
        ((45, 10), "azimuth045-elevation10"),
        ((45, -7.5), "azimuth045-elevation-7_5"),
        ((45, 0), "azimuth045-elevation0"),
    ],
)
def test_a_view_is_called_by_its_angle(angle: tuple[float, float | None], name: str):
    assert list(name_views("--azimuths", [angle], FOUR)) == [name]
    check_view_name(name, "test")
    assert "." not in name and name == name.lower()  # as keys of tar files need it


def test_views_come_in_the_order_of_their_names():
    views = name_views("--azimuths", [(90, None), (-45, 10), (45, None), (9.5, None), (-45, None)], FOUR, 30.0)
    assert list(views) == ["azimuth009_5", "azimuth045", "azimuth090", "azimuth315", "azimuth315-elevation10"]
    assert order_views(views) == tuple(views)
    assert views["azimuth315-elevation10"] == Camera(315, 10) and views["azimuth045"] == Camera(45, 30)


@pytest.mark.parametrize("angles", [[(0, None), (360, None)], [(-90, None), (270, 30)], [(5, 1), (5, 1)]])
def test_an_angle_comes_once(angles: list):
    with pytest.raises(InputError, match=r"--azimuths: .* are there twice"):
        name_views("--azimuths", angles, FOUR)


def test_angles_out_of_range():
    with pytest.raises(InputError, match="elevation 91"):
        name_views("--azimuths", [(0, 91)], FOUR)


def test_the_elevation_of_all_that_say_no_other():
    assert list(name_views("--azimuths", [(45, None), (0, 10), (0, 30)], FOUR, 10.0)) == [
        "azimuth000",
        "azimuth000-elevation30",
        "azimuth045",
    ]


def test_cameras_of_a_model(tiny_checkpoint: Path, camera_checkpoint: Path):
    assert model_cameras(load(camera_checkpoint)) == FOUR and usual_elevation(FOUR) == 30
    with pytest.raises(InputError, match="this checkpoint has no cameras, so it makes its views front, right, back"):
        model_cameras(load(tiny_checkpoint))


@pytest.mark.parametrize(
    ("angle", "text"), [((45, None), "45°"), ((-22.5, None), "337.5°"), ((0, 10), "0°/10°"), ((5, -7.5), "5°/-7.5°")]
)
def test_what_a_sheet_calls_a_view(angle: tuple[float, float | None], text: str):
    ((view, camera),) = name_views("--azimuths", [angle], FOUR).items()
    assert caption(view, camera) == text
    assert caption(view, None) == view and caption("front", camera) == "front"


def test_a_note_on_angles_that_were_not_trained():
    assert untrained_note([Camera(0, 30), Camera(270, 30), Camera(0.01, 30)], ANGLES) is None
    text = untrained_note([Camera(0, 30), Camera(10, 30), Camera(-90, 55)], ANGLES)
    assert text is not None and text.startswith("2 of 3 angles were not among the 4 of training; the farthest, azimuth")
    assert text.endswith("-90 at elevation 55, is 25.0 degrees from the nearest of them")
    known = untrained_note([Camera(20, 10)], ANGLES, "angles of known views")
    assert known is not None and known.startswith("1 of 1 angles of known views were not among the 4 of training")
