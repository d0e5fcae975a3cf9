"""Image files: the right pixels, the same bytes every time."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from dimvida.data.images import decode_image
from dimvida.generation.formats.columns import IMAGE_SUFFIXES
from dimvida.generation.pack import image_encoder


@pytest.mark.parametrize(("name", "mode"), [("jpeg", "L"), ("webp", "RGB")])
def test_gray_pictures_in_lossy_files(name: str, mode: str):
    pixels = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 3, (1, 64, 1))
    image = Image.open(io.BytesIO(image_encoder(name, 95)(pixels)))
    assert image.mode == mode  # WebP has no gray
    assert np.abs(np.asarray(image.convert("L")).astype(int) - pixels[..., 0]).mean() < 2


@pytest.mark.parametrize(("name", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_lossy_files_are_near_and_smaller_with_less_quality(name: str, kind: str):
    ramp = np.arange(64, dtype=np.uint8) * 3
    pixels = np.stack([np.broadcast_to(ramp, (64, 64)), np.broadcast_to(ramp[:, None], (64, 64))] * 2, -1)[..., :3]
    pixels = np.ascontiguousarray(pixels)
    good, poor = image_encoder(name, 95)(pixels), image_encoder(name, 20)(pixels)
    assert Image.open(io.BytesIO(good)).format == kind
    assert IMAGE_SUFFIXES[name] in (".jpg", ".webp")
    error = np.abs(decode_image(good, "x").pixels.astype(int) - pixels).mean()
    assert error < 4
    assert len(poor) < len(good)
    assert image_encoder(name)(pixels) == image_encoder(name, 90)(pixels)
