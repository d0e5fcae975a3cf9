"""Image files: the right pixels, the same bytes every time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dimvida.data.images import decode_image
from dimvida.generation import pack
from dimvida.generation.formats.columns import SUFFIX_OF_FORMAT
from dimvida.generation.pack import image_encoder


def file_of(pixels: np.ndarray, *options: object) -> bytes:
    (file,) = image_encoder(*options)(pixels[None])
    return file


@pytest.mark.parametrize(("name", "mode"), [("jpeg", "L"), ("webp", "RGB")])
def test_gray_pictures_in_lossy_files(name: str, mode: str):
    pixels = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 64, 1))
    image = Image.open(io.BytesIO(file_of(pixels, name, 95)))
    assert image.mode == mode  # WebP has no gray
    assert np.abs(np.asarray(image.convert("L")).astype(int) - pixels[..., 0]).mean() < 2


@pytest.mark.parametrize(("name", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_lossy_files_are_near_and_smaller_with_less_quality(name: str, kind: str):
    ramp = np.arange(64, dtype=np.uint8) * 3
    pixels = np.stack([np.broadcast_to(ramp, (64, 64)), np.broadcast_to(ramp[:, None], (64, 64))] * 2, -1)[..., :3]
    pixels = np.ascontiguousarray(pixels)
    good, poor = file_of(pixels, name, 95), file_of(pixels, name, 20)
    assert Image.open(io.BytesIO(good)).format == kind
    assert SUFFIX_OF_FORMAT[name] in (".jpg", ".webp")
    error = np.abs(decode_image(good, "x").pixels.astype(int) - pixels).mean()
    assert error < 4
    assert len(poor) < len(good)
    assert file_of(pixels, name) == file_of(pixels, name, 90)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_files_are_the_same_without_the_native_module(channels: int, monkeypatch: pytest.MonkeyPatch):
    pictures = np.random.default_rng(0).integers(0, 256, (3, 20, 20, channels), np.uint8)
    files = list(image_encoder("png")(pictures))
    monkeypatch.setattr(pack, "has_png_files", lambda: False)
    assert list(image_encoder("png")(pictures)) == files
    assert np.array_equal(decode_image(files[1], "x").pixels[..., :channels], pictures[1])
