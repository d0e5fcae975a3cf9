"""Image files: the right pixels, the same bytes every time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dimvida.data.images import decode_image
from dimvida.generation.pack import encode_png, image_encoder
from dimvida.generation.settings import IMAGE_FORMATS


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_png_keeps_every_pixel(seed: int, height: int, width: int, flat: bool):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    if flat:
        pixels[:] = pixels[0, 0]
    assert np.array_equal(decode_image(encode_png(pixels), "x").pixels, pixels)


def test_png_of_every_reader(tiny_image):
    pixels = np.asarray(tiny_image(3))
    data = encode_png(pixels)
    assert data == encode_png(np.ascontiguousarray(pixels.copy()))
    image = Image.open(io.BytesIO(data))
    image.verify()
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (16, 16))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
def test_gray_png_keeps_every_pixel(seed: int, height: int, width: int):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 1), np.uint8)
    image = Image.open(io.BytesIO(encode_png(pixels)))
    assert (image.mode, image.size) == ("L", (width, height))
    assert np.array_equal(np.asarray(image)[..., None], pixels)


@pytest.mark.parametrize(("name", "mode"), [("jpeg", "L"), ("webp", "RGB")])
def test_gray_pictures_in_lossy_files(name: str, mode: str):
    pixels = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 64, 1))
    image = Image.open(io.BytesIO(image_encoder(name, 95)(pixels)))
    assert image.mode == mode  # WebP has no gray
    assert np.abs(np.asarray(image.convert("L")).astype(int) - pixels[..., 0]).mean() < 2


def test_a_plain_picture_is_smaller_than_its_pixels():
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[20:40, 20:40] = (200, 30, 30)
    assert len(encode_png(pixels)) < pixels.size / 20


@pytest.mark.parametrize(("name", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_lossy_files_are_near_and_smaller_with_less_quality(name: str, kind: str):
    ramp = np.arange(64, dtype=np.uint8) * 3
    pixels = np.stack([np.broadcast_to(ramp, (64, 64)), np.broadcast_to(ramp[:, None], (64, 64))] * 2, -1)[..., :3]
    pixels = np.ascontiguousarray(pixels)
    good, poor = image_encoder(name, 95)(pixels), image_encoder(name, 20)(pixels)
    assert Image.open(io.BytesIO(good)).format == kind
    assert IMAGE_FORMATS[name] in (".jpg", ".webp")
    error = np.abs(decode_image(good, "x").pixels.astype(int) - pixels).mean()
    assert error < 4
    assert len(poor) < len(good)
    assert image_encoder(name)(pixels) == image_encoder(name, 90)(pixels)
