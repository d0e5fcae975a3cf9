"""Animations and strips of views around an object."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dimvida.errors import InputError
from dimvida.generation.turntable import draw_strip, read_known, write_animation
from dimvida.sampling.multiview import MultiViewModel, load


@pytest.fixture(scope="module")
def model(camera_checkpoint: Path) -> MultiViewModel:
    return load(camera_checkpoint)


def plain(count: int, size: int = 16) -> torch.Tensor:
    """Views of one colour each, and each another one."""
    levels = torch.arange(count, dtype=torch.uint8) * (200 // count)
    return levels[:, None, None, None].expand(count, 3, size, size)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".GIF"])
def test_an_animation_has_every_view_and_never_ends(tmp_path: Path, suffix: str):
    path = tmp_path / f"turn{suffix}"
    write_animation(path, plain(6), seconds=1.2)
    with Image.open(path) as image:
        assert (image.format, image.n_frames, image.size) == (suffix[1:].upper(), 6, (256, 256))
        assert image.info["loop"] == 0
        for frame in range(6):
            image.seek(frame)
            shown = np.asarray(image.convert("RGB")).astype(int)
            assert abs(shown - frame * 33).max() <= 3
            image.load()
            assert image.info["duration"] == 200
    assert list(tmp_path.iterdir()) == [path]


def test_large_and_gray_pictures_keep_their_size(tmp_path: Path):
    write_animation(tmp_path / "turn.gif", plain(2, 200), 1.0)
    with Image.open(tmp_path / "turn.gif") as image:
        assert image.size == (200, 200)
    write_animation(tmp_path / "gray.webp", plain(3)[:, :1], 1.0)
    with Image.open(tmp_path / "gray.webp") as image:
        assert image.n_frames == 3


def test_a_place_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(InputError, match="cannot be written"):
        write_animation(tmp_path / "nowhere" / "turn.gif", plain(2), 1.0)


def test_a_strip_has_rows_of_a_dozen():
    wide = draw_strip(plain(1), plain(24), [0, *[None] * 23], [-15.0 * view for view in range(24)], "a turn")
    long = draw_strip(plain(1), plain(12), [0, *[None] * 11], [-30.0 * view for view in range(12)], "a turn")
    assert wide.width == long.width and wide.height > 1.5 * long.height
    given = draw_strip(plain(1), plain(11), [None] * 11, [float(view) for view in range(11)], "a turn")
    assert given.width == long.width  # the given view, which is none of the turn, takes a place of its own


def test_images_are_read_as_a_model_takes_them(model: MultiViewModel, tmp_path: Path, tiny_image):
    tiny_image(0).save(tmp_path / "a.png")
    tiny_image(1, 40).convert("L").save(tmp_path / "b.png")
    images, notes = read_known([tmp_path / "a.png", tmp_path / "b.png"], model)
    assert images.shape == (2, 3, 16, 16) and images.dtype == torch.uint8
    assert torch.equal(images[0], torch.from_numpy(np.array(tiny_image(0))).permute(2, 0, 1))
    assert len(notes) == 1 and "b.png: grayscale" in notes[0]
    (tmp_path / "c.png").write_bytes(b"no image")
    for name, problem in (("c.png", "not an image"), ("d.png", "cannot be read")):
        with pytest.raises(InputError, match=rf"{name}: {problem}"):
            read_known([tmp_path / "a.png", tmp_path / name], model)
