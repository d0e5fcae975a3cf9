"""``dimvida turntable``: one image in, an animation and a strip out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def images(tmp_path: Path, tiny_image) -> list[Path]:
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    for number, path in enumerate(paths):
        tiny_image(number).save(path)
    return paths


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        shown = []
        for frame in range(image.n_frames):
            image.seek(frame)
            shown.append(np.asarray(image.convert("RGB")))
        return shown


def test_one_image(dimvida, images: list[Path], camera_checkpoint: Path, tmp_path: Path):
    out = tmp_path / "turn.webp"
    asked = ["turntable", images[0], "--checkpoint", camera_checkpoint, "--out", out, "--views", 8]
    result = dimvida(*asked)
    assert result.code == 0, result.err
    note, done = result.out.splitlines()
    assert note.startswith("note: 4 of 8 angles were not among the 4 of training; the farthest")
    assert done == f"8 views from 1 image: {out}, {tmp_path / 'turn-strip.png'}"
    made = frames(out)
    assert len(made) == 8 and made[0].shape == (256, 256, 3)
    with Image.open(tmp_path / "turn-strip.png") as strip:
        assert strip.width > 8 * 128
    before = out.read_bytes()
    assert dimvida(*asked).code == 0 and out.read_bytes() == before
    assert dimvida(*asked, "--seed", 1).code == 0 and out.read_bytes() != before


def test_the_line_of_the_readme_names_the_animation_after_the_image(
    dimvida, images: list[Path], camera_checkpoint: Path, monkeypatch
):
    monkeypatch.chdir(images[0].parent)
    before = images[0].read_bytes()
    result = dimvida("turntable", "one.png", "--out", "one.gif", "--views", 2, "--checkpoint", camera_checkpoint)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "2 views from 1 image: one.gif, one-strip.png"
    assert images[0].read_bytes() == before


def test_several_images_of_known_places(dimvida, images: list[Path], camera_checkpoint: Path, tmp_path: Path):
    asked = ["turntable", *images, "--checkpoint", camera_checkpoint, "--views", 4, "--out"]
    named = dimvida(*asked, tmp_path / "named.gif", "--view", "right,back")
    assert named.code == 0 and "not among" not in named.out
    assert dimvida(*asked, tmp_path / "angles.gif", "--azimuth", "-90,180").code == 0
    assert dimvida(*asked, tmp_path / "high.gif", "--azimuth", "-90:30,180", "--elevation", "50").code == 0
    assert (tmp_path / "named.gif").read_bytes() == (tmp_path / "angles.gif").read_bytes()
    assert (tmp_path / "named.gif").read_bytes() != (tmp_path / "high.gif").read_bytes()


def test_an_old_checkpoint_says_so_in_one_line(dimvida, images: list[Path], tiny_checkpoint: Path, tmp_path: Path):
    result = dimvida("turntable", images[0], "--checkpoint", tiny_checkpoint, "--out", tmp_path / "turn.gif")
    assert result.code == 2 and len(result.err.splitlines()) == 1
    assert "this checkpoint has no cameras, so it makes its views front, right, back, left and no others" in result.err
    assert not (tmp_path / "turn.gif").exists()
    missing = dimvida("turntable", tmp_path / "no.png", "--checkpoint", tiny_checkpoint, "--out", tmp_path / "turn.gif")
    assert missing.code == 2 and "no.png: cannot be read (No such file" in missing.err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--azimuth", "0,90"], "--azimuth 0,90: give one for each of 1 image"),
        (["--azimuth", "left"], "--azimuth left: give degrees separated by commas"),
        (["--azimuth", ""], "--azimuth : give degrees separated by commas"),
        (["--azimuth", "nan"], "--azimuth nan: give degrees separated by commas"),
        (["--azimuth", "1e9"], "--azimuth 1e9: an azimuth is at most 1,000,000 degrees"),
        (["--azimuth", "0:1:2"], "--azimuth 0:1:2: give degrees separated by commas"),
        (["--azimuth", "0:95"], "--azimuth 0:95: an elevation is between -90 and 90 degrees"),
        (["--elevation", "-100"], "--elevation -100.0: an elevation is between -90 and 90 degrees"),
        (["--elevation", "nan"], "--elevation nan: an elevation is between -90 and 90 degrees"),
        (["--view", "top"], "--view top: the checkpoint has no such view; it has front, right, back, left"),
        (["--view", "front", "--azimuth", "0"], "give --view or --azimuth, not both"),
        (["--out", "turn.png"], "--out turn.png: name a file that ends in .gif or .webp"),
        (["--out", "nowhere/turn.gif"], "--out"),
        (["--views", "0"], "--views"),
        (["--seconds", "inf"], "--seconds"),
        (["--seconds", "601"], "--seconds"),
        (["--views", "100000"], "--views 100000: a turn has at most 3600"),
        (["--checkpoint", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_one_line(
    dimvida, images: list[Path], camera_checkpoint: Path, tmp_path: Path, monkeypatch, options: list[str], problem: str
):
    monkeypatch.chdir(tmp_path)
    result = dimvida("turntable", images[0], "--checkpoint", camera_checkpoint, *options)
    assert result.code == 2 and len(result.err.splitlines()) == 1, result.err
    assert problem in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_images_that_contradict_or_would_be_replaced(dimvida, images: list[Path], camera_checkpoint: Path, tmp_path):
    asked = ["turntable", *images, "--checkpoint", camera_checkpoint, "--out"]
    twice = dimvida(*asked, tmp_path / "turn.gif", "--azimuth", "-90,270")
    assert twice.code == 2 and "two of the images are said to be the same view" in twice.err
    images[0].rename(tmp_path / "one-strip.png")
    asked[1] = tmp_path / "one-strip.png"
    over = dimvida(*asked, tmp_path / "one.gif", "--azimuth", "0,90")
    assert over.code == 2 and "one-strip.png is one of the images" in over.err
    (tmp_path / "other-strip.png").write_bytes(b"of another turn, or of something else")
    strip = dimvida(*asked, tmp_path / "other.webp", "--azimuth", "0,90")
    assert (
        strip.code == 2 and "other-strip.png, where its strip goes, is there already; choose another name" in strip.err
    )
    (tmp_path / "two.png").write_bytes(b"")
    broken = dimvida(*asked, tmp_path / "turn.gif", "--azimuth", "0,90")
    assert broken.code == 2 and "two.png: empty file" in broken.err
