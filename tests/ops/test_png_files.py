"""PNG files in one call: the bytes that Python's zlib makes, whatever it makes of them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from dimvida import ops
from dimvida.data.image_files import run_length_png
from dimvida.ops import native

NEEDED = pytest.mark.skipif(not ops.has_png_files(), reason="the native module has no zlib, or another than Python's")


def runs(generator: np.random.Generator, size: int, longest: int) -> np.ndarray:
    values = generator.integers(0, 256, size, np.uint8)
    return np.repeat(values, generator.integers(1, longest + 1, size))[:size]


KINDS = {
    "noise": lambda generator, size: generator.integers(0, 256, size, np.uint8),
    "few values": lambda generator, size: generator.integers(0, 5, size, np.uint8),
    "short runs": lambda generator, size: runs(generator, size, 9),
    "long runs": lambda generator, size: runs(generator, size, 900),
    "one value": lambda generator, size: np.full(size, 7, np.uint8),
}
SHAPES = [(1, 1, 1), (1, 2, 3), (3, 5, 1), (16, 16, 3), (64, 64, 3), (130, 173, 3), (1, 98_042, 1)]


@NEEDED
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)  # of one block of zlib, of several, and larger than its window
def test_the_bytes_of_zlib(kind: str, shape: tuple[int, int, int]):
    height, width, channels = shape
    generator = np.random.default_rng(height)
    # As differences from the row above, the pictures are the data.
    data = np.stack([KINDS[kind](generator, height * width * channels) for _ in range(3)])
    pictures = np.cumsum(data.reshape(3, height, width * channels), axis=1, dtype=np.uint8).reshape(3, *shape)
    assert ops.png_files(pictures) == [run_length_png(picture) for picture in pictures]


@NEEDED
def test_none_at_all():
    assert ops.png_files(np.zeros((0, 8, 8, 3), np.uint8)) == []


@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((1, 4, 4, 2), np.uint8),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((1, 4, 8, 3), np.uint8)[:, :, ::2],
        np.zeros((1, 0, 8, 3), np.uint8),
        np.empty((1, 2**15, 2**15 + 1, 1), np.uint8),  # never touched
    ],
    ids=["channels", "dimensions", "type", "order", "pixels", "size"],
)
def test_what_no_such_pictures_are(pictures: np.ndarray):
    with pytest.raises(ValueError, match="png_files takes"):
        ops.png_files(pictures)


@pytest.mark.parametrize(
    ("built_with", "there"),
    [(zlib.ZLIB_RUNTIME_VERSION, True), (f"{zlib.ZLIB_RUNTIME_VERSION}.zlib-ng", False), (None, False)],
)
def test_a_zlib_that_may_make_other_bytes_is_not_used(
    built_with: str | None, there: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(native, "build_info", lambda: {"zlib": built_with})
    assert ops.has_png_files() == there
    monkeypatch.setattr(native, "build_info", dict)  # no native module at all
    assert not ops.has_png_files()
