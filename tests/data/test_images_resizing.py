"""Pictures in the square of a model, also those whose padded square would not fit into any memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimvida.data import images
from dimvida.data.images import pad_to_square, resize_image


def test_resize_returns_the_right_size_unchanged(make):
    pixels = make.pixels()
    assert resize_image(pixels, 8) is pixels


def test_resize_antialiases():
    # One-pixel stripes alternate; without antialiasing they would come out black or white.
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_image(stripes, 16)
    assert small.shape == (16, 16, 3)
    assert np.abs(small[:, 2:-2].astype(int) - 128).max() <= 3


def test_resize_pads_with_the_border_colour():
    wide = np.full((10, 30, 3), (20, 120, 220), np.uint8)
    wide[3:7, 10:20] = 0
    square = pad_to_square(wide)
    assert square.shape == (30, 30, 3)
    assert np.array_equal(square[10:20], wide)
    assert (square[:10] == (20, 120, 220)).all()
    assert (square[20:] == (20, 120, 220)).all()


def test_resize_keeps_the_aspect():
    tall = np.full((40, 20, 3), 255, np.uint8)
    tall[8:32, 4:16] = 0  # twice as high as wide
    dark = resize_image(tall, 20)[..., 0] < 128
    assert dark.any(axis=1).sum() == 12
    assert dark.any(axis=0).sum() == 6


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), size=st.integers(1, 64))
def test_resize_gives_every_size(height, width, size):
    assert resize_image(np.full((height, width, 3), 77, np.uint8), size).shape == (size, size, 3)


class TestExtremeAspect:
    """Strips whose padded square would not fit into any memory."""

    @pytest.mark.parametrize("shape", [(1, 300_000), (300_000, 1), (3, 2_000_000)])
    def test_a_strip_is_fitted(self, shape):
        height, width = shape
        strip = np.full((height, width, 3), (200, 60, 40), np.uint8)
        small = resize_image(strip, 32)
        assert small.shape == (32, 32, 3)
        assert (small == (200, 60, 40)).all()  # the padding has the border's colour

    def test_the_parts_of_a_strip_come_out_in_their_places(self):
        strip = np.zeros((3000, 60_000, 1), np.uint8)
        strip[:, 30_000:] = 240
        small = resize_image(strip, 20)[..., 0].astype(int)
        # One row of 3000 x 60,000 becomes one of 20: half of the two middle ones each, on the border's 120.
        assert (small[:5] == 120).all() and (small[15:] == 120).all()
        assert small[9:11, :8].max() < 70 and small[9:11, 12:].min() > 170

    @pytest.mark.parametrize(
        ("shape", "size"),
        [((300, 7), 8), ((7, 500), 16), ((900, 600), 64), ((1201, 80), 32), ((640, 641), 20), ((3000, 3), 64)],
    )
    @pytest.mark.parametrize("channels", [1, 3])
    def test_it_is_the_arithmetic_of_the_padded_square(self, monkeypatch, shape, size, channels):
        pixels = np.random.default_rng(0).integers(0, 256, (*shape, channels), dtype=np.uint8)
        whole = resize_image(pixels, size).astype(int)
        monkeypatch.setattr(images, "PIXEL_LIMIT", 0)
        difference = np.abs(resize_image(pixels, size) - whole)
        # Pillow's own whole steps cut off a fraction of a level.
        assert difference.max() <= 1 and (difference > 0).mean() < 0.05

    @pytest.mark.parametrize("shape", [(1, 9), (2, 3), (5, 4), (31, 2)])
    def test_the_border_colour_is_a_median(self, make, shape):
        for seed in range(20):
            pixels = make.pixels(seed, *shape)
            border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
            square = pad_to_square(pixels)
            assert (square[-1, -1] == np.median(border, axis=0).round()).all()

    def test_memory_is_not_asked_for(self, make):
        # 20,000,000 x 1 pixels; its square would have 4e14. The limit is on what this process may still take.
        code = """
import resource, sys
from io import BytesIO
import numpy as np
from PIL import Image
from dimvida.data.images import decode_image, resize_image
buffer = BytesIO()
Image.new("L", (20_000_000, 1), 200).save(buffer, "PNG", compress_level=1)
taken = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (taken + 400 * 2**20,) * 2)
small = resize_image(decode_image(buffer.getvalue(), "strip.png").pixels, 64)
print(small.shape, small.min(), small.max())
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout == "(64, 64, 3) 200 200\n", done.stderr
